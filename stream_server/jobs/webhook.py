"""Callbacks: what a caller is told when its job has ended, and one try to tell it, signed as Standard Webhooks are.

The signature is that of https://www.standardwebhooks.com: an id that is the same for every try, so that who gets a
callback twice knows it, a time, and an HMAC over both and the body. When the next try is due is decided here; it is
others who wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx2
import orjson
import sqlalchemy as sa
from standardwebhooks import Webhook

from stream_server.formats.lightning import WORDS, WORDS_AND_MARKS, lightning_result
from stream_server.jobs.database import read_secret, writing
from stream_server.jobs.job import Job
from stream_server.jobs.result import JobResult
from stream_server.jobs.table import deliveries
from stream_server.jobs.tally import CallbackOutcome, count_callback
from stream_server.network import AddressRefused, guarded_async_client
from stream_server.settings import Settings
from stream_server.token import derive
from stream_server.tracing import span

logger = logging.getLogger(__name__)

TRY_SEC: Final = 15.0
"""How long one try may take in all, however slowly the other side speaks."""

MAX_ANSWER: Final = 64 * 1024
"""Bytes of the answer that are read; only its status counts."""

FIRST_WAIT_SEC: Final = 5.0
WAIT_GROWTH: Final = 4.0
LONGEST_WAIT_SEC: Final = 3600.0

MAX_ERROR: Final = 300
"""Characters of an error that are kept."""


def callback_body(job: Job, result: JobResult | None) -> bytes:
    """What the callback of a job says: Lightning's JSON. A batch has no result; its files are asked for by its id."""
    body: dict[str, Any] = {"job_id": job.id, "status": job.state}
    if job.failure is not None:
        body |= {"error": job.failure.message, "code": job.failure.reason}
    if result is not None:
        output = job.options.output
        body["result"] = lightning_result(
            result.transcript,
            timestamps=output in (WORDS, WORDS_AND_MARKS) or job.surface != "lightning",
            split_punctuation=output == WORDS_AND_MARKS,
            request_id=job.request_id,
            diarized=job.options.diarize,
        )
    return orjson.dumps(body)


def webhook_secret(secret: bytes, key_id: str) -> str:
    """What callbacks of this API key are signed with, as receivers want it: ``whsec_`` and base64.

    It is derived from the server's secret and kept nowhere; '' is the key of an open server.
    """
    return "whsec_" + b64encode(derive(secret, f"webhook:{key_id}")).decode()


@dataclass(frozen=True, slots=True)
class _Answer:
    """How a try went. ``status`` is None where there was no answer; ``wait`` is the other side's wish in seconds."""

    status: int | None
    error: str | None
    is_hopeless: bool = False
    wait: float = 0.0

    @property
    def is_taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Deliverer:
    """Tries callbacks, and keeps account of them in their rows. For several threads, none of them an event loop's."""

    def __init__(self, settings: Settings, engine: sa.Engine) -> None:
        self._engine = engine
        self._secret = read_secret(settings)
        self._allowed = settings.allowed_hosts
        self._attempts = settings.callback_attempts

    def attempt(self, delivery: str, number: int) -> tuple[float, int] | None:
        """One try. ``number`` is how many tries there were before it.

        A try that is already in the row is not made again: so whoever died after it can be followed by another.

        Returns:
            Seconds until the next try, and its number; None when it is over.
        """
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(deliveries).where(deliveries.c.id == delivery)).mappings().first()
        if row is None or row["state"] != "pending":
            return None
        if row["attempts"] > number:
            return max(0.0, row["next_attempt_at"] - time.time()), row["attempts"]
        with span("job.callback", job_id=row["job"], delivery_id=delivery, number=number) as traced:
            answer = asyncio.run(self._post(delivery, row["url"], row["body"], row["api_key"]))
            traced.set(**{"http.response.status_code": answer.status})
        attempts = row["attempts"] + 1
        state, wait = self._judge(answer, attempts)
        outcome: CallbackOutcome = "delivered" if answer.is_taken else "failed" if wait is None else "retried"
        with writing(self._engine) as connection:
            written = connection.execute(
                deliveries.update()
                .where(deliveries.c.id == delivery, deliveries.c.state == "pending")
                .values(
                    state=state,
                    attempts=attempts,
                    last_status=answer.status,
                    last_error=answer.error,
                    next_attempt_at=None if wait is None else time.time() + wait,
                )
            ).rowcount
            if written:
                count_callback(connection, outcome)
        said = answer.error or "delivered"
        about = {"delivery_id": delivery, "job_id": row["job"]}
        logger.info("callback %s of job %s, try %d: %s", delivery, row["job"], attempts, said, extra=about)
        return (wait, attempts) if wait is not None and written else None

    def _judge(self, answer: _Answer, attempts: int) -> tuple[str, float | None]:
        """The state of the delivery, and seconds until the next try."""
        if answer.is_taken:
            return "delivered", None
        if answer.is_hopeless or attempts >= self._attempts:
            return "failed", None
        return "pending", max(backoff(attempts), min(answer.wait, LONGEST_WAIT_SEC))

    async def _post(self, delivery: str, url: str, body: bytes, key_id: str) -> _Answer:
        now = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(webhook_secret(self._secret, key_id)).sign(delivery, now, body.decode()),
        }
        answer: _Answer | None = None
        try:
            async with (
                asyncio.timeout(TRY_SEC),
                guarded_async_client(self._allowed, timeout=TRY_SEC) as client,
                client.stream("POST", url, content=body, headers=headers, follow_redirects=False) as response,
            ):
                answer = _answer_of(response)
                size = 0
                async for part in response.aiter_raw():
                    size += len(part)
                    if size >= MAX_ANSWER:
                        break
        except AddressRefused as error:
            return _Answer(None, str(error)[:MAX_ERROR], is_hopeless=True)
        except TimeoutError:
            return answer or _Answer(None, f"no answer within {TRY_SEC:g} s")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
            return answer or _Answer(None, f"{type(error).__name__}: {error}"[:MAX_ERROR])
        except Exception:  # nobody waits for this callback: it must not be lost to a fault of ours
            logger.exception("callback %s", delivery)
            return answer or _Answer(None, "it could not be sent")
        return answer


def backoff(attempts: int) -> float:
    """Seconds to wait after so many tries: growing from 5 s to an hour, of which up to a half is left out by chance, so
    that callbacks that failed together do not come back together."""
    most = min(FIRST_WAIT_SEC * WAIT_GROWTH ** (attempts - 1), LONGEST_WAIT_SEC)
    return random.uniform(most / 2, most)  # noqa: S311 - no secret


def _answer_of(response: httpx2.Response) -> _Answer:
    status = response.status_code
    if 200 <= status < 300:
        return _Answer(status, None)
    if status == 410:
        return _Answer(status, "HTTP 410: callbacks are not wanted there any more", is_hopeless=True)
    if 300 <= status < 400:
        return _Answer(status, f"HTTP {status}: redirects are not followed")
    wait = _retry_after(response.headers.get("retry-after", "")) if status in (429, 503) else 0.0
    return _Answer(status, f"HTTP {status}", wait=wait)


def _retry_after(value: str) -> float:
    """Seconds of a ``Retry-After`` header, which may hold a date; 0 where it says nothing."""
    if value.isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time()
