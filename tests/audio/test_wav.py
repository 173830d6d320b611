import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.audio.error import UnsupportedAudio
from stream_server.audio.wav import MAX_HEADER_BYTES, WavHeader, WavStream

AUDIO = bytes(range(1, 201))
TRAILER = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf62.12.102\0"


def fmt(codec: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, more: bytes = b"") -> bytes:
    size = channels * bits // 8
    body = struct.pack("<HHIIHH", codec, channels, rate, rate * size, size, bits) + more
    return b"fmt " + struct.pack("<I", len(body)) + body


def extensible(codec: int, bits: int, tail: str = "000000001000800000aa00389b71") -> bytes:
    return fmt(0xFFFE, 2, 48000, bits, struct.pack("<HHIH", 22, bits, 3, codec) + bytes.fromhex(tail))


def data(audio: bytes = AUDIO, size: int | None = None) -> bytes:
    return b"data" + struct.pack("<I", len(audio) if size is None else size) + audio


def wav(*chunks: bytes, magic: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if size is None else size) + body


def read(stream: bytes, size: int = 1 << 20) -> tuple[WavHeader | None, bytes]:
    parser = WavStream()
    audio = b"".join(parser.receive(stream[at : at + size]) for at in range(0, len(stream), size))
    return parser.header, audio + parser.finish()


@pytest.mark.parametrize(
    ("chunk", "header"),
    [
        (fmt(), WavHeader("int16", 8000, 1)),
        (fmt(1, 2, 44100, 8), WavHeader("uint8", 44100, 2)),
        (fmt(1, 8, 192000, 24), WavHeader("int24", 192000, 8)),
        (fmt(1, 1, 16000, 32), WavHeader("int32", 16000, 1)),
        (fmt(3, 1, 16000, 32), WavHeader("float32", 16000, 1)),
        (fmt(3, 1, 16000, 64, b"\0\0"), WavHeader("float64", 16000, 1)),
        (fmt(6, 1, 8000, 8), WavHeader("alaw", 8000, 1)),
        (fmt(7, 1, 8000, 8, b"\0\0"), WavHeader("ulaw", 8000, 1)),
        (extensible(1, 24), WavHeader("int24", 48000, 2)),
        (extensible(3, 32), WavHeader("float32", 48000, 2)),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_formats(chunk: bytes, header: WavHeader, size: int):
    assert read(wav(chunk, data()), size) == (header, AUDIO)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
def test_what_libsndfile_writes(subtype: str, container: str):
    file = io.BytesIO()
    soundfile.write(file, np.zeros((50, 2)), 16000, subtype=subtype, format=container)
    header, audio = read(file.getvalue(), 5)
    assert header is not None
    assert (header.sample_rate, header.channels) == (16000, 2)
    frame = 2 * {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(subtype, 1)
    assert len(audio) == 50 * frame


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_chunks_around_the_audio_are_not_audio(size: int):
    odd = b"junk" + struct.pack("<I", 3) + b"abc\0"
    assert read(wav(odd, fmt(), TRAILER, data(), TRAILER, TRAILER), size)[1] == AUDIO
    assert read(wav(fmt(7, bits=8), data(AUDIO[:199]), b"\0", TRAILER), size)[1] == AUDIO[:199]


@pytest.mark.parametrize("declared", [0, 0xFFFFFFFF, 0x7FFFF000, 10, 11, len(AUDIO) + 1000])
@pytest.mark.parametrize("size", [1, 33, 1 << 20])
def test_a_size_that_lies_does_not_end_the_audio(declared: int, size: int):
    assert read(wav(fmt(), data(size=declared), size=declared), size)[1] == AUDIO


def test_rf64_keeps_its_size_elsewhere():
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 1000, len(AUDIO), 100, 0)
    stream = wav(ds64, fmt(), data(size=0xFFFFFFFF), TRAILER, magic=b"RF64", size=0xFFFFFFFF)
    assert read(stream, 3) == (WavHeader("int16", 8000, 1), AUDIO)


@pytest.mark.parametrize("size", [1, 50, 1 << 20])
def test_every_piece_may_be_a_file_of_its_own(size: int):
    assert read(wav(fmt(), data()) + wav(fmt(), data()), size)[1] == AUDIO + AUDIO
    with pytest.raises(UnsupportedAudio, match="changes"):
        read(wav(fmt(), data()) + wav(fmt(rate=16000), data()), size)


@pytest.mark.parametrize("start", [b"", b"R", b"RI", b"RIFx", b"RF6", b"RIFF1234WAVx", b"RIFF1234AVI ", b"\0\0\0\0"])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_other_streams_pass_untouched(start: bytes, size: int):
    assert read(start, size) == (None, start)
    assert read(start + b"\x80" + AUDIO, size) == (None, start + b"\x80" + AUDIO)


def test_other_streams_are_not_held_back():
    parser = WavStream()
    assert parser.receive(b"RI") == b""
    assert parser.receive(b"P") == b"RIP"
    assert parser.receive(b"RIFF") == b"RIFF"


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (wav(fmt(channels=0), data()), "0 channels; allowed: 1 to 8"),
        (wav(fmt(channels=9), data()), "9 channels"),
        (wav(fmt(rate=0), data()), "0 Hz; allowed: 8000 to 192000"),
        (wav(fmt(rate=7999), data()), "7999 Hz"),
        (wav(fmt(rate=384000), data()), "384000 Hz"),
        (wav(fmt(codec=2, bits=4), data()), "codec 0x0002 with 4 bits"),
        (wav(fmt(bits=12), data()), "12 bits"),
        (wav(extensible(1, 16, "ff" * 14), data()), "codec 0xfffe"),
        (wav(b"fmt " + struct.pack("<I", 4) + bytes(4), data()), "at least 16"),
        (wav(data()), "no fmt chunk"),
        (wav(fmt(), b"junk" + struct.pack("<I", MAX_HEADER_BYTES)), "no data chunk in its first 65536 bytes"),
        (wav(fmt(), *[TRAILER] * 3000), "no data chunk in its first 65536 bytes"),
        (wav(fmt()), "ends inside"),
        (wav(fmt(), data())[:20], "ends inside"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_headers_that_cannot_be_used(stream: bytes, message: str, size: int):
    with pytest.raises(UnsupportedAudio, match=message):
        read(stream, size)


@given(st.binary(max_size=120), st.integers(1, 50), st.booleans())
@settings(max_examples=200, deadline=None)
def test_garbage_gives_bytes_or_the_typed_error(garbage: bytes, size: int, riff: bool):
    stream = b"RIFF\0\0\0\0WAVE" + garbage if riff else garbage
    results = []
    for cut in (size, len(stream) + 1):
        try:
            results.append(read(stream, cut))
        except UnsupportedAudio as error:
            results.append((None, error.message.encode()))
    assert results[0] == results[1]
