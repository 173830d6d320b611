"""The embedded diarizer on real recordings, and its windows on recordings of any length."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.telephone import limit_band, widen_band
from stream_server.audio.g711 import ULAW
from stream_server.speakers.community.analysis import CLEAN_FEATURES, STEP, Analyzer, Heard, Piece, starts
from stream_server.speakers.community.diarizer import CommunityDiarizer
from stream_server.speakers.community.network import FRAME, FRAMES, WINDOW, CommunityEmbedder, Segmentation
from stream_server.speakers.embedder import EmbedderError
from stream_server.speakers.turn import Turn
from tests.support.speech import recording

RATE = 16_000
DIALOGUE = "endgame_nagg_nell.wav"
BORDERS = [0.0, 1.3, 2.2, 3.6, 4.5, 8.4, 11.7, 14.3, 17.3, 19.1, 20.1, 22.2, 23.4, 27.7, 28.3]
"""Seconds of the pauses between what he says and what she says."""

Samples = NDArray[np.float32]


class Remembering(Analyzer):
    """Real; what it has heard once it knows, so that a recording can be heard many times."""

    def __init__(self) -> None:
        super().__init__(Segmentation(), CommunityEmbedder())
        self._known: dict[tuple[int, bytes], Heard] = {}

    def hear(self, samples: Samples, start: int) -> Heard:
        key = start, hashlib.sha256(samples.tobytes()).digest()
        if key not in self._known:
            self._known[key] = super().hear(samples, start)
        return self._known[key]


@pytest.fixture(scope="module")
def analyzer() -> Remembering:
    return Remembering()


def diarized(
    analyzer: Analyzer, samples: Samples, count: int | None = None, *, block: int = 40_000
) -> tuple[Turn, ...]:
    diarization = CommunityDiarizer(analyzer).open(count)
    for start in range(0, len(samples), block):
        diarization.hear(samples[start : start + block])
    turns = diarization.finish()
    diarization.close()
    return turns


def telephone(samples: Samples) -> Samples:
    """By way of 8 kHz and mu-law."""
    narrow = limit_band(samples, RATE)
    levels = np.sort(ULAW)
    return widen_band(levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, narrow)], RATE)[: len(samples)]


def is_dialogue(turns: tuple[Turn, ...]) -> None:
    """He and she speak in turn, each where it is known that they do."""
    assert [turn.speaker for turn in turns] == ["SPEAKER_00", "SPEAKER_01"] * 7
    for turn, (begin, end) in zip(turns, pairwise(BORDERS), strict=True):
        assert 1000 * begin <= turn.start_ms < turn.end_ms <= 1000 * end


def test_a_dialogue(analyzer: Remembering) -> None:
    is_dialogue(diarized(analyzer, recording(DIALOGUE)))


def test_a_dialogue_by_telephone(analyzer: Remembering) -> None:
    is_dialogue(diarized(analyzer, telephone(recording(DIALOGUE))))


def test_a_dialogue_that_begins_in_the_middle_of_silence(analyzer: Remembering) -> None:
    """Times are those of the recording."""
    turns = diarized(analyzer, np.concatenate([np.zeros(20 * RATE, np.float32), recording(DIALOGUE)]))
    is_dialogue(tuple(Turn(turn.start_ms - 20_000, turn.end_ms - 20_000, turn.speaker) for turn in turns))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_as_are_said_to_be(count: int, analyzer: Remembering) -> None:
    turns = diarized(analyzer, recording(DIALOGUE), count)
    assert sorted({turn.speaker for turn in turns}) == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"][:count]
    if count == 2:
        is_dialogue(turns)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9 * RATE), max_size=30))
def test_the_turns_are_the_same_whatever_the_blocks(analyzer: Remembering, blocks: list[int]) -> None:
    samples = recording(DIALOGUE)[: 23 * RATE + 7]
    diarization = CommunityDiarizer(analyzer).open()
    start = 0
    for block in blocks:
        diarization.hear(samples[start : start + block])
        start += block
    diarization.hear(samples[start:])
    assert diarization.finish() == diarized(analyzer, samples, block=len(samples))


def test_recordings_at_the_same_time_do_not_disturb_each_other(analyzer: Remembering) -> None:
    """In two threads, with models in common."""
    recordings = [recording(DIALOGUE)[: 12 * RATE], recording("two_cities.wav")[: 12 * RATE]]
    alone = [diarized(analyzer, samples) for samples in recordings]
    found: dict[int, tuple[Turn, ...]] = {}
    real = Analyzer(Segmentation(), CommunityEmbedder())

    def hear(number: int) -> None:
        found[number] = diarized(real, recordings[number])

    threads = [Thread(target=hear, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[0], found[1]] == alone


def test_one_reader_is_one_speaker_in_two_recordings(analyzer: Remembering) -> None:
    """The same man reads both."""
    reader = np.concatenate([recording("two_cities.wav")[: 12 * RATE], recording("beckett.wav")])
    turns = diarized(analyzer, reader)
    assert {turn.speaker for turn in turns} == {"SPEAKER_00"}
    assert turns[-1].end_ms > 20_000


def test_a_reader_and_a_dialogue_are_three(analyzer: Remembering) -> None:
    turns = diarized(analyzer, np.concatenate([recording("two_cities.wav")[: 12 * RATE], recording(DIALOGUE)]))
    reader = {turn.speaker for turn in turns if turn.end_ms <= 12_000}
    dialogue = tuple(turn for turn in turns if turn.start_ms >= 12_000)
    assert reader == {"SPEAKER_00"}
    assert [turn.speaker for turn in dialogue] == ["SPEAKER_01", "SPEAKER_02"] * 7


def test_two_at_the_same_time(analyzer: Remembering) -> None:
    """The reader over him, who goes on; each has been heard alone."""
    him = recording(DIALOGUE)[round(23.6 * RATE) : round(27.5 * RATE)]
    reader = recording("two_cities.wav")[round(1.1 * RATE) : round(4.6 * RATE)]
    level = np.sqrt(np.mean(him**2) / np.mean(reader**2))
    mixed = np.zeros(8 * RATE, np.float32)
    mixed[: len(him)] += him
    mixed[2 * RATE : 2 * RATE + len(reader)] += level * reader
    turns = diarized(analyzer, mixed)
    overlap = [
        min(one.end_ms, other.end_ms) - max(one.start_ms, other.start_ms)
        for number, one in enumerate(turns)
        for other in turns[:number]
        if one.speaker != other.speaker
    ]
    assert max(overlap) > 1000


@pytest.mark.parametrize("samples", [0, 1, 399, 400, RATE, WINDOW, WINDOW + 1, 25 * RATE])
def test_silence_has_no_turns(samples: int, analyzer: Remembering) -> None:
    assert diarized(analyzer, np.zeros(samples, np.float32)) == ()
    assert diarized(analyzer, np.zeros(samples, np.float32), 3) == ()


def test_noise_has_no_turns(analyzer: Remembering) -> None:
    noise = np.random.default_rng(1).standard_normal(12 * RATE).astype(np.float32)
    assert diarized(analyzer, 0.02 * noise) == ()


def test_a_single_word_has_a_turn(analyzer: Remembering) -> None:
    """Nobody says enough to be clear."""
    word = recording(DIALOGUE)[: round(1.1 * RATE)]
    (turn,) = diarized(analyzer, word)
    assert turn.speaker == "SPEAKER_00"
    assert turn.end_ms <= 1100


def test_nobody_speaks_after_the_end() -> None:
    """Not even where a recording is cut off within a word."""
    for samples in (8000, 16_000, 88_000):
        speaks = Segmentation().run(recording(DIALOGUE)[80_000 : 80_000 + samples])
        assert speaks.any()
        assert not speaks[-(-samples // FRAME) :].any()


def test_nothing_follows_when_it_is_closed(analyzer: Remembering) -> None:
    diarization = CommunityDiarizer(analyzer).open()
    diarization.hear(recording(DIALOGUE)[: 3 * RATE])
    diarization.close()
    diarization.close()
    assert len(diarization._waiting) == 0


class Listing(Analyzer):
    """Hears nothing, and keeps what it was to hear."""

    def __init__(self) -> None:
        self.windows: list[tuple[int, Samples]] = []

    def hear(self, samples: Samples, start: int) -> Heard:
        self.windows.append((start, samples.copy()))
        return Heard(start, np.zeros(min(FRAMES, -(-len(samples) // FRAME)), np.uint8), ())


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.integers(0, 4 * WINDOW),
        st.sampled_from([0, 1, WINDOW - 1, WINDOW, WINDOW + 1, WINDOW + FRAME, WINDOW + STEP, WINDOW + STEP + 1]),
    ),
    st.integers(2000, 5 * WINDOW),
)
def test_windows_cover_a_recording_and_little_of_it_is_held(samples: int, block: int) -> None:
    sound = np.arange(samples, dtype=np.float32)
    listing = Listing()
    diarization = CommunityDiarizer(listing).open()
    for start in range(0, samples, block):
        diarization.hear(sound[start : start + block])
        assert len(diarization._waiting) < WINDOW + STEP
    assert diarization.finish() == ()
    assert [start for start, _ in listing.windows] == list(starts(samples))
    covered = 0
    for start, window in listing.windows:
        assert start * FRAME <= covered, "nothing is left out"
        assert np.array_equal(window, sound[start * FRAME :][:WINDOW])
        covered = start * FRAME + len(window)
    assert covered == samples


def test_a_voice_is_a_vector_of_length_one(analyzer: Remembering) -> None:
    embedder = CommunityEmbedder()
    vector = embedder.embed(recording("beckett.wav")[: 4 * RATE])
    assert vector.shape == (256,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(embedder.embed(np.zeros(RATE, np.float32))) <= 1.001
    quieter = embedder.embed(0.1 * recording("beckett.wav")[: 4 * RATE])
    assert vector @ quieter > 0.999


@pytest.mark.parametrize("samples", [0, 1, 3999])
def test_too_short_for_a_voice(samples: int) -> None:
    with pytest.raises(EmbedderError, match=r"0\.[02]\d s of speech are too short"):
        CommunityEmbedder().embed(np.zeros(samples, np.float32))


class Marked(CommunityEmbedder):
    """Keeps the frames that it is given."""

    def __init__(self) -> None:
        self.given: list[int] = []

    def embed_features(self, features: Samples) -> Samples:
        self.given.append(len(features))
        return np.ones(256, np.float32)


class Scripted(Segmentation):
    """Who speaks from which second to which, by number of the speaker in the window."""

    def __init__(self, *spoken: tuple[int, float, float]) -> None:
        self._spoken = spoken

    def run(self, samples: Samples) -> NDArray[np.bool_]:
        activity = np.zeros((FRAMES, 3), bool)
        for speaker, start, end in self._spoken:
            activity[round(start * RATE / FRAME) : round(end * RATE / FRAME), speaker] = True
        return activity


def pieces(*spoken: tuple[int, float, float]) -> tuple[list[Piece], list[int]]:
    embedder = Marked()
    heard = Analyzer(Scripted(*spoken), embedder).hear(np.ones(WINDOW, np.float32), 0)
    return list(heard.pieces), embedder.given


def test_an_utterance_is_cut_to_pieces_of_three_seconds() -> None:
    found, given = pieces((1, 0.5, 9.5))
    assert [round((piece.end - piece.start) * FRAME / RATE, 1) for piece in found] == [3.0, 3.0, 3.0]
    assert [piece.start for piece in found[1:]] == [piece.end for piece in found[:-1]]
    assert [piece.clean_sec for piece in found] == pytest.approx([3.0] * 3, abs=0.03)
    assert given == pytest.approx([300] * 3, abs=3)


def test_pauses_separate_utterances_and_short_ones_have_no_voice() -> None:
    found, given = pieces((0, 1.0, 3.0), (0, 4.0, 4.2), (2, 6.0, 7.0))
    assert [piece.vector is None for piece in found] == [False, True, False]
    assert given == pytest.approx([200, 100], abs=3)


def test_a_voice_is_taken_from_where_nobody_else_speaks() -> None:
    found, given = pieces((0, 1.0, 4.0), (1, 3.0, 6.0))
    assert [piece.clean_sec for piece in found] == pytest.approx([2.0, 2.0], abs=0.03)
    assert given == pytest.approx([200, 200], abs=3)


def test_a_voice_that_is_never_alone_is_taken_as_it_is() -> None:
    found, given = pieces((0, 1.0, 6.0), (1, 2.0, 2.0 + 0.009 * CLEAN_FEATURES), (1, 5.8, 6.1))
    both = found[-2:]
    assert [piece.clean_sec for piece in both] == pytest.approx([0.0, 0.1], abs=0.03)
    assert given[-2:] == pytest.approx([0.9 * CLEAN_FEATURES, 30], abs=3)
