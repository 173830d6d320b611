"""RTTM, the format in which diarization is compared: a line for each turn, ten fields with single spaces between.

NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix A. It holds no text. Only the
fields that a turn has are filled: the recording, its channel, from when, for how long, by whom; times are seconds.
"""

from __future__ import annotations

from typing import Final

from stream_protocol import Transcript
from stream_server.formats.line import one_line

RECORDING: Final = "recording"
"""A transcript does not know what its recording is called."""


def render_rttm(transcript: Transcript) -> str:
    """Lines in order of time; none where speakers were not told apart."""
    return "".join(
        f"SPEAKER {RECORDING} 1 {_seconds(turn.start_ms)} {_seconds(turn.end_ms - turn.start_ms)} "
        f"<NA> <NA> {_name(turn.speaker)} <NA> <NA>\n"
        for turn in sorted(transcript.turns)
        if turn.start_ms < turn.end_ms
    )


def _name(speaker: str) -> str:
    """A space would end the field."""
    return one_line(speaker).replace(" ", "_") or "<NA>"


def _seconds(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03}"
