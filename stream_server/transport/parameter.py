"""The parameters of a transcription on the OpenAI-like surface: OpenAI's, Shunyalabs' and audiotext's, in one form.

Every parameter has its effect or a clear error; what asks for nothing (false, ``auto``, a default) passes. What the
model can do is not judged here but by the job service.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Analysis, Source, TranscriptionOptions
from stream_server.jobs.service import Transcriptions
from stream_server.text.language import normalize_language
from stream_server.transport.answer import Output
from stream_server.transport.chunking import PREFIX_MS, THRESHOLD, Chunking, nested
from stream_server.transport.field import Long
from stream_server.transport.intake import Upload
from stream_server.transport.name import ProjectName, SpeakerName
from stream_server.transport.reference import MOST, MOST_BYTES, NAMES, require_pairs
from stream_server.transport.script import script_of
from stream_server.transport.upload import source_at

SUMMARY_WORDS: Final = 150


def _parted(value: Any) -> Any:
    """Phrases that came as one text are separated by commas; a list of several is one already."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return [phrase for part in value.split(",") if (phrase := part.strip())]
    return value


Phrase = Annotated[str, Field(min_length=1, max_length=200)]
Phrases = Annotated[tuple[Phrase, ...], Field(max_length=1000)]
Terms = Annotated[Phrases, BeforeValidator(_parted)]
"""Repeated fields or a JSON list, as other lists, or in one field with commas."""


_NAMES: Final = {
    "analysis": (
        "enable_summarization",
        "enable_sentiment_analysis",
        "enable_intent_detection",
        "enable_keyterm_normalization",
    ),
    "diarization": ("enable_diarization", "enable_speaker_identification", NAMES, "response_format"),
    "keyterms": ("keywords", "prompt"),
    "language": ("language", "language_code", "languages"),
    "speaker identification": ("enable_speaker_identification",),
    "translation": ("output_language",),
}
"""By which parameters the fields of the job system are asked for here."""


class TranscriptionForm(BaseModel):
    """What a request may say. The audio comes as ``file`` or ``url``."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    model: str = Field(max_length=200, description="A model of `/v1/models`, or one of the names it goes by.")
    url: str | None = Field(
        None,
        description="Address of the audio, in place of `file`: `http://`, `https://`, `s3://`, or the `file_url` of a "
        "signed upload.",
    )
    language: str = Field("", max_length=35, description="Language tag, such as `en` or `pt-BR`; or `auto`.")
    language_code: str = Field("", max_length=35, description="The same under another name.")
    languages: Phrases = Field((), description="The language, as a list of one.")
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"] | None = Field(
        None,
        description="Without, JSON with everything that is known; `json` is the text alone, `diarized_json` tells "
        "speakers apart.",
    )
    stream: bool = Field(False, description="Server-sent events, segment by segment.")
    timestamp_granularities: tuple[Literal["word", "segment"], ...] = Field(
        (), description="`word` adds words with their times; needs `verbose_json`."
    )
    word_timestamps: bool = Field(False, description="Words with their times, in the segments; needs `verbose_json`.")
    prompt: str = Field("", max_length=10_000, description="Names and terms to expect, separated by commas or lines.")
    keywords: Terms = Field((), description="Names and terms to expect.")
    temperature: float = Field(0.0, ge=0, le=1, description="0: decoding is deterministic here.")
    include: Phrases = Field((), description="`logprobs` is not available.")
    chunking_strategy: Chunking = Field(None, description="`auto`, or `server_vad` with the pause that ends a segment.")
    known_speaker_names: tuple[SpeakerName, ...] = Field(
        (), description=f"Tell speakers apart, and call up to {MOST} of them by these names, each known by a sample."
    )
    known_speaker_references: Annotated[tuple[str, ...], Long(MOST_BYTES, MOST)] = Field(
        (), description="For each of the names, a data URL with 2 to 10 seconds of the voice."
    )
    output_script: str = Field("auto", max_length=35, description="The script of the language, or `auto`.")
    enable_diarization: bool = Field(False, description="Tell speakers apart: `SPEAKER_00`, `SPEAKER_01`, ...")
    num_speakers: int | None = Field(None, ge=1, le=100, description="How many to tell apart, where that is known.")
    enable_speaker_identification: bool = Field(
        False,
        description="Tell speakers apart, and call those by name who are registered with `/v1/speakers/register`.",
    )
    enable_emotion_diarization: bool = Field(False, description="Not available.")
    project: ProjectName = Field("", description="Whose speakers to look among.")
    enable_intent_detection: bool = Field(False, description="What the speaker wants; needs a language model.")
    intent_choices: Terms = Field((), description="Among what the intent is chosen; anything, if not given.")
    enable_summarization: bool = Field(False, description="A summary; needs a language model.")
    summary_max_length: int = Field(SUMMARY_WORDS, ge=1, le=10_000, description="Words.")
    enable_sentiment_analysis: bool = Field(False, description="How it is said; needs a language model.")
    enable_keyterm_normalization: bool = Field(
        False, description="Text in which names and terms are written in one way; needs a language model."
    )
    keyterm_keywords: Terms = Field((), description="How names and terms are to be written.")
    enable_profanity_hashing: bool = Field(False, description="Mask bad words by asterisks.")
    hash_keywords: Terms = Field((), description="Words to mask, in place of the server's list.")
    output_language: str = Field("", max_length=35, description="Language to translate to.")

    @model_validator(mode="before")
    @classmethod
    def _nest(cls, values: Any) -> Any:
        return nested(values)

    @property
    def wants_words(self) -> bool:
        return self.word_timestamps or "word" in self.timestamp_granularities

    @property
    def tells_speakers(self) -> bool:
        asked = self.enable_diarization or self.enable_speaker_identification or bool(self.known_speaker_names)
        return asked or self.response_format == "diarized_json"

    @property
    def output(self) -> Output:
        """How the result is to be rendered.

        Raises:
            JobError: the format cannot carry what was asked for.
        """
        if self.stream and self.response_format in ("srt", "vtt"):
            formats = "json, text, verbose_json or diarized_json"
            raise _invalid("stream", f"stream=true gives events; response_format has to be {formats}")
        chosen = self.response_format or ("json" if self.stream and not self.tells_speakers else "verbose_json")
        if self.tells_speakers and chosen in ("json", "text"):
            name, formats = self.used("diarization"), "verbose_json, diarized_json, srt or vtt"
            raise _invalid(name, f"{name} needs response_format={formats}; {chosen} has no place for speakers")
        if chosen == "verbose_json":
            return Output.VERBOSE_WORDS if self.wants_words else Output.VERBOSE
        for name, asked in (
            ("timestamp_granularities", bool(self.timestamp_granularities)),
            ("word_timestamps", self.word_timestamps),
            ("output_language", _is_language(self.output_language)),
            ("enable_intent_detection", self.enable_intent_detection),
            ("enable_summarization", self.enable_summarization),
            ("enable_sentiment_analysis", self.enable_sentiment_analysis),
            ("enable_keyterm_normalization", self.enable_keyterm_normalization),
        ):
            if asked:
                raise _invalid(name, f"{name} needs response_format=verbose_json; {chosen} cannot carry its result")
        return Output(chosen)

    def source(self, uploads: Sequence[Upload]) -> Source:
        """Where the audio is.

        Raises:
            JobError: neither a file nor an address came, or both; an address of an upload that was not made here.
        """
        if uploads and self.url:
            raise _invalid("url", "both file and url are given; send one of them")
        if uploads:
            return Source(object=uploads[0].object, name=uploads[0].name)
        if self.url:
            return source_at(self.url)
        raise JobError(Reason.MISSING_PARAMETER, "file is missing; send a file, or a url", parameter="file")

    def options(self, spoken: tuple[str, ...], aliases: tuple[str, ...]) -> TranscriptionOptions:
        """What is to be done. ``spoken``: the languages of the model; ``aliases``: names that mean the model served.

        Raises:
            JobError: ``INVALID_PARAMETER``, ``FEATURE_UNAVAILABLE``.
        """
        language = self._language()
        self._refuse_unavailable(spoken if language == "auto" else (language,))
        self._refuse_idle()
        require_pairs(self.known_speaker_names, self.known_speaker_references)
        return TranscriptionOptions(
            model="" if self.model in aliases else self.model,
            language=language,
            min_silence_ms=self.chunking_strategy.silence_duration_ms if self.chunking_strategy else None,
            keyterms=(*self.keywords, *_phrases(self.prompt)),
            diarize=self.tells_speakers,
            num_speakers=self.num_speakers,
            identify_speakers=self.enable_speaker_identification,
            project=self.project,
            mask=self.hash_keywords if self.enable_profanity_hashing else None,
            translate_to=self._translations(),
            analysis=Analysis(
                summary=self.enable_summarization,
                summary_max_length=self.summary_max_length,
                sentiment=self.enable_sentiment_analysis,
                intent=self.enable_intent_detection,
                intent_choices=self.intent_choices,
                normalize=self.enable_keyterm_normalization,
                keyterms=self.keyterm_keywords,
            ),
            output=self.output,
            keep_segments=self.stream,
        )

    def _language(self) -> str:
        given = {tag for tag in (self.language, self.language_code, *self.languages) if _is_language(tag)}
        if len(given) > 1:
            message = f"more than one language is given ({', '.join(sorted(given))}); name one, or auto"
            raise _invalid(self.used("language"), message)
        return given.pop() if given else "auto"

    def _translations(self) -> tuple[str, ...]:
        if not _is_language(self.output_language):
            return ()
        return (normalize_language(self.output_language, parameter="output_language"),)

    def _refuse_unavailable(self, languages: tuple[str, ...]) -> None:
        """What no model here can do, whatever is configured."""
        if self.temperature:
            raise _unavailable("temperature", "decoding is deterministic here; temperature has to be 0")
        if self.include:
            raise _unavailable("include", f"{self.include[0]} is not available; confidences are in verbose_json")
        if self.enable_emotion_diarization:
            raise _unavailable("enable_emotion_diarization", "this server does not recognize emotions")
        if chunking := self.chunking_strategy:
            if chunking.prefix_padding_ms != PREFIX_MS:
                raise _unavailable("chunking_strategy", f"prefix_padding_ms cannot be changed from {PREFIX_MS}")
            if chunking.threshold != THRESHOLD:
                raise _unavailable("chunking_strategy", f"threshold cannot be changed from {THRESHOLD}")
        if self.output_script.lower() not in ("", "auto"):
            scripts = {script_of(tag) for tag in languages}
            known = [script for script in scripts if script is not None]
            if not any(self.output_script.lower() in (script.code.lower(), script.name.lower()) for script in known):
                names = ", ".join(sorted(script.name for script in known))
                raise _unavailable("output_script", f"text comes in the script of its language ({names})")

    def used(self, field: str) -> str:
        """The parameter by which the caller has asked for what the job system calls ``field``."""
        names = _NAMES.get(field, (field,))
        values = ((name, getattr(self, name, None)) for name in names)
        asking = (name for name, value in values if (_is_language(value) if isinstance(value, str) else value))
        return next(asking, names[-1])

    def _refuse_idle(self) -> None:
        """What would have no effect, because that which it belongs to was not asked for."""
        for name, given, switch in (
            ("intent_choices", bool(self.intent_choices), "enable_intent_detection"),
            ("summary_max_length", self.summary_max_length != SUMMARY_WORDS, "enable_summarization"),
            ("keyterm_keywords", bool(self.keyterm_keywords), "enable_keyterm_normalization"),
            ("hash_keywords", bool(self.hash_keywords), "enable_profanity_hashing"),
            ("project", bool(self.project), "enable_speaker_identification"),
            ("num_speakers", self.num_speakers is not None and not self.tells_speakers, "enable_diarization"),
        ):
            if given and not getattr(self, switch):
                raise _invalid(name, f"{name} has no effect without {switch}=true")


def wanted_options(form: TranscriptionForm, transcriptions: Transcriptions) -> TranscriptionOptions:
    """What is to be done, which the server can do.

    Raises:
        JobError: it cannot, or something is wrong; it names the parameter that the caller has used.
    """
    options = form.options(transcriptions.model.languages, transcriptions.settings.model_aliases)
    if form.known_speaker_names and (reason := transcriptions.speakers.no_identification) is not None:
        raise _unavailable(NAMES, reason)
    try:
        transcriptions.check(options)
    except JobError as error:
        if error.parameter is not None:
            error.parameter = form.used(error.parameter)
        raise
    return options


def _is_language(tag: str) -> bool:
    return tag.lower() not in ("", "auto")


def _phrases(prompt: str) -> list[str]:
    """The terms of a prompt, which is taken as a list of them: our models take terms, not style."""
    return [phrase for part in re.split(r"[,;:!?\n]|\.(?:\s|$)", prompt) if (phrase := part.strip())]


def _invalid(name: str, message: str) -> JobError:
    return JobError(Reason.INVALID_PARAMETER, message, parameter=name)


def _unavailable(name: str, message: str) -> JobError:
    return JobError(Reason.FEATURE_UNAVAILABLE, message, parameter=name)
