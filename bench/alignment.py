"""How far the word times of the embedded model are from the truth.

The truth is speech built here: every word is synthesized by itself with espeak-ng, trimmed of its silence by energy,
and set down at a known sample with a known gap to the next. The model then hears the whole, and each word it got right
is compared with where that word really is. Prints a table, then one line of JSON.

    python bench/alignment.py [--utterances 48] [--seed 1]
"""

import argparse
import difflib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from stream_server.engine.moonshine.alignment import align_words
from stream_server.engine.moonshine.asset import find_assets
from stream_server.engine.moonshine.model import Model
from stream_server.engine.moonshine.request import Request
from stream_server.engine.moonshine.tokenizer import Tokenizer

SAMPLE_RATE = 16000
VOICES = ("en-us", "en-gb", "en-us+f2", "en-gb+f4", "en-us+m3", "en-gb-scotland")
SPEEDS = (130, 150, 175)
SENTENCES = (
    "the morning train leaves the station before seven",
    "please send every letter to my brother in london",
    "nobody remembers what happened during that long winter",
    "she bought seven apples and gave two away",
    "our company will open another office next year",
    "old friends often tell the same story twice",
    "water runs slowly under the wooden bridge",
    "children were playing music in the garden yesterday",
    "could you repeat the number of your account",
    "the doctor said that everything looks perfectly normal",
    "most people never read the second page",
    "a small yellow bird was singing outside my window",
)


@dataclass(frozen=True)
class Condition:
    """How the words are put together: the longest gap between two, and the level of white noise below the speech."""

    gap_ms: int = 300
    snr_db: float = 50.0


CONDITIONS = {
    "gaps to 300 ms": Condition(),
    "no gaps": Condition(gap_ms=0),
    "gaps, noise 20 dB": Condition(snr_db=20),
    "gaps, noise 10 dB": Condition(snr_db=10),
    "no gaps, noise 10 dB": Condition(gap_ms=0, snr_db=10),
}


@dataclass(frozen=True)
class Speech:
    """Audio at 16 kHz and its words: `(word, start, end)` in samples."""

    audio: NDArray[np.float32]
    words: tuple[tuple[str, int, int], ...]


def say(word: str, voice: str, speed: int) -> NDArray[np.float32]:
    """One word by espeak-ng at 16 kHz, cut to where its energy, in windows of 5 ms, is within 30 dB of its peak."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", word]
    wave = subprocess.run(command, check=True, capture_output=True).stdout
    # espeak-ng streams a header with a made-up length: take the samples behind it.
    rate = int.from_bytes(wave[24:28], "little")
    samples = np.frombuffer(wave[44 : len(wave) - len(wave) % 2], "<i2").astype(np.float32) / 32768
    audio = soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)
    window = SAMPLE_RATE // 200
    energy = (audio[: len(audio) // window * window].reshape(-1, window) ** 2).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 1e-3)
    return np.asarray(audio[loud[0] * window : (loud[-1] + 1) * window])


def build(
    sentence: str, voice: str, speed: int, random: np.random.Generator, condition: Condition = Condition()
) -> Speech:
    """A sentence with known gaps between its words, and 0 to 800 ms of silence before and after it."""
    parts: list[NDArray[np.float32]] = []
    words = []
    at = 0
    for index, word in enumerate(sentence.split()):
        longest = 800 if index == 0 else condition.gap_ms
        gap = np.zeros(int(random.integers(0, longest + 1)) * SAMPLE_RATE // 1000, np.float32)
        spoken = say(word, voice, speed)
        start = at + len(gap)
        at = start + len(spoken)
        parts += [gap, spoken]
        words.append((word, start, at))
    parts.append(np.zeros(int(random.integers(0, 801)) * SAMPLE_RATE // 1000, np.float32))
    audio = np.concatenate(parts)
    level = np.sqrt((np.concatenate(parts[1::2]) ** 2).mean()) * 10 ** (-condition.snr_db / 20)
    audio += (random.standard_normal(len(audio)) * level).astype(np.float32)
    return Speech(audio, tuple(words))


def measure(speech: Speech, model: Model, tokenizer: Tokenizer) -> list[tuple[float, float]]:
    """Errors of start and end, in ms, of each word that was recognised."""
    (heard,) = model.decode([Request(speech.audio, align=True)])
    assert heard.attention is not None
    found = align_words(tokenizer.group(heard.tokens), heard.attention, speech.audio)
    said = [word for word, _, _ in speech.words]
    matcher = difflib.SequenceMatcher(
        a=said, b=[re.sub(r"\W", "", word.lower()) for word, _, _ in found], autojunk=False
    )
    errors = []
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            _, start, end = speech.words[block.a + offset]
            _, first, last = found[block.b + offset]
            errors.append(((first - start) * 1000 / SAMPLE_RATE, (last - end) * 1000 / SAMPLE_RATE))
    return errors


def summarize(errors: list[tuple[float, float]], spoken: int) -> dict[str, float]:
    """Medians and 90th percentiles of the absolute errors, and how many of all are at most 80 ms."""
    sizes = np.abs(np.array(errors))
    row: dict[str, float] = {"words": spoken, "matched": len(errors)}
    for column, name in enumerate(("start", "end")):
        row[f"{name}_median_ms"] = round(float(np.median(sizes[:, column])))
        row[f"{name}_p90_ms"] = round(float(np.percentile(sizes[:, column], 90)))
    row["within_80_ms"] = round(float((sizes <= 80).mean()), 4)
    return row


def main() -> None:
    """Build the speech, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=48)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        parser.error("espeak-ng is not installed: apt-get install espeak-ng")
    assets = find_assets()
    model, tokenizer = Model(assets), Tokenizer.load(assets.tokenizer)
    report: dict[str, dict[str, float]] = {}
    print(
        f"{'condition':<24}{'words':>7}{'matched':>9}{'start ms':>10}{'p90':>6}{'end ms':>8}{'p90':>6}{'<= 80 ms':>10}"
    )
    for name, condition in CONDITIONS.items():
        random = np.random.default_rng(options.seed)
        errors, spoken = [], 0
        for index in range(options.utterances):
            voice, speed = VOICES[index % len(VOICES)], SPEEDS[index // len(VOICES) % len(SPEEDS)]
            speech = build(SENTENCES[index * 5 % len(SENTENCES)], voice, speed, random, condition)
            spoken += len(speech.words)
            errors += measure(speech, model, tokenizer)
        report[name] = row = summarize(errors, spoken)
        print(
            f"{name:<24}{row['words']:>7}{row['matched']:>9}{row['start_median_ms']:>10}{row['start_p90_ms']:>6}"
            f"{row['end_median_ms']:>8}{row['end_p90_ms']:>6}{row['within_80_ms']:>10.1%}"
        )
    print(json.dumps({"bench": "alignment", "conditions": report}))


if __name__ == "__main__":
    main()
