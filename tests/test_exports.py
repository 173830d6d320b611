"""The public names, pinned: a change here is a change for those who use the packages, and belongs in the changelog."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import version

import pytest

import stream_server

PUBLIC = {
    "stream_protocol": [
        "ERROR_TABLE",
        "PROTOCOL_VERSION",
        "AudioFormat",
        "ClientError",
        "ErrorCode",
        "Event",
        "Init",
        "Segment",
        "ServerError",
        "StreamError",
        "Transcript",
        "Turn",
        "Word",
        "decode_audio",
        "decode_event",
        "decode_init",
        "decode_message",
        "encode_event",
        "encode_message",
        "stable_text",
    ],
    "stream_client": [
        "CONNECTION_FAILED",
        "CONNECTION_LOST",
        "EVENTS_NOT_READ",
        "ConnectionChange",
        "Latency",
        "LatencyMeter",
        "LatencySummary",
        "ReconnectPolicy",
        "StreamClient",
        "StreamClientError",
        "SyncStreamClient",
        "TranscriptBuilder",
        "transcribe",
        "transcribe_sync",
    ],
}


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(PUBLIC[package])
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", PUBLIC)
def test_what_is_public_is_documented(package: str) -> None:
    module = importlib.import_module(package)
    things = [getattr(module, name) for name in module.__all__]
    assert [thing.__name__ for thing in things if isinstance(thing, type) and not thing.__doc__] == []


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+([.-]?\w+)?", stream_server.__version__)
    assert version("stream-server") == stream_server.__version__
