"""What the loads say about capacity."""

from typing import Any

import pytest

capacity = pytest.importorskip("bench.capacity", reason="the extra `bench` is not installed")
load = pytest.importorskip("bench.load", reason="the extra `bench` is not installed")


def make_load(streams: int, p95: float | None, *, lost: int = 0, errors: dict[str, int] | None = None) -> Any:
    latency = {"count": 0, "p50": p95, "p95": p95, "p99": p95, "max": p95}
    return load.Load(
        streams=streams,
        seconds=10.0,
        audio_sec=10.0 * streams,
        wall_sec=11.0,
        server_cores=1.0,
        generator_cores=0.1,
        other_cores=0.1,
        server_waited=None,
        server_cpu_per_sec=0.05,
        server_memory_mib=300.0,
        partials_per_stream_sec=1.8,
        errors=errors or {},
        lost=lost,
        send_lag_p95_ms=1.0,
        latency={"first_partial": latency, "partial": latency, "final": latency},
    )


@pytest.mark.parametrize(
    ("loads", "streams"),
    [
        ([make_load(8, 100), make_load(16, 1000), make_load(24, 1001)], 16),
        ([make_load(8, 100), make_load(16, 1500), make_load(24, 900)], 8),  # luck at 24 does not count
        ([make_load(8, 100), make_load(16, 100, lost=1)], 8),
        ([make_load(8, 100), make_load(16, 100, errors={"TIMEOUT": 1})], 8),
        ([make_load(8, None)], 0),  # no final is no proof
        ([], 0),
    ],
)
def test_the_most_streams_with_everything_in_order(loads: list[Any], streams: int) -> None:
    assert capacity.Capacity(tuple(loads)).streams == streams


def test_targets_are_checked_where_they_were_tried() -> None:
    curve = capacity.Capacity((make_load(24, 999), make_load(32, 9999), make_load(60, 3001, lost=2)))
    assert [(check.value, check.target, check.passed) for check in curve.checks()] == [
        (999, 1000, True),
        (0, 0, True),
        (3001, 3000, False),
        (2, 0, False),
    ]


async def test_the_load_grows_past_the_limit_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_load(server: Any, streams: int, seconds: float, track: Any) -> Any:
        return make_load(streams, 100.0 * streams)

    monkeypatch.setattr(capacity, "run_load", run_load)
    monkeypatch.setattr(capacity, "_PAUSE_SEC", 0)
    told: list[int] = []
    curve = await capacity.measure(None, (8, 40, 60, 80), 1.0, None, lambda load: told.append(load.streams))
    assert told == [8, 40, 60]
    assert curve.streams == 8
