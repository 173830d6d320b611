"""The load generator against a scripted server: what it plays, what it counts, and its line of JSON."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from stream_client.load import FRAME_BYTES, read_track, run_load
from tests.client.scripted import ScriptedServer
from tests.client.test_transport import listening


def write_wav(path: Path, seconds: float, rate: int = 16_000) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\1\0" * int(seconds * rate))
    return str(path)


def test_a_track_is_the_files_with_silence_between(tmp_path: Path) -> None:
    track = read_track([write_wav(tmp_path / "a.wav", 0.25), write_wav(tmp_path / "b.wav", 0.5)])
    audio = b"".join(track)
    assert {len(frame) for frame in track} == {FRAME_BYTES}
    assert audio.rstrip(b"\0")[:8000] == b"\1\0" * 4000
    assert audio[8000:40000] == bytes(32000)
    assert audio[40000:56000] == b"\1\0" * 8000
    with pytest.raises(ValueError, match="has 8000 Hz"):
        read_track([write_wav(tmp_path / "c.wav", 0.1, rate=8000)])
    (tmp_path / "d.wav").write_bytes(b"not audio")
    with pytest.raises(ValueError, match=r"d\.wav is not a WAV file"):
        read_track([str(tmp_path / "d.wav")])


async def test_streams_are_measured_and_failures_counted(tmp_path: Path) -> None:
    # A sample is a byte to the scripted server: 100 ms frames are 3200 "ms" there, and so 3 or 4 segments each.
    server = ScriptedServer((None, None, 3))
    async with listening(server) as port:
        result = await run_load(
            f"ws://127.0.0.1:{port}/ws", 3, 2.0, [write_wav(tmp_path / "a.wav", 0.5)], speed=10, init={"words": False}
        )
    assert result.errors == {"CONNECTION_LOST": 1}
    assert all(init["words"] is False and init["dtype"] == "int16" for init in server.inits)
    whole = [session for session in server.sessions.values() if session.ended]
    assert [len(session.audio) for session in whole] == [64_000, 64_000]
    assert result.latency.finals >= 2 * 64
    # Every final counts; those of speech that the end cut off, a few a stream, are not timed.
    assert result.latency.finals - 4 * 3 <= result.latency.final.count < result.latency.finals
    assert result.latency.lost_segments == result.latency.segments - result.latency.finals
    assert json.loads(json.dumps(result.to_dict()))["latency"]["partials"] == result.latency.partials


async def test_the_command_prints_one_line_of_json(tmp_path: Path) -> None:
    file = write_wav(tmp_path / "a.wav", 0.5)
    command = [sys.executable, "-m", "stream_client.load", "--streams", "2", "--seconds", "1", "--speed", "20"]
    async with listening(ScriptedServer()) as port:
        done = await asyncio.to_thread(
            subprocess.run, [*command, f"ws://127.0.0.1:{port}/ws", file], capture_output=True, text=True, check=True
        )
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["errors"] == {}
    assert json.loads(line)["audio_sec"] == 2.0


def test_a_server_that_is_not_there_is_counted(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = asyncio.run(run_load(f"ws://127.0.0.1:{port}/ws", 2, 1.0, [write_wav(tmp_path / "a.wav", 0.1)]))
    assert result.errors == {"CONNECTION_FAILED": 2}
    assert result.latency.final.p95 is None
