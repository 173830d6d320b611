"""What the benchmark of overload makes of what it saw."""

from __future__ import annotations

import asyncio

import pytest

from bench.load import Load
from bench.newcomer import LOST, Newcomer, newcomers, visit
from bench.overload import Crowd, Overload
from bench.playback import Recording
from tests.protocol.sound import synthesize
from tests.support.fake import FakeRecognizer
from tests.support.running import running_server
from tests.support.speech import pcm

ENDED = 100.0
SPOKEN = Recording(pcm(synthesize("speech", 16_000, 16_000)))


def crowd(streams: int, refused: int, *, lost: int = 0, memory: float = 300.0, final: float | None = 900.0) -> Crowd:
    latency = {kind: {"p50": final, "p95": final, "p99": final} for kind in ("final", "partial", "first_partial")}
    errors = {"CAPACITY_FULL": refused} if refused else {}
    load = Load(streams, 10, 0, 10, 1, 0, 0, None, 0, memory, 0.5, errors, lost, 1, latency)
    return Crowd(load, memory)


def overload(*after: Newcomer, last: Crowd | None = None, during: tuple[Newcomer, ...] = ()) -> Overload:
    tries = (crowd(32, 0), crowd(64, 14))
    return Overload(tries, last or crowd(150, 102), during, after, ENDED)


def refused(at: float, retry_after: float | None = 5.0) -> Newcomer:
    return Newcomer(ENDED + at, "CAPACITY_FULL", retry_after)


def served(at: float, final_ms: float = 100.0) -> Newcomer:
    return Newcomer(ENDED + at, final_ms=final_ms)


@pytest.mark.parametrize(
    ("after", "recovery"),
    [
        ((served(0.5), served(1.5)), 0.5),
        ((refused(0.5), served(1.5), served(2.5)), 1.5),
        ((served(0.5), served(1.5, 2000.0), served(2.5)), 2.5),
        ((served(0.5), Newcomer(ENDED + 1.5, LOST)), None),
        ((), None),
    ],
)
def test_a_server_is_back_when_all_who_come_from_then_on_are_served(
    after: tuple[Newcomer, ...], recovery: float | None
) -> None:
    assert overload(*after).recovery_sec == recovery


def test_all_is_well() -> None:
    seen = overload(served(0.5), during=(refused(-5.0),))
    assert seen.capacity == 50
    assert all(check.passed for check in seen.checks())
    seen.print()
    assert seen.to_dict()["newcomers"][0]["came"] == -5.0


@pytest.mark.parametrize(
    ("seen", "named"),
    [
        (overload(served(1), last=crowd(150, 102, final=1600.0)), "admitted: speech_end to final, p95"),
        (overload(served(1), last=crowd(150, 102, lost=1)), "admitted: errors and lost finals"),
        (overload(served(1), last=crowd(150, 140)), "admitted, of the capacity"),
        (overload(served(1), last=crowd(150, 102, memory=500.0)), "more memory than at capacity, peak"),
        (overload(served(1), during=(refused(-1, None),)), "newcomers refused without being told when to come back"),
        (overload(refused(14)), "a newcomer is served as usual after"),
    ],
)
def test_what_is_not_well_is_named(seen: Overload, named: str) -> None:
    assert [check.name for check in seen.checks() if not check.passed] == [named]


async def test_newcomers_are_served_or_refused() -> None:
    async with running_server(FakeRecognizer(), max_sessions=1) as server:
        async with newcomers(server.ws_url, SPOKEN) as queue:
            while not queue.done:
                await asyncio.sleep(0.05)
        first, *later = queue.between(0.0)
        assert first.final_ms is not None
        assert all(newcomer.is_refused for newcomer in later[:1]), "who comes a second later, while it speaks"
        server.service.limit.taken += 1
        late = await visit(server.ws_url, SPOKEN)
        server.service.limit.taken -= 1
        assert late.is_refused
        assert late.retry_after
