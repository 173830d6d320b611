"""Reads multipart/form-data (RFC 7578) while it comes in: where parts begin and end, and what lies between.

It knows nothing of what the parts are for, and holds no more than one piece of the body.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from enum import Enum, auto

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from stream_server.jobs.error import JobError, Reason


@dataclass(frozen=True, slots=True)
class Part:
    """A part begins. ``filename``: None where it is a plain field; it may be empty, and is to be trusted in nothing."""

    name: str
    filename: str | None


class PartEnd(Enum):
    """The part is over."""

    END = auto()


Event = Part | bytes | PartEnd


async def read_parts(chunks: AsyncIterator[bytes], content_type: str) -> AsyncGenerator[Event, None]:
    """For every part a `Part`, its content in pieces, and a `PartEnd`.

    Raises:
        JobError: INVALID_PARAMETER where this is not what ``content_type`` says, UPLOAD_INCOMPLETE where it breaks off.
    """
    events: list[Event] = []
    reading = _Reading(events)
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise JobError(Reason.INVALID_PARAMETER, "the Content-Type has no boundary, which multipart/form-data needs")
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reading.begin,
                "on_header_field": reading.add_header_name,
                "on_header_value": reading.add_header_value,
                "on_header_end": reading.end_header,
                "on_headers_finished": reading.end_headers,
                "on_part_data": reading.add_data,
                "on_part_end": reading.end,
                "on_end": reading.finish,
            },
        )
        async for chunk in chunks:
            parser.write(chunk)
            for event in events:
                yield event
            events.clear()
    except FormParserError as error:
        raise JobError(
            Reason.INVALID_PARAMETER, f"the body is not valid multipart/form-data: {str(error).lower()}"
        ) from None
    if not reading.is_finished:
        raise JobError(Reason.UPLOAD_INCOMPLETE, "the body ends before its closing boundary")


class _Reading:
    """Turns the parser's calls into events."""

    def __init__(self, events: list[Event]) -> None:
        self.is_finished = False
        self._events = events
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}

    def begin(self) -> None:
        self._headers = {}

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise JobError(Reason.INVALID_PARAMETER, "a part of the body has no name in its Content-Disposition")
        filename = options.get(b"filename")
        self._events.append(Part(_text(options[b"name"]), None if filename is None else _text(filename)))

    def add_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def end(self) -> None:
        self._events.append(PartEnd.END)

    def finish(self) -> None:
        self.is_finished = True


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
