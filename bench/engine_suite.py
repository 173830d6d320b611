"""The parts of the engine's benchmark, one after the other, within a budget of time. It does not know the command line,
and neither tables nor pictures: what it finds are values.
"""

from __future__ import annotations

import gc
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch

from bench.calibration import Calibration
from bench.checkpoint import SIZES, make_checkpoint
from bench.driver import EngineLoad, MeteredRunner, RecognizerLoad
from bench.floor import Cost, Rates, count, measure_rates
from bench.realtime import Capacity, Played, Schedule, find_capacity, play, predict
from bench.report import Phases, out
from bench.rival import Read, Rival, RivalError, Streamed
from bench.speech import Speech, load_speech
from bench.split import Split, measure_split, whole_steps
from stream_server.engine.fastconformer.configuration import read_config
from stream_server.engine.fastconformer.keyterm import KeytermTable
from stream_server.engine.fastconformer.loading import allocate, load_model
from stream_server.engine.fastconformer.recognizer import FastConformerRecognizer
from stream_server.engine.fastconformer.settings import FastConformerSettings
from stream_server.engine.fastconformer.text import Vocabulary
from stream_server.engine.work import SAMPLE_RATE, StreamOptions

_WHERE: Final = ("recognizer", "engine")
_RIVAL_SHARE: Final = 0.35  # of the time that is left once the engine stands


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, of which weights: ``random``, ``tiny``, or a folder. ``seconds`` is the length of a run of
    streams, ``budget`` that of everything.
    """

    weights: str
    family: str
    device: str
    parts: tuple[str, ...]
    audio: Path | None
    max_streams: int
    max_batch: int
    tokens_per_sec: float
    seconds: float
    budget: float

    @property
    def is_random(self) -> bool:
        return self.weights in SIZES


@dataclass(slots=True)
class Findings:
    """What was found, by encoder frames of a chunk; ``skipped`` says why something was not."""

    plan: Plan
    speech: Speech
    memory: dict[str, float] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    rates: Rates | None = None
    periods: dict[int, float] = field(default_factory=dict)
    capacity: dict[int, dict[str, Capacity]] = field(default_factory=dict)
    emission: dict[int, dict[str, float]] = field(default_factory=dict)  # tokens per second
    shares: dict[int, dict[str, float]] = field(default_factory=dict)  # of the engine's time
    splits: dict[int, Split] = field(default_factory=dict)
    costs: dict[int, Cost] = field(default_factory=dict)
    streamed: dict[int, Streamed] = field(default_factory=dict)
    read: Read | None = None
    rival: str | None = None
    skipped: dict[str, str] = field(default_factory=dict)


class Budget:
    """Time that is left, and shares of it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def share(self, part: float) -> Callable[[], bool]:
        """Whether there is still time in this part of what is left now."""
        end = time.monotonic() + part * self.left
        return lambda: time.monotonic() < end


class _Bench:
    """One model, and all that is measured on it."""

    def __init__(self, plan: Plan, folder: Path, findings: Findings, phases: Phases) -> None:
        self._plan = plan
        self._folder = folder
        self._found = findings
        self._phases = phases
        self._device = torch.device(plan.device)
        self._dtype = torch.float32 if plan.device == "cpu" else torch.bfloat16
        config = self._config = read_config(folder)
        settings = replace(FastConformerSettings(), max_batch=plan.max_batch)
        model = load_model(config, folder, plan.device, self._dtype)
        state, keyterms = allocate(config, self._device, self._dtype, plan.max_streams, settings)
        self._runner = MeteredRunner(model, state, keyterms, settings)
        self._recognizer = FastConformerRecognizer("bench", self._runner, Vocabulary.load(folder), settings)
        self._runner.warm_up()
        self._chunks = {chunk // self._recognizer.info.chunks[0]: chunk for chunk in self._recognizer.info.chunks}
        findings.periods = {frames: chunk / SAMPLE_RATE for frames, chunk in self._chunks.items()}
        self._parameters = sum(parameter.numel() for parameter in model.parameters())
        findings.model = {
            "type": config.model_type,
            "parameters": self._parameters,
            "layers": config.encoder.layers,
            "hidden": config.encoder.hidden,
            "left": config.encoder.left,
            "vocabulary": config.transducer.vocabulary,
            "slots": state.slots,
            "buckets": {str(frames): sizes for frames, sizes in self._runner.buckets.items()},
        }
        weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        findings.memory = {
            "stream_mb": state.bytes_per_stream / 1e6,
            "keyterms_mb": KeytermTable.bytes_for(settings.keyterms) / 1e6,
            "model_gb": weights / 1e9,
            "graphs_gb": self._runner.graph_bytes / 1e9,
        }

    def load(self, where: str, streams: int, chunk: int) -> RecognizerLoad | EngineLoad:
        kind = RecognizerLoad if where == "recognizer" else EngineLoad
        options = StreamOptions(self._recognizer.info.languages[0], chunk_samples=chunk)
        return kind(self._recognizer, self._found.speech, streams, chunk, options)

    def recognizer_load(self, streams: int, chunk: int) -> RecognizerLoad:
        load = self.load("recognizer", streams, chunk)
        assert isinstance(load, RecognizerLoad)
        return load

    def capacity(self, budget: Budget, part: float) -> None:
        """How many streams there may be, with the recognizer alone and through the engine."""
        pairs = [(frames, where) for frames in self._chunks for where in _WHERE]
        advance = self._phases.begin("streams in real time", len(pairs))
        end = budget.left * (1 - part)
        for done, (frames, where) in enumerate(pairs):
            has_time = budget.share((budget.left - end) / max(budget.left, 1e-9) / (len(pairs) - done))
            self._capacity(frames, where, has_time)
            advance(1)

    def _capacity(self, frames: int, where: str, has_time: Callable[[], bool]) -> None:
        runner, chunk = self._runner, self._chunks[frames]
        period, interval = chunk / SAMPLE_RATE, self._recognizer.info.chunks[0] / SAMPLE_RATE
        found = self._found.capacity.setdefault(frames, {})
        most = self._runner.state.slots
        if where == "recognizer":
            seconds = self._curve(frames)
            schedule = Schedule.of(period, period, self._plan.seconds)
            guess = predict(schedule, most, runner.buckets[frames][-1], seconds)
        else:
            guess = max(1, int(0.9 * found["recognizer"].streams))
        schedule = Schedule.of(period, interval, self._plan.seconds)
        emission, shares = self._found.emission.setdefault(frames, {}), self._found.shares

        def run(streams: int) -> Played:
            runner.reset()
            load = self.load(where, streams, chunk)
            played = play(load, schedule)
            if runner.frames:
                emission[where] = runner.tokens / (runner.frames * interval)
            if isinstance(load, EngineLoad) and played.holds:
                inside = load.recognizer_seconds
                shares[frames] = {
                    "device": runner.seconds / played.busy,
                    "recognizer": (inside - runner.seconds) / played.busy,
                    "scheduling": (played.busy - played.delivering - inside) / played.busy,
                    "messages": played.delivering / played.busy,
                }
            del load
            gc.collect()
            return played

        found[where] = find_capacity(run, guess, most, has_time=has_time)
        out.print(f"{period * 1e3:.0f} ms, {where}: {found[where].streams} streams", style="dim")

    def _curve(self, frames: int) -> Callable[[int], float]:
        """Seconds of a step, by the chunks in it."""
        sizes = self._runner.buckets[frames]
        seconds: dict[int, float] = {}
        for size in sizes:
            totals, _, _ = whole_steps(self._runner, self.recognizer_load, frames, size, patience=0.5)
            seconds[size] = sorted(totals)[len(totals) // 2]
        return lambda batch: seconds[next((size for size in sizes if size >= batch), sizes[-1])]

    def split(self) -> None:
        """Where the time of a step goes, and what it would be at least."""
        advance = self._phases.begin("parts of a step", len(self._chunks) + 1)
        found = self._found
        with torch.inference_mode():  # as all that has been captured before it
            found.rates = measure_rates(self._device, self._dtype)
        advance(1)
        for frames in self._chunks:
            best = found.capacity.get(frames, {}).get("recognizer")
            rows = best.best.batch if best and best.best else self._runner.buckets[frames][-1]
            found.splits[frames] = measure_split(self._runner, self.recognizer_load, frames, rows)
            item = self._dtype.itemsize
            found.costs[frames] = count(self._config, self._parameters, frames, item, self._plan.tokens_per_sec)
            advance(1)

    def rival(self, budget: Budget) -> None:
        """What transformers reaches. Raises RivalError."""
        advance = self._phases.begin("transformers", len(self._chunks) + 2)
        rival = Rival(self._folder, self._config, self._found.speech, self._device)
        self._found.rival = rival.version
        advance(1)
        most = self._plan.max_streams
        for done, frames in enumerate(self._chunks):
            share = budget.share(0.9 / (len(self._chunks) + 1 - done))
            self._found.streamed[frames] = rival.stream(frames, most, share)
            advance(1)
        self._found.read = rival.read(most, budget.share(0.9))
        advance(1)

    def note_peak(self) -> None:
        """The most memory that there was at once."""
        if self._device.type == "cuda":
            self._found.memory["peak_gb"] = torch.cuda.max_memory_reserved(self._device) / 1e9
        else:
            self._found.memory["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(plan: Plan, phases: Phases) -> Findings:
    """Measure, as far as the budget reaches.

    Raises:
        SpeechError, CheckpointError, DeviceError, DeviceMemoryError, DeviceLostError: it could not begin, or go on.
    """
    budget = Budget(plan.budget)
    with ExitStack() as stack:
        # Longer than the longest chunk there is.
        speech = load_speech(plan.audio, 4 * SAMPLE_RATE)
        findings = Findings(plan, speech)
        folder = Path(plan.weights)
        if plan.is_random:
            advance = phases.begin("random weights", 1)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            findings.calibration = make_checkpoint(
                folder, plan.weights, plan.family, speech, plan.tokens_per_sec, plan.device
            )
            advance(1)
            gc.collect()
            if plan.device != "cpu":
                torch.cuda.empty_cache()  # what is free decides how many slots there are
        phases.begin("loading, and recording programs", 1)
        bench = _Bench(plan, folder, findings, phases)
        # What has been loaded stays: looking through all of it for garbage would take a tenth of a second now and then.
        gc.freeze()
        stack.callback(gc.unfreeze)
        out.print(f"ready with {budget.left:.0f} s left", style="dim")
        wants_rival = "transformers" in plan.parts
        if "capacity" in plan.parts:
            bench.capacity(budget, 1 - (_RIVAL_SHARE if wants_rival else 0.0) - 0.05)
        if "split" in plan.parts:
            bench.split()
        bench.note_peak()
        if wants_rival:
            try:
                bench.rival(budget)
            except (RivalError, RuntimeError, IndexError) as error:  # what was measured before is not to be lost
                findings.skipped["transformers"] = str(error)
    return findings
