"""Paced real-time streams by the hundred, for benchmarks: ``python -m stream_client.load URL --streams N FILES...``

One process, one loop, as little work per frame as it takes: it runs beside the server that it measures. It knows the
protocol and WAV files (16 kHz, mono, 16 bit); whoever has other files converts them first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
import wave
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from stream_client._transport import Transport, TransportClosed, connect_websocket
from stream_client.error import CONNECTION_LOST, StreamClientError
from stream_client.latency import Latency, LatencyMeter, LatencySummary, summarize
from stream_protocol import decode_event
from stream_protocol.events import Done, Error, Ready

SAMPLE_RATE: Final = 16_000
FRAME_MS: Final = 100
FRAME_BYTES: Final = SAMPLE_RATE * FRAME_MS // 1000 * 2
GAP_MS: Final = 1000  # of silence between files
API_KEY_VARIABLE: Final = "STREAM_API_KEY"  # keeps a key out of the list of processes
NOT_DRAINED: Final = "NOT_DRAINED"  # the server still owed events when the time for that was over
_CONNECTING: Final = 32  # at once, so that a hundred handshakes do not look like an attack


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What ``run_load`` saw."""

    streams: int
    seconds: float  # of audio asked for, per stream
    speed: float
    audio_sec: float  # sent, over all streams
    wall_sec: float
    cpu_sec: float  # of this process
    errors: dict[str, int]  # streams that ended early, by code
    send_lag_ms: Latency  # how late frames left: of this process, or of a server that does not read
    latency: LatencySummary

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one stream plays, and when."""

    track: Sequence[bytes]
    first: int  # frame of the track
    count: int  # frames
    start: float  # on the monotonic clock
    step: float  # seconds from frame to frame


class _Stream:
    """One caller. Latencies count from when audio was due, so a sender that was held up hides nothing."""

    def __init__(self) -> None:
        self.meter = LatencyMeter(FRAME_MS)
        self.lag_ms = array("d")
        self.error: str | None = None

    async def run(self, transport: Transport, plan: _Plan, drain_sec: float) -> None:
        reader = asyncio.create_task(self._read(transport))
        writer = asyncio.create_task(self._write(transport, plan))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if not reader.done():
                await asyncio.wait((reader,), timeout=drain_sec)
            if not reader.done():
                self.error = NOT_DRAINED
        finally:
            reader.cancel()
            writer.cancel()
            await asyncio.wait((reader, writer))
            await transport.close()

    async def _write(self, transport: Transport, plan: _Plan) -> None:
        try:
            for index in range(plan.count):
                due = plan.start + (index + 1) * plan.step  # live audio exists when its last sample was spoken
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                self.meter.sent(due)
                await transport.send(plan.track[(plan.first + index) % len(plan.track)])
                self.lag_ms.append(1000 * (time.monotonic() - due))
            self.meter.hung_up()
            await transport.send('{"type":"end"}')
        except TransportClosed:
            pass  # the reader meets it too

    async def _read(self, transport: Transport) -> None:
        try:
            while True:
                event = decode_event(await transport.receive())
                if isinstance(event, Error):
                    self.error = event.code
                    return
                if isinstance(event, Done):
                    return
                if event is not None:
                    self.meter.received(event, time.monotonic())
        except TransportClosed:
            self.error = CONNECTION_LOST


def read_track(files: Sequence[str]) -> list[bytes]:
    """The files one after the other with silence between, as frames of ``FRAME_MS``.

    Raises:
        ValueError: a file is not a WAV file of 16 kHz, mono, 16 bit.
    """
    audio = bytearray()
    for name in files:
        try:
            with wave.open(name, "rb") as file:
                layout = file.getframerate(), file.getnchannels(), file.getsampwidth()
                samples = file.readframes(file.getnframes())
        except (wave.Error, EOFError) as error:
            raise ValueError(f"{name} is not a WAV file: {error}") from None
        if layout != (SAMPLE_RATE, 1, 2):
            raise ValueError(f"{name} has {layout[0]} Hz and {layout[1]} channels; 16 kHz, mono, 16 bit is needed")
        audio += samples + bytes(SAMPLE_RATE * GAP_MS // 1000 * 2)
    audio += bytes(-len(audio) % FRAME_BYTES)
    return [bytes(audio[start : start + FRAME_BYTES]) for start in range(0, len(audio), FRAME_BYTES)]


async def run_load(
    url: str,
    streams: int,
    seconds: float,
    files: Sequence[str],
    *,
    speed: float = 1.0,
    api_key: str | None = None,
    init: dict[str, Any] | None = None,
    seed: int = 0,
    drain_sec: float = 60.0,
) -> LoadResult:
    """Play ``seconds`` of audio into each of ``streams`` sessions at once, and measure what comes back.

    The streams begin within one chunk of each other, each at a place of its own in the audio, so that they neither
    speak nor fall silent in step.

    Args:
        url: of the server's ``/ws``.
        files: WAV, 16 kHz, mono, 16 bit; played one after the other with a second of silence between, and again.
        speed: 1 is real time.
        init: more fields of the init message.
        seed: of the places and offsets.
        drain_sec: how long to wait for the rest after the audio.

    Raises:
        ValueError: a file cannot be used.
    """
    track = read_track(files)
    message = {"type": "init", "dtype": "int16", "sample_rate": SAMPLE_RATE, **(init or {})}
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    began, cpu = time.monotonic(), time.process_time()

    gate = asyncio.Semaphore(_CONNECTING)

    async def open_stream() -> Transport | StreamClientError:
        async with gate:
            try:
                transport = await connect_websocket(url, headers)
                await transport.send(json.dumps(message))
                event = decode_event(await transport.receive())
            except StreamClientError as error:
                return error
            except TransportClosed as closed:
                return StreamClientError(CONNECTION_LOST, str(closed))
        if isinstance(event, Ready):
            return transport
        await transport.close()
        return StreamClientError(event.code if isinstance(event, Error) else CONNECTION_LOST, "no ready event")

    opened = await asyncio.gather(*(open_stream() for _ in range(streams)))
    start = time.monotonic() + 0.1
    chunk = float(message.get("chunk_size_sec", 0.5))
    calls, work = [], []
    for transport in opened:
        call = _Stream()
        calls.append(call)
        first, offset = chance.randrange(len(track)), chance.uniform(0, chunk)
        if isinstance(transport, StreamClientError):
            call.error = transport.code
        else:
            frames = round(seconds * 1000 / FRAME_MS)
            plan = _Plan(track, first, frames, start + offset, FRAME_MS / 1000 / speed)
            work.append(call.run(transport, plan, drain_sec))
    await asyncio.gather(*work)
    lags = [lag for call in calls for lag in call.lag_ms]
    return LoadResult(
        streams=streams,
        seconds=seconds,
        speed=speed,
        audio_sec=round(len(lags) * FRAME_MS / 1000, 1),
        wall_sec=round(time.monotonic() - began, 2),
        cpu_sec=round(time.process_time() - cpu, 3),
        errors=dict(Counter(call.error for call in calls if call.error is not None)),
        send_lag_ms=Latency.of(lags),
        latency=summarize([call.meter for call in calls]),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; prints one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m stream_client.load", description="Paced streams, measured.")
    parser.add_argument("url", help="of the server's /ws")
    parser.add_argument("files", nargs="+", help="WAV files: 16 kHz, mono, 16 bit")
    parser.add_argument("--streams", type=int, default=1, help="how many at once")
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio per stream")
    parser.add_argument("--speed", type=float, default=1.0, help="1 is real time")
    parser.add_argument(
        "--api-key", default=os.environ.get(API_KEY_VARIABLE), help=f"of the server; also as {API_KEY_VARIABLE}"
    )
    parser.add_argument("--init", type=json.loads, default={}, help="more fields of the init message, as JSON")
    parser.add_argument("--seed", type=int, default=0, help="of the random places and offsets")
    options = parser.parse_args(arguments)
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):
        from uvloop import new_event_loop as loop_factory  # cheaper by a good part, where it is installed
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            result = runner.run(
                run_load(
                    options.url,
                    options.streams,
                    options.seconds,
                    options.files,
                    speed=options.speed,
                    api_key=options.api_key,
                    init=options.init,
                    seed=options.seed,
                )
            )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result.to_dict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
