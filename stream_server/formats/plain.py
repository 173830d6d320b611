"""Plain text: one line per segment, with the speaker where it changes. It knows no times."""

from __future__ import annotations

from stream_protocol import Transcript
from stream_server.formats.line import one_line


def render_txt(transcript: Transcript) -> str:
    """Lines of text, each ended by a newline; empty for silence."""
    lines = []
    speaker = None
    for segment in transcript.segments:
        text = one_line(segment.text)
        if not text:
            continue
        changed = segment.speaker is not None and segment.speaker != speaker
        speaker = segment.speaker
        lines.append(f"{one_line(segment.speaker or '')}: {text}\n" if changed else f"{text}\n")
    return "".join(lines)
