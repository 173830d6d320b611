"""The session as a list in and a list out: its state table, its clock, and the promises of the protocol.

Promise 5 (resume) needs sockets: see transport/test_resume.py.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_protocol.events import Warning, WarningCode
from stream_server.engine.recognizer import Task
from stream_server.engine.work import SAMPLE_RATE, Failure, Hypothesis, Lost, Result, Thinned, TimedWord
from stream_server.session import MAX_FLUSH_ID, MAX_FLUSHES, State
from stream_server.session_segment import SessionSegment
from tests.support.driven import LOUD, Doubtful, Driven, LoudnessVad
from tests.support.fake import FakeRecognizer, FakeStream, spoken
from tests.support.speech import moonshine, pcm, recording

INT16: dict[str, Any] = {"dtype": "int16"}


def sound(*parts: float) -> bytes:
    """Seconds of speech (positive) and silence (negative), for `LoudnessVad`, as int16."""
    return pcm(np.concatenate([np.full(round(abs(part) * SAMPLE_RATE), LOUD * (part > 0)) for part in parts]))


def driven(recognizer: FakeRecognizer | None = None, *, inline: bool = True, eager: bool = True, **init: Any) -> Driven:
    return Driven(recognizer, vad=LoudnessVad(inline=inline), eager=eager, **INT16 | init)


def without_latency(finals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What has to be equal, whatever was sent when."""
    return [
        {key: value for key, value in final.items() if key not in ("latency_ms", "seq", "segment_id")}
        for final in finals
    ]


# -- the promises ------------------------------------------------------------------------------------------------------


def test_promise_1_order() -> None:
    made = driven(words=False)  # the fake's begin in the margin before the speech
    made.play(sound(-0.5, 1.5, -1.0, 1.2, -1.0))
    made.end()
    kinds = [kind for kind in made.kinds if kind != "partial"]
    segment = ["speech_start", "speech_end", "final_segment"]
    assert kinds == ["ready", *segment, *segment, "end_of_transcript", "done"]
    assert made.of("partial")
    assert [event["segment_id"] for event in made.finals] == [0, 1]
    assert [event["offset_ms"] for event in made.finals] == [500, 3000]
    assert [event["duration_ms"] for event in made.finals] == [1500, 1200]
    done = made.of("done")[0]
    assert (done["total_segments"], done["total_audio_duration_sec"]) == (2, 5.2)
    assert made.session.state is State.CLOSED
    assert made.session.close_code == 1000


def test_promise_1_order_on_two_channels_that_talk_over_each_other() -> None:
    made = driven(channels=2, eager=False)
    left, right = (
        np.frombuffer(sound(*parts), "<i2") for parts in ((1.0, -1.5, 1.0, -0.5), (-0.7, 2.0, -1.0, 0.2, -0.1))
    )
    made.play(np.stack((left, right), axis=1).tobytes())
    while made.step():
        pass
    for channel in (1, 0):  # one channel's results are all late
        while made.deliver(channel):
            pass
    made.end()
    assert {final["channel"] for final in made.finals} == {0, 1}
    for channel in (0, 1):
        own = [event for event in made.events if event.get("channel") == channel and event["type"] != "partial"]
        kinds = [event["type"] for event in own]
        assert kinds.count("speech_start") == kinds.count("speech_end") == kinds.count("final_segment")
        offsets = [event["offset_ms"] for event in own if event["type"] == "final_segment"]
        assert offsets == sorted(offsets)
    text = made.of("end_of_transcript")[0]["text"]
    ordered = sorted(made.finals, key=lambda final: (final["offset_ms"], final["channel"]))
    assert text == " ".join(final["text"] for final in ordered)


@pytest.mark.parametrize("recognizer", [FakeRecognizer(), FakeRecognizer.streaming()], ids=["segment", "streaming"])
def test_promise_2_stable_prefix_with_the_fake(recognizer: FakeRecognizer) -> None:
    made = driven(recognizer, chunk_size_sec=0.1)
    made.play(sound(5.0, -1.0))
    made.end()
    partials = made.of("partial")
    assert any(partial["stable_chars"] > 0 for partial in partials)
    for partial in partials:
        assert made.finals[0]["text"].startswith(partial["text"][: partial["stable_chars"]])


@pytest.mark.parametrize(("name", "seconds"), [("beckett.wav", 10), ("two_cities.wav", 20)])
def test_promise_2_stable_prefix_with_the_real_model(name: str, seconds: int) -> None:
    made = Driven(moonshine(), **INT16, chunk_size_sec=0.25)  # `PromiseWatch` holds each event to it
    made.play(pcm(recording(name)[: seconds * SAMPLE_RATE]))
    made.end()
    partials = made.of("partial")
    assert len(partials) > 2 * seconds
    assert sum(partial["stable_chars"] > 0 for partial in partials) > len(partials) / 4, "stable text is trivially late"
    assert max(partial["stable_chars"] for partial in partials) > 20


def test_a_segment_follows_where_speech_was_cut_and_not_after_a_pause() -> None:
    recognizer = FakeRecognizer.streaming()
    made = driven(recognizer, max_segment_sec=5)
    made.play(sound(12.0, -2.0, 1.0))  # three forced cuts, a pause
    made.send({"type": "flush"})  # amid speech
    made.play(sound(1.0, -2.0))
    made.end()
    assert [follows for _, follows in recognizer.openings] == [False, True, True, True, False, True]


def test_the_chunk_size_in_force_is_one_that_the_model_has() -> None:
    recognizer = FakeRecognizer.streaming(chunks=(1280, 8960, 17920))
    made = driven(recognizer, chunk_size_sec=0.5)
    made.play(sound(1.0, -1.0))
    made.send({"type": "configure", "chunk_size_sec": 5})
    made.play(sound(1.0, -1.0))
    made.end()
    echoes = [event["config"]["chunk_size_sec"] for event in made.of("ready", "configured")]
    assert echoes == [0.56, 1.12]
    assert [chunk for chunk, _ in recognizer.openings] == [8960, 17920]


def test_when_the_engine_is_lost_the_caller_is_told_to_come_again() -> None:
    made = driven(eager=False)
    made.play(sound(1.0))
    made.session.receive_outcome(Lost("the device failed"), 0.0)
    made.tick(0.0)
    error = made.events[-1]
    assert (error["type"], error["code"]) == ("error", "SERVER_DRAINING")
    assert error["retry_after"] > 0
    assert made.session.close_code == 1012


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("eager", [True, False])
def test_promise_3_a_flush_is_answered_after_the_finals_before_it(inline: bool, eager: bool) -> None:
    made = driven(inline=inline, eager=eager)
    made.play(sound(-0.3, 1.0))  # open
    made.send({"type": "flush", "id": "one"})
    made.send({"type": "flush", "id": 2})
    made.play(sound(1.0, -0.2, 0.5))
    made.send({"type": "flush"})
    made.play(sound(1.0, -0.2))
    made.end()
    kinds = [kind for kind in made.kinds if kind not in ("partial", "speech_start", "speech_end")]
    expected = ["ready", "final_segment", "flushed", "flushed", "final_segment", "flushed", "final_segment"]
    assert kinds == [*expected, "end_of_transcript", "done"]
    assert [event.get("id") for event in made.of("flushed")] == ["one", 2, None]
    # Everything heard before the flush is in the final before it.
    assert made.finals[0]["offset_ms"] + made.finals[0]["duration_ms"] == 1300


def test_promise_3_a_flush_of_nothing_is_answered_at_once() -> None:
    made = driven(eager=False)
    made.send({"type": "flush", "id": 1})
    made.play(sound(-3.0))
    made.send({"type": "flush", "id": 2})
    assert made.kinds == ["ready", "flushed", "flushed"]


@pytest.fixture(scope="module")
def beckett() -> list[dict[str, Any]]:
    """Finals of the recording with the engine always at hand."""
    made = Driven(moonshine(), **INT16)
    made.play(pcm(recording("beckett.wav")), 640)
    made.end()
    return without_latency(made.finals)


@pytest.mark.parametrize("frame_bytes", [333, 3200, 50_001, 10**9])
@pytest.mark.parametrize("eager", [True, False], ids=["as it comes", "afterwards"])
def test_promise_4_frame_sizes_and_speed_change_nothing_with_the_real_model(
    frame_bytes: int, eager: bool, beckett: list[dict[str, Any]]
) -> None:
    made = Driven(moonshine(), eager=eager, **INT16)
    made.play(pcm(recording("beckett.wav")), frame_bytes)
    made.end()
    assert len(beckett) >= 2
    assert without_latency(made.finals) == beckett


conversation = st.lists(st.floats(0.05, 2.5), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(conversation, st.lists(st.integers(1, 20_000), min_size=1, max_size=20), st.booleans(), st.booleans())
def test_promise_4_frame_sizes_and_speed_change_nothing(
    parts: list[float], sizes: list[int], streaming: bool, inline: bool
) -> None:
    audio = sound(*(part * (-1) ** number for number, part in enumerate(parts)))

    def finals(cuts: list[int], *, eager: bool, inline: bool = True) -> list[dict[str, Any]]:
        made = driven(FakeRecognizer.streaming() if streaming else None, eager=eager, inline=inline)
        at = 0
        for number in range(10_000):
            if at >= len(audio):
                break
            size = cuts[number % len(cuts)]
            made.send(audio[at : at + size])
            at += size
        made.play(audio[at:])
        made.end()
        return without_latency(made.finals)

    assert finals(sizes, eager=False, inline=inline) == finals([len(audio)], eager=True)


@pytest.mark.parametrize(
    ("frame", "code", "close", "words"),
    [
        ("nonsense", "PROTOCOL_ERROR", 1002, "not JSON"),
        ("[]", "PROTOCOL_ERROR", 1002, "not a JSON object"),
        ('{"type":"sing"}', "PROTOCOL_ERROR", 1002, "'sing' is unknown; allowed: frame"),
        ('{"type":7}', "PROTOCOL_ERROR", 1002, "allowed"),
        ('{"type":"frame","audio":"not base64!"}', "PROTOCOL_ERROR", 1002, "base64"),
        ('{"type":"configure","partials":"yes"}', "PROTOCOL_ERROR", 1002, "'partials'"),
        ('{"type":"configure","chunk_size_sec":NaN}', "PROTOCOL_ERROR", 1002, "not JSON"),
        ('{"type":"flush","id":[1]}', "PROTOCOL_ERROR", 1002, "id"),
        ('{"type":"flush","id":"' + "x" * (MAX_FLUSH_ID + 1) + '"}', "PROTOCOL_ERROR", 1002, "100 characters"),
        ("[" * 5000, "PROTOCOL_ERROR", 1002, "not JSON"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00" + b"\xff" * 64, "UNSUPPORTED_AUDIO", 1003, ""),
    ],
)
def test_promise_6_bad_input_gets_one_error_that_helps(frame: str | bytes, code: str, close: int, words: str) -> None:
    """In the middle of speech it comes after the final of what was heard."""
    for heard in [b""] if isinstance(frame, bytes) else [b"", sound(1.0)]:
        made = driven()
        made.play(heard)
        made.send(frame)
        made.send(sound(1.0))
        assert len(made.of("error")) == 1
        error = made.events[-1]
        assert error["type"] == "error"
        assert error["code"] == code
        assert words in error["message"]
        assert made.session.close_code == close
        assert len(made.finals) == bool(heard)


# -- the state table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["END", '{"type":"end"}', b""])
def test_any_end_closes(end: str | bytes) -> None:
    made = driven()
    made.play(sound(1.0))
    made.send(end)
    made.work()
    assert made.session.state is State.CLOSED
    assert made.kinds[-2:] == ["end_of_transcript", "done"]
    assert made.of("end_of_transcript")[0]["text"] == spoken(SAMPLE_RATE)


def test_after_the_end_nothing_is_heard() -> None:
    made = driven(eager=False)
    made.play(sound(1.0))
    made.send("END")
    assert made.session.state is State.ENDING
    assert made.session.next_deadline() is None
    for late in (sound(2.0), "nonsense", '{"type":"flush"}', "END", b""):
        made.send(late)
    made.tick(10_000)
    made.work()
    assert made.kinds[-1] == "done"
    assert len(made.finals) == 1
    assert made.of("done")[0]["total_audio_duration_sec"] == 1.0
    assert made.of("flushed", "error") == []


def test_a_closed_session_takes_anything_and_says_nothing() -> None:
    made = driven()
    made.end()
    said = len(made.events)
    for late in (sound(2.0), "nonsense", "END", b""):
        made.send(late)
    made.session.receive_outcome(Failure(0, "late"), made.now)
    made.session.receive_outcome(Thinned(), made.now)
    made.session.warn(Warning(WarningCode.DRAINING, "late"))
    made.tick(10_000)
    made.session.close()
    assert len(made.events) == said


def test_a_failed_segment_ends_the_session_at_once() -> None:
    made = driven(FakeRecognizer(fails=True))
    made.play(sound(1.0, -1.0))
    assert made.events[-1]["type"] == "error"
    assert made.events[-1]["code"] == "INTERNAL_ERROR"
    assert "driven" in made.events[-1]["message"], "the session's id, to report"
    assert made.session.close_code == 1011
    assert made.engine.streams == 0


def test_partials_may_be_off_and_words_too() -> None:
    made = driven(partials=False, words=False)
    made.play(sound(2.0, -1.0))
    made.end()
    assert made.of("partial") == []
    assert "words" not in made.finals[0]


def test_an_empty_json_frame_is_no_end() -> None:
    made = driven()
    made.send({"type": "frame", "audio": ""})
    assert made.session.state is State.OPEN
    made.send({"type": "frame", "audio": base64.b64encode(sound(1.0)).decode()})
    made.end()
    assert made.finals[0]["text"] == spoken(SAMPLE_RATE)


def test_words_lie_inside_their_segments_one_after_another() -> None:
    made = Driven(moonshine(), **INT16)
    made.play(pcm(recording("beckett.wav")))
    made.end()
    before = 0
    for final in made.finals:
        if not final["text"]:
            continue
        assert " ".join(word["word"] for word in final["words"]) == final["text"]
        for word in final["words"]:
            assert before <= word["start_ms"] <= word["end_ms"]
            before = word["end_ms"]
            assert 0 <= word["confidence"] <= 1
        assert final["offset_ms"] <= final["words"][0]["start_ms"]
        assert final["words"][-1]["end_ms"] <= final["offset_ms"] + final["duration_ms"]


def test_a_segment_holds_the_words_in_the_margins_of_its_speech() -> None:
    segment = SessionSegment(id=0, channel=0, start=3_200, speech=8_000, sure=8_000)
    segment.end(speech_end=24_000, silence=12_800, now=0.0)
    words = (TimedWord("One", 3_216, 9_600, 0.5), TimedWord("two.", 20_000, 24_160, 0.5))
    heard = Result(0, 3_200, 30_400, is_final=True, hypothesis=Hypothesis("One two.", 8, 0.5, "en", words))
    final = segment.final_event(1, heard, 0.0, with_words=True)
    assert (final.offset_ms, final.duration_ms) == (201, 1309), "from the first word's start to the last one's end"
    bare = segment.final_event(1, heard, 0.0, with_words=False)
    assert (bare.offset_ms, bare.duration_ms) == (500, 1000), "as the detector heard it"


def test_the_transcript_is_in_the_order_in_which_its_finals_begin() -> None:
    class Uneven(FakeRecognizer):
        """Has words for its first stream only: they begin in the margin before the speech."""

        def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
            slots = [task.stream.slot.index for task in tasks if isinstance(task.stream, FakeStream)]
            found = zip(slots, super().step(tasks), strict=True)
            return [made if slot == 0 else replace(made, words=None) for slot, made in found]

    made = driven(Uneven(), channels=2, partials=False)
    left, right = (np.frombuffer(sound(*parts), "<i2") for parts in ((-0.8, 1.0, -1.2), (-0.6, 2.0, -0.4)))
    made.play(np.stack((left, right), axis=1).tobytes())
    made.end()
    assert [event["channel"] for event in made.of("speech_start")] == [1, 0]
    assert {final["channel"]: final["offset_ms"] for final in made.finals} == {0: 300, 1: 600}
    texts = {final["channel"]: final["text"] for final in made.finals}
    assert made.of("end_of_transcript")[0]["text"] == f"{texts[0]} {texts[1]}"


def test_flushes_that_wait_are_bounded() -> None:
    made = driven(eager=False)
    made.play(sound(1.0))
    for number in range(MAX_FLUSHES):
        made.send({"type": "flush", "id": number})
    assert made.session.state is State.OPEN
    made.send({"type": "flush", "id": "too many"})
    made.work()
    assert made.events[-1]["code"] == "PROTOCOL_ERROR"
    assert "await 'flushed'" in made.events[-1]["message"]
    assert len(made.of("flushed")) == MAX_FLUSHES


def test_acks_come_every_second_when_asked_for() -> None:
    made = driven(acks=True)
    made.play(sound(-3.5), 1600)
    acks = [event["received_samples"] for event in made.of("ack")]
    assert acks == [16_000, 32_000, 48_000]
    assert driven().of("ack") == []


def test_overload_is_told_now_and_then() -> None:
    made = driven()
    for _ in range(5):
        made.session.receive_outcome(Thinned(), made.now)
        made.tick(4.0)
    warnings = made.of("warning")
    assert [warning["code"] for warning in warnings] == ["DEGRADED"] * 2


# -- the clock ---------------------------------------------------------------------------------------------------------


def test_inactivity_ends_with_what_was_heard() -> None:
    made = driven(inactivity_timeout=5.0)
    made.play(sound(1.0))
    made.tick(4.9)
    assert made.session.state is State.OPEN
    made.tick(0.2)
    assert [event["type"] for event in made.events[-2:]] == ["final_segment", "error"]
    assert made.events[-1]["code"] == "TIMEOUT"
    assert "inactivity_timeout" in made.events[-1]["message"]
    assert made.session.close_code == 4008


@pytest.mark.parametrize("alive", [sound(0.1), b"\0", '{"type":"keepalive"}', '{"type":"frame","audio":"AAA="}'])
def test_audio_and_keepalive_reset_the_inactivity_timeout(alive: bytes | str) -> None:
    made = driven(inactivity_timeout=5.0)
    for _ in range(4):
        made.tick(4.0)
        made.send(alive)
        assert made.session.next_deadline() == made.now + 5.0
    assert made.session.state is State.OPEN
    made.tick(5.0)
    assert made.events[-1]["code"] == "TIMEOUT"


@pytest.mark.parametrize("idle", ['{"type":"flush"}', '{"type":"configure"}'])
def test_other_messages_do_not(idle: str) -> None:
    made = driven(inactivity_timeout=5.0)
    made.tick(4.0)
    made.send(idle)
    made.tick(1.0)
    assert made.events[-1]["code"] == "TIMEOUT"


def test_the_longest_duration_ends_with_what_was_heard() -> None:
    made = driven(max_connection_duration=10.0)
    for _ in range(9):
        made.tick(1.0)
        made.play(sound(1.0))
    assert made.session.next_deadline() == 10.0
    made.tick(1.0)
    assert [event["type"] for event in made.events[-2:]] == ["final_segment", "error"]
    assert "max_connection_duration" in made.events[-1]["message"]


def test_latency_is_counted_from_when_the_audio_arrived() -> None:
    made = driven(eager=False)
    made.play(sound(1.0))
    made.now = 0.25
    made.step()
    made.deliver(0)
    assert made.of("partial")[0]["latency_ms"] == 250.0
    made.play(sound(-1.0))
    made.now = 0.75
    made.work()
    assert made.finals[0]["latency_ms"] == 500.0


# -- configure ---------------------------------------------------------------------------------------------------------


def test_configure_before_the_first_audio_reaches_the_engine() -> None:
    made = driven(partials=False, words=False)
    made.send({"type": "configure", "partials": True, "words": True})
    made.play(sound(2.0, -1.0))
    assert made.of("configured")[0]["config"]["partials"] is True
    assert made.of("partial")
    assert made.finals[0]["words"]


def test_configure_in_mid_segment() -> None:
    made = driven()
    made.play(sound(1.0))
    made.send({"type": "configure", "silence_threshold_sec": 0.2, "partials": False, "words": False})
    shown = len(made.of("partial"))
    made.play(sound(1.0, -0.3))
    assert len(made.of("partial")) == shown
    assert "words" not in made.finals[0]
    assert 200 <= made.finals[0]["silence_duration_ms"] < 300
    config = made.of("configured")[0]["config"]
    assert (config["silence_threshold_sec"], config["chunk_size_sec"]) == (0.2, 0.5)


def test_configure_clamps_to_the_model_and_ignores_what_it_does_not_know() -> None:
    made = Driven(moonshine(), **INT16)
    unknown = {f"unknown_{number}": number for number in range(150)} | {"y" * 200: 1}
    made.send({"type": "configure", "max_segment_sec": 60, "keyterms": ["Beckett"], **unknown})
    config = made.of("configured")[0]["config"]
    assert config["max_segment_sec"] == moonshine().info.max_segment_sec
    assert config["keyterms"] == []
    assert config == made.of("ready")[0]["config"] | {"max_segment_sec": config["max_segment_sec"]}


def test_a_shorter_longest_segment_cuts() -> None:
    made = driven(max_segment_sec=5)
    made.play(sound(14.0, -1.0))
    made.end()
    assert len(made.finals) >= 3
    assert [final["silence_duration_ms"] == 0 for final in made.finals[:-1]] == [True] * (len(made.finals) - 1)
    for before, after in zip(made.finals, made.finals[1:], strict=False):
        assert before["offset_ms"] + before["duration_ms"] == after["offset_ms"], "nothing is heard twice or lost"


# -- whatever comes ----------------------------------------------------------------------------------------------------

garbage = st.binary(max_size=200) | st.builds(
    lambda data, count: data * count, st.binary(min_size=1, max_size=9), st.integers(1, 4000)
)
speech = st.builds(sound, st.floats(-2.0, 2.0), st.floats(-1.5, 1.5))
messages = st.sampled_from(
    [
        '{"type":"keepalive"}',
        '{"type":"flush"}',
        '{"type":"flush","id":7}',
        '{"type":"configure","partials":false}',
        '{"type":"configure","partials":true,"chunk_size_sec":0.1}',
        '{"type":"configure","silence_threshold_sec":0.1,"max_segment_sec":2}',
        '{"type":"configure","silence_threshold_sec":5,"words":false,"keyterms":["a"]}',
        '{"type":"frame","audio":"AAAA"}',
        '{"type":"frame","audio":""}',
    ]
)
noise = st.text(max_size=40) | st.sampled_from(['{"type":"flush","id":{}}', '{"type":', "null", "0", '""', "END "])
world = st.sampled_from(["step", "detect", "deliver 0", "deliver 1", "tell", "work"]) | st.floats(0, 20)
frames = (speech | messages | world) | (speech | messages | world) | garbage
inits = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["int16", "float32", "ulaw", "alaw"]),
        "channels": st.integers(1, 2),
        "sample_rate": st.sampled_from([8000, 16_000, 48_000]),
        "partials": st.booleans(),
        "diarize": st.booleans(),
        "acks": st.booleans(),
        "max_segment_sec": st.sampled_from([2.0, 20.0]),
        "silence_threshold_sec": st.sampled_from([0.1, 0.8]),
        "inactivity_timeout": st.sampled_from([1.0, 300.0]),
    }
)


@settings(max_examples=150, deadline=None)
@given(inits, st.lists(frames, max_size=25), st.lists(noise, max_size=1), st.booleans(), st.booleans())
def test_whatever_comes_the_promises_hold_and_the_end_ends(
    init: dict[str, Any], inputs: list[Any], last: list[str], streaming: bool, inline: bool
) -> None:
    made = driven(FakeRecognizer.streaming() if streaming else None, inline=inline, eager=False, **init)
    made.spoken = Doubtful()
    for item in [*inputs, *last]:
        match item:
            case float():
                made.tick(item)
            case "step":
                made.step()
            case "detect":
                made.detect()
            case "deliver 0" | "deliver 1":
                made.deliver(int(item[-1]))
            case "tell":
                made.tell()
            case "work":
                made.work()
            case _:
                made.send(item)
    made.end()
    assert made.session.state is State.CLOSED
    assert made.events[-1]["type"] in ("done", "error")
    assert made.session.close_code is not None
    assert len(made.of("error")) + len(made.of("done")) == 1
    assert all(("speaker" in final) == bool(init["diarize"] and final["text"]) for final in made.finals)
    assert len(made.session._segments) == 0
    assert made.engine.streams == 0
    if made.of("error"):
        assert made.events[-1]["code"] in ("PROTOCOL_ERROR", "TIMEOUT", "UNSUPPORTED_AUDIO")
