"""``POST /v1/audio/transcriptions``: OpenAI's endpoint, which is Shunyalabs' and audiotext's as well.

A request waits for its transcript, or reads along with ``stream=true``. The parameters are in `transport.parameter`,
the answers in `transport.answer` and `transport.event`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import Request, Response

from stream_server.formats import MEDIA_TYPES
from stream_server.transport.answer import (
    ErrorBody,
    MinimalTranscription,
    Output,
    VerboseTranscription,
    error_response,
    result_response,
)
from stream_server.transport.dialect import (
    TranscribeCaller,
    dialect_router,
    request_id_of,
    responses,
    transcriptions_of,
    while_connected,
)
from stream_server.transport.diarized import DiarizedTranscription
from stream_server.transport.event import follow_job
from stream_server.transport.intake import form_body, take_in
from stream_server.transport.parameter import TranscriptionForm, wanted_options
from stream_server.transport.reference import with_voices

SURFACE: Final = "openai"

router = dialect_router(error_response, tags=["OpenAI"])

_FILES: Final = {
    media_type: {"schema": {"type": "string"}}
    for media_type in ("text/plain", *(MEDIA_TYPES[name].partition(";")[0] for name in ("srt", "vtt")))
}
_EVENTS: Final = {
    "schema": {
        "type": "string",
        "description": "The data of every event is a JSON object with a `type`: `transcript.text.delta` for new text, "
        "`transcript.text.segment` for a segment with its times (with `verbose_json` and `diarized_json`), at last "
        "`transcript.text.done` with the whole text. Speakers are told apart by the whole recording: where that is "
        "asked for, all events come at its end. What goes wrong on the way is an event `error` with the body that "
        "errors have.",
        "example": 'data: {"type":"transcript.text.delta","delta":"Hello."}\n\n'
        'data: {"type":"transcript.text.done","text":"Hello."}\n\n',
    }
}

ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": VerboseTranscription | DiarizedTranscription | MinimalTranscription,
        "description": "The transcript, in the format asked for.",
        "content": _FILES,
    }
}
_LIVE_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: ANSWER[200]
    | {
        "description": "The transcript, in the format asked for; with `stream=true` as server-sent events.",
        "content": _FILES | {"text/event-stream": _EVENTS},
    }
}


@router.post(
    "/v1/audio/transcriptions",
    summary="Transcribe while the caller waits",
    responses=_LIVE_ANSWER | responses(ErrorBody, 404, 409, 413, 504),
    openapi_extra=form_body(TranscriptionForm, json=True),
)
async def transcribe(request: Request, caller: TranscribeCaller) -> Response:
    """Transcribe a file, or what is at an address, while the caller waits.

    Takes the parameters of OpenAI, Shunyalabs and audiotext. Without `response_format` the answer is the full one, in
    which the clients of all three find their fields.
    """
    transcriptions = transcriptions_of(request)
    async with take_in(request, TranscriptionForm, caller=caller) as intake:
        form = intake.values
        source = form.source(intake.uploads)
        options = wanted_options(form, transcriptions)
        options = await with_voices(request, caller, options, form.known_speaker_names, form.known_speaker_references)
        output, request_id = Output(options.output), request_id_of(request)
        if form.stream:
            job = await transcriptions.open_answer(caller, source, options, surface=SURFACE, request_id=request_id)
            return await follow_job(request, transcriptions, caller, job, output)
        timeout = transcriptions.settings.sync_timeout
        answering = transcriptions.answer(
            caller, source, options, surface=SURFACE, request_id=request_id, timeout=timeout
        )
        job, result = await while_connected(request, answering)
        return await asyncio.to_thread(result_response, job, result, output)
