"""Speakers as a live caller is told them: segment by segment for the turns, and by a server for the words.

It does not know how the conversations were made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.conversation import Conversation
from bench.labelled_speech import RATE
from bench.report import Advance
from bench.server import start_server
from bench.turn_score import Tally, WordScore
from stream_client import transcribe
from stream_server.audio.segmenter import SegmentAudio, SegmentEnded, SegmenterSettings, SegmentStarted
from stream_server.audio.vad import VadSettings, load_vad
from stream_server.channel import Channel, Marker
from stream_server.settings import Settings
from stream_server.speakers.service import load_speakers
from stream_server.speakers.turn import Turn

FRAME: Final = RATE // 10


def measure(heard: Mapping[str, Sequence[Conversation]], advance: Advance) -> dict[str, dict[str, Tally]]:
    """By line, as told at first, and in the end; ``heard``: the conversations as they come over each line.

    Raises:
        StreamClientError, ChildError: the server failed.
    """
    tallies = {line: _told(conversations, advance) for line, conversations in heard.items()}
    for line, words in asyncio.run(_words(heard, advance)).items():
        tallies[line]["in the end"].words = words
    return tallies


def _told(conversations: Sequence[Conversation], advance: Advance) -> dict[str, Tally]:
    models = load_speakers(Settings.load({}))
    tallies = {"as told": Tally(), "in the end": Tally()}
    for conversation in conversations:
        diarization = models.live()
        began = time.process_time()
        told: dict[int, tuple[Turn, ...]] = {}
        last: dict[int, tuple[Turn, ...]] = {}
        revised = 0
        for number, (start, samples) in enumerate(_segments(conversation)):
            spoken = diarization.tell(number, start, diarization.analyse(samples))
            told[number] = last[number] = spoken.turns
            revised += sum(_who(turns) != _who(last[segment]) for segment, turns in spoken.revised.items())
            last.update(spoken.revised)
        cpu = time.process_time() - began
        for by_segment, tally in zip((told, last), tallies.values(), strict=True):
            tally.add(conversation, [turn for turns in by_segment.values() for turn in turns], cpu)
            tally.segments += len(by_segment)
            tally.revised += revised
        advance(1)
    return tallies


def _who(turns: Sequence[Turn]) -> list[str]:
    return [turn.speaker for turn in turns]


def _segments(conversation: Conversation) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """As the server cuts them for a live caller."""
    channel = Channel(load_vad("webrtc", VadSettings()), SegmenterSettings())
    events = [
        event
        for start in range(0, len(conversation.audio), FRAME)
        for event in channel.receive(conversation.audio[start : start + FRAME])
    ]
    start, pieces = 0, list[NDArray[np.float32]]()
    for event in [*events, *channel.flush(Marker(0))]:
        if isinstance(event, SegmentStarted):
            start, pieces = event.start, []
        elif isinstance(event, SegmentAudio):
            pieces.append(event.samples)
        elif isinstance(event, SegmentEnded):
            yield start, np.concatenate(pieces)[: event.end - start]


async def _words(heard: Mapping[str, Sequence[Conversation]], advance: Advance) -> dict[str, WordScore]:
    """Of a server's finals, after all revisions."""
    scores = {line: WordScore() for line in heard}
    async with start_server() as server:
        for line, conversations in heard.items():
            for conversation in conversations:
                pcm = (conversation.audio * 32767).astype("<i2")
                frames = (pcm[start : start + FRAME].tobytes() for start in range(0, len(pcm), FRAME))
                transcript = await transcribe(server.url, frames, dtype="int16", diarize=True)
                words = [word for segment in transcript.segments for word in segment.words]
                turns = [Turn(word.start_ms, word.end_ms, word.speaker or "") for word in words]
                scores[line].add(conversation, words, turns)
                advance(1)
    return scores
