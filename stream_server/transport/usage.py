"""What OpenAI's answers say was used. It knows no limits and no counting: see `stream_server.quota`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from stream_protocol.transcript import Transcript


class Usage(BaseModel):
    """What is counted: the length of the audio."""

    type: Literal["duration"] = "duration"
    seconds: float


def usage_of(transcript: Transcript) -> Usage:
    return Usage(seconds=transcript.duration_ms / 1000)
