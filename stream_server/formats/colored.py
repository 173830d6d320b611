"""The transcript as a page to read, each speaker in a colour: HTML with inline styles, so that it can be pasted.

Every colour stands out from the white ground with a contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3), and the name is
written too, so that nobody has to tell colours apart (1.4.1). With more speakers than colours they are used again.
"""

from __future__ import annotations

from html import escape
from typing import Final

from stream_protocol import Transcript
from stream_server.formats.line import one_line

GROUND: Final = "#ffffff"
COLORS: Final = ("#0b5394", "#a61c00", "#1e6b1e", "#6a1b9a", "#8a5a00", "#00696b", "#ad1457", "#4a4a4a")
PLAIN: Final = "#1a1a1a"
"""Where no speaker is known."""

_PAGE: Final = """<!DOCTYPE html>
<html lang="{language}">
<head><meta charset="utf-8"><title>Transcript</title></head>
<body style="background-color:{ground};color:{plain};font-family:sans-serif;line-height:1.5">
{paragraphs}</body>
</html>
"""


def render_colored_text(transcript: Transcript) -> str:
    """A whole page: a paragraph for each segment, the speaker's name before the text where it changes."""
    colors: dict[str, str] = {}
    paragraphs = []
    speaker = None
    for segment in transcript.segments:
        text = escape(one_line(segment.text))
        if not text:
            continue
        if segment.speaker and segment.speaker != speaker:
            text = f"<strong>{escape(one_line(segment.speaker))}:</strong> {text}"
        speaker = segment.speaker
        color = colors.setdefault(speaker, COLORS[len(colors) % len(COLORS)]) if speaker else PLAIN
        paragraphs.append(f'<p dir="auto" style="color:{color}">{text}</p>\n')
    language = "" if transcript.language == "auto" else escape(transcript.language)
    return _PAGE.format(language=language, ground=GROUND, plain=PLAIN, paragraphs="".join(paragraphs))
