"""The beginning of a connection: connect, say who we are, wait for ``ready``. It does not know what comes after."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_client._transport import Connector, Transport, TransportClosed
from stream_client.error import CONNECTION_FAILED, StreamClientError
from stream_protocol import decode_event
from stream_protocol.events import Error, Ready

COMING_BACK: Final = 4000
"""Close code of an attempt that is given up: any but 1000, by which the client would leave the session for good."""


@dataclass(slots=True)
class Door:
    """Where a server is, and how to get in. ``timeout``: seconds for connecting and for ``ready``.

    ``abandoned``: attempts that got no answer in time, and may still arrive at the server. One whose connection ended
    does not.
    """

    url: str
    headers: Mapping[str, str]
    ssl_context: ssl.SSLContext | None
    connect: Connector
    timeout: float
    abandoned: int = 0

    async def open(self, init: Mapping[str, Any]) -> tuple[Transport, Ready]:
        """A connection to a session.

        Raises:
            StreamClientError: refused, unreachable, or no server of this protocol.
        """
        try:
            async with asyncio.timeout(self.timeout):
                transport = await self.connect(self._address(init.get("session_id")), self.headers, self.ssl_context)
                try:
                    await transport.send(json.dumps(init))
                    event = decode_event(await transport.receive())
                except ValueError:
                    event = None
                except BaseException as error:
                    self.abandoned += isinstance(error, asyncio.CancelledError)
                    await transport.close(COMING_BACK)
                    raise
        except TimeoutError:
            raise StreamClientError(CONNECTION_FAILED, f"no answer from {self.url} in time") from None
        except TransportClosed as closed:
            raise StreamClientError(CONNECTION_FAILED, f"the server closed the connection: {closed}") from None
        if isinstance(event, Ready):
            return transport, event
        await transport.close()
        if isinstance(event, Error):
            raise StreamClientError(event.code, event.message, event.retry_after)
        raise StreamClientError(CONNECTION_FAILED, f"{self.url} does not speak this protocol")

    def _address(self, session_id: str | None) -> str:
        """With the session that is resumed: a full server lets in who has a place already."""
        if session_id is None:
            return self.url
        return f"{self.url}{'&' if '?' in self.url else '?'}session_id={session_id}"
