"""One stream over several sessions: what of its audio is final, where another session goes on, and how events are
numbered on. Plain data: it knows no sockets and no clock.

A session that is resumed goes on by itself. But its server may end it because it shuts down, or be gone when the client
comes back. Then a new session takes over, here or on another server. It begins where speech may lie that is in no
final, and its events get the numbers and times of the stream. Speech of another channel that is heard a second time on
the way is left out: a segment that is final already wholly, of one that goes on behind it the words that are. A
session counts its speakers anew, so those of another one come behind them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from stream_client._speaker import SpeakerLabels
from stream_protocol import Event, Word
from stream_protocol.events import (
    Ack,
    Configured,
    Done,
    EndOfTranscript,
    Error,
    FinalSegment,
    Flushed,
    Partial,
    Ready,
    RevisedSegment,
    SpeakersRevised,
    SpeechEnd,
    SpeechStart,
    Warning,
)
from stream_protocol.transcript import join_text

Numbered = (
    SpeechStart | Partial | SpeechEnd | FinalSegment | SpeakersRevised | Flushed | Configured | EndOfTranscript | Done
)

LEAD_MS: Final = 1000
"""Audio before the first speech of a new session, for the detector to get used to; it holds what a server puts before
a segment."""
DOUBT_MS: Final = 3000
"""The newest audio that a server has: speech may have begun in it of which nothing has been said yet."""
TAIL_MS: Final = 300
"""What follows speech that ended in a silence, and sounds of it."""
SAME_MS: Final = 200
"""How differently two sessions may time the same speech."""


@dataclass(frozen=True, slots=True)
class _Segment:
    id: int  # of the stream, not of the session
    channel: int
    start_ms: int
    said_ms: int = 0  # words that end up to here are in an earlier final


@dataclass(frozen=True, slots=True)
class _Said:
    """The last final of a channel: where its speech ended, and from where on something else may be said."""

    end_ms: int
    free_ms: int


@dataclass(frozen=True, slots=True)
class _Told:
    """A final of the present session: its number in the stream, and how many of its first words were left out."""

    id: int
    skipped: int


class Timeline:
    """Takes the events of every session in turn; gives them as those of one stream. ``channels``: of its audio."""

    def __init__(self, sample_rate: int, channels: int = 1) -> None:
        self._rate = sample_rate
        self._is_one_channel = channels == 1
        self.last_seq = 0
        """Of the present session, for resuming it."""
        self._base = 0  # samples of the stream before the present session
        self._received = 0  # samples of the stream that a server has
        self._open: dict[int, _Segment] = {}  # by their number in the session
        self._held: dict[int, SpeechStart] = {}  # segments that begin in what is final, until they go on behind it
        self._said: dict[int, _Said] = {}  # by channel
        self._told: dict[int, _Told] = {}  # finals with speakers, by their number in the session
        self._labels = SpeakerLabels()
        self._finals: list[tuple[int, int, str]] = []
        self._given = 0  # the number of the last event given
        self._segments = 0
        self._is_restarted = False
        self._earlier_sec = 0.0

    @property
    def needed_from(self) -> int:
        """The first sample that any session could still ask for."""
        return max(0, min(self._restart_ms() * self._rate // 1000, self._received))

    def position(self, received_samples: int) -> int:
        """A count of the present session as a sample of the stream."""
        return self._base + received_samples

    def receive_ack(self, received_samples: int) -> None:
        self._received = max(self._received, self.position(received_samples))

    def restart(self, *, first_sample: int, elapsed_sec: float) -> int:
        """Begin a new session; the sample of the stream that it begins with.

        ``first_sample``: the oldest there is. ``elapsed_sec``: how long the stream has lasted.
        """
        self._base = max(first_sample, self.needed_from)
        self._received = self._base
        self._open.clear()
        self._held.clear()
        self._told.clear()
        self._labels = SpeakerLabels(self._labels.count)
        self.last_seq = 0
        self._is_restarted = True
        self._earlier_sec = elapsed_sec
        return self._base

    def receive(self, event: Event) -> list[Event]:
        """The event as one of the stream; nothing where it is known already, two where one was held back before it."""
        if isinstance(event, Ready | Ack | Warning | Error):
            return [event]
        if event.seq <= self.last_seq:
            return []
        self.last_seq = event.seq
        given: list[Event] = []
        for moved in self._move(event):
            self._given += 1
            given.append(replace(moved, seq=self._given))
        return given

    def _move(self, event: Numbered) -> list[Numbered]:
        shift = self._base * 1000 // self._rate
        match event:
            case SpeechStart(segment_id=number, offset_ms=offset, channel=channel):
                said = self._said.get(channel)
                if self._is_restarted and said is not None and offset + shift < said.end_ms - SAME_MS:
                    self._held[number] = event
                    return []
                segment = self._open.get(number) or self._begin(number, channel, offset + shift)
                return [replace(event, segment_id=segment.id, offset_ms=segment.start_ms)]
            case Partial() | SpeechEnd() | FinalSegment():
                number, offset = event.segment_id, event.offset_ms + shift
                begun: list[Numbered] = []
                if number in self._held:
                    said = self._said[event.channel]
                    end = offset + (event.duration_ms if isinstance(event, Partial) else 0)
                    if isinstance(event, FinalSegment):
                        del self._held[number]
                        return []
                    if end <= said.free_ms:
                        return []
                    segment = self._begin(number, event.channel, said.end_ms, said.end_ms)
                    begun.append(replace(self._held.pop(number), segment_id=segment.id, offset_ms=said.end_ms))
                segment = self._open.get(number) or self._begin(number, event.channel, offset)
                moved = replace(event, segment_id=segment.id, offset_ms=offset)
                if isinstance(moved, FinalSegment):
                    del self._open[number]
                    moved = self._final(moved, number, shift, segment.said_ms)
                elif isinstance(moved, Partial) and segment.said_ms:
                    moved = replace(moved, stable_chars=0)  # the final begins with a later word
                return [*begun, moved]
            case SpeakersRevised():
                told = [(self._told[each.segment_id], each) for each in event.segments if each.segment_id in self._told]
                segments = tuple(self._revised(final, segment) for final, segment in told)
                return [replace(event, segments=segments)] if segments else []
            case EndOfTranscript() if self._is_restarted:
                return [replace(event, text=join_text(text for _, _, text in sorted(self._finals)))]
            case Done() if self._is_restarted:
                return [
                    replace(
                        event,
                        total_segments=len(self._finals),
                        total_audio_duration_sec=round(event.total_audio_duration_sec + self._base / self._rate, 3),
                        connection_duration_sec=round(event.connection_duration_sec + self._earlier_sec, 3),
                    )
                ]
        return [event]

    def _begin(self, number: int, channel: int, start_ms: int, said_ms: int = 0) -> _Segment:
        segment = self._open[number] = _Segment(self._segments, channel, start_ms, said_ms)
        self._segments += 1
        return segment

    def _final(self, final: FinalSegment, number: int, shift: int, said_ms: int) -> FinalSegment:
        end = final.offset_ms + final.duration_ms
        skipped = 0
        if final.words is not None:
            words = tuple(word for word in (self._word(word, shift) for word in final.words) if word.end_ms > said_ms)
            skipped = len(final.words) - len(words)
            if skipped:
                start = words[0].start_ms if words else min(said_ms, end)
                text = join_text(word.word for word in words)
                final = replace(final, text=text, offset_ms=start, duration_ms=end - start)
            final = replace(final, words=words)
        if final.speaker is not None:
            final = replace(final, speaker=self._label(final.speaker))
            self._told[number] = _Told(final.segment_id, skipped)
        self._said[final.channel] = _Said(end, end + min(TAIL_MS, final.silence_duration_ms // 2))
        self._finals.append((final.offset_ms, final.channel, final.text))
        return final

    def _word(self, word: Word, shift: int) -> Word:
        speaker = None if word.speaker is None else self._label(word.speaker)
        return replace(word, start_ms=word.start_ms + shift, end_ms=word.end_ms + shift, speaker=speaker)

    def _revised(self, told: _Told, segment: RevisedSegment) -> RevisedSegment:
        words = None if segment.words is None else tuple(map(self._label, segment.words[told.skipped :]))
        return RevisedSegment(told.id, self._label(segment.speaker), words)

    def _label(self, speaker: str) -> str:
        """Where there are several channels, a label is that of a channel in every session."""
        return self._labels.of(speaker) if self._is_one_channel else speaker

    def _restart_ms(self) -> int:
        """Where another session would begin: before all speech that is in no final, behind all that is in one."""
        received = self._received * 1000 // self._rate
        channels = {*self._said, *(segment.channel for segment in self._open.values()), 0}
        return min(self._restart_of(channel, received) for channel in channels)

    def _restart_of(self, channel: int, received: int) -> int:
        free = self._said[channel].free_ms if channel in self._said else 0
        starts = [segment.start_ms for segment in self._open.values() if segment.channel == channel]
        starts += [self._said[channel].end_ms for held in self._held.values() if held.channel == channel]
        if starts:
            first = min(starts)
            return min(first, max(first - LEAD_MS, free))
        return max(received - DOUBT_MS, min(free, received))
