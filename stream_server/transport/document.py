"""What ``/openapi.json`` says beside the routes: what the server is, what the groups are, which answer leads where.

It knows no route. What a route takes and answers stands with the route.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from fastapi.routing import APIRoute
from fastapi.utils import generate_unique_id

DESCRIPTION: Final = """\
Speech recognition, live and of recordings, on one engine.

Recordings are transcribed by the endpoints of several known services, so that a client of any of them works when its
base URL is changed. They share one job system: a job that was made by one is found by the others where they have a
word for it. Live audio comes over the WebSocket `/ws`, which is described by `protocol/asyncapi.yaml`.

Every response has an `X-Request-Id`. Where a key has limits, responses have `X-RateLimit-Limit`,
`X-RateLimit-Remaining` and `X-RateLimit-Reset`, and those with status 429 or 503 have `Retry-After`. What goes wrong is
told in the shape of the service that the endpoint is from; the codes are the same in all of them.
"""

SERVERS: Final = [{"url": "/", "description": "This server."}]

TAGS: Final = [
    {"name": "OpenAI", "description": "Transcripts for who waits, or reads along. Shunyalabs and audiotext share it."},
    {"name": "Shunyalabs", "description": "Health, languages and speakers, beside the transcriptions of `OpenAI`."},
    {"name": "audiotext", "description": "Jobs with the parameters of `OpenAI`."},
    {"name": "Lesan", "description": "Jobs and batches, signed uploads, and what a recording tells beforehand."},
    {"name": "Lightning", "description": "Transcripts for who waits, or to a callback."},
    {"name": "LuxASR", "description": "Jobs of which the audio is the body; transcripts in many formats."},
    {"name": "Models", "description": "What is served."},
    {"name": "Keys", "description": "Tokens for browsers."},
    {"name": "Operations", "description": "For who runs the server."},
]

JobId = Annotated[
    str, Path(description="The id that the job was given.", examples=["5f0c7e1c-8a54-4c1e-9d5e-2f4b7a90c3d1"])
]


def operation_id(route: APIRoute) -> str:
    """A name for clients that are generated, such as ``lesan_create``."""
    return f"{route.tags[0]}_{route.name}".lower() if route.tags else generate_unique_id(route)


def links(*operations: str, job_id: str = "id") -> dict[str, Any]:
    """Documents that a response has the id of a job, in its field ``job_id``, and which operations take that."""
    parameters = {"job_id": f"$response.body#/{job_id}"}
    return {"links": {name: {"operationId": name, "parameters": parameters} for name in operations}}
