"""Transcripts as server-sent events, as OpenAI's endpoint sends them with ``stream=true``.

It knows how a job is followed and given up; not how it is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Literal

import anyio
import orjson
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from stream_protocol.transcript import Segment
from stream_server.auth import Caller
from stream_server.jobs.job import Job, Progress
from stream_server.jobs.result import JobResult
from stream_server.jobs.service import Transcriptions
from stream_server.jobs.voice import wants_names
from stream_server.transport.answer import Output, Sparse, VerboseWord, error_body, verbose, verbose_segment
from stream_server.transport.dialect import as_job_error, while_connected
from stream_server.transport.diarized import DiarizedSegment, diarized_segment
from stream_server.transport.request import count_error, surface_of

NOT_BUFFERED: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""So that no proxy on the way keeps events back."""

FULL: Final = (Output.VERBOSE, Output.VERBOSE_WORDS)
"""Formats in which everything is told."""

Item = Segment | Progress | Job


class TextDelta(BaseModel):
    """Text that is new; all of them together are the text."""

    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str


class TextSegment(DiarizedSegment):
    """A segment with its times in seconds, with ``verbose_json``. ``speaker`` is empty where nobody told them apart."""

    words: Sparse[list[VerboseWord]] = None


class TextDone(BaseModel):
    """The whole text; with ``verbose_json`` joined by all fields of the full answer."""

    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str


class EventStream(StreamingResponse):
    """Events as they come. ``close`` is called at the end, also for a caller who went before the first of them."""

    def __init__(self, events: AsyncIterator[bytes], close: Callable[[], Awaitable[None]]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=NOT_BUFFERED)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._close()


async def follow_job(
    request: Request, transcriptions: Transcriptions, caller: Caller, job: Job, output: Output
) -> Response:
    """A response that begins with the first segment, so that what goes wrong before has a status of its own. The job is
    discarded in the end, and when the caller goes.

    Raises:
        JobError: the job has failed before there was anything to tell.
        ClientDisconnect: the caller has gone.
    """
    items = transcriptions.follow(job)

    async def discard() -> None:
        await transcriptions.discard(job)

    try:
        first = await while_connected(request, _first(items))
        if isinstance(first, Job):
            await transcriptions.result(caller, job.id)  # raises what has gone wrong, if anything has
    except BaseException:
        await asyncio.shield(discard())
        raise
    told = _tell(transcriptions, caller, first, items, job, output)
    return EventStream(_with_errors(told, request), discard)


async def _first(items: AsyncIterator[Item]) -> Segment | Job:
    async for item in items:
        if not isinstance(item, Progress):
            return item
    raise AssertionError("what follows a job ends with the job")


async def _tell(
    transcriptions: Transcriptions, caller: Caller, item: Item, rest: AsyncIterator[Item], job: Job, output: Output
) -> AsyncIterator[bytes]:
    """A delta for each segment, the segment too where the format has any, and the whole at the end."""
    has_segments, number, said = output in FULL or output is Output.DIARIZED, 0, False
    while not isinstance(item, Job):
        if isinstance(item, Segment):
            if item.text:
                yield _event(TextDelta(delta=f" {item.text}" if said else item.text))
                said = True
            if has_segments:
                yield _event(_segment(number, item, job, output))
            number += 1
        item = await anext(rest)
    job, result = await transcriptions.result(caller, item.id)
    yield await asyncio.to_thread(_done, job, result, output)


async def _with_errors(events: AsyncIterator[bytes], request: Request) -> AsyncIterator[bytes]:
    """The status is long sent: an error is an event."""
    try:
        async for event in events:
            yield event
    except Exception as cause:
        error = as_job_error(cause, request)
        count_error(request, surface_of(request), error.reason)
        body = error_body(error, request)
        yield b"event: error\n" + _data(body.model_dump())


def _segment(number: int, segment: Segment, job: Job, output: Output) -> DiarizedSegment:
    if output is Output.DIARIZED:
        return diarized_segment(number, segment, named=wants_names(job.options))
    full = verbose_segment(number, segment, words=output is Output.VERBOSE_WORDS)
    return TextSegment(
        id=str(number), start=full.start, end=full.end, text=full.text, speaker=full.speaker or "", words=full.words
    )


def _done(job: Job, result: JobResult, output: Output) -> bytes:
    values = TextDone(text=result.transcript.text).model_dump()
    if output in FULL:
        values |= verbose(job, result, words=output is Output.VERBOSE_WORDS).model_dump()
    return _data(values)


def _event(event: BaseModel) -> bytes:
    return _data(event.model_dump())


def _data(values: dict[str, object]) -> bytes:
    return b"data: " + orjson.dumps(values) + b"\n\n"
