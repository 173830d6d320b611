"""A transcript for qualitative analysis, as MAXQDA imports it ("Transcripts with timestamps") and its kin read it.

Plain text. Each segment is a paragraph that begins with a time in the notation of f4, ``#00:01:20-5#`` (hours, minutes,
seconds, tenths), which these programs turn into a link to the recording. The speaker follows at once, where it changes,
with a colon: what stands at the start of a paragraph once the time is taken out becomes the speaker. A blank line parts
the paragraphs.
"""

from __future__ import annotations

from stream_protocol import Transcript
from stream_server.formats.line import one_line


def render_maxqda(transcript: Transcript) -> str:
    """Paragraphs with times, each ended by a newline; empty for silence."""
    paragraphs = []
    speaker = None
    for segment in transcript.segments:
        text = one_line(segment.text)
        if not text:
            continue
        label = f"{_label(segment.speaker)}: " if segment.speaker and segment.speaker != speaker else ""
        speaker = segment.speaker
        paragraphs.append(f"#{_time(segment.start_ms)}#{label}{text}\n")
    return "\n".join(paragraphs)


def _label(speaker: str) -> str:
    """A colon within the name would end it."""
    return one_line(speaker.replace(":", " "))


def _time(ms: int) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}-{ms // 100}"
