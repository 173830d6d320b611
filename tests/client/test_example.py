"""The programs of `clients/examples/`, each run as its head says, against a real server with the real model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import srt

from tests.support.hosting import hosted_server
from tests.support.node import WITH_WEBSOCKET, need_node
from tests.support.running import Running
from tests.support.speech import moonshine, recording

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "clients" / "examples"
KEY = "sk-example"
SAID = "ever failed"
"""What is heard in the recording, in small letters."""
PATIENCE_SEC = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data_dir = tmp_path_factory.mktemp("data")
    with hosted_server(moonshine(), data_dir=data_dir, job_worker="inline", api_keys=(KEY,)) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of the same words: ``talk.wav``, ``talk.ogg`` (Opus), and ``call.ulaw``, where the agent repeats
    what the caller has said."""
    samples = recording("beckett.wav")
    soundfile.write(tmp_path / "talk.wav", samples, 16_000, subtype="PCM_16")
    soundfile.write(tmp_path / "talk.ogg", samples, 16_000, format="OGG", subtype="OPUS")
    line = soxr.resample(samples, 16_000, 8_000)
    pause = np.zeros_like(line)
    call = np.stack([np.concatenate([line, pause]), np.concatenate([pause, line])], axis=1)
    soundfile.write(tmp_path / "call.ulaw", call, 8_000, format="RAW", subtype="ULAW")
    return tmp_path


def run(command: list[str], folder: Path, server: Running, key: str = KEY) -> subprocess.CompletedProcess[str]:
    own = {"SERVER": server.http_url, "STREAM_API_KEY": key, "PAUSE": "0.1", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **own},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SEC,
    )


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def node() -> list[str]:
    """Node, as the head of the example says."""
    return ["node"] if need_node() >= WITH_WEBSOCKET else ["node", "--experimental-websocket"]


@pytest.mark.parametrize("name", ["talk.wav", "talk.ogg"])
def test_node_streams_a_recording(name: str, folder: Path, server: Running) -> None:
    done = run([*node(), str(EXAMPLES / "recording.mjs"), name], folder, server)
    assert done.returncode == 0, done.stderr
    assert re.match(r" +\d+\.\d\d s  \w", done.stdout)
    assert SAID in done.stdout.lower()
    assert re.search(r"^\d+ segments in 1\d\.\d s of audio$", done.stderr, re.MULTILINE)


def test_curl_makes_a_job_and_fetches_its_subtitles(folder: Path, server: Running) -> None:
    need("curl")
    done = run(["bash", str(EXAMPLES / "job.sh"), "talk.wav"], folder, server)
    assert done.returncode == 0, done.stderr
    at_once, as_a_job = done.stdout.split("As a job: ")
    assert SAID in at_once.lower()
    assert as_a_job.startswith(f"{server.http_url}/v1/transcription-jobs/")
    assert "\ncompleted\n" in as_a_job
    cues = list(srt.parse((folder / "talk.srt").read_text(encoding="utf-8")))
    assert SAID in " ".join(cue.content for cue in cues).lower()


def test_a_call_is_told_by_its_channels(folder: Path, server: Running) -> None:
    done = run([sys.executable, str(EXAMPLES / "call.py"), "call.ulaw", "--speed", "20"], folder, server)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^ +(\d+\.\d\d) s  (caller|agent): (.+)$", done.stdout, re.MULTILINE)
    assert len(lines) == len(done.stdout.splitlines())
    half = (folder / "call.ulaw").stat().st_size / 2 / 8000 / 2
    for speaker, begins in (("caller", 0), ("agent", half)):
        said = [(float(at), text) for at, name, text in lines if name == speaker]
        assert SAID in " ".join(text for _, text in said).lower()
        assert all(begins - 1 <= at <= begins + half for at, _ in said), said


def test_ffmpeg_is_piped_into_the_server(folder: Path, server: Running) -> None:
    """The first of the commands in its head."""
    need("ffmpeg")
    text = (EXAMPLES / "pipe.py").read_text(encoding="utf-8")
    command = re.search(r"^ffmpeg .+ \| python pipe\.py", text, re.MULTILINE)
    assert command is not None
    ours = {"talk.mp4": "talk.ogg", "python pipe.py": f'"{sys.executable}" "{EXAMPLES / "pipe.py"}"'}
    line = command[0]
    for theirs, other in ours.items():
        assert theirs in line
        line = line.replace(theirs, other)
    done = run(["bash", "-o", "pipefail", "-c", line], folder, server)
    assert done.returncode == 0, done.stderr
    assert SAID in done.stdout.lower()


@pytest.mark.parametrize(
    ("name", "arguments", "status", "reason"),
    [
        ("recording.mjs", ["talk.wav"], 1, "AUTH_FAILED"),
        ("call.py", ["call.ulaw"], 1, "AUTH_FAILED"),
        ("pipe.py", [], 1, "AUTH_FAILED"),
        ("job.sh", ["talk.wav"], 22, "401"),
    ],
)
def test_a_wrong_key(name: str, arguments: list[str], status: int, reason: str, folder: Path, server: Running) -> None:
    start = {".mjs": node, ".py": lambda: [sys.executable], ".sh": lambda: need("curl") or ["bash"]}
    done = run([*start[Path(name).suffix](), str(EXAMPLES / name), *arguments], folder, server, key="sk-wrong")
    assert (done.returncode, reason in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr


def test_every_example_is_in_the_readme() -> None:
    linked = re.findall(r"\]\((\S+?)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert sorted(linked) == sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".mjs", ".py", ".sh"))
