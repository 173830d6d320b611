"""Whether this server can do what a caller asks for: told before a job is made, so that nothing is silently ignored."""

from __future__ import annotations

from stream_protocol.errors import ClientError
from stream_protocol.messages import Init
from stream_server.engine.recognizer import RecognizerInfo
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import TranscriptionOptions
from stream_server.jobs.voice import wants_names
from stream_server.negotiation import negotiate
from stream_server.speakers.ability import SpeakerAbilities
from stream_server.text.ability import TextAbilities


def check_options(
    options: TranscriptionOptions, model: RecognizerInfo, texts: TextAbilities, speakers: SpeakerAbilities
) -> None:
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
    _check_speakers(options, speakers)
    for target in options.translate_to:
        if reason := texts.can_translate(spoken, target):
            raise _unavailable(reason, "translation")
    if options.analysis.is_wanted and (reason := texts.can_analyse()):
        raise _unavailable(reason, "analysis")


def _check_speakers(options: TranscriptionOptions, speakers: SpeakerAbilities) -> None:
    is_diarized = options.diarize or wants_names(options)  # who is to be named must first be told apart
    if options.num_speakers is not None and not is_diarized:
        raise JobError(
            Reason.INVALID_PARAMETER,
            "a number of speakers is of use only where they are told apart: ask for diarization, or leave it out",
            parameter="num_speakers",
        )
    if is_diarized and speakers.no_diarization is not None:
        raise _unavailable(speakers.no_diarization, "diarization" if options.diarize else "speaker identification")
    if wants_names(options) and speakers.no_identification is not None:
        raise _unavailable(speakers.no_identification, "speaker identification")


def _unavailable(message: str, parameter: str) -> JobError:
    return JobError(Reason.FEATURE_UNAVAILABLE, message, parameter=parameter)
