"""What the benchmark of diarization counts, with models whose turns are known; its server is a handful of answers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from bench.conversation import Conversation
from bench.labelled_speech import RATE
from bench.submission import SubmissionError
from stream_protocol.transcript import Segment, Transcript, Word
from stream_server.speakers.turn import Turn
from tests.support.recital import recital
from tests.support.speech import recording
from tests.support.voices import FakeVoices

NEEDS_BENCH = "the extra `bench` is not installed"
diarization = pytest.importorskip("bench.diarization", reason=NEEDS_BENCH)
diarization_live = pytest.importorskip("bench.diarization_live", reason=NEEDS_BENCH)
diarization_long = pytest.importorskip("bench.diarization_long", reason=NEEDS_BENCH)
diarization_peer = pytest.importorskip("bench.diarization_peer", reason=NEEDS_BENCH)


class Quiet:
    """Shows nothing."""

    def begin(self, name: str, total: float) -> Callable[[float], None]:
        return lambda steps: None


@dataclass
class Hearing:
    """A transcriber that knows the turns and the words beforehand. ``heard``: the files."""

    turns: tuple[Turn, ...]
    words: tuple[Word, ...] = ()
    heard: list[NDArray[np.float32]] = field(default_factory=list)

    def __call__(self, settings: object) -> Hearing:
        return self

    def __enter__(self) -> Hearing:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def transcribe(self, path: Path, *, diarize: bool) -> Transcript:
        assert diarize
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == RATE
        self.heard.append(samples)
        segment = Segment("words", 0, 1000, 1.0, self.words)
        return Transcript((segment,), "en", 1000 * len(samples) // RATE, self.turns)


def conversation() -> Conversation:
    """Twelve seconds of a reader, who is two people."""
    samples = np.array(recording("two_cities.wav")[: 12 * RATE])
    return Conversation(samples, ((0, 6 * RATE, "ann"), (6 * RATE, 12 * RATE, "bob")))


RIGHT = (Turn(0, 6000, "SPEAKER_00"), Turn(6000, 12_000, "SPEAKER_01"))
WRONG = (Turn(0, 12_000, "SPEAKER_00"),)


def test_files_are_heard_on_either_line(monkeypatch: pytest.MonkeyPatch) -> None:
    words = tuple(Word("a", at, at + 100, 1.0, speaker=f"SPEAKER_0{who}") for at, who in ((3000, 0), (9000, 0)))
    transcriber = Hearing(RIGHT, words)
    monkeypatch.setattr(diarization, "Transcriber", transcriber)
    said = conversation()
    found = diarization.files([said, said], Quiet())
    assert list(found) == ["clean", "telephone"]
    for tally in found.values():
        counted = tally.to_dict()
        assert (counted["error"], counted["worst"], counted["counted"]) == (0, 0, 1)
        assert (counted["words"], counted["right_words"]) == (4, 0.5)
    assert np.abs(transcriber.heard[0] - said.audio).max() < 1e-4
    assert np.abs(transcriber.heard[1] - said.by_telephone().audio).max() < 1e-4


def test_a_tally_adds_up() -> None:
    tally = diarization.Tally()
    tally.add(conversation(), RIGHT, 1.0)
    tally.add(conversation(), WRONG, 2.0)
    found = tally.to_dict()
    assert found["error"] == pytest.approx(0.25)
    assert found["worst"] == pytest.approx(0.5)
    assert found["counted"] == 0.5
    assert found["cpu_per_sec"] == pytest.approx(3 / 24)
    assert found["right_words"] is None


def test_targets_are_in_percent() -> None:
    clean, telephone = diarization.Tally(), diarization.Tally()
    clean.add(conversation(), WRONG, 1.0)
    clean.words.words, clean.words.right = 100, 95
    telephone.add(conversation(), RIGHT, 1.0)
    checks = diarization._checks({"clean": clean, "telephone": telephone}, "files")
    assert [check.name for check in checks] == ["files, clean: DER", "files, clean: words", "files, telephone: DER"]
    assert [check.passed for check in checks] == [False, True, True]
    assert checks[0].value == pytest.approx(50)
    assert [check.target for check in checks] == [15.0, 95.0, 20.0]


def test_segments_are_those_of_the_server() -> None:
    said = recital(3)
    audio = np.frombuffer(said.pcm, "<i2").astype(np.float32) / 32768
    segments = list(diarization_live._segments(Conversation(audio, ())))
    assert len(segments) == 3
    for (start, samples), began in zip(segments, said.starts, strict=True):
        assert start / RATE == pytest.approx(began - 0.3, abs=0.3)  # a little before it
        assert np.array_equal(samples, audio[start : start + len(samples)])
        assert 3 < len(samples) / RATE < 6


@pytest.mark.parametrize("revises", [False, True])
def test_a_live_caller_is_told_at_first_and_at_last(revises: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two segments of one speaker, the first of which is revised to be the second's."""
    said = recital(2)
    audio = np.frombuffer(said.pcm, "<i2").astype(np.float32) / 32768
    first, second = ((start, start + len(samples), "ann") for start, samples in _cut(audio))
    voices: list[FakeVoices] = []

    class Models:
        def live(self) -> FakeVoices:
            voices.append(FakeVoices(revises=revises))
            return voices[-1]

    monkeypatch.setattr(diarization_live, "load_speakers", lambda settings: Models())
    found = diarization_live._told([Conversation(audio, (first, second))], lambda done: None)
    told, last = (found[when].to_dict() for when in ("as told", "in the end"))
    assert told["error"] == pytest.approx(0.5, abs=0.1)
    assert last["error"] == (pytest.approx(0, abs=0.01) if revises else told["error"])
    for tally in (told, last):
        assert (tally["segments"], tally["revised"]) == (2, int(revises))
    assert [len(each.told) for each in voices] == [2]


def _cut(audio: NDArray[np.float32]) -> list[tuple[int, NDArray[np.float32]]]:
    return list(diarization_live._segments(Conversation(audio, ())))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "has recordings of fewer than 4 speakers"),
        (["--only", "files,everything"], "unknown: everything; there are files, live, peer, long"),
        (["--reps", "0"], "one is the least"),
    ],
)
def test_what_cannot_be_measured_is_said(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        diarization.main(["--folder", str(tmp_path), *arguments])
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_the_peer_and_we_are_scored_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = '{"turns": [[0, 12000, "SPEAKER_00"]], "cpu_sec": 6.0}'
    monkeypatch.setattr(diarization_peer, "Transcriber", Hearing(RIGHT))
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, f"loading\n{answer}\n", "")
    )
    found = diarization_peer.compare(conversation(), Quiet())
    ours, theirs = found["ours"], found["the wheel's runtime"]
    assert (ours["error"], ours["speakers"]) == (0, 2)
    assert (theirs["error"], theirs["speakers"], theirs["cpu_per_sec"]) == (pytest.approx(0.5), 1, 0.5)


def test_a_peer_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diarization_peer, "Transcriber", Hearing(RIGHT))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "a\nno memory\n"))
    with pytest.raises(diarization_peer.PeerError, match="no memory"):
        diarization_peer.compare(conversation(), Quiet())


def job(*percents: int | None, error: str | None = None) -> httpx2.AsyncClient:
    """A server with one job: how far it is, each time somebody asks; None: not begun; at 100 it is completed."""
    answers = iter(percents)

    def answer(request: httpx2.Request) -> httpx2.Response:
        percent = next(answers)
        status = "completed" if percent == 100 else "failed" if error else "running"
        progress = None if percent is None else {"percent": percent}
        body: dict[str, Any] = {"status": status, "progress": progress, "error": error}
        return httpx2.Response(200, json=body)

    return httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://127.0.0.1")


async def test_steps_of_progress_are_counted_where_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diarization_long, "_POLL_SEC", 0.0)
    shown: list[float] = []
    async with job(None, 0, 3, 3, 50, 50, 99, 100) as client:
        assert await diarization_long._finished(client, "one", shown.append) == 4
    assert sum(shown) == pytest.approx(1)


async def test_a_job_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diarization_long, "_POLL_SEC", 0.0)
    async with job(10, error="no such audio") as client:
        with pytest.raises(SubmissionError, match="no such audio"):
            await diarization_long._finished(client, "one", lambda steps: None)


def test_a_long_conversation_has_its_targets() -> None:
    good: dict[str, Any] = {"audio_sec": 3600.0, "wall_sec": 400.0, "plain_mib": 300.0, "speakers": 4, "segments": 300}
    within = diarization_long.Long(**good, memory_mib=500.0, steps=90, error=0.05, idle_sec=3.0)
    beyond = diarization_long.Long(**good, memory_mib=900.0, steps=3, error=0.2, idle_sec=40.0)
    assert [check.passed for check in within.checks()] == [True] * 4
    assert [check.passed for check in beyond.checks()] == [False] * 4
