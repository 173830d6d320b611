"""Live containers: what PyAV's muxers write, and a stream cut by hand as browsers' MediaRecorder writes it."""

import io
import struct
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.audio.container import ContainerDecoder
from stream_server.audio.error import UnsupportedAudio
from tests.support.audio import unknown_webm

av = pytest.importorskip("av")

RATE = 48000
PACKET_MS = 20


class Pipe(io.RawIOBase):
    """A file that cannot seek, so that a muxer writes what it would write to a socket."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.written += bytes(data)
        return len(data)


def tone(seconds: float, channels: int = 1, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return np.stack([0.3 * np.sin(2 * np.pi * 440 * (1 + n) * time) for n in range(channels)], axis=1, dtype=np.float32)


def frames(samples: np.ndarray, rate: int = RATE) -> Iterator:
    for start in range(0, len(samples), 960):
        piece = samples[start : start + 960].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format="flt", layout="mono" if samples.shape[1] == 1 else "stereo")
        frame.sample_rate, frame.pts = rate, start
        yield frame


def mux(fmt: str, codec: str, samples: np.ndarray, seekable: bool = False, **options: str) -> bytes:
    file = io.BytesIO() if seekable else Pipe()
    with av.open(file, "w", format=fmt, options=options) as output:
        stream = output.add_stream(codec, rate=RATE, layout="mono" if samples.shape[1] == 1 else "stereo")
        for frame in [*frames(samples), None]:
            output.mux(stream.encode(frame))
    return file.getvalue() if isinstance(file, io.BytesIO) else bytes(file.written)


def video() -> bytes:
    file = Pipe()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for _ in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return bytes(file.written)


def element(name: int, body: bytes) -> bytes:
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + (2**56 | len(body)).to_bytes(8, "big") + body


def unknown_size(name: int) -> bytes:
    return name.to_bytes(4, "big") + b"\x01" + b"\xff" * 7


def media_recorder(samples: np.ndarray, cluster_ms: int = 100) -> list[bytes]:
    """WebM/Opus as recorded live: segment and clusters of unknown size; the header, then one piece per 20 ms packet.

    Sources: RFC 8794 (EBML), RFC 9559 (Matroska), RFC 7845 (OpusHead).
    """
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "flt"
    packets = [bytes(packet) for frame in [*frames(samples), None] for packet in encoder.encode(frame)]
    head = b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 0, RATE, 0, 0)
    audio = element(0xE1, element(0xB5, struct.pack(">f", RATE)) + element(0x9F, b"\1"))
    track = b"".join(
        [element(0xD7, b"\1"), element(0x83, b"\2"), element(0x86, b"A_OPUS"), element(0x63A2, head), audio]
    )
    pieces = [
        element(0x1A45DFA3, element(0x4282, b"webm") + element(0x4287, b"\4") + element(0x4285, b"\2"))
        + unknown_size(0x18538067)
        + element(0x1549A966, element(0x2AD7B1, (1_000_000).to_bytes(3, "big")))
        + element(0x1654AE6B, element(0xAE, track))
    ]
    for number, packet in enumerate(packets):
        at, offset = number * PACKET_MS, number * PACKET_MS % cluster_ms
        cluster = unknown_size(0x1F43B675) + element(0xE7, at.to_bytes(4, "big")) if offset == 0 else b""
        pieces.append(cluster + element(0xA3, b"\x81" + struct.pack(">hB", offset, 0x80) + packet))
    return pieces


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def decode(pieces: list[bytes], channels: int = 1, **limits: int) -> np.ndarray:
    decoder = ContainerDecoder(channels, **limits)
    try:
        received = [decoder.receive(piece) for piece in pieces]
        received.append(decoder.finish())
    finally:
        decoder.close()
    assert decoder.sample_rate in (0, RATE)
    return np.concatenate([piece for piece in received if len(piece)])


def fundamental(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture(scope="module")
def recorded() -> list[bytes]:
    return media_recorder(tone(2))


FORMATS = {
    "webm": ("webm", "libopus", {"live": "1", "cluster_time_limit": "100"}),
    "ogg opus": ("ogg", "libopus", {"page_duration": "20000"}),
    "mp3": ("mp3", "libmp3lame", {}),
    "flac": ("flac", "flac", {}),
    "aac": ("adts", "aac", {}),
    "mp4": ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "100000"}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_decode_the_same_in_pieces_of_any_size(name: str):
    fmt, codec, options = FORMATS[name]
    stream = mux(fmt, codec, tone(2), **options)
    decoded = decode([stream])
    for size in (3, 7, 50, 400, 5000):
        assert np.array_equal(decode(cut(stream, size)), decoded)
    assert decoded.dtype == np.float32
    assert decoded.shape[1] == 1
    assert abs(len(decoded) - 2 * RATE) <= 0.05 * RATE  # mp3 and bare AAC do not say how much of the end is padding
    assert fundamental(decoded[:RATE, 0]) == pytest.approx(440, abs=2)
    assert 0.25 < np.abs(decoded[RATE // 2 : RATE]).max() < 0.36


def test_ogg_vorbis_decodes():
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, tone(1), RATE, format="OGG", subtype="VORBIS")
    decoded = decode(cut(file.getvalue(), 100))
    assert abs(len(decoded) - RATE) <= 256  # FFmpeg leaves out part of the last block
    assert np.abs(decoded[2000:40000] - tone(1)[2000:40000]).max() < 0.02


def test_every_packet_comes_out_with_the_bytes_that_complete_it(recorded: list[bytes]):
    decoder = ContainerDecoder(1)
    heard = [len(decoder.receive(piece)) for piece in recorded]
    decoder.close()
    assert heard == [0] + [RATE * PACKET_MS // 1000] * (len(recorded) - 1)


@given(st.lists(st.integers(0, 3000), max_size=30))
@settings(max_examples=15, deadline=None)
def test_any_cut_gives_the_same_samples(sizes: list[int]):
    stream = b"".join(RECORDED)
    pieces = []
    for size in sizes:
        pieces.append(stream[:size])
        stream = stream[size:]
    assert np.array_equal(decode([*pieces, stream]), decode(RECORDED))


RECORDED = media_recorder(tone(0.5))


def test_another_number_of_channels_is_mixed_to_one():
    stereo = mux("flac", "flac", tone(0.5, channels=2))
    mixed = decode([stereo], channels=1)
    assert mixed.shape[1] == 1
    assert np.abs(mixed[:, 0] - tone(0.5, channels=2).mean(axis=1)).max() < 1e-3
    assert decode([stereo], channels=2).shape[1] == 2
    assert decode([stereo], channels=8).shape[1] == 1


def test_a_truncated_end_gives_what_came_before(recorded: list[bytes]):
    whole = b"".join(recorded)
    decoded = decode(cut(whole[: len(whole) // 2], 100))
    assert 0.8 * RATE < len(decoded) < 1.2 * RATE


def test_damaged_packets_are_left_out(recorded: list[bytes]):
    damaged = list(recorded)
    damaged[30] = damaged[30][:-20] + bytes(20)
    damaged[40] = damaged[40][:14] + b"\xff" * (len(damaged[40]) - 14)
    assert 1.8 * RATE < len(decode(damaged)) <= 2.02 * RATE


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "is empty"),
        (b"\x1aE", "no audio could be decoded"),
        (b"#EXTM3U\nhttp://127.0.0.1/live.ts\n", "begins with the bytes 23 45"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "allowed: WebM"),
        (bytes(5000), "begins with the bytes 00 00"),
        (RECORDED[0], "no audio could be decoded"),
        (b"\x1aE\xdf\xa3" + b"\x55" * 5000, "no audio could be decoded"),
        (b"OggS" + bytes(5000), "no audio could be decoded"),
        (b"\0\0\0\x20ftypisom" + bytes(5000), "no audio could be decoded"),
        (video(), "no audio track"),
        (unknown_webm(), "codec that is unknown"),
        (mux("mp4", "aac", tone(0.5), seekable=True), "only a fragmented MP4"),
    ],
)
@pytest.mark.parametrize("size", [3, 1 << 20])
def test_what_cannot_be_decoded_is_refused_in_words(stream: bytes, message: str, size: int):
    with pytest.raises(UnsupportedAudio, match=message) as caught:
        decode(cut(stream, size))
    assert caught.value.message


def test_probing_is_bounded():
    decoder = ContainerDecoder(1, probe_limit=100_000)
    endless = element(0x1A45DFA3, element(0x4282, b"webm")) + unknown_size(0x18538067)
    void = element(0xEC, bytes(10_000))
    decoder.receive(endless)
    for _ in range(9):
        decoder.receive(void)
    with pytest.raises(UnsupportedAudio, match="first 100000 bytes"):
        decoder.receive(void)
    decoder.close()


def test_output_is_bounded():
    silence = mux("flac", "flac", np.zeros((RATE * 5, 1), np.float32))
    with pytest.raises(UnsupportedAudio, match="more than 48000 samples"):
        decode([silence[:100], silence[100:], b""], output_limit=RATE)


def test_close_at_any_time():
    for count in range(len(RECORDED)):
        decoder = ContainerDecoder(1)
        for piece in RECORDED[:count]:
            decoder.receive(piece)
        decoder.close()
        decoder.close()
        with pytest.raises(AssertionError):
            decoder.receive(b"late")


def test_without_pyav_the_caller_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedAudio, match="PyAV is not installed"):
        ContainerDecoder(1).receive(RECORDED[0])
