"""A client of OpenAI-compatible chat endpoints that asks for JSON of a given shape and gets it, or an error.

The protocol is ``POST /chat/completions`` with ``response_format: json_schema``. Blocking, and safe to use from several
threads. It knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

import httpx2
import orjson
from pydantic import BaseModel, ValidationError

from stream_server.jobs.error import JobError, Reason

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 4
"""Requests for one answer, where the endpoint is busy or broken."""
LONGEST_PAUSE_SEC: Final = 60.0
"""Told to wait longer than that, a job does not wait."""
MAX_RESPONSE_BYTES: Final = 4 * 2**20

WATCH_SEC: Final = 0.25
"""How often it is asked whether to go on, while the endpoint is waited for."""

_BUSY: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_EXCERPT: Final = 500

Answer = TypeVar("Answer", bound=BaseModel)
Messages = list[dict[str, str]]


class UnusableAnswerError(JobError):
    """The model answered twice, and neither answer had the shape asked for."""

    def __init__(self) -> None:
        super().__init__(Reason.INTERNAL, "the language model gave no usable answer")


class ChatClient:
    """One model of one endpoint.

    Args:
        url: the base address, such as ``https://host/v1``.
        timeout: seconds for one answer, from the request to its last byte.
        alive: called several times a second while the endpoint is waited for; what it raises ends the request.
        pause: waits so many seconds before the next attempt; not given, it waits them, and asks ``alive`` meanwhile.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str = "",
        timeout: float = 120.0,
        alive: Callable[[], None] = lambda: None,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model = model
        self._api_key = api_key
        self._timeout = timeout
        self._alive = alive
        self._pause = pause or self._rest

    def ask(
        self,
        instruction: str,
        data: Mapping[str, Any],
        answer: type[Answer],
        check: Callable[[Answer], None] = lambda value: None,
    ) -> Answer:
        """Put ``data`` to the model and return its answer.

        The data goes as one JSON document in a message of its own, so that nothing in it can pass for the instruction,
        and whatever it talks the model into, only an answer of this shape is accepted.

        Args:
            answer: the shape; its JSON schema is sent along.
            check: raises ValueError, saying what is wrong, for an answer of the right shape that still does not fit.

        Raises:
            UnusableAnswerError: two answers did not fit.
            JobError: the endpoint cannot be reached, is busy, refuses the request, or does not speak the protocol.
        """
        messages = [
            {"role": "system", "content": instruction},
            {"role": "user", "content": json.dumps(data, ensure_ascii=False)},
        ]
        try:
            return self._ask_once(messages, answer, check)
        except _MisfitError as misfit:
            logger.warning("asking the language model again: %s", misfit.reason)
            messages += [
                {"role": "assistant", "content": misfit.content},
                {
                    "role": "user",
                    "content": f"This does not fit: {misfit.reason}. Answer again, in the shape asked for.",
                },
            ]
        try:
            return self._ask_once(messages, answer, check)
        except _MisfitError as misfit:
            logger.warning("no usable answer of the language model: %s", misfit.reason)
            raise UnusableAnswerError from misfit

    def _ask_once(self, messages: Messages, answer: type[Answer], check: Callable[[Answer], None]) -> Answer:
        content = self._complete(messages, answer)
        try:
            value = answer.model_validate_json(_unfenced(content))
            check(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise _MisfitError(content, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except ValueError as error:
            raise _MisfitError(content, str(error)) from error
        return value

    def _complete(self, messages: Messages, answer: type[BaseModel]) -> str:
        """The text of the model's answer; empty where it gives none."""
        shape = {"name": answer.__name__, "strict": True, "schema": answer.model_json_schema()}
        response_format = {"type": "json_schema", "json_schema": shape}
        body = orjson.dumps({"model": self._model, "messages": messages, "response_format": response_format})
        status, text = self._send(body)
        if status != 200:
            # What the endpoint says may quote the key, and is for whoever runs the server.
            logger.error("the chat endpoint refuses a request: HTTP %d: %s", status, self._excerpt(text))
            if status in (401, 403):
                hint = "check chat_api_key (STREAM_SERVER_CHAT_API_KEY)"
            elif status == 404:
                hint = "check chat_url (STREAM_SERVER_CHAT_URL) and chat_model (STREAM_SERVER_CHAT_MODEL)"
            else:
                hint = "it must support response_format json_schema; its answer is in the server's log"
            raise JobError(
                Reason.INTERNAL, f"the language model's endpoint refuses the request (HTTP {status}): {hint}"
            )
        try:
            content = orjson.loads(text)["choices"][0]["message"].get("content")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            logger.error("the chat endpoint's answer is no chat completion: %s", self._excerpt(text))
            raise JobError(
                Reason.INTERNAL, "what chat_url (STREAM_SERVER_CHAT_URL) names does not answer as a chat endpoint does"
            ) from error
        return content if isinstance(content, str) else ""

    def _send(self, body: bytes) -> tuple[int, bytes]:
        """Send it until it is answered with anything but that the endpoint is busy."""
        for attempt in range(ATTEMPTS):
            wait = random.uniform(0.5, 1.0) * 2**attempt  # noqa: S311 - spreads retries, guards nothing
            try:
                status, headers, text = self._post(body)
            except TimeoutError as error:
                raise JobError(
                    Reason.SERVICE_UNAVAILABLE, f"the language model did not answer within {self._timeout:g} s"
                ) from error
            except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
                raise JobError(
                    Reason.INTERNAL, "chat_url (STREAM_SERVER_CHAT_URL) is not an address such as https://host/v1"
                ) from error
            except httpx2.TransportError as error:
                problem = type(error).__name__
            else:
                if status not in _BUSY:
                    return status, text
                problem, wait = f"HTTP {status}", _retry_after(headers, wait)
            logger.warning("the chat endpoint cannot answer now (%s)", problem)
            if wait > LONGEST_PAUSE_SEC:
                raise JobError(Reason.SERVICE_UNAVAILABLE, f"the language model is busy ({problem})", retry_after=wait)
            if attempt < ATTEMPTS - 1:
                self._pause(wait)
        raise JobError(Reason.SERVICE_UNAVAILABLE, f"the language model cannot be reached or is busy ({problem})")

    def _post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """One request, in an event loop of its own: there it can be broken off at any moment."""
        return asyncio.run(self._watched(body))

    async def _watched(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        request = asyncio.create_task(self._request(body))
        while not (await asyncio.wait((request,), timeout=WATCH_SEC))[0]:
            self._alive()  # when it raises, the end of this loop cancels the request
        return request.result()

    async def _request(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        received = bytearray()
        # Not the environment's proxies: everything the server does is in its settings.
        async with (
            asyncio.timeout(self._timeout),
            httpx2.AsyncClient(headers=headers, timeout=None, trust_env=False) as client,
            client.stream("POST", self._url, content=body) as response,
        ):
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > MAX_RESPONSE_BYTES:
                    raise JobError(Reason.INTERNAL, f"the language model's answer exceeds {MAX_RESPONSE_BYTES} bytes")
            return response.status_code, response.headers, bytes(received)

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._alive()
            time.sleep(min(left, WATCH_SEC))

    def _excerpt(self, text: bytes) -> str:
        shown = text[:_EXCERPT].decode(errors="replace")
        return shown.replace(self._api_key, "***") if self._api_key else shown


class _MisfitError(Exception):
    """An answer that has not the shape asked for."""

    def __init__(self, content: str, reason: str) -> None:
        super().__init__(reason)
        self.content = content
        self.reason = reason


def _unfenced(content: str) -> str:
    """The answer without the code fence of Markdown that some models put around it, whatever shape is asked for."""
    text = content.strip()
    is_fenced = text.startswith("```") and text.endswith("```")
    return text.strip("`").removeprefix("json") if is_fenced else content


def _retry_after(headers: Mapping[str, str], otherwise: float) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3)."""
    said = headers.get("retry-after", "")
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return otherwise
