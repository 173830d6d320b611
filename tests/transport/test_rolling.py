"""Two servers behind a load balancer are restarted one after the other, while clients speak: no final is lost."""

from __future__ import annotations

import asyncio
import re
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

from bench.proxy import Proxy
from stream_client import ConnectionChange, ReconnectPolicy, StreamClient
from stream_protocol import Event
from stream_protocol.events import Ack, Done, EndOfTranscript, Error, FinalSegment, Ready, Warning
from tests.support.process import ServerProcess
from tests.support.speech import pcm, recording

FRAME = 3200  # 100 ms of int16 at 16 kHz
SPEED = 1.5  # times real time
CLIENTS = 2
DRAIN_SEC = 6.0
PATIENCE = 240.0
SENTENCE = 4  # words: so many in a row that are missing, or there twice, are no slip of the recognizer


def speech(turn: int) -> bytes:
    """The reading, begun at another place by each client."""
    audio = pcm(recording("two_cities.wav"))
    start = turn * len(audio) // CLIENTS // FRAME * FRAME
    return audio[start:] + bytes(2 * 32_000) + audio[:start]


class Client:
    """One stream that never looks at its connection. ``pause_sec``: between two frames."""

    def __init__(self, url: str, audio: bytes, *, pause_sec: float = 0.0) -> None:
        self.events: list[Event] = []
        self.changes: list[ConnectionChange] = []
        self._url = url
        self._audio = audio
        self._pause_sec = pause_sec

    async def run(self) -> None:
        policy = ReconnectPolicy(first_wait_sec=0.05, give_up_sec=PATIENCE)
        async with StreamClient(self._url, reconnect=policy, on_connection=self.changes.append) as client:
            sender = asyncio.create_task(self._send(client))
            async for event in client:
                self.events.append(event)
            await sender

    async def _send(self, client: StreamClient) -> None:
        for start in range(0, len(self._audio), FRAME):
            await client.send(self._audio[start : start + FRAME])
            await asyncio.sleep(self._pause_sec)
        await client.end()

    @property
    def finals(self) -> list[FinalSegment]:
        return [event for event in self.events if isinstance(event, FinalSegment)]

    @property
    def words(self) -> list[str]:
        return re.findall(r"[a-z]+", " ".join(final.text for final in self.finals).lower())


def lost_or_doubled(said: list[str], expected: list[str]) -> list[str]:
    """Runs of words that are missing or too many; single words may differ where speech was cut at another place."""
    runs = []
    for kind, i, j, k, m in SequenceMatcher(a=expected, b=said, autojunk=False).get_opcodes():
        if kind != "equal" and abs((j - i) - (m - k)) >= SENTENCE:
            runs.append(f"{kind}: {' '.join(expected[i:j])!r} -> {' '.join(said[k:m])!r}")
    return runs


def assert_whole(client: Client, alone: Client, audio: bytes) -> None:
    """One stream, as if nothing had happened."""
    assert not lost_or_doubled(client.words, alone.words)
    numbers = [event.seq for event in client.events if not isinstance(event, Warning | Error | Ready | Ack)]
    assert numbers == list(range(1, len(numbers) + 1))
    finals = client.finals
    assert sorted(final.segment_id for final in finals) == list(range(len(finals)))
    for before, after in pairwise(finals):
        assert before.offset_ms + before.duration_ms <= after.offset_ms
    assert abs(finals[0].offset_ms - alone.finals[0].offset_ms) <= 100
    ends = [client.finals[-1].offset_ms + client.finals[-1].duration_ms for client in (client, alone)]
    assert abs(ends[0] - ends[1]) <= 300, "times go on over sessions"
    text, done = client.events[-2:]
    assert isinstance(text, EndOfTranscript)
    assert text.text == " ".join(final.text for final in finals if final.text)
    assert isinstance(done, Done)
    assert done.total_segments == len(finals)
    assert abs(done.total_audio_duration_sec - len(audio) / 32_000) <= 0.002


def start(folder: Path) -> ServerProcess:
    return ServerProcess(folder, job_worker="off", drain_timeout=DRAIN_SEC)


async def restart(server: ServerProcess) -> None:
    """As an operator does it: SIGTERM, until it has gone by itself, and up again."""
    assert await asyncio.to_thread(server.stop) == 0
    await asyncio.to_thread(server.restart)


async def test_a_rolling_restart_loses_no_final(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    servers = await asyncio.gather(*(asyncio.to_thread(start, folder) for folder in folders))
    try:
        targets = [f"127.0.0.1:{server.port}" for server in servers]
        audios = [speech(turn) for turn in range(CLIENTS)]
        whole = [Client(f"ws://{targets[0]}/ws", audio) for audio in audios]
        await asyncio.gather(*(client.run() for client in whole))
        async with Proxy(*targets, health="/readyz") as balancer, asyncio.timeout(PATIENCE):
            clients = [Client(balancer.ws_url, audio, pause_sec=0.1 / SPEED) for audio in audios]
            running = [asyncio.create_task(client.run()) for client in clients]
            for server in servers:
                await asyncio.sleep(2)
                await restart(server)
            await asyncio.gather(*running)
    finally:
        for server in servers:
            await asyncio.to_thread(server.stop)
    for client, alone, audio in zip(clients, whole, audios, strict=True):
        assert_whole(client, alone, audio)
    changes = [change.state for client in clients for change in client.changes]
    assert len(changes) >= 4, "every server had a client when it went"
    assert set(changes) == {"lost", "restarted"}
