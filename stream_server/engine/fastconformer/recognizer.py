"""The streaming transducer behind the engine's interface: chunks in, text that only grows out.

Every frame is encoded once, and what has been emitted is never taken back, so a partial is stable as a whole. What a
stream remembers on the device is forgotten at every pause: a session may last as long as it likes. Only a segment that
was cut amid speech hands its memory on to the next.

It knows nothing of other callers, of load or of time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from stream_server.engine.fastconformer.geometry import Geometry
from stream_server.engine.fastconformer.keyterm import KeytermAutomaton, KeytermLimitError
from stream_server.engine.fastconformer.program import Chunk, Emission
from stream_server.engine.fastconformer.runner import Runner
from stream_server.engine.fastconformer.settings import FastConformerSettings
from stream_server.engine.fastconformer.text import Transcript, Vocabulary, timed_words
from stream_server.engine.likelihood import confidence
from stream_server.engine.recognizer import DeviceLostError, Kind, RecognizerInfo, Stream, Task
from stream_server.engine.slots import Slot
from stream_server.engine.work import Hypothesis

logger = logging.getLogger(__name__)

AUTO = "auto"
UNSOUND = "audio that is not of finite numbers, keyterms that cannot be used, or a segment that has failed already"
_LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(-[A-Z]{2})?")


@dataclass(slots=True)
class _Segment:
    """A segment so far: its audio and frames that have been taken, and what was emitted, one entry a token."""

    id: int
    start: int
    transcript: Transcript
    samples: int = 0
    frames: int = 0
    at: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    hypothesis: Hypothesis | None = None


class FastConformerStream(Stream):
    """One caller: its slot on the device, its segment, and of the last one where it ended and what was left of it:
    the first bytes of a character, which the next may complete if it follows."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot.index
        self.segment: _Segment | None = None
        self.ended: int | None = None
        self.pending = b""
        self.failed: int | None = None  # the segment of which nothing more is taken

    def goes_on(self, task: Task) -> bool:
        """Whether a task that begins a segment takes up where the last one ended."""
        return task.follows and self.ended == task.start


class FastConformerRecognizer:
    """A cache-aware FastConformer transducer, known to callers as ``name``. Streaming kind: see `engine.recognizer`."""

    def __init__(
        self,
        name: str,
        runner: Runner,
        vocabulary: Vocabulary,
        settings: FastConformerSettings,
    ) -> None:
        self._runner = runner
        self._vocabulary = vocabulary
        self._settings = settings
        self._keyterms: dict[int, tuple[str, ...]] = {}  # what each slot has on the device, left by whoever
        self._automaton_of = lru_cache(maxsize=256)(self._automaton)
        config = runner.model.config
        self._geometry = Geometry.of(config.feature, config.encoder)
        self._prompt = config.prompt
        languages = settings.languages
        if self._prompt is not None:
            languages = tuple(sorted(tag for tag in self._prompt.dictionary if _LANGUAGE_TAG.fullmatch(tag)))
        self._language = languages[0] if len(languages) == 1 else AUTO
        chunks = tuple(self._geometry.chunk_samples(frames) for frames in sorted(runner.buckets))
        self.info = RecognizerInfo(
            name=name,
            kind="streaming",
            languages=languages,
            description=f"Cache-aware FastConformer transducer, {config.encoder.layers} layers of "
            f"{config.encoder.hidden}, every frame encoded once ({runner.state.attention.device.type})",
            step_samples=self._geometry.chunk_samples(config.encoder.default_lookahead + 1),
            chunks=chunks,
            lead_samples=self._geometry.lead_samples,
            max_batch=settings.max_batch,
            max_step_samples=settings.max_batch_frames * self._geometry.frame_samples,
            max_segment_sec=settings.max_segment_sec,
            max_streams=runner.state.slots,
            keyterms=True,
        )

    def new_stream(self, slot: Slot) -> Stream:
        return FastConformerStream(slot)

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis | Exception]:
        """Decode one batch of chunks of one length; see `engine.recognizer.Recognizer.step`."""
        sound = [task for task in tasks if self._is_sound(task)]
        segments = [self._segment(task) for task in sound]
        chunks = [self._chunk(task, segment) for task, segment in zip(sound, segments, strict=True)]
        emissions = self._runner.run(chunks, tasks[0].chunk // self._geometry.frame_samples)
        found: dict[int, Hypothesis | Exception] = {}
        for task, segment, chunk, emission in zip(sound, segments, chunks, emissions, strict=True):
            try:
                found[id(task)] = self._conclude(task, segment, chunk, emission)
            except Exception as error:  # the chunk has been taken: what remains is to fail this one alone
                found[id(task)] = self._give_up(task, error)
        return [found.get(id(task)) or self._give_up(task, ValueError(UNSOUND)) for task in tasks]

    def _is_sound(self, task: Task) -> bool:
        """Whether a task can be taken: what is no number would stay in the state of its slot, and what follows a chunk
        that failed has lost its place."""
        assert isinstance(task.stream, FastConformerStream)
        if task.stream.failed == task.segment_id or not np.isfinite(task.audio).all():
            return False
        try:
            self._heed_keyterms(task)
        except DeviceLostError:
            raise
        except Exception:
            logger.exception("keyterms could not be brought to the device")
            return False
        return True

    def _segment(self, task: Task) -> _Segment:
        stream = task.stream
        assert isinstance(stream, FastConformerStream)
        if stream.segment is not None and stream.segment.id == task.segment_id:
            return stream.segment
        pending = stream.pending if stream.goes_on(task) else b""
        return _Segment(task.segment_id, task.start, Transcript(self._vocabulary, pending=pending))

    def _chunk(self, task: Task, segment: _Segment) -> Chunk:
        stream = task.stream
        assert isinstance(stream, FastConformerStream)
        first, last = segment.samples == 0, task.kind is Kind.FINAL
        frames = task.chunk // self._geometry.frame_samples
        if last:
            frames = self._geometry.count_frames(segment.samples + len(task.audio)) - segment.frames
        return Chunk(
            slot=stream.slot,
            audio=task.audio,
            first=first,
            reset=first and not stream.goes_on(task),
            last=last,
            frames=frames,
            prompt=self._prompt_of(task.options.language),
            boosted=bool(self._keyterms.get(stream.slot)),
        )

    def _prompt_of(self, language: str) -> int:
        return 0 if self._prompt is None else self._prompt.dictionary.get(language, self._prompt.default)

    def _give_up(self, task: Task, error: Exception) -> Exception:
        """The task's segment has failed: its stream begins anew with the next one."""
        assert isinstance(task.stream, FastConformerStream)
        task.stream.segment = task.stream.ended = None
        task.stream.pending = b""
        task.stream.failed = task.segment_id
        return error

    def _conclude(self, task: Task, segment: _Segment, chunk: Chunk, emission: Emission | Exception) -> Hypothesis:
        """Take what came of a chunk into the stream, and say what there is now."""
        if isinstance(emission, Exception):
            raise emission
        stream = task.stream
        assert isinstance(stream, FastConformerStream)
        stream.segment = segment
        segment.at += [segment.frames + frame for frame in emission.frames]
        segment.logprobs += emission.logprobs
        segment.transcript.append(emission.tokens)
        segment.samples += len(task.audio)
        segment.frames += chunk.frames
        if task.kind is Kind.FINAL:
            stream.segment = None
            stream.ended = segment.start + segment.samples
            stream.pending = segment.transcript.pending
            return self._hypothesis(task, segment)
        if segment.hypothesis is None or emission.tokens:
            segment.hypothesis = self._hypothesis(task, segment)
        return segment.hypothesis

    def _hypothesis(self, task: Task, segment: _Segment) -> Hypothesis:
        text, asked = segment.transcript.text, task.options.language
        words = None
        if task.kind is Kind.FINAL and task.options.words:
            words = timed_words(
                segment.transcript.words(),
                segment.at,
                segment.logprobs,
                frame_samples=self._geometry.frame_samples,
                start=segment.start,
                end=segment.start + segment.samples,
            )
        return Hypothesis(
            text=text,
            stable_chars=len(text),
            confidence=confidence(segment.logprobs) if text else 0.0,
            language=segment.transcript.language or (self._language if asked == AUTO else asked),
            words=words,
        )

    def _heed_keyterms(self, task: Task) -> None:
        """Bring the stream's keyterms to the device if they have changed: with the next segment, not within one."""
        stream, terms = task.stream, task.options.keyterms
        assert isinstance(stream, FastConformerStream)
        going_on = stream.segment is not None and stream.segment.id == task.segment_id
        if going_on or self._keyterms.get(stream.slot, ()) == terms:
            return
        self._runner.favour(stream.slot, self._automaton_of(terms))
        self._keyterms[stream.slot] = terms

    def _automaton(self, terms: tuple[str, ...]) -> KeytermAutomaton | None:
        """The automaton of as many terms as there is room for: first all as they were given, then otherwise."""
        settings = self._settings.keyterms
        spellings = _spellings(terms)
        phrases: list[tuple[int, ...]] = []
        edges = 0  # about, as if no beginning were shared
        for spelling in spellings:
            phrase = self._vocabulary.encode(spelling)
            edges += len(phrase)
            if edges > settings.max_edges:
                break
            phrases.append(phrase)
        while phrases:
            try:
                automaton = KeytermAutomaton.build(phrases, settings)
            except KeytermLimitError:
                del phrases[-max(1, len(phrases) // 8) :]
                continue
            if len(phrases) < len(spellings):
                logger.warning("keyterms: room for %d of %d spellings", len(phrases), len(spellings))
            return automaton
        return None


def _spellings(terms: Sequence[str]) -> list[str]:
    """All as they were given, then all as in the midst of a sentence, then all as at its beginning."""
    midst, beginning = [term.lower() for term in terms], [term[:1].upper() + term[1:] for term in terms]
    return list(dict.fromkeys([*terms, *midst, *beginning]))
