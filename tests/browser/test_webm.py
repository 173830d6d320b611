"""What the browser client makes of a WebM recording, as the server's decoder hears it: every session has the sound from
its position on, to the sample."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_server.audio.container import ContainerDecoder
from tests.support.node import need_node

av = pytest.importorskip("av")

RATE: Final = 48_000
SECONDS: Final = 4
POSITIONS: Final = (0, 1, 47, 1234, 2000, 3990)
MODULE: Final = Path(__file__).parents[2] / "clients/browser/stream_browser/client/webm.js"

# A recording comes in pieces, which are sent; then again, from each position. Out comes what each session got.
SESSIONS: Final = """
import { readFileSync } from "node:fs";
const [module, positions] = process.argv.slice(1);
const { WebmBacklog } = await import(module);
const recording = readFileSync(0);
const log = new WebmBacklog(1e7);
const sessions = [[]];
const send = () => {
  for (let frame = log.nextFrame(); frame !== undefined; frame = log.nextFrame()) sessions.at(-1).push(frame);
};
for (let at = 0; at < recording.length; at += 1000) {
  log.append(new Uint8Array(recording.subarray(at, at + 1000)));
  send();
}
for (const position of JSON.parse(positions)) {
  if (log.rewind(position) !== position) throw new Error(`no rewind to ${position}`);
  sessions.push([]);
  send();
}
console.log(JSON.stringify(sessions.map((frames) => Buffer.concat(frames).toString("base64"))));
"""


class Pipe(io.RawIOBase):
    """A file that cannot seek: FFmpeg leaves sizes unknown, as browsers do."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.written += bytes(data)
        return len(data)


def record(*, seekable: bool) -> bytes:
    """A sweep, which is nowhere the same, as WebM with Opus."""
    time = np.arange(SECONDS * RATE) / RATE
    sweep = (0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)
    file = io.BytesIO() if seekable else Pipe()
    with av.open(file, "w", format="webm") as output:
        stream = output.add_stream("libopus", rate=RATE, layout="mono")
        stream.bit_rate = 32_000
        frame = av.AudioFrame.from_ndarray(sweep[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        for part in (frame, None):
            output.mux(stream.encode(part))
    return file.getvalue() if isinstance(file, io.BytesIO) else bytes(file.written)


def hear(recording: bytes) -> NDArray[np.float32]:
    decoder = ContainerDecoder(1)
    try:
        return np.concatenate([decoder.receive(recording), decoder.finish()])[:, 0]
    finally:
        decoder.close()


@pytest.mark.parametrize("seekable", [False, True])
def test_every_session_has_the_sound_from_its_position_on(seekable: bool) -> None:
    need_node()
    command = ["node", "--input-type=module", "--eval", SESSIONS, MODULE.as_uri(), json.dumps(POSITIONS)]
    recording = record(seekable=seekable)
    run = subprocess.run(command, input=recording, capture_output=True, check=True)
    first, *others = (hear(base64.b64decode(session)) for session in json.loads(run.stdout))
    whole = hear(recording)
    assert len(whole) > (SECONDS - 0.1) * RATE
    # The recording says how much of its last packet is padding, which microphones have no need to say.
    assert np.array_equal(first[: len(whole)], whole)
    assert len(first) < len(whole) + 0.02 * RATE
    for position, heard in zip(POSITIONS, others, strict=True):
        assert np.array_equal(heard, first[position * RATE // 1000 :]), f"from {position} ms on"
