"""Small recordings in any container, made on the spot."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16000


def tone(seconds: float) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(RATE * seconds)) / RATE)).astype(np.float32)


def sound(fmt: str = "WAV", subtype: str | None = None, *, seconds: float = 2, title: str = "") -> bytes:
    """By libsndfile."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 1, subtype, format=fmt) as output:
        if title:
            output.title = title
        output.write(tone(seconds))
    return file.getvalue()


def muxed(
    fmt: str, codec: str, *, rate: int = RATE, seconds: float = 2, title: str = "", picture: bytes = b""
) -> bytes:
    """By FFmpeg; ``picture`` is a JPEG that is attached."""
    file = io.BytesIO()
    with av.open(file, "w", format=fmt) as output:
        if title:
            output.metadata["title"] = title
        stream = output.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 64000
        cover = None
        if picture:
            cover = output.add_stream("mjpeg")
            cover.width = cover.height = 16
            cover.pix_fmt = "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(tone(seconds)[None], format="flt", layout="mono")
        frame.sample_rate = rate
        output.start_encoding()
        if cover is not None:
            packet = av.Packet(picture)
            packet.stream, packet.pts, packet.dts = cover, 0, 0
            output.mux(packet)
        for part in (frame, None):
            output.mux(stream.encode(part))
    return file.getvalue()


def jpeg() -> bytes:
    """A picture of 16 by 16."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width = encoder.height = 16
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for part in (frame, None) for packet in encoder.encode(part))


def unknown_webm() -> bytes:
    """WebM whose audio is in a codec that there is not."""
    return muxed("webm", "libopus", rate=48000).replace(b"A_OPUS", b"A_XXXX")


def unknown_wav(tag: int) -> bytes:
    """WAV of 16 bits whose header declares this codec."""
    data = (tone(1) * 32767).astype("<i2").tobytes()
    form = struct.pack("<IHHIIHH", 16, tag, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body
