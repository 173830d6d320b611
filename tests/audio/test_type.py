import io
import struct
import zipfile

import pytest

from stream_server.audio.file import probe
from stream_server.audio.type import HEAD_BYTES, detect
from tests.support.audio import muxed, sound


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (sound("WAV"), "wav"),
        (sound("RF64"), "wav"),
        (sound("W64"), "w64"),
        (sound("FLAC"), "flac"),
        (sound("OGG", "VORBIS"), "ogg"),
        (sound("MP3"), "mp3"),
        (sound("AIFF"), "aiff"),
        (sound("CAF"), "caf"),
        (sound("AU"), "au"),
        (muxed("mp3", "libmp3lame"), "mp3"),  # with a tag before it
        (muxed("mp3", "libmp3lame", rate=8000), "mp3"),
        (muxed("mp2", "mp2"), "mp3"),
        (muxed("adts", "aac"), "aac"),
        (muxed("ipod", "aac"), "m4a"),
        (muxed("mp4", "aac"), "mp4"),
        (muxed("mov", "aac"), "mov"),
        (muxed("webm", "libopus"), "webm"),
        (muxed("matroska", "aac"), "mkv"),
        (muxed("mpegts", "aac"), "mpegts"),
        (muxed("asf", "wmav2", rate=44100), "wma"),
        (muxed("avi", "libmp3lame"), "avi"),
        (muxed("flv", "aac", rate=44100), "flv"),
        (muxed("ac3", "ac3", rate=48000), "ac3"),
        (muxed("wv", "wavpack"), "wv"),
        (muxed("mpeg", "mp2"), "mpeg"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + sound("FLAC"), "flac"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_named_can_be_read(content: bytes, name: str) -> None:
    assert detect(content[:HEAD_BYTES]) == name
    assert probe(io.BytesIO(content)).duration_sec > 0.5


def test_amr_by_its_magic() -> None:
    assert detect(b"#!AMR\n" + bytes(100)) == "amr"
    assert detect(b"#!AMR-WB\n" + bytes(100)) == "amr"


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as output:
        output.writestr("speech.wav", sound("WAV"))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RI",
        b"no audio at all " * 500,
        b"<!DOCTYPE html><html>" + bytes(100),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(100),
        b"\xff\xd8\xff\xe1\x00\x10Exif\x00" + bytes(100),
        b"GIF89a" + bytes(100),
        b"%PDF-1.7\n" + bytes(100),
        archive(),
        b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8 " + bytes(100),
        struct.pack(">I", 24) + b"ftypavif" + bytes(100),
        struct.pack(">I", 24) + b"ftypheic" + bytes(100),
        b"#EXTM3U\nhttp://127.0.0.1/live.ts\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"\x7fELF" + bytes(100),
        b"\xff\xfeT\x00e\x00x\x00t\x00" * 100,  # text in UTF-16, which begins like a frame
        b"\xff\xfb\x90\x00" + bytes(4000),  # one header of MP3, and nothing where the next should be
        bytes(4096),
        b"\xff" * 4096,
        b"G" * 100,
        b"\x1aE\xdf\xa3" + bytes(100),
    ],
)
def test_anything_else_is_nothing(content: bytes) -> None:
    assert detect(content[:HEAD_BYTES]) is None
