"""Jobs with texts to be made of them: a service that fails or hangs costs no transcript, and no place."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from stream_server.auth import ANYONE
from stream_server.jobs import run as run_module
from stream_server.jobs import worker as worker_module
from stream_server.jobs.error import Reason
from stream_server.jobs.job import Analysis, Job, JobState, TranscriptionOptions
from stream_server.jobs.ledger import JobLedger
from stream_server.jobs.result import JobResult
from stream_server.settings import Settings
from tests.jobs.office import office
from tests.support.fake import FakeRecognizer
from tests.text.chatting import KEY, Endpoint, Reply, serving

SUMMARY = TranscriptionOptions(analysis=Analysis(summary=True))
SPOKEN = "alpha bravo"
PATIENCE = 60


def with_chat(settings: Settings, endpoint: Endpoint, **more: Any) -> Settings:
    chat = {"chat_url": endpoint.url, "chat_model": "model-1", "chat_api_key": KEY}
    return Settings.load({}, **(settings.model_dump(exclude_defaults=True) | chat | more))


def shout(request: dict[str, Any]) -> Reply:
    data = json.loads(request["messages"][1]["content"])
    if "transcript" in data:
        return Reply({"summary": "They met."})
    return Reply({"translations": [{"id": row["id"], "text": row["text"].upper()} for row in data["segments"]]})


def without_german(request: dict[str, Any]) -> Reply:
    return Reply(status=400) if "to German" in request["messages"][0]["content"] else shout(request)


async def test_what_fails_is_named_and_the_rest_is_there(settings: Settings) -> None:
    options = SUMMARY.model_copy(update={"translate_to": ("de", "fr")})
    with serving(without_german) as endpoint:
        async with office(with_chat(settings, endpoint)) as desk:
            job = await desk.transcriptions.wait(await desk.submit(await desk.upload(), options), PATIENCE)
            assert job.state is JobState.COMPLETED
            assert job.failure is not None
            assert job.failure.reason is Reason.INTERNAL
            assert job.failure.message.startswith("translation to de: ")
            _, result = await desk.transcriptions.result(ANYONE, job.id)
            assert result.transcript.text.startswith(SPOKEN)
            assert result.translations.keys() == {"fr"}
            assert result.findings.summary == "They met."
            await desk.until_nothing_is_left()


async def test_an_answer_has_its_transcript_though_nobody_analyses_it(settings: Settings) -> None:
    options = SUMMARY.model_copy(update={"translate_to": ("de",)})
    with serving(lambda request: Reply(status=400)) as endpoint:
        async with office(with_chat(settings, endpoint)) as desk:
            job, result = await desk.answer(await desk.upload(), options)
            assert result.transcript.text.startswith(SPOKEN)
            assert job.failure is not None
            assert [part.partition(":")[0] for part in job.failure.message.split("; ")][:1] == ["translation to de"]
            assert "; analysis: " in job.failure.message


async def test_a_service_that_is_away_is_waited_for_once(settings: Settings) -> None:
    """Each language would wait as long as the first."""
    away = Reply(status=503, headers={"Retry-After": "3600"})
    options = TranscriptionOptions(translate_to=("de", "fr", "it"))
    with serving(lambda request: away) as endpoint:
        async with office(with_chat(settings, endpoint)) as desk:
            job, _ = await desk.answer(await desk.upload(), options)
            assert job.failure is not None
            assert job.failure.reason is Reason.SERVICE_UNAVAILABLE
    assert len(endpoint.requests) == 1


async def test_a_text_that_no_worker_survives_has_its_transcript(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "MOST_ATTEMPTS", 1)  # the first of which transcribes
    with serving(shout) as endpoint:
        async with office(with_chat(settings, endpoint)) as desk:
            job, result = await desk.answer(await desk.upload(), SUMMARY)
            assert result.transcript.text.startswith(SPOKEN)
            assert job.failure is not None
            assert "never ended" in job.failure.message
    assert endpoint.requests == []


@pytest.mark.parametrize("how", ["cancel", "delete"])
@pytest.mark.parametrize(
    "options", [SUMMARY, TranscriptionOptions(translate_to=("de",))], ids=["analysis", "translation"]
)
async def test_a_job_that_is_given_up_leaves_its_place_though_the_endpoint_does_not_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, options: TranscriptionOptions, how: str
) -> None:
    monkeypatch.setattr(worker_module, "TEXTS_AT_ONCE", 1)
    released = threading.Event()
    answers = iter([lambda request: Reply("late", before=released.wait)])

    def answer(request: dict[str, Any]) -> Reply:
        return next(answers, shout)(request)

    with serving(answer) as endpoint:
        try:
            async with office(with_chat(settings, endpoint, chat_timeout=3600.0)) as desk:
                stuck = await desk.submit(await desk.upload(), options)
                while not endpoint.requests:
                    await asyncio.sleep(0.02)
                await (desk.transcriptions.cancel if how == "cancel" else desk.transcriptions.delete)(ANYONE, stuck.id)
                following = await desk.submit(await desk.upload(), options)
                done = await desk.transcriptions.wait(following, PATIENCE)
                assert (done.state, done.failure) == (JobState.COMPLETED, None)
        finally:
            released.set()


async def test_a_stop_leaves_a_text_to_the_next_worker(settings: Settings) -> None:
    """It is neither waited for nor taken for a failure."""
    released = threading.Event()
    with serving(lambda request: Reply({"summary": "They met."}, before=released.wait)) as endpoint:
        chatty = with_chat(settings, endpoint, chat_timeout=3600.0)
        try:
            async with office(chatty) as desk:
                job = await desk.submit(await desk.upload(), SUMMARY)
                while not endpoint.requests:
                    await asyncio.sleep(0.02)
            released.set()
            async with office(chatty, FakeRecognizer(error=RuntimeError("asked to hear it again"))) as desk:
                done = await desk.transcriptions.wait(job, PATIENCE)
                assert (done.state, done.failure) == (JobState.COMPLETED, None)
        finally:
            released.set()


async def test_a_database_that_is_busy_costs_no_translation(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "FIRST_PAUSE_SEC", 0.05)
    keep, refusals = JobLedger.keep, [sa.exc.TimeoutError("all connections are in use")]

    def busy(ledger: JobLedger, job: Job, result: JobResult) -> None:
        if result.translations and refusals:
            raise refusals.pop()
        keep(ledger, job, result)

    monkeypatch.setattr(JobLedger, "keep", busy)
    with serving(shout) as endpoint:
        async with office(with_chat(settings, endpoint)) as desk:
            job, result = await desk.answer(await desk.upload(), TranscriptionOptions(translate_to=("de",)))
    assert not refusals
    assert job.failure is None
    assert result.translations.keys() == {"de"}
