"""Moonshine's own streaming runtime with the same weights, for comparison: ``python -m bench.peer FILES...``.

It runs in a process of its own, so that its CPU time is its own. It gets what a caller would send, in frames of 100 ms,
and updates its text every 0.5 s of audio; it is fed as fast as it takes it, which changes nothing but the waiting.
Options that cost it time and that we have no use for are off. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from bench.report import Advance
from stream_server.engine.moonshine.asset import find_assets

SAMPLE_RATE: Final = 16_000
FRAME: Final = SAMPLE_RATE // 10  # samples
UPDATE_SEC: Final = 0.5


class PeerError(Exception):
    """The peer could not be run."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What it heard in each file, and its CPU time (user and system, all threads) without loading the model."""

    texts: tuple[str, ...] = field(repr=False)
    audio_sec: float
    cpu_sec: float

    @property
    def cpu_per_sec(self) -> float:
        """CPU-seconds per second of audio."""
        return self.cpu_sec / self.audio_sec


async def measure(files: Sequence[Path], advance: Advance) -> Peer:
    """Run the peer over WAV files of 16 kHz, mono, 16 bit.

    Raises:
        PeerError: with what it said last.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.peer", *map(str, files)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    texts, said = [], asyncio.create_task(process.stderr.read())
    try:
        result = None
        while line := await process.stdout.readline():
            result = json.loads(line)
            if "text" in result:
                texts.append(str(result["text"]))
                advance(1)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0 or result is None:
        lines = (await said).decode(errors="replace").strip().splitlines()
        raise PeerError(f"Moonshine's own runtime failed: {lines[-1] if lines else process.returncode}")
    return Peer(tuple(texts), float(result["audio_sec"]), float(result["cpu_sec"]))


def main(files: Sequence[str]) -> None:
    """Stream the files one after the other through one transcriber; one line of JSON each, then one of figures."""
    from moonshine_voice.moonshine_api import ModelArch
    from moonshine_voice.transcriber import Transcriber

    options = {"identify_speakers": "false", "return_audio_data": "false"}
    transcriber = Transcriber(find_assets().encoder.parent, ModelArch.TINY, UPDATE_SEC, options)
    samples, cpu = 0, 0.0
    for name in files:
        with wave.open(name, "rb") as file:
            audio = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        frames = [audio[start : start + FRAME].tolist() for start in range(0, len(audio), FRAME)]
        began = time.process_time()
        stream = transcriber.create_stream(UPDATE_SEC)
        stream.start()
        for frame in frames:
            stream.add_audio(frame, SAMPLE_RATE)
        transcript = stream.stop()
        stream.close()
        cpu += time.process_time() - began
        samples += len(audio)
        print(json.dumps({"text": " ".join(line.text for line in transcript.lines)}), flush=True)
    print(json.dumps({"audio_sec": samples / SAMPLE_RATE, "cpu_sec": cpu}))


if __name__ == "__main__":
    main(sys.argv[1:])
