"""The wire contract of Stream Server: messages, events, errors and their codec.

It knows nothing of the server or of any client.
"""

from stream_protocol.audio_format import AudioFormat
from stream_protocol.codec import (
    decode_audio,
    decode_event,
    decode_init,
    decode_message,
    encode_event,
    encode_message,
    stable_text,
)
from stream_protocol.errors import ERROR_TABLE, ClientError, ErrorCode, ServerError, StreamError
from stream_protocol.events import Event
from stream_protocol.messages import PROTOCOL_VERSION, Init
from stream_protocol.transcript import Segment, Transcript, Turn, Word

__all__ = [
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
]
