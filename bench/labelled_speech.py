"""A labelled set for voice activity detection: speech at known times, in noise, in music, over the telephone.

Everything is made at run time from a fixed seed: real recordings (those inside the moonshine-voice wheel, and any
folder of flac files) with silence inserted between their phrases, and espeak-ng voices. The truth is the energy of the
clean signal, so it does not depend on any detector. All audio is 16 kHz float32.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from stream_server.speakers.span import runs

RATE = 16_000
HOP = 160  # the truth is a mask of 10 ms hops

Audio = NDArray[np.float32]
Mask = NDArray[np.bool_]

SPEECH_DBFS = -26.0  # level of active speech in every clip
ROOM_DBFS = -75.0  # level of the faint noise that stands for silence
AUDIBLE_DB = -32.0  # a hop this far below the active level is not speech
FLOOR_DB = 7.0  # nor is one this little above the noise floor of the recording
VOICES = ("en-us", "en-gb+f2", "en-us+m3", "en-gb-scotland", "en-us+f4", "de", "fr+f3", "hi")
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Please hold the line, I will put you through.",
    "Yes.",
    "Six thousand four hundred and twenty seven.",
    "She sells sea shells by the sea shore, and he fishes for fun.",
    "What time does the first train leave for the coast?",
    "No, thank you.",
    "The storage heater in the spare room has stopped working since Thursday evening.",
)


@dataclass(frozen=True)
class Part:
    """audio: one phrase, [n * HOP]. truth: [n], speech or not."""

    audio: Audio
    truth: Mask


@dataclass(frozen=True)
class Clip:
    """source: where the speech is from, or "none". condition: what was done to it. truth: [n // HOP], speech or not."""

    source: str
    condition: str
    audio: Audio
    truth: Mask


def decibels(value: float) -> float:
    """Amplitude factor of a level in dB."""
    return float(10 ** (value / 20))


def rms(audio: Audio) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)) + 1e-20))


def hop_energy(audio: Audio) -> NDArray[np.float64]:
    """Mean square of each hop."""
    hops = audio[: len(audio) // HOP * HOP].reshape(-1, HOP)
    return np.asarray(np.square(hops, dtype=np.float64).mean(axis=1))


def close_gaps(mask: Mask, hops: int) -> Mask:
    """The mask with the gaps shorter than `hops` between its runs filled."""
    filled = mask.copy()
    for (_, end), (start, _) in zip(runs(mask), runs(mask)[1:], strict=False):
        if start - end < hops:
            filled[end:start] = True
    return filled


def label(clean: Audio) -> Mask:
    """Where a clean signal is speech: hops well above its own noise floor and not far below its active level.

    Gaps under 100 ms belong to speech, clicks under 30 ms do not.
    """
    energy = np.convolve(hop_energy(clean), np.ones(3) / 3, mode="same")
    active = np.mean(energy[energy > np.max(energy) * 1e-3])
    floor = np.percentile(energy, 5)
    mask = close_gaps(energy > max(active * 10 ** (AUDIBLE_DB / 10), floor * 10 ** (FLOOR_DB / 10)), 10)
    for start, end in runs(mask):
        if end - start < 3:
            mask[start:end] = False
    return mask


def load(path: Path) -> Audio:
    """A file as 16 kHz mono."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(samples.mean(axis=1), rate, RATE), np.float32)


def phrases(recording: Audio) -> Iterator[Part]:
    """A recording cut at its pauses of 250 ms and more, each phrase with 50 ms around it."""
    mask = label(recording)
    for start, end in runs(close_gaps(mask, 25)):
        if end - start >= 20:
            first, last = max(0, start - 5), min(len(mask), end + 5)
            yield Part(recording[first * HOP : last * HOP], mask[first:last])


def wheel_recordings() -> list[Audio]:
    """The recordings inside the moonshine-voice wheel."""
    spec = find_spec("moonshine_voice")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    assets = Path(spec.submodule_search_locations[0]) / "assets"
    return [load(assets / name) for name in ("two_cities.wav", "beckett.wav")]


def synthesize(text: str, voice: str) -> Audio:
    """Speech by espeak-ng, as it comes, trimmed of the silence around it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-w", str(path), text], check=True)
        audio = load(path)
    loud = np.flatnonzero(np.abs(audio) > 1e-3)
    trimmed = audio[loud[0] : loud[-1] + 1]
    return np.resize(np.pad(trimmed, (0, HOP)), (len(trimmed) // HOP + 1) * HOP)


def spaced(parts: Iterable[Part], rng: np.random.Generator) -> Part:
    """The parts at one level, with 1.2 to 3 s of silence before, between and after them."""

    def silence(hops: int) -> Part:
        return Part(np.zeros(hops * HOP, np.float32), np.zeros(hops, bool))

    ramp = np.linspace(0, 1, HOP, dtype=np.float32)
    row = [silence(200)]
    for part in parts:
        energy = hop_energy(part.audio)
        active = float(np.sqrt(np.mean(energy[energy > np.max(energy) * 1e-3])))
        audio = part.audio * (decibels(SPEECH_DBFS) / active)
        audio[:HOP] *= ramp
        audio[-HOP:] *= ramp[::-1]
        row += [Part(audio, part.truth), silence(int(rng.integers(120, 300)))]
    return Part(np.concatenate([part.audio for part in row]), np.concatenate([part.truth for part in row]))


def white(count: int, rng: np.random.Generator) -> Audio:
    return rng.standard_normal(count).astype(np.float32)


def pink(count: int, rng: np.random.Generator) -> Audio:
    """1/f noise from 30 Hz up, shaped in the frequency domain."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / RATE)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, 30)), count).astype(np.float32)


def babble(count: int, rng: np.random.Generator) -> Audio:
    """Eight talkers at once, each saying the sentences in an order of their own without a pause."""
    total = np.zeros(count, np.float32)
    for voice in VOICES:
        talk = np.concatenate([synthesize(SENTENCES[i], voice) for i in rng.permutation(len(SENTENCES))])
        talk = talk / rms(talk)
        total += np.resize(np.roll(talk, int(rng.integers(len(talk)))), count)
    return total


def chords(count: int, rng: np.random.Generator) -> Audio:
    """Sustained triads with five harmonics, one a second."""
    total = np.zeros(count, np.float32)
    time = np.arange(RATE) / RATE
    for start in range(0, count - RATE, RATE):
        root = 110 * 2 ** (rng.integers(0, 12) / 12)
        tone = sum(
            np.sin(2 * np.pi * root * ratio * harmonic * time) / harmonic
            for ratio in (1, 1.26, 1.498)
            for harmonic in range(1, 6)
        )
        total[start : start + RATE] += tone * np.exp(-time * 1.5)
    return total


def arpeggios(count: int, rng: np.random.Generator) -> Audio:
    """Plucked notes, eight a second, over three octaves."""
    total = np.zeros(count, np.float32)
    length = RATE // 8
    time = np.arange(2 * length) / RATE
    for start in range(0, count - 2 * length, length):
        pitch = 220 * 2 ** (int(rng.choice([0, 4, 7, 12, 16, 19, 24])) / 12)
        note = sum(np.sin(2 * np.pi * pitch * harmonic * time) / harmonic**1.5 for harmonic in range(1, 5))
        total[start : start + 2 * length] += note * np.exp(-time * 12)
    return total


def drums(count: int, rng: np.random.Generator) -> Audio:
    """Two hits a second: a low sweep and a noise burst in turn."""
    total = np.zeros(count, np.float32)
    length = RATE // 4
    time = np.arange(length) / RATE
    for beat, start in enumerate(range(0, count - length, RATE // 2)):
        sweep = np.sin(2 * np.pi * (50 * time + 8 * (1 - np.exp(-time * 30))))
        hit = sweep if beat % 2 == 0 else rng.standard_normal(length) * 0.5
        total[start : start + length] += hit * np.exp(-time * 20)
    return total


def telephone(audio: Audio) -> Audio:
    """Through 8 kHz mu-law (ITU-T G.711) and back to 16 kHz."""
    narrow = np.clip(soxr.resample(audio, RATE, RATE // 2), -1, 1)
    companded = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    expanded = np.sign(companded) * np.expm1(np.abs(companded) * np.log(256)) / 255
    wide = np.asarray(soxr.resample(expanded, RATE // 2, RATE), np.float32)
    return np.resize(wide, len(audio)) if len(wide) < len(audio) else wide[: len(audio)]


Noise = Callable[[int, np.random.Generator], Audio]
NOISES: dict[str, Noise] = {"white": white, "pink": pink, "babble": babble}
MUSIC: dict[str, Noise] = {"chords": chords, "arpeggios": arpeggios, "drums": drums}


def level(noise: Audio, dbfs: float) -> Audio:
    """The noise at an RMS level."""
    return np.asarray(noise * (decibels(dbfs) / rms(noise)), np.float32)


def conditions(source: str, speech: Part, rng: np.random.Generator) -> Iterator[Clip]:
    """One clean source in every condition, with the truth of the clean one."""
    clean, truth = speech.audio, speech.truth
    room = level(white(len(clean), rng), ROOM_DBFS)
    yield Clip(source, "clean", clean + room, truth)
    yield Clip(source, "quiet -20 dB", (clean + room) * decibels(-20), truth)
    yield Clip(source, "mu-law 8 kHz", telephone(clean + room), truth)
    for name, make in NOISES.items():
        noise = make(len(clean), rng)
        for ratio in (20, 10, 5):
            noisy = clean + level(noise, SPEECH_DBFS - ratio)
            yield Clip(source, f"{name} {ratio} dB", noisy, truth)
            if name == "pink" and ratio == 10:
                yield Clip(source, "mu-law + pink 10 dB", telephone(noisy), truth)
    yield Clip(source, "music 10 dB", clean + level(arpeggios(len(clean), rng), SPEECH_DBFS - 10), truth)


def build(folder: Path | None, seconds: int, seed: int) -> list[Clip]:
    """The whole set. folder: flac files to add as a source. seconds: of speech, at most, from each source."""
    if shutil.which("espeak-ng") is None:
        raise SystemExit("the labelled set needs espeak-ng (Debian: apt install espeak-ng)")
    rng = np.random.default_rng(seed)
    recordings = {"recordings": wheel_recordings()}
    if folder is not None:
        recordings["folder"] = [load(path) for path in sorted(folder.glob("**/*.flac"))]
    spoken = [synthesize(text, VOICES[i % len(VOICES)]) for i, text in enumerate(SENTENCES * 3)]
    sources = {name: [phrase for whole in wholes for phrase in phrases(whole)] for name, wholes in recordings.items()}
    sources["espeak"] = [Part(audio, label(audio)) for audio in spoken]
    clips: list[Clip] = []
    for source, parts in sources.items():
        order = [parts[i] for i in rng.permutation(len(parts))]
        ends = np.cumsum([len(part.audio) for part in order])
        chosen = order[: max(1, int(np.searchsorted(ends, seconds * RATE)))]
        clips += conditions(source, spaced(chosen, rng), rng)
    for source, wholes in recordings.items():
        clips += [Clip(source, "continuous", level(whole, SPEECH_DBFS), label(whole)) for whole in wholes]
    nothing = np.zeros(60 * RATE // HOP, bool)
    for name, make in (NOISES | MUSIC).items():
        alone = level(make(60 * RATE, rng), SPEECH_DBFS - 5)
        alone[: 2 * RATE] *= decibels(-60)  # it sets in: no detector may rely on having heard it from the start
        clips.append(Clip("none", f"{name} alone", alone, nothing))
    clips.append(Clip("none", "room noise alone", level(white(60 * RATE, rng), ROOM_DBFS), nothing))
    return clips
