"""The parts of the benchmark one after the other, against one server. It does not know the command line."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import accuracy, capacity, cost, latency, machine, peer, picture
from bench.corpus import SAMPLE_RATE, Clip
from bench.load import Load, run_load
from bench.playback import Recording, play_all
from bench.report import Check, Phases, out, print_checks
from bench.server import Server, start_server
from bench.tape import write_track
from stream_server.recording import write_wav

_WARM_UP_SEC: Final = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure (``wer``, ``cpu``, ``latency``, ``capacity``), and for how long."""

    parts: tuple[str, ...]
    clips: int | None  # to stream and to read; None is all
    callers: int  # of these recordings, at once
    latency_sec: float
    numbers: tuple[int, ...]  # of streams
    step_sec: float
    output: Path


async def measure(clips: Sequence[Clip], plan: Plan, phases: Phases) -> dict[str, Any]:
    """Measure, print the tables, write the files, and give everything as JSON can hold it.

    Raises:
        ChildError, LoadError, PeerError: a process of the benchmark failed.
        OSError: the results cannot be written.
    """
    plan.output.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"bench": "live", **machine.describe()}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        phases.begin("starting a server", 1)
        places = str(max(*plan.numbers, plan.callers) + 8)
        async with start_server("--max-sessions", places, "--admission", "fixed") as server:
            # The first decodes are slower, and nobody measures a server that has just been started.
            warm_up = Recording(clips[0].audio[: _WARM_UP_SEC * SAMPLE_RATE].tobytes())
            await play_all(server.url, [warm_up] * 3, 3, phases.begin("warming up", 3 * _WARM_UP_SEC))
            checks, curve = await _measure_parts(server, clips, plan, phases, folder, result)
    print_checks(checks)
    result["checks"] = [check.to_dict() for check in checks]
    stem = f"live-{result['date'].replace(':', '')[:17]}"
    if curve is not None:
        title = f"{result['machine']['cpu']}, {result['machine']['cores']} cores"
        picture.draw(curve.loads, title, plan.output / f"{stem}.png")
        result["picture"] = str(plan.output / f"{stem}.png")
        out.print(f"picture: {result['picture']}", soft_wrap=True)
    (plan.output / f"{stem}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


async def _measure_parts(
    server: Server, clips: Sequence[Clip], plan: Plan, phases: Phases, folder: Path, result: dict[str, Any]
) -> tuple[list[Check], capacity.Capacity | None]:
    """Fill ``result``; give the checks and the capacity curve."""
    checks: list[Check] = []
    used = clips[: plan.clips]
    seconds = sum(clip.seconds for clip in used)
    result["corpus"] = {"recordings": len(used), "audio_sec": round(seconds, 1)}
    track = write_track(folder / "track.wav", clips)
    streamed: accuracy.Streamed | None = None
    alone: Load | None = None
    curve: capacity.Capacity | None = None
    if {"wer", "cpu"} & set(plan.parts):
        advance = phases.begin(f"streaming {seconds:.0f} s of speech, {plan.callers} at a time", seconds)
        streamed = await accuracy.stream(server, used, plan.callers, advance)
    if streamed is not None and "wer" in plan.parts:
        advance = phases.begin(f"streaming {seconds:.0f} s as mu-law of 8 kHz", seconds)
        telephone = await accuracy.stream(server, used, plan.callers, advance, telephone=True)
        texts = accuracy.measure_whole(used, streamed, telephone, phases)
        texts.print()
        checks += texts.checks()
        result["accuracy"] = texts.to_dict()
    if "latency" in plan.parts:
        phases.begin(f"one stream for {plan.latency_sec:.0f} s", 1)
        alone = await run_load(server, 1, plan.latency_sec, track)
    if streamed is not None and "cpu" in plan.parts:
        advance = phases.begin("Moonshine's own streaming runtime", len(used))
        beside = await peer.measure(_write_clips(used, folder), advance)
        bill = cost.compare(used, streamed, None if alone is None else alone.server_cpu_per_sec, beside)
        bill.print()
        checks += bill.checks()
        result["cost"] = bill.to_dict()
    if alone is not None:
        latency.print_latency(alone)
        checks += latency.checks(alone)
        result["latency"] = alone.to_dict()
    if "capacity" in plan.parts:
        advance = phases.begin(f"{plan.step_sec:.0f} s each of up to {plan.numbers[-1]} streams", len(plan.numbers))
        curve = await capacity.measure(server, plan.numbers, plan.step_sec, track, lambda load: advance(1))
        curve.print()
        checks += curve.checks()
        result["capacity"] = curve.to_dict()
    return checks, curve


def _write_clips(clips: Sequence[Clip], folder: Path) -> list[Path]:
    """Each clip as a WAV file."""
    files = [folder / f"clip-{index}.wav" for index in range(len(clips))]
    for file, clip in zip(files, clips, strict=True):
        write_wav(file, clip.audio.tobytes())
    return files
