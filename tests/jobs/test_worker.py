"""Jobs from the upload to the result, with a worker in this process; its model knows beforehand what it will hear."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from stream_protocol.transcript import Segment
from stream_server.audio.file import FileInfo, probe
from stream_server.auth import ANYONE, Limits
from stream_server.engine.recognizer import DeviceLostError
from stream_server.jobs import recognition
from stream_server.jobs import run as run_module
from stream_server.jobs import worker as worker_module
from stream_server.jobs.database import writing
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.job import Job, JobState, Source, TranscriptionOptions
from stream_server.jobs.ledger import JobLedger
from stream_server.jobs.reader import ObjectFile
from stream_server.jobs.result import JobResult
from stream_server.jobs.table import jobs, objects, segments
from stream_server.settings import Settings
from tests.jobs.office import OPTIONS, office
from tests.support.audio import sound
from tests.support.fake import FakeRecognizer
from tests.support.receiver import running_receiver

OTHER = replace(ANYONE, id="other")


async def test_an_answer_leaves_nothing_behind(settings: Settings) -> None:
    async with office(settings) as desk:
        job, result = await desk.answer(await desk.upload())
        assert job.state is JobState.COMPLETED
        assert result.transcript.text.startswith("alpha bravo")
        assert result.transcript.duration_ms == 9963
        assert desk.count(jobs) == 0
        await desk.until_nothing_is_left()


async def test_a_job_keeps_its_result_and_not_its_audio(settings: Settings) -> None:
    async with office(settings) as desk:
        job = await desk.submit(await desk.upload())
        done = await desk.transcriptions.wait(job, 60)
        assert done.state is JobState.COMPLETED
        assert done.duration_ms == 9963
        _, result = await desk.transcriptions.result(ANYONE, job.id)
        assert result.transcript.segments
        await desk.until_nothing_is_left()
        await desk.transcriptions.delete(ANYONE, job.id)
        with pytest.raises(JobError) as caught:
            await desk.transcriptions.get(ANYONE, job.id)
        assert caught.value.reason is Reason.NOT_FOUND


async def test_nobody_sees_or_touches_anothers_job(settings: Settings) -> None:
    async with office(settings) as desk:
        job = await desk.submit(await desk.upload())
        for asked in (desk.transcriptions.get, desk.transcriptions.result, desk.transcriptions.cancel):
            with pytest.raises(JobError) as caught:
                await asked(OTHER, job.id)
            assert caught.value.reason is Reason.NOT_FOUND
        with pytest.raises(JobError):
            await desk.transcriptions.delete(OTHER, job.id)
        assert await desk.transcriptions.page(OTHER, limit=10, state=None, cursor=None) == ([], None)
        assert (await desk.transcriptions.wait(job, 60)).state is JobState.COMPLETED


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(16), Reason.UNSUPPORTED_FORMAT),
        (sound(seconds=20), Reason.AUDIO_TOO_LONG),
        (sound(seconds=0), Reason.UNSUPPORTED_FORMAT),
    ],
)
async def test_what_cannot_be_transcribed_fails_and_leaves_no_audio(
    settings: Settings, data: bytes, reason: Reason
) -> None:
    async with office(settings.model_copy(update={"max_audio_seconds": 15.0})) as desk:
        job = await desk.transcriptions.wait(await desk.submit(await desk.upload(data)), 60)
        assert job.state is JobState.FAILED
        assert job.failure is not None
        assert job.failure.reason is reason
        with pytest.raises(JobError) as caught:
            await desk.answer(await desk.upload(data))
        assert caught.value.reason is reason
        assert desk.count(jobs) == 1
        await desk.until_nothing_is_left()


async def test_silence_is_a_transcript_without_words(settings: Settings) -> None:
    silence = sound(seconds=0)[:40] + (64_000).to_bytes(4, "little") + bytes(64_000)
    async with office(settings) as desk:
        _, result = await desk.answer(await desk.upload(silence))
        assert (result.transcript.text, result.transcript.duration_ms) == ("", 2000)


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_running_job_stops_when_it_is_cancelled_or_deleted(
    settings: Settings, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    async with office(settings, FakeRecognizer(gate=gate)) as desk:
        job = await desk.until(await desk.submit(await desk.upload()), JobState.PROCESSING)
        if how == "cancel":
            assert (await desk.transcriptions.cancel(ANYONE, job.id)).state is JobState.CANCELLED
            with pytest.raises(JobError) as caught:
                await desk.transcriptions.cancel(ANYONE, job.id)
            assert caught.value.reason is Reason.CONFLICT
        else:
            await desk.transcriptions.delete(ANYONE, job.id)
        gate.set()
        await desk.until_nothing_is_left()
        assert desk.count(jobs) == (how == "cancel")
        assert (await desk.answer(await desk.upload()))[0].state is JobState.COMPLETED, "and the worker goes on"
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("how", ["cancel", "delete", "hang up"])
async def test_audio_that_is_deleted_while_it_is_read_alarms_nobody(
    settings: Settings, how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is ended between the moment in which a worker takes it and the one in which it looks at the audio."""
    taken, ended = threading.Event(), threading.Event()

    def held_probe(file: ObjectFile) -> FileInfo:
        taken.set()
        assert ended.wait(60)
        return probe(file)

    monkeypatch.setattr(recognition, "probe", held_probe)
    caplog.set_level(logging.INFO)
    async with office(settings) as desk:
        source = await desk.upload()
        if how == "hang up":
            asking = asyncio.create_task(desk.answer(source))
            await asyncio.to_thread(taken.wait)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        else:
            job = await desk.submit(source)
            await asyncio.to_thread(taken.wait)
            await (desk.transcriptions.cancel if how == "cancel" else desk.transcriptions.delete)(ANYONE, job.id)
        await desk.until_nothing_is_left()
        ended.set()
        while "job cancelled or taken over" not in caplog.text:
            await asyncio.sleep(0.02)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_caller_who_hangs_up_takes_the_job_along(settings: Settings) -> None:
    gate = threading.Event()
    async with office(settings, FakeRecognizer(gate=gate)) as desk:
        asking = asyncio.create_task(desk.answer(await desk.upload()))
        while desk.count(jobs) == 0:
            await asyncio.sleep(0.02)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert desk.count(jobs) == 0
        gate.set()
        await desk.until_nothing_is_left()


async def test_an_answer_that_takes_too_long_is_given_up(settings: Settings) -> None:
    gate = threading.Event()
    async with office(settings, FakeRecognizer(gate=gate)) as desk:
        with pytest.raises(JobError) as caught:
            await desk.answer(await desk.upload(), timeout=0.3)
        assert caught.value.reason is Reason.TIMEOUT
        assert desk.count(jobs) == 0
        gate.set()


async def test_who_reads_along_hears_every_segment_once(settings: Settings) -> None:
    async with office(settings) as desk:
        job = await desk.transcriptions.open_answer(
            ANYONE, await desk.upload(), OPTIONS, surface="openai", request_id="r"
        )
        heard = [item async for item in desk.transcriptions.follow(job)]
        _, result = await desk.transcriptions.result(ANYONE, job.id)
        assert [item for item in heard if isinstance(item, Segment)] == list(result.transcript.segments)
        assert isinstance(heard[-1], Job)
        assert heard[-1].state is JobState.COMPLETED
        await desk.transcriptions.discard(job)
        assert desk.count(segments) == 0


async def test_who_waits_is_not_held_up_by_what_is_being_worked_on(settings: Settings) -> None:
    gate = threading.Event()
    async with office(settings.model_copy(update={"max_jobs": 1}), FakeRecognizer(gate=gate)) as desk:
        busy = await desk.until(await desk.submit(await desk.upload()), JobState.PROCESSING)
        queued = await desk.submit(await desk.upload())
        waiting = asyncio.create_task(desk.answer(await desk.upload()))
        while desk.count(jobs) < 3 or (await desk.transcriptions.figures()).unfinished[JobState.PROCESSING] < 2:
            await asyncio.sleep(0.02)
        assert (await desk.transcriptions.get(ANYONE, queued.id)).state is JobState.QUEUED
        gate.set()
        assert (await waiting)[0].state is JobState.COMPLETED
        await desk.transcriptions.wait(busy, 60)


async def test_jobs_in_hand_are_handed_back_and_done_by_the_next_worker(settings: Settings) -> None:
    gate = threading.Event()
    made = []
    async with office(settings, FakeRecognizer(gate=gate)) as desk:
        made = [await desk.submit(await desk.upload()) for _ in range(3)]
        await desk.until(made[0], JobState.PROCESSING)
        threading.Timer(0.2, gate.set).start()
    async with office(settings) as desk:
        done = [await desk.transcriptions.wait(job, 60) for job in made]
        assert {job.state for job in done} == {JobState.COMPLETED}
        assert max(job.attempt for job in done) == 2, "somebody had begun it"
        await desk.until_nothing_is_left()


async def test_a_stop_fails_no_job_whatever_it_waits_for(settings: Settings) -> None:
    """The audio is out of reach, the worker tries again and again, and is told to stop."""
    async with office(settings) as desk:
        source = await desk.upload()
        away = desk.folder.rename(desk.folder.with_name("away"))
        job = await desk.submit(source)
        while (await desk.transcriptions.get(ANYONE, job.id)).attempt == 0:
            await asyncio.sleep(0.02)
    away.rename(desk.folder)
    async with office(settings) as desk:
        assert (await desk.transcriptions.wait(job, 60)).state is JobState.COMPLETED
        await desk.until_nothing_is_left()


async def test_a_store_that_comes_back_is_waited_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "FIRST_PAUSE_SEC", 0.05)
    async with office(settings) as desk:
        source = await desk.upload()
        away = desk.folder.rename(desk.folder.with_name("away"))
        job = await desk.submit(source)
        while (await desk.transcriptions.get(ANYONE, job.id)).attempt < 2:
            await asyncio.sleep(0.02)
        away.rename(desk.folder)
        done = await desk.transcriptions.wait(job, 60)
        assert done.state is JobState.COMPLETED
        assert done.duration_ms == 9963, "what could not be read was not taken for the end"


async def test_addresses_that_are_slow_hold_up_nobody_else(settings: Settings) -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # takes connections, and never says a word
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/never.wav"
    options = {"max_jobs": 1, "allowed_hosts": ("127.0.0.0/8",)}
    async with office(settings.model_copy(update=options)) as desk:
        slow = [await desk.submit(Source(url=url)) for _ in range(6)]
        await desk.until(slow[0], JobState.PROCESSING)
        assert (await desk.answer(await desk.upload()))[0].state is JobState.COMPLETED
        assert (await desk.transcriptions.wait(await desk.submit(await desk.upload()), 60)).state is JobState.COMPLETED
        states = [(await desk.transcriptions.get(ANYONE, job.id)).state for job in slow]
        assert states.count(JobState.QUEUED) == 2, "one caller fetches four at a time"
        for job in slow:
            await desk.transcriptions.cancel(ANYONE, job.id)
        silent.close()


async def test_a_process_has_one_worker(settings: Settings) -> None:
    async with office(settings) as desk:
        with pytest.raises(RuntimeError, match="one worker"):
            async with office(settings):
                pass
        assert (await desk.answer(await desk.upload()))[0].state is JobState.COMPLETED
    async with office(settings) as desk:
        assert (await desk.answer(await desk.upload()))[0].state is JobState.COMPLETED


async def test_a_lost_device_fails_no_job(settings: Settings) -> None:
    async with office(settings, FakeRecognizer(error=DeviceLostError("the card fell off"))) as desk:
        job = await desk.submit(await desk.upload())
        while desk.recognizer.error and (await desk.transcriptions.get(ANYONE, job.id)).attempt == 0:
            await asyncio.sleep(0.02)
    async with office(settings) as desk:
        assert (await desk.transcriptions.wait(job, 60)).state is JobState.COMPLETED


async def test_a_recording_that_no_worker_survives_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "MOST_ATTEMPTS", 0)
    async with office(settings) as desk:
        job = await desk.transcriptions.wait(await desk.submit(await desk.upload()), 60)
        assert job.state is JobState.FAILED
        assert job.failure is not None
        assert "never ended" in job.failure.message


async def test_a_batch_ends_with_its_files(settings: Settings) -> None:
    async with office(settings) as desk:
        sources = [await desk.upload(), await desk.upload(), await desk.upload(sound(seconds=0))]
        batch = await desk.transcriptions.submit_batch(ANYONE, sources, OPTIONS, surface="lesan", request_id="r")
        assert (await desk.transcriptions.wait(batch, 60)).state is JobState.COMPLETED
        files = await desk.transcriptions.children(batch)
        assert [file.state for file in files] == [JobState.COMPLETED, JobState.COMPLETED, JobState.FAILED]
        assert len(await desk.transcriptions.results(files)) == 2
        with pytest.raises(JobError) as caught:
            await desk.transcriptions.result(ANYONE, batch.id)
        assert caught.value.reason is Reason.CONFLICT
        page, cursor = await desk.transcriptions.page(ANYONE, limit=10, state=None, cursor=None)
        assert ([job.id for job in page], cursor) == ([batch.id], None), "files are listed with their batch"
        await desk.transcriptions.delete(ANYONE, batch.id)
        assert desk.count(jobs) == 0
        await desk.until_nothing_is_left()


async def test_the_caller_is_told_when_the_job_ends(settings: Settings) -> None:
    with running_receiver() as receiver:
        async with office(settings.model_copy(update={"allowed_hosts": ("127.0.0.0/8",)})) as desk:
            job = await desk.submit(await desk.upload(), callback_url=f"{receiver.url}/hook")
            await asyncio.to_thread(receiver.wait_for, lambda callbacks: len(callbacks) == 1)
            delivery = await desk.transcriptions.delivery(job)
            while delivery is None or delivery.state == "pending":
                await asyncio.sleep(0.02)
                delivery = await desk.transcriptions.delivery(job)
            assert (delivery.state, delivery.attempts, delivery.id) == ("delivered", 1, receiver.callbacks[0].id)
            assert receiver.callbacks[0].values["status"] == "completed"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (TranscriptionOptions(model="another"), Reason.INVALID_PARAMETER),
        (TranscriptionOptions(language="tlh"), Reason.INVALID_PARAMETER),
        (TranscriptionOptions(beam_size=5), Reason.FEATURE_UNAVAILABLE),
        (TranscriptionOptions(num_speakers=2), Reason.INVALID_PARAMETER),
        (TranscriptionOptions(translate_to=("de",)), Reason.FEATURE_UNAVAILABLE),
    ],
)
async def test_what_cannot_be_done_is_refused_before_there_is_a_job(
    settings: Settings, options: TranscriptionOptions, reason: Reason
) -> None:
    async with office(settings) as desk:
        with pytest.raises(JobError) as caught:
            await desk.submit(Source(url="https://example.com/a.wav"), options)
        assert caught.value.reason is reason
        assert desk.count(jobs) == 0


async def test_who_has_used_up_its_hours_is_told_when_to_come_back(settings: Settings) -> None:
    async with office(settings) as desk:
        caller = replace(ANYONE, id="key", limits=Limits(audio_hours_per_day=0.002))
        upload = await desk.upload()
        with writing(desk.database) as connection:
            connection.execute(objects.update().values(api_key="key"))
        job = await desk.transcriptions.submit(caller, upload, OPTIONS, surface="lesan", request_id="r")
        assert (await desk.transcriptions.wait(job, 60)).state is JobState.COMPLETED
        with pytest.raises(JobError) as caught:
            await desk.transcriptions.submit(caller, upload, OPTIONS, surface="lesan", request_id="r")
        assert caught.value.reason is Reason.RATE_LIMITED
        assert caught.value.retry_after


async def test_a_database_that_is_busy_fails_no_job(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "FIRST_PAUSE_SEC", 0.05)
    kept, refusals = JobLedger.kept, [sa.exc.TimeoutError("all connections are in use")]

    def busy(ledger: JobLedger, job: str) -> JobResult | None:
        if refusals:
            raise refusals.pop()
        return kept(ledger, job)

    monkeypatch.setattr(JobLedger, "kept", busy)
    async with office(settings) as desk:
        job = await desk.submit(await desk.upload())
        assert (await desk.transcriptions.wait(job, 60)).state is JobState.COMPLETED
    assert not refusals
