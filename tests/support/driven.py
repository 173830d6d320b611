"""A session and its engine, driven by hand: no sockets, no threads, and a clock that the test moves."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_protocol.codec import encode_event
from stream_protocol.messages import Init
from stream_server.audio.segmenter import SegmenterSettings
from stream_server.audio.vad import VadModel, VadSettings, VadState, load_vad
from stream_server.channel import Detection
from stream_server.engine.engine import Engine, EngineSettings
from stream_server.engine.recognizer import Recognizer
from stream_server.engine.stream import EngineStream
from stream_server.engine.work import Outcome
from stream_server.negotiation import negotiate
from stream_server.session import Session, State
from stream_server.speakers.live import Spoken
from stream_server.speakers.turn import Turn, label_of
from tests.protocol.promise import PromiseWatch
from tests.support.fake import FakeRecognizer

LOUD = 0.1


class LoudnessVad:
    """Takes a frame for speech when it is loud, so that a test decides what is speech."""

    name = "loudness"
    frame_samples = 320

    def __init__(self, *, inline: bool = True) -> None:
        self.inline = inline

    def new_state(self) -> VadState:
        return VadState()

    def detect(self, states: Sequence[VadState], frames: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        loudness = [np.abs(each).reshape(-1, self.frame_samples).mean(axis=1) for each in frames]
        return [(each > LOUD / 2).astype(np.float32) for each in loudness]


def another_speaker(segment_id: int) -> Spoken:
    """Somebody who has not spoken before, for all of the session."""
    return Spoken((Turn(0, 10**9, label_of(segment_id)),))


class Doubtful:
    """Tells of two speakers in turn, and each time that all earlier segments, unknown ones too, were the other's."""

    def __init__(self) -> None:
        self.told: list[int] = [-1]

    def __call__(self, segment_id: int) -> Spoken:
        turns = (Turn(0, 10**9, label_of(len(self.told) % 2)),)
        revised = dict.fromkeys(self.told, turns)
        self.told.append(segment_id)
        return Spoken(turns, revised)


class Driven:
    """One session. What it says is kept in ``events``, as JSON objects, and held to the promises as it comes.

    With ``eager`` off, the engine's results, the answers of a detector that is not inline and who speaks wait until the
    test asks for them with `step`, `deliver`, `detect` and `tell`, or for everything with `work`. Who speaks in a
    segment is what ``spoken`` makes of it: by default, another speaker in each.
    """

    def __init__(
        self, recognizer: Recognizer | None = None, *, vad: VadModel | None = None, eager: bool = True, **init: Any
    ) -> None:
        recognizer = recognizer or FakeRecognizer()
        self.vad = vad or load_vad("webrtc", VadSettings())
        self.now = 0.0
        self.eager = eager
        self.events: list[dict[str, Any]] = []
        self.watch = PromiseWatch()
        self.engine = Engine(recognizer, EngineSettings(), clock=lambda: self.now)
        config = negotiate(Init(**init), recognizer.info, (self.vad.name,))
        self.session = Session("driven", config, self.vad, SegmenterSettings(), model=recognizer.info, now=self.now)
        self.outcomes: dict[int, deque[Outcome]] = {}
        self.detections: deque[tuple[int, Detection]] = deque()
        self.untold: deque[int] = deque()
        self.spoken: Callable[[int], Spoken] = another_speaker
        self._streams: dict[int, EngineStream] = {}
        for channel in range(config.audio.channels):
            self._stream(channel)
        self._tell(self.session.ready("token"))

    # -- the client ----------------------------------------------------------------------------------------------------

    def send(self, frame: bytes | str | dict[str, Any]) -> None:
        match frame:
            case bytes():
                self.session.receive_bytes(frame, self.now)
            case str():
                self.session.receive_text(frame, self.now)
            case dict():
                self.session.receive_text(json.dumps(frame), self.now)
        self._pump()

    def play(self, audio: bytes, frame_bytes: int = 3200) -> None:
        for start in range(0, len(audio), frame_bytes):
            self.send(audio[start : start + frame_bytes])

    def end(self) -> None:
        """Send the end, and let everything be done that is still to do."""
        self.send("END")
        self.work()

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] in kinds]

    @property
    def finals(self) -> list[dict[str, Any]]:
        return self.of("final_segment")

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    # -- the world -----------------------------------------------------------------------------------------------------

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.session.tick(self.now)
        self._pump()

    def step(self) -> bool:
        """One batch of the engine; its results wait for `deliver`."""
        return self.engine.step()

    def deliver(self, channel: int) -> bool:
        """The oldest result of a channel; returns whether there was one."""
        if not (waiting := self.outcomes.get(channel)):
            return False
        self.session.receive_outcome(waiting.popleft(), self.now)
        self._pump()
        return True

    def detect(self) -> bool:
        """Answer the oldest question for the detector; returns whether there was one."""
        if not self.detections:
            return False
        channel, item = self.detections.popleft()
        self.session.receive_speech(channel, self.vad.detect([item.state], [item.frames])[0], self.now)
        self._pump()
        return True

    def tell(self) -> bool:
        """Who speaks in the oldest segment that waits for it; returns whether there was one."""
        if not self.untold:
            return False
        segment_id = self.untold.popleft()
        spoken = self.spoken(segment_id)
        self.session.receive_speakers(segment_id, spoken.turns, spoken.revised, self.now)
        self._pump()
        return True

    def work(self) -> None:
        """Until there is nothing to do for engine, detector and diarizer."""
        while self.detect() or self.tell() or self.step() or any(self.deliver(channel) for channel in self.outcomes):
            pass

    def _pump(self) -> None:
        for channel, command in self.session.commands_to_submit():
            self._stream(channel).submit([command])
        self.detections.extend(self.session.detections_to_run())
        found = self.session.speakers_to_find()
        assert self.session.needs_voices or not found, "nobody wants to know"
        self.untold.extend(segment_id for segment_id, has_text in found if has_text)
        for event in self.session.events_to_send():
            self._tell(event)
        if self.session.state is State.CLOSED:
            for stream in self._streams.values():
                stream.close()
        if self.eager:
            self.eager = False  # `work` comes back here
            self.work()
            self.eager = True

    def _stream(self, channel: int) -> EngineStream:
        if channel not in self._streams:
            waiting = self.outcomes.setdefault(channel, deque())
            self._streams[channel] = self.engine.open(self.session.config.stream_options(), waiting.append)
        return self._streams[channel]

    def _tell(self, event: Any) -> None:
        said: dict[str, Any] = json.loads(encode_event(event))
        self.events.append(said)
        self.watch.receive(said)
