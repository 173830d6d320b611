"""The chat client against a real small endpoint: good and bad answers, busy, broken, slow, endless."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import BaseModel, ConfigDict

from stream_server.jobs.error import JobError, Reason
from stream_server.text.chat import ATTEMPTS, MAX_RESPONSE_BYTES, ChatClient, UnusableAnswerError
from tests.text.chatting import KEY, Endpoint, Reply, serving


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")

    word: str
    count: int


GOOD = Reply({"word": "ja", "count": 2})


def in_turn(*replies: Reply) -> Callable[[dict[str, object]], Reply]:
    left = iter(replies)
    return lambda request: next(left)


def ask(endpoint: Endpoint, **options: float) -> Shape:
    return endpoint.client(**options).ask("Count.", {"text": 'Ja "ja"'}, Shape)


def test_the_answer_has_the_shape_that_was_asked_for() -> None:
    with serving(in_turn(GOOD)) as endpoint:
        assert ask(endpoint) == Shape(word="ja", count=2)
    (request,) = endpoint.requests
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["response_format"]["type"] == "json_schema"
    assert endpoint.data == [{"text": 'Ja "ja"'}]


@pytest.mark.parametrize(
    "content",
    [
        '```json\n{"word": "ja", "count": 2}\n```',
        '\n```\n{"word": "ja", "count": 2}```\n',
        '```json {"word": "ja", "count": 2}```',
        ' {"word": "ja", "count": 2}\n',
    ],
)
def test_fences_around_the_answer_are_taken_off(content: str) -> None:
    with serving(in_turn(Reply(content))) as endpoint:
        assert ask(endpoint) == Shape(word="ja", count=2)
    assert len(endpoint.requests) == 1


def test_what_is_fenced_within_the_answer_stays() -> None:
    with serving(in_turn(Reply({"word": "```ja```", "count": 2}))) as endpoint:
        assert ask(endpoint).word == "```ja```"


@pytest.mark.parametrize(
    "wrong",
    [
        Reply("not JSON"),
        Reply("```"),
        Reply("```json\nnot JSON\n```"),
        Reply({"word": "ja"}),
        Reply({"word": "ja", "count": 2, "more": 1}),
        Reply({"word": "ja", "count": "many"}),
        Reply("[1, 2]"),
        Reply(None),
        Reply('{"word": "\\ud800", "count": 1}'),
    ],
)
def test_an_answer_that_does_not_fit_is_asked_for_once_more(wrong: Reply) -> None:
    with serving(in_turn(wrong, GOOD)) as endpoint:
        assert ask(endpoint).count == 2
    again = endpoint.requests[1]["messages"]
    assert [message["role"] for message in again] == ["system", "user", "assistant", "user"]
    assert "does not fit" in again[3]["content"]
    assert again[:2] == endpoint.requests[0]["messages"]


def test_and_not_a_third_time() -> None:
    with serving(lambda request: Reply("no")) as endpoint, pytest.raises(UnusableAnswerError) as caught:
        ask(endpoint)
    assert len(endpoint.requests) == 2
    assert caught.value.reason is Reason.INTERNAL


def test_a_check_of_our_own_is_told_to_the_model() -> None:
    def check(value: Shape) -> None:
        if value.count != 3:
            raise ValueError("count must be three")

    replies = in_turn(GOOD, Reply({"word": "ja", "count": 3}))
    with serving(replies) as endpoint:
        assert endpoint.client().ask("Count.", {}, Shape, check).count == 3
    assert "count must be three" in endpoint.requests[1]["messages"][3]["content"]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_endpoint_is_asked_again_after_growing_pauses(status: int) -> None:
    with serving(in_turn(Reply(status=status), Reply(status=status), GOOD)) as endpoint:
        assert ask(endpoint).count == 2
    first, second = endpoint.pauses
    assert 0.5 <= first <= 1 <= second <= 2


def test_it_may_say_how_long() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=40)
    replies = (
        Reply(status=429, headers={"Retry-After": "7"}),
        Reply(status=503, headers={"Retry-After": format_datetime(soon, usegmt=True)}),
        Reply(status=429, headers={"Retry-After": "soon"}),
        GOOD,
    )
    with serving(in_turn(*replies)) as endpoint:
        ask(endpoint)
    assert endpoint.pauses[0] == 7
    assert 0 < endpoint.pauses[1] <= 41
    assert 2 <= endpoint.pauses[2] <= 4


def test_too_long_a_pause_ends_it() -> None:
    refusal = Reply(status=429, headers={"Retry-After": "3600"})
    with serving(lambda request: refusal) as endpoint, pytest.raises(JobError) as caught:
        ask(endpoint)
    assert (caught.value.reason, caught.value.retry_after) == (Reason.SERVICE_UNAVAILABLE, 3600)
    assert len(endpoint.requests) == 1


def test_one_that_stays_broken_is_given_up() -> None:
    with serving(lambda request: Reply(status=500)) as endpoint, pytest.raises(JobError) as caught:
        ask(endpoint)
    assert caught.value.reason is Reason.SERVICE_UNAVAILABLE
    assert (len(endpoint.requests), len(endpoint.pauses)) == (ATTEMPTS, ATTEMPTS - 1)


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "CHAT_API_KEY"), (403, "CHAT_API_KEY"), (404, "CHAT_MODEL"), (400, "json_schema")]
)
def test_a_refusal_names_the_setting_and_never_the_key(
    status: int, hint: str, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = Reply(status=status, body=f"wrong key {KEY}".encode())
    with serving(lambda request: refusal) as endpoint, pytest.raises(JobError) as caught:
        ask(endpoint)
    assert caught.value.reason is Reason.INTERNAL
    assert hint in caught.value.message
    assert "wrong key ***" in caplog.text
    assert KEY not in caught.value.message + caplog.text
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": null}]}'])
def test_what_is_no_chat_endpoint_is_named(body: bytes) -> None:
    with serving(lambda request: Reply(body=body)) as endpoint, pytest.raises(JobError, match="CHAT_URL") as caught:
        ask(endpoint)
    assert caught.value.reason is Reason.INTERNAL


def test_an_endless_answer_is_cut_off() -> None:
    flood = Reply(body=b"x" * (MAX_RESPONSE_BYTES + 1))
    with serving(lambda request: flood) as endpoint, pytest.raises(JobError, match="exceeds") as caught:
        ask(endpoint)
    assert caught.value.reason is Reason.INTERNAL


def test_a_slow_answer_is_not_waited_for() -> None:
    released = threading.Event()
    with serving(lambda request: Reply("late", before=released.wait)) as endpoint:
        with pytest.raises(JobError, match=r"within 0\.2 s") as caught:
            ask(endpoint, timeout=0.2)
        released.set()
    assert caught.value.reason is Reason.SERVICE_UNAVAILABLE


class GoneError(Exception):
    """Nobody waits for the answer any more."""


@pytest.mark.parametrize("rests", [False, True], ids=["an answer", "a pause"])
def test_what_is_waited_for_can_be_given_up(rests: bool) -> None:
    """Long before the endpoint answers, or may be asked again."""
    released, gone = threading.Event(), threading.Event()
    busy = Reply(status=429, headers={"Retry-After": "59"})
    reply = busy if rests else Reply("late", before=released.wait)

    def alive() -> None:
        if gone.is_set():
            raise GoneError

    def answer(request: dict[str, object]) -> Reply:
        gone.set()
        return reply

    with serving(answer) as endpoint:
        client = ChatClient(endpoint.url, "model-1", api_key=KEY, timeout=3600, alive=alive)
        with pytest.raises(GoneError):
            client.ask("Count.", {}, Shape)
        assert len(endpoint.requests) == 1
        released.set()


def test_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    with serving(lambda request: GOOD) as endpoint:
        pass
    caplog.set_level(logging.WARNING)
    with pytest.raises(JobError) as caught:
        ask(endpoint)
    assert caught.value.reason is Reason.SERVICE_UNAVAILABLE
    assert len(endpoint.pauses) == ATTEMPTS - 1


@pytest.mark.parametrize("url", ["", "host/v1", "ftp://host", "http://[::1"])
def test_what_is_no_address_is_named(url: str) -> None:
    with pytest.raises(JobError, match="CHAT_URL"):
        ChatClient(url, "model-1").ask("Count.", {}, Shape)
