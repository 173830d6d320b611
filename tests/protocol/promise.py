"""The promises of the protocol that one session's events can be held to, checked as they come.

Promise 1 (order), 2 (stable prefix), 5 (no gap in ``seq``, over all connections of the session) and 7 (what is said of
speakers). It knows events as JSON objects. Promises 3, 4 and 6 compare more than one stream of events; vectors and
tests do that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CONNECTION_EVENTS = frozenset({"ready", "ack", "warning", "error"})


@dataclass
class _Segment:
    channel: int
    stable: str = ""
    speech_ended: bool = False


@dataclass
class PromiseWatch:
    """Give it every event of a session, once, in order; it raises AssertionError where a promise is broken."""

    seq: int = 0
    started: int = 0
    ended: bool = False
    finals: list[dict[str, Any]] = field(default_factory=list)
    speakers: dict[int, tuple[str | None, list[str | None]]] = field(default_factory=dict)
    """Of each final with text: who speaks, and who says each word, as revised."""
    _ready: bool = False
    _open: dict[int, _Segment] = field(default_factory=dict)

    def connect(self) -> None:
        """The session is continued on another connection."""
        self._ready = self.ended = False

    def receive(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        assert not self.ended, f"{kind} came after the last event"
        assert self._ready != (kind == "ready") or kind == "error", f"ready comes first, and once; got {kind}"
        if kind in CONNECTION_EVENTS:
            assert "seq" not in event, f"{kind} belongs to the connection and has no seq"
            self._ready = True
            self.ended = kind == "error"
            return
        self.seq += 1
        assert event["seq"] == self.seq, f"seq {event['seq']} came where {self.seq} was due"
        match kind:
            case "speech_start":
                assert event["segment_id"] == self.started, "segment ids count up, one by one"
                self._open[self.started] = _Segment(event["channel"])
                self.started += 1
            case "partial":
                self._receive_partial(event)
            case "speech_end":
                segment = self._segment(event)
                assert not segment.speech_ended, "speech ends once"
                segment.speech_ended = True
            case "final_segment":
                self._receive_final(event)
            case "speakers_revised":
                self._receive_revision(event)
            case "end_of_transcript":
                assert not self._open, f"segments {sorted(self._open)} have no final"
                assert event["text"] == self.transcript, "the transcript is that of the finals"
            case "done":
                assert event["total_segments"] == len(self.finals) == self.started
                self.ended = True

    @property
    def transcript(self) -> str:
        """What ``end_of_transcript`` has to say."""
        ordered = sorted(self.finals, key=lambda final: (final["offset_ms"], final["channel"]))
        return " ".join(final["text"] for final in ordered if final["text"])

    def _receive_partial(self, event: dict[str, Any]) -> None:
        segment = self._oldest(event)
        assert not segment.speech_ended, "partials come before speech_end"
        text, stable_chars = event["text"], event["stable_chars"]
        assert 0 <= stable_chars <= len(text)
        assert text.startswith(segment.stable), f"{segment.stable!r} was stable, but the text is {text!r}"
        segment.stable = max(segment.stable, text[:stable_chars], key=len)

    def _receive_final(self, event: dict[str, Any]) -> None:
        segment = self._oldest(event)
        assert segment.speech_ended, "speech_end comes before the final"
        assert event["text"].startswith(segment.stable), (
            f"{segment.stable!r} was stable, but is not in {event['text']!r}"
        )
        assert event["text"] or event["confidence"] == 0
        del self._open[event["segment_id"]]
        self.finals.append(event)
        words = [word.get("speaker") for word in event.get("words", ())]
        assert event["text"] or ("speaker" not in event and not any(words)), "who says nothing is nobody"
        assert all(words) if event.get("speaker") else not any(words), "each word has a speaker, or none"
        if event["text"]:
            self.speakers[event["segment_id"]] = event.get("speaker"), words

    def _receive_revision(self, event: dict[str, Any]) -> None:
        numbers = [segment["segment_id"] for segment in event["segments"]]
        assert numbers, "a revision changes something"
        assert numbers == sorted(set(numbers))
        for segment in event["segments"]:
            assert segment["segment_id"] in self.speakers, "only what was told can be revised"
            before = self.speakers[segment["segment_id"]]
            after = segment["speaker"], segment.get("words", [])
            assert before[0] is not None, "a speaker was told"
            assert len(before[1]) == len(after[1]), "one speaker for each word of the final"
            assert before != after, "a revision changes something"
            self.speakers[segment["segment_id"]] = after

    def _segment(self, event: dict[str, Any]) -> _Segment:
        segment = self._open.get(event["segment_id"])
        assert segment is not None, f"{event['type']} of segment {event['segment_id']}, which is not open"
        assert event["channel"] == segment.channel, "a segment stays on its channel"
        return segment

    def _oldest(self, event: dict[str, Any]) -> _Segment:
        """The event's segment, which has to be the oldest of its channel that has no final."""
        segment = self._segment(event)
        oldest = min(number for number, other in self._open.items() if other.channel == segment.channel)
        assert event["segment_id"] == oldest, f"segment {oldest} of channel {segment.channel} has no final yet"
        return segment
