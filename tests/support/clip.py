"""Short recordings that the fake recognizer hears something in, and files that are none."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from tests.protocol.sound import synthesize

RATE = 16_000

PICTURE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(500)
DAMAGED = b"RIFF\xff\xff\xff\x7fWAVE" + b"junk" * 100
"""It begins as a WAV file does, and has nothing in it."""


def clip(seconds: float = 1.0, *, kind: str = "WAV") -> bytes:
    """Something like speech for so long, with silence before and after it; ``kind`` as soundfile names it."""
    quiet = np.zeros(RATE // 2, np.float32)
    file = io.BytesIO()
    soundfile.write(
        file, np.concatenate([quiet, synthesize("speech", round(seconds * RATE), RATE), quiet]), RATE, format=kind
    )
    return file.getvalue()
