"""Uploads that are too large, break off, or do not come to an end."""

from __future__ import annotations

import gzip
import socket
import time
from contextlib import suppress
from typing import Final

import httpx2
import pytest

from tests.conformance.bad_input.conftest import KEY, PATIENCE_SEC, STALL_SEC
from tests.conformance.surface import PAUSE_SEC, SURFACES
from tests.support.clip import clip
from tests.support.hosting import client_of
from tests.support.running import Running

ways = pytest.mark.parametrize("way", SURFACES)


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
