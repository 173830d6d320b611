"""From an init message to what is in force for a session: the model, the language, the detector. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stream_protocol.audio_format import AudioFormat
from stream_protocol.errors import ClientError, ErrorCode
from stream_protocol.messages import Init
from stream_server.engine.recognizer import RecognizerInfo
from stream_server.engine.work import SAMPLE_RATE
from stream_server.session_config import SessionConfig

AUTO = "auto"


def negotiate(
    init: Init,
    model: RecognizerInfo,
    vads: Sequence[str],
    *,
    aliases: Collection[str] = (),
    no_diarization: str | None = None,
) -> SessionConfig:
    """Settle what the caller asked for against what is served; the first of ``vads`` is the default.

    ``aliases``: other names for the model. ``no_diarization``: why voices cannot be told apart here; None: they can.

    Raises:
        ClientError: what is asked for is not there; the message lists what is.
    """
    if init.model is not None and init.model not in (model.name, AUTO, *aliases):
        raise ClientError(
            ErrorCode.MODEL_NOT_FOUND, f"model {init.model[:80]!r} is not served here; served: {model.name}"
        )
    if init.vad is not None and init.vad not in vads:
        raise ClientError(
            ErrorCode.INVALID_INIT, f"field 'vad': {init.vad[:40]!r} is not available; available: {', '.join(vads)}"
        )
    config = SessionConfig(
        model=model.name,
        language=_language(init.language, model),
        audio=AudioFormat.parse(init.dtype, init.sample_rate, init.channels),
        chunk_size_sec=chunk_size(init.chunk_size_sec, model),
        silence_threshold_sec=init.silence_threshold_sec,
        max_segment_sec=min(init.max_segment_sec, model.max_segment_sec),
        partials=init.partials,
        words=init.words,
        diarize=init.diarize,
        inactivity_timeout=init.inactivity_timeout,
        max_connection_duration=init.max_connection_duration,
        vad=init.vad or vads[0],
        keyterms=tuple(init.keyterms) if model.keyterms else (),
        acks=init.acks,
    )
    if config.needs_voices and no_diarization is not None:
        raise cannot_diarize(no_diarization)
    return config


def cannot_diarize(reason: str) -> ClientError:
    """What a caller is told whose one channel would have to be diarized here."""
    return ClientError(
        ErrorCode.INVALID_INIT,
        f"field 'diarize': {reason}; audio with a channel for each speaker ('channels' of 2 or more) needs none",
    )


def chunk_size(asked: float, model: RecognizerInfo) -> float:
    """Seconds between partials, as near to what was asked for as the model can: a streaming one has its own sizes."""
    return model.chunk(round(asked * SAMPLE_RATE)) / SAMPLE_RATE if model.kind == "streaming" else asked


def ignored_fields(init: Init, model: RecognizerInfo) -> tuple[str, ...]:
    """What the caller sent and nobody will heed: unknown fields, and keyterms where the model has no use for them."""
    unused = ("keyterms",) if init.keyterms and not model.keyterms else ()
    return tuple(sorted({*init.ignored, *unused}))


def _language(asked: str, model: RecognizerInfo) -> str:
    """The model's tag for a BCP 47 tag: ``en-GB`` is served by a model that speaks ``en``."""
    tag = asked.strip().replace("_", "-").lower()
    if tag in (AUTO, ""):
        return model.languages[0] if len(model.languages) == 1 else AUTO
    for language in model.languages:
        if tag == language.lower():
            return language
    for language in model.languages:
        if tag.split("-")[0] == language.lower().split("-")[0]:
            return language
    raise ClientError(
        ErrorCode.LANGUAGE_NOT_SUPPORTED,
        f"language {asked[:40]!r} is not spoken by {model.name}; it speaks: {', '.join(model.languages)}",
    )
