"""Live captions in a terminal: finals scroll up, what is being said rewrites itself below them. It knows no network.

Where the output is no terminal, each final is one line, and so is what is heard anew of who said it; nothing else is
written.
"""

from __future__ import annotations

from itertools import groupby
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream_client.latency import Latency, LatencySummary
from stream_protocol import Event
from stream_protocol.events import FinalSegment, Partial, SpeakersRevised, SpeechEnd, SpeechStart, Warning

_TIME_CHARS: Final = len("[00:00.0 - 00:00.0]")
_SPACE: Final = 2  # between the time and the text
_MOST_NAMED: Final = 500  # finals whose speakers may be told anew
_RESERVED_LINES: Final = 4  # of the screen: the state below the text, space around it, and the shell's prompt


class CaptionView:
    """Shows the events of one stream as they come; a context manager.

    >>> with CaptionView(Console()) as view:
    ...     view.receive(event)

    Args:
        console: where to write.
        channels: with more than one, each text carries the number of its channel.
        total_ms: length of the recording, where it is known.
    """

    def __init__(self, console: Console, *, channels: int = 1, total_ms: int | None = None) -> None:
        self._console = console
        self._channels = channels
        self._total_ms = total_ms
        self._position_ms = 0
        self._speaking: set[int] = set()  # channels
        self._named: dict[int, str] = {}  # segment: where the last finals with a speaker are
        self._partials: dict[tuple[int, int], Partial] = {}  # (channel, segment): the newest
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, transient=True, auto_refresh=False, get_renderable=self._region)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def advance(self, position_ms: int) -> None:
        """So much audio has been sent."""
        self._position_ms = position_ms
        self._refresh()

    def receive(self, event: Event) -> None:
        """Take in any event; those that say nothing to a reader are passed over."""
        match event:
            case SpeechStart():
                self._speaking.add(event.channel)
            case SpeechEnd():
                self._speaking.discard(event.channel)
            case Partial():
                self._partials[event.channel, event.segment_id] = event
            case FinalSegment():
                self._partials.pop((event.channel, event.segment_id), None)
                self._print_final(event)
            case SpeakersRevised():
                self._print_revised(event)
            case Warning():
                self._print_warning(event)
            case _:
                return
        self._refresh()

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.refresh()

    def _print_final(self, final: FinalSegment) -> None:
        if not final.text:
            return
        span = _span(final)
        if final.speaker:
            self._named[final.segment_id] = span
            for oldest in list(self._named)[:-_MOST_NAMED]:
                del self._named[oldest]
        self._print(span, Text(self._label(final.channel) + _who_says_what(final)))

    def _print_revised(self, event: SpeakersRevised) -> None:
        """What has scrolled up cannot be written anew."""
        for segment in event.segments:
            if segment.segment_id in self._named:
                speakers = " and ".join(dict.fromkeys(segment.words or [segment.speaker]))
                self._print(self._named[segment.segment_id], Text(f"was {speakers}, as heard now", "dim"))

    def _print(self, span: str, text: Text) -> None:
        if self._live is None:
            self._console.print(Text(f"{span} ") + text, soft_wrap=True)
        else:
            self._console.print(_row(Text(span, "cyan"), text))

    def _print_warning(self, warning: Warning) -> None:
        if self._live is not None:
            self._console.print(Text(f"warning: {warning.message}", "yellow"))

    def _region(self) -> RenderableType:
        """What is below the finals: a row for each segment that is being said, and one line of state."""
        width = max(self._console.width - _TIME_CHARS - _SPACE, 10)
        height = max((self._console.height - _RESERVED_LINES) // max(len(self._partials), 1), 1)
        rows: list[RenderableType] = []
        for partial in sorted(self._partials.values(), key=lambda partial: partial.offset_ms):
            span = Text(_span(partial), "dim cyan")
            rows.append(_row(span, self._last_lines(self._partial_text(partial), width, height)))
        return Group(*rows, self._state())

    def _partial_text(self, partial: Partial) -> Text:
        text = Text(self._label(partial.channel))
        text.append(partial.text[: partial.stable_chars], "bold")
        text.append(partial.text[partial.stable_chars :], "dim italic")
        return text

    def _last_lines(self, text: Text, width: int, height: int) -> Text:
        """The end of a text that is too long for the screen: a region higher than that could not be wiped away."""
        lines = text.wrap(self._console, width)
        if len(lines) <= height:
            return text
        return Text("\n").join([Text("…"), *lines[len(lines) - height + 1 :]] if height > 1 else [lines[-1]])

    def _state(self) -> Text:
        speaking = bool(self._speaking)
        state = Text("● " if speaking else "○ ", "red" if speaking else "dim")
        state.append("speech  " if speaking else "silence ", "dim")
        state.append(clock(self._position_ms), "dim")
        if self._total_ms is not None:
            state.append(f" / {clock(self._total_ms)}", "dim")
        return state

    def _label(self, channel: int) -> str:
        return f"<{channel}> " if self._channels > 1 else ""


def _who_says_what(final: FinalSegment) -> str:
    """The text, with a name before whatever somebody says in it."""
    if not final.speaker:
        return final.text
    said = [
        (name, [word.word for word in words]) for name, words in groupby(final.words or (), lambda word: word.speaker)
    ]
    if len(said) < 2:
        return f"{final.speaker}: {final.text}"
    return " ".join(f"{name}: {' '.join(words)}" for name, words in said)


def _span(event: Partial | FinalSegment) -> str:
    return f"[{clock(event.offset_ms)} - {clock(event.offset_ms + event.duration_ms)}]"


def clock(ms: int) -> str:
    """``83250`` as ``01:23.2``; with hours from the first one on."""
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    time = f"{minutes:02}:{rest // 1000:02}.{rest % 1000 // 100}"
    return f"{hours}:{time}" if hours else time


def latency_table(summary: LatencySummary) -> Table:
    """What a reader of captions waits for, in milliseconds."""
    table = Table("latency, ms", box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for heading in ("p50", "p95", "max", "count"):
        table.add_column(heading, justify="right")
    for name, latency in (
        ("speech start to first partial", summary.first_partial),
        ("audio to the partial that covers it", summary.partial),
        ("speech end to final", summary.final),
    ):
        table.add_row(name, *_cells(latency))
    return table


def _cells(latency: Latency) -> list[str]:
    values = ["-" if value is None else f"{value:.0f}" for value in (latency.p50, latency.p95, latency.max)]
    return [*values, str(latency.count)]


def _row(time: Text, text: Text) -> Table:
    """A time, and a text that wraps beside it."""
    row = Table.grid(padding=(0, _SPACE, 0, 0))
    row.add_column(no_wrap=True, min_width=_TIME_CHARS)
    row.add_column(overflow="fold")
    row.add_row(time, text)
    return row
