"""SubRip (srt) and WebVTT (vtt), written from cues.

WebVTT is https://www.w3.org/TR/webvtt1/; SubRip has no standard and is written as every player reads it: it has no way
to escape anything, and no place for a speaker but the text. It does not know how a transcript is cut to cues.
"""

from __future__ import annotations

from stream_protocol import Transcript
from stream_server.formats.cue import MAX_LINE_CHARS, cues
from stream_server.formats.line import one_line


def render_srt(transcript: Transcript, max_line: int = MAX_LINE_CHARS) -> str:
    """SubRip: numbered cues, decimal comma, the speaker before the words where it changes."""
    blocks = []
    for number, cue in enumerate(cues(transcript, max_line, labels=True), 1):
        text = "\n".join(cue.lines)
        blocks.append(f"{number}\n{_time(cue.start_ms, ',')} --> {_time(cue.end_ms, ',')}\n{text}\n")
    return "\n".join(blocks)


def render_vtt(transcript: Transcript, max_line: int = MAX_LINE_CHARS) -> str:
    """WebVTT: decimal point, markup escaped, the speaker as a voice span."""
    blocks = ["WEBVTT\n"]
    for cue in cues(transcript, max_line):
        text = "\n".join(_escape(line) for line in cue.lines)
        voice = f"<v {_escape(one_line(cue.speaker))}>" if cue.speaker else ""
        blocks.append(f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}\n{voice}{text}\n")
    return "\n".join(blocks)


def _time(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
