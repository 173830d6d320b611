"""Whether this server can do what a caller asks for: told before a job is made, so that nothing is silently ignored."""

from __future__ import annotations

from stream_protocol.errors import ClientError
from stream_protocol.messages import Init
from stream_server.engine.recognizer import RecognizerInfo
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import TranscriptionOptions
from stream_server.negotiation import negotiate
from stream_server.text.ability import TextAbilities


def check_options(options: TranscriptionOptions, model: RecognizerInfo, texts: TextAbilities) -> None:
    """Let pass what the loaded model and the settings can do.

    Raises:
        JobError: ``INVALID_PARAMETER`` for a model or language that is not served, ``FEATURE_UNAVAILABLE`` for the
            rest; the message names what can be done, or the setting that is missing.
    """
    if options.model not in ("", model.name):
        raise JobError(
            Reason.INVALID_PARAMETER,
            f"model {options.model[:80]!r} is not served here; served: {model.name}",
            parameter="model",
        )
    try:
        spoken = negotiate(Init(language=options.language), model, ("webrtc",)).language
    except ClientError as error:
        raise JobError(Reason.INVALID_PARAMETER, error.message, parameter="language") from None
    if options.beam_size > 1:
        raise _unavailable(f"{model.name} decodes greedily here: beam_size can only be 1", "beam_size")
    if options.keyterms and not model.keyterms:
        raise _unavailable(f"{model.name} cannot favour words; leave them out", "keyterms")
    for wanted, name in (
        (options.diarize, "diarization"),
        (options.num_speakers is not None, "num_speakers"),
        (options.identify_speakers, "speaker identification"),
    ):
        if wanted:
            raise _unavailable(f"{name} is not available: this server has no model that tells speakers apart", name)
    for target in options.translate_to:
        if reason := texts.can_translate(spoken, target):
            raise _unavailable(reason, "translation")
    if options.analysis.is_wanted and (reason := texts.can_analyse()):
        raise _unavailable(reason, "analysis")


def _unavailable(message: str, parameter: str) -> JobError:
    return JobError(Reason.FEATURE_UNAVAILABLE, message, parameter=parameter)
