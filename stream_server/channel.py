"""One channel of a session: 16 kHz samples in, segment events out.

It frames the audio for the voice activity detector and keeps order where the detector answers later (a detector that
runs batched across sessions does). It knows nothing of the wire, the engine or the clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_server.audio.segmenter import Event, Segmenter, SegmenterSettings
from stream_server.audio.vad import VadModel, VadState

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Marker:
    """Everything before it has been segmented, and nothing is left open: the echo of `Channel.flush`."""

    id: int


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """Frames that wait for a detector which is not inline; answer with `Channel.receive_speech`."""

    state: VadState
    frames: Samples


ChannelEvent = Event | Marker


class Channel:
    """Frames, detection and segmentation of one channel, in order."""

    def __init__(self, vad: VadModel, settings: SegmenterSettings) -> None:
        self.segmenter = Segmenter(settings, vad.frame_samples)
        self.settings = settings
        self._vad = vad
        self._state = vad.new_state()
        self._rest = np.zeros(0, np.float32)  # less than a frame
        self._todo: deque[Samples | Marker] = deque()  # waits behind a detection
        self._asked: Samples | None = None  # frames out for detection
        self._detections: list[Detection] = []

    @property
    def received(self) -> int:
        """Samples taken in, framed or not."""
        return self.segmenter.received + self.undetected + len(self._rest)

    @property
    def undetected(self) -> int:
        """Samples that wait for the detector's answer."""
        waiting = sum(len(item) for item in self._todo if not isinstance(item, Marker))
        return waiting + (len(self._asked) if self._asked is not None else 0)

    def receive(self, samples: Samples) -> list[ChannelEvent]:
        """Take audio of any length, [n] float32."""
        audio = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        whole = len(audio) - len(audio) % self._vad.frame_samples
        self._rest = audio[whole:].copy()
        if not whole:
            return []
        self._todo.append(audio[:whole])
        return self._advance()

    def flush(self, marker: Marker) -> list[ChannelEvent]:
        """Close what is open, the rest of a frame included; ``marker`` comes back behind the events of that."""
        self._todo.append(self._rest)
        self._todo.append(marker)
        self._rest = np.zeros(0, np.float32)
        return self._advance()

    def configure(self, settings: SegmenterSettings) -> None:
        self.settings = settings
        self.segmenter.configure(settings)

    def take_detections(self) -> list[Detection]:
        """What the caller has to have judged; at most one is under way at a time."""
        taken, self._detections = self._detections, []
        return taken

    def receive_speech(self, speech: Samples) -> list[ChannelEvent]:
        """The answer to the last detection: one probability per frame."""
        assert self._asked is not None, "no detection is under way"
        frames, self._asked = self._asked, None
        return [*self.segmenter.receive(frames, speech), *self._advance()]

    def _advance(self) -> list[ChannelEvent]:
        events: list[ChannelEvent] = []
        while self._todo and self._asked is None:
            item = self._todo.popleft()
            if isinstance(item, Marker):
                events.append(item)
            elif len(item) < self._vad.frame_samples:  # only a flush leaves less than a frame
                events += self.segmenter.flush(item)
            elif self._vad.inline:
                events += self.segmenter.receive(item, self._vad.detect([self._state], [item])[0])
            else:
                self._asked = item
                self._detections.append(Detection(self._state, item))
        return events
