"""How good the text of a long recording is: utterances in one file, transcribed as a job, against one by one.

One run says little: a few milliseconds more or less at the start of the recordings move the word error rate by a point
or two, of the plain model as well. So every recording is taken from several starts, and the means are compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final

from bench.accuracy import read_whole
from bench.corpus import SAMPLE_RATE, Clip
from bench.report import Advance, Check, figure, print_table
from bench.score import WordErrors, score
from bench.submission import Desk
from bench.tape import GAP_SEC, Tape, write_joined

STARTS_MS: Final = (0, 10, 20, 30, 50, 70, 90, 110)
"""What is left out of the start of every recording."""

POINTS: Final = 0.5  # how much worse a whole file may be
LONG_GAP_SEC: Final = 1.5
BY_MODEL: Final = "each utterance, plain model"
BY_JOB: Final = "each utterance, a job"
IN_ONE: Final = "all in one file, 1.5 s between"
BY_SPEAKER: Final = "a file a speaker, 0.6 s between"


@dataclass(frozen=True, slots=True)
class WholeFiles:
    """Word errors of every way to read the recordings, one of each start."""

    starts_ms: tuple[int, ...]
    errors: dict[str, tuple[WordErrors, ...]]

    def percent(self, way: str) -> float:
        """The mean over the starts."""
        return mean(errors.percent for errors in self.errors[way])

    def above(self, way: str, than: str) -> tuple[float, float | None]:
        """By how many points ``way`` is worse, mean over the starts, and the standard error of that."""
        pairs = zip(self.errors[way], self.errors[than], strict=True)
        differences = [one.percent - other.percent for one, other in pairs]
        return mean(differences), stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "starts_ms": self.starts_ms,
            "wer": {
                way: {"mean": round(self.percent(way), 2), "starts": [round(each.percent, 2) for each in errors]}
                for way, errors in self.errors.items()
            },
        }

    def checks(self) -> list[Check]:
        return [
            Check(f"WER, {way}, above each by itself", round(self.above(way, BY_MODEL)[0], 2), POINTS, unit="points")
            for way in (IN_ONE, BY_SPEAKER)
        ]

    def print(self) -> None:
        rows = []
        for way, errors in self.errors.items():
            above, error = self.above(way, BY_MODEL)
            first = errors[0]
            rows.append(
                (
                    way,
                    figure(self.percent(way), "%", 2),
                    f"{above:+.2f}",
                    figure(error, "", 2),
                    figure(first.percent, "%", 2),
                    f"{first.words} / {first.substitutions} / {first.deletions} / {first.insertions}",
                )
            )
        headings = ("", "WER", "against the plain model", "standard error", "as they are", "words / sub / del / ins")
        print_table(f"Word errors, mean of {len(self.starts_ms)} starts of the recordings", headings, rows)


async def measure(
    desk: Desk, clips: Sequence[Clip], starts_ms: Sequence[int], folder: Path, advance: Advance
) -> WholeFiles:
    """Transcribe the recordings, all of which have a reference, from each of the starts; ``advance`` counts starts.

    Raises:
        SubmissionError: a job failed.
    """
    errors: dict[str, list[WordErrors]] = {BY_MODEL: [], BY_JOB: [], IN_ONE: [], BY_SPEAKER: []}
    for start in starts_ms:
        each = [write_joined(folder / f"{clip.name}.flac", [clip], 0.0, start_ms=start) for clip in clips]
        joined = [write_joined(folder / "all.flac", clips, LONG_GAP_SEC, start_ms=start)]
        speakers = [
            write_joined(folder / f"speaker-{name}.flac", spoken, GAP_SEC, start_ms=start)
            for name, spoken in by_speaker(clips).items()
        ]
        begun = [replace(clip, audio=clip.audio[start * SAMPLE_RATE // 1000 :]) for clip in clips]
        read = await asyncio.to_thread(read_whole, begun, lambda steps: None)
        errors[BY_MODEL].append(score([tape.reference for tape in each], read))
        for way, tapes in ((BY_JOB, each), (IN_ONE, joined), (BY_SPEAKER, speakers)):
            errors[way].append(await _score_jobs(desk, tapes))
        advance(1)
    return WholeFiles(tuple(starts_ms), {way: tuple(found) for way, found in errors.items()})


def by_speaker(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """The recordings of each speaker: in LibriSpeech's names that is what comes before the first dash."""
    speakers: dict[str, list[Clip]] = {}
    for clip in clips:
        speakers.setdefault(clip.name.partition("-")[0], []).append(clip)
    return speakers


async def _score_jobs(desk: Desk, tapes: Sequence[Tape]) -> WordErrors:
    jobs = await asyncio.gather(*(desk.submit(tape.path) for tape in tapes))
    heard = [(await desk.result(job)).text for job in jobs]
    return score([tape.reference for tape in tapes], heard)
