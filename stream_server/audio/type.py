"""Which kind of file this is, by its first bytes. It does not know how one is decoded, nor what the file is called.

A fixed table, so that images, documents, archives and playlists are refused before they are stored. Sources: the
formats' own documents; the frame headers of MPEG audio (ISO/IEC 11172-3) and of ADTS (ISO/IEC 13818-7).
"""

from __future__ import annotations

from typing import Final

HEAD_BYTES: Final = 4096
"""As much as `detect` ever looks at."""

COMMON: Final = ("wav", "mp3", "flac", "ogg", "m4a", "webm", "aac")
"""What callers are told to send. AIFF, AMR, AU, AVI, CAF, FLV, MOV, MPEG, WavPack and WMA are read as well."""

_W64: Final = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_ASF: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")

_MAGIC: Final = (
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"caff", "caf"),
    (b"#!AMR", "amr"),
    (b".snd", "au"),
    (b"FLV\x01", "flv"),
    (b"wvpk", "wv"),
    (b"\x0bw", "ac3"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (_W64, "w64"),
    (_ASF, "wma"),
)
_RIFF: Final = {b"WAVE": "wav", b"AVI ": "avi"}
_PICTURES: Final = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"heif", b"mif1", b"msf1", b"crx ")

_SAMPLE_RATES: Final = (44100, 48000, 32000)
# kbit/s by (MPEG-1, layer) and index: 1 to 14.
_BIT_RATES: Final = {
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def detect(head: bytes) -> str | None:
    """The format of the file that begins with ``head``, as ``wav`` or ``m4a``; None where we do not read it.

    head: the first `HEAD_BYTES` of the file, or all of a shorter one.
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] in (b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _mp4(head)
    if head.startswith(b"\x1aE\xdf\xa3"):
        return _matroska(head)
    if head.startswith(b"ID3") and len(head) >= 10:
        return _tagged(head)
    return _frames(head) or _transport_stream(head)


def _mp4(head: bytes) -> str | None:
    if head[4:8] not in (b"ftyp", b"styp"):
        return "mov"  # QuickTime files of old begin without a type
    brand = head[8:12]
    if brand in _PICTURES:
        return None
    if brand == b"qt  ":
        return "mov"
    return "m4a" if brand in (b"M4A ", b"M4B ", b"M4P ") else "mp4"


def _matroska(head: bytes) -> str | None:
    # The DocType is an element of the header, which is short; a browser may leave it out of order.
    if b"webm" in head[:128]:
        return "webm"
    return "mkv" if b"matroska" in head[:128] else None


def _tagged(head: bytes) -> str:
    """What lies behind an ID3v2 tag (a header of 10 bytes, a size of 7 bits per byte in it): MP3, if too far away."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    rest = head[10 + size :]
    if rest.startswith(b"fLaC"):
        return "flac"
    return _frames(rest) or "mp3"


def _frames(head: bytes) -> str | None:
    """MP3 or ADTS: two bytes at the right place are common, a second header where the first frame ends is not."""
    for name, length_of in (("aac", _adts_bytes), ("mp3", _mpeg_bytes)):
        first = length_of(head)
        if first and (len(head) < first + 7 or length_of(head[first:])):
            return name
    return None


def _mpeg_bytes(head: bytes) -> int:
    """The length of the frame of MPEG audio, layer 2 or 3, that begins here; 0 where none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, sampling, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer in (1, 4) or rate in (0, 15) or sampling == 3:
        return 0
    is_first = version == 3
    bits = _BIT_RATES[is_first, layer][rate - 1] * 1000
    hertz = _SAMPLE_RATES[sampling] >> (0 if is_first else 1 if version == 2 else 2)
    return (144 if layer == 2 or is_first else 72) * bits // hertz + padding


def _adts_bytes(head: bytes) -> int:
    """The length of the ADTS frame that begins here; 0 where none does."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 0xF > 12:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0


def _transport_stream(head: bytes) -> str | None:
    """Packets of 188 bytes, each with its mark; in files of cameras behind 4 bytes of time."""
    for first, packet in ((0, 188), (4, 192)):
        marks = head[first::packet]
        if len(marks) >= 3 and set(marks) == {0x47}:
            return "mpegts"
    return None
