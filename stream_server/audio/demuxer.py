"""Which container a live stream is, by its first bytes. It does not know how one is decoded.

Two demuxers step back in the beginning of a stream, and can do so only within what they got in one read: MP4's in the
moov box, MP3's in the first frame (they give up, or lose audio, otherwise). These two are held back until it is whole.
"""

from __future__ import annotations

from typing import Final

from stream_server.audio.error import UnsupportedAudio

_MAGIC_BYTES: Final = 8
_MP3_BYTES: Final = 512


def demuxer_for(head: bytes) -> str | None:
    """FFmpeg's name for the container that begins with `head`, or None while that is too short to begin decoding.

    A fixed table, and not FFmpeg's own guess: some of its demuxers are playlists that open other files and addresses.

    Raises:
        UnsupportedAudio: none of those in the table.
    """
    if len(head) < _MAGIC_BYTES:
        return None
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if head.startswith(b"OggS"):
        return "ogg"
    if head.startswith(b"fLaC"):
        return "flac"
    if head[4:8] in (b"ftyp", b"styp"):
        return "mp4" if _has_movie_header(head) else None
    if head.startswith(b"ID3"):
        return "mp3" if len(head) >= 10 and len(head) >= _tag_bytes(head) + _MP3_BYTES else None
    if head[:1] == b"\xff" and head[1] & 0xF6 == 0xF0:
        return "aac"
    if head[:1] == b"\xff" and head[1] & 0xE0 == 0xE0 and head[1] & 0x06:
        return "mp3" if len(head) >= _MP3_BYTES else None
    raise UnsupportedAudio(
        f"the container begins with the bytes {head[:_MAGIC_BYTES].hex(' ')}; "
        "allowed: WebM or Matroska, Ogg, MP3, FLAC, fragmented MP4, AAC (ADTS), WAV"
    )


def _tag_bytes(head: bytes) -> int:
    """The length of the ID3v2 tag that begins here: a header of 10 bytes, and a size of 7 bits per byte in it."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _has_movie_header(head: bytes) -> bool:
    """Whether an MP4's moov box is here whole."""
    at = 0
    while at + 8 <= len(head):
        size, name = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if name in (b"moof", b"mdat"):
            raise UnsupportedAudio(
                "the MP4 has its audio before its moov header; only a fragmented MP4 can be streamed"
            )
        if name == b"moov" or size < 8:
            return at + size <= len(head)
        at += size
    return False
