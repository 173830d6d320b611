"""The diarizer for a card: a Nemotron diarization model behind the interface. Tells up to eight speakers apart.

Overlapping speech is heard as such, and the labels need no clustering at the end. Where more than eight speak, some
share a label. Needs the gpu extra.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from stream_server.engine.device import DeviceError, resolve_device
from stream_server.engine.hub import CheckpointError
from stream_server.engine.recognizer import DeviceLostError, DeviceMemoryError
from stream_server.engine.work import SAMPLE_RATE
from stream_server.speakers.diarizer import DiarizerError
from stream_server.speakers.nemotron.activity import turns_of
from stream_server.speakers.nemotron.model import NemotronModel, load_nemotron
from stream_server.speakers.nemotron.stream import ActivityStream
from stream_server.speakers.turn import Turn


class NemotronDiarizer:
    """One model for all recordings, which take turns chunk by chunk."""

    def __init__(self, name: str, model: NemotronModel) -> None:
        self.name = name
        self._model = model

    def open(self, num_speakers: int | None = None) -> NemotronDiarization:
        """Begin a recording. Of ``num_speakers`` more than eight, eight are told apart."""
        return NemotronDiarization(self._model, num_speakers)


class NemotronDiarization:
    """One recording on its way."""

    def __init__(self, model: NemotronModel, num_speakers: int | None) -> None:
        self._stream: ActivityStream | None = ActivityStream(model)
        self._frame_ms = 1000 * model.hop / SAMPLE_RATE
        self._num_speakers = num_speakers

    def hear(self, samples: NDArray[np.float32]) -> None:
        assert self._stream is not None, "the recording is closed"
        with _failures("has failed"):
            self._stream.hear(samples)

    def finish(self) -> tuple[Turn, ...]:
        assert self._stream is not None, "the recording is closed"
        with _failures("has failed"):
            logits = self._stream.finish()
        self.close()
        return turns_of(logits, self._frame_ms, self._num_speakers)

    def close(self) -> None:
        self._stream = None


def load_nemotron_diarizer(name: str, device: str) -> NemotronDiarizer:
    """Load a checkpoint: ``name`` is its folder or hub repository, ``device`` as in the settings.

    Raises:
        DiarizerError: it cannot be had or used, or the device cannot.
    """
    try:
        with _failures("cannot be loaded"):
            return NemotronDiarizer(name, load_nemotron(name, resolve_device(device)))
    except (CheckpointError, DeviceError) as error:
        raise DiarizerError(f"the diarizer cannot be loaded: {error}") from error


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """What goes wrong on the device, as an error of the diarizer."""
    try:
        yield
    except DeviceMemoryError as error:
        raise DiarizerError(
            f"the diarizer {what}: no memory for it on the device; make room with a lower max_sessions: {error}"
        ) from error
    except DeviceLostError as error:
        raise DiarizerError(f"the diarizer {what}: the device is lost until a restart: {error}") from error
