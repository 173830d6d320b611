"""Voices that a request brings along, as OpenAI's clients write them: names, and a data URL with a sample for each.

It knows what may be given, and that a sample is gone when its vector is made; not how one is made.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import re
from collections.abc import Sequence
from contextlib import closing
from typing import Final
from urllib.parse import unquote_to_bytes

from fastapi import Request

from stream_server.audio.error import AudioTooLong, UnsupportedAudio
from stream_server.audio.file import read_audio
from stream_server.audio.resample import SAMPLE_RATE
from stream_server.auth import Caller
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import KnownVoice, TranscriptionOptions
from stream_server.jobs.voice import known_voice
from stream_server.transport.dialect import while_connected
from stream_server.transport.http import service_of
from stream_server.transport.speaker import SpeakerDesk

NAMES: Final = "known_speaker_names"
REFERENCES: Final = "known_speaker_references"

MOST: Final = 4
MOST_BYTES: Final = 3 * 2**20
"""Of one data URL: ten seconds of WAV at 48 kHz, in two channels of 16 bits, with room to spare."""
SHORTEST_SEC: Final = 2.0
LONGEST_SEC: Final = 10.0
_SLACK_SEC: Final = 0.1
"""Coded audio is some frames longer or shorter than what was coded."""

_DATA_URL: Final = re.compile(r"data:[^,]*?(;base64)?,", re.IGNORECASE)


def require_pairs(names: Sequence[str], references: Sequence[str]) -> None:
    """That there is a sample for each name, and each name once.

    Raises:
        JobError: INVALID_PARAMETER.
    """
    if len(names) != len(references):
        message = f"there are {len(names)} {NAMES} and {len(references)} {REFERENCES}; each name needs its sample"
        raise _invalid(message, NAMES if len(names) < len(references) else REFERENCES)
    if len(names) > MOST:
        raise _invalid(f"there are {len(names)} {NAMES}; the most are {MOST}", NAMES)
    if twice := next((name for at, name in enumerate(names) if name in names[:at]), None):
        raise _invalid(f"{NAMES} has {twice!r} twice; give each speaker a name of its own", NAMES)


async def with_voices(
    request: Request, caller: Caller, options: TranscriptionOptions, names: Sequence[str], references: Sequence[str]
) -> TranscriptionOptions:
    """The options, with the voices of these speakers, which passed `require_pairs`.

    Raises:
        JobError: INVALID_PARAMETER, UNSUPPORTED_FORMAT: one of the samples is none, and the message says whose;
            SERVICE_UNAVAILABLE, RATE_LIMITED.
        ClientDisconnect: the caller has gone.
    """
    if not names:
        return options
    desk = service_of(request).speakers
    assert desk is not None  # where there are jobs, there is one
    voices = await while_connected(request, _voices(desk, caller, names, references))
    return options.model_copy(update={"known_voices": voices})


async def _voices(
    desk: SpeakerDesk, caller: Caller, names: Sequence[str], references: Sequence[str]
) -> tuple[KnownVoice, ...]:
    voices: list[KnownVoice] = []
    for name, reference in zip(names, references, strict=True):
        try:
            file = await asyncio.to_thread(_file, reference)
            embedder, sample = await desk.sample(caller, file)
        except JobError as error:
            if error.reason not in (Reason.INVALID_PARAMETER, Reason.UNSUPPORTED_FORMAT):
                raise
            raise JobError(error.reason, f"the sample of {name!r}: {error.message}", parameter=REFERENCES) from None
        voices.append(known_voice(name, sample.vector, embedder))
    return tuple(voices)


def _file(reference: str) -> io.BytesIO:
    """What is in a data URL, which is audio of the right length."""
    file, samples = io.BytesIO(_content(reference)), 0
    try:
        with closing(read_audio(file, longest_sec=LONGEST_SEC + _SLACK_SEC)) as blocks:
            samples = sum(block.shape[1] for block in blocks)
    except UnsupportedAudio as error:
        raise JobError(Reason.UNSUPPORTED_FORMAT, error.message) from None
    except AudioTooLong:
        raise _invalid(f"it is longer than {LONGEST_SEC:g} s", REFERENCES) from None
    if samples < (SHORTEST_SEC - _SLACK_SEC) * SAMPLE_RATE:
        message = f"it is {samples / SAMPLE_RATE:.1f} s long; at least {SHORTEST_SEC:g} s are needed"
        raise _invalid(message, REFERENCES)
    return file


def _content(reference: str) -> bytes:
    head = _DATA_URL.match(reference)
    if head is None:
        raise _invalid("it has to be a data URL, such as data:audio/wav;base64,UklGR...", REFERENCES)
    content = unquote_to_bytes(reference[head.end() :])
    if head[1] is None:
        return content
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise _invalid("its base64 cannot be decoded", REFERENCES) from None


def _invalid(message: str, parameter: str) -> JobError:
    return JobError(Reason.INVALID_PARAMETER, message, parameter=parameter)
