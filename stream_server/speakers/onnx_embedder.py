"""Any ONNX model that turns a voice into a vector, given as a file: those of WeSpeaker, 3D-Speaker and their like.

What it hears is read off its input: ``[batch, samples]`` is the waveform, ``[batch, frames, 80]`` are Kaldi's log mel
bands with their mean over the recording taken away, as those two projects train on. Its first output is the vector.
A model that does not fit is found when it is loaded, not when somebody speaks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stream_server.engine.moonshine.builder import open_session
from stream_server.speakers.community.feature import BANDS, filter_bank
from stream_server.speakers.embedder import Calibration, EmbedderError
from stream_server.speakers.vector import SAMPLE_RATE, require_length, unit

PROBES: Final = (SAMPLE_RATE, 3 * SAMPLE_RATE // 2)
"""Samples of noise that a new model is tried on: two lengths, for some exports take a single one."""


class OnnxEmbedder:
    """See `Embedder`. May be used by several threads."""

    calibration = Calibration(threshold=0.47, slope=33.0)
    """As measured with one of WeSpeaker's, `CommunityEmbedder`. Others differ: ``speaker_threshold`` is for them."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """
        Raises:
            EmbedderError: no such file, no model, or none that fits.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EmbedderError(f"the speaker model {path} cannot be read: {error.strerror}") from error
        try:
            self._session = open_session(content, threads)
        except Exception as error:  # ONNX Runtime's own classes share no base but this
            raise EmbedderError(f"{path} is no ONNX model that can be loaded: {_first_line(error)}") from error
        self.name = f"{path.stem}-{hashlib.sha256(content).hexdigest()[:8]}"
        self._path = path
        self._input = self._session.get_inputs()[0].name
        self._hears_bands = _hears_bands(self._session, path)
        self._try()

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Embedder.embed`."""
        require_length(samples)
        return unit(self._run(samples))

    def _run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        heard = samples.astype(np.float32)
        if self._hears_bands:
            heard = filter_bank(heard)
            heard -= heard.mean(axis=0)
        try:
            vectors: NDArray[np.float32] = self._session.run(None, {self._input: heard[None]})[0]
        except Exception as error:  # as above
            raise EmbedderError(f"the speaker model {self._path.name} has failed: {_first_line(error)}") from error
        vector: NDArray[np.float32] = vectors[0]
        return vector

    def _try(self) -> None:
        noise = np.random.default_rng(0).standard_normal(max(PROBES)).astype(np.float32) * np.float32(0.01)
        for count in PROBES:
            vector = self._run(noise[:count])
            if vector.ndim != 1 or len(vector) < 2:
                shape = list(vector.shape)
                raise EmbedderError(f"{self._path}: its first output is no vector for a voice, but of shape {shape}")


def _hears_bands(session: onnxruntime.InferenceSession, path: Path) -> bool:
    """Whether the model takes bands, and not the waveform. Raises EmbedderError if it takes neither."""
    inputs = session.get_inputs()
    shapes = ", ".join(f"{each.name} {each.shape} of {each.type}" for each in inputs)
    wanted = f"a speaker model takes [batch, samples] or [batch, frames, {BANDS}] of float"
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) not in (2, 3):
        raise EmbedderError(f"{path} does not fit: {wanted}; it takes {shapes}")
    shape = inputs[0].shape
    bands = len(shape) == 3
    if bands and shape[-1] != BANDS and isinstance(shape[-1], int):
        raise EmbedderError(f"{path} does not fit: {wanted}; it takes {shapes}")
    if isinstance(shape[1], int):
        raise EmbedderError(f"{path} does not fit: it takes recordings of one length only ({shapes})")
    rate = session.get_modelmeta().custom_metadata_map.get("sample_rate", str(SAMPLE_RATE))
    if rate != str(SAMPLE_RATE):
        raise EmbedderError(f"{path} was made for {rate} Hz; only {SAMPLE_RATE} Hz is supported")
    return bands


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
