"""The parts of the soak: its hostile clients do what they are for and do no harm, and growth is seen."""

from __future__ import annotations

import asyncio
import random

import pytest

from bench import hostile
from bench.hostile import ATTACKS, Attack, attack
from bench.soak import Sample, slope_per_minute
from tests.support.caller import transcribe
from tests.support.fake import FakeRecognizer
from tests.support.running import running_server
from tests.support.speech import pcm, recording


@pytest.mark.parametrize("kind", ATTACKS, ids=lambda kind: kind.__name__)
async def test_no_attack_is_noticed_by_others(kind: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "HOLD_SEC", 0.5)
    monkeypatch.setattr(hostile, "SLOW_SEC", 0.02)
    monkeypatch.setattr(hostile, "LARGE_BYTES", 5 * 2**20)
    audio = pcm(recording("beckett.wav")[:32_000])
    async with running_server(FakeRecognizer(), init_timeout=1.0, resume_window=0.2) as server:
        address = f"127.0.0.1:{server.port}"
        _, caller = await asyncio.gather(
            attack(address, kind, random.Random(1)), transcribe(server.ws_url, audio, {"dtype": "int16"})
        )
        assert caller.finals
        async with asyncio.timeout(60):
            while server.service.limit.taken or server.service.limit.arriving:
                await asyncio.sleep(0.05)


def test_growth_is_a_slope() -> None:
    samples = [Sample(second, 100 + second / 30, 50, 9, 10) for second in range(0, 300, 5)]
    assert slope_per_minute(samples, lambda sample: sample.memory_mb) == 2.0
    assert slope_per_minute(samples, lambda sample: sample.descriptors) == pytest.approx(0.0)
    assert slope_per_minute(samples[:2], lambda sample: sample.memory_mb) is None
