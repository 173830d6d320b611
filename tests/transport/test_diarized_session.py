"""Who speaks, over real sockets: one channel and two, resumed and ended in the midst, refused, and at fault."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest

from stream_server.engine.capacity import FREE_STREAMS
from stream_server.transport import voice as voice_module
from tests.protocol.sound import synthesize
from tests.support.caller import Caller, call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import moonshine, pcm, recording
from tests.support.voices import FakeVoices
from tests.transport.test_bad_input import wav_header

INIT: dict[str, Any] = {"dtype": "int16", "diarize": True}
UTTERANCE = pcm(synthesize("speech", 16_000, 16_000)) + bytes(2 * 24_000)
PLAIN: dict[str, Any] = {"dtype": "int16"}


def speakers(caller: Caller) -> list[str | None]:
    return [final.get("speaker") for final in caller.finals]


async def until_heard(server: Running, samples: int) -> None:
    """What was sent has arrived."""
    sessions = server.service.registry._sessions
    async with asyncio.timeout(10):
        while not any(live.session.received_samples >= samples for live in sessions.values()):
            await asyncio.sleep(0.005)


async def test_finals_and_words_have_a_speaker() -> None:
    async with running_server(FakeRecognizer(), FakeVoices) as server:
        caller = await transcribe(server.ws_url, 2 * UTTERANCE, INIT)
        plain = await transcribe(server.ws_url, 2 * UTTERANCE, PLAIN)
    assert speakers(caller) == ["SPEAKER_00", "SPEAKER_01"]
    assert [{word["speaker"] for word in final["words"]} for final in caller.finals] == [{"SPEAKER_00"}, {"SPEAKER_01"}]
    assert speakers(plain) == [None, None]
    assert [final["text"] for final in plain.finals] == [final["text"] for final in caller.finals]


async def test_callers_have_voices_of_their_own() -> None:
    async with running_server(FakeRecognizer(), FakeVoices) as server:
        callers = await asyncio.gather(*(transcribe(server.ws_url, 3 * UTTERANCE, INIT) for _ in range(3)))
    assert [speakers(caller) for caller in callers] == 3 * [["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"]]


async def test_two_channels_need_nothing() -> None:
    def never() -> FakeVoices:
        raise AssertionError("nothing is to be loaded for channels")

    audio = np.frombuffer(UTTERANCE, "<i2")
    both = np.stack((np.concatenate((audio, 0 * audio)), np.concatenate((0 * audio, audio))), axis=1).tobytes()
    async with running_server(FakeRecognizer(), never, diarizer="off") as server:
        caller = await transcribe(server.ws_url, both, INIT | {"channels": 2})
    assert [(final["channel"], final["speaker"]) for final in caller.finals] == [(0, "SPEAKER_00"), (1, "SPEAKER_01")]


async def test_a_flush_waits_for_who_speaks() -> None:
    gate = threading.Event()
    async with running_server(FakeRecognizer(), partial(FakeVoices, gate=gate)) as server:
        caller = await call(server.ws_url, INIT)
        await caller.send(UTTERANCE, {"type": "flush", "id": 1})
        await caller.until("speech_end")
        await until_heard(server, len(UTTERANCE) // 2)
        await asyncio.sleep(0.1)  # the recognizer is long done
        gate.set()
        await caller.until("flushed")
        assert speakers(caller) == ["SPEAKER_00"]
        await caller.send("END")
        assert await caller.rest() == 1000


async def test_a_resumed_session_is_told_what_was_revised_meanwhile() -> None:
    async with running_server(FakeRecognizer(), partial(FakeVoices, revises=True)) as server:
        caller = await call(server.ws_url, INIT)
        ready = await caller.until("ready")
        await caller.send(UTTERANCE)
        first = await caller.until("final_segment")
        await caller.send(UTTERANCE)
        await until_heard(server, len(UTTERANCE))
        caller.socket.transport.abort()
        await caller.socket.wait_closed()
        resume = {"session_id": ready["session_id"], "resume_token": ready["resume_token"], "last_seq": first["seq"]}
        resumed = await call(server.ws_url, resume)
        resumed.watch = caller.watch
        resumed.watch.connect()
        resumed.watch.seq = first["seq"]
        revised = await resumed.until("speakers_revised")
        await resumed.send("END")
        assert await resumed.rest() == 1000
    assert speakers(caller) == ["SPEAKER_00"]
    assert speakers(resumed) == ["SPEAKER_01"]
    assert [(segment["segment_id"], segment["speaker"]) for segment in revised["segments"]] == [(0, "SPEAKER_01")]


async def test_a_diarizer_that_fails_ends_its_session_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    made: list[FakeVoices] = []

    def load() -> FakeVoices:
        made.append(FakeVoices(fails=len(made) == 1))  # the first is measured
        return made[-1]

    async with running_server(FakeRecognizer(), load) as server:
        plain = await call(server.ws_url, PLAIN)
        await plain.until("ready")
        failing = await call(server.ws_url, INIT)
        await failing.send(UTTERANCE)
        assert await failing.rest() == 1011
        assert failing.events[-1]["code"] == "INTERNAL_ERROR"
        other = await transcribe(server.ws_url, UTTERANCE, INIT)
        await plain.send(UTTERANCE, "END")
        assert await plain.rest() == 1000
        assert server.service.engine.streams == 0
    assert speakers(other) == ["SPEAKER_00"]
    assert len(plain.finals) == 1
    assert "the fake was told to fail" in caplog.text


async def test_a_caller_who_leaves_takes_his_work_with_him() -> None:
    gate = threading.Event()
    async with running_server(FakeRecognizer(), partial(FakeVoices, gate=gate)) as server:
        caller = await call(server.ws_url, INIT)
        await caller.send(5 * UTTERANCE)
        await until_heard(server, 5 * len(UTTERANCE) // 2)
        await caller.socket.close(1000)
        async with asyncio.timeout(10):
            while server.service.limit.taken:
                await asyncio.sleep(0.005)
        text = server.service.metrics.render().decode()
        assert "stream_server_diarization_streams 0.0" in text
        assert "stream_server_diarization_waiting_seconds 0.0" in text
        gate.set()


async def test_who_sends_faster_than_voices_are_told_apart_is_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_module, "MAX_WAITING", 16_000)
    gate = threading.Event()
    async with running_server(FakeRecognizer(), partial(FakeVoices, gate=gate)) as server:
        caller = await call(server.ws_url, INIT)
        sending = asyncio.create_task(caller.send(*(20 * [UTTERANCE]), "END"))
        await caller.until("warning")
        (live,) = server.service.registry._sessions.values()
        assert live.session.received_samples < 5 * len(UTTERANCE)
        gate.set()
        assert await caller.rest() == 1000
        await sending
    assert len(caller.finals) == 20
    assert {event["code"] for event in caller.of("warning")} == {"BACKPRESSURE"}


async def test_no_more_are_let_in_than_can_be_told_apart_and_others_are() -> None:
    async with running_server(FakeRecognizer(), FakeVoices, max_sessions=50) as server:
        server.service.registry._diarizer.filled = lambda more: 2.0  # type: ignore[method-assign]
        refused = await call(server.ws_url, INIT)
        assert await refused.rest() == 1013
        assert refused.events[-1]["code"] == "CAPACITY_FULL"
        assert refused.events[-1]["retry_after"] > 0
        assert "'diarize'" in refused.events[-1]["message"]
        await transcribe(server.ws_url, UTTERANCE, PLAIN)
        await transcribe(server.ws_url, 2 * UTTERANCE, INIT | {"channels": 2})
        assert server.service.limit.taken == 0


async def test_a_header_that_says_more_channels_gives_the_place_back() -> None:
    async with running_server(FakeRecognizer(), FakeVoices) as server:
        caller = await call(server.ws_url, INIT)
        await caller.until("ready")
        assert "stream_server_diarization_streams 1.0" in server.service.metrics.render().decode()
        await caller.send(wav_header(channels=2) + bytes(6400))
        await until_heard(server, 1600)
        assert "stream_server_diarization_streams 0.0" in server.service.metrics.render().decode()
        audio = np.frombuffer(UTTERANCE, "<i2")
        await caller.send(np.stack((0 * audio, audio), axis=1).tobytes(), "END")
        assert await caller.rest() == 1000
    assert speakers(caller) == ["SPEAKER_01"]


async def test_a_header_that_says_fewer_channels_takes_a_place_where_there_is_one() -> None:
    async with running_server(FakeRecognizer(), FakeVoices) as server:
        caller = await transcribe(server.ws_url, wav_header(channels=1) + 2 * UTTERANCE, INIT | {"channels": 2})
        assert speakers(caller) == ["SPEAKER_00", "SPEAKER_01"]
        server.service.registry._diarizer.filled = lambda more: 2.0  # type: ignore[method-assign]
        refused = await call(server.ws_url, INIT | {"channels": 2})
        await refused.send(wav_header(channels=1) + UTTERANCE)
        assert await refused.rest() == 1013
        assert refused.events[-1]["code"] == "CAPACITY_FULL"
        assert server.service.limit.taken == 0


async def test_a_crowd_is_let_in_as_far_as_there_is_room() -> None:
    async with running_server(FakeRecognizer(), FakeVoices, max_sessions=50) as server:
        callers = [await call(server.ws_url, INIT) for _ in range(20)]
        first = [await caller.receive() for caller in callers]
        ready = [event for event in first if event["type"] == "ready"]
        assert len(ready) > FREE_STREAMS
        assert all(event["type"] == "ready" or event["code"] == "CAPACITY_FULL" for event in first)
        await asyncio.gather(*(caller.socket.close() for caller in callers))


async def test_a_dialogue_with_the_real_models() -> None:
    """Two actors, old man and old woman; the woman speaks first."""
    audio = pcm(recording("endgame_nagg_nell.wav"))
    init = INIT | {"max_segment_sec": 10}
    async with running_server(moonshine()) as server:
        caller = await transcribe(server.ws_url, audio, init)
        other = await transcribe(server.ws_url, audio, init)
    told = [
        (word["word"], speaker)
        for final in caller.finals
        if final["text"]
        for word, speaker in zip(final["words"], caller.watch.speakers[final["segment_id"]][1], strict=True)
    ]
    assert {speaker for _, speaker in told} == {"SPEAKER_00", "SPEAKER_01"}
    shares = [sum(speaker == label for _, speaker in told) / len(told) for label in ("SPEAKER_00", "SPEAKER_01")]
    assert min(shares) > 0.15, "both of them say something"
    assert told[:5] == [*((word, "SPEAKER_00") for word in ("Do", "you", "hear", "me?")), ("Yes.", "SPEAKER_01")]
    assert caller.watch.speakers == other.watch.speakers, "the same audio, the same speakers"
