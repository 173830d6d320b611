"""How well each voice activity detector cuts speech: missed speech, false speech, boundary error, cost.

Run from the root of the repository:

    python -m bench.segmentation [--folder FLACS] [--seconds 60] [--seed 7] [--plot segmentation.png]

It prints two tables (all variants by group of conditions; the two backends as shipped by condition), then one line of
JSON. Every figure is about whole segments, as the server would cut them, not about single frames:

missed      speech outside the audio handed to the recognizer, % of speech
trimmed     speech outside what was judged speech (pre-roll and padding not counted), % of speech
false       time judged speech that is none, % of the time that is none (pauses too short to end a segment not counted)
start, end  judged boundary minus true boundary, ms: median, and 95th percentile of its absolute value
segments    found / true
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.labelled_speech import HOP, RATE, Clip, build, close_gaps
from stream_server.audio.segmenter import SegmentEnded, Segmenter, SegmenterSettings, SegmentStarted
from stream_server.audio.vad import VadModel, VadSettings, VadUnavailableError, load_vad
from stream_server.speakers.span import runs

GROUPS = {
    "quiet room": ("clean", "quiet -20 dB"),
    "continuous": ("continuous",),
    "telephone": ("mu-law 8 kHz", "mu-law + pink 10 dB"),
    "noise": tuple(f"{name} {ratio} dB" for name in ("white", "pink") for ratio in (20, 10, 5)),
    "babble": tuple(f"babble {ratio} dB" for ratio in (20, 10, 5)),
    "music": ("music 10 dB",),
    "noise alone": ("white alone", "pink alone", "room noise alone"),
    "babble alone": ("babble alone",),
    "music alone": ("chords alone", "arpeggios alone", "drums alone"),
}


@dataclass(frozen=True)
class Variant:
    """A detector as it is tried. votes: average its output over so many frames first."""

    name: str
    model: VadModel
    settings: SegmenterSettings = field(default_factory=SegmenterSettings)
    votes: int = 1


@dataclass(frozen=True)
class Score:
    """The figures of one variant in one condition; times in hops until they are printed."""

    speech: int
    missed: int
    trimmed: int
    silence: int
    false: int
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    found: int
    true: int
    unheard: int

    def row(self) -> dict[str, float | int]:
        """The figures to print."""
        row: dict[str, float | int] = {
            "missed": percent(self.missed, self.speech),
            "trimmed": percent(self.trimmed, self.speech),
            "false": percent(self.false, self.silence),
            "segments": self.found,
            "true": self.true,
            "unheard": self.unheard,
        }
        for name, errors in (("start", self.starts), ("end", self.ends)):
            if errors:
                row[name] = round(float(np.median(errors)) * 1000 * HOP / RATE)
                row[f"{name}_p95"] = round(float(np.percentile(np.abs(errors), 95)) * 1000 * HOP / RATE)
        return row


def percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def total(scores: Sequence[Score]) -> Score:
    """The scores of several clips as one: every second of audio counts the same."""
    return Score(*(sum(values[1:], values[0]) for values in zip(*(vars(s).values() for s in scores), strict=True)))


def segments(variant: Variant, clip: Clip, probabilities: NDArray[np.float32]) -> list[tuple[int, int, int, int]]:
    """What the segmenter makes of a clip: (start, speech, speech_end, end) of each segment, in hops."""
    frame = variant.model.frame_samples
    segmenter = Segmenter(variant.settings, frame)
    covered = len(probabilities) * frame
    events = segmenter.receive(clip.audio[:covered], probabilities) + segmenter.flush(clip.audio[covered:])
    marks = [event for event in events if isinstance(event, SegmentStarted | SegmentEnded)]
    return [
        (opened.start // HOP, opened.speech // HOP, closed.speech_end // HOP, closed.end // HOP)
        for opened, closed in pairwise(marks)
        if isinstance(opened, SegmentStarted) and isinstance(closed, SegmentEnded)
    ]


def score(variant: Variant, clip: Clip, probabilities: NDArray[np.float32]) -> Score:
    """Compare the segments of a clip with the truth."""
    found = segments(variant, clip, probabilities)
    handed, judged = np.zeros_like(clip.truth), np.zeros_like(clip.truth)
    for start, speech, speech_end, end in found:
        handed[start:end] = True
        judged[speech:speech_end] = True
    utterances = close_gaps(clip.truth, variant.settings.silence_threshold // HOP)
    starts, ends, unheard = [], [], 0
    for begin, end in runs(utterances):
        overlapping = [(s, e) for _, s, e, _ in found if s < end and e > begin]
        if overlapping:
            starts.append(overlapping[0][0] - begin)
            ends.append(overlapping[-1][1] - end)
        else:
            unheard += 1
    return Score(
        speech=int(clip.truth.sum()),
        missed=int((clip.truth & ~handed).sum()),
        trimmed=int((clip.truth & ~judged).sum()),
        silence=int((~utterances).sum()),
        false=int((judged & ~utterances).sum()),
        starts=tuple(starts),
        ends=tuple(ends),
        found=len(found),
        true=len(runs(utterances)),
        unheard=unheard,
    )


def measure(variant: Variant, clips: Sequence[Clip]) -> dict[str, Score]:
    """The score of a variant in each condition."""
    frame = variant.model.frame_samples
    judged = variant.model.detect(
        [variant.model.new_state() for _ in clips], [clip.audio[: len(clip.audio) // frame * frame] for clip in clips]
    )
    scores: dict[str, list[Score]] = {}
    for clip, probabilities in zip(clips, judged, strict=True):
        averaged = np.convolve(probabilities, np.ones(variant.votes) / variant.votes)[: len(probabilities)]
        scores.setdefault(clip.condition, []).append(score(variant, clip, averaged.astype(np.float32)))
    return {condition: total(parts) for condition, parts in scores.items()}


def cost(model: VadModel, audio: NDArray[np.float32], streams: int) -> float:
    """CPU microseconds per second of audio, for so many streams together, each giving 6 s in pieces of about 96 ms."""
    frames = round(0.096 * RATE / model.frame_samples)
    piece = frames * model.frame_samples
    states = [model.new_state() for _ in range(streams)]
    pieces = [audio[first : first + piece] for first in range(0, 6 * RATE - piece, piece)]
    begin = time.process_time()
    for samples in pieces:
        model.detect(states, [samples] * streams)
    return (time.process_time() - begin) * 1e6 / (len(pieces) * piece / RATE * streams)


def changes(settings: VadSettings | SegmenterSettings, default: VadSettings | SegmenterSettings) -> str:
    """What is not as shipped, for the name of a variant."""
    pairs = zip(asdict(settings).items(), asdict(default).values(), strict=True)
    return "webrtc, " + ", ".join(f"{key} {value}" for (key, value), usual in pairs if value != usual)


def variants() -> list[Variant]:
    """All that is tried; the backends as shipped come first."""
    tried = [Variant("webrtc", load_vad("webrtc", VadSettings()))]
    try:
        silero = load_vad("silero", VadSettings())
        tried.append(Variant("silero", silero))
        tried.append(Variant("silero 0.5/0.35", silero, SegmenterSettings(start_threshold=0.5, stop_threshold=0.35)))
    except VadUnavailableError as error:
        print(f"{error}; it is left out\n")
    for mode in range(4):
        plain = load_vad("webrtc", VadSettings(webrtc_mode=mode, noise_margin_db=0))
        tried.append(Variant(f"mode {mode}, no gate", plain))
    plain = load_vad("webrtc", VadSettings(noise_margin_db=0))
    half = SegmenterSettings(start_threshold=0.6, stop_threshold=0.4)
    tried.append(Variant("mode 2, no gate, 5 votes", plain, half, votes=5))
    tried.append(Variant("mode 3, no gate, 10 votes", load_vad("webrtc", VadSettings(3, 0)), half, votes=10))
    detectors = (
        VadSettings(webrtc_mode=1),
        VadSettings(webrtc_mode=3),
        VadSettings(noise_margin_db=3),
        VadSettings(noise_margin_db=6),
        VadSettings(loudness_frames=6),
        VadSettings(noise_frames=150),
        VadSettings(noise_frames=500),
    )
    tried += [Variant(changes(each, VadSettings()), load_vad("webrtc", each)) for each in detectors]
    cuts = (
        SegmenterSettings(min_speech=960),
        SegmenterSettings(min_speech=2_400),
        SegmenterSettings(pre_roll=3_200),
        SegmenterSettings(pre_roll=6_400),
    )
    tried += [Variant(changes(each, SegmenterSettings()), tried[0].model, each) for each in cuts]
    return tried


def print_groups(results: dict[str, dict[str, Score]]) -> None:
    print("missed % / false % by group of conditions")
    print(f"{'':34}" + "".join(f"{group:>15}" for group in GROUPS))
    for name, scores in results.items():
        cells = []
        for members in GROUPS.values():
            row = total([scores[member] for member in members]).row()
            missed = "-" if "alone" in members[0] else f"{row['missed']:.1f}"
            cells.append(f"{missed} / {row['false']:.1f}")
        print(f"{name:34}" + "".join(f"{cell:>15}" for cell in cells))
    print()


def print_conditions(name: str, scores: dict[str, Score]) -> None:
    print(f"{name:22}{'missed':>8}{'trimmed':>9}{'false':>8}{'start':>15}{'end':>15}{'segments':>11}{'unheard':>9}")
    for condition, each in scores.items():
        row = each.row()
        start, end = (f"{row[edge]} / {row[edge + '_p95']}" if edge in row else "-" for edge in ("start", "end"))
        print(
            f"{condition:22}{row['missed']:8.1f}{row['trimmed']:9.1f}{row['false']:8.1f}{start:>15}{end:>15}"
            f"{row['segments']:>6} / {row['true']:<3}{row['unheard']:>7}"
        )
    print()


def plot(path: Path, results: dict[str, dict[str, Score]]) -> None:
    """Missed against false speech, one point per variant, over all conditions with speech."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, scores in results.items():
        row = total([each for each in scores.values() if each.speech]).row()
        axes.scatter(row["false"], row["missed"])
        axes.annotate(name, (row["false"], row["missed"]), fontsize=7, xytext=(4, 2), textcoords="offset points")
    axes.set(xlabel="false speech, % of silence", ylabel="missed speech, % of speech")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare voice activity detectors on a labelled set made on the spot.")
    parser.add_argument("--folder", type=Path, help="flac files to add to the set")
    parser.add_argument("--seconds", type=int, default=60, help="speech from each source, at most")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--plot", type=Path, help="write a picture here (needs matplotlib)")
    arguments = parser.parse_args()

    clips = build(arguments.folder, arguments.seconds, arguments.seed)
    seconds = sum(len(clip.audio) for clip in clips) / RATE
    print(f"{len(clips)} clips, {seconds:.0f} s of audio, seed {arguments.seed}\n")
    tried = variants()
    results = {variant.name: measure(variant, clips) for variant in tried}
    print_groups(results)
    shipped = [variant for variant in tried if variant.name == variant.model.name]
    for variant in shipped:
        print_conditions(variant.name, results[variant.name])
    costs = {
        variant.name: {f"streams_{streams}": round(cost(variant.model, clips[0].audio, streams)) for streams in (1, 64)}
        for variant in shipped
    }
    print("CPU microseconds per second of audio, alone and with 64 streams in a batch:", costs)
    if arguments.plot:
        plot(arguments.plot, results)
    rows = {name: {condition: each.row() for condition, each in scores.items()} for name, scores in results.items()}
    print(json.dumps({"bench": "segmentation", "audio_sec": round(seconds), "results": rows, "cpu_us_per_sec": costs}))


if __name__ == "__main__":
    main()
