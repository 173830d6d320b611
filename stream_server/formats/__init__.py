"""Transcripts as files: one pure function per format. It knows nothing of jobs, HTTP or terminals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stream_protocol import Transcript
from stream_server.formats.colored import render_colored_text
from stream_server.formats.document import render_json
from stream_server.formats.maxqda import render_maxqda
from stream_server.formats.plain import render_txt
from stream_server.formats.rttm import render_rttm
from stream_server.formats.subtitle import render_srt, render_vtt
from stream_server.formats.textgrid import render_textgrid, render_textgrid_aligned

_UTF8 = "; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Format:
    """One format: what writes it, what it is called over HTTP, and how its files end."""

    render: Callable[[Transcript], str]
    media_type: str
    extension: str


FORMATS: Final[dict[str, Format]] = {
    "txt": Format(render_txt, "text/plain" + _UTF8, "txt"),
    "json": Format(render_json, "application/json", "json"),
    "srt": Format(render_srt, "application/x-subrip" + _UTF8, "srt"),
    "vtt": Format(render_vtt, "text/vtt" + _UTF8, "vtt"),
    "textgrid": Format(render_textgrid, "text/plain" + _UTF8, "TextGrid"),
    "textgrid_aligned": Format(render_textgrid_aligned, "text/plain" + _UTF8, "TextGrid"),
    "maxqda": Format(render_maxqda, "text/plain" + _UTF8, "txt"),
    "colored_text": Format(render_colored_text, "text/html" + _UTF8, "html"),
    "rttm": Format(render_rttm, "text/plain" + _UTF8, "rttm"),
}

MEDIA_TYPES: Final[dict[str, str]] = {name: entry.media_type for name, entry in FORMATS.items()}

SUBTITLES: Final = {"srt": render_srt, "vtt": render_vtt}
"""The formats that have a length of line."""


def render(transcript: Transcript, name: str, *, max_line: int | None = None) -> str:
    """The transcript in the format called ``name``, a key of ``FORMATS``.

    Args:
        max_line: characters to a line of subtitles; other formats have no lines of that kind.

    Raises:
        KeyError: there is no such format.
    """
    if max_line is not None and name in SUBTITLES:
        return SUBTITLES[name](transcript, max_line)
    return FORMATS[name].render(transcript)


__all__ = ["FORMATS", "MEDIA_TYPES", "Format", "render", "render_json", "render_srt", "render_txt", "render_vtt"]
