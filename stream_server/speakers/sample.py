"""Takes a sample of one person's voice from a recording, or says why the recording is none. It keeps nothing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_server.audio.error import UnsupportedAudio
from stream_server.audio.file import AudioFile, read_audio
from stream_server.audio.vad import SAMPLE_RATE, VadModel
from stream_server.jobs.error import JobError, Reason
from stream_server.speakers.diarizer import Diarizer
from stream_server.speakers.embedder import Embedder
from stream_server.speakers.solo import length, longest_spans, solo_spans
from stream_server.speakers.span import runs
from stream_server.speakers.turn import Span, Turn, label_of

LISTEN_SEC: Final = 120
"""So much of a recording is listened to, from its beginning."""
MOST_SPEECH_MS: Final = 30_000
"""So much speech is made a vector of; more tells no more of a voice."""
SHORTEST_SEC: Final = 1.0
"""Speech without which a voice is not recognized. Of clips of one second 13 % were not known as those of the reader of
whom five seconds were registered, of half a second 57 % (embedded models, five readers of LibriSpeech)."""
ENROLLED_SEC: Final = 2.0
"""Speech without which nobody is registered: by two seconds 2 % of the reader's clips of three seconds were not known,
by one second 19 %."""
SECOND_MS: Final = 500
SECOND_SHARE: Final = 0.1
"""A second voice is one that speaks at least so long, and this share of the first. Less is a cough, or a hello."""
UNLIKE: Final = 0.0001
"""Confidence under which the halves of a sample are taken for two people, whom the diarizer has taken for one: as it
does of two seconds each in one case of three, four of five of which are found in this way. None of 700 clips of one
reader was refused (embedded models)."""

_MS: Final = SAMPLE_RATE // 1000


@dataclass(frozen=True, slots=True)
class VoiceSample:
    """``vector``: of length 1; ``speech_sec``: of speech that it was made of; ``heard_sec``: of the recording that was
    listened to."""

    vector: NDArray[np.float32]
    speech_sec: float
    heard_sec: float


def take_sample(
    audio: AudioFile, embedder: Embedder, diarizer: Diarizer | None, vad: VadModel, *, shortest_sec: float
) -> VoiceSample:
    """The voice in a recording. Blocking; takes some seconds for a recording of two minutes.

    diarizer: finds the speech, and whether one person speaks it. Without one `vad` finds it, and only whether it ends
    in the voice in which it begins is asked. shortest_sec: speech without which it is no sample.

    Raises:
        JobError: UNSUPPORTED_FORMAT: nothing that can be decoded; INVALID_PARAMETER: no speech, too little of it, or
            more than one voice.
        DiarizerError, EmbedderError: a model has failed.
        OSError: the file cannot be read.
    """
    samples = _read(audio)
    turns = _turns(samples, vad) if diarizer is None else _diarized(samples, diarizer)
    heard_sec = len(samples) / SAMPLE_RATE
    if not turns:
        where = "" if heard_sec < LISTEN_SEC else f" in its first {LISTEN_SEC // 60} minutes"
        raise _unfit(f"no speech is heard in the recording{where}")
    _require_one(turns)
    spoken = solo_spans(turns)
    speaker = max(spoken, key=lambda label: sum(map(length, spoken[label])))
    spans = longest_spans(spoken[speaker], MOST_SPEECH_MS)
    speech = np.concatenate([samples[start * _MS : end * _MS] for start, end in spans])
    speech_sec = len(speech) / SAMPLE_RATE
    if speech_sec < shortest_sec:
        raise _unfit(f"{speech_sec:.1f} s of one person's speech are heard; at least {shortest_sec:g} s are needed")
    if speech_sec >= 2 * SHORTEST_SEC:
        _require_likeness(speech, embedder)
    return VoiceSample(embedder.embed(speech), speech_sec, heard_sec)


def _read(audio: AudioFile) -> NDArray[np.float32]:
    """The beginning of a recording, its channels as one."""
    blocks: list[NDArray[np.float32]] = []
    ready, most = 0, LISTEN_SEC * SAMPLE_RATE
    try:
        with closing(read_audio(audio)) as source:
            for block in source:
                blocks.append(block.mean(axis=0))
                ready += block.shape[1]
                if ready >= most:
                    break
    except UnsupportedAudio as error:
        raise JobError(Reason.UNSUPPORTED_FORMAT, error.message, parameter="file") from None
    return np.concatenate(blocks)[:most]


def _diarized(samples: NDArray[np.float32], diarizer: Diarizer) -> tuple[Turn, ...]:
    with closing(diarizer.open()) as diarization:
        diarization.hear(samples)
        return diarization.finish()


def _turns(samples: NDArray[np.float32], vad: VadModel) -> tuple[Turn, ...]:
    """Where somebody speaks, taken for one person."""
    size = vad.frame_samples
    whole = samples[: len(samples) // size * size]
    (speech,) = vad.detect([vad.new_state()], [whole])
    spans: list[Span] = [(start * size // _MS, end * size // _MS) for start, end in runs(speech >= 0.5)]
    return tuple(Turn(start, end, label_of(0)) for start, end in spans)


def _require_one(turns: tuple[Turn, ...]) -> None:
    spoken: dict[str, int] = {}
    for turn in turns:
        spoken[turn.speaker] = spoken.get(turn.speaker, 0) + turn.end_ms - turn.start_ms
    first, *others = sorted(spoken.values(), reverse=True)
    voices = [first, *(each for each in others if each >= max(SECOND_MS, SECOND_SHARE * first))]
    if len(voices) > 1:
        share = ", ".join(f"{each / 1000:.1f} s" for each in voices)
        raise _unfit(f"{len(voices)} voices are heard in the recording ({share}); send one person's speech alone")


def _require_likeness(speech: NDArray[np.float32], embedder: Embedder) -> None:
    begin, end = (embedder.embed(half) for half in np.array_split(speech, 2))
    if embedder.calibration.confidence(float(begin @ end)) < UNLIKE:
        raise _unfit("the beginning and the end of the recording are of two voices; send one person's speech alone")


def _unfit(message: str) -> JobError:
    return JobError(Reason.INVALID_PARAMETER, message, parameter="file")
