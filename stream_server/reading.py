"""Reads a running server's metrics: what is now, and what has happened since the last look. It knows no terminal."""

from __future__ import annotations

import math
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_SEC: Final = 5.0
MAX_BYTES: Final = 16 * 2**20
PREFIX: Final = "stream_server_"

Labels = frozenset[tuple[str, str]]


class ReadingError(Exception):
    """A server's metrics cannot be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """All values of one look; ``taken_at`` is in seconds of a clock that does not jump."""

    values: Mapping[str, Mapping[Labels, float]]
    taken_at: float

    def value(self, name: str, **labels: str) -> float:
        """The sum over all with these labels; 0.0 where there is none, or nothing is known."""
        return sum(value for _, value in self._of(name, labels) if not math.isnan(value))

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums by a label's values."""
        found: dict[str, float] = {}
        for labels, value in self._of(name, {}):
            key = dict(labels).get(label, "")
            found[key] = found.get(key, 0.0) + value
        return found

    def text(self, name: str, label: str) -> str:
        """What a label says; '' where there is no such metric."""
        return next((dict(labels).get(label, "") for labels, _ in self._of(name, {})), "")

    def known(self, name: str) -> float | None:
        """The value; None where the server does not know it."""
        value = next((value for _, value in self._of(name, {})), math.nan)
        return None if math.isnan(value) else value

    def _of(self, name: str, wanted: Mapping[str, str]) -> Iterable[tuple[Labels, float]]:
        found = self.values.get(PREFIX + name if not name.startswith("process_") else name, {})
        return [(labels, value) for labels, value in found.items() if labels >= set(wanted.items())]


@dataclass(frozen=True, slots=True)
class Span:
    """Two looks at one server, the earlier one first."""

    before: Sample
    after: Sample

    @property
    def seconds(self) -> float:
        return max(1e-3, self.after.taken_at - self.before.taken_at)

    def grown(self, name: str, **labels: str) -> float:
        """How much a counter has grown; one that has begun anew, with its server, has grown from nothing."""
        before, after = self.before.value(name, **labels), self.after.value(name, **labels)
        return after if after < before else after - before

    def rate(self, name: str, **labels: str) -> float:
        """How much a counter has grown in a second."""
        return self.grown(name, **labels) / self.seconds

    def quantile(self, name: str, share: float) -> float | None:
        """What so large a share of a histogram's new values was below, as Prometheus reckons; None without any."""
        after = self.after.by(f"{name}_bucket", "le")
        before = self.before.by(f"{name}_bucket", "le")
        if any(count < before.get(bound, 0.0) for bound, count in after.items()):
            before = {}
        counts = sorted((float(bound), count - before.get(bound, 0.0)) for bound, count in after.items())
        if not counts or not counts[-1][1]:
            return None
        rank = share * counts[-1][1]
        for (low, below), (high, upto) in pairwise([(0.0, 0.0), *counts]):
            if upto >= rank:
                return low if math.isinf(high) else low + (high - low) * (rank - below) / max(upto - below, 1e-9)
        return counts[-1][0]

    def mean(self, name: str) -> float | None:
        """The mean of a histogram's new values; None without any."""
        count = self.grown(f"{name}_count")
        return self.grown(f"{name}_sum") / count if count else None


def address_of(url: str) -> str:
    """The address of a server's metrics, from any of its addresses: ``host:8000``, ``http://host:8000``, ``ws://...``.

    Raises:
        ReadingError: it is no such address.
    """
    given = urlsplit(url if "://" in url else f"http://{url}")
    schemes = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
    try:
        given.port  # noqa: B018  # reading it is the check
    except ValueError:
        raise ReadingError(f"there is no such port: {url!r}; they go from 1 to 65535") from None
    if given.scheme not in schemes or not given.hostname:
        raise ReadingError(f"{url!r} is not the address of a server; it looks like http://127.0.0.1:8000")
    return f"{schemes[given.scheme]}://{given.netloc}/metrics"


def read_sample(address: str) -> Sample:
    """One look, at an address of `address_of`. Never through a proxy.

    Raises:
        ReadingError: the server cannot be reached, or has no metrics of ours.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=TIMEOUT_SEC) as response:
            text = response.read(MAX_BYTES).decode()
        values: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    except urllib.error.HTTPError as error:
        raise ReadingError(f"{address} answers HTTP {error.code}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        hint = ""
        if address.startswith("http:") and isinstance(error, HTTPException | ConnectionResetError):
            hint = "; if it speaks TLS, ask for https://"
        elif isinstance(reason, ssl.SSLError) and not isinstance(reason, ssl.SSLCertVerificationError):
            hint = "; if it speaks no TLS, ask for http://"
        text = getattr(reason, "strerror", None) or reason
        raise ReadingError(f"{address} cannot be reached: {text}{hint}") from None
    except ValueError as error:  # not text, or not this format
        raise ReadingError(f"{address} has no metrics: {error}") from None
    if f"{PREFIX}build_info" not in values:
        raise ReadingError(f"{address} has no metrics of a Stream Server")
    return Sample(values, time.monotonic())
