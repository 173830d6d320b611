"""Files that are no audio, or are not what they say."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from functools import cache
from typing import Final

import httpx2
import numpy as np
import pytest
import soundfile

from tests.conformance.surface import SURFACES
from tests.support.audio import muxed, unknown_wav, unknown_webm
from tests.support.clip import DAMAGED, PICTURE, clip

HOURS: Final = 3600
RATE: Final = 8000

ways = pytest.mark.parametrize("way", SURFACES)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("speech.wav", bytes(10**7))
    return file.getvalue()


NO_AUDIO: Final = {
    "empty": b"",
    "one byte": b"R",
    "picture": PICTURE,
    "text": b"hello " * 1000,
    "page": b"<!DOCTYPE html><audio src=file:///etc/passwd>",
    "document": b"%PDF-1.7\n" + bytes(9000),
    "program": b"\x7fELF" + bytes(9000),
    "archive": zipped(),
    "compressed recording": gzip.compress(clip()),
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "zeros": bytes(100_000),
}


@pytest.mark.parametrize("kind", NO_AUDIO)
@ways
def test_what_is_no_audio(way: str, kind: str, client: httpx2.Client) -> None:
    """Whatever it is called, and however its bytes are declared. Of a batch it fails one file."""
    surface = SURFACES[way]
    answer = surface.send(client, NO_AUDIO[kind], "speech.wav")
    missing = kind == "empty" and way in ("asr", "translate")
    assert answer.status_code == (202 if way == "batch" else 400), answer.text
    assert surface.outcome(client, answer) == ("MISSING_PARAMETER" if missing else "UNSUPPORTED_FORMAT")


@cache
def silence(hours: float) -> bytes:
    """FLAC of silence: hours in some kilobytes."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 1, "PCM_16", format="FLAC") as output:
        for _ in range(round(hours * 60)):
            output.write(np.zeros(60 * RATE, np.int16))
    return file.getvalue()


def of_unknown_length(flac: bytes) -> bytes:
    """The same without the number of samples in its STREAMINFO, as a recorder leaves it that cannot go back."""
    changed = bytearray(flac)
    changed[21] &= 0xF0
    changed[22:26] = bytes(4)
    return bytes(changed)


def wav(
    *, channels: int = 1, rate: int = RATE, bits: int = 16, declared: int | None = None, data: bytes = b""
) -> bytes:
    block = channels * bits // 8
    size = len(data) if declared is None else declared
    header = struct.pack("<HHIIHH", 1, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    return (
        b"RIFF"
        + struct.pack("<I", (size + 36) & 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + header
        + (b"data" + struct.pack("<I", size & 0xFFFFFFFF) + data)
    )


def with_duration(seconds: float) -> bytes:
    """Matroska that says it is so long (element 0x4489, a float of 8 bytes, in milliseconds)."""
    file = bytearray(muxed("matroska", "libopus", rate=48_000, seconds=1))
    at = file.index(b"\x44\x89\x88") + 3
    file[at : at + 8] = struct.pack(">d", seconds * 1000)
    return bytes(file)


def with_last_position(position: int) -> bytes:
    """Ogg whose last page is said to end at this sample."""
    file = bytearray(clip(kind="OGG"))
    at = file.rindex(b"OggS") + 6
    file[at : at + 8] = struct.pack("<q", position)
    return bytes(file)


NO_FAULT_OF_OURS: Final = {"UNSUPPORTED_FORMAT", "AUDIO_TOO_LONG", "completed"}
"""It depends on the decoder what is made of a length that cannot be."""
UNSUPPORTED, TOO_LONG = "UNSUPPORTED_FORMAT", "AUDIO_TOO_LONG"
LATE: Final = {
    "damaged": (lambda: DAMAGED, {UNSUPPORTED}),
    "WebM of an unknown codec": (unknown_webm, {UNSUPPORTED}),
    "WAV of an unknown codec": (lambda: unknown_wav(0x1234), {UNSUPPORTED}),
    "a header alone": (lambda: wav(), {UNSUPPORTED}),
    "a header of FLAC alone": (lambda: silence(1 / 60)[:42], {UNSUPPORTED}),
    "cut in the header": (lambda: clip(kind="FLAC")[:30], {UNSUPPORTED}),
    "an index that is missing": (lambda: muxed("mp4", "aac")[:4000], {UNSUPPORTED}),
    "cut in the middle": (lambda: clip(kind="FLAC")[:9000], {"completed"}),
    "65535 channels": (lambda: wav(channels=65535, bits=8, data=bytes(10**6)), {UNSUPPORTED}),
    "4 GHz": (lambda: wav(rate=2**32 - 1, data=bytes(10**6)), {UNSUPPORTED}),
    "no rate at all": (lambda: wav(rate=0, data=bytes(10**6)), {UNSUPPORTED}),
    "5 hours in the header only": (lambda: wav(declared=5 * HOURS * RATE * 2, data=bytes(RATE)), {"completed"}),
    "5 hours": (lambda: silence(5), {TOO_LONG}),
    "5 hours that it does not tell": (lambda: of_unknown_length(silence(5)), {TOO_LONG}),
    "5 hours of Matroska in the header only": (lambda: with_duration(5 * HOURS), {TOO_LONG}),
    "endless Matroska": (lambda: with_duration(float("inf")), NO_FAULT_OF_OURS),
    "Matroska of no length": (lambda: with_duration(float("nan")), NO_FAULT_OF_OURS),
    "Matroska that ends before it begins": (lambda: with_duration(-1e300), NO_FAULT_OF_OURS),
    "Ogg of a thousand years": (lambda: with_last_position(2**62), NO_FAULT_OF_OURS),
    "Ogg that ends before it begins": (lambda: with_last_position(-(2**62)), NO_FAULT_OF_OURS),
}


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("way", ["openai", "lesan", "lightning", "asr"])
def test_what_is_found_out_when_it_is_decoded(way: str, kind: str, client: httpx2.Client) -> None:
    file, outcomes = LATE[kind]
    surface = SURFACES[way]
    assert surface.outcome(client, surface.send(client, file())) in outcomes
