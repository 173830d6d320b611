"""The whole server with a streaming transducer on the CPU: sockets, sessions, segments, captions. Random weights."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the gpu extra is not installed")
pytest.importorskip("transformers", reason="the gpu extra is not installed")

from stream_server.engine.hub import CheckpointError
from stream_server.engine.registry import RecognizerSettings, UnknownModelError, load_recognizer
from stream_server.engine.work import SAMPLE_RATE
from stream_server.settings import Settings
from stream_server.transcribe import Transcriber
from tests.support.caller import call, transcribe
from tests.support.checkpoint import make_checkpoint
from tests.support.running import running_server
from tests.support.speech import pcm, recording

INT16 = {"dtype": "int16"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("models") / "tiny-streamer", "nemotron3_5_asr")


def settled(events: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
    """What must be equal whoever else is there."""
    finals = [event for event in events if event["type"] == "final_segment"]
    return [(final["text"], final["offset_ms"], final["language"]) for final in finals]


async def test_many_callers_at_their_own_chunk_sizes_get_what_each_gets_alone(folder: Path) -> None:
    speech = pcm(recording("two_cities.wav")[: 12 * SAMPLE_RATE])
    async with running_server(model=str(folder), device="cpu", max_sessions=8) as server:
        inits = [INT16 | {"chunk_size_sec": size} for size in (0.08, 0.16, 0.5, 1.0, 5)]
        alone = [(await transcribe(server.ws_url, speech, init)).events for init in inits]
        callers = await asyncio.gather(*(transcribe(server.ws_url, speech, init) for init in inits))
        together = [caller.events for caller in callers]
    for init, one, other in zip(inits, alone, together, strict=True):
        ready = one[0]
        assert ready["model"] == "tiny-streamer", "and not where it lies"
        nearest = min((0.08, 0.16, 0.56, 1.12), key=lambda size: abs(size - float(init["chunk_size_sec"])))  # type: ignore[arg-type]
        assert ready["config"]["chunk_size_sec"] == nearest
        assert settled(one) == settled(other) != []
        assert [event["type"] for event in other][-2:] == ["end_of_transcript", "done"]


async def test_a_partial_is_stable_as_a_whole(folder: Path) -> None:
    speech = recording("beckett.wav")
    async with running_server(model=str(folder), device="cpu") as server:
        caller = await call(server.ws_url, INT16 | {"chunk_size_sec": 0.08})
        for second in range(4):  # the next when the last has been heard: partials come while there is speech
            await caller.send(pcm(speech[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE]))
            await caller.until("partial")
        await caller.send("END")
        await caller.rest()
    partials, texts = caller.of("partial"), {final["segment_id"]: final["text"] for final in caller.finals}
    assert len(partials) >= 4
    for partial in partials:
        assert partial["stable_chars"] == len(partial["text"])
        assert texts[partial["segment_id"]].startswith(partial["text"])


async def test_a_long_talker_is_cut_without_losing_a_word(folder: Path) -> None:
    """Two segments of one unbroken speech carry on from each other: words follow in order, and none is told twice."""
    speech = pcm(np.tile(recording("beckett.wav")[: 4 * SAMPLE_RATE], 3))
    async with running_server(model=str(folder), device="cpu", max_sessions=2) as server:
        caller = await transcribe(server.ws_url, speech, INT16 | {"max_segment_sec": 5, "silence_threshold_sec": 5})
    finals = caller.finals
    assert len(finals) > 1
    words = [(word["start_ms"], word["end_ms"]) for final in finals for word in final["words"]]
    assert words == sorted(words)
    assert len(words) > 20


async def test_keyterms_are_heeded(folder: Path) -> None:
    speech = pcm(recording("beckett.wav")[: 6 * SAMPLE_RATE])
    async with running_server(model=str(folder), device="cpu", keyterm_bonus=30) as server:
        plain = (await transcribe(server.ws_url, speech, INT16)).events
        boosted = (await transcribe(server.ws_url, speech, INT16 | {"keyterms": ["red dog"]})).events
    assert "keyterms" not in boosted[0]["ignored"]
    assert "red dog" not in settled(plain)[0][0]
    assert "red dog" in settled(boosted)[0][0]


def test_a_file_is_transcribed_with_the_longest_chunks(folder: Path, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "speech.wav", recording("beckett.wav"), SAMPLE_RATE)
    with Transcriber(Settings.load({}, model=str(folder), device="cpu")) as transcriber:
        transcript = transcriber.transcribe(tmp_path / "speech.wav", language="de")
    assert len(transcript.text) > 20
    assert all(segment.words for segment in transcript.segments)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("no-such-model", UnknownModelError, "a folder, or another hub repository"),
        ("", UnknownModelError, "unknown model ''"),
        ("{empty}", CheckpointError, "config.json"),
        ("{other}", CheckpointError, "bert"),
        ("{garbled}", CheckpointError, "does not say"),
        ("{listed}", CheckpointError, "does not say what model this is: model_type is .'a'."),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(
    tmp_path: Path, name: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    configs = {"other": json.dumps({"model_type": "bert"}), "garbled": "{", "listed": json.dumps({"model_type": ["a"]})}
    for kind, config in configs.items():
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "config.json").write_text(config)
        (tmp_path / kind / "model.safetensors").write_bytes(b"")
    named = name.format(**{kind: tmp_path / kind for kind in ("empty", *configs)})
    with pytest.raises(error, match=message):
        load_recognizer(named, RecognizerSettings(device="cpu"))
