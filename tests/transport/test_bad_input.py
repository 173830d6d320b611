"""Whatever a caller sends: an error that says what was wrong, or a correct result; and the next caller is served."""

from __future__ import annotations

import asyncio
import io
import struct
import wave
from collections.abc import AsyncIterator
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio

from tests.protocol.sound import synthesize
from tests.support.audio import unknown_webm
from tests.support.caller import Frame, call, transcribe
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.speech import moonshine, pcm, recording

pytestmark = pytest.mark.asyncio(loop_scope="module")

INT16 = {"dtype": "int16"}
VOICE = synthesize("speech", 16_000, 16_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Running]:
    async with running_server(FakeRecognizer(), init_timeout=2.0) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real_server() -> AsyncIterator[Running]:
    async with running_server(moonshine()) as running:
        yield running


async def is_fine(server: Running) -> None:
    """The server takes another session, all of it."""
    caller = await transcribe(server.ws_url, pcm(VOICE), INT16)
    assert len(caller.finals) == 1
    assert caller.finals[0]["text"]


def wav_header(*, tag: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, size: int = 0xFFFFFFFF) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    chunk = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", size) + b"WAVE" + chunk


def opus() -> bytes:
    """A second of WebM/Opus, as a browser records it."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm", options={"live": "1"}) as output:
        stream = output.add_stream("libopus", rate=48_000, layout="mono")
        samples = synthesize("speech", 48_000, 48_000)
        for start in range(0, len(samples), 960):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 960], format="flt", layout="mono")
            frame.sample_rate, frame.pts = 48_000, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


REFUSED: dict[str, tuple[list[Frame], str, int, str]] = {
    "init is not JSON": (["hello"], "INVALID_INIT", 1002, "not JSON"),
    "init is no object": (["[1]"], "INVALID_INIT", 1002, "not a JSON object"),
    "init holds NaN": (['{"chunk_size_sec":NaN}'], "INVALID_INIT", 1002, "not JSON"),
    "init has a wrong type": ([{"sample_rate": "16000"}], "INVALID_INIT", 1002, "'sample_rate'"),
    "init has a fraction of a rate": ([{"sample_rate": 16000.5}], "INVALID_INIT", 1002, "'sample_rate'"),
    "init has a list for a language": ([{"language": ["en"]}], "INVALID_INIT", 1002, "'language'"),
    "init is deep": (["[" * 100_000], "INVALID_INIT", 1002, "not JSON"),
    "audio first": ([b"\0\0" * 100], "PROTOCOL_ERROR", 1002, "init"),
    "the end first": (["END"], "INVALID_INIT", 1002, "not JSON"),
    "unknown model": ([{"model": "whisper-9"}], "MODEL_NOT_FOUND", 4004, "served: fake"),
    "unknown language": ([{"language": "tlh"}], "LANGUAGE_NOT_SUPPORTED", 4004, "it speaks: en"),
    "unknown detector": ([{"vad": "ears"}], "INVALID_INIT", 1002, "available: webrtc"),
    "unknown dtype": ([{"dtype": "int12"}], "UNSUPPORTED_AUDIO", 1003, "int16"),
    "no rate": ([{"sample_rate": 0}], "UNSUPPORTED_AUDIO", 1003, "8000"),
    "a rate beyond hearing": ([{"sample_rate": 10**12}], "UNSUPPORTED_AUDIO", 1003, "192000"),
    "nine channels": ([{"channels": 9}], "UNSUPPORTED_AUDIO", 1003, "8"),
    "then not JSON": ([INT16, "what?"], "PROTOCOL_ERROR", 1002, "not JSON"),
    "then a wrong type": ([INT16, {"type": "frame", "audio": 5}], "PROTOCOL_ERROR", 1002, "'audio'"),
    "then another init": ([INT16, {"type": "init"}], "PROTOCOL_ERROR", 1002, "'init'"),
    "a WAV of a strange kind": ([INT16, wav_header(tag=0x55) + pcm(VOICE)], "UNSUPPORTED_AUDIO", 1003, ""),
    "a WAV without channels": ([INT16, wav_header(channels=0) + pcm(VOICE)], "UNSUPPORTED_AUDIO", 1003, ""),
    "a WAV of 200 channels": ([INT16, wav_header(channels=200) + pcm(VOICE)], "UNSUPPORTED_AUDIO", 1003, ""),
    "a WAV without a rate": ([INT16, wav_header(rate=0) + pcm(VOICE)], "UNSUPPORTED_AUDIO", 1003, ""),
    "half a WAV header": ([INT16, wav_header()[:20], "END"], "UNSUPPORTED_AUDIO", 1003, ""),
    "no container": ([{"dtype": "container"}, pcm(VOICE), "END"], "UNSUPPORTED_AUDIO", 1003, ""),
    "a container of a strange kind": (
        [{"dtype": "container"}, unknown_webm(), "END"],
        "UNSUPPORTED_AUDIO",
        1003,
        "codec",
    ),
    "video files": (
        [{"dtype": "container"}, b"\0\0\0\x20ftypisom" + bytes(4000), "END"],
        "UNSUPPORTED_AUDIO",
        1003,
        "",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused(server: Running, case: str) -> None:
    frames, code, close, words = REFUSED[case]
    caller = await call(server.ws_url)
    await caller.send(*frames)
    assert await caller.rest() == close
    (error,) = caller.of("error")
    assert error == caller.events[-1]
    assert error["code"] == code
    assert words in error["message"]
    assert len(error["message"]) < 400
    await is_fine(server)


async def test_text_that_is_not_utf8(server: Running) -> None:
    caller = await call(server.ws_url, INT16)
    await caller.until("ready")
    await caller.socket.send(b"\xff\xfe{}", text=True)
    assert await caller.rest() == 1007
    assert caller.events[-1]["code"] == "PROTOCOL_ERROR"
    await is_fine(server)


@pytest.mark.parametrize("greeted", [True, False], ids=["after init", "first"])
@pytest.mark.parametrize("whole", [True, False], ids=["one frame", "fragments"])
async def test_a_hundred_megabytes(server: Running, greeted: bool, whole: bool) -> None:
    caller = await call(server.ws_url, INT16 if greeted else None)
    if greeted:
        await caller.until("ready")

    async def send() -> None:
        piece = bytes(100 * 2**20 if whole else 2**20)
        try:
            await caller.socket.send(piece if whole else [piece] * 100)
        except Exception:  # the server did not wait for all of it
            assert caller.socket.close_code is not None

    _, close = await asyncio.gather(send(), caller.rest())
    assert close == 1009
    assert caller.events[-1]["code"] == "MESSAGE_TOO_LARGE"
    assert "4194304 bytes" in caller.events[-1]["message"]
    await is_fine(server)


HEARD: dict[str, tuple[dict[str, Any], list[bytes]]] = {
    "odd byte counts": (
        INT16,
        [pcm(VOICE)[at : at + size] for at, size in ((0, 1), (1, 3), (4, 9_995), (9_999, 22_001))],
    ),
    "an odd end": (INT16, [pcm(VOICE) + b"\x7f"]),
    "huge floats": ({}, [(VOICE * 1e30).astype("<f4").tobytes()]),
    "a WAV header that promises 4 GB": (INT16, [wav_header() + pcm(VOICE)]),
    "a WAV header that lies about the rest": (
        {"dtype": "alaw", "sample_rate": 8000},
        [wav_header(size=0) + pcm(VOICE)],
    ),
    "a WAV header in many frames": ({}, [bytes([byte]) for byte in wav_header()] + [pcm(VOICE)]),
    "truncated Opus": ({"dtype": "container"}, [opus()[:-700]]),
    "Opus cut in its last packet": ({"dtype": "container"}, [opus()[:-7]]),
}


@pytest.mark.parametrize("case", HEARD)
async def test_what_is_heard_all_the_same(server: Running, case: str) -> None:
    init, frames = HEARD[case]
    caller = await call(server.ws_url, init)
    await caller.send(*frames, "END")
    assert await caller.rest() == 1000
    assert caller.of("error") == []
    assert any(final["text"] for final in caller.finals)
    await is_fine(server)


NOTHING: dict[str, tuple[dict[str, Any], list[bytes]]] = {
    "nothing at all": (INT16, []),
    "one byte": (INT16, [b"\x01"]),
    "a WAV header and no more": (INT16, [wav_header()]),
    "not a number": ({}, [np.full(32_000, np.nan, "<f4").tobytes()]),
    "silence": ({}, [np.zeros(48_000, "<f4").tobytes()]),
    "a constant": ({}, [np.full(48_000, np.inf, "<f4").tobytes()]),
}


@pytest.mark.parametrize("case", NOTHING)
async def test_where_nothing_is_said_the_transcript_is_empty(real_server: Running, case: str) -> None:
    init, frames = NOTHING[case]
    caller = await call(real_server.ws_url, init)
    await caller.send(*frames, "END")
    assert await caller.rest() == 1000
    assert caller.of("end_of_transcript")[0]["text"] == ""


@pytest.mark.parametrize("level", [0.001, 0.03, 0.3])
async def test_noise_is_not_speech(real_server: Running, level: float) -> None:
    noise = np.random.default_rng(7).normal(0, level, 8 * 16_000).astype("<f4")
    caller = await transcribe(real_server.ws_url, noise.tobytes(), {})
    assert caller.of("end_of_transcript")[0]["text"] == ""


async def test_not_a_number_in_the_middle_of_speech_costs_little(real_server: Running) -> None:
    """A filter that took it in would be deaf for ever."""
    speech = recording("beckett.wav").astype("<f4").copy()
    speech[20_000:20_100] = np.nan
    speech[40_000:40_100] = -np.inf
    caller = await transcribe(real_server.ws_url, speech.tobytes(), {})
    assert len(caller.of("end_of_transcript")[0]["text"].split()) > 8


async def test_a_real_recording_as_a_wav_file(real_server: Running) -> None:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, 16_000, 0, "NONE", ""))
            writer.writeframes(pcm(recording("beckett.wav")))
        caller = await transcribe(real_server.ws_url, file.getvalue(), {"dtype": "ulaw", "sample_rate": 8000})
    assert len(caller.of("end_of_transcript")[0]["text"].split()) > 8
