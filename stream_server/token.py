"""Signs short texts that a caller carries for a while: browser tokens, addresses. It keeps nothing, and knows no use.

What is signed for one purpose is worth nothing for another: each has a key of its own, derived from the secret.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode


class TokenError(Exception):
    """The token was not signed here, or its time is over; the message says which."""


def derive(secret: bytes, purpose: str) -> bytes:
    """The key for one purpose, of 32 bytes."""
    return hmac.digest(secret, purpose.encode(), "sha256")


class Signer:
    """Signs and reads texts for one purpose. Times are seconds since the epoch."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._key = derive(secret, purpose)

    def sign(self, text: str, expires_at: int) -> str:
        """A token of letters, digits, ``-``, ``_`` and one dot. The text can be read by whoever holds it."""
        body = f"{expires_at}:{text}".encode()
        return f"{_encode(body)}.{_encode(self._mac(body))}"

    def read(self, token: str, now: float) -> str:
        """The text of a token.

        Raises:
            TokenError: it is not ours, or has expired.
        """
        try:
            body, mac = (_decode(part) for part in token.split("."))
        except ValueError:
            raise TokenError("this is not a token of this server") from None
        if not hmac.compare_digest(mac, self._mac(body)):
            raise TokenError("this is not a token of this server")
        expires_at, _, text = body.decode().partition(":")
        if now >= int(expires_at):
            raise TokenError("this token has expired; ask for a new one")
        return text

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
