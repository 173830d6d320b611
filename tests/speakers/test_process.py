"""A diarizer in another process: as if it were here, but for what happens when that process dies or this one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stream_server.speakers.diarizer import Diarization, Diarizer, DiarizerError
from stream_server.speakers.process import PIECE, ProcessDiarizer
from stream_server.speakers.service import load_community
from tests.support.hearing import DIE, FAIL, STUMBLE, Hearing, fail_to_load
from tests.support.speech import recording as speech

ROOT = Path(__file__).resolve().parents[2]

Make = Callable[..., ProcessDiarizer]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """``make(load=Hearing, most=1)``: a diarizer whose processes end with the test."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made: list[ProcessDiarizer] = []

    def make_one(load: Callable[[], Diarizer] = Hearing, most: int = 1) -> ProcessDiarizer:
        made.append(ProcessDiarizer("hearing", load, most=most))
        return made[-1]

    yield make_one
    for diarizer in made:
        diarizer.close()


def quiet(count: int) -> np.ndarray:
    return np.zeros(count, np.float32)


def saying(sample: float) -> np.ndarray:
    return np.full(10, sample, np.float32)


class Told:
    """What a `Hearing` says at the end of a recording."""

    def __init__(self, recording: Diarization) -> None:
        (turn,) = recording.finish()
        self.heard = turn.end_ms
        num_speakers, longest, open_recordings, pid = turn.speaker.split()
        self.num_speakers, self.longest, self.open, self.pid = (
            num_speakers,
            int(longest),
            int(open_recordings),
            int(pid),
        )


def test_recordings_at_the_same_time_are_not_mixed(make: Make) -> None:
    diarizer = make()
    one, two = diarizer.open(3), diarizer.open()
    for _ in range(4):
        one.hear(quiet(100))
        two.hear(quiet(7))
    told = Told(one), Told(two)
    assert [each.heard for each in told] == [400, 28]
    assert [each.num_speakers for each in told] == ["3", "None"]
    assert told[0].pid == told[1].pid != os.getpid()


def test_audio_goes_over_in_pieces(make: Make) -> None:
    """So that neither side holds much, and recordings take turns."""
    recording = make().open()
    recording.hear(quiet(2 * PIECE + 5))
    told = Told(recording)
    assert told.heard == 2 * PIECE + 5
    assert told.longest == PIECE


def test_there_are_as_many_processes_as_allowed_and_all_but_one_end_with_their_recordings(make: Make) -> None:
    diarizer = make(most=2)
    recordings = [diarizer.open() for _ in range(4)]
    pids = [Told(recording).pid for recording in recordings]
    assert pids[0] == pids[2] != pids[1] == pids[3]
    for recording in recordings:
        recording.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert Told(diarizer.open()).pid == pids[1]


def test_a_recording_that_is_given_up_is_closed_there(make: Make) -> None:
    diarizer = make()
    for _ in range(3):
        recording = diarizer.open()
        recording.hear(quiet(10))
        recording.close()
        recording.close()
    assert Told(diarizer.open()).open == 1


def test_a_process_that_dies_fails_its_recordings_and_no_others(make: Make) -> None:
    diarizer = make(most=2)
    killer, other, neighbour = (diarizer.open() for _ in range(3))
    with pytest.raises(DiarizerError, match="process has ended"):
        killer.hear(saying(DIE))
    with pytest.raises(DiarizerError, match="process has ended"):
        neighbour.finish()
    other.hear(quiet(10))
    told = Told(other)
    assert told.heard == 10
    for recording in (killer, neighbour):
        recording.close()
    following = diarizer.open()
    following.hear(quiet(20))
    assert Told(following).heard == 20


def test_one_that_died_while_nobody_spoke_is_started_anew(make: Make) -> None:
    diarizer = make()
    recording = diarizer.open()
    pid = Told(recording).pid
    recording.close()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert Told(diarizer.open()).pid != pid


@pytest.mark.parametrize(("sample", "message"), [(FAIL, "^it is too loud$"), (STUMBLE, "ValueError: no such sample")])
def test_what_goes_wrong_there_is_said_here(make: Make, sample: float, message: str) -> None:
    diarizer = make()
    one, other = diarizer.open(), diarizer.open()
    with pytest.raises(DiarizerError, match=message):
        one.hear(saying(sample))
    other.hear(quiet(10))
    assert Told(other).heard == 10


def test_a_model_that_cannot_be_loaded_is_said_to_whoever_opens_a_recording(make: Make) -> None:
    diarizer = make(fail_to_load)
    for _ in range(2):
        with pytest.raises(DiarizerError, match="there is no such model"):
            diarizer.open()


def test_closing_ends_the_processes(make: Make) -> None:
    diarizer = make()
    recording = diarizer.open()
    pid = Told(recording).pid
    diarizer.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(DiarizerError, match="process has ended"):
        recording.hear(quiet(10))
    recording.close()


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has this priority")
def test_it_gives_way(make: Make) -> None:
    assert os.sched_getscheduler(Told(make().open()).pid) == os.SCHED_IDLE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_not_stopped_by_what_stops_the_server(make: Make, number: signal.Signals) -> None:
    """The server finishes what it has begun."""
    recording = make().open()
    os.kill(Told(recording).pid, number)
    recording.hear(quiet(10))
    assert Told(recording).heard == 10


def test_the_embedded_diarizer_hears_the_same_there(make: Make) -> None:
    samples = speech("endgame_nagg_nell.wav")[: 12 * 16_000]
    found = []
    for diarizer in (make(load_community), load_community()):
        recording = diarizer.open(2)
        for start in range(0, len(samples), 30_000):
            recording.hear(samples[start : start + 30_000])
        found.append(recording.finish())
        recording.close()
    assert found[0] == found[1]
    assert {turn.speaker for turn in found[0]} == {"SPEAKER_00", "SPEAKER_01"}


ORPHAN = """
import os, signal
from stream_server.speakers.process import ProcessDiarizer
from tests.support.hearing import Hearing
recording = ProcessDiarizer("hearing", Hearing).open()
print("begun", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_with_its_parent_even_a_killed_one(make: Make) -> None:
    """It inherits stderr, so that this has an end only when it has one."""
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == "begun\n"
