"""The wheel's own runtime, which diarizes with the same two networks, on one conversation beside ours.

    python -m bench.diarization_peer FILE   prints the turns it finds as one line of JSON

It runs in a process of its own, so that its CPU time is its own. It cannot diarize without transcribing, so the cost of
ours is given with the transcription, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.conversation import Conversation
from bench.peer import PeerError
from bench.report import Phases, figure, print_table
from bench.turn_score import TurnScore
from stream_server.engine.moonshine.asset import find_assets
from stream_server.recording import write_wav
from stream_server.settings import Settings
from stream_server.speakers.turn import Turn, label_of
from stream_server.transcribe import Transcriber

RATE: Final = 16_000
PATIENCE_SEC: Final = 1800.0


def compare(conversation: Conversation, phases: Phases) -> dict[str, Any]:
    """Both on the same file, and a table.

    Raises:
        PeerError: the peer has failed, with what it said last.
    """
    advance = phases.begin("peer", 2)
    with tempfile.TemporaryDirectory() as folder, Transcriber(Settings.load({})) as transcriber:
        path = Path(folder) / "conversation.wav"
        write_wav(path, (conversation.audio * 32767).astype("<i2").tobytes())
        began = time.process_time()
        ours = list(transcriber.transcribe(path, diarize=True).turns)
        our_cpu = time.process_time() - began
        advance(1)
        done = subprocess.run(
            [sys.executable, "-m", "bench.diarization_peer", str(path)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SEC,
            check=False,
        )
        if done.returncode != 0:
            raise PeerError(f"the wheel's own runtime failed: {done.stderr.strip().splitlines()[-1:]}")
        advance(1)
    said = json.loads(done.stdout.splitlines()[-1])
    theirs = [Turn(*turn) for turn in said["turns"]]
    rows, found = [], {}
    for name, turns, cpu in (("ours", ours, our_cpu), ("the wheel's runtime", theirs, said["cpu_sec"])):
        score = TurnScore()
        error = score.add(conversation, turns)
        speakers = len({turn.speaker for turn in turns})
        found[name] = {"error": error, "speakers": speakers, "cpu_per_sec": cpu / conversation.seconds}
        rows.append((name, figure(100 * error, "%", 1), str(speakers), figure(cpu / conversation.seconds, "", 3)))
    print_table(
        f"One conversation of {conversation.speakers}, {conversation.seconds:.0f} s, with its transcription",
        ("", "DER", "speakers", "CPU-s/s"),
        rows,
    )
    return found


def main(files: Sequence[str]) -> None:
    """Transcribe one file with speakers, at once."""
    from moonshine_voice.moonshine_api import ModelArch
    from moonshine_voice.transcriber import Transcriber as Runtime

    with wave.open(files[0], "rb") as file:
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    runtime = Runtime(find_assets().encoder.parent, ModelArch.TINY, options={"identify_speakers": "true"})
    began = time.process_time()
    transcript = runtime.transcribe_without_streaming(audio.tolist(), RATE)
    cpu = time.process_time() - began
    turns = [
        (round(1000 * span.start_time), round(1000 * (span.start_time + span.duration)), label_of(span.speaker_index))
        for line in transcript.lines
        for span in line.speaker_spans or ()
    ]
    print(json.dumps({"turns": sorted(turns), "cpu_sec": cpu}))


if __name__ == "__main__":
    main(sys.argv[1:])
