"""The published OpenAI client works against us, unchanged."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import soundfile
import srt
import webvtt

from tests.support.hosting import hosted_server
from tests.support.running import Running
from tests.support.speech import moonshine, recording

openai = pytest.importorskip("openai", reason="pip install openai")

KEY = "sk-right"


def wav(name: str, end: float | None = None, start: float = 0) -> bytes:
    """A recording as a file; so many seconds of it."""
    buffer = io.BytesIO()
    samples = recording(name)[round(16_000 * start) : None if end is None else round(16_000 * end)]
    soundfile.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()


BECKETT = ("beckett.wav", wav("beckett.wav"), "audio/wav")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("openai")
    with hosted_server(moonshine(), data_dir=folder, job_worker="inline", api_keys=(KEY,)) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[Any]:
    with openai.OpenAI(api_key=KEY, base_url=f"{server.http_url}/v1", max_retries=0) as client:
        yield client


def plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum() or character == " ")


def test_a_file(client: Any) -> None:
    heard = client.audio.transcriptions.create(model="whisper-1", file=BECKETT)
    assert "no matter try again" in plain(heard.text)


def test_the_models_that_are_served(client: Any) -> None:
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id) == client.models.retrieve("whisper-1") == model
    assert (model.owned_by, model.created > 0) == ("stream-server", True)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("whisper-9")
    heard = client.audio.transcriptions.create(model=model.id, file=BECKETT, language="en", temperature=0)
    assert "try again" in plain(heard.text)


def test_json_is_the_text_alone(client: Any) -> None:
    heard = client.audio.transcriptions.create(model="whisper-1", file=BECKETT, response_format="json")
    assert "try again" in plain(heard.text)
    assert heard.usage.type == "duration"
    assert heard.usage.seconds == pytest.approx(len(recording("beckett.wav")) / 16_000, abs=0.01)
    assert not heard.model_extra


def test_words_with_their_times(client: Any) -> None:
    heard = client.audio.transcriptions.create(
        model="whisper-1",
        file=BECKETT,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    seconds = len(recording("beckett.wav")) / 16_000
    assert (heard.language, heard.duration) == ("english", pytest.approx(seconds, abs=0.01))
    assert " ".join(segment.text for segment in heard.segments) == heard.text
    assert [segment.id for segment in heard.segments] == list(range(len(heard.segments)))
    assert " ".join(word.word for word in heard.words) == heard.text
    edges = [edge for word in heard.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= seconds
    for segment in heard.segments:
        assert 0 <= segment.start < segment.end <= seconds
        assert segment.avg_logprob <= 0 < segment.compression_ratio


def test_words_only_where_they_are_asked_for(client: Any) -> None:
    heard = client.audio.transcriptions.create(model="whisper-1", file=BECKETT, response_format="verbose_json")
    assert heard.segments
    assert heard.words is None
    assert {segment.model_extra["speaker"] for segment in heard.segments} == {None}


def test_text_and_subtitles(client: Any) -> None:
    formats = {
        name: client.audio.transcriptions.create(model="whisper-1", file=BECKETT, response_format=name)
        for name in ("text", "srt", "vtt")
    }
    text = plain(formats["text"]).strip()
    assert "try again" in text
    cues = list(srt.parse(formats["srt"]))
    assert plain(" ".join(cue.content.replace("\n", " ") for cue in cues)) == text
    captions = webvtt.from_string(formats["vtt"]).captions
    assert plain(" ".join(caption.text.replace("\n", " ") for caption in captions)) == text


def test_events_as_segments_become_final(client: Any) -> None:
    """One delta for each segment, and together they are the text."""
    cities = ("cities.wav", wav("two_cities.wav", 20), "audio/wav")
    with client.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=cities, stream=True) as stream:
        *deltas, done = list(stream)
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert len(deltas) > 1
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas) == done.text
    assert "it was the best of times" in plain(done.text)


def test_events_with_times(client: Any) -> None:
    cities = ("cities.wav", wav("two_cities.wav", 20), "audio/wav")
    with client.audio.transcriptions.create(
        model="whisper-1",
        file=cities,
        stream=True,
        response_format="verbose_json",
        timestamp_granularities=["word"],
    ) as stream:
        events = list(stream)
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert len(segments) > 1
    assert [event.id for event in segments] == [str(number) for number in range(len(segments))]
    for segment in segments:
        assert " ".join(word["word"] for word in segment.words) == segment.text
    done = events[-1].to_dict()
    assert [segment["text"] for segment in done["segments"]] == [segment.text for segment in segments]
    assert done["duration"] == pytest.approx(20, abs=0.01)


TALK = ("talk.wav", wav("endgame_nagg_nell.wav"), "audio/wav")


def test_speakers_are_told_apart(client: Any) -> None:
    heard = client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize", file=TALK, response_format="diarized_json", chunking_strategy="auto"
    )
    assert type(heard).__name__ == "TranscriptionDiarized"
    assert not heard.model_extra
    assert {segment.speaker for segment in heard.segments} == {"A", "B"}
    assert heard.segments[0].speaker == "A"
    assert " ".join(segment.text for segment in heard.segments) == heard.text
    edges = [edge for segment in heard.segments for edge in (segment.start, segment.end)]
    assert edges == sorted(edges)
    assert edges[-1] <= heard.duration == heard.usage.seconds


def test_events_with_speakers(client: Any) -> None:
    whole = client.audio.transcriptions.create(
        model="whisper-1", file=TALK, response_format="diarized_json", extra_body={"num_speakers": 2}
    )
    with client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize", file=TALK, response_format="diarized_json", stream=True
    ) as stream:
        events = list(stream)
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert not any(event.model_extra for event in segments)
    assert [(event.speaker, event.text) for event in segments] == [
        (segment.speaker, segment.text) for segment in whole.segments
    ]
    deltas = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert (events[-1].type, events[-1].text) == ("transcript.text.done", deltas)
    assert deltas == whole.text


def test_speakers_who_are_known_by_a_sample(client: Any) -> None:
    create = partial(
        client.audio.transcriptions.create,
        model="gpt-4o-transcribe-diarize",
        file=TALK,
        response_format="diarized_json",
    )
    labelled = create()
    longest = max(labelled.segments, key=lambda segment: segment.end - segment.start)
    sample = base64.b64encode(wav("endgame_nagg_nell.wav", longest.end, longest.start)).decode()
    named = create(known_speaker_names=["Nagg"], known_speaker_references=[f"data:audio/wav;base64,{sample}"])
    other = {"A": "SPEAKER_01", "B": "SPEAKER_00"}[longest.speaker]
    assert {segment.speaker for segment in named.segments} == {"Nagg", other}
    assert [segment.speaker == "Nagg" for segment in named.segments] == [
        segment.speaker == longest.speaker for segment in labelled.segments
    ]
    with pytest.raises(openai.BadRequestError) as wrong:
        create(known_speaker_names=["Nagg", "Nell"], known_speaker_references=[f"data:audio/wav;base64,{sample}"])
    assert wrong.value.param == "known_speaker_references"


async def test_the_asynchronous_client(server: Running) -> None:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{server.http_url}/v1", max_retries=0) as client:
        heard = await client.audio.transcriptions.create(model="whisper-1", file=BECKETT)
        stream = await client.audio.transcriptions.create(model="whisper-1", file=BECKETT, stream=True)
        events = [event async for event in stream]
    assert events[-1].text == heard.text


def test_errors_are_the_client_s_exceptions(client: Any, server: Running) -> None:
    create = client.audio.transcriptions.create
    with pytest.raises(openai.BadRequestError, match="served: moonshine-tiny") as wrong:
        create(model="whisper-9", file=BECKETT)
    assert (wrong.value.param, wrong.value.code, wrong.value.type) == (
        "model", "INVALID_PARAMETER", "invalid_request_error"
    )  # fmt: skip
    assert wrong.value.request_id == wrong.value.response.json()["request_id"]
    assert wrong.value.response.json()["detail"] == wrong.value.body["message"]
    with pytest.raises(openai.BadRequestError, match="it speaks: en") as wrong:
        create(model="whisper-1", file=BECKETT, language="ca")
    assert wrong.value.param == "language"
    with pytest.raises(openai.BadRequestError, match="model is missing") as wrong:
        create(model="", file=BECKETT)
    assert (wrong.value.code, wrong.value.param) == ("MISSING_PARAMETER", "model")
    for name, value in (
        ("language_code", "hi"),
        ("languages", ["hi"]),
        ("keywords", "Godot"),
        ("prompt", "Godot"),
        ("output_language", "de"),
        ("enable_sentiment_analysis", "true"),
        ("enable_intent_detection", "true"),
        ("enable_keyterm_normalization", "true"),
    ):
        with pytest.raises(openai.APIStatusError) as wrong:
            create(model="whisper-1", file=BECKETT, extra_body={name: value})
        assert wrong.value.param == name
    with pytest.raises(openai.BadRequestError) as wrong:
        create(model="whisper-1", file=("talk.wav", b"GIF89a, and not a sound", "audio/wav"))
    assert wrong.value.code == "UNSUPPORTED_FORMAT"
    with pytest.raises(openai.UnprocessableEntityError, match="temperature has to be 0"):
        create(model="whisper-1", file=BECKETT, temperature=0.5)
    with pytest.raises(openai.AuthenticationError) as refused:
        client.with_options(api_key="sk-wrong").audio.transcriptions.create(model="whisper-1", file=BECKETT)
    assert refused.value.response.headers["WWW-Authenticate"] == "Bearer"
