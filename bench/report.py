"""What the parts of the benchmark say in the same way: rows for a table, and checks of figures against targets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

# A file has no width, and tables for people are not to be folded in it.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

Advance = Callable[[float], None]
"""Told how many more of the steps (or seconds) of a phase are done."""


class Phases(Protocol):
    """Shows what is going on."""

    def begin(self, name: str, total: float) -> Advance:
        """A phase of ``total`` steps begins; the one before is over."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """A figure, the most it may be, and the most it should be; or the least, where ``at_least``."""

    name: str
    value: float | None
    target: float
    aim: float | None = None
    unit: str = ""
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """A figure that could not be measured does not pass."""
        if self.value is None:
            return False
        return self.value >= self.target if self.at_least else self.value <= self.target

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def figure(value: float | None, unit: str = "", digits: int = 0) -> str:
    """A number for a cell of a table; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}{' ' if unit and unit != '%' else ''}{unit}"


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: text to the left, figures to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    out.print(table)
    out.print()
    out.file.flush()  # the next part may take minutes


def print_checks(checks: Sequence[Check]) -> None:
    """Every figure beside its target."""

    def digits(check: Check) -> int:
        return 0 if check.target >= 10 or check.target == 0 else 3 if check.target < 0.1 else 2

    rows = [
        (
            check.name,
            figure(check.value, check.unit, digits(check)),
            f"{'at least ' if check.at_least else ''}{figure(check.target, check.unit, digits(check))}",
            figure(check.aim, check.unit, digits(check)),
            "pass" if check.passed else "FAIL",
        )
        for check in checks
    ]
    print_table("Targets", ("", "measured", "at most", "aim", ""), rows)
