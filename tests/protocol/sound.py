"""The audio of golden conversations: silence, noise and something that a VAD takes for speech, as bytes in any format.

The same request gives the same samples. It knows no server and no socket.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.protocol.vector import Audio, Sound

_SUBTYPES: Final = {"float32": "FLOAT", "int16": "PCM_16", "ulaw": "ULAW", "alaw": "ALAW"}

# Formants of an open vowel (hertz, relative strength) and their width; the pitch is a man's.
_PITCH: Final = 120.0
_FORMANTS: Final = ((700.0, 1.0), (1200.0, 0.6), (2600.0, 0.2))
_WIDTH: Final = 150.0


def synthesize(kind: Sound, samples: int, sample_rate: int) -> NDArray[np.float32]:
    """`samples` samples of a sound, [n] in [-1, 1]."""
    if kind == "silence":
        return np.zeros(samples, np.float32)
    if kind == "noise":
        return np.random.default_rng(1).normal(0, 0.02, samples).astype(np.float32)
    seconds = np.arange(samples) / sample_rate
    phase = 2 * np.pi * (_PITCH * seconds + 0.6 * np.sin(2 * np.pi * 3 * seconds))
    harmonics = np.arange(1, int(3400 / _PITCH))
    strength = sum(gain * np.exp(-(((harmonics * _PITCH - hertz) / _WIDTH) ** 2)) for hertz, gain in _FORMANTS) + 0.02
    voice = sum(gain * np.sin(harmonic * phase) for harmonic, gain in zip(harmonics, strength, strict=True))
    syllables = 0.7 + 0.3 * np.sin(2 * np.pi * 4 * seconds)
    return np.asarray(0.1 * voice * syllables, np.float32)


def render(audio: Audio) -> bytes:
    """The samples of an audio step as it packs them, channels interleaved, with a WAV header where it asks for one."""
    if audio.bytes_b64 is not None:
        return audio.bytes_b64
    assert audio.seconds is not None
    count = round(audio.seconds * audio.sample_rate)
    kinds = audio.kind if isinstance(audio.kind, list) else [audio.kind]
    channels = [synthesize(kind, count, audio.sample_rate) for kind in kinds if kind != "bytes"]
    with io.BytesIO() as file:
        soundfile.write(
            file,
            np.stack(channels, axis=1),
            audio.sample_rate,
            format="WAV" if audio.wav else "RAW",
            subtype=_SUBTYPES[audio.dtype],
        )
        return file.getvalue()
