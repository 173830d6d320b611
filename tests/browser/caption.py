"""The caption page as its users find it: by the names that buttons and fields have for people and screen readers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect

from tests.support.browser import PATIENCE_MS

WATCH = """
// Notes what passes by too fast to be looked at from outside. It changes nothing for the page.
window.watched = { rate: 0, bytes: 0, secondsAtFirstWords: null, finalsAtFirstWords: null, states: [], players: [] };
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  if (typeof data !== "string") watched.bytes += data.byteLength ?? data.size;
  else if (data.startsWith("{")) watched.rate ||= JSON.parse(data).sample_rate ?? 0;
  return send.call(this, data);
};
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () {
  if (!watched.players.includes(this)) watched.players.push(this);
  return play.call(this);
};
const look = () => {
  const state = document.querySelector("#connection")?.dataset.state;
  if (state !== undefined && state !== watched.states.at(-1)) watched.states.push(state);
  const parts = [...document.querySelectorAll("#captions .stable, #captions .unstable")];
  const words = parts.some((part) => part.innerText.trim());
  if (words && watched.secondsAtFirstWords === null) {
    watched.secondsAtFirstWords = watched.bytes / 2 / watched.rate;
    watched.finalsAtFirstWords = document.querySelectorAll("#finals > li").length;
  }
};
new MutationObserver(look).observe(document, {
  subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["data-state"],
});
"""


@dataclass(frozen=True)
class Caption:
    """A final on the screen."""

    segment_id: int
    offset_ms: int
    text: str


class CaptionPage:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.start = page.get_by_role("button", name="Start captions")
        self.stop = page.get_by_role("button", name="Stop captions")
        self.source = page.get_by_role("combobox", name="Source", exact=True)
        self.search = page.get_by_role("searchbox", name="Search")
        self.live = page.locator("#captions")
        self.finals = page.locator("#finals > li")
        self.connection = page.locator("#connection")
        self.notice = page.locator("#notice")

    async def captioning(self) -> None:
        """Press start, and wait until the server listens."""
        await self.start.click()
        await self.in_state("open")

    async def stopped(self) -> None:
        """Press stop, and wait until the last final is there."""
        await self.stop.click()
        await self.in_state("ended")

    async def in_state(self, *states: str) -> None:
        pattern = re.compile(f"^({'|'.join(states)})$")
        await expect(self.connection).to_have_attribute("data-state", pattern, timeout=PATIENCE_MS)

    async def hears(self, segments: int = 1) -> None:
        """Wait until words of so many segments have been on the screen, the last of which may still be spoken."""
        await self.page.wait_for_function(
            """count => [...document.querySelectorAll("#captions .stable")]
                .filter((stable) => stable.parentElement.innerText.trim()).length >= count""",
            arg=segments,
            timeout=PATIENCE_MS,
        )

    async def has_finals(self, count: int) -> None:
        await expect(self.finals).to_have_count(count, timeout=PATIENCE_MS)

    async def has_reached(self, seconds: float) -> None:
        """Wait for a final that begins there, or half a second before."""
        await self.page.wait_for_function(
            "ms => Number(document.querySelector('#finals > li:last-child')?.dataset.offsetMs) >= ms",
            arg=1000 * seconds - 500,
            timeout=PATIENCE_MS,
        )

    async def captions(self) -> list[Caption]:
        """Every final, in the order of the screen."""
        rows: list[list[Any]] = await self.finals.evaluate_all(
            """(items) => items.map((item) =>
                [item.dataset.segmentId, item.dataset.offsetMs, item.querySelector(".text").textContent.trim()])"""
        )
        return [Caption(int(segment), int(offset), text) for segment, offset, text in rows]

    async def text(self) -> str:
        return " ".join(caption.text for caption in await self.captions())

    async def play_file(self, path: Path) -> None:
        """Choose a file in place of the microphone, and start."""
        await self.source.select_option(label="File")
        async with self.page.expect_file_chooser() as asked:
            await self.start.click()
        await (await asked.value).set_files(path)

    async def choose_opus(self) -> None:
        """The setting for narrow links."""
        await self.page.get_by_role("button", name="Settings").click()
        await self.page.get_by_label(re.compile("Opus")).check()
        await self.page.keyboard.press("Escape")

    async def open_downloads(self) -> None:
        if not await self.page.get_by_role("button", name="SRT").is_visible():
            await self.page.get_by_text("Download", exact=True).click()
        await expect(self.page.get_by_role("button", name="SRT")).to_be_visible()

    async def download(self, name: str, folder: Path) -> Path:
        """What the button of this name under "Download" gives, as a file."""
        await self.open_downloads()
        async with self.page.expect_download() as started:
            await self.page.get_by_role("button", name=name, exact=True).click()
        download = await started.value
        path = folder / download.suggested_filename
        await download.save_as(path)
        return path
