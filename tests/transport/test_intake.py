import asyncio
import json
import resource
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
import requests
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from stream_server.auth import Caller, Limits, Scope
from stream_server.jobs.database import open_database, writing
from stream_server.jobs.error import STATUS, JobError
from stream_server.jobs.object import ObjectStore
from stream_server.jobs.table import objects
from stream_server.settings import Settings
from stream_server.transport.field import Long
from stream_server.transport.intake import form_body, take_in
from tests.support.audio import muxed, sound

WAV = sound("WAV")
MOST = 5_000_000


class Inner(BaseModel):
    depth: int


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")

    language: str = "auto"
    count: int = Field(1, ge=1, le=9)
    share: float = 0.5
    punctuate: bool = True
    style: Literal["plain", "fancy"] = "plain"
    words: tuple[str, ...] = ()
    more: list[int] | None = None
    inner: Inner | None = None


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str


class Letter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note: str = ""
    pages: Annotated[tuple[str, ...], Long(each=100_000, most=2)] = ()


class Bench(SimpleNamespace):
    """A server with one route for each way of taking in, and a look into the store."""

    url: str
    port: int
    engine: sa.Engine
    store: ObjectStore
    folder: Path

    def is_empty(self) -> bool:
        """Whether nothing is left, in a moment at the latest: the server cleans up behind a client that has gone."""
        for _ in range(500):
            with self.engine.connect() as connection:
                rows = connection.execute(sa.select(objects)).all()
            if not rows and not list(self.folder.iterdir()):
                return True
            time.sleep(0.01)
        return False


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    tmp_path = tmp_path_factory.mktemp("data")
    settings = Settings.load({}, data_dir=tmp_path, max_upload_bytes=MOST, upload_timeout=0.5)
    engine = open_database(settings)
    store = ObjectStore(settings, engine, "me")
    caller = Caller("k", "test", frozenset(Scope), Limits())
    app = FastAPI()
    app.state.service = SimpleNamespace(transcriptions=SimpleNamespace(objects=store, settings=settings))

    def claim(name: str) -> None:
        with writing(engine) as connection:
            connection.execute(objects.update().where(objects.c.name == name).values(job="j"))

    async def answer(request: Request, model: type[BaseModel], claims: bool = False, **options: object) -> object:
        async with take_in(request, model, caller=caller, **options) as intake:
            files = [{"name": upload.name, "size": upload.size, "format": upload.format} for upload in intake.uploads]
            if claims:
                await asyncio.to_thread(claim, intake.uploads[0].object)
            refused = [
                [found.position, found.name, found.error.reason, found.error.message] for found in intake.refused
            ]
            return {"values": intake.values.model_dump(), "files": files, "refused": refused}

    @app.exception_handler(JobError)
    async def refuse(_: Request, error: JobError) -> Response:
        body = {"reason": error.reason, "message": error.message, "parameter": error.parameter}
        return Response(json.dumps(body), STATUS[error.reason], media_type="application/json")

    @app.post("/one", openapi_extra=form_body(Form, json=True))
    async def one(request: Request) -> object:
        return await answer(request, Form)

    @app.post("/many", openapi_extra=form_body(Form, files=("files",), most=3))
    async def many(request: Request) -> object:
        return await answer(request, Form, files=("files",), most=3)

    @app.post("/lenient")
    async def lenient(request: Request) -> object:
        return await answer(request, Form, files=("files",), most=3, lenient=True)

    @app.post("/raw", openapi_extra=form_body(Form, files=(), raw=True))
    async def raw(request: Request) -> object:
        return await answer(request, Form, files=(), raw=True)

    @app.post("/strict")
    async def strict(request: Request) -> object:
        return await answer(request, Strict)

    @app.post("/letter")
    async def letter(request: Request) -> object:
        return await answer(request, Letter)

    @app.post("/claimed")
    async def claimed(request: Request) -> object:
        return await answer(request, Form, claims=True)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, http="h11"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Bench(url=f"http://127.0.0.1:{port}", port=port, engine=engine, store=store, folder=tmp_path / "objects")
    server.should_exit = True
    thread.join()
    engine.dispose()


def test_a_form_with_a_file(bench: Bench) -> None:
    answer = requests.post(
        f"{bench.url}/one",
        files={"file": ("../../etc/Übung \t1.wav", WAV, "image/png")},
        data={"language": "de", "count": "3", "share": "0.25", "punctuate": "false", "words": ["a", "b,c"]},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["files"] == [{"name": "Übung 1.wav", "size": len(WAV), "format": "wav"}]
    values = answer.json()["values"]
    assert (values["language"], values["count"], values["share"], values["punctuate"]) == ("de", 3, 0.25, False)
    assert values["words"] == ["a", "b,c"]
    assert bench.is_empty()  # no job has claimed it


def test_what_a_job_has_claimed_stays(bench: Bench) -> None:
    assert requests.post(f"{bench.url}/claimed", files={"file": WAV}, timeout=30).status_code == 200
    with bench.engine.connect() as connection:
        (row,) = connection.execute(sa.select(objects)).all()
    assert (row.state, row.job, row.api_key) == ("stored", "j", "k")
    bench.store.drop([row.name])


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ([("words", "one")], "words", ["one"]),
        ([("words", "")], "words", []),
        ([("words", ""), ("words", "two")], "words", ["two"]),
        ([("count", "")], "count", 1),
        ([("style", " ")], "style", "plain"),
        ([("punctuate", "")], "punctuate", True),
        ([("language", "")], "language", "auto"),
        ([("words", '["a", "b"]')], "words", ["a", "b"]),
        ([("words[]", "a"), ("words[]", "b")], "words", ["a", "b"]),
        ([("more", "1"), ("more", "2")], "more", [1, 2]),
        ([("more", "[3,4]")], "more", [3, 4]),
        ([("punctuate", "1")], "punctuate", True),
        ([("punctuate", "off")], "punctuate", False),
        ([("style", "fancy")], "style", "fancy"),
    ],
)
@pytest.mark.parametrize("way", ["multipart", "urlencoded", "query"])
def test_how_values_are_written(
    way: str, fields: list[tuple[str, str]], name: str, value: object, bench: Bench
) -> None:
    match way:
        case "multipart":
            parts = [(field, (None, text)) for field, text in fields]
            answer = requests.post(f"{bench.url}/one", files=parts, timeout=30)
        case "urlencoded":
            answer = requests.post(f"{bench.url}/one", data=fields, timeout=30)
        case _:
            answer = requests.post(f"{bench.url}/one", params=fields, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["values"][name] == value


def test_json(bench: Bench) -> None:
    body = {"language": "en", "count": "2", "words": ["a"], "inner": {"depth": 1}, "more": None, "style": ""}
    answer = requests.post(f"{bench.url}/one", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    values = answer.json()["values"]
    assert (values["count"], values["words"], values["inner"], values["style"]) == (2, ["a"], {"depth": 1}, "plain")


@pytest.mark.parametrize(
    ("fields", "parameter", "message"),
    [
        ([("nonsense", "1")], "nonsense", "there is no parameter 'nonsense'; there are: count, inner, language"),
        ([("count", "many")], "count", "count: input should be a valid integer"),
        ([("count", "10")], "count", "less than or equal to 9"),
        ([("count", ""), ("count", "2")], "count", "given 2 times"),
        ([("nonsense", "")], "nonsense", "there is no parameter 'nonsense'"),
        ([("punctuate", "maybe")], "punctuate", "valid boolean"),
        ([("style", "odd")], "style", "'plain' or 'fancy'"),
        ([("language", "a"), ("language", "b")], "language", "given 2 times"),
        ([("words", "[broken")], "words", "looks like a JSON list"),
        ([("more", "x")], "more", "valid integer"),
        ([("language", "a\0b")], "language", "null character"),
        ([("language", "x" * 70_000)], "language", "65536 bytes"),
        ([("nonsense", "1")] * 201, None, "more than 200 parameters"),
        ([(f"w{number}", "x" * 60_000) for number in range(20)], None, "parameters, or"),
    ],
)
def test_wrong_parameters(fields: list[tuple[str, str]], parameter: str | None, message: str, bench: Bench) -> None:
    parts = [("file", ("a.wav", WAV)), *((name, (None, value)) for name, value in fields)]
    answer = requests.post(f"{bench.url}/one", files=parts, timeout=30)
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_PARAMETER")
    assert answer.json()["parameter"] == parameter
    assert message in answer.json()["message"]
    assert bench.is_empty()


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("application/json", b"{", "not valid JSON"),
        ("application/json", b"[1]", "JSON object"),
        ("application/json", b'"\xff"', "not valid JSON"),
        ("application/json", b"[" * 100_000, "not valid JSON"),
        ("application/json", b'{"language": "a\\u0000b"}', "null character"),
        ("application/json", b'{"inner": {"depth": "deep"}}', "inner.depth: "),
        ("application/x-www-form-urlencoded", b"language=%ff", "not valid"),
        ("application/x-www-form-urlencoded", b"a=1&" * 300, "not valid"),
        ("text/plain", b"hello", "send multipart/form-data"),
        ("multipart/form-data", b"hello", "no boundary"),
        ("multipart/form-data; boundary=x", b"hello", "not valid multipart/form-data"),
        ("multipart/form-data; boundary=" + "x" * 300, b"hello", "not valid multipart/form-data"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nhello\r\n--x--\r\n", "no name"),
        ("multipart/form-data; boundary=x", b"--x\r\nA: " + b"b" * 9000, "not valid multipart/form-data"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="language"\r\n\r\n\xff\r\n--x--\r\n',
            "not text in UTF-8",
        ),
    ],
)
def test_wrong_bodies(kind: str, body: bytes, message: str, bench: Bench) -> None:
    answer = requests.post(f"{bench.url}/one", data=body, headers={"Content-Type": kind}, timeout=30)
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_PARAMETER"), answer.text
    assert message in answer.json()["message"]


def test_a_parameter_that_may_be_long(bench: Bench) -> None:
    """So long that it could not come as any other, in a form and as JSON."""
    letter: dict[str, Any] = {"note": "n" * 60_000, "pages": ["p" * 100_000] * 2}
    parts = [("note", (None, letter["note"])), *(("pages[]", (None, page)) for page in letter["pages"])]
    for sent in ({"files": parts}, {"json": letter}):
        answer = requests.post(f"{bench.url}/letter", timeout=30, **sent)
        assert answer.json()["values"] == letter


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([("pages", "p" * 100_001)], "pages has more than 100000 bytes"),
        ([("note", "n" * 65_537)], "note has more than 65536 bytes"),
        ([("pages", "p" * 100_000)] * 13, "1248576 bytes"),
    ],
)
def test_a_parameter_that_is_longer_still(parts: list[tuple[str, str]], message: str, bench: Bench) -> None:
    answer = requests.post(f"{bench.url}/letter", files=[(name, (None, value)) for name, value in parts], timeout=30)
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_PARAMETER")
    assert message in answer.json()["message"]


def test_a_body_of_parameters_that_is_longer_still(bench: Bench) -> None:
    answer = requests.post(f"{bench.url}/letter", json={"pages": ["p" * 1_300_000]}, timeout=30)
    assert (answer.status_code, answer.json()["message"]) == (
        400, "parameters take at most 1248576 bytes; send the recording as a file"
    )  # fmt: skip


def test_the_same_in_the_query_and_in_the_body(bench: Bench) -> None:
    answer = requests.post(f"{bench.url}/one?language=en", json={"language": "de"}, timeout=30)
    assert "both in the query and in the body" in answer.json()["message"]


def test_a_missing_parameter(bench: Bench) -> None:
    for answer in (
        requests.post(f"{bench.url}/strict", timeout=30),
        requests.post(f"{bench.url}/strict", json={}, timeout=30),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (400, "MISSING_PARAMETER")
        assert answer.json()["message"] == "model is missing"


def test_several_files(bench: Bench) -> None:
    files = [("files", ("a.wav", WAV)), ("files[]", ("b.mp3", muxed("mp3", "libmp3lame")))]
    answer = requests.post(f"{bench.url}/many", files=files, timeout=30)
    assert [(file["name"], file["format"]) for file in answer.json()["files"]] == [("a.wav", "wav"), ("b.mp3", "mp3")]
    answer = requests.post(f"{bench.url}/many", files=[("files", WAV)] * 4, timeout=30)
    assert answer.json()["reason"] == "INVALID_PARAMETER"
    assert "more files than 3" in answer.json()["message"]
    assert bench.is_empty()


NO_AUDIO = b"\x89PNG\r\n\x1a\n" + bytes(200_000)


def test_a_file_that_is_refused_is_named_among_several(bench: Bench) -> None:
    files = [("files", ("a.wav", WAV)), ("files", ("b.png", NO_AUDIO))]
    answer = requests.post(f"{bench.url}/many", files=files, timeout=30)
    assert (answer.status_code, answer.json()["reason"]) == (400, "UNSUPPORTED_FORMAT")
    assert answer.json()["message"].startswith("b.png: the file is not audio or video")
    assert bench.is_empty()


@pytest.mark.parametrize(
    ("content", "reason", "message"),
    [
        (NO_AUDIO, "UNSUPPORTED_FORMAT", "the file is not audio or video"),
        (b"hello", "UNSUPPORTED_FORMAT", "the file is not audio or video"),
        (b"", "UNSUPPORTED_FORMAT", "the file is empty"),
        (WAV + bytes(MOST), "FILE_TOO_LARGE", "the file is larger than 5 MB"),
    ],
    ids=["picture", "text", "empty", "large"],
)
def test_other_files_go_on(content: bytes, reason: str, message: str, bench: Bench) -> None:
    files = [("files", ("a.wav", WAV)), ("files", ("x/b.wav", content)), ("files", ("c.wav", WAV))]
    answer = requests.post(f"{bench.url}/lenient", files=files, data={"language": "de"}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert [(file["name"], file["size"]) for file in answer.json()["files"]] == [
        ("a.wav", len(WAV)),
        ("c.wav", len(WAV)),
    ]
    ((position, name, *told),) = answer.json()["refused"]
    assert (position, name, told[0]) == (1, "b.wav", reason)
    assert told[1].startswith(f"b.wav: {message}")
    assert bench.is_empty()


def test_files_that_are_refused_count(bench: Bench) -> None:
    answer = requests.post(f"{bench.url}/lenient", files=[("files", ("", NO_AUDIO))] * 3, timeout=30)
    assert [told[0] for told in answer.json()["refused"]] == [0, 1, 2]
    assert answer.json()["refused"][2][3].startswith("file 3: the file is not audio or video")
    answer = requests.post(f"{bench.url}/lenient", files=[("files", ("a", NO_AUDIO))] * 4, timeout=30)
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_PARAMETER")
    assert "more files than 3" in answer.json()["message"]


def test_files_in_other_fields(bench: Bench) -> None:
    answer = requests.post(f"{bench.url}/one", files={"audio": ("a.wav", WAV)}, timeout=30)
    assert answer.json()["message"] == "there is no file field 'audio'; files go in: file"
    answer = requests.post(f"{bench.url}/one", files={"language": ("a.wav", WAV * 2)}, timeout=30)
    assert "is no field for a file" in answer.json()["message"]


def test_a_file_field_in_which_nothing_was_chosen(bench: Bench) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = requests.post(f"{bench.url}/one", data=body, headers=headers, timeout=30)
    assert answer.json()["files"] == []


@pytest.mark.parametrize("kind", ["audio/wav", "application/x-www-form-urlencoded", None])
def test_the_body_is_the_file(kind: str | None, bench: Bench) -> None:
    headers = {"X-Filename": "%C3%9Cbung%2F1.wav", "Content-Type": kind}
    answer = requests.post(f"{bench.url}/raw?language=lb&words=a&words=b", data=WAV, headers=headers, timeout=30)
    assert answer.json()["files"] == [{"name": "1.wav", "size": len(WAV), "format": "wav"}]
    assert answer.json()["values"]["words"] == ["a", "b"]
    assert bench.is_empty()


def test_what_is_no_body_for_a_file(bench: Bench) -> None:
    assert requests.post(f"{bench.url}/raw", timeout=30).json()["files"] == []
    answer = requests.post(f"{bench.url}/raw", files={"file": WAV}, timeout=30)
    assert "has to be the audio itself" in answer.json()["message"]
    answer = requests.post(f"{bench.url}/raw?odd=1", data=WAV, timeout=30)
    assert answer.json()["parameter"] == "odd"
    assert bench.is_empty()


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "the file is empty"), (b"\x89PNG\r\n\x1a\n" + bytes(9000), "not audio or video")]
)
def test_what_is_not_audio(content: bytes, message: str, bench: Bench) -> None:
    answer = requests.post(f"{bench.url}/one", files={"file": ("speech.wav", content, "audio/wav")}, timeout=30)
    assert (answer.status_code, answer.json()["reason"]) == (400, "UNSUPPORTED_FORMAT")
    assert message in answer.json()["message"]
    assert bench.is_empty()


def zeros(size: int, head: bytes = b"", tail: bytes = b"") -> Iterator[bytes]:
    yield head
    for _ in range(size // 65536):
        yield bytes(65536)
    yield tail


HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + WAV
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize("route", ["one", "raw"])
def test_the_answer_reaches_a_client_that_still_sends(route: str, bench: Bench) -> None:
    """Of unknown length, so that the size shows only on the way. Nothing of it gathers in memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    head = HEAD if route == "one" else WAV
    answer = requests.post(
        f"{bench.url}/{route}", data=zeros(150_000_000, head), headers=MULTIPART if route == "one" else {}, timeout=60
    )
    assert (answer.status_code, answer.json()["reason"]) == (413, "FILE_TOO_LARGE")
    what = "file" if route == "one" else "body"
    assert answer.json()["message"] == f"the {what} is larger than 5 MB, the most that is taken"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KB
    assert bench.is_empty()


PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'


@pytest.mark.parametrize("kind", ["in what is left out", "in a file"])
def test_what_is_left_out_is_bounded_too(kind: str, bench: Bench) -> None:
    """Three files of 5 MB, and 2 MB of framing, are the most; the file in which that is passed is not at fault."""
    if kind == "in a file":
        body = zeros(14_000_000, PART, b"\r\n" + PART + WAV + bytes(4_000_000))
    else:
        body = zeros(150_000_000, PART)
    answer = requests.post(f"{bench.url}/lenient", data=body, headers=MULTIPART, timeout=60)
    assert (answer.status_code, answer.json()["reason"]) == (413, "FILE_TOO_LARGE")
    assert answer.json()["message"] == "the body is larger than 15 MB, the most that is taken"
    assert bench.is_empty()


def test_a_form_that_ends_in_what_is_left_out(bench: Bench) -> None:
    for content in (NO_AUDIO, b"hello"):
        answer = requests.post(f"{bench.url}/lenient", data=PART + content, headers=MULTIPART, timeout=30)
        assert (answer.status_code, answer.json()["reason"]) == (400, "UPLOAD_INCOMPLETE")
    assert bench.is_empty()


def test_a_declared_length_is_refused_at_once(bench: Bench) -> None:
    with socket.create_connection(("127.0.0.1", bench.port), timeout=30) as client:
        client.sendall(b"POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: 5000001\r\n\r\n")
        assert b" 413 " in client.recv(4096)


def test_curl_hears_of_it(bench: Bench, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    file = tmp_path / "big.wav"
    with file.open("wb") as output:
        output.write(WAV)
        output.truncate(150_000_000)
    for argument in (f"-Ffile=@{file}", f"--data-binary=@{file}"):
        route = "one" if argument.startswith("-F") else "raw"
        command = ["curl", "-sS", *argument.split("=", 1)] if route == "raw" else ["curl", "-sS", argument]
        done = subprocess.run([*command, f"{bench.url}/{route}"], capture_output=True, text=True, check=False)
        assert "FILE_TOO_LARGE" in done.stdout, done
    assert bench.is_empty()


def test_uploads_that_break_off_leave_nothing(bench: Bench) -> None:
    for route, headers, body in (
        ("one", "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 4000000", HEAD),
        ("raw", "Content-Length: 4000000", WAV),
    ):
        with socket.create_connection(("127.0.0.1", bench.port), timeout=30) as client:
            client.sendall(f"POST /{route} HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n".encode() + body)
        assert bench.is_empty()


def test_a_form_that_ends_too_early(bench: Bench) -> None:
    answer = requests.post(f"{bench.url}/one", data=HEAD, headers=MULTIPART, timeout=30)
    assert (answer.status_code, answer.json()["reason"]) == (400, "UPLOAD_INCOMPLETE")
    assert bench.is_empty()


def test_a_client_that_stops_sending_is_told(bench: Bench) -> None:
    with socket.create_connection(("127.0.0.1", bench.port), timeout=30) as client:
        client.sendall(b"POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n" + WAV)
        answer = client.recv(4096)
    assert b" 400 " in answer
    assert b"UPLOAD_INCOMPLETE" in answer
    assert bench.is_empty()


def test_the_document_describes_what_is_read(bench: Bench) -> None:
    document = requests.get(f"{bench.url}/openapi.json", timeout=30).json()
    one = document["paths"]["/one"]["post"]["requestBody"]["content"]
    form = one["multipart/form-data"]["schema"]
    assert form["properties"]["file"].items() >= {"type": "string", "format": "binary"}.items()
    assert form["properties"]["count"]["maximum"] == 9
    assert form["properties"]["inner"]["anyOf"][0]["properties"]["depth"] == {"title": "Depth", "type": "integer"}
    assert form["additionalProperties"] is False
    assert "file" not in one["application/json"]["schema"]["properties"]
    many = document["paths"]["/many"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert many["properties"]["files"]["maxItems"] == 3
    raw = document["paths"]["/raw"]["post"]
    assert {(parameter["name"], parameter["in"]) for parameter in raw["parameters"]} >= {
        ("language", "query"),
        ("X-Filename", "header"),
    }
    assert "$ref" not in json.dumps([one, many, raw])
