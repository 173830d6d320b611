"""What a second of speech costs: CPU time of the server, and of Moonshine's own streaming runtime beside it.

Both stream the same recordings with new text every 0.5 s: the server at real speed, for fed faster it would
leave out partials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.accuracy import Streamed
from bench.corpus import Clip
from bench.peer import Peer
from bench.report import Check, figure, print_table
from bench.score import WordErrors, score


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU time of both; ``alone_cpu_per_sec`` is the server's with a single caller. Word errors need transcripts."""

    streamed: Streamed
    alone_cpu_per_sec: float | None
    peer: Peer
    errors: WordErrors | None
    peer_errors: WordErrors | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "streams": self.streamed.streams,
            "audio_sec": self.streamed.audio_sec,
            "cpu_per_sec": round(self.streamed.cpu_per_sec, 4),
            "alone_cpu_per_sec": self.alone_cpu_per_sec,
            "wer": None if self.errors is None else round(self.errors.percent, 2),
            "peer": {
                "audio_sec": self.peer.audio_sec,
                "cpu_per_sec": round(self.peer.cpu_per_sec, 4),
                "wer": None if self.peer_errors is None else round(self.peer_errors.percent, 2),
            },
        }

    def checks(self) -> list[Check]:
        ours, peer = self.streamed.cpu_per_sec, self.peer.cpu_per_sec
        return [
            Check("CPU-seconds per second of speech", ours, 0.08, 0.05),
            Check("CPU time / that of Moonshine's own streaming", ours / peer, 0.5),
        ]

    def print(self) -> None:
        streams, percent = self.streamed.streams, None if self.errors is None else self.errors.percent
        peer_percent = None if self.peer_errors is None else self.peer_errors.percent
        rows = [
            (f"server, {streams} streams", figure(self.streamed.cpu_per_sec, "", 4), figure(percent, "%", 2)),
            ("Moonshine's own streaming", figure(self.peer.cpu_per_sec, "", 4), figure(peer_percent, "%", 2)),
        ]
        if self.alone_cpu_per_sec is not None:
            rows.insert(1, ("server, one stream", figure(self.alone_cpu_per_sec, "", 4), "-"))
        print_table("CPU-seconds per second of audio, text every 0.5 s", ("", "CPU-s/s", "WER"), rows)


def compare(clips: Sequence[Clip], streamed: Streamed, alone_cpu_per_sec: float | None, peer: Peer) -> Cost:
    """Put the two beside each other, with what the text is worth where that is known."""
    errors = peer_errors = None
    if all(clip.reference is not None for clip in clips):
        references = [clip.reference or "" for clip in clips]
        errors, peer_errors = score(references, streamed.texts), score(references, peer.texts)
    return Cost(streamed, alone_cpu_per_sec, peer, errors, peer_errors)
