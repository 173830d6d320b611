"""The segmenter, as a list of frames in and a list of events out. Audio is built of named parts with durations."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_server.audio.segmenter import (
    SAMPLE_RATE,
    Event,
    SegmentAudio,
    SegmentEnded,
    Segmenter,
    SegmenterSettings,
    SegmentPaused,
    SegmentStarted,
    State,
)

FRAME = 160  # 10 ms, so that times in the tests are round
PROBABILITY = {"speech": 1.0, "quiet": 0.0, "doubt": 0.2}  # doubt: between the two thresholds
SETTINGS = SegmenterSettings(
    start_threshold=0.3,
    stop_threshold=0.15,
    min_speech=1_600,
    pre_roll=6_400,
    padding=6_400,
    silence_threshold=12_800,
    max_segment=320_000,
    pause=3_200,
    patience=64_000,
    cut_window=32_000,
    cut_smoothing=1_600,
)
"""Written out, so that the times below hold whatever the defaults become."""

Part = tuple[str, int]  # kind, milliseconds


def ms(milliseconds: int) -> int:
    return milliseconds * SAMPLE_RATE // 1000


def probabilities(*parts: Part) -> NDArray[np.float32]:
    return np.concatenate([np.full(ms(length) // FRAME, PROBABILITY[kind], np.float32) for kind, length in parts])


def counting(count: int) -> NDArray[np.float32]:
    """Audio whose samples are their own positions (exact in float32 up to 2**24)."""
    return np.arange(count, dtype=np.float32)


def merged(events: list[Event]) -> list[Event]:
    """The events with neighbouring pieces of audio put together."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, SegmentAudio) and isinstance(last, SegmentAudio):
            samples = np.concatenate((last.samples, event.samples))
            out[-1] = SegmentAudio(last.position, last.count + event.count, samples)
        else:
            out.append(event)
    return out


def feed(segmenter: Segmenter, audio: NDArray[np.float32], speech: NDArray[np.float32], frames: int = 7) -> list[Event]:
    events: list[Event] = []
    for first in range(0, len(speech), frames):
        piece = speech[first : first + frames]
        events += segmenter.receive(audio[first * FRAME :][: len(piece) * FRAME], piece)
    return events


def segment(*parts: Part, settings: SegmenterSettings = SETTINGS, flush: bool = False) -> list[Event]:
    """Everything that follows from the parts, without the audio."""
    segmenter = Segmenter(settings, FRAME)
    speech = probabilities(*parts)
    events = feed(segmenter, counting(len(speech) * FRAME), speech)
    if flush:
        events += segmenter.flush()
    check(events, settings)
    return [event for event in events if not isinstance(event, SegmentAudio)]


def check(events: list[Event], settings: SegmenterSettings) -> list[tuple[int, int]]:
    """Assert what holds for every stream of `counting` audio; return the segments that ended."""
    segments: list[tuple[int, int]] = []
    opened: SegmentStarted | None = None
    handed = 0
    forced = False
    for event in events:
        match event:
            case SegmentStarted(start, speech):
                assert opened is None
                assert speech >= start >= (segments[-1][1] if segments else 0)
                if forced:
                    assert start == segments[-1][1]
                opened, handed, forced = event, start, False
            case SegmentAudio(position, count, samples):
                assert opened is not None
                assert position == handed
                assert count == len(samples) > 0
                assert samples[0] == position
                assert samples[-1] == position + count - 1
                handed += count
                assert handed - opened.start <= settings.max_segment
            case SegmentPaused(speech_end):
                assert opened is not None
                assert opened.speech <= speech_end
            case SegmentEnded(end, speech_end, silence, forced):
                assert opened is not None
                assert opened.start < end <= opened.start + settings.max_segment
                assert opened.speech <= speech_end <= end <= handed
                assert forced or end == handed
                assert silence >= 0
                assert not (forced and silence)
                segments.append((opened.start, end))
                opened = None
        if forced and not isinstance(event, SegmentEnded):
            assert isinstance(event, SegmentStarted)
    assert not forced
    return segments


class TestOneSegment:
    def test_speech_between_silences_has_pre_roll_and_padding(self) -> None:
        assert segment(("quiet", 2000), ("speech", 1000), ("quiet", 2000)) == [
            SegmentStarted(start=ms(1600), speech=ms(2000)),
            SegmentPaused(speech_end=ms(3000)),
            SegmentEnded(end=ms(3400), speech_end=ms(3000), silence=ms(800), forced=False),
        ]

    def test_audio_is_the_whole_segment_and_nothing_else(self) -> None:
        segmenter = Segmenter(SETTINGS, FRAME)
        speech = probabilities(("quiet", 2000), ("speech", 1000), ("quiet", 2000))
        events = merged(feed(segmenter, counting(len(speech) * FRAME), speech))
        audio = np.concatenate([event.samples for event in events if isinstance(event, SegmentAudio)])
        assert np.array_equal(audio, np.arange(ms(1600), ms(3400)))

    def test_silence_alone_gives_nothing(self) -> None:
        assert segment(("quiet", 30_000), flush=True) == []

    def test_speech_at_the_very_start_has_what_pre_roll_there_is(self) -> None:
        assert segment(("quiet", 100), ("speech", 500))[0] == SegmentStarted(start=0, speech=ms(100))

    def test_speech_that_is_too_short_opens_nothing(self) -> None:
        short = SETTINGS.min_speech * 1000 // SAMPLE_RATE - 10
        assert segment(("quiet", 1000), ("speech", short), ("quiet", 1000), flush=True) == []

    def test_a_short_pause_does_not_end_the_segment(self) -> None:
        assert segment(("speech", 500), ("quiet", 790), ("speech", 500), ("quiet", 800)) == [
            SegmentStarted(start=0, speech=0),
            SegmentPaused(speech_end=ms(500)),
            SegmentPaused(speech_end=ms(1790)),
            SegmentEnded(end=ms(2190), speech_end=ms(1790), silence=ms(800), forced=False),
        ]

    def test_audio_of_a_pause_is_held_until_it_is_sure_to_belong(self) -> None:
        segmenter = Segmenter(SETTINGS, FRAME)
        speech = probabilities(("speech", 500), ("quiet", 700))
        events = feed(segmenter, counting(len(speech) * FRAME), speech)
        assert sum(event.count for event in events if isinstance(event, SegmentAudio)) == ms(900)
        [audio] = segmenter.receive(np.arange(ms(1200), ms(1200) + FRAME, dtype=np.float32), np.ones(1, np.float32))
        assert audio == SegmentAudio(ms(900), ms(310), np.empty(0, np.float32))


class TestHysteresis:
    def test_doubt_opens_nothing(self) -> None:
        assert segment(("doubt", 5000), flush=True) == []

    def test_doubt_goes_on_with_speech_but_does_not_resume_it(self) -> None:
        assert segment(("speech", 200), ("doubt", 1000), ("quiet", 100), ("doubt", 1000)) == [
            SegmentStarted(start=0, speech=0),
            SegmentPaused(speech_end=ms(1200)),
            SegmentEnded(end=ms(1600), speech_end=ms(1200), silence=ms(800), forced=False),
        ]


class TestTwoSegments:
    def test_the_second_does_not_reach_into_the_first(self) -> None:
        events = segment(("speech", 500), ("quiet", 850), ("speech", 500), ("quiet", 1000))
        assert [event for event in events if not isinstance(event, SegmentPaused)] == [
            SegmentStarted(start=0, speech=0),
            SegmentEnded(end=ms(900), speech_end=ms(500), silence=ms(800), forced=False),
            SegmentStarted(start=ms(950), speech=ms(1350)),
            SegmentEnded(end=ms(2250), speech_end=ms(1850), silence=ms(800), forced=False),
        ]

    def test_a_short_silence_threshold_shares_the_silence_between_them(self) -> None:
        settings = replace(SETTINGS, silence_threshold=ms(300))
        events = segment(("speech", 500), ("quiet", 310), ("speech", 500), ("quiet", 300), settings=settings)
        assert [event for event in events if not isinstance(event, SegmentPaused)] == [
            SegmentStarted(start=0, speech=0),
            SegmentEnded(end=ms(650), speech_end=ms(500), silence=ms(300), forced=False),
            SegmentStarted(start=ms(650), speech=ms(810)),
            SegmentEnded(end=ms(1460), speech_end=ms(1310), silence=ms(300), forced=False),
        ]


class TestLongSpeech:
    def test_a_long_talker_is_cut_in_his_next_pause(self) -> None:
        assert segment(("speech", 17_000), ("quiet", 250), ("speech", 1000), ("quiet", 1000))[:4] == [
            SegmentStarted(start=0, speech=0),
            SegmentPaused(speech_end=ms(17_000)),
            SegmentEnded(end=ms(17_100), speech_end=ms(17_000), silence=ms(200), forced=False),
            SegmentStarted(start=ms(17_100), speech=ms(17_250)),
        ]

    def test_without_a_pause_the_cut_is_forced_at_the_quietest_point(self) -> None:
        speech = np.ones(ms(21_000) // FRAME, np.float32)
        audio = np.full(ms(21_000), 0.5, np.float32)
        audio[ms(18_950) : ms(19_050)] = 0.1
        audio[ms(12_000) : ms(12_100)] = 0.0  # quieter, but too far from the limit
        events = [event for event in feed(Segmenter(SETTINGS, FRAME), audio, speech) if type(event) is not SegmentAudio]
        assert events == [
            SegmentStarted(start=0, speech=0),
            SegmentEnded(end=ms(19_000), speech_end=ms(19_000), silence=0, forced=True),
            SegmentStarted(start=ms(19_000), speech=ms(19_000)),
        ]

    def test_a_forced_cut_prefers_what_was_judged_silent(self) -> None:
        events = segment(("speech", 19_500), ("quiet", 100), ("speech", 2000))
        cut = events[1]
        assert isinstance(cut, SegmentEnded)
        assert cut.forced
        assert ms(19_500) <= cut.end < ms(19_600)
        assert cut.speech_end == ms(19_500)
        assert events[2] == SegmentStarted(start=cut.end, speech=ms(19_600))

    def test_audio_after_a_forced_cut_comes_again(self) -> None:
        segmenter = Segmenter(SETTINGS, FRAME)
        speech = probabilities(("speech", 45_000))
        events = feed(segmenter, counting(len(speech) * FRAME), speech) + segmenter.flush()
        segments = check(events, SETTINGS)
        assert len(segments) == 3
        assert segments[0][0] == 0
        assert segments[-1][1] == ms(45_000)
        assert all(before[1] == after[0] for before, after in pairwise(segments))

    def test_a_pause_that_grows_into_the_last_seconds_keeps_its_padding(self) -> None:
        for frames in (1, 1000):
            segmenter = Segmenter(SETTINGS, FRAME)
            speech = probabilities(("speech", 15_700), ("quiet", 500))
            events = feed(segmenter, counting(len(speech) * FRAME), speech, frames)
            assert events[-1] == SegmentEnded(end=ms(16_000), speech_end=ms(15_700), silence=ms(300), forced=False)

    def test_a_limit_within_a_frame_is_kept_in_a_flush_too(self) -> None:
        segmenter = Segmenter(replace(SETTINGS, max_segment=ms(2000) + 50), FRAME)
        speech = probabilities(("speech", 2000))
        audio = counting(ms(2000) + 99)
        events = feed(segmenter, audio, speech) + segmenter.flush(audio[ms(2000) :])
        segments = check(events, replace(SETTINGS, max_segment=ms(2000) + 50))
        assert len(segments) == 2
        assert segments[1][1] == ms(2000) + 99

    def test_a_limit_reached_in_a_pause_does_not_make_a_segment_of_silence(self) -> None:
        events = segment(("speech", 19_900), ("quiet", 5000))
        assert events[-1] == SegmentEnded(end=ms(20_000), speech_end=ms(19_900), silence=ms(200), forced=False)


class TestFlush:
    def test_an_open_segment_ends_where_the_audio_ends(self) -> None:
        assert segment(("speech", 500), flush=True) == [
            SegmentStarted(start=0, speech=0),
            SegmentEnded(end=ms(500), speech_end=ms(500), silence=0, forced=False),
        ]

    def test_in_a_pause_the_padding_is_what_was_heard(self) -> None:
        assert segment(("speech", 500), ("quiet", 150), flush=True) == [
            SegmentStarted(start=0, speech=0),
            SegmentEnded(end=ms(650), speech_end=ms(500), silence=ms(150), forced=False),
        ]

    def test_the_rest_of_a_frame_is_not_lost(self) -> None:
        segmenter = Segmenter(SETTINGS, FRAME)
        speech = probabilities(("speech", 500))
        audio = counting(ms(500) + 99)
        events = feed(segmenter, audio, speech) + segmenter.flush(audio[ms(500) :])
        assert check(events, SETTINGS) == [(0, ms(500) + 99)]
        assert segmenter.received == ms(500) + 99

    def test_the_rest_of_a_frame_counts_towards_enough_speech(self) -> None:
        almost = replace(SETTINGS, min_speech=10 * FRAME - 5)
        audio = counting(10 * FRAME)
        for rest, expected in ((FRAME - 6, []), (FRAME - 5, [(0, 10 * FRAME - 5)])):
            segmenter = Segmenter(almost, FRAME)
            assert feed(segmenter, audio, np.ones(9, np.float32)) == []
            assert check(segmenter.flush(audio[9 * FRAME :][:rest]), almost) == expected

    def test_the_stream_goes_on_at_the_same_count(self) -> None:
        segmenter = Segmenter(SETTINGS, FRAME)
        audio = counting(ms(2000) + 50)
        events = feed(segmenter, audio, probabilities(("speech", 500)))
        events += segmenter.flush(audio[ms(500) : ms(500) + 50])
        assert segmenter.state is State.QUIET
        events += feed(segmenter, audio[ms(500) + 50 :], probabilities(("quiet", 1000), ("speech", 500)))
        events += segmenter.flush()
        assert check(events, SETTINGS) == [(0, ms(500) + 50), (ms(1100) + 50, ms(2000) + 50)]


class TestConfigure:
    def test_silence_threshold_holds_at_once(self) -> None:
        segmenter = Segmenter(SETTINGS, FRAME)
        speech = probabilities(("speech", 500), ("quiet", 500))
        feed(segmenter, counting(len(speech) * FRAME), speech)
        segmenter.configure(replace(SETTINGS, silence_threshold=ms(300)))
        events = segmenter.receive(np.arange(ms(1000), ms(1000) + FRAME, dtype=np.float32), np.zeros(1, np.float32))
        assert events == [SegmentEnded(end=ms(900), speech_end=ms(500), silence=ms(510), forced=False)]

    def test_max_segment_holds_from_the_next_segment_on(self) -> None:
        segmenter = Segmenter(SETTINGS, FRAME)
        speech = probabilities(("speech", 30_000))
        audio = counting(len(speech) * FRAME)
        events = feed(segmenter, audio[: ms(10_000)], speech[: ms(10_000) // FRAME])
        segmenter.configure(replace(SETTINGS, max_segment=ms(3000)))
        events += feed(segmenter, audio[ms(10_000) :], speech[ms(10_000) // FRAME :]) + segmenter.flush()
        lengths = [end - start for start, end in check(events, SETTINGS)]
        assert ms(18_000) <= lengths[0] <= ms(20_000)
        assert max(lengths[1:]) <= ms(3000)
        assert sum(lengths) == ms(30_000)


class TestMemory:
    def test_only_the_pre_roll_is_kept_while_quiet(self) -> None:
        segmenter = Segmenter(SETTINGS, FRAME)
        feed(segmenter, np.zeros(ms(60_000), np.float32), np.zeros(ms(60_000) // FRAME, np.float32))
        assert len(segmenter._audio) == SETTINGS.pre_roll

    def test_a_long_segment_keeps_a_few_seconds(self) -> None:
        segmenter = Segmenter(SETTINGS, FRAME)
        most = 0
        for _ in range(ms(60_000) // FRAME):
            segmenter.receive(np.zeros(FRAME, np.float32), np.ones(1, np.float32))
            most = max(most, len(segmenter._audio))
        assert most <= SETTINGS.cut_window + SETTINGS.pause


SMALL = SegmenterSettings(
    min_speech=5 * FRAME,
    pre_roll=20 * FRAME,
    padding=20 * FRAME,
    silence_threshold=30 * FRAME,
    max_segment=220 * FRAME - 77,  # within a frame
    pause=10 * FRAME,
    patience=50 * FRAME,
    cut_window=40 * FRAME,
    cut_smoothing=5 * FRAME,
)
"""Everything is near everything, so that short random streams meet every rule."""

runs = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.9]), st.integers(1, 60)), min_size=1, max_size=30).map(
    lambda parts: np.concatenate([np.full(count, value, np.float32) for value, count in parts])
)


class TestEveryStream:
    @settings(max_examples=300)
    @given(speech=runs, sizes=st.lists(st.integers(1, 50), min_size=1, max_size=20))
    def test_the_size_of_the_pieces_does_not_matter(self, speech: NDArray[np.float32], sizes: list[int]) -> None:
        audio = counting(len(speech) * FRAME)
        whole = Segmenter(SMALL, FRAME)
        expected = whole.receive(audio, speech) + whole.flush()
        pieces = Segmenter(SMALL, FRAME)
        events: list[Event] = []
        first = 0
        while first < len(speech):
            size = sizes[first % len(sizes)]
            events += pieces.receive(audio[first * FRAME : (first + size) * FRAME], speech[first : first + size])
            first += size
        events += pieces.flush()
        assert merged(events) == merged(expected)
        check(events, SMALL)

    @given(speech=runs)
    def test_no_speech_is_lost(self, speech: NDArray[np.float32]) -> None:
        audio = counting(len(speech) * FRAME)
        segmenter = Segmenter(SMALL, FRAME)
        segments = check(feed(segmenter, audio, speech) + segmenter.flush(), SMALL)
        loud = np.concatenate(([False], speech >= np.float32(SMALL.start_threshold), [False]))
        edges = np.flatnonzero(loud[1:] != loud[:-1])
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            if (end - begin) * FRAME >= SMALL.min_speech:
                covered = np.zeros((end - begin) * FRAME, bool)
                for start, stop in segments:
                    covered[max(0, start - begin * FRAME) : max(0, stop - begin * FRAME)] = True
                assert covered.all()

    @settings(max_examples=60)
    @given(
        steps=st.lists(
            st.one_of(
                runs,
                st.integers(0, FRAME - 1),
                st.builds(
                    lambda silence, longest, roll: replace(
                        SMALL,
                        silence_threshold=silence * FRAME,
                        max_segment=longest * FRAME - 77,
                        pre_roll=roll * FRAME,
                    ),
                    st.integers(10, 100),
                    st.integers(201, 260),
                    st.integers(0, 40),
                ),
            ),
            max_size=12,
        )
    )
    def test_flushes_and_changes_of_settings_break_no_rule(
        self, steps: list[NDArray[np.float32] | int | SegmenterSettings]
    ) -> None:
        segmenter = Segmenter(SMALL, FRAME)
        audio = counting(2**21)
        events: list[Event] = []
        for step in steps:
            if isinstance(step, SegmenterSettings):
                segmenter.configure(step)
            elif isinstance(step, int):
                at = segmenter.received
                events += segmenter.flush(audio[at : at + step])
                assert segmenter.received == at + step
            else:
                events += feed(segmenter, audio[segmenter.received :], step)
            # The longest pause that may be held is a silence threshold.
            assert len(segmenter._audio) <= SMALL.cut_window + 110 * FRAME
        check(events + segmenter.flush(), replace(SMALL, max_segment=260 * FRAME - 77))
