"""Transcripts as files: one pure function per format. It knows nothing of jobs, HTTP or terminals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stream_protocol import Transcript
from stream_server.formats.document import render_json
from stream_server.formats.plain import render_txt
from stream_server.formats.subtitle import render_srt, render_vtt

FORMATS: Final[dict[str, Callable[[Transcript], str]]] = {
    "txt": render_txt,
    "json": render_json,
    "srt": render_srt,
    "vtt": render_vtt,
}


def render(transcript: Transcript, name: str) -> str:
    """The transcript in the format called ``name`` (a key of ``FORMATS``, also the file's extension).

    Raises:
        KeyError: there is no such format.
    """
    return FORMATS[name](transcript)


__all__ = ["FORMATS", "render", "render_json", "render_srt", "render_txt", "render_vtt"]
