"""Many callers at once: each hears its own words, whatever the others do."""

from __future__ import annotations

import asyncio

import pytest

from tests.protocol.sound import synthesize
from tests.support.caller import call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.running import running_server
from tests.support.speech import pcm

INIT = {"dtype": "int16"}


def voice(seconds: float) -> bytes:
    return pcm(synthesize("speech", round(seconds * 16_000), 16_000))


@pytest.mark.parametrize("recognizer", [FakeRecognizer(), FakeRecognizer.streaming()], ids=["segment", "streaming"])
async def test_each_hears_its_own_words(recognizer: FakeRecognizer) -> None:
    lengths = [0.5 + 0.25 * (number % 12) for number in range(36)]
    async with running_server(recognizer) as server:
        alone = {length: (await transcribe(server.ws_url, voice(length), INIT)).finals for length in set(lengths)}
        together = await asyncio.gather(*(transcribe(server.ws_url, voice(length), INIT) for length in lengths))
        assert server.service.engine.streams == 0
        assert server.service.limit.taken == 0
    assert len({finals[0]["text"] for finals in alone.values()}) == len(alone)
    for length, caller in zip(lengths, together, strict=True):
        assert [(final["text"], final["words"]) for final in caller.finals] == [
            (final["text"], final["words"]) for final in alone[length]
        ]


async def test_a_segment_that_fails_ends_its_own_session_only() -> None:
    recognizer = FakeRecognizer(poison=1)
    async with running_server(recognizer) as server:
        poisoned = await call(server.ws_url, INIT)
        await poisoned.send(voice(0.5) + bytes(48_000) + voice(0.5), "END")  # the second segment is number 1
        others = [transcribe(server.ws_url, voice(1.0), INIT) for _ in range(8)]
        for other in await asyncio.gather(*others):
            assert other.finals[0]["text"]
        assert await poisoned.rest() == 1011
    assert poisoned.events[-1]["code"] == "INTERNAL_ERROR"
    assert poisoned.of("ready")[0]["session_id"] in poisoned.events[-1]["message"]
    assert len(poisoned.finals) == 1
