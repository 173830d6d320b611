"""The Python client of Stream Server: audio in, typed events out. It knows the protocol, not the server."""

from stream_client.client import StreamClient
from stream_client.error import CONNECTION_FAILED, CONNECTION_LOST, EVENTS_NOT_READ, StreamClientError
from stream_client.latency import Latency, LatencyMeter, LatencySummary
from stream_client.reconnect import ConnectionChange, ReconnectPolicy
from stream_client.result import TranscriptBuilder, transcribe
from stream_client.sync import SyncStreamClient, transcribe_sync

__all__ = [
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
]
