"""The view as a person sees it: a small terminal is emulated, so that debris would show."""

from __future__ import annotations

import io
import re
from dataclasses import replace

from rich.console import Console

from stream_client import Latency, LatencySummary
from stream_protocol import Word
from stream_protocol.events import (
    Event,
    FinalSegment,
    Partial,
    RevisedSegment,
    SpeakersRevised,
    SpeechEnd,
    SpeechStart,
    Warning,
    WarningCode,
)
from stream_server.caption import CaptionView, clock, latency_table

WORDS = [f"word{number:02}" for number in range(40)]


class Screen:
    """What a terminal shows for what was written: printing, newlines, and the few movements that rich makes."""

    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self._row = self._column = 0

    def feed(self, text: str) -> None:
        for token in re.findall(r"\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b])", text):
            count, movement, char = token
            if movement == "A":
                self._row = max(0, self._row - int(count or 1))
            elif movement == "K":
                self.lines[self._row] = ""
            elif char == "\r":
                self._column = 0
            elif char == "\n":
                self._row, self._column = self._row + 1, 0
                if self._row == len(self.lines):
                    self.lines.append("")
            elif char:
                line = self.lines[self._row].ljust(self._column)
                self.lines[self._row] = line[: self._column] + char + line[self._column + 1 :]
                self._column += 1

    @property
    def text(self) -> list[str]:
        return [line.rstrip() for line in self.lines if line.strip()]


class Terminal:
    def __init__(self, width: int = 60, height: int = 12) -> None:
        self._file = io.StringIO()
        self.console = Console(
            file=self._file,
            force_terminal=True,
            width=width,
            height=height,
            highlight=False,
            color_system=None,
            legacy_windows=False,
            _environ={},
        )
        self.screen = Screen()

    def look(self) -> list[str]:
        self.screen.feed(self._file.getvalue())
        self._file.seek(0)
        self._file.truncate()
        return self.screen.text


def start(segment: int, offset_ms: int) -> Event:
    return SpeechStart(seq=1, segment_id=segment, offset_ms=offset_ms)


def partial(text: str, stable: int, segment: int = 0, offset_ms: int = 3200, channel: int = 0) -> Event:
    return Partial(
        seq=2,
        segment_id=segment,
        text=text,
        stable_chars=stable,
        language="en",
        offset_ms=offset_ms,
        duration_ms=1000,
        audio_duration_sec=0,
        latency_ms=0,
        channel=channel,
    )


def final(text: str, segment: int = 0, offset_ms: int = 3200, channel: int = 0) -> Event:
    return FinalSegment(
        seq=3,
        segment_id=segment,
        text=text,
        language="en",
        offset_ms=offset_ms,
        duration_ms=2600,
        audio_duration_sec=0,
        silence_duration_ms=0,
        confidence=1,
        latency_ms=0,
        channel=channel,
    )


def test_a_partial_rewrites_itself_and_gives_way_to_its_final() -> None:
    terminal = Terminal()
    with CaptionView(terminal.console, total_ms=44_000) as view:
        view.receive(start(0, 3200))
        for count in range(1, 21):
            view.receive(partial(" ".join(WORDS[:count]), 0))
            view.advance(3200 + 100 * count)
            shown = terminal.look()
            assert " ".join(line[21:] for line in shown[:-1]) == " ".join(WORDS[:count])
            assert shown[0].startswith("[00:03.2 - 00:04.2]  word00")
        assert shown[-1] == "● speech  00:05.2 / 00:44.0"
        view.receive(SpeechEnd(seq=3, segment_id=0, offset_ms=5800))
        view.receive(final("It was the best of times."))
        assert terminal.look() == ["[00:03.2 - 00:05.8]  It was the best of times.", "○ silence 00:05.2 / 00:44.0"]
        view.receive(final("", segment=1))
    assert terminal.look() == ["[00:03.2 - 00:05.8]  It was the best of times."]


def test_a_partial_higher_than_the_screen_leaves_no_debris() -> None:
    terminal = Terminal(width=40, height=8)
    with CaptionView(terminal.console) as view:
        for count in range(1, len(WORDS) + 1):
            view.receive(partial(" ".join(WORDS[:count]), 0))
            shown = terminal.look()
            assert len(shown) <= 5
            assert shown[-2].endswith(WORDS[count - 1])
        assert shown[0] == "[00:03.2 - 00:04.2]  …"
        view.receive(final("short"))
    assert terminal.look() == ["[00:03.2 - 00:05.8]  short"]


def test_the_stable_part_is_bright_and_the_rest_is_not() -> None:
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, width=60, height=12, color_system="standard", legacy_windows=False, _environ={}
    )
    with CaptionView(console) as view:
        view.receive(partial("best of times", len("best of")))
    assert "\x1b[1mbest of\x1b[0m\x1b[2;3m times\x1b[0m" in file.getvalue()


def test_two_channels_speak_at_once() -> None:
    terminal = Terminal()
    with CaptionView(terminal.console, channels=2) as view:
        view.receive(partial("good day", 0, segment=0, channel=0))
        view.receive(partial("hello", 0, segment=0, channel=1, offset_ms=3000))
        assert [line[21:] for line in terminal.look()[:2]] == ["<1> hello", "<0> good day"]


def test_without_a_terminal_each_final_is_a_line_and_nothing_else_is_written() -> None:
    file = io.StringIO()
    with CaptionView(Console(file=file, width=20)) as view:
        view.advance(100)
        view.receive(start(0, 0))
        view.receive(partial("it was", 0))
        view.receive(Warning(WarningCode.DEGRADED, "busy"))
        view.receive(final("It was the [best] of times, it was the worst of times."))
        view.receive(final(""))
    assert file.getvalue() == "[00:03.2 - 00:05.8] It was the [best] of times, it was the worst of times.\n"


def said_by(event: Event, *speakers: str) -> Event:
    """The final with a word of each of these; the first says most."""
    assert isinstance(event, FinalSegment)
    words = tuple(Word(f"word{at}", 0, 1, 0.9, speaker) for at, speaker in enumerate(speakers))
    return replace(event, words=words, speaker=speakers[0], text=" ".join(word.word for word in words))


def test_who_speaks_stands_before_what_he_says_and_is_told_anew_below_it() -> None:
    file = io.StringIO()
    with CaptionView(Console(file=file, width=20)) as view:
        view.receive(said_by(final("", segment=0), "A", "A"))
        view.receive(said_by(final("", segment=1), "A", "B", "B", "A"))
        view.receive(SpeakersRevised(seq=1, segments=(RevisedSegment(0, "B", ("B", "B")), RevisedSegment(7, "C"))))
        view.receive(SpeakersRevised(seq=2, segments=(RevisedSegment(1, "B", ("A", "B", "B", "B")),)))
    assert [line.removeprefix("[00:03.2 - 00:05.8] ") for line in file.getvalue().splitlines()] == [
        "A: word0 word1",
        "A: word0 B: word1 word2 A: word3",
        "was B, as heard now",
        "was A and B, as heard now",
    ]


def test_clock_and_table() -> None:
    assert [clock(ms) for ms in (0, 83_250, 3_600_000)] == ["00:00.0", "01:23.2", "1:00:00.0"]
    none = Latency.of([])
    summary = LatencySummary(Latency.of([620.4]), none, Latency.of([80, 90]), 1, 0, 1, 0)
    file = io.StringIO()
    Console(file=file, width=100).print(latency_table(summary))
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert lines[1][-4:] == ["620", "620", "620", "1"]
    assert lines[2][-4:] == ["-", "-", "-", "0"]
