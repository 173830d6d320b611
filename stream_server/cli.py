"""The command line: options to settings, results to the terminal. It decides nothing else.

Results go to stdout; progress and errors go to stderr. Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
Whatever is slow to import is imported where it is used, so that ``--help`` answers at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from stream_server import __version__
from stream_server.keys_cli import app as keys_app
from stream_server.models_cli import app as models_app
from stream_server.terminal import err, explain, out, print_rows, say, say_error

if TYPE_CHECKING:
    from stream_client import LatencySummary
    from stream_protocol import Transcript
    from stream_server.listen import Source
    from stream_server.ramp import Step
    from stream_server.settings import Settings

LOCAL_URL: Final = "ws://127.0.0.1:8000/ws"
SERVER_URL: Final = "http://127.0.0.1:8000"
WITH_SECRETS: Final = ("serve", "worker", "keys")
"""Commands that write what is no business of the machine's other users: keys, audio, transcripts."""

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Speech recognition: live captions over a WebSocket, transcripts of recordings over HTTP.",
)
app.add_typer(keys_app, name="keys")
app.add_typer(models_app, name="models")


class Format(StrEnum):
    txt = "txt"
    json = "json"
    srt = "srt"
    vtt = "vtt"
    textgrid = "textgrid"
    textgrid_aligned = "textgrid_aligned"
    maxqda = "maxqda"
    colored_text = "colored_text"
    rttm = "rttm"


class Admission(StrEnum):
    measured = "measured"
    fixed = "fixed"


class LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


ModelOption = Annotated[str | None, typer.Option("--model", help="Model to use; the command `models` lists them.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="Where the model runs: auto, cpu, cuda or cuda:n.", show_default="auto")
]
LanguageOption = Annotated[str, typer.Option("--language", help="Language spoken, such as en, or auto.")]
ApiKeyOption = Annotated[
    str | None,
    typer.Option("--api-key", envvar="STREAM_API_KEY", help="API key of the server; better by the variable."),
]
FileOption = Annotated[
    Path | None, typer.Option("--file", exists=True, dir_okay=False, help="A recording to play at real speed.")
]
SecondsOption = Annotated[float | None, typer.Option("--seconds", min=1, help="Play only so much of the recording.")]
DiarizeOption = Annotated[bool, typer.Option("--diarize", help="Show who speaks.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON for machines.")]


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        status = typer.main.get_command(app).main(prog_name="stream-server", standalone_mode=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        # Wrong usage. Some versions of typer carry a click of their own, so its errors are known by their shape.
        usage = getattr(error, "format_message", None)
        context = getattr(error, "ctx", None)
        if usage is not None:
            hint = f" (see `{context.command_path} --help`)" if context is not None else ""
            say_error(f"{usage()}{hint}")
            sys.exit(getattr(error, "exit_code", 2))
        say_error(explain(error))
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="On an error, show where it came from.")] = False,
) -> None:
    if version:
        out.print(f"stream-server {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    if context.invoked_subcommand in WITH_SECRETS:
        os.umask(0o077)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for what outlives a restart.")] = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    api_key_file: Annotated[Path | None, typer.Option(help="File of API keys, one a line.")] = None,
    max_sessions: Annotated[int | None, typer.Option(min=1, help="Live sessions at once; more are refused.")] = None,
    admission: Annotated[
        Admission | None,
        typer.Option(help="Refuse sessions that the device has no room for, or only at --max-sessions."),
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file of a certificate, for HTTPS and wss.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its key, where that is another.")] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="How much to log.")] = None,
) -> None:
    """Run the server. What is not given here comes from the environment, then from the defaults."""
    from stream_server.server import serve as serve_app
    from stream_server.settings import Settings

    settings = Settings.load(
        host=host,
        port=port,
        data_dir=data_dir,
        model=model,
        device=device,
        api_key_file=api_key_file,
        max_sessions=max_sessions,
        admission=admission.value if admission else None,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        log_level=log_level.value if log_level else None,
    )
    _open_view(settings)
    serve_app(settings)


@app.command()
def worker(
    data_dir: Annotated[Path | None, typer.Option(help="Folder for what outlives a restart.")] = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    max_jobs: Annotated[int | None, typer.Option(min=1, help="Jobs at the same time.")] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="How much to log.")] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Work on the jobs of servers that share the database (see the settings job_worker and database_url)."""
    from stream_server.settings import Settings
    from stream_server.worker_process import run_worker

    settings = Settings.load(
        data_dir=data_dir,
        model=model,
        device=device,
        max_jobs=max_jobs,
        log_level=log_level.value if log_level else None,
    )
    _open_view(settings)
    raise typer.Exit(run_worker(settings, with_parent=with_parent))


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings of any audio or video format.")],
    format: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.txt,
    output: Annotated[str, typer.Option("--output", "-o", help="Folder to write to; - is the terminal.")] = "-",
    language: LanguageOption = "auto",
    diarize: Annotated[bool, typer.Option("--diarize", help="Tell the speakers apart.")] = False,
    speakers: Annotated[
        int | None, typer.Option(min=1, max=100, help="How many speakers there are, with --diarize.")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = None,
) -> None:
    """Transcribe recordings here, without a server."""
    from stream_server.formats import FORMATS, render
    from stream_server.settings import Settings
    from stream_server.speakers.ability import speaker_abilities
    from stream_server.transcribe import Transcriber

    if output == "-" and len(files) > 1 and format is not Format.txt:
        raise typer.BadParameter(f"several files as {format.value} need a folder", param_hint="'--output'")
    if output != "-" and len({file.name for file in files}) < len(files):
        raise typer.BadParameter("two files of the same name would be written to one", param_hint="'--output'")
    if speakers is not None and not diarize:
        raise typer.BadParameter("a number of speakers needs --diarize", param_hint="'--speakers'")
    if format is Format.rttm and not diarize:
        raise typer.BadParameter("rttm holds nothing but who spoke when: it needs --diarize", param_hint="'--format'")
    settings = Settings.load(model=model, device=device)
    if diarize and (reason := speaker_abilities(settings).no_diarization):
        raise typer.BadParameter(reason, param_hint="'--diarize'")
    failed = 0
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with (
        Transcriber(settings) as transcriber,
        Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress,
    ):
        for file in files:
            task = progress.add_task(file.name, total=1.0)

            def advance(share: float, task: Any = task) -> None:
                progress.update(task, completed=share)

            try:
                transcript = transcriber.transcribe(
                    file, advance, language=language, diarize=diarize, num_speakers=speakers
                )
                _write(render(transcript, format.value), file, files, FORMATS[format.value].extension, output)
            except Exception as error:
                if "--debug" in sys.argv:
                    raise
                failed += 1
                named = isinstance(error, OSError) and error.filename is not None
                say_error(explain(error) if named else f"{file}: {explain(error)}")
            progress.remove_task(task)
    raise typer.Exit(1 if failed else 0)


@app.command()
def listen(
    url: Annotated[str, typer.Option(help="The server's WebSocket.")] = LOCAL_URL,
    api_key: ApiKeyOption = None,
    device: Annotated[str | None, typer.Option(help="Microphone: its number or a part of its name.")] = None,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="List the microphones.")] = False,
    file: FileOption = None,
    language: LanguageOption = "auto",
    model: ModelOption = None,
    diarize: DiarizeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show live captions of the microphone. Ctrl-C ends it, after the last words are final."""
    if list_devices:
        from stream_server.microphone import list_devices as find_devices

        print_rows([asdict(found) for found in find_devices()], as_json=as_json)
        return
    from stream_server.listen import caption, microphone_source, recording_source
    from stream_server.recording import read_pcm

    source = microphone_source(device) if file is None else recording_source(file.name, read_pcm(file))
    say(f"listening to {source.name}; Ctrl-C ends")
    init = {"language": language, "model": model, "diarize": diarize}
    asyncio.run(caption(source, url, out, api_key=api_key, as_json=as_json, **init))


@app.command()
def demo(
    file: FileOption = None,
    seconds: SecondsOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    diarize: DiarizeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start a server, play a recording into it at real speed, and show the captions and how long they took."""
    from stream_server.caption import latency_table
    from stream_server.listen import recording_source
    from stream_server.recording import find_demo, read_pcm

    recording = file or find_demo()
    source = recording_source(recording.name, read_pcm(recording, seconds))
    transcript, latency = asyncio.run(_demo(source, _served(model, device), diarize, as_json))
    if as_json:
        print(json.dumps({"text": transcript.text, "latency": latency.to_dict()}))
        return
    out.print()
    out.print(transcript.text or "(no speech was recognized)", markup=False)
    out.print()
    out.print(latency_table(latency))


@app.command()
def top(
    url: Annotated[str, typer.Argument(help="The server's address.")] = SERVER_URL,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, for one interval, and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch a running server: sessions, latency, load, errors, jobs. Ctrl-C ends it."""
    from stream_server.top import watch

    watch(url, interval, out, once=once, as_json=as_json)


@app.command()
def bench(
    url: Annotated[str | None, typer.Option(help="A running server's WebSocket; without, one is started.")] = None,
    api_key: ApiKeyOption = None,
    file: FileOption = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each step.")] = 30.0,
    streams: Annotated[int, typer.Option(min=1, help="The most streams to try.")] = 256,
    model: ModelOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find how many live streams a server carries before finals come more than a second late."""
    from stream_server.recording import find_demo, read_pcm

    pcm = read_pcm(file or find_demo())
    steps = asyncio.run(_bench(url, api_key, pcm, seconds, streams, _served(model, device), as_json))
    held = [step.streams for step in steps if step.holds]
    print(json.dumps({"capacity": max(held, default=0), "steps": [step.result for step in steps]}))


def _open_view(settings: Settings) -> None:
    """Logs and traces, for commands that serve."""
    from stream_server.log import configure_logging
    from stream_server.settings import exports_traces
    from stream_server.tracing import configure_tracing

    configure_logging(settings.log_level, settings.log_format)
    if exports_traces():
        configure_tracing()


async def _demo(
    source: Source, options: tuple[str, ...], diarize: bool, as_json: bool
) -> tuple[Transcript, LatencySummary]:
    from stream_server.child import running_server
    from stream_server.listen import caption

    async with AsyncExitStack() as stack:
        with err.status("starting a server"):
            address = await stack.enter_async_context(running_server(*options))
        say(f"playing {source.name} into ws://{address}/ws")
        return await caption(source, f"ws://{address}/ws", out, as_json=as_json, diarize=diarize)


async def _bench(
    url: str | None,
    api_key: str | None,
    pcm: bytes,
    seconds: float,
    streams: int,
    served: tuple[str, ...],
    as_json: bool,
) -> list[Step]:
    from stream_server.child import running_server
    from stream_server.ramp import counts, heading, measure
    from stream_server.recording import write_wav

    steps: list[Step] = []
    async with AsyncExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stream-server-"))) / "speech.wav"
        write_wav(file, pcm)
        if url is None:
            with err.status("starting a server"):
                options = ("--max-sessions", str(streams + 1), "--admission", "fixed", *served)
                url = f"ws://{await stack.enter_async_context(running_server(*options))}/ws"
        say(f"{seconds:g} s of live speech in each of N streams to {url}")
        if not as_json:
            out.print(heading(), style="bold", soft_wrap=True)
        async for step in measure(url, file, counts(streams), seconds, api_key):
            steps.append(step)
            if not as_json:
                out.print(step.row(), style=None if step.holds else "red", soft_wrap=True)
    return steps


def _served(model: str | None, device: str | None) -> tuple[str, ...]:
    """The options of a server of our own."""
    given = (("--model", model), ("--device", device))
    return tuple(part for option, value in given if value is not None for part in (option, value))


def _write(text: str, file: Path, files: list[Path], extension: str, output: str) -> None:
    """To the terminal, under a heading where there are several; or to a file of the recording's name."""
    if output == "-":
        if len(files) > 1:
            print(f"==> {file} <==")
        print(text, end="", flush=True)
        return
    namesakes = [other for other in files if other.stem == file.stem]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{file.name if len(namesakes) > 1 else file.stem}.{extension}"
    target.write_text(text, encoding="utf-8")
    say(str(target))
