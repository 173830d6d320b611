"""The Silero VAD backend: a small recurrent network, run on ONNX Runtime for many streams in one batch.

The weights are those inside the `silero-vad` wheel (extra `silero`). The package itself is never imported, because
importing it imports torch. The graph is stateless: the recurrent state and the audio context of each stream go in and
come out, so the set of streams may change with every call. Silero VAD: https://github.com/snakers4/silero-vad (MIT).
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stream_server.audio.vad import SAMPLE_RATE, VadState, VadUnavailableError

_CONTEXT = 64  # samples before each frame that the network also sees
_STATE = (2, 128)  # hidden and cell state of its one LSTM layer


class SileroState(VadState):
    """recurrent: [2, 128]; context: [64], the last samples of the frame before."""

    def __init__(self) -> None:
        self.recurrent = np.zeros(_STATE, np.float32)
        self.context = np.zeros(_CONTEXT, np.float32)


class SileroVad:
    """Silero VAD 6: one probability per 32 ms frame.

    Raises VadUnavailableError when the weights are not installed.
    """

    name = "silero"
    frame_samples = 512
    inline = False

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the network is far too small to gain from more
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(_weights()), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._rate = np.array(SAMPLE_RATE, np.int64)

    def new_state(self) -> VadState:
        """A stream that has heard nothing yet."""
        return SileroState()

    def detect(self, states: Sequence[VadState], frames: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """See `VadModel.detect`. One call of the network per frame index, over all streams that have that many."""
        assert len(states) == len(frames)
        cut = [samples.reshape(-1, self.frame_samples) for samples in frames]
        probabilities = [np.empty(len(frame), np.float32) for frame in cut]
        for index in range(max(map(len, cut), default=0)):
            active = [stream for stream, frame in enumerate(cut) if len(frame) > index]
            step = self._step([_own(states[stream]) for stream in active], np.stack([cut[s][index] for s in active]))
            for stream, probability in zip(active, step, strict=True):
                probabilities[stream][index] = probability
        return probabilities

    def _step(self, states: list[SileroState], frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """frames: [B, 512], one per stream; returns [B]."""
        context = np.stack([state.context for state in states])
        recurrent = np.stack([state.recurrent for state in states], axis=1)  # [2, B, 128]
        speech, recurrent = self._session.run(
            ["output", "stateN"],
            {"input": np.concatenate((context, frames), axis=1), "state": recurrent, "sr": self._rate},
        )
        for row, state in enumerate(states):
            # Copies, so that a stream does not keep the arrays of a whole batch alive.
            state.recurrent = recurrent[:, row].copy()
            state.context = frames[row, -_CONTEXT:].copy()
        return np.asarray(speech[:, 0], np.float32)


def _own(state: VadState) -> SileroState:
    assert isinstance(state, SileroState)
    return state


def _weights() -> Path:
    spec = find_spec("silero_vad")  # finds a top-level package without importing it
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        path = Path(place) / "data" / "silero_vad.onnx"
        if path.is_file():
            return path
    raise VadUnavailableError("the Silero VAD is not installed: pip install 'stream-server[silero]'")
