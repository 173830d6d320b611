"""Jobs whose speakers are told apart and called by their names; who speaks is known beforehand."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from typing import NoReturn

import numpy as np
import orjson
import pytest
import soundfile
from numpy.typing import NDArray

from stream_protocol.transcript import Segment, Transcript, Turn, Word
from stream_server.auth import ANYONE
from stream_server.engine.work import SAMPLE_RATE
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import JobState, TranscriptionOptions
from stream_server.jobs.result import JobResult, decode_result, encode_result
from stream_server.jobs.table import jobs, segments
from stream_server.jobs.voice import known_voice
from stream_server.settings import Settings
from stream_server.speakers.embedder import EmbedderError
from stream_server.speakers.registry import SpeakerRegistry
from tests.jobs.office import OPTIONS, Office, office
from tests.support.fake import FakeRecognizer
from tests.support.speakers import FakeSpeakers, ScriptedDiarizer
from tests.support.tone import ToneEmbedder, voice

DIARIZED = TranscriptionOptions(diarize=True)
IDENTIFIED = TranscriptionOptions(identify_speakers=True, project="desk")
A, B = "SPEAKER_00", "SPEAKER_01"
TURNS = (Turn(0, 5000, A), Turn(4900, 9900, B))


def dialog() -> bytes:
    """Three seconds at 200 Hz, three at 2000 Hz: two people, to a `ToneEmbedder`."""
    file = io.BytesIO()
    soundfile.write(file, np.concatenate([voice(200, 3), voice(2000, 3)]), SAMPLE_RATE, format="WAV")
    return file.getvalue()


def spoken(transcript: Transcript) -> list[tuple[int, str | None]]:
    return [(word.start_ms, word.speaker) for segment in transcript.segments for word in segment.words]


async def test_words_and_segments_have_speakers_and_nothing_else_changes(settings: Settings) -> None:
    diarizer = ScriptedDiarizer(TURNS)
    async with office(settings, speakers=FakeSpeakers(diarizer)) as desk:
        _, plain = await desk.answer(await desk.upload())
        assert diarizer.opened == [], "nobody asked for it"
        options = TranscriptionOptions(diarize=True, num_speakers=2)
        job = await desk.transcriptions.wait(await desk.submit(await desk.upload(), options), 60)
        _, result = await desk.transcriptions.result(ANYONE, job.id)
    assert (diarizer.opened, diarizer.closed) == ([2], 1)
    assert diarizer.heard[0] == pytest.approx(9.963 * SAMPLE_RATE, abs=16), "all of it, once"
    transcript = result.transcript
    assert (transcript.text, transcript.turns) == (plain.transcript.text, TURNS)
    assert {speaker for _, speaker in spoken(transcript)} == {A, B}
    for start, speaker in spoken(transcript):
        assert start in range(4600, 5100) or speaker == (A if start < 5000 else B)
    for segment in transcript.segments:
        assert {word.speaker for word in segment.words} == {segment.speaker}
    assert [start for start, _ in spoken(transcript)] == [start for start, _ in spoken(plain.transcript)]
    assert {segment.speaker for segment in plain.transcript.segments} == {None}


async def test_speakers_have_their_names_in_their_project_and_nowhere_else(settings: Settings) -> None:
    turns, embedder = (Turn(0, 3000, A), Turn(3000, 6000, B)), ToneEmbedder()
    async with office(settings, speakers=FakeSpeakers(ScriptedDiarizer(turns), embedder)) as desk:
        registry = SpeakerRegistry(desk.database)
        registry.add("", "desk", "Bo: 2", embedder.embed(voice(2000, 3)), embedder, seconds=3)
        registry.add("", "other", "Cy", embedder.embed(voice(200, 3)), embedder, seconds=3)
        registry.add("another key", "desk", "Di", embedder.embed(voice(200, 3)), embedder, seconds=3)
        _, named = await desk.answer(await desk.upload(dialog()), IDENTIFIED)
        _, numbered = await desk.answer(await desk.upload(dialog()), DIARIZED)
        both = TranscriptionOptions(
            identify_speakers=True,
            project="desk",
            known_voices=(known_voice("El", embedder.embed(voice(200, 3)), embedder),),
        )
        _, known = await desk.answer(await desk.upload(dialog()), both)
        _, brought = await desk.answer(
            await desk.upload(dialog()), both.model_copy(update={"identify_speakers": False})
        )
    assert known.transcript.turns == (Turn(0, 3000, "El"), Turn(3000, 6000, "Bo: 2"))
    assert brought.transcript.turns == (Turn(0, 3000, "El"), Turn(3000, 6000, B))
    assert named.transcript.turns == (Turn(0, 3000, A), Turn(3000, 6000, "Bo: 2"))
    assert numbered.transcript.turns == turns
    assert {segment.speaker for segment in named.transcript.segments} <= {A, "Bo: 2"}


async def test_masks_and_missing_punctuation_leave_the_speakers(settings: Settings) -> None:
    options = TranscriptionOptions(diarize=True, mask=("bravo",), punctuate=False)
    async with office(settings, speakers=FakeSpeakers(ScriptedDiarizer(TURNS))) as desk:
        _, result = await desk.answer(await desk.upload(), options)
    assert "*****" in result.transcript.text
    assert {speaker for _, speaker in spoken(result.transcript)} == {A, B}


async def test_a_job_can_be_cancelled_while_speakers_are_told_apart(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    diarizer = ScriptedDiarizer(TURNS, gate=gate)
    async with office(settings, speakers=FakeSpeakers(diarizer)) as desk:
        job = await desk.submit(await desk.upload(), DIARIZED)
        await asyncio.to_thread(diarizer.finishing.wait)
        progress = (await desk.transcriptions.get(ANYONE, job.id)).progress
        assert progress is not None
        assert (progress.stage, progress.message) == ("diarization", "Telling the speakers apart")
        assert progress.done_segments > 0
        assert (await desk.transcriptions.cancel(ANYONE, job.id)).state is JobState.CANCELLED
        gate.set()
        await desk.until_nothing_is_left()
        while not diarizer.closed:
            await asyncio.sleep(0.02)
        assert (await desk.answer(await desk.upload(), DIARIZED))[0].state is JobState.COMPLETED
        assert (await desk.transcriptions.get(ANYONE, job.id)).state is JobState.CANCELLED
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_job_that_is_cancelled_while_it_is_heard_closes_its_diarization(settings: Settings) -> None:
    gate, diarizer = threading.Event(), ScriptedDiarizer(TURNS)
    async with office(settings, FakeRecognizer(gate=gate), FakeSpeakers(diarizer)) as desk:
        job = await desk.submit(await desk.upload(), DIARIZED)
        while not diarizer.opened:
            await asyncio.sleep(0.02)
        await desk.transcriptions.cancel(ANYONE, job.id)
        gate.set()
        while not diarizer.closed:
            await asyncio.sleep(0.02)
    assert not diarizer.finishing.is_set()


@pytest.mark.parametrize("where", ["open", "hear", "finish"])
async def test_a_diarizer_that_fails_fails_the_job_and_says_so(
    settings: Settings, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    diarizer = ScriptedDiarizer(TURNS, fails=where)
    async with office(settings, speakers=FakeSpeakers(diarizer)) as desk:
        job = await desk.transcriptions.wait(await desk.submit(await desk.upload(), DIARIZED), 60)
        assert job.state is JobState.FAILED
        assert job.failure is not None
        assert job.failure.reason is Reason.INTERNAL
        assert "the speakers of this recording could not be told apart" in job.failure.message
        diarizer.fails = ""
        assert (await desk.answer(await desk.upload(), DIARIZED))[0].state is JobState.COMPLETED
    assert diarizer.closed == len(diarizer.opened)
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error.exc_text is not None
    assert f"the script says that {where} fails" in error.exc_text, "what is wrong is in the log"


async def test_an_embedder_that_fails_fails_the_job_and_says_so(settings: Settings) -> None:
    class FailingEmbedder(ToneEmbedder):
        def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
            raise EmbedderError("it is told to fail")

    turns, embedder = (Turn(0, 3000, A),), FailingEmbedder()
    async with office(settings, speakers=FakeSpeakers(ScriptedDiarizer(turns), embedder)) as desk:
        SpeakerRegistry(desk.database).add("", "desk", "Bo", ToneEmbedder().embed(voice(200, 3)), embedder, seconds=3)
        with pytest.raises(JobError) as caught:
            await desk.answer(await desk.upload(dialog()), IDENTIFIED)
    assert caught.value.reason is Reason.INTERNAL
    assert "the speakers of this recording could not be identified" in caught.value.message


async def test_an_embedder_that_cannot_be_had_fails_the_job_before_it_is_heard(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> NoReturn:
        raise EmbedderError("the index is away")

    diarizer = ScriptedDiarizer(TURNS)
    speakers = FakeSpeakers(diarizer)
    monkeypatch.setattr(speakers, "embedder", missing)
    async with office(settings, speakers=speakers) as desk:
        with pytest.raises(JobError, match="could not be identified"):
            await desk.answer(await desk.upload(dialog()), IDENTIFIED)
    assert diarizer.opened == []


async def test_who_reads_along_gets_segments_when_it_is_known_who_says_them(settings: Settings) -> None:
    gate = threading.Event()
    diarizer = ScriptedDiarizer(TURNS, gate=gate)
    async with office(settings, speakers=FakeSpeakers(diarizer)) as desk:
        job = await desk.transcriptions.open_answer(
            ANYONE, await desk.upload(), DIARIZED, surface="openai", request_id="r"
        )
        await asyncio.to_thread(diarizer.finishing.wait)
        assert desk.count(segments) == 0
        gate.set()
        heard = [item async for item in desk.transcriptions.follow(job)]
        _, result = await desk.transcriptions.result(ANYONE, job.id)
    assert [item for item in heard if isinstance(item, Segment)] == list(result.transcript.segments)
    assert {segment.speaker for segment in result.transcript.segments} == {A, B}


async def test_silence_has_no_speakers(settings: Settings) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(2 * SAMPLE_RATE, np.float32), SAMPLE_RATE, format="WAV")
    async with office(settings, speakers=FakeSpeakers(ScriptedDiarizer())) as desk:
        _, result = await desk.answer(await desk.upload(file.getvalue()), DIARIZED)
    assert (result.transcript.segments, result.transcript.turns) == ((), ())


@pytest.mark.parametrize(
    ("switched_off", "options", "words"),
    [
        ({"diarizer": "off"}, DIARIZED, "diarization is switched off"),
        ({"diarizer": "off"}, IDENTIFIED, "diarization is switched off"),
        ({"speaker_embedding": "off"}, IDENTIFIED, "speaker identification is switched off"),
    ],
)
async def test_what_the_settings_switch_off_is_refused_before_there_is_a_job(
    settings: Settings, switched_off: dict[str, str], options: TranscriptionOptions, words: str
) -> None:
    async with office(settings.model_copy(update=switched_off)) as desk:
        with pytest.raises(JobError, match=words) as caught:
            await _submit(desk, options)
        assert caught.value.reason is Reason.FEATURE_UNAVAILABLE
        assert desk.count(jobs) == 0
        await _submit(desk, OPTIONS)


async def _submit(desk: Office, options: TranscriptionOptions) -> None:
    job = await desk.submit(await desk.upload(), options)
    await desk.transcriptions.wait(job, 60)


def test_results_keep_speakers_and_those_of_earlier_versions_are_read() -> None:
    words = (Word("Hi.", 0, 400, 0.9, A), Word("Ho.", 400, 800, 0.9))
    result = JobResult(Transcript((Segment("Hi. Ho.", 0, 800, 0.9, words, A),), "en", 900, TURNS))
    document = encode_result(result)
    assert decode_result(document) == result
    values = orjson.loads(document)["transcript"]
    assert [word.get("speaker", "left out") for word in values["segments"][0]["words"]] == [A, "left out"]
    del values["turns"]
    old = orjson.dumps({"transcript": values, "translations": {}, "findings": {}})
    assert decode_result(old).transcript.turns == ()
