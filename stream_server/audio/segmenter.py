"""Segmenter: cuts one stream of audio into segments of speech. Speech probabilities go in, events come out.

It does not know where the probabilities come from (see `vad`), what is done with a segment, or what time it is: all
times are sample counts at 16 kHz since the start of the stream. There is no I/O here, no clock and no randomness, so
the same frames give the same events whatever the size of the pieces they arrive in.

The state machine. A frame is *speech* when its probability reaches `start_threshold`, *silence* when it is below
`stop_threshold`; what lies between continues whatever was going on (hysteresis).

    state     frame                                     next      effect
    --------  ----------------------------------------  --------  ---------------------------------------------------
    QUIET     speech                                    STARTING  remember where it began
    STARTING  silence                                   QUIET     forget it: a click, a cough
    STARTING  not silence, `min_speech` reached         SPEAKING  SegmentStarted, `pre_roll` before the speech included
    SPEAKING  silence                                   STOPPING  remember where speech ended
    SPEAKING  not silence, `max_segment` reached        SPEAKING  SegmentEnded and SegmentStarted at the quietest point
    STOPPING  speech                                    SPEAKING  the pause belongs to the segment
    STOPPING  not speech, all of `padding` heard        STOPPING  SegmentPaused, once a pause
    STOPPING  not speech, the needed silence reached    QUIET     SegmentEnded, `padding` after the speech included

The needed silence is `silence_threshold`; in the last `patience` before `max_segment` any `pause` will do, so that a
long talker is cut between words rather than inside one. A segment keeps at most half of the silence that ends it, so
that the other half is there as pre-roll for the next one; segments never overlap. Audio of a pause is handed over only
as far as it is sure to belong to the segment: nothing handed over is ever taken back, except by a forced cut.

Memory is bounded: `pre_roll` while quiet, a few seconds (`cut_window` and the held part of a pause) while speaking.
"""

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples per second of everything in this module."""

_CUT_STEP = 160  # candidate positions of a forced cut lie 10 ms apart


@dataclass(frozen=True)
class SegmenterSettings:
    """How a stream is cut. Thresholds are probabilities; everything else is samples at 16 kHz.

    The defaults were chosen by measurement: see docs/decisions/002-voice-activity-detection.md.
    """

    start_threshold: float = 0.3
    """A frame at or above it is speech."""
    stop_threshold: float = 0.15
    """A frame below it is silence."""
    min_speech: int = 1_600
    """Speech shorter than this opens no segment."""
    pre_roll: int = 8_000
    """Audio before the speech that belongs to the segment."""
    padding: int = 6_400
    """Audio after the speech that belongs to the segment, at most half of the silence that ends it."""
    silence_threshold: int = 12_800
    """Silence that ends a segment, 0.1 to 10 s."""
    max_segment: int = 320_000
    """Longest segment, pre-roll and padding included; at least 2 s."""
    pause: int = 3_200
    """Silence that ends a segment once it is long; shorter ones are not reported as pauses."""
    patience: int = 64_000
    """How long before `max_segment` a pause begins to be enough; at most half of `max_segment` is used."""
    cut_window: int = 32_000
    """How far before `max_segment` a forced cut is searched; at most half of `max_segment` is used."""
    cut_smoothing: int = 1_600
    """Length of audio whose energy decides where it is quietest."""

    def __post_init__(self) -> None:
        assert 0 < self.stop_threshold <= self.start_threshold <= 1
        assert min(self.min_speech, self.pre_roll, self.padding, self.patience) >= 0
        assert min(self.pause, self.cut_smoothing) > 0
        assert self.cut_smoothing * 2 <= self.cut_window
        assert self.cut_smoothing * 2 <= self.max_segment // 2
        assert SAMPLE_RATE // 10 <= self.silence_threshold <= 10 * SAMPLE_RATE
        assert self.max_segment >= 2 * SAMPLE_RATE
        assert self.pre_roll + self.min_speech + self.pause <= self.max_segment // 2

    @property
    def sure_samples(self) -> int:
        """How much from a segment's start no forced cut can take back."""
        return self.max_segment - min(self.cut_window, self.max_segment // 2)


@dataclass(frozen=True)
class SegmentStarted:
    """A segment is open.

    start: its first sample, pre-roll included. speech: where speech was judged to begin.
    """

    start: int
    speech: int


@dataclass(frozen=True)
class SegmentAudio:
    """The next audio of the open segment; the pieces are contiguous from `SegmentStarted.start`.

    samples: [n] float32 at 16 kHz, not to be written to. Comparison looks at `position` and `count` only.
    """

    position: int
    count: int
    samples: NDArray[np.float32] = field(compare=False, repr=False)


@dataclass(frozen=True)
class SegmentPaused:
    """The speaker has been silent since sample `speech_end`, and all audio was handed over that the segment will have
    unless speech goes on. Its final can be prepared now."""

    speech_end: int


@dataclass(frozen=True)
class SegmentEnded:
    """The open segment is [start, end).

    end: equal to the end of the audio handed over, or before it when `forced`: the rest then belongs to the next
    segment, whose SegmentStarted and audio follow at once. speech_end: where speech was judged to end. silence: samples
    of silence heard after it (0 when forced).
    """

    end: int
    speech_end: int
    silence: int
    forced: bool


Event = SegmentStarted | SegmentAudio | SegmentPaused | SegmentEnded


class State(enum.Enum):
    """Where the state machine is; the table at the top of the module has the rules."""

    QUIET = enum.auto()
    STARTING = enum.auto()
    SPEAKING = enum.auto()
    STOPPING = enum.auto()


class Segmenter:
    """The segmentation of one channel of one stream.

    settings: how to cut. frame_samples: length of the frames that `receive` is given (`VadModel.frame_samples`).
    """

    def __init__(self, settings: SegmenterSettings, frame_samples: int) -> None:
        assert frame_samples > 0
        self.received = 0
        """Samples received so far."""
        self.state = State.QUIET
        self._settings = settings
        self._frame_samples = frame_samples
        self._audio = np.empty(0, np.float32)  # what may still be needed: it begins at sample _base
        self._base = 0
        self._handed = 0  # end of the audio handed over; while no segment is open, end of the last one
        self._speech = 0  # STARTING: where the speech began
        # The open segment
        self._start = 0
        self._limit = 0  # where it must have ended
        self._impatient_from = 0  # from here on, any pause ends it
        self._cut_from = 0  # from here on, audio is kept for a forced cut
        self._silences: list[tuple[int, int]] = []  # silent stretches [from, to) after _cut_from
        # STOPPING
        self._speech_end = 0
        self._keep = 0  # how much of the silence belongs to the segment
        self._pause_reported = False

    def configure(self, settings: SegmenterSettings) -> None:
        """Put new settings in force: at once, but `max_segment` and what depends on it from the next segment on."""
        self._settings = settings

    def receive(self, samples: NDArray[np.float32], speech: NDArray[np.float32]) -> list[Event]:
        """Take whole frames, [k * frame_samples], and their speech probabilities, [k]; say what follows from them.

        Only whether pieces of audio come as one SegmentAudio or several depends on how the frames are grouped.
        """
        assert samples.shape == (len(speech) * self._frame_samples,)
        events: list[Event] = []
        self._audio = np.concatenate((self._audio, samples))
        for probability in speech.tolist():
            self.received += self._frame_samples
            self._step(probability, events)
        if self.state in (State.SPEAKING, State.STOPPING):
            self._hand_over(self._reach(), events)
        self._forget()
        return events

    def flush(self, rest: NDArray[np.float32] | None = None) -> list[Event]:
        """Make what was heard final now: an open segment ends here. The stream may go on afterwards.

        rest: [fewer than frame_samples] samples that fill no frame; they count as received and continue whatever was
        going on, so that nothing spoken is lost.
        """
        events: list[Event] = []
        if rest is not None:
            assert rest.ndim == 1
            assert len(rest) < self._frame_samples
            self._audio = np.concatenate((self._audio, rest))
            self.received += len(rest)
        if self.state is State.STARTING and self.received - self._speech >= self._settings.min_speech:
            self._open(events)
        if self.state is State.SPEAKING:
            while self.received > self._limit:
                self._cut(events)
            self._speech_end = self.received
            self._close(events)
        elif self.state is State.STOPPING:
            self._close(events)
        self.state = State.QUIET
        self._forget()
        return events

    def _step(self, probability: float, events: list[Event]) -> None:
        """One frame, the one that ends at `received`."""
        settings, frame_start = self._settings, self.received - self._frame_samples
        speech, silence = probability >= settings.start_threshold, probability < settings.stop_threshold

        if self.state is State.QUIET and speech:
            self.state, self._speech = State.STARTING, frame_start
        elif self.state is State.STARTING and silence:
            self.state = State.QUIET
        elif self.state is State.SPEAKING and silence:
            self.state, self._speech_end, self._pause_reported = State.STOPPING, frame_start, False
            self._keep = min(settings.padding, self._needed_silence() // 2)
        elif self.state is State.STOPPING and speech:
            self.state = State.SPEAKING
            if frame_start > self._cut_from:
                self._silences.append((self._speech_end, frame_start))

        if self.state is State.STARTING and self.received - self._speech >= settings.min_speech:
            self._open(events)
        elif self.state is State.SPEAKING and self.received >= self._limit:
            self._cut(events)
        elif self.state is State.STOPPING:
            silent = self.received - self._speech_end
            if silent >= max(settings.pause, self._keep) and not self._pause_reported:
                self._pause_reported = True
                self._hand_over(self._reach(), events)
                events.append(SegmentPaused(self._speech_end))
            if silent >= self._needed_silence():
                self._close(events)

    def _needed_silence(self) -> int:
        """Silence that ends the open segment now."""
        settings = self._settings
        if self.received >= self._impatient_from:
            return min(settings.pause, settings.silence_threshold)
        return settings.silence_threshold

    def _reach(self) -> int:
        """End of what is sure to belong to the open segment."""
        known = min(self.received, self._limit)
        return known if self.state is State.SPEAKING else min(known, self._speech_end + self._keep)

    def _open(self, events: list[Event]) -> None:
        start = max(self._speech - self._settings.pre_roll, self._handed, self._base)
        self._begin(start, self._speech, events)

    def _begin(self, start: int, speech: int, events: list[Event]) -> None:
        settings = self._settings
        self.state, self._start, self._handed = State.SPEAKING, start, start
        self._limit = start + settings.max_segment
        self._impatient_from = self._limit - min(settings.patience, settings.max_segment // 2)
        self._cut_from = self._limit - min(settings.cut_window, settings.max_segment // 2)
        self._silences.clear()
        events.append(SegmentStarted(start, speech))

    def _close(self, events: list[Event]) -> None:
        self._hand_over(self._reach(), events)
        events.append(SegmentEnded(self._handed, self._speech_end, self.received - self._speech_end, forced=False))
        self.state = State.QUIET

    def _cut(self, events: list[Event]) -> None:
        """End the open segment at the quietest point before its limit and open the next one there."""
        self._hand_over(self._limit, events)
        cut = self._quietest()
        before, after = next(((a, b) for a, b in self._silences if a <= cut < b), (cut, cut))
        events.append(SegmentEnded(cut, before, 0, forced=True))
        self._begin(cut, after, events)

    def _quietest(self) -> int:
        """The sample in [_cut_from, _limit) around which there is least energy; in silence, where there was any."""
        half = self._settings.cut_smoothing // 2
        window = self._audio[self._cut_from - self._base : self._limit - self._base]
        energy = np.concatenate(([0.0], np.cumsum(np.square(window, dtype=np.float64))))
        offsets = np.arange(half, len(window) - half, _CUT_STEP)
        around = energy[offsets + half] - energy[offsets - half]
        positions = offsets + self._cut_from
        silent = np.zeros(len(positions), bool)
        for begin, end in self._silences:
            silent |= (begin <= positions) & (positions < end)
        if silent.any():
            around[~silent] = np.inf
        return int(positions[np.argmin(around)])

    def _hand_over(self, end: int, events: list[Event]) -> None:
        if end > self._handed:
            samples = self._audio[self._handed - self._base : end - self._base]
            events.append(SegmentAudio(self._handed, len(samples), samples))
            self._handed = end

    def _forget(self) -> None:
        """Drop audio that no later event can need."""
        if self.state is State.QUIET:
            needed_from = max(self.received - self._settings.pre_roll, self._handed)
        elif self.state is State.STARTING:
            needed_from = max(self._speech - self._settings.pre_roll, self._handed)
        else:
            needed_from = min(self._handed, self._cut_from)
        # A copy, so that a small remainder does not keep a large buffer alive.
        self._audio = self._audio[max(0, needed_from - self._base) :].copy()
        self._base = self.received - len(self._audio)
