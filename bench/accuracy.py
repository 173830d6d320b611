"""How good the text is: streamed at real speed, and the same recordings read whole by the same model.

It also looks at what was promised about streamed text, and at how soon it becomes stable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.corpus import SAMPLE_RATE, Clip
from bench.playback import Hearing, Recording, play_all
from bench.reference import ReferenceReader
from bench.report import Advance, Check, Phases, figure, print_table
from bench.score import WordErrors, score
from bench.server import Server
from bench.stability import find_breaches, stable_words
from bench.telephone import RATE, encode, limit_band, widen_band
from stream_client import Latency
from stream_protocol.events import Partial
from stream_server.engine.moonshine.asset import find_assets
from stream_server.settings import Settings
from stream_server.transcribe import Transcriber


@dataclass(frozen=True, slots=True)
class Streamed:
    """All recordings streamed at real speed, ``streams`` at a time, with the server's CPU time for them."""

    streams: int
    texts: tuple[str, ...] = field(repr=False)
    audio_sec: float
    cpu_sec: float
    partials: int
    words: int
    breaches: tuple[str, ...]  # of the promises, in words
    errors: tuple[str, ...]
    stable_lag_mean_ms: float | None
    stable_lag: Latency  # from a word's end to the event that made it stable
    stable_by_partial_percent: float | None  # of the words; the others became stable with the final

    @property
    def cpu_per_sec(self) -> float:
        """CPU-seconds per second of audio."""
        return self.cpu_sec / self.audio_sec


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Word errors of every way to read the recordings, None without transcripts; and the streaming behind them."""

    streamed: Streamed
    telephone: Streamed
    errors: dict[str, WordErrors] | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        result: dict[str, Any] = {}
        for name, streamed in (("streamed", self.streamed), ("telephone", self.telephone)):
            result[name] = asdict(streamed)
            del result[name]["texts"]
        result["wer"] = None
        if self.errors is not None:
            result["wer"] = {
                name: {"percent": round(errors.percent, 2), **asdict(errors)} for name, errors in self.errors.items()
            }
        return result

    def checks(self) -> list[Check]:
        streamed = self.streamed
        broken = len(streamed.breaches) + len(self.telephone.breaches)
        checks = [
            Check("promises on text broken (stable prefix, one final per segment)", broken, 0),
            Check("streams that ended early", len(streamed.errors) + len(self.telephone.errors), 0),
            Check("a word is stable after its end, mean", streamed.stable_lag_mean_ms, 2000, unit="ms"),
        ]
        if self.errors is not None:
            percent = {name: errors.percent for name, errors in self.errors.items()}
            above = percent["streamed"] - percent["whole"]
            ratio = percent["telephone"] / percent["whole, 8 kHz band"]
            checks = [
                Check("WER streamed above whole-utterance decoding", above, 1.5, 0.5, "points"),
                Check("WER of mu-law 8 kHz streamed / whole, same band", ratio, 1.3),
                *checks,
            ]
        return checks

    def print(self) -> None:
        if self.errors is not None:
            rows = [
                (
                    name,
                    figure(errors.percent, "%", 2),
                    str(errors.words),
                    str(errors.substitutions),
                    str(errors.deletions),
                    str(errors.insertions),
                )
                for name, errors in self.errors.items()
            ]
            print_table("Word error rate", ("", "WER", "words", "substituted", "deleted", "inserted"), rows)
        stability = []
        for name, streamed in (("streamed", self.streamed), ("telephone", self.telephone)):
            lag = streamed.stable_lag
            stability.append(
                (
                    name,
                    str(streamed.words),
                    figure(streamed.stable_lag_mean_ms, "ms"),
                    figure(lag.p50, "ms"),
                    figure(lag.p95, "ms"),
                    figure(streamed.stable_by_partial_percent, "%"),
                    str(streamed.partials),
                    str(len(streamed.breaches)),
                    str(len(streamed.errors)),
                )
            )
        headings = ("", "words", "mean", "p50", "p95", "by a partial", "partials", "promises broken", "errors")
        print_table("From the end of a word until it is stable", headings, stability)
        for streamed in (self.streamed, self.telephone):
            for line in (*streamed.breaches[:5], *streamed.errors[:5]):
                print(f"  {line}")


async def stream(
    server: Server, clips: Sequence[Clip], streams: int, advance: Advance, *, telephone: bool = False
) -> Streamed:
    """Stream every clip at real speed, ``streams`` at a time, as it is or as a telephone would send it."""
    recordings = [_telephone(clip) if telephone else Recording(clip.audio.tobytes()) for clip in clips]
    cpu = server.cpu_seconds()
    hearings = await play_all(server.url, recordings, streams, advance)
    cpu = server.cpu_seconds() - cpu
    return _summarize(streams, recordings, hearings, cpu)


def measure_whole(clips: Sequence[Clip], streamed: Streamed, telephone: Streamed, phases: Phases) -> Accuracy:
    """Read every clip whole in this process, and score that and what was streamed."""
    if any(clip.reference is None for clip in clips):
        return Accuracy(streamed, telephone, None)
    texts = {
        "streamed": streamed.texts,
        "whole": read_whole(clips, phases.begin("whole files, plain model", len(clips))),
        "offline": _read_offline(clips, phases.begin("whole files, offline path", len(clips))),
        "telephone": telephone.texts,
        "whole, 8 kHz band": read_whole(clips, phases.begin("whole files, 8 kHz", len(clips)), telephone=True),
    }
    references = [clip.reference or "" for clip in clips]
    return Accuracy(streamed, telephone, {name: score(references, heard) for name, heard in texts.items()})


def read_whole(clips: Sequence[Clip], advance: Advance, *, telephone: bool = False) -> list[str]:
    """One greedy reading of each whole clip, by the model as it is shipped: no segments, no engine of ours.

    Args:
        telephone: from audio that was limited to the band of 8 kHz, but not mu-law coded.
    """
    reader = ReferenceReader(find_assets())
    texts = []
    for clip in clips:
        audio = _floats(clip)
        if telephone:
            audio = widen_band(limit_band(audio, SAMPLE_RATE), SAMPLE_RATE)
        texts.append(reader.read(audio))
        advance(1)
    return texts


def _read_offline(clips: Sequence[Clip], advance: Advance) -> list[str]:
    """What ``stream-server transcribe`` gives."""
    texts = []
    with Transcriber(Settings.load()) as transcriber:
        for clip in clips:
            texts.append(transcriber.transcribe(clip.path).text)
            advance(1)
    return texts


def _floats(clip: Clip) -> NDArray[np.float32]:
    return clip.audio.astype(np.float32) / np.float32(32768)


def _telephone(clip: Clip) -> Recording:
    return Recording(encode(limit_band(_floats(clip), SAMPLE_RATE)), RATE, "ulaw", 1)


def _summarize(streams: int, recordings: Sequence[Recording], hearings: Sequence[Hearing], cpu: float) -> Streamed:
    words = [word for hearing in hearings for word in stable_words(hearing.arrivals)]
    lags = [word.lag_ms for word in words]
    early = sum(word.by_partial for word in words)
    return Streamed(
        streams=streams,
        texts=tuple(hearing.text for hearing in hearings),
        audio_sec=round(sum(recording.seconds for recording in recordings), 3),
        cpu_sec=round(cpu, 3),
        partials=sum(isinstance(arrival.event, Partial) for hearing in hearings for arrival in hearing.arrivals),
        words=len(words),
        breaches=tuple(breach for hearing in hearings for breach in find_breaches(hearing.arrivals)),
        errors=tuple(hearing.error for hearing in hearings if hearing.error is not None),
        stable_lag_mean_ms=round(sum(lags) / len(lags), 1) if lags else None,
        stable_lag=Latency.of(lags),
        stable_by_partial_percent=round(100 * early / len(words), 1) if words else None,
    )
