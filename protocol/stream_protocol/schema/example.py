"""One example of every message and event, as it is on the wire: they tell one small story, a caller saying hello."""

from __future__ import annotations

from typing import Any

import orjson

from stream_protocol import events as event
from stream_protocol import messages as message
from stream_protocol.codec import encode_event, encode_message
from stream_protocol.errors import ErrorCode
from stream_protocol.transcript import Word

_MESSAGES: tuple[message.Message, ...] = (
    message.Init(type="init", language="en", sample_rate=8000, dtype="ulaw", diarize=True, keyterms=["Stream Server"]),
    message.Frame(type="frame", audio="//79/Pv6"),
    message.Flush(type="flush", id=1),
    message.Keepalive(type="keepalive"),
    message.Configure(type="configure", silence_threshold_sec=0.4),
    message.End(type="end"),
)


def _config(**changed: Any) -> dict[str, Any]:
    settings = _MESSAGES[0].model_dump() | {"model": "moonshine-tiny", "vad": "webrtc"}
    return {name: settings[name] for name in message.CONFIG_FIELDS} | changed


_EVENTS: tuple[event.Event, ...] = (
    event.Ready(
        session_id="s_7Qm2xV9k",
        resume_token="r_c0FwP1uJx3",  # noqa: S106 - an example, no secret
        protocol=message.PROTOCOL_VERSION,
        model="moonshine-tiny",
        language="en",
        config=_config(),
    ),
    event.Ack(received_samples=16000),
    event.Warning(event.WarningCode.BACKPRESSURE, "audio arrives faster than it is recognized", level=0.8),
    event.Error(ErrorCode.RATE_LIMITED, "this key may hold 4 sessions at once", retry_after=30.0),
    event.SpeechStart(seq=1, segment_id=0, offset_ms=420),
    event.Partial(
        seq=2,
        segment_id=0,
        text="Hello wor",
        stable_chars=5,
        language="en",
        offset_ms=420,
        duration_ms=500,
        audio_duration_sec=0.7,
        latency_ms=38.5,
    ),
    event.SpeechEnd(seq=3, segment_id=0, offset_ms=1280),
    event.FinalSegment(
        seq=4,
        segment_id=0,
        text="Hello world.",
        language="en",
        offset_ms=420,
        duration_ms=860,
        audio_duration_sec=1.3,
        silence_duration_ms=800,
        confidence=0.93,
        words=(Word("Hello", 430, 760, 0.96, "SPEAKER_00"), Word("world.", 800, 1260, 0.9, "SPEAKER_00")),
        speaker="SPEAKER_00",
        latency_ms=61.2,
    ),
    event.SpeakersRevised(seq=5, segments=(event.RevisedSegment(0, "SPEAKER_01", ("SPEAKER_01", "SPEAKER_00")),)),
    event.Flushed(seq=6, id=1),
    event.Configured(seq=7, config=_config(silence_threshold_sec=0.4)),
    event.EndOfTranscript(seq=8, text="Hello world."),
    event.Done(seq=9, total_segments=1, total_audio_duration_sec=2.5, connection_duration_sec=2.9),
)

# Class name to examples.
MESSAGE_EXAMPLES: dict[str, list[dict[str, Any]]] = {
    type(one).__name__: [orjson.loads(encode_message(one))] for one in _MESSAGES
}
EVENT_EXAMPLES: dict[str, list[dict[str, Any]]] = {
    type(one).__name__: [orjson.loads(encode_event(one))] for one in _EVENTS
}
