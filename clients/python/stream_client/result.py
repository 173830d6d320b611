"""Finals gathered to a transcript, and the call that does it all for a recording. It knows no files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable
from dataclasses import replace
from typing import Any

from stream_client.client import StreamClient
from stream_protocol import Event, Segment, Transcript
from stream_protocol.events import Done, FinalSegment, RevisedSegment, SpeakersRevised


class TranscriptBuilder:
    """Takes events, keeps the finals, and whom a later event says to have spoken in them."""

    def __init__(self) -> None:
        self._finals: dict[int, FinalSegment] = {}
        self._duration_ms = 0

    def receive(self, event: Event) -> None:
        """Take in any event."""
        match event:
            case FinalSegment():
                self._finals[event.segment_id] = event
                self._duration_ms = max(self._duration_ms, event.offset_ms + event.duration_ms)
            case SpeakersRevised():
                for revised in event.segments:
                    if revised.segment_id in self._finals:
                        self._finals[revised.segment_id] = _revised(self._finals[revised.segment_id], revised)
            case Done():
                self._duration_ms = round(event.total_audio_duration_sec * 1000)

    def build(self) -> Transcript:
        """What was said so far, in order of time; empty finals are left out."""
        said = sorted((final for final in self._finals.values() if final.text), key=lambda final: final.offset_ms)
        segments = tuple(
            Segment(
                text=final.text,
                start_ms=final.offset_ms,
                end_ms=final.offset_ms + final.duration_ms,
                confidence=final.confidence,
                words=final.words or (),
                speaker=final.speaker,
                channel=final.channel,
            )
            for final in said
        )
        return Transcript(segments, said[0].language if said else "", self._duration_ms)


def _revised(final: FinalSegment, revised: RevisedSegment) -> FinalSegment:
    words = final.words
    if words is not None and revised.words is not None:
        words = tuple(replace(word, speaker=said_by) for word, said_by in zip(words, revised.words, strict=False))
    return replace(final, speaker=revised.speaker, words=words)


async def transcribe(url: str, audio: Iterable[bytes] | AsyncIterable[bytes], **options: Any) -> Transcript:
    """Send a whole recording as fast as the server takes it, and collect the finals.

    Args:
        url: of the server's ``/ws``.
        audio: pieces of any length, in the layout that ``options`` declares.
        options: as for ``StreamClient``.

    Raises:
        StreamClientError: the server or the network ended the stream early.
    """
    async with StreamClient(url, **{"partials": False, **options}) as client:
        reader = asyncio.create_task(_read_all(client))
        try:
            await _send_all(client, audio)
            return await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)  # its error is the sender's, or of no interest


async def _read_all(client: StreamClient) -> Transcript:
    result = TranscriptBuilder()
    async for event in client:
        result.receive(event)
    return result.build()


async def _send_all(client: StreamClient, audio: Iterable[bytes] | AsyncIterable[bytes]) -> None:
    if isinstance(audio, AsyncIterable):
        async for piece in audio:
            await client.send(piece)
    else:
        for piece in audio:
            await client.send(piece)
    await client.end()
