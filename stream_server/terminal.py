"""What every command writes in the same way: results to stdout, everything else to stderr. It knows no command."""

from __future__ import annotations

import json
from typing import Any, Final

from rich.console import Console
from rich.table import Table

_PIPED_WIDTH: Final = 10_000
"""Who reads a pipe wants lines that are whole."""
_NARROW: Final = 8
"""Characters of a column that is folded."""

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Something on the way, for a person."""
    err.print(text, style="dim", markup=False, soft_wrap=True)


def say_error(text: str) -> None:
    err.print(f"error: {text}", style="red", markup=False, soft_wrap=True)


def explain(error: Exception) -> str:
    """One line that a person can act on."""
    retry = getattr(error, "retry_after", None)
    text = getattr(error, "message", None) or str(error)  # the errors of the protocol and the client keep it apart
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if not isinstance(error, OSError | ValueError) and not type(error).__module__.startswith("stream_"):
        text = f"unexpected {type(error).__name__}: {text}; `stream-server --debug ...` shows where"
    return " ".join(text.split()) + (f" (try again in {retry:g} s)" if retry else "")


def print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Rows of equal keys as a table, or as one line of JSON."""
    if as_json:
        print(json.dumps(rows, default=str))
        return
    if not rows:
        say("none found")
        return
    console = out if out.is_terminal else Console(highlight=False, width=_PIPED_WIDTH)
    first = max(len(_cell(next(iter(row.values())))) for row in rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(rows[0]):
        # What the first column names is to be copied: it stays in one piece while the others can give way.
        is_whole = index == 0 and first + _NARROW * (len(rows[0]) - 1) <= console.width
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=is_whole)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "-"
        case list() | tuple() | set() | frozenset():
            return ", ".join(map(str, value))
    return str(value)
