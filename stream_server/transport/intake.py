"""Takes in a request that carries audio: files go straight to the object store, parameters become a model.

Nothing is written elsewhere, and no more of a file is in memory than the piece that has just come. It knows no dialect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic
from urllib.parse import parse_qsl, unquote

from fastapi import Request
from pydantic import BaseModel

from stream_server.auth import Caller
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.object import ObjectStore
from stream_server.settings import Settings
from stream_server.transport.body import body_chunks
from stream_server.transport.dialect import transcriptions_of
from stream_server.transport.field import MAX_FIELDS, Fields, M
from stream_server.transport.multipart import Event, Part, PartEnd, read_parts

MAX_NAME: Final = 255
FRAMING_BYTES: Final = 2**20
"""What headers and boundaries of a form may take beside its fields and files."""

FORM: Final = "multipart/form-data"
URLENCODED: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"

_BY_CONTENT: Final = (Reason.UNSUPPORTED_FORMAT, Reason.FILE_TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has come: ``object`` is its name in the object store, ``name`` what the caller calls it, for display
    only; ``size`` in bytes."""

    object: str
    name: str
    size: int
    format: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that was not kept. ``position``: its place among the files of the request; ``name`` as of an `Upload`."""

    position: int
    name: str
    error: JobError


@dataclass(frozen=True, slots=True)
class Intake(Generic[M]):
    """``refused``: in the order in which they came, as are the ``uploads``."""

    values: M
    uploads: list[Upload]
    refused: list[Refusal]


@asynccontextmanager
async def take_in(
    request: Request,
    model: type[M],
    *,
    caller: Caller,
    files: Sequence[str] = ("file",),
    most: int = 1,
    raw: bool = False,
    lenient: bool = False,
) -> AsyncIterator[Intake[M]]:
    """The parameters and the files of a request; uploads that no job has claimed are dropped when the block is left.

    model: the parameters. They may come in a form, as JSON, or in the query. files: names of the form fields that are
    files (``name[]`` too), in all at most ``most``. raw: the body itself is the file, called as ``X-Filename`` says.
    lenient: a file of a form that is empty, too large or no audio is read to its end and noted in `Intake.refused`.

    Raises:
        JobError: MISSING_PARAMETER, INVALID_PARAMETER; FILE_TOO_LARGE, UNSUPPORTED_FORMAT; UPLOAD_INCOMPLETE, if the
            client has left or has sent nothing for the setting ``upload_timeout``; SERVICE_UNAVAILABLE.
    """
    transcriptions = transcriptions_of(request)
    reader = _Reader(request, transcriptions.objects, transcriptions.settings, Fields(model), caller.id, lenient)
    try:
        await reader.read(files, most, raw)
        yield Intake(reader.fields.validated(), reader.uploads, reader.refused)
    finally:
        if reader.uploads:
            names = [upload.object for upload in reader.uploads]
            await asyncio.shield(asyncio.to_thread(transcriptions.objects.drop, names, unclaimed_only=True))


def form_body(
    model: type[BaseModel], *, files: Sequence[str] = ("file",), most: int = 1, raw: bool = False, json: bool = False
) -> dict[str, Any]:
    """What `take_in` reads with these arguments, for ``openapi_extra`` of a route. ``json``: that too is offered."""
    schema = _inlined(model.model_json_schema())
    schema.pop("title", None)
    about = schema.pop("description", "").replace("``", "`")
    binary = {"type": "string", "format": "binary", "description": "A recording in any supported format."}
    if raw:
        query = [
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "description": field.pop("description", ""),
                "schema": field,
            }
            for name, field in schema["properties"].items()
        ]
        header = {
            "name": "X-Filename",
            "in": "header",
            "required": False,
            "description": "What the file is called, percent-encoded; for display only.",
            "schema": {"type": "string"},
        }
        content = {"application/octet-stream": {"schema": binary}, "audio/*": {"schema": binary}}
        body = {"required": True, "description": "The recording, in any supported format.", "content": content}
        return {"parameters": [*query, header], "requestBody": body}
    file: dict[str, Any] = (
        binary if most == 1 else {"type": "array", "items": binary, "maxItems": most, "description": "Recordings."}
    )
    form = schema | {"properties": dict.fromkeys(files, file) | schema["properties"]}
    content = {FORM: {"schema": form}}
    if json:
        content[JSON] = {"schema": schema}
    return {"requestBody": {"required": True, "description": about, "content": content}}


class _Reader(Generic[M]):
    """Reads one request."""

    def __init__(
        self, request: Request, objects: ObjectStore, settings: Settings, fields: Fields[M], key: str, lenient: bool
    ) -> None:
        self.fields = fields
        self.uploads: list[Upload] = []
        self.refused: list[Refusal] = []
        self._request = request
        self._objects = objects
        self._settings = settings
        self._key = key
        self._lenient = lenient

    async def read(self, files: Sequence[str], most: int, raw: bool) -> None:
        for name, value in self._request.query_params.multi_items():
            self.fields.add(name, value)
        content_type = self._request.headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        if kind == FORM and not (raw and not files):
            await self._read_form(content_type, files, most)
        elif kind == FORM:
            raise JobError(Reason.INVALID_PARAMETER, f"the body has to be the audio itself, not {FORM}")
        elif raw:
            await self._read_file()
        elif kind == JSON:
            self.fields.add_json(await self._body())
        elif kind == URLENCODED:
            self._read_pairs(await self._body())
        elif await self._body():
            wanted = f"{FORM}, {URLENCODED} or {JSON}"
            raise JobError(Reason.INVALID_PARAMETER, f"the Content-Type is {kind or 'missing'}; send {wanted}")

    async def _read_form(self, content_type: str, files: Sequence[str], most: int) -> None:
        longest = most * self._settings.max_upload_bytes
        body = body_chunks(self._request, most=longest, framing=self.fields.room + FRAMING_BYTES)
        async with aclosing(body) as chunks, aclosing(read_parts(chunks, content_type)) as events:
            async for part in events:
                assert isinstance(part, Part)
                if part.name.removesuffix("[]") in files:
                    await self._take_file(part, events, most)
                elif part.filename and not self.fields.knows(part.name):
                    place = f"files go in: {', '.join(files)}" if files else "this takes no files"
                    message = f"there is no file field {part.name[:100]!r}; {place}"
                    raise JobError(Reason.INVALID_PARAMETER, message, parameter=part.name)
                else:
                    self.fields.add(part.name, await _field(part, events, self.fields.longest(part.name)))

    async def _take_file(self, part: Part, events: AsyncIterator[Event], most: int) -> None:
        first = await anext(events)
        if first is PartEnd.END and not part.filename:
            return  # what a browser sends for a field in which no file was chosen
        position = len(self.uploads) + len(self.refused)
        if position == most:
            raise JobError(
                Reason.INVALID_PARAMETER,
                f"there are more files than {most}, the most for a request",
                parameter=part.name,
            )
        content = _Content(first, events)
        try:
            await self._store(content.pieces, part.filename or "")
        except JobError as error:
            if most == 1 or error.reason not in _BY_CONTENT:
                raise
            name = _display_name(part.filename or "")
            refusal = JobError(error.reason, f"{name or f'file {position + 1}'}: {error.message}", parameter=part.name)
            if not self._lenient:
                raise refusal from None
            async for _ in content.pieces:
                pass
            if not content.is_over:  # it was not the file that was refused, but the body
                raise
            self.refused.append(Refusal(position, name, refusal))

    async def _read_file(self) -> None:
        async with aclosing(body_chunks(self._request)) as chunks:
            first = await anext(chunks, None)
            if first is not None:
                name = unquote(self._request.headers.get("x-filename", ""))
                await self._store(_Content(first, chunks).pieces, name)

    async def _store(self, content: AsyncIterator[bytes], name: str) -> None:
        stored = await self._objects.receive(content, key=self._key, most=self._settings.max_upload_bytes)
        self.uploads.append(Upload(stored.name, _display_name(name), stored.size, stored.format))

    def _read_pairs(self, body: bytes) -> None:
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
        except ValueError:
            raise JobError(Reason.INVALID_PARAMETER, f"the body is not valid {URLENCODED}") from None
        for name, value in pairs:
            self.fields.add(name, value)

    async def _body(self) -> bytes:
        body = bytearray()
        try:
            async with aclosing(body_chunks(self._request, most=self.fields.room)) as chunks:
                async for chunk in chunks:
                    body += chunk
        except JobError as error:
            if error.reason is not Reason.FILE_TOO_LARGE:
                raise
            message = f"parameters take at most {self.fields.room} bytes; send the recording as a file"
            raise JobError(Reason.INVALID_PARAMETER, message) from None
        return bytes(body)


class _Content:
    """The content of a file: ``first``, and what follows up to the end of the part."""

    def __init__(self, first: Event, rest: AsyncIterator[Any]) -> None:
        self.is_over = False
        """Whether the end of the part has come."""
        self.pieces = self._read(first, rest)

    async def _read(self, piece: Event | None, rest: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        while isinstance(piece, bytes):
            yield piece
            piece = await anext(rest, None)
        self.is_over = piece is PartEnd.END


async def _field(part: Part, events: AsyncIterator[Event], longest: int) -> bytes:
    value = bytearray()
    async for piece in events:
        if not isinstance(piece, bytes):
            break
        value += piece
        if len(value) > longest:
            raise JobError(
                Reason.INVALID_PARAMETER,
                f"{part.name[:100]} has more than {longest} bytes, and is no field for a file",
                parameter=part.name,
            )
    return bytes(value)


def _display_name(name: str) -> str:
    """What is shown for a file's name: its last part, without what is not printed."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(character for character in last if character.isprintable())[:MAX_NAME]


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema without references: what they refer to stands in their place."""
    definitions = schema.pop("$defs", {})

    def resolve(value: Any) -> Any:
        if isinstance(value, list):
            return [resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            target = definitions[value["$ref"].rpartition("/")[2]]
            return resolve(target | {name: item for name, item in value.items() if name != "$ref"})
        return {name: resolve(item) for name, item in value.items()}

    inlined: dict[str, Any] = resolve(schema)
    return inlined
