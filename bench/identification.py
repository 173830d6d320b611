"""How well people are recognized by their voices: verification, identification among the enrolled, and its cost.

    python -m bench.identification --folder FOLDER [--folder FOLDER] [--strangers FOLDER] [--only embedded,resemblyzer]

Recordings are named as LibriSpeech names them, SPEAKER-CHAPTER-NUMBER, flac or wav. Of each speaker, pieces of 5 s are
enrolled and pieces of 3 s tested: speech only (by energy), cut and put together at random, and never compared where
both have a piece of the same recording. Those in a folder of strangers are never enrolled. Clean, by telephone (8 kHz,
mu-law), and enrolled clean and tested by telephone.

EER         every tested piece against every enrolled piece, error where both kinds of errors are equally many
3 mean      the same with three enrolled pieces, scored by the mean of their vectors
3 best      the same, scored by the most similar of the three
named       pieces of enrolled people that get the right name
wrong       pieces of enrolled people that get another's name
unknown     pieces of people left out of the enrolled that are called unknown
strangers   pieces of strangers that are called unknown

A name is given by the threshold that the model is shipped with; and, marked with *, by one that is fitted on everybody
but the person in question: by logistic regression on all three conditions, on the score of the right person against the
best score of all others. Prints a table for each model, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.labelled_speech import RATE
from bench.option import count, some_of
from bench.report import figure, print_table
from bench.verification import Scores, equal_error, fit
from bench.voice import Audio, Pieces, Vectors, collect, read_speech
from stream_server.settings import Settings
from stream_server.speakers.embedder import Calibration, Embedder, EmbedderError
from stream_server.speakers.loading import load_embedder

ENROLLED_SEC: Final = 5.0
TESTED_SEC: Final = 3.0
CONDITIONS: Final = {
    "clean": ("clean", "clean"),
    "telephone": ("telephone", "telephone"),
    "clean to telephone": ("clean", "telephone"),
}
EMBEDDERS: Final = ("embedded", "resemblyzer")
DRAWS: Final = 20


@dataclass(frozen=True, slots=True)
class Verification:
    """Equal error rates, from 0 to 1."""

    eer: float
    three_mean: float
    three_best: float


@dataclass(frozen=True, slots=True)
class Naming:
    """Shares of tested pieces, from 0 to 1, each person enrolled by one piece; ``strangers`` is None without any."""

    named: float
    wrong: float
    unknown: float
    strangers: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one embedder in one condition, named by the threshold as shipped, and as fitted on the others."""

    verification: Verification
    shipped: Naming
    fitted: Naming


def trials(enrolled: Pieces, tested: Pieces, condition: str) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """``[enrolled, tested]``: cosines, and 1 for the same person, 0 for another, -1 for what is no trial."""
    by, at = CONDITIONS[condition]
    same = enrolled.speaker[:, None] == tested.speaker[None]
    shared = (enrolled.taken.astype(np.int32) @ tested.taken.T.astype(np.int32)) > 0
    kind = np.where(same, np.where(shared, -1, 1), 0).astype(np.int8)
    return enrolled.vectors[by] @ tested.vectors[at].T, kind


def fitted(
    enrolled: Pieces, tested: Pieces, draws: Sequence[NDArray[np.int64]], without: int | None = None
) -> Calibration:
    """Over all conditions; without one person, enrolled or tested.

    A name is looked for among many, so a tested piece counts twice: with the one person it is of, and with the most
    similar of all others.
    """
    same: list[float] = []
    different: list[float] = []
    for condition in CONDITIONS:
        scores, kind = trials(enrolled, tested, condition)
        for draw in draws:
            chosen = draw[enrolled.speaker[draw] != without]
            for test in np.flatnonzero(tested.speaker != without):
                is_own = enrolled.speaker[chosen] == tested.speaker[test]
                cosines = scores[chosen, test]
                different.append(float(cosines[~is_own].max()))
                same += cosines[is_own & (kind[chosen, test] == 1)].tolist()
    return fit(np.array(same), np.array(different))


def three(enrolled: Pieces, tested: Pieces, condition: str, rng: np.random.Generator) -> tuple[float, float]:
    """Equal error rates with three enrolled pieces: by the mean of the vectors, and by the best of the scores."""
    by, at = CONDITIONS[condition]
    means: tuple[list[Scores], list[Scores]] = ([], [])
    bests: tuple[list[Scores], list[Scores]] = ([], [])
    for speaker in np.unique(enrolled.speaker):
        own = np.flatnonzero(enrolled.speaker == speaker)
        for _ in range(len(own)):
            chosen = rng.choice(own, 3, replace=False)
            vectors = enrolled.vectors[by][chosen]
            mean = vectors.mean(axis=0)
            cosines = tested.vectors[at] @ vectors.T
            free = ~(tested.taken & enrolled.taken[chosen].any(axis=0)).any(axis=1)
            is_same = tested.speaker == speaker
            for into, mask in ((0, ~is_same), (1, is_same & free)):
                means[into].append((tested.vectors[at] @ mean / np.linalg.norm(mean))[mask].astype(float))
                bests[into].append(cosines.max(axis=1)[mask].astype(float))
    by_mean, by_best = (equal_error(np.concatenate(scores[1]), np.concatenate(scores[0])) for scores in (means, bests))
    return by_mean, by_best


def identify(
    enrolled: Pieces,
    tested: Pieces,
    strangers: Pieces | None,
    condition: str,
    draws: Sequence[NDArray[np.int64]],
    thresholds: Mapping[int | None, float],
) -> Naming:
    """Who is named how by these thresholds, which may be another for each person; that of None is for strangers."""
    by, at = CONDITIONS[condition]
    scores, kind = trials(enrolled, tested, condition)
    right, wrong, unknown, foreign = [], [], [], []
    for chosen in draws:
        for test in range(len(tested.speaker)):
            speaker = int(tested.speaker[test])
            is_own = enrolled.speaker[chosen] == speaker
            cosines, threshold = scores[chosen, test], thresholds[speaker]
            unknown.append(cosines[~is_own].max() < threshold)
            if kind[chosen[is_own][0], test] == 1:
                best = int(np.argmax(cosines))
                sure = cosines[best] >= threshold
                right.append(sure and is_own[best])
                wrong.append(sure and not is_own[best])
        if strangers is not None:
            foreign.append((enrolled.vectors[by][chosen] @ strangers.vectors[at].T).max(axis=0) < thresholds[None])
    named, mistaken, refused = (float(np.mean(each)) for each in (right, wrong, unknown))
    return Naming(named, mistaken, refused, float(np.mean(foreign)) if foreign else None)


def measure(
    embedder: Embedder,
    people: Mapping[str, Sequence[Audio]],
    strangers: Mapping[str, Sequence[Audio]],
    number: int,
    seed: int,
) -> tuple[dict[str, Row], Calibration, float]:
    """The rows of the table, the threshold and slope fitted on everybody, and CPU-seconds per second of speech."""
    rng = np.random.default_rng(seed)
    spent = heard = 0.0

    def embed(audio: Audio) -> Vectors:
        nonlocal spent, heard
        before = time.process_time()
        vector = embedder.embed(audio)
        spent += time.process_time() - before
        heard += len(audio) / RATE
        return vector

    enrolled = collect(people, ENROLLED_SEC, number, embed, rng)
    tested = collect(people, TESTED_SEC, number, embed, rng)
    foreign = collect(strangers, TESTED_SEC, number, embed, rng) if strangers else None
    speakers = np.unique(enrolled.speaker)
    # Who is enrolled by which piece, again and again by chance.
    draws = [
        np.array([rng.choice(np.flatnonzero(enrolled.speaker == speaker)) for speaker in speakers])
        for _ in range(DRAWS)
    ]
    everybody = fitted(enrolled, tested, draws)
    people_and_none = (*speakers.tolist(), None)
    fits = {each: everybody if each is None else fitted(enrolled, tested, draws, each) for each in people_and_none}
    shipped = dict.fromkeys(people_and_none, embedder.calibration.threshold)
    rows = {}
    for condition in CONDITIONS:
        scores, kind = trials(enrolled, tested, condition)
        eer = equal_error(scores[kind == 1].astype(float), scores[kind == 0].astype(float))
        rows[condition] = Row(
            Verification(eer, *three(enrolled, tested, condition, rng)),
            identify(enrolled, tested, foreign, condition, draws, shipped),
            identify(enrolled, tested, foreign, condition, draws, {each: fits[each].threshold for each in fits}),
        )
    return rows, everybody, spent / heard


def percent(share: float | None) -> str:
    return figure(None if share is None else 100 * share, "%", 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, action="append", required=True, help="recordings of known speakers")
    parser.add_argument(
        "--strangers", type=Path, action="append", default=[], help="recordings of people never enrolled"
    )
    parser.add_argument("--only", type=some_of(EMBEDDERS), default=EMBEDDERS, help=f"of {','.join(EMBEDDERS)}")
    parser.add_argument("--pieces", type=count, default=20, help="of each speaker and length")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    people, strangers = read_speech(options.folder), read_speech(options.strangers)
    if len(people) < 3 or min(map(len, people.values())) < 2:
        print("error: three speakers with two recordings each are the least", file=sys.stderr)
        return 1
    print(f"{len(people)} speakers, {len(strangers)} strangers, {options.pieces} pieces of each, seed {options.seed}\n")
    result = {}
    for name in options.only:
        try:
            embedder = load_embedder(Settings.load(speaker_embedding=name))
        except EmbedderError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        rows, fit_of_all, cost = measure(embedder, people, strangers, options.pieces, options.seed)
        shares = ("named", "wrong", "unknown", "strangers")
        headings = ("", "EER", "3 mean", "3 best", *shares, *(f"{share} *" for share in shares))
        cells = [
            (each, *(percent(value) for part in asdict(row).values() for value in part.values()))
            for each, row in rows.items()
        ]
        print_table(embedder.name, headings, cells)
        shipped = embedder.calibration
        print(
            f"fitted: threshold {fit_of_all.threshold:.3f}, slope {fit_of_all.slope:.1f}; "
            f"shipped: {shipped.threshold:.3f}, {shipped.slope:.1f}; {cost:.4f} CPU-s per second of speech\n"
        )
        result[name] = {
            "rows": {each: asdict(row) for each, row in rows.items()},
            "fitted": asdict(fit_of_all),
            "shipped": asdict(shipped),
            "cpu_per_sec": cost,
        }
    print(json.dumps({"bench": "identification", "speakers": len(people), "strangers": len(strangers), **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
