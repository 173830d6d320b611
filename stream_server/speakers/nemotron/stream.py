"""A recording on its way through the model: samples in, how likely each speaker speaks in each frame out.

The model is run over chunks of the length that it has for whole recordings, with which it is most accurate, each with
the frames around it and what the model keeps of all before. What comes out is what one run over the whole recording
gives. What is held does not grow with it, but for the result: two bytes for each speaker and frame of 10 ms, 6 MB an
hour. It makes no turns.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from stream_server.speakers.nemotron.model import NemotronModel


class ActivityStream:
    """One recording; one thread at a time."""

    def __init__(self, model: NemotronModel) -> None:
        self._model = model
        self._memory = model.new_memory()
        self._next = 0
        """Encoder frame with which the next chunk begins."""
        frames = (model.back + model.chunk + model.ahead) * model.factor
        self._audio = np.empty(frames * model.hop + 2 * model.reach, np.float32)
        self._origin = 0
        """Where in the recording `_audio` begins."""
        self._filled = 0
        self._logits: list[NDArray[np.float16]] = []

    @property
    def size(self) -> int:
        """Bytes held of the recording, besides the result: audio, and what the model keeps."""
        kept = (self._memory.embeds, self._memory.probs, self._memory.fifo)
        return self._audio.nbytes + sum(tensor.nbytes for tensor in kept if tensor is not None)

    def hear(self, samples: NDArray[np.float32]) -> None:
        """The next piece: mono, 16 kHz, of any length.

        Raises:
            DeviceMemoryError, DeviceLostError: the device has failed.
        """
        model = self._model
        while len(samples):
            # As far as the window of the last frame that is looked at.
            end = (self._next + model.chunk + model.ahead) * model.factor * model.hop + model.reach
            room = end - self._origin - self._filled
            piece, samples = samples[:room], samples[room:]
            self._audio[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            if len(piece) == room:
                self._run(self._features(is_last=False), model.chunk, model.ahead)
                self._forget()

    def finish(self) -> NDArray[np.float16]:
        """What the model makes of it all: [frames, speakers]; above 0 where a speaker rather speaks than not.

        Raises:
            DeviceMemoryError, DeviceLostError: the device has failed.
        """
        model = self._model
        frames = (self._origin + self._filled) // model.hop
        end = -(-frames // model.factor)
        if self._next < end:
            begun, features = self._first, self._features(is_last=True)
            while self._next < end:
                chunk = min(model.chunk, end - self._next)
                ahead = min(model.ahead, end - self._next - chunk)
                self._run(features[self._first - begun :], chunk, ahead)
        return np.concatenate([np.empty((0, model.num_speakers), np.float16), *self._logits])

    @property
    def _first(self) -> int:
        """Frame of the spectrogram that is the first to be looked at for the next chunk."""
        return max(0, self._next - self._model.back) * self._model.factor

    def _features(self, *, is_last: bool) -> torch.Tensor:
        """The spectrogram from `_first` on, of what has been heard."""
        return self._model.features(self._audio[: self._filled], is_first=self._first == 0, is_last=is_last)

    def _run(self, features: torch.Tensor, chunk: int, ahead: int) -> None:
        """Decide on the next ``chunk`` encoder frames."""
        back = self._next - self._first // self._model.factor
        seen = features[: (back + chunk + ahead) * self._model.factor]
        self._logits.append(self._model.run(seen, self._memory, back=back, ahead=ahead))
        self._next += chunk

    def _forget(self) -> None:
        """Drop the audio that no later frame reaches back to."""
        origin = max(0, self._first * self._model.hop - self._model.reach)
        done = origin - self._origin
        self._audio[: self._filled - done] = self._audio[done : self._filled]
        self._filled -= done
        self._origin = origin
