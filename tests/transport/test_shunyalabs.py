"""The published client of the service whose protocol ours extends works against us, unchanged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake import FakeRecognizer
from tests.support.running import running_server
from tests.support.speech import moonshine, pcm, recording

shunyalabs = pytest.importorskip("shunyalabs.asr", reason="pip install shunyalabs==3.0.3")


def client(url: str, key: str = "none") -> Any:
    from shunyalabs._core._auth import StaticKeyAuth

    return shunyalabs.AsyncStreamingASR(StaticKeyAuth(key), url)


async def test_a_file_is_streamed_and_transcribed(tmp_path: Path) -> None:
    speech = pcm(recording("beckett.wav"))
    file = tmp_path / "rest.raw"
    file.write_bytes(speech[80_000:])
    kinds = shunyalabs.StreamingMessageType
    heard: dict[str, list[Any]] = {kind: [] for kind in kinds}
    async with running_server(moonshine()) as server:
        connection = await client(server.ws_url).stream(config=shunyalabs.StreamingConfig(language="en"))
        assert connection.session_id
        for kind in kinds:
            connection.on(kind, heard[kind].append)
        shown = asyncio.Event()
        connection.on(kinds.PARTIAL, lambda partial: shown.set())
        await connection.send_audio(speech[:80_000])
        await asyncio.wait_for(shown.wait(), 30)
        await connection.stream_file(file)
        await connection.close()
    assert heard[kinds.ERROR] == []
    assert heard[kinds.PARTIAL][-1].text
    assert "tried" in heard[kinds.FINAL_SEGMENT][0].text.lower()
    (done,) = heard[kinds.DONE]
    assert done.total_segments == len(heard[kinds.FINAL_SEGMENT])
    assert done.total_audio_duration_sec == pytest.approx(len(recording("beckett.wav")) / 16_000, abs=0.001)


async def test_its_key_is_checked() -> None:
    async with running_server(FakeRecognizer(), api_keys=("sk-right",)) as server:
        connection = await client(server.ws_url, "sk-right").stream()
        await connection.end()
        await connection.close()
        with pytest.raises(Exception, match="401"):
            await client(server.ws_url, "sk-wrong").stream()
        with pytest.raises(Exception, match="is not spoken by fake; it speaks: en"):
            await client(server.ws_url, "sk-right").stream(config=shunyalabs.StreamingConfig(language="tlh"))
