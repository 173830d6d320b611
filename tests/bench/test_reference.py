"""The model as it is shipped, on real speech."""

import numpy as np

from bench.corpus import load_wheel
from bench.reference import ReferenceReader
from bench.text import normalize
from stream_server.engine.moonshine.asset import find_assets


def test_reads_a_recording() -> None:
    beckett = next(clip for clip in load_wheel() if clip.name == "beckett.wav")
    text = normalize(ReferenceReader(find_assets()).read(beckett.audio.astype(np.float32) / np.float32(32768)))
    assert "ever tried ever failed" in text
    assert "fail better" in text
