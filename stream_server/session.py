"""The session state machine: what a caller sends and what the engine finds go in, events and engine commands come out.

There is no I/O here: no sockets, no asyncio, no threads, no clock (``now`` is an argument, in seconds), no model. So a
test is a list in and a list out, and a session can be fuzzed without a server.

    state    input                              next     effect
    -------  ---------------------------------  -------  --------------------------------------------------------
    OPEN     audio, configure, keepalive        OPEN     segment it; commands for the engine; partials come back
    OPEN     flush                              OPEN     close what is open; `flushed` after the finals before it
    OPEN     end                                ENDING   close what is open
    OPEN     bad input, timeout, server drains  ENDING   close what is open, remember the error
    ENDING   anything but results               ENDING   ignored
    ENDING   the last final                     CLOSED   `end_of_transcript` and `done`, or the remembered `error`
    OPEN or  the engine fails on a segment      CLOSED   `error` INTERNAL_ERROR
    ENDING

Order of events: for a segment `speech_start`, partials, `speech_end`, one `final_segment`; finals of a channel in
order. Where speakers are told apart by their voices, a final with text waits until it is known who speaks in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from stream_protocol import events as wire
from stream_protocol.codec import decode_audio, decode_message
from stream_protocol.errors import ClientError, ErrorCode, ServerError, StreamError
from stream_protocol.messages import PROTOCOL_VERSION, Configure, End, Flush, Frame, Keepalive
from stream_protocol.transcript import Turn, join_text
from stream_server.audio.error import UnsupportedAudio
from stream_server.audio.front import AudioFront
from stream_server.audio.segmenter import SegmentAudio, SegmentEnded, SegmenterSettings, SegmentPaused, SegmentStarted
from stream_server.audio.segmenter import State as SegmenterState
from stream_server.audio.vad import VadModel
from stream_server.channel import Channel, ChannelEvent, Detection, Marker
from stream_server.engine.recognizer import RecognizerInfo
from stream_server.engine.work import (
    SAMPLE_RATE,
    AppendAudio,
    CloseSegment,
    Command,
    ConfigureStream,
    Failure,
    Lost,
    OpenSegment,
    Outcome,
    PauseSegment,
    Result,
    Thinned,
)
from stream_server.negotiation import chunk_size
from stream_server.overload import Degradation
from stream_server.session_config import SessionConfig
from stream_server.session_segment import SessionSegment
from stream_server.session_speaker import SpeakerBook, by_channel
from stream_server.session_wait import Waits

ACK_INTERVAL = 1.0
"""Seconds of audio between two ``ack`` events."""

RESTART_SEC = 5.0
"""Seconds after which a caller may try again when the engine has failed."""

MAX_FLUSHES = 1000
"""Flushes that may wait for their finals; more is a client that does not wait for answers."""

MAX_FLUSH_ID = 100
"""Characters of a flush's id: it comes back, and is kept for those who resume."""


_Spoken = tuple[Sequence[Turn], Mapping[int, Sequence[Turn]]]
"""The turns of a segment, and those of earlier segments that are others now."""


class State(Enum):
    OPEN = auto()
    ENDING = auto()
    CLOSED = auto()


@dataclass(slots=True)
class _Lane:
    """One channel, the segment open in it, and when which of its audio arrived.

    ``cut_at``: where the last segment ended in the midst of speech; None when it ended in a silence. ``finals``: in
    order, those that cannot be sent yet, because it is not known who speaks in the first of them.
    """

    channel: Channel
    open: int | None = None
    cut_at: int | None = None
    finals: deque[Result] = field(default_factory=deque)
    arrivals: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=4096))

    def arrived(self, position: int, now: float) -> float:
        """When the audio up to ``position`` had been received."""
        while len(self.arrivals) > 1 and self.arrivals[0][0] < position:
            self.arrivals.popleft()
        return self.arrivals[0][1] if self.arrivals else now


class Session:
    """One caller's session.

    After every ``receive_*`` or `tick`, take `events_to_send`, `commands_to_submit`, `detections_to_run` and, where it
    `needs_voices`, `speakers_to_find`.
    ``segmenter_settings`` are the server's; the caller's silence and maximum length replace theirs. ``model`` says what
    it may be configured to.
    """

    def __init__(
        self,
        session_id: str,
        config: SessionConfig,
        vad: VadModel,
        segmenter_settings: SegmenterSettings,
        *,
        model: RecognizerInfo,
        now: float,
    ) -> None:
        self.id = session_id
        self.config = config
        self.state = State.OPEN
        self.close_code: int | None = None
        self._vad = vad
        self._segmenter_settings = segmenter_settings
        self._model = model
        self._front = AudioFront(
            dtype=config.audio.dtype, sample_rate=config.audio.sample_rate, channels=config.audio.channels
        )
        self._lanes: dict[int, _Lane] = {}
        self._segments: dict[int, SessionSegment] = {}
        self._texts: list[tuple[int, int, str]] = []  # (offset_ms, channel, text) of every final
        self._waits = Waits()
        self._error: StreamError | None = None
        self._events: list[wire.Event] = []
        self._commands: list[tuple[int, Command]] = []
        self._started_at = self._heard_at = now
        self._degradation = Degradation()
        self._heard_anything = False
        self._heard_channels: int | None = None
        self._speakers = SpeakerBook()
        self._to_find: list[tuple[int, bool]] = []
        self._turns: dict[int, _Spoken] = {}  # by segment, until its final is sent
        self._seq = self._next_segment = 0
        self._total_segments = self._acked = 0

    # -- what comes out ------------------------------------------------------------------------------------------------

    def ready(self, resume_token: str, *, resumed: bool = False, ignored: tuple[str, ...] = ()) -> wire.Ready:
        """The greeting of a connection to this session."""
        return wire.Ready(
            session_id=self.id,
            resume_token=resume_token,
            protocol=PROTOCOL_VERSION,
            model=self.config.model,
            language=self.config.language,
            config=self.config.echo(),
            ignored=ignored,
            resumed=resumed,
            received_samples=self.received_samples,
        )

    def events_to_send(self) -> list[wire.Event]:
        taken, self._events = self._events, []
        return taken

    def commands_to_submit(self) -> list[tuple[int, Command]]:
        """Commands for the engine's stream of each channel, in order."""
        taken, self._commands = self._commands, []
        return taken

    def detections_to_run(self) -> list[tuple[int, Detection]]:
        """Frames for a detector that is not inline, per channel; answer with `receive_speech`."""
        return [(index, item) for index, lane in self._lanes.items() for item in lane.channel.take_detections()]

    @property
    def needs_voices(self) -> bool | None:
        """Whether its speakers have to be told apart by their voices: it is to diarize, and there is one channel. None
        while nothing has been heard: a header may say more than the init, or less."""
        if not self.config.diarize:
            return False
        return None if self._heard_channels is None else self._heard_channels == 1

    def speakers_to_find(self) -> list[tuple[int, bool]]:
        """Segments that are done with, in order, and whether there is text in them; who speaks in one with text is to
        be answered with `receive_speakers`. Nobody wants to know of the others."""
        taken, self._to_find = self._to_find, []
        return taken

    @property
    def channels(self) -> int:
        """Channels there are: those of the init, or of a header that says more."""
        return max(self.config.audio.channels, len(self._lanes))

    @property
    def received_samples(self) -> int:
        """Samples per channel received so far, at the caller's rate."""
        return self._front.received_samples

    @property
    def received_sec(self) -> float:
        """Seconds of audio received so far, in whichever number of channels."""
        return self._front.received_samples / self._front.sample_rate

    @property
    def is_resumable(self) -> bool:
        """Whether a client can go on by sample count; in the middle of a container it cannot."""
        return self.config.audio.dtype != "container"

    @property
    def is_quiet(self) -> bool:
        """Whether nobody is speaking: an end here cuts nothing in two."""
        settled = all(lane.channel.segmenter.state is SegmenterState.QUIET for lane in self._lanes.values())
        return self.state is State.OPEN and settled and not self.undetected

    @property
    def undetected(self) -> int:
        """Samples of a channel, at 16 kHz, that wait for a detector which is not inline."""
        return max((lane.channel.undetected for lane in self._lanes.values()), default=0)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do if nothing comes before; None when there is nothing."""
        if self.state is not State.OPEN:
            return None
        return min(
            self._heard_at + self.config.inactivity_timeout, self._started_at + self.config.max_connection_duration
        )

    # -- what goes in --------------------------------------------------------------------------------------------------

    def receive_bytes(self, data: bytes, now: float) -> None:
        """A binary frame: audio, or the end when it is empty."""
        if self.state is not State.OPEN:
            return
        if not data:
            self._end(End(type="end"), now)
            return
        self._heard_at = now
        self._heard_anything = True
        self._tell(self._degradation.look(now))
        try:
            self.receive_samples(self._front.receive(data), now)
        except UnsupportedAudio as error:
            self._error = error
            self._end(End(type="end"), now, flush_audio=False)
            return
        self._acknowledge()

    def receive_samples(self, samples: NDArray[np.float32], now: float) -> None:
        """Decoded audio, [channels, n] float32 at 16 kHz, for callers that decode it themselves."""
        if self._heard_channels is None and samples.size:
            self._heard_channels = len(samples)
        for index in range(len(samples)):
            lane = self._lane(index)
            events = lane.channel.receive(samples[index])
            lane.arrivals.append((lane.channel.received, now))
            self._take(index, events, now)

    def receive_text(self, text: str, now: float) -> None:
        """A text frame: one message."""
        if self.state is not State.OPEN:
            return
        try:
            match decode_message(text):
                case Frame() as frame:
                    audio = decode_audio(frame)
                    if audio:  # an empty JSON frame is no end
                        self.receive_bytes(audio, now)
                case Flush() as flush:
                    self._check_flush(flush)
                    self._flush(flush, now)
                case Keepalive():
                    self.keep_alive(now)
                case Configure() as configure:
                    self._configure(configure)
                case End() as end:
                    self._end(end, now)
        except ClientError as error:
            self.fail(error, now)

    def receive_speech(self, channel: int, speech: NDArray[np.float32], now: float) -> None:
        """Speech probabilities for the frames of the channel's last detection."""
        if self.state is State.CLOSED:
            return
        self._take(channel, self._lanes[channel].channel.receive_speech(speech), now)
        self._settle(now)

    def receive_outcome(self, outcome: Outcome, now: float) -> None:
        """What the engine made of a segment."""
        if isinstance(outcome, Thinned):
            self._tell(self._degradation.felt(now))
            return
        if isinstance(outcome, Lost):
            self.abort(engine_lost())
            return
        segment = self._segments.get(outcome.segment_id)
        if self.state is State.CLOSED or segment is None:
            return
        if isinstance(outcome, Failure):
            self.abort(internal_error(self.id))
        elif outcome.is_final:
            self._lanes[segment.channel].finals.append(outcome)
            if self.needs_voices:
                self._to_find.append((outcome.segment_id, bool(outcome.hypothesis.text)))
            self._send_finals(segment.channel, now)
        elif segment.ended_at is None and outcome.hypothesis.text and self.config.partials:
            lane = self._lanes[segment.channel]
            if not lane.finals:  # else it would overtake one, and the next partial says what it says
                arrived = lane.arrived(outcome.end, now)
                self._events.append(segment.partial_event(self._number(), outcome, now - arrived))

    def receive_speakers(
        self, segment_id: int, turns: Sequence[Turn], revised: Mapping[int, Sequence[Turn]], now: float
    ) -> None:
        """Who speaks in a segment of `speakers_to_find`, and earlier segments whose turns are others after all."""
        if self.state is State.CLOSED:
            return
        self._turns[segment_id] = turns, revised
        self._send_finals(self._segments[segment_id].channel, now)

    def tick(self, now: float) -> None:
        """Look at the clock."""
        if self.state is not State.OPEN:
            return
        config = self.config
        if now >= self._heard_at + config.inactivity_timeout:
            reason = f"no audio for {config.inactivity_timeout:g} s (inactivity_timeout); send audio or keepalive"
        elif now >= self._started_at + config.max_connection_duration:
            reason = f"the session has lasted {config.max_connection_duration:g} s (max_connection_duration)"
        else:
            return
        self.fail(ClientError(ErrorCode.TIMEOUT, reason), now)

    def keep_alive(self, now: float) -> None:
        """The caller is there, though nothing of it can be taken in now."""
        self._heard_at = now

    def warn(self, warning: wire.Warning) -> None:
        """Tell the caller of a condition that concerns it."""
        if self.state is not State.CLOSED:
            self._events.append(warning)

    def fail(self, error: StreamError, now: float) -> None:
        """End because of ``error``: what was heard is made final and sent first, and how much that was."""
        if self.state is State.OPEN:
            self._error = error
            if self.config.acks:
                self._events.append(wire.Ack(received_samples=self.received_samples))
            self._end(End(type="end"), now)

    def hasten(self) -> None:
        """From now on a pause between words ends a segment, as it does when one has become long."""
        for index in range(self.config.audio.channels):
            channel = self._lane(index).channel
            channel.configure(replace(channel.settings, silence_threshold=channel.settings.pause))

    def abort(self, error: StreamError) -> None:
        """End because of ``error``, at once: what is under way is given up."""
        if self.state is not State.CLOSED:
            self._close_with(error)

    def drop_pending_bytes(self) -> None:
        """Forget the bytes of a sample that never came whole: a resumed client sends from a whole sample on."""
        self._front.drop_pending()

    def close(self) -> None:
        """Free what the session holds. Idempotent."""
        self.state = State.CLOSED
        self._front.close()

    # -- how it works --------------------------------------------------------------------------------------------------

    def _lane(self, index: int) -> _Lane:
        if index not in self._lanes:
            settings = self.config.segmenter_settings(self._segmenter_settings)
            self._lanes[index] = _Lane(Channel(self._vad, settings))
        return self._lanes[index]

    def _check_flush(self, message: Flush) -> None:
        if len(self._waits) >= MAX_FLUSHES:
            raise ClientError(ErrorCode.PROTOCOL_ERROR, f"more than {MAX_FLUSHES} flushes wait; await 'flushed'")
        if isinstance(message.id, str) and len(message.id) > MAX_FLUSH_ID:
            raise ClientError(ErrorCode.PROTOCOL_ERROR, f"flush: field 'id' may have {MAX_FLUSH_ID} characters")

    def _flush(self, message: Flush | End, now: float) -> None:
        number = self._waits.add(message, self._lanes)
        for index, lane in self._lanes.items():
            self._take(index, lane.channel.flush(Marker(number)), now)
        self._settle(now)

    def _end(self, message: End, now: float, *, flush_audio: bool = True) -> None:
        self.state = State.ENDING
        if flush_audio and self._heard_anything:
            try:
                self.receive_samples(self._front.finish(), now)
            except UnsupportedAudio as error:
                self._error = self._error or error
        self._front.close()
        self._flush(message, now)

    def _configure(self, message: Configure) -> None:
        known = message.model_fields_set & (Configure.model_fields.keys() - {"type"})
        changes = {name: getattr(message, name) for name in known}
        if "keyterms" in changes:
            changes["keyterms"] = tuple(changes["keyterms"]) if self._model.keyterms else ()
        if "chunk_size_sec" in changes:
            changes["chunk_size_sec"] = chunk_size(changes["chunk_size_sec"], self._model)
        if "max_segment_sec" in changes:
            changes["max_segment_sec"] = min(changes["max_segment_sec"], self._model.max_segment_sec)
        self.config = replace(self.config, **changes)
        settings = self.config.segmenter_settings(self._segmenter_settings)
        for lane in self._lanes.values():
            lane.channel.configure(settings)
        for index in sorted(self._lanes.keys() | set(range(self.config.audio.channels))):
            self._commands.append((index, ConfigureStream(self.config.stream_options())))
        self._events.append(wire.Configured(seq=self._number(), config=self.config.echo()))

    def _take(self, index: int, events: Sequence[ChannelEvent], now: float) -> None:
        """Turn one channel's events into wire events and engine commands."""
        lane = self._lanes[index]
        for event in events:
            match event:
                case SegmentStarted(start, speech):
                    lane.open = self._next_segment
                    self._next_segment += 1
                    self._total_segments += 1
                    sure = start + lane.channel.settings.sure_samples
                    segment = SessionSegment(lane.open, index, start, speech, sure)
                    self._segments[lane.open] = segment
                    self._commands.append((index, OpenSegment(lane.open, start, speech, follows=start == lane.cut_at)))
                    self._events.append(segment.speech_start_event(self._number()))
                case SegmentAudio():
                    assert lane.open is not None
                    self._commands.append((index, AppendAudio(event.samples, self._segments[lane.open].sure)))
                case SegmentPaused():
                    self._commands.append((index, PauseSegment()))
                case SegmentEnded():
                    assert lane.open is not None
                    segment = self._segments[lane.open]
                    segment.end(event.speech_end, event.silence, now)
                    self._commands.append((index, CloseSegment(event.end)))
                    self._events.append(segment.speech_end_event(self._number()))
                    lane.open, lane.cut_at = None, event.end if event.silence == 0 else None
                case Marker(number):
                    unsent = (key for key, segment in self._segments.items() if segment.channel == index)
                    self._waits.reached(number, index, unsent)

    def _send_finals(self, channel: int, now: float) -> None:
        """Send the finals of a channel that wait for nothing any more."""
        finals = self._lanes[channel].finals
        while finals and self._send_final(finals[0], now):
            self._waits.sent(finals.popleft().segment_id)
        self._settle(now)

    def _send_final(self, result: Result, now: float) -> bool:
        """Whether it could be sent: it cannot while it is not known who speaks in it."""
        segment = self._segments[result.segment_id]
        if self.needs_voices and result.hypothesis.text and segment.id not in self._turns:
            return False
        final = segment.final_event(self._number(), result, now, with_words=self.config.words)
        revised: tuple[wire.RevisedSegment, ...] = ()
        if segment.id in self._turns:
            turns, others = self._turns.pop(segment.id)
            final = self._speakers.attribute(final, result.hypothesis.words or (), turns)
            revised = self._speakers.revise(others)
        elif self.config.diarize:
            final = by_channel(final)
        self._texts.append((final.offset_ms, final.channel, final.text))
        self._events.append(final)
        if revised:
            self._events.append(wire.SpeakersRevised(seq=self._number(), segments=revised))
        del self._segments[segment.id]
        return True

    def _settle(self, now: float) -> None:
        """Answer the flushes, oldest first, whose finals have all been sent; then the end."""
        if self.state is State.CLOSED:
            return
        for message in self._waits.answerable():
            if isinstance(message, Flush):
                self._events.append(wire.Flushed(seq=self._number(), id=message.id))
            elif self._error is not None:
                self._close_with(self._error)
            else:
                self._emit_end(now)

    def _emit_end(self, now: float) -> None:
        text = join_text(text for _, _, text in sorted(self._texts))
        self._events.append(wire.EndOfTranscript(seq=self._number(), text=text))
        received = max((lane.channel.received for lane in self._lanes.values()), default=0)
        self._events.append(
            wire.Done(
                seq=self._number(),
                total_segments=self._total_segments,
                total_audio_duration_sec=round(received / SAMPLE_RATE, 3),
                connection_duration_sec=round(now - self._started_at, 3),
            )
        )
        self.close_code = 1000
        self.close()

    def _close_with(self, error: StreamError) -> None:
        self._events.append(wire.Error(code=error.code, message=error.message, retry_after=error.retry_after))
        self.close_code = error.rule.close_code
        self.close()

    def _tell(self, warning: wire.Warning | None) -> None:
        if warning is not None:
            self.warn(warning)

    def _acknowledge(self) -> None:
        received = self.received_samples
        if self.config.acks and received - self._acked >= ACK_INTERVAL * self._front.sample_rate:
            self._acked = received
            self._events.append(wire.Ack(received_samples=received))

    def _number(self) -> int:
        self._seq += 1
        return self._seq


def engine_lost() -> ServerError:
    """What a caller is told when the device has failed: another server, or this one started anew, will serve."""
    return ServerError(ErrorCode.SERVER_DRAINING, "the speech engine failed; connect again", retry_after=RESTART_SEC)


def internal_error(session_id: str) -> ServerError:
    """What a caller is told when the fault is ours; the log has the rest."""
    return ServerError(ErrorCode.INTERNAL_ERROR, f"internal error; please report session {session_id}")
