"""Readers of others for what we write: praatio for TextGrids, Python's HTML parser for pages."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

from praatio import textgrid
from praatio.data_classes.textgrid import Textgrid


def read_textgrid(text: str) -> Textgrid:
    """The grid, the intervals without text included."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "speech.TextGrid"
        path.write_text(text, encoding="utf-8", newline="")
        return textgrid.openTextgrid(str(path), includeEmptyIntervals=True, duplicateNamesMode="error")


def read_page(text: str) -> list[tuple[str, str, str]]:
    """Color, speaker and text of each paragraph; fails if anything stands outside of one or is not closed."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader.paragraphs


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.paragraphs: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta":
            return
        self.open.append(tag)
        if tag == "p":
            style = dict(attrs)["style"] or ""
            self.paragraphs.append((style.removeprefix("color:"), "", ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "p" not in self.open:
            assert not data.strip() or self.open[-1] == "title"
            return
        color, speaker, text = self.paragraphs[-1]
        if self.open[-1] == "strong":
            speaker += data
        else:
            text += data
        self.paragraphs[-1] = (color, speaker, text)
