"""Whatever a caller sends: the documented error in the shape of the dialect, and nothing left behind.

Every way in, on a server as it comes, with its limits of 500 MB and 4 hours. What a single part makes of such input is
in the tests of that part.
"""

from __future__ import annotations

import gzip
import io
import socket
import struct
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, Final
from urllib.parse import quote

import httpx2
import numpy as np
import pytest
import soundfile
import sqlalchemy as sa

from stream_server.jobs.database import DATABASE_NAME, open_database
from stream_server.jobs.table import objects
from tests.conformance.surface import PAUSE_SEC, SURFACES
from tests.support.audio import muxed
from tests.support.clip import DAMAGED, PICTURE, clip
from tests.support.fake import FakeRecognizer
from tests.support.hosting import hosted_server
from tests.support.running import Running
from tests.support.site import Site, content, redirect, running_site

KEY, OTHER = "sk-one", "sk-two"
PATIENCE_SEC: Final = 20.0
HOURS: Final = 3600
RATE: Final = 8000
STALL_SEC: Final = 2.0

ways = pytest.mark.parametrize("way", SURFACES)
with_address = pytest.mark.parametrize("way", [way for way, surface in SURFACES.items() if surface.address])


@pytest.fixture(scope="module")
def web() -> Iterator[Site]:
    """A web server that only callers may reach, and a name under which it may be reached."""
    with running_site() as site:
        site.pages = {"/a.wav": content(clip()), "/metadata": content(b"secret")}
        site.pages["/inside"] = redirect(site.url("/metadata"))
        site.pages["/number"] = redirect(f"http://2130706433:{site.port}/metadata")
        site.pages["/file"] = redirect("file:///etc/passwd")
        yield site


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, web: Site) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("bad")
    real = socket.getaddrinfo
    names = {"files.test": "127.0.0.1", "inside.test": "127.0.0.1", "metadata.test": "169.254.169.254"}

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        return real(names.get(host, host), *args, **options)

    settings: dict[str, Any] = {"job_worker": "inline", "api_keys": (KEY, OTHER), "allowed_hosts": ("files.test",)}
    with (
        pytest.MonkeyPatch.context() as patch,
        hosted_server(FakeRecognizer(), data_dir=folder, upload_timeout=STALL_SEC, **settings) as running,
    ):
        patch.setattr(socket, "getaddrinfo", resolve)
        yield running


def client_of(server: Running, key: str) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.Client(base_url=server.http_url, headers=headers, trust_env=False, timeout=60)


@pytest.fixture
def client(server: Running) -> Iterator[httpx2.Client]:
    with client_of(server, KEY) as client:
        yield client


def left(server: Running) -> list[str]:
    """Objects in the store, and rows of objects of which something has come."""
    folder = server.service.settings.data_dir
    database = open_database(server.service.settings)
    try:
        with database.connect() as connection:
            rows = connection.scalars(sa.select(objects.c.name).where(objects.c.state != "awaited")).all()
    finally:
        database.dispose()
    known = (DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm", "secret", "objects")
    strange = [path.name for path in folder.iterdir() if path.name not in known]
    return [*rows, *(path.name for path in (folder / "objects").iterdir()), *strange]


@pytest.fixture(autouse=True)
def nothing_is_left(server: Running) -> Iterator[None]:
    yield
    until = time.monotonic() + PATIENCE_SEC
    while found := left(server):
        assert time.monotonic() < until, found
        time.sleep(PAUSE_SEC)


# Files


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("speech.wav", bytes(10**7))
    return file.getvalue()


NO_AUDIO: Final = {
    "empty": b"",
    "one byte": b"R",
    "picture": PICTURE,
    "text": b"hello " * 1000,
    "page": b"<!DOCTYPE html><audio src=file:///etc/passwd>",
    "document": b"%PDF-1.7\n" + bytes(9000),
    "program": b"\x7fELF" + bytes(9000),
    "archive": zipped(),
    "compressed recording": gzip.compress(clip()),
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "zeros": bytes(100_000),
}


@pytest.mark.parametrize("kind", NO_AUDIO)
@ways
def test_what_is_no_audio(way: str, kind: str, client: httpx2.Client) -> None:
    """Whatever it is called, and however its bytes are declared. Of a batch it fails one file."""
    surface = SURFACES[way]
    answer = surface.send(client, NO_AUDIO[kind], "speech.wav")
    missing = kind == "empty" and way in ("asr", "translate")
    assert answer.status_code == (202 if way == "batch" else 400), answer.text
    assert surface.outcome(client, answer) == ("MISSING_PARAMETER" if missing else "UNSUPPORTED_FORMAT")


@cache
def silence(hours: float) -> bytes:
    """FLAC of silence: hours in some kilobytes."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 1, "PCM_16", format="FLAC") as output:
        for _ in range(round(hours * 60)):
            output.write(np.zeros(60 * RATE, np.int16))
    return file.getvalue()


def of_unknown_length(flac: bytes) -> bytes:
    """The same without the number of samples in its STREAMINFO, as a recorder leaves it that cannot go back."""
    changed = bytearray(flac)
    changed[21] &= 0xF0
    changed[22:26] = bytes(4)
    return bytes(changed)


def wav(
    *, channels: int = 1, rate: int = RATE, bits: int = 16, declared: int | None = None, data: bytes = b""
) -> bytes:
    block = channels * bits // 8
    size = len(data) if declared is None else declared
    header = struct.pack("<HHIIHH", 1, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    return (
        b"RIFF"
        + struct.pack("<I", (size + 36) & 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + header
        + (b"data" + struct.pack("<I", size & 0xFFFFFFFF) + data)
    )


def with_duration(seconds: float) -> bytes:
    """Matroska that says it is so long (element 0x4489, a float of 8 bytes, in milliseconds)."""
    file = bytearray(muxed("matroska", "libopus", rate=48_000, seconds=1))
    at = file.index(b"\x44\x89\x88") + 3
    file[at : at + 8] = struct.pack(">d", seconds * 1000)
    return bytes(file)


def with_last_position(position: int) -> bytes:
    """Ogg whose last page is said to end at this sample."""
    file = bytearray(clip(kind="OGG"))
    at = file.rindex(b"OggS") + 6
    file[at : at + 8] = struct.pack("<q", position)
    return bytes(file)


NO_FAULT_OF_OURS: Final = {"UNSUPPORTED_FORMAT", "AUDIO_TOO_LONG", "completed"}
"""It depends on the decoder what is made of a length that cannot be."""
UNSUPPORTED, TOO_LONG = "UNSUPPORTED_FORMAT", "AUDIO_TOO_LONG"
LATE: Final = {
    "damaged": (lambda: DAMAGED, {UNSUPPORTED}),
    "a header alone": (lambda: wav(), {UNSUPPORTED}),
    "a header of FLAC alone": (lambda: silence(1 / 60)[:42], {UNSUPPORTED}),
    "cut in the header": (lambda: clip(kind="FLAC")[:30], {UNSUPPORTED}),
    "an index that is missing": (lambda: muxed("mp4", "aac")[:4000], {UNSUPPORTED}),
    "cut in the middle": (lambda: clip(kind="FLAC")[:9000], {"completed"}),
    "65535 channels": (lambda: wav(channels=65535, bits=8, data=bytes(10**6)), {UNSUPPORTED}),
    "4 GHz": (lambda: wav(rate=2**32 - 1, data=bytes(10**6)), {UNSUPPORTED}),
    "no rate at all": (lambda: wav(rate=0, data=bytes(10**6)), {UNSUPPORTED}),
    "5 hours in the header only": (lambda: wav(declared=5 * HOURS * RATE * 2, data=bytes(RATE)), {"completed"}),
    "5 hours": (lambda: silence(5), {TOO_LONG}),
    "5 hours that it does not tell": (lambda: of_unknown_length(silence(5)), {TOO_LONG}),
    "5 hours of Matroska in the header only": (lambda: with_duration(5 * HOURS), {TOO_LONG}),
    "endless Matroska": (lambda: with_duration(float("inf")), NO_FAULT_OF_OURS),
    "Matroska of no length": (lambda: with_duration(float("nan")), NO_FAULT_OF_OURS),
    "Matroska that ends before it begins": (lambda: with_duration(-1e300), NO_FAULT_OF_OURS),
    "Ogg of a thousand years": (lambda: with_last_position(2**62), NO_FAULT_OF_OURS),
    "Ogg that ends before it begins": (lambda: with_last_position(-(2**62)), NO_FAULT_OF_OURS),
}


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("way", ["openai", "lesan", "lightning", "asr"])
def test_what_is_found_out_when_it_is_decoded(way: str, kind: str, client: httpx2.Client) -> None:
    file, outcomes = LATE[kind]
    surface = SURFACES[way]
    assert surface.outcome(client, surface.send(client, file())) in outcomes


# Uploads


def begin(server: Running, way: str, headers: str, body: bytes) -> socket.socket:
    """The beginning of a request, of which more is to come."""
    surface = SURFACES[way]
    path = surface.path
    if not path:
        with client_of(server, KEY) as client:
            signed = client.get("/v1/uploads/signed-url", params={"filename": "a"}).json()
        path = signed["upload_url"].removeprefix(server.http_url)
    if surface.file:
        headers += "\r\nContent-Type: multipart/form-data; boundary=x"
        body = (
            b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.wav"\r\n\r\n' % surface.file.encode() + body
        )
    line = f"{'POST' if surface.path else 'PUT'} {path}?{httpx2.QueryParams(surface.values)} HTTP/1.1"
    client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    client.sendall(f"{line}\r\nHost: here\r\nAuthorization: Bearer {KEY}\r\n{headers}\r\n\r\n".encode() + body)
    return client


def answer_of(client: socket.socket) -> httpx2.Response:
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"}"):
        received += client.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines]
    return httpx2.Response(int(status.split()[1]), headers=headers, content=body)


LARGE: Final = 600_000_000


@pytest.mark.parametrize("way", [way for way in SURFACES if way != "batch"])  # which may have 100 files of 500 MB
def test_600_mb_are_refused_before_they_come(way: str, server: Running) -> None:
    with begin(server, way, f"Content-Length: {LARGE}", b"") as client:
        answer = answer_of(client)
    assert answer.status_code == (422 if way == "lightning" else 413)
    assert SURFACES[way].code(answer) == "FILE_TOO_LARGE"
    if way == "lightning":
        assert answer.json()["max_size_mb"] == 500


def test_600_mb_of_which_nobody_said_how_many_they_are(server: Running) -> None:
    """They are taken up to the limit; then a client that still sends hears the answer."""
    piece = b"100000\r\n" + bytes(2**20) + b"\r\n"
    with begin(server, "asr", "Transfer-Encoding: chunked", b"c\r\nRIFF0000WAVE\r\n") as client:
        with suppress(ConnectionError):
            for _ in range(LARGE // 2**20):
                client.sendall(piece)
        answer = answer_of(client)
    assert (answer.status_code, SURFACES["asr"].code(answer)) == (413, "FILE_TOO_LARGE")


def test_a_client_that_leaves_in_the_middle(server: Running) -> None:
    for way in SURFACES:
        begin(server, way, "Content-Length: 4000000", clip()).close()


def test_a_client_that_stops_in_the_middle(server: Running) -> None:
    started = {way: begin(server, way, "Content-Length: 4000000", clip()) for way in SURFACES}
    for way, client in started.items():
        with client:
            answer = answer_of(client)
        assert (answer.status_code, SURFACES[way].code(answer)) == (400, "UPLOAD_INCOMPLETE")


def test_a_client_that_drips(server: Running) -> None:
    """A byte now and then is no upload, though it never stops."""
    with begin(server, "asr", "Content-Length: 4000000", b"RIFF") as client:
        client.setblocking(False)
        answer = b""
        until = time.monotonic() + PATIENCE_SEC
        while not answer.endswith(b"}"):
            assert time.monotonic() < until
            time.sleep(STALL_SEC / 8)
            try:
                client.send(b"x")
                answer += client.recv(65536)
            except BlockingIOError:
                continue
    assert b"UPLOAD_INCOMPLETE" in answer
    assert b"bytes a second" in answer


@ways
def test_a_body_that_unfolds(way: str, client: httpx2.Client) -> None:
    client.headers["Content-Encoding"] = "gzip"
    surface = SURFACES[way]
    if surface.path:
        answer = client.post(surface.path, params=surface.values, content=gzip.compress(bytes(10**7)))
    else:
        answer = surface.send(client, gzip.compress(bytes(10**7)))
    assert (answer.status_code, surface.code(answer)) == (400, "INVALID_PARAMETER")
    assert "compressed" in answer.text


def test_100_files_and_not_one_more(client: httpx2.Client) -> None:
    files = [("files", (f"{number}.wav", clip(0.1))) for number in range(101)]
    refused = client.post("/v1/transcriptions/batch", files=files)
    assert (refused.status_code, SURFACES["batch"].code(refused)) == (400, "INVALID_PARAMETER")
    made = client.post("/v1/transcriptions/batch", files=files[:100])
    assert made.status_code == 202
    while (found := client.get(made.json()["url"]).json())["status"] in ("queued", "processing"):
        time.sleep(PAUSE_SEC)
    assert (found["status"], found["metadata"]["completed_count"]) == ("completed", 100)


# Addresses

INSIDE: Final = (
    "http://127.0.0.1:{port}/metadata",
    "http://127.1:{port}/metadata",
    "http://2130706433:{port}/metadata",
    "http://0x7f000001:{port}/metadata",
    "http://0177.0.0.1:{port}/metadata",
    "http://0:{port}/metadata",
    "http://[::1]:{port}/metadata",
    "http://[::ffff:127.0.0.1]:{port}/metadata",
    "http://[::ffff:7f00:1]:{port}/metadata",
    "http://127。0。0。1:{port}/metadata",
    "http://①②⑦.⓪.⓪.①:{port}/metadata",
    "http://localhost:{port}/metadata",
    "http://inside.test:{port}/metadata",
    "http://metadata.test/latest/meta-data",
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/a.wav",
    "http://[fe80::1]/a.wav",
    "http://224.0.0.1/a.wav",
    "http://files.test@127.0.0.1:{port}/metadata",
    "http://files.test:80@127.0.0.1:{port}/metadata",
    "http://127.0.0.1:{port}\\@files.test/metadata",
    "http://files.test:{port}/inside",
    "http://files.test:{port}/number",
    "http://files.test:{port}/file",
    "file:///etc/passwd",
    "ftp://files.test/a.wav",
    "gopher://127.0.0.1:{port}/_GET%20/metadata",
    "s3://secret/a.wav",
    "javascript:alert(1)",
    "//127.0.0.1:{port}/metadata",
    "http://",
    "http://files.test:99999/a.wav",
    "http://files.test:{port}/a.wav\r\nHost: inside",
)


@pytest.mark.parametrize("url", INSIDE)
@with_address
def test_an_address_that_leads_inside(way: str, url: str, client: httpx2.Client, web: Site) -> None:
    surface = SURFACES[way]
    asked = len(web.asked)
    assert surface.outcome(client, surface.point(client, url.format(port=web.port))) == "URL_REFUSED"
    assert {path for path, _ in web.asked[asked:]} <= {"/inside", "/number", "/file"}


@pytest.mark.parametrize("url", INSIDE)
def test_a_probe_that_leads_inside(url: str, client: httpx2.Client, web: Site) -> None:
    asked = len(web.asked)
    answer = client.post("/v1/media/probe", json={"audio_url": url.format(port=web.port)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "URL_REFUSED")
    assert {path for path, _ in web.asked[asked:]} <= {"/inside", "/number", "/file"}


@with_address
def test_an_address_that_may_be_used(way: str, client: httpx2.Client, web: Site) -> None:
    surface = SURFACES[way]
    assert surface.outcome(client, surface.point(client, f"http://files.test:{web.port}/a.wav")) == "completed"


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://2130706433/x", "file:///x", "s3://b/x", "", "x" * 5000])
@pytest.mark.parametrize("way", [way for way, surface in SURFACES.items() if surface.takes_callback])
def test_a_callback_that_leads_inside(way: str, url: str, client: httpx2.Client, web: Site) -> None:
    surface = SURFACES[way]
    answer = surface.point(client, f"http://files.test:{web.port}/a.wav", callback_url=url)
    assert (answer.status_code, surface.code(answer)) == (400, "URL_REFUSED")


# Jobs


def paths_of_jobs(server: Running) -> list[tuple[str, str]]:
    document = httpx2.get(f"{server.http_url}/openapi.json", trust_env=False).json()
    return [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if "{job_id}" in path
    ]


def test_jobs_of_others(server: Running, client: httpx2.Client) -> None:
    """Whatever is asked for by another key: they are not there, and nothing happens to them."""
    made = []
    for way in ("audiotext", "lesan", "batch", "asr", "translate"):
        values = SURFACES[way].send(client, clip()).json()
        made.append(values.get("job_id") or values["id"])
    with client_of(server, OTHER) as stranger:
        for job in made:
            for method, path in paths_of_jobs(server):
                answer = stranger.request(method, path.format(job_id=job))
                assert answer.status_code == 404, (method, path)
                assert job not in answer.text
        assert stranger.get("/v1/transcriptions").json()["data"] == []
    for job in made:
        while (state := client.get(f"/v1/transcriptions/{job}").json()["status"]) in ("queued", "processing"):
            time.sleep(PAUSE_SEC)
        assert state == "completed"


STRANGE: Final = (
    "' OR 1=1 --",
    "1; DROP TABLE jobs",
    "%",
    "_" * 36,
    "null",
    "-1",
    "99999999999999999999999999",
    "00000000-0000-0000-0000-000000000000",
    "\0",
    "a\0b",
    "\x1b[31m",
    "\u202e\ud7ff\U0010ffff",
    "x" * 5000,
    "%2e%2e",
    "..;",
)


@pytest.mark.parametrize("name", STRANGE)
def test_jobs_that_there_are_not(server: Running, client: httpx2.Client, name: str) -> None:
    for method, path in paths_of_jobs(server):
        answer = client.request(method, path.format(job_id=quote(name, safe="")))
        assert (answer.status_code, "NOT_FOUND" in answer.text) == (404, True), (method, path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "%2e%2e%2fetc", "/", "//evil.test/x", "\\..\\..\\x"])
def test_paths_that_lead_out(server: Running, client: httpx2.Client, name: str) -> None:
    for method, path in paths_of_jobs(server):
        answer = client.request(method, path.format(job_id=quote(name, safe="")))
        assert answer.status_code in (404, 405), (method, path)


NAMES: Final = ("' OR 1=1 --", "../../x.wav", "/etc/passwd", "C:\\x.wav", "\x1b[31m\u202e", "x" * 1000, "", "..")


@pytest.mark.parametrize("name", NAMES)
@ways
def test_names_of_files_are_only_shown(way: str, name: str, client: httpx2.Client) -> None:
    surface = SURFACES[way]
    if way == "upload" and not 1 <= len(name) <= 255:
        assert client.get("/v1/uploads/signed-url", params={"filename": name}).status_code == 400
        return
    assert surface.outcome(client, surface.send(client, clip(), name)) == "completed"


# Parameters

NUMBERS: Final = ("-1", "0", "1e309", "NaN", "Infinity", "9" * 400, "0x10", "٣٣", " ", "1.5", "true", "[1]", "{}")
NO_LANGUAGES: Final = ("xx-klingon", "en' --", "../en", "e" * 30_000)
FORMS: Final = [way for way in SURFACES if way != "upload"]
WRONG: Final = [
    *(("openai", "summary_max_length", number) for number in NUMBERS),
    *(("openai", "temperature", number) for number in NUMBERS if number != "0"),
    *(("lightning", "num_speakers", number) for number in NUMBERS),
    *(("asr", "maxlen", number) for number in NUMBERS),
    *(("asr", "beam_size", number) for number in NUMBERS),
    *(("translate", "min_silence_duration_ms", number) for number in NUMBERS),
    *((way, "language", value) for way in FORMS for value in NO_LANGUAGES),
    *((way, "nonsense", "1") for way in FORMS),
    *((way, "url[]", "http://files.test/") for way in ("asr", "translate")),
]


@pytest.mark.parametrize(("way", "name", "value"), WRONG, ids=lambda value: str(value)[:20])
def test_parameters_that_are_wrong(way: str, name: str, value: str, client: httpx2.Client) -> None:
    surface = SURFACES[way]
    answer = surface.ask(client, clip(), **{name: value})
    assert answer.status_code in (400, 422), answer.text
    assert surface.code(answer) in ("INVALID_PARAMETER", "FEATURE_UNAVAILABLE")
