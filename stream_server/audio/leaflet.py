"""What a file says of itself, by its header and its tags: length, title, picture. Nothing in it is decoded.

Only a little of the file is read, wherever it lies; a file of which only the beginning is there will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Final

from stream_server.audio.container import audio_track, import_av
from stream_server.audio.error import UnsupportedAudio
from stream_server.audio.track import DEMUXERS

PROBE_BYTES: Final = 512 * 1024
"""As much as FFmpeg reads of the audio to find out what it is."""


@dataclass(frozen=True, slots=True)
class Leaflet:
    """``duration_sec`` and the others are None where the file does not say. ``picture``: a PNG or JPEG file."""

    duration_sec: float | None
    title: str | None
    picture: bytes | None


def read_leaflet(file: BinaryIO, *, largest_picture: int) -> Leaflet:
    """Read it. ``largest_picture``: bytes; a larger one is left out.

    Raises:
        UnsupportedAudio: not audio or video, damaged, or without an audio track that can be decoded.
    """
    av = import_av()
    file.seek(0)
    try:
        options = {"format_whitelist": DEMUXERS, "probesize": str(PROBE_BYTES)}
        with av.open(file, "r", options=options, metadata_errors="replace") as container:
            stream = audio_track(container, "the file")
            duration = None
            if stream.duration is not None and stream.time_base is not None:
                duration = float(stream.duration * stream.time_base)
            elif container.duration is not None:
                duration = container.duration / 1_000_000
            tags = container.metadata | stream.metadata
            title = next((value for name, value in tags.items() if name.lower() == "title" and value), None)
            pictures = [
                video for video in container.streams.video if video.disposition & av.stream.Disposition.attached_pic
            ]
            packet = next(container.demux(pictures[0]), None) if pictures else None
            picture = bytes(packet) if packet is not None and 0 < packet.size <= largest_picture else None
            return Leaflet(duration if duration and duration > 0 else None, title, picture)
    except av.error.FFmpegError as error:
        raise UnsupportedAudio("the file is not audio or video in a known format, or it is damaged") from error
