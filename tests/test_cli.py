"""The command line as a person or a script meets it: what is written where, and the exit status."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
import srt
from rich.console import Console

from stream_protocol import Segment, Transcript, Turn
from stream_server import __version__, terminal
from stream_server.cli import Format, main
from stream_server.formats import FORMATS
from stream_server.ramp import Step, counts, heading
from stream_server.recording import find_demo, read_pcm, write_wav
from tests.client.scripted import ScriptedServer
from tests.client.test_transport import listening


@dataclass
class Result:
    status: int | str | None
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """`serve` configures logging for its process, which here is the tests' own."""
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    before = root.handlers[:], root.level, uvicorn.level
    yield
    root.handlers[:], level, uvicorn_level = before
    root.setLevel(level)
    uvicorn.setLevel(uvicorn_level)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """As most machines have it; put back, for commands change it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["stream-server", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        written = capsys.readouterr()
        return Result(exit_.value.code, written.out, written.err)

    return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(name: str, **members: Any) -> None:
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)

    return install


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    write_wav(path, b"\1\0" * 4000)
    return path


@contextmanager
def serving(server: ScriptedServer) -> Iterator[str]:
    """The scripted server in a thread, as the command line brings a loop of its own."""
    loop, address, stop = asyncio.new_event_loop(), [], asyncio.Event()
    started = threading.Event()

    async def serve() -> None:
        async with listening(server) as port:
            address.append(f"ws://127.0.0.1:{port}/ws")
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(5)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def assert_one_line(result: Result, text: str) -> None:
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert text in result.err


def test_version_and_help(run: Run) -> None:
    assert run("--version") == Result(0, f"stream-server {__version__}\n", "")
    shown = run("--help")
    assert shown.status == 0
    for command in ("serve", "transcribe", "listen", "demo", "models", "bench"):
        assert command in shown.out
        assert "--help" in run(command, "--help").out
    assert run().status == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["fly"], "No such command 'fly'"),
        (["serve", "--port", "0x50"], "'--port'"),
        (["serve", "--port", "70000"], "65535"),
        (["transcribe"], "Missing argument"),
        (["transcribe", "a.wav", "b.wav", "--format", "srt"], "several files as srt need a folder"),
        (["transcribe", "a.wav", "b/a.wav", "--output", "o"], "two files of the same name"),
        (["transcribe", "a.wav", "--speakers", "2"], "a number of speakers needs --diarize"),
        (["transcribe", "a.wav", "--diarize", "--speakers", "0"], "'--speakers'"),
        (["transcribe", "a.wav", "--format", "rttm"], "it needs --diarize"),
        (["listen", "--file", "nowhere.wav"], "file 'nowhere.wav' does not exist"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(run: Run, fake: Any, arguments: list[str], text: str) -> None:
    fake("stream_server.transcribe", Transcriber=None)
    result = run(*arguments)
    assert result.status == 2
    assert_one_line(result, text)


def test_serve_hands_on_what_was_given(run: Run, fake: Any) -> None:
    served: list[Any] = []
    fake("stream_server.server", serve=served.append)
    assert run("serve", "--port", "9000", "--log-level", "debug", "--max-sessions", "7").status == 0
    settings = served[0]
    assert (settings.port, settings.log_level, settings.max_sessions) == (9000, "debug", 7)


@pytest.mark.parametrize(
    ("command", "module", "name"), [("serve", "server", "serve"), ("worker", "worker_process", "run_worker")]
)
def test_what_a_server_writes_is_private(
    run: Run, fake: Any, tmp_path: Path, command: str, module: str, name: str
) -> None:
    def write(*_: Any, **__: Any) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "file").touch()

    fake(f"stream_server.{module}", **{name: write})
    assert run(command).status == 0
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data", tmp_path / "data" / "file")] == [
        0o700,
        0o600,
    ]


def test_keys_are_private_and_transcripts_as_the_user_has_it(run: Run, fake: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert run("keys", "create", "desk", "--data-dir", folder).status == 0
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())} == {
        "data": 0o700,
        "secret": 0o600,
        "stream-server.db": 0o600,
    }
    os.umask(0o022)
    fake("stream_server.transcribe", Transcriber=Transcriber)
    assert run("transcribe", tmp_path / "a.wav", "--output", tmp_path / "out").status == 0
    assert stat.S_IMODE((tmp_path / "out" / "a.txt").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(98, "Address already in use"), "error: Address already in use\n"),
        (FileNotFoundError(2, "No such file or directory", "keys"), "error: keys: No such file or directory\n"),
        (ValueError("two\nlines"), "error: two lines\n"),
        (KeyError("bug"), "error: unexpected KeyError: 'bug'; `stream-server --debug ...` shows where\n"),
    ],
)
def test_failures_are_one_line_and_status_1(run: Run, fake: Any, error: Exception, text: str) -> None:
    def serve(settings: Any) -> None:
        raise error

    fake("stream_server.server", serve=serve)
    assert run("serve") == Result(1, "", text)


def test_an_interrupt_is_status_130(run: Run, fake: Any) -> None:
    def serve(settings: Any) -> None:
        raise KeyboardInterrupt

    fake("stream_server.server", serve=serve)
    assert run("serve").status == 130


def test_a_setting_that_cannot_be_used_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_SERVER_MAX_SESSION", "5")
    result = run("serve")
    assert result.status == 1
    assert_one_line(result, "STREAM_SERVER_MAX_SESSION")


class Transcriber:
    def __init__(self, settings: Any) -> None:
        assert settings.model == "moonshine-tiny"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def transcribe(
        self, path: Path, progress: Callable[[float], None], *, language: str, diarize: bool, num_speakers: int | None
    ) -> Transcript:
        progress(0.5)
        if path.suffix == ".bad":
            raise ValueError("the file holds no audio")
        segment = Segment(f"{path.stem} in {language}.", 0, 1500, 0.9)
        if not diarize:
            return Transcript((segment,), language, 2000)
        speaker = f"1 of {num_speakers}"
        return Transcript((replace(segment, speaker=speaker),), language, 2000, (Turn(100, 1500, speaker),))


def test_transcribe_to_the_terminal(run: Run, fake: Any) -> None:
    fake("stream_server.transcribe", Transcriber=Transcriber)
    assert run("transcribe", "a.mp3", "--language", "de") == Result(0, "a in de.\n", "")
    assert run("transcribe", "a.mp3", "b.wav").out == "==> a.mp3 <==\na in auto.\n==> b.wav <==\nb in auto.\n"
    assert json.loads(run("transcribe", "a.mp3", "-f", "json").out)["text"] == "a in auto."


def test_transcribe_tells_speakers_apart(run: Run, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("stream_server.transcribe", Transcriber=Transcriber)
    assert run("transcribe", "a.mp3", "--diarize").out == "1 of None: a in auto.\n"
    assert run("transcribe", "a.mp3", "--diarize", "--speakers", "3").out == "1 of 3: a in auto.\n"
    assert run("transcribe", "a.mp3", "--diarize", "-f", "rttm").out == (
        "SPEAKER recording 1 0.100 1.400 <NA> <NA> 1_of_None <NA> <NA>\n"
    )
    monkeypatch.setenv("STREAM_SERVER_DIARIZER", "off")
    result = run("transcribe", "a.mp3", "--diarize")
    assert result.status == 2
    assert_one_line(result, "diarization is switched off on this server (diarizer=off)")


def test_every_format_can_be_written() -> None:
    assert [each.value for each in Format] == list(FORMATS)


def test_transcribe_goes_on_after_a_bad_file(run: Run, fake: Any, tmp_path: Path) -> None:
    fake("stream_server.transcribe", Transcriber=Transcriber)
    result = run("transcribe", "a.mp3", "x.bad", "a.wav", "b.ogg", "-f", "srt", "-o", tmp_path / "new")
    assert result.status == 1
    assert "error: x.bad: the file holds no audio\n" in result.err
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.mp3.srt", "a.wav.srt", "b.srt"]
    assert (tmp_path / "new" / "b.srt").read_text() == "1\n00:00:00,000 --> 00:00:01,500\nb in auto.\n"


def test_listen_plays_a_file(run: Run, recording: Path) -> None:
    with serving(ScriptedServer()) as url:
        shown = run("listen", "--url", url, "--file", recording)
        events = run("listen", "--url", url, "--file", recording, "--json")
    # To the scripted server each byte is a millisecond: 0.25 s of int16 are eight segments.
    assert shown.status == 0
    assert [line[:19] for line in shown.out.splitlines()] == [
        f"[00:0{second}.0 - 00:0{second + 1}.0]" for second in range(8)
    ]
    assert shown.err == "listening to tone.wav; Ctrl-C ends\n"
    kinds = [json.loads(line)["type"] for line in events.out.splitlines()]
    assert kinds.count("final_segment") == 8
    assert kinds[-1] == "done"


def test_listen_asks_who_speaks_where_it_is_told_to(run: Run, recording: Path) -> None:
    server = ScriptedServer()
    with serving(server) as url:
        run("listen", "--url", url, "--file", recording)
        run("listen", "--url", url, "--file", recording, "--diarize")
    assert [init["diarize"] for init in server.inits] == [False, True]


def test_the_first_interrupt_ends_listening_with_finals(tmp_path: Path) -> None:
    recording = tmp_path / "long.wav"
    write_wav(recording, bytes(60 * 32_000))
    server = ScriptedServer()
    with serving(server) as url:
        command = [sys.executable, "-m", "stream_server", "listen", "--url", url, "--file", str(recording)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest, said = process.communicate(timeout=20)
    assert first.startswith("[00:00.0 - 00:01.0]")
    assert process.returncode == 0
    assert len(rest.splitlines()) < 30  # of the 1920 that the whole recording would give
    assert said == "listening to long.wav; Ctrl-C ends\n"
    assert server.sessions["session-1"].ended


def test_listen_without_a_server_or_a_microphone(run: Run, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("listen", "--url", "ws://127.0.0.1:9/ws", "--file", recording)
    assert result.status == 1
    assert "error: no server at ws://127.0.0.1:9/ws: connection refused; is it running?\n" in result.err
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setattr("stream_server.microphone._portaudio", _no_portaudio)
    assert_one_line(run("listen"), "PortAudio is missing")


def _no_portaudio() -> Any:
    from stream_server.microphone import MicrophoneError

    raise MicrophoneError("PortAudio is missing")


def test_models(run: Run, fake: Any) -> None:
    @dataclass
    class Model:
        name: str
        languages: tuple[str, ...]
        description: str
        load: Any = None

    fake("stream_server.engine.registry", list_models=lambda: [Model("tiny", ("en", "de"), "small")])
    assert [line.split() for line in run("models").out.splitlines()] == [
        ["name", "languages", "description"],
        ["tiny", "en,", "de", "small"],
    ]
    assert json.loads(run("models", "--json").out) == [
        {"name": "tiny", "languages": ["en", "de"], "description": "small"}
    ]


def test_a_model_is_fetched_into_the_servers_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pull = "stream_server.speakers.resemblyzer.asset.pull_weights"
    monkeypatch.setattr(pull, lambda folder: folder / "weights.pt")
    result = run("models", "pull", "resemblyzer", "--data-dir", tmp_path)
    assert (result.status, result.out) == (0, "")
    assert result.err == f"resemblyzer is kept as {tmp_path / 'models' / 'weights.pt'}\n"
    assert run("models", "pull", "something").status == 2


@dataclass
class Described:
    name: str
    languages: tuple[str, ...]
    description: str


LONG = [Described("somebody/a-model-of-a-long-name-0.6b", ("en", "de"), " ".join(f"word{at}" for at in range(30)))]


def test_a_table_in_a_pipe_has_whole_lines(run: Run, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    fake("stream_server.engine.registry", list_models=lambda: LONG)
    _, line = run("models").out.splitlines()
    assert line.split() == [LONG[0].name, "en,", "de", *LONG[0].description.split()]


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_a_table_in_a_narrow_terminal_is_folded_and_not_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(terminal, "out", Console(highlight=False, force_terminal=True, width=width, color_system=None))
    words = " ".join(f"word{at}" for at in range(30))
    terminal.print_rows([{"id": "key_bd946b1afb81e670", "name": words, "today": "12, 3.5 h"}], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    shown = "".join("".join(lines).split())
    for letters in (words, "key_bd946b1afb81e670", "12, 3.5 h"):
        assert not Counter(letters.replace(" ", "")) - Counter(shown), "no letter of it is lost"
    assert ("key_bd946b1afb81e670" in shown) or width == 30, "what is to be copied is in one piece"


def test_bench_grows_until_it_does_not_hold(run: Run, recording: Path) -> None:
    server = ScriptedServer((None, None, 3))  # the third connection breaks
    with serving(server) as url:
        result = run("bench", "--url", url, "--file", recording, "--seconds", "1", "--streams", "4")
    table, last = result.out.splitlines()[:-1], json.loads(result.out.splitlines()[-1])
    assert result.status == 0
    assert last["capacity"] == 1
    assert [step["streams"] for step in last["steps"]] == [1, 2]
    assert last["steps"][-1]["errors"] == {"CONNECTION_LOST": 1}
    assert len(table) == 3


def test_capacity_table_and_numbers() -> None:
    assert counts(1) == [1]
    assert counts(40) == [1, 2, 4, 8, 12, 16, 24, 32]
    latency = {"p50": 1.2, "p95": 999.6}
    good = {"first_partial": latency, "partial": latency, "final": latency, "lost_segments": 0}
    assert Step(3, {"latency": good, "errors": {}}).holds
    assert not Step(3, {"latency": good, "errors": {"TIMEOUT": 1}}).holds
    assert not Step(3, {"latency": {**good, "lost_segments": 1}, "errors": {}}).holds
    assert not Step(3, {"latency": {**good, "final": {"p50": None, "p95": None}}, "errors": {}}).holds
    assert len(Step(3, {"latency": good, "errors": {}}).row()) == len(heading())


def test_the_demo_recording_is_found_and_read() -> None:
    pcm = read_pcm(find_demo(), seconds=2.0)
    assert len(pcm) == 2 * 16_000 * 2
    assert max(pcm) > 0


def test_transcribe_a_real_recording(run: Run, tmp_path: Path) -> None:
    beckett = find_demo().with_name("beckett.wav")
    result = run("transcribe", beckett, "-f", "srt", "-o", tmp_path)
    assert result.status == 0
    subtitles = list(srt.parse((tmp_path / "beckett.srt").read_text()))
    assert "ever failed" in " ".join(cue.content for cue in subtitles).lower()
    assert subtitles[-1].end.total_seconds() <= 10.1


def test_the_demo_from_end_to_end(run: Run) -> None:
    result = run("demo", "--seconds", "4", "--json")
    assert result.status == 0, result.err
    *events, last = map(json.loads, result.out.splitlines())
    assert "best of times" in last["text"].lower()
    assert last["latency"]["lost_segments"] == 0
    assert last["latency"]["partial"]["count"] == sum(event["type"] == "partial" for event in events) > 0


def test_a_server_that_does_not_start_says_why(run: Run) -> None:
    result = run("demo", "--model", "none-such", "--seconds", "1")
    assert result.status == 1
    assert_one_line(result, "the server did not start: unknown model 'none-such'")
