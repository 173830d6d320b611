"""API keys: who may speak. It knows keys and credentials, and nothing of HTTP or sockets."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from stream_protocol.errors import ClientError, ErrorCode

SCHEMES = ("bearer", "token")


class KeyFileError(Exception):
    """The key file cannot be read; the message says why."""


class KeyRing:
    """The keys that are accepted; without any, everyone is."""

    def __init__(self, keys: Iterable[str]) -> None:
        # Digests have one length, so that a comparison tells nothing of a key's.
        self._digests = [_digest(key) for key in keys]

    @property
    def is_open(self) -> bool:
        return not self._digests

    def accepts(self, key: str) -> bool:
        """Whether ``key`` is one of ours, in a time that does not depend on how much of it is right."""
        digest = _digest(key)
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found

    def authenticate(self, key: str | None) -> None:
        """Let a caller in.

        Raises:
            ClientError: ``AUTH_FAILED``.
        """
        if self.is_open:
            return
        if not key:
            raise ClientError(
                ErrorCode.AUTH_FAILED, "an API key is needed: header 'Authorization: Bearer KEY', or api_key in init"
            )
        if not self.accepts(key):
            raise ClientError(ErrorCode.AUTH_FAILED, "this API key is not valid")


def key_of_header(authorization: str | None) -> str | None:
    """The key of an ``Authorization`` header (``Bearer KEY`` or ``Token KEY``); None where there is none."""
    scheme, _, key = (authorization or "").strip().partition(" ")
    return key.strip() or None if scheme.lower() in SCHEMES else None


def read_key_file(path: Path) -> list[str]:
    """The keys of a file, one per line.

    Raises:
        KeyFileError: it cannot be read, or holds no key.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"cannot read the API key file {path}: {error}") from None
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise KeyFileError(f"the API key file {path} holds no key; put one on a line, or leave the file out")
    return keys


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
