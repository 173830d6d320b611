"""The view of a running server: what it says, in which shape, and what it does without a server."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from stream_server import top
from stream_server.reading import ReadingError, Sample, Span, address_of, read_sample
from stream_server.top import picture, view_of, watch
from tests.protocol.sound import synthesize
from tests.support.caller import call
from tests.support.certificate import make_pair
from tests.support.fake import FakeRecognizer
from tests.support.process import free_port
from tests.support.running import running_server
from tests.support.site import content, running_site
from tests.support.speech import pcm

VOICE = pcm(synthesize("speech", 16_000, 16_000))


def sample(at: float = 0.0, **values: dict[tuple[str, str], float] | float) -> Sample:
    """Values by name, or by one label and its value."""
    return Sample(
        {
            f"stream_server_{name}": (
                {frozenset([label]): number for label, number in value.items()}
                if isinstance(value, dict)
                else {frozenset(): value}
            )
            for name, value in values.items()
        },
        at,
    )


def buckets(*counts: float) -> dict[tuple[str, str], float]:
    return {("le", bound): count for bound, count in zip(("0.1", "1.0", "+Inf"), counts, strict=True)}


def test_what_is_new_is_the_difference_and_a_server_that_began_anew_has_it_all() -> None:
    before, after = sample(0, steps_total=10.0, h_bucket=buckets(5, 5, 5)), sample(2, steps_total=16.0)
    assert Span(before, after).rate("steps_total") == 3.0
    assert Span(after, sample(4, steps_total=4.0)).rate("steps_total") == 2.0
    assert Span(before, after).rate("there_is_none") == 0.0


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (buckets(5, 5, 5), None),  # nothing new
        (buckets(7, 7, 7), 0.05),
        (buckets(5, 7, 7), 0.55),
        (buckets(5, 5, 9), 1.0),  # beyond the last bound: no more is known
        (buckets(1, 1, 1), 0.05),  # begun anew
    ],
)
def test_a_quantile_is_that_of_new_values(after: dict[tuple[str, str], float], expected: float | None) -> None:
    span = Span(sample(h_bucket=buckets(5, 5, 5)), sample(1, h_bucket=after))
    assert span.quantile("h", 0.5) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("given", ["host:81", "http://host:81", "http://host:81/metrics", "ws://host:81/ws"])
def test_any_address_of_the_server_will_do(given: str) -> None:
    assert address_of(given) == "http://host:81/metrics"


@pytest.mark.parametrize("given", ["ftp://host", "http://", "file:///etc/passwd", ""])
def test_other_addresses_are_refused(given: str) -> None:
    with pytest.raises(ReadingError, match="is not the address of a server"):
        address_of(given)


def test_a_port_that_cannot_be_is_no_riddle() -> None:
    with pytest.raises(ReadingError, match=r"no such port: 'http://127\.0\.0\.1:99999'"):
        address_of("http://127.0.0.1:99999")


async def test_the_wrong_scheme_gets_a_hint(tmp_path: Path) -> None:
    async with running_server(FakeRecognizer()) as server:
        plain = address_of(f"https://127.0.0.1:{server.port}")
        with pytest.raises(ReadingError, match="if it speaks no TLS, ask for http://"):
            await asyncio.to_thread(read_sample, plain)
    pair = make_pair(tmp_path)
    async with running_server(FakeRecognizer(), tls_certificate=pair.certificate, tls_key=pair.key) as server:
        with pytest.raises(ReadingError, match="if it speaks TLS, ask for https://"):
            await asyncio.to_thread(read_sample, address_of(f"http://127.0.0.1:{server.port}"))


def test_counts_are_those_since_the_first_look() -> None:
    code = ("code", "TIMEOUT")
    looks = [sample(at, errors_total={code: at}, jobs_finished_total=at) for at in (1.0, 3.0, 4.0)]
    view = view_of(Span(looks[1], looks[2]), looks[0])
    assert (view.errors, view.jobs_finished) == ({"TIMEOUT": 3}, 3)
    assert (view.interval_sec, view.watched_sec) == (1.0, 3.0)


async def test_without_an_estimate_nothing_is_said_to_be_needed() -> None:
    async with running_server(FakeRecognizer(), admission="fixed") as server:
        seen = await asyncio.to_thread(read_sample, address_of(server.http_url))
    view = view_of(Span(seen, seen))
    assert (view.needed, view.capacity_streams) == (None, None)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_terminal_is_too_narrow_for_the_values(width: int) -> None:
    now = sample(1, sessions=123.0, sessions_limit=456.0, http_requests_total={("status", "503"): 7.0})
    screen = Console(file=io.StringIO(), width=width, height=60)
    screen.print(picture(view_of(Span(sample(), now)), "http://host:8000/metrics", width))
    assert isinstance(screen.file, io.StringIO)
    said = screen.file.getvalue()
    assert "…" not in said
    assert re.sub(r"\s", "", said).count("456") >= 1
    assert "503" not in said
    assert "7 in" in said


def test_what_is_no_server_of_ours_is_said() -> None:
    with pytest.raises(ReadingError, match="cannot be reached: Connection refused"):
        read_sample(address_of(f"127.0.0.1:{free_port()}"))
    with running_site() as site:
        with pytest.raises(ReadingError, match="answers HTTP 404"):
            read_sample(site.url("/metrics"))
        site.pages["/metrics"] = content(b"up 1\n", "text/plain")
        with pytest.raises(ReadingError, match="no metrics of a Stream Server"):
            read_sample(site.url("/metrics"))
        site.pages["/metrics"] = content(b"<html>\xff", "text/html")
        with pytest.raises(ReadingError, match="has no metrics"):
            read_sample(site.url("/metrics"))


async def test_one_look_at_a_running_server(capsys: pytest.CaptureFixture[str]) -> None:
    async with running_server(FakeRecognizer(), max_sessions=3) as server:
        caller = await call(server.ws_url, {"dtype": "int16"})
        await caller.until("ready")
        await caller.send(VOICE)
        await caller.until("partial")
        screen = Console(file=io.StringIO(), width=80, height=24)
        await asyncio.to_thread(watch, server.http_url, 0.1, screen, once=True, as_json=False)
        await asyncio.to_thread(watch, server.ws_url, 0.1, screen, once=True, as_json=True)
        await caller.send("END")
        assert await caller.rest() == 1000
    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert any("sessions" in line and "1 of 3" in line for line in lines)
    view = json.loads(capsys.readouterr().out)
    assert (view["status"], view["model"], view["sessions"], view["sessions_limit"]) == ("ready", "fake", 1, 3)
    assert view["errors"] == {}


async def test_what_happened_between_two_looks(tmp_path: Path) -> None:
    async with running_server(FakeRecognizer(), job_worker="elsewhere", data_dir=tmp_path) as server:
        address = address_of(server.http_url)
        before = await asyncio.to_thread(read_sample, address)
        caller = await call(server.ws_url, {"dtype": "int16"})
        await caller.send(VOICE, "END")
        assert await caller.rest() == 1000
        wrong = await call(server.ws_url, "{")
        assert await wrong.rest() == 1002
        server.service.limit.is_draining = True
        view = view_of(Span(before, await asyncio.to_thread(read_sample, address)))
        server.service.limit.is_draining = False
    assert view.errors == {"INVALID_INIT": 1}
    assert view.status == "draining"
    assert view.final_p95_sec is not None
    assert view.batch_mean == 1
    assert view.started_per_sec > 0
    assert view.workers == 0


def test_a_busy_server_fits_into_a_small_terminal() -> None:
    codes = {("code", f"CODE_OF_SOME_LENGTH_{number}"): 10.0**number for number in range(9)}
    view = view_of(Span(sample(), sample(1, errors_total=codes, sessions=99_999.0, sessions_limit=100_000.0)))
    screen = Console(file=io.StringIO(), width=80, height=24)
    screen.print(picture(view, "http://a-rather-long-name.example.com:8000/metrics"))
    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "CODE_OF_SOME_LENGTH_8 100000000" in screen.file.getvalue()


def test_in_a_terminal_a_server_may_go_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([sample(0), ReadingError("http://host/metrics cannot be reached"), sample(1, sessions=7.0), None])

    def read(_: str) -> Sample:
        look = next(looks)
        if look is None:
            raise KeyboardInterrupt
        if isinstance(look, ReadingError):
            raise look
        return look

    monkeypatch.setattr(top, "read_sample", read)
    screen = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    with pytest.raises(KeyboardInterrupt):
        watch("host", 0.001, screen, once=False, as_json=False)
    assert isinstance(screen.file, io.StringIO)
    said = screen.file.getvalue()
    assert said.index("cannot be reached; trying again every 0.001 s") < said.index("7 of 0")
    assert said.rstrip().endswith("\x1b[?25h\x1b[?1049l"), "the terminal is as it was"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["127.0.0.1:{port}", "--once"], 1, "error: http://127.0.0.1:{port}/metrics cannot be reached"),
        (["ftp://host"], 1, "error: 'ftp://host' is not the address of a server"),
        (["--interval", "0"], 2, "error: Invalid value for '--interval'"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], status: int, said: str) -> None:
    port = free_port()
    command = [sys.executable, "-m", "stream_server", "top", *(part.format(port=port) for part in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert said.format(port=port) in done.stderr
    assert done.stdout == ""
