"""The findings of the engine's benchmark for people and for programs: tables, figures beside targets, JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from bench import machine
from bench.calibration import STAYING
from bench.engine_suite import Findings
from bench.report import Check, figure, out, print_checks, print_table

TARGETS: Final = {80: 600, 560: 2500, 1120: 5000}  # streams by the milliseconds of a chunk, on a card
STREAM_MB: Final = 5.0
RATIO: Final = 10.0


def report(findings: Findings) -> dict[str, Any]:
    """Print everything, the table that matters last; returns what JSON can hold."""
    result = _to_dict(findings)
    checks = _checks(findings)
    result["checks"] = [check.to_dict() for check in checks]
    _print_emission(findings)
    if findings.shares:
        _print_shares(findings)
    if findings.splits:
        _print_splits(findings)
    _print_memory(findings)
    for part, reason in findings.skipped.items():
        out.print(f"skipped: {part}: {reason}", soft_wrap=True)
    if checks:
        print_checks(checks)
    _print_summary(findings)
    return result


def _milliseconds(findings: Findings, frames: int) -> int:
    return round(1e3 * findings.periods[frames])


def _name(findings: Findings, frames: int) -> str:
    return f"{_milliseconds(findings, frames)} ms"


def _ms(seconds: float | None, digits: int = 2) -> str:
    return figure(None if seconds is None else 1e3 * seconds, "ms", digits)


def _print_emission(findings: Findings) -> None:
    calibration = findings.calibration
    if calibration is not None:
        one, two, three = (figure(100 * share, "%", 2) for share in calibration.more_than)
        out.print(
            f"random weights, calibrated on {findings.speech.source}: {calibration.tokens_per_sec:.2f} tokens per"
            f" second at a blank bias of {calibration.blank_bias:.2f}; one label in {STAYING} is followed by"
            f" another at its frame; more than 1, 2, 3 labels in {one}, {two}, {three} of the frames",
            soft_wrap=True,
        )
    rows = []
    for frames in findings.periods:
        emission = findings.emission.get(frames, {})
        streamed = findings.streamed.get(frames)
        rows.append(
            (
                _name(findings, frames),
                figure(emission.get("recognizer"), "", 2),
                figure(emission.get("engine"), "", 2),
                figure(streamed.tokens_per_sec if streamed else None, "", 2),
                figure(findings.read.tokens_per_sec if findings.read else None, "", 2),
            )
        )
    headings = ("chunk", "recognizer", "engine", "transformers streaming", "transformers offline")
    print_table("Tokens emitted per second of speech", headings, rows)


def _print_shares(findings: Findings) -> None:
    rows = [
        (
            _name(findings, frames),
            str(findings.capacity[frames]["engine"].streams),
            *(figure(100 * shares[key], "%") for key in ("device", "recognizer", "scheduling", "messages")),
            limit(findings, frames) or "-",
        )
        for frames, shares in findings.shares.items()
    ]
    headings = ("chunk", "streams", "runner and device", "text", "scheduling", "messages", "limited by")
    print_table("Where the engine's time goes at capacity", headings, rows)


def _print_splits(findings: Findings) -> None:
    rows = []
    for frames, split in findings.splits.items():
        cost, rates = findings.costs[frames], findings.rates
        assert rates is not None
        floor = cost.seconds(split.rows, rates)
        rows.append(
            (
                f"{_name(findings, frames)} x {split.rows}",
                _ms(split.features),
                _ms(split.encoder),
                f"{_ms(split.search)} x {split.rounds:.2f}",
                f"{_ms(split.copy_in)} + {_ms(split.copy_out)}",
                _ms(split.fill),
                _ms(split.other),
                _ms(split.text),
                _ms(split.total),
                f"{_ms(floor)} ({cost.bound(split.rows, rates)})",
                figure(split.total / floor, "", 1),
            )
        )
    headings = (
        "step", "features", "encoder", "search", "copies", "fill", "wait, collect", "text", "whole", "floor", "gap",
    )  # fmt: skip
    print_table("A step, and its parts run alone", headings, rows)
    assert findings.rates is not None
    measured = findings.rates.to_dict()
    out.print(
        f"measured on this device: {measured['gigabytes_per_sec']} GB/s copied (read and written),"
        f" {measured['teraflops']} TFLOP/s in a matrix product",
        soft_wrap=True,
    )
    out.print()


def _print_memory(findings: Findings) -> None:
    memory = findings.memory
    out.print(
        f"memory: {memory['stream_mb']:.2f} MB of state and {memory['keyterms_mb']:.3f} MB of keyterms for each of"
        f" {findings.model['slots']} streams, model {memory['model_gb']:.2f} GB, recorded steps"
        f" {memory['graphs_gb']:.2f} GB, at most {memory.get('peak_gb', 0.0):.2f} GB",
        soft_wrap=True,
    )
    out.print()


def _print_summary(findings: Findings) -> None:
    rows = []
    for frames, period in findings.periods.items():
        capacity = findings.capacity.get(frames, {})
        cost, streamed = findings.costs.get(frames), findings.streamed.get(frames)
        best = capacity["recognizer"].best if "recognizer" in capacity else None
        floor = cost.streams(period, findings.rates) if cost and findings.rates else None
        rows.append(
            (
                _name(findings, frames),
                *(_streams(findings, frames, where) for where in ("recognizer", "engine")),
                _ms(best.p50 if best else None, 1),
                _ms(best.p99 if best else None, 1),
                str(best.batch) if best else "-",
                str(floor) if floor is not None else "-",
                str(streamed.streams) if streamed else "-",
                figure(ratio(findings, frames), "", 1),
            )
        )
    headings = (
        "chunk", "streams", "through the engine", "p50", "p99", "batch", "floor allows", "transformers", "ratio",
    )  # fmt: skip
    title = f"Streams in real time at p99, {findings.model['type']} ({findings.model['parameters'] / 1e6:.0f} M)"
    print_table(f"{title} on {device_name(findings)}", headings, rows)
    if findings.read is not None:
        out.print(f"transformers offline: {findings.read.streams:.0f} seconds of audio per second", soft_wrap=True)
    out.file.flush()


def _streams(findings: Findings, frames: int, where: str) -> str:
    capacity = findings.capacity.get(frames, {}).get(where)
    if capacity is None:
        return "-"
    note = " (all slots)" if capacity.limited else "" if capacity.complete else " (out of time)"
    return f"{capacity.streams}{note}"


def ratio(findings: Findings, frames: int) -> float | None:
    """Our streams over those of transformers' streaming."""
    capacity, streamed = findings.capacity.get(frames, {}), findings.streamed.get(frames)
    if "recognizer" not in capacity or streamed is None or not streamed.streams:
        return None
    return capacity["recognizer"].streams / streamed.streams


def limit(findings: Findings, frames: int) -> str | None:
    """What takes most of the engine's time at capacity."""
    shares = findings.shares.get(frames)
    if shares is None:
        return None
    if findings.capacity[frames]["engine"].limited:
        return "slots"
    return max(shares, key=lambda key: shares[key])


def device_name(findings: Findings) -> str:
    """The card, or the processor."""
    if findings.plan.device == "cpu":
        return str(machine.describe()["machine"]["cpu"])
    import torch

    return str(torch.cuda.get_device_name(findings.plan.device))


def _checks(findings: Findings) -> list[Check]:
    """Targets are for full-size weights on a card; elsewhere there are none."""
    if findings.plan.device == "cpu" or findings.plan.weights == "tiny":
        return []
    checks = [Check("state of a stream", findings.memory["stream_mb"], STREAM_MB, unit="MB")]
    for frames in findings.periods:
        least = TARGETS.get(_milliseconds(findings, frames))
        for where, capacity in findings.capacity.get(frames, {}).items():
            if least is not None:
                name = f"streams at {_name(findings, frames)}, {where}"
                checks.append(Check(name, capacity.streams, least, at_least=True))
        if frames in findings.streamed:
            name = f"times transformers' streaming at {_name(findings, frames)}"
            checks.append(Check(name, ratio(findings, frames), RATIO, at_least=True))
    return checks


def _to_dict(findings: Findings) -> dict[str, Any]:
    import torch

    plan = findings.plan
    described = machine.describe()
    described["versions"] |= {"torch": torch.__version__, "transformers": findings.rival}
    return {
        "bench": "engine",
        **described,
        "device": device_name(findings),
        "plan": {name: str(value) if name == "audio" else value for name, value in asdict(plan).items()},
        "model": findings.model,
        "speech": {"source": findings.speech.source, "seconds": round(findings.speech.seconds, 1)},
        "calibration": asdict(findings.calibration) if findings.calibration else None,
        "memory": {name: round(value, 4) for name, value in findings.memory.items()},
        "rates": findings.rates.to_dict() if findings.rates else None,
        "chunks": {str(_milliseconds(findings, frames)): _chunk(findings, frames) for frames in findings.periods},
        "offline": findings.read.to_dict() if findings.read else None,
        "skipped": findings.skipped,
    }


def _chunk(findings: Findings, frames: int) -> dict[str, Any]:
    """All that is known of one chunk size."""
    split, cost, rates = findings.splits.get(frames), findings.costs.get(frames), findings.rates
    streamed = findings.streamed.get(frames)
    floor = None
    if split and cost and rates:
        least = cost.seconds(split.rows, rates)
        floor = {
            **cost.to_dict(),
            "step_ms": round(1e3 * least, 4),
            "bound": cost.bound(split.rows, rates),
            "gap": round(split.total / least, 2),
            "streams": cost.streams(findings.periods[frames], rates),
        }
    emission = findings.emission.get(frames, {})
    shares = findings.shares.get(frames)
    return {
        "frames": frames,
        "capacity": {where: capacity.to_dict() for where, capacity in findings.capacity.get(frames, {}).items()},
        "tokens_per_sec": {where: round(rate, 2) for where, rate in emission.items()},
        "engine_shares": {name: round(share, 3) for name, share in shares.items()} if shares else None,
        "limited_by": limit(findings, frames),
        "step": split.to_dict() if split else None,
        "floor": floor,
        "transformers": streamed.to_dict() if streamed else None,
        "ratio": ratio(findings, frames),
    }
