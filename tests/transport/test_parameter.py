"""Parameters of the OpenAI-like surface: each has its effect, or says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Analysis, TranscriptionOptions
from stream_server.transport.answer import Output
from stream_server.transport.field import Fields
from stream_server.transport.parameter import TranscriptionForm

SPOKEN = ("en", "hi")


def form(*pairs: tuple[str, str]) -> TranscriptionForm:
    """What comes of the fields of a form."""
    fields = Fields(TranscriptionForm)
    for name, value in (("model", "whisper-1"), *pairs):
        fields.add(name, value)
    return fields.validated()


def options(*pairs: tuple[str, str]) -> TranscriptionOptions:
    return form(*pairs).options(SPOKEN, ("whisper-1",))


def refusal(*pairs: tuple[str, str]) -> JobError:
    with pytest.raises(JobError) as caught:
        options(*pairs)
    return caught.value


def test_nothing_is_asked_for_by_default() -> None:
    assert options() == TranscriptionOptions(output="verbose_json")


# What the published Shunyalabs client sends when its user asks for nothing.
QUIET = (
    ("language_code", "auto"),
    ("output_script", "auto"),
    ("word_timestamps", "false"),
    ("enable_diarization", "false"),
    ("enable_speaker_identification", "false"),
    ("enable_emotion_diarization", "false"),
    ("enable_intent_detection", "false"),
    ("enable_summarization", "false"),
    ("summary_max_length", "150"),
    ("enable_sentiment_analysis", "false"),
    ("enable_keyterm_normalization", "false"),
    ("enable_profanity_hashing", "false"),
)


def test_what_asks_for_nothing_passes() -> None:
    also = (
        ("language", ""),
        ("prompt", " "),
        ("temperature", "0"),
        ("stream", "false"),
        ("chunking_strategy", "auto"),
        ("keywords", "[]"),
        ("output_language", "auto"),
        ("timestamp_granularities[]", "segment"),
    )
    assert options(*QUIET, *also) == options()


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("language", "hi")], {"language": "hi"}),
        ([("language_code", "hi")], {"language": "hi"}),
        ([("languages[]", "hi")], {"language": "hi"}),
        ([("language", "hi"), ("language_code", "hi")], {"language": "hi"}),
        ([("model", "another")], {"model": "another"}),
        ([("response_format", "srt")], {"output": "srt"}),
        ([("word_timestamps", "true")], {"output": "verbose_json_words"}),
        ([("timestamp_granularities[]", "segment"), ("timestamp_granularities[]", "word")],
         {"output": "verbose_json_words"}),
        ([("stream", "true")], {"output": "json", "keep_segments": True}),
        ([("prompt", "Godot, Estragon;\nMr. Pozzo. Section 3.5")],
         {"keyterms": ("Godot", "Estragon", "Mr", "Pozzo", "Section 3.5")}),
        ([("keywords[]", "Godot"), ("keywords[]", "Lucky")], {"keyterms": ("Godot", "Lucky")}),
        ([("chunking_strategy[type]", "server_vad"), ("chunking_strategy[silence_duration_ms]", "300")],
         {"min_silence_ms": 300}),
        ([("chunking_strategy", '{"type": "server_vad", "silence_duration_ms": 300, "threshold": 0.5}')],
         {"min_silence_ms": 300}),
        ([("output_script", "Devanagari"), ("language", "hi")], {"language": "hi"}),
        ([("output_script", "Latn")], {}),
        ([("enable_diarization", "true")], {"diarize": True}),
        ([("enable_speaker_identification", "true"), ("project", "desk")],
         {"diarize": True, "identify_speakers": True, "project": "desk"}),
        ([("enable_diarization", "true"), ("num_speakers", "2")], {"diarize": True, "num_speakers": 2}),
        ([("response_format", "diarized_json"), ("num_speakers", "100")],
         {"diarize": True, "num_speakers": 100, "output": "diarized_json"}),
        ([("known_speaker_names[]", "Vladimir"), ("known_speaker_references[]", "data:,")], {"diarize": True}),
        ([("response_format", "diarized_json")], {"diarize": True, "output": "diarized_json"}),
        ([("response_format", "diarized_json"), ("stream", "true")],
         {"diarize": True, "output": "diarized_json", "keep_segments": True}),
        ([("response_format", "srt"), ("enable_diarization", "true")], {"diarize": True, "output": "srt"}),
        ([("enable_diarization", "true"), ("stream", "true")],
         {"diarize": True, "output": "verbose_json", "keep_segments": True}),
        ([("enable_profanity_hashing", "true")], {"mask": ()}),
        ([("enable_profanity_hashing", "true"), ("hash_keywords", '["fail"]')], {"mask": ("fail",)}),
        ([("enable_profanity_hashing", "true"), ("hash_keywords", "Hale, iron,")], {"mask": ("Hale", "iron")}),
        ([("enable_profanity_hashing", "true"), ("hash_keywords", ",")], {"mask": ()}),
        ([("keywords", "Godot,Mr. Pozzo")], {"keyterms": ("Godot", "Mr. Pozzo")}),
        ([("keywords", '["Godot, the", "Lucky"]')], {"keyterms": ("Godot, the", "Lucky")}),
        ([("enable_intent_detection", "true"), ("intent_choices", "buy,sell")],
         {"analysis": Analysis(intent=True, intent_choices=("buy", "sell"))}),
        ([("enable_keyterm_normalization", "true"), ("keyterm_keywords", "Godot,Estragon")],
         {"analysis": Analysis(normalize=True, keyterms=("Godot", "Estragon"))}),
        ([("output_language", "ENG")], {"translate_to": ("en",)}),
        ([("enable_summarization", "true"), ("summary_max_length", "20")],
         {"analysis": Analysis(summary=True, summary_max_length=20)}),
        ([("enable_sentiment_analysis", "true")], {"analysis": Analysis(sentiment=True)}),
        ([("enable_intent_detection", "true"), ("intent_choices", '["buy", "sell"]')],
         {"analysis": Analysis(intent=True, intent_choices=("buy", "sell"))}),
        ([("enable_keyterm_normalization", "true"), ("keyterm_keywords", '["Godot"]')],
         {"analysis": Analysis(normalize=True, keyterms=("Godot",))}),
    ],
    ids=lambda value: "+".join(name for name, _ in value) if isinstance(value, list) else "",
)  # fmt: skip
def test_effects(pairs: list[tuple[str, str]], expected: dict[str, Any]) -> None:
    if pairs[0][0] == "model":
        made = TranscriptionForm(model=pairs[0][1]).options(SPOKEN, ("whisper-1",))
    else:
        made = options(*pairs)
    assert made == options().model_copy(update=expected)


@pytest.mark.parametrize(
    ("pairs", "reason", "parameter"),
    [
        ([("temperature", "0.2")], Reason.FEATURE_UNAVAILABLE, "temperature"),
        ([("include[]", "logprobs")], Reason.FEATURE_UNAVAILABLE, "include"),
        ([("known_speaker_names[]", "Vladimir")], Reason.INVALID_PARAMETER, "known_speaker_references"),
        ([("known_speaker_references[]", "data:,")], Reason.INVALID_PARAMETER, "known_speaker_names"),
        ([("known_speaker_names[]", "Vladimir"), ("known_speaker_names[]", "Vladimir"),
          ("known_speaker_references[]", "data:,"), ("known_speaker_references[]", "data:,")],
         Reason.INVALID_PARAMETER, "known_speaker_names"),
        ([("known_speaker_names[]", "speaker_01"), ("known_speaker_references[]", "data:,")],
         Reason.INVALID_PARAMETER, "known_speaker_names"),
        ([("known_speaker_names[]", "a\nb"), ("known_speaker_references[]", "data:,")],
         Reason.INVALID_PARAMETER, "known_speaker_names"),
        ([("enable_speaker_identification", "true"), ("project", "a\nb")], Reason.INVALID_PARAMETER, "project"),
        ([*5 * [("known_speaker_references[]", "data:,")], *(("known_speaker_names[]", name) for name in "abcde")],
         Reason.INVALID_PARAMETER, "known_speaker_names"),
        ([("known_speaker_names[]", "Vladimir"), ("known_speaker_references[]", "data:,"),
          ("response_format", "json")], Reason.INVALID_PARAMETER, "known_speaker_names"),
        ([("enable_emotion_diarization", "true")], Reason.FEATURE_UNAVAILABLE, "enable_emotion_diarization"),
        ([("response_format", "json"), ("enable_diarization", "true")],
         Reason.INVALID_PARAMETER, "enable_diarization"),
        ([("response_format", "text"), ("enable_speaker_identification", "true")],
         Reason.INVALID_PARAMETER, "enable_speaker_identification"),
        ([("stream", "true"), ("response_format", "json"), ("enable_diarization", "true")],
         Reason.INVALID_PARAMETER, "enable_diarization"),
        ([("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "0.7")],
         Reason.FEATURE_UNAVAILABLE, "chunking_strategy"),
        ([("chunking_strategy[type]", "server_vad"), ("chunking_strategy[prefix_padding_ms]", "0")],
         Reason.FEATURE_UNAVAILABLE, "chunking_strategy"),
        ([("chunking_strategy[type]", "server_vad"), ("chunking_strategy[patience]", "1")],
         Reason.INVALID_PARAMETER, "chunking_strategy"),
        ([("chunking_strategy", "{")], Reason.INVALID_PARAMETER, "chunking_strategy"),
        ([("chunking_strategy", "auto"), ("chunking_strategy[type]", "server_vad")],
         Reason.INVALID_PARAMETER, "chunking_strategy[type]"),
        ([("output_script", "Thai")], Reason.FEATURE_UNAVAILABLE, "output_script"),
        ([("output_script", "Deva"), ("language", "en")], Reason.FEATURE_UNAVAILABLE, "output_script"),
        ([("language", "en"), ("language_code", "hi")], Reason.INVALID_PARAMETER, "language"),
        ([("languages[]", "en"), ("languages[]", "hi")], Reason.INVALID_PARAMETER, "languages"),
        ([("output_language", "nowhere")], Reason.INVALID_PARAMETER, "output_language"),
        ([("intent_choices", '["buy"]')], Reason.INVALID_PARAMETER, "intent_choices"),
        ([("summary_max_length", "20")], Reason.INVALID_PARAMETER, "summary_max_length"),
        ([("keyterm_keywords", '["Godot"]')], Reason.INVALID_PARAMETER, "keyterm_keywords"),
        ([("hash_keywords", '["fail"]')], Reason.INVALID_PARAMETER, "hash_keywords"),
        ([("project", "desk")], Reason.INVALID_PARAMETER, "project"),
        ([("project", "desk"), ("enable_diarization", "true")], Reason.INVALID_PARAMETER, "project"),
        ([("num_speakers", "2")], Reason.INVALID_PARAMETER, "num_speakers"),
        ([("num_speakers", "0"), ("enable_diarization", "true")], Reason.INVALID_PARAMETER, "num_speakers"),
        ([("num_speakers", "101"), ("enable_diarization", "true")], Reason.INVALID_PARAMETER, "num_speakers"),
        ([("response_format", "yaml")], Reason.INVALID_PARAMETER, "response_format"),
        ([("stream", "true"), ("response_format", "vtt")], Reason.INVALID_PARAMETER, "stream"),
        ([("stream", "true"), ("word_timestamps", "true")], Reason.INVALID_PARAMETER, "word_timestamps"),
        ([("colour", "red")], Reason.INVALID_PARAMETER, "colour"),
    ],
    ids=lambda value: "+".join(name for name, _ in value) if isinstance(value, list) else "",
)  # fmt: skip
def test_refusals(pairs: list[tuple[str, str]], reason: Reason, parameter: str) -> None:
    error = refusal(*pairs)
    assert (error.reason, error.parameter) == (reason, parameter)
    assert error.message


@pytest.mark.parametrize("output", ["json", "text", "srt", "vtt", "diarized_json"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timestamp_granularities[]", "word"),
        ("word_timestamps", "true"),
        ("output_language", "hi"),
        ("enable_intent_detection", "true"),
        ("enable_summarization", "true"),
        ("enable_sentiment_analysis", "true"),
        ("enable_keyterm_normalization", "true"),
    ],
)
def test_a_format_that_cannot_carry_the_answer_is_refused(output: str, name: str, value: str) -> None:
    error = refusal(("response_format", output), (name, value))
    assert (error.reason, error.parameter) == (Reason.INVALID_PARAMETER, name.removesuffix("[]"))
    assert "verbose_json" in error.message
    assert options(("response_format", "verbose_json"), (name, value)).output.startswith(Output.VERBOSE)


@pytest.mark.parametrize(
    ("pairs", "name"),
    [
        ([("enable_diarization", "true")], "enable_diarization"),
        ([("enable_speaker_identification", "true"), ("response_format", "diarized_json")],
         "enable_speaker_identification"),
        ([("known_speaker_names[]", "Vladimir"), ("response_format", "diarized_json")], "known_speaker_names"),
        ([("response_format", "diarized_json")], "response_format"),
    ],
)  # fmt: skip
def test_how_speakers_were_asked_for(pairs: list[tuple[str, str]], name: str) -> None:
    """A server that cannot tell them apart names what its caller has written."""
    assert form(*pairs).used("diarization") == name


def test_terms_in_a_json_body() -> None:
    """One text, or a list."""
    for given in ("Hale,iron", ["Hale", "iron"]):
        fields = Fields(TranscriptionForm)
        fields.add_json(orjson.dumps({"model": "whisper-1", "keywords": given}))
        assert fields.validated().keywords == ("Hale", "iron")


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": None}])
def test_the_model_has_to_be_named(body: dict[str, Any]) -> None:
    fields = Fields(TranscriptionForm)
    fields.add_json(orjson.dumps(body))
    with pytest.raises(JobError) as caught:
        fields.validated()
    assert (caught.value.reason, caught.value.parameter) == (Reason.MISSING_PARAMETER, "model")


def test_what_is_given_empty_is_not_given() -> None:
    empty = [(name, "") for name in TranscriptionForm.model_fields if name != "model"]
    empty += [("chunking_strategy[type]", ""), ("chunking_strategy[silence_duration_ms]", "")]
    empty.remove(("chunking_strategy", ""))
    assert options(*empty) == options(("chunking_strategy", "")) == options()


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("chunking_strategy", '{"type":"server_vad","silence_duration_ms":1}'),
         "chunking_strategy.silence_duration_ms: input should be greater than or equal to 100"),
        (("chunking_strategy", '{"type":"server_vad","silence_duration_ms":10001}'),
         "chunking_strategy.silence_duration_ms: input should be less than or equal to 10000"),
        (("chunking_strategy", '{"type":"semantic"}'), "chunking_strategy.type: input should be 'server_vad'"),
        (("chunking_strategy", "semantic"), "chunking_strategy: has to be auto, or an object of the type server_vad"),
    ],
)  # fmt: skip
def test_a_way_of_cutting_that_there_is_not(pair: tuple[str, str], message: str) -> None:
    assert refusal(pair).message == message


def test_a_list_is_called_a_list() -> None:
    fields = Fields(TranscriptionForm)
    fields.add_json(orjson.dumps({"model": "whisper-1", "languages": "en"}))
    with pytest.raises(JobError, match=r"^languages: has to be a list$"):
        fields.validated()


def test_no_parameter_is_forgotten() -> None:
    """Each is in one of the tables above; what ``url`` does needs a server."""
    tables = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in TranscriptionForm.model_fields if f'("{name}' not in tables} == {"url"}
