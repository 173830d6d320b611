"""Chromium with a microphone that plays a file, driven by Playwright; for benchmarks and tests. It knows no page.

Chromium comes from the system (Debian: ``apt-get install chromium``), Playwright from PyPI; no browser is downloaded.
Of Playwright's two interfaces this is the asynchronous one: the other leaves an event loop running in the main thread,
beside which no second one can be started.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, BrowserType, async_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")

_FLAGS: Final = (
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing but this machine can be reached
)


class ChromiumError(Exception):
    """There is no Chromium; the message says how to get one."""


def find_chromium() -> str:
    """The path of the program.

    Raises:
        ChromiumError: it is not installed.
    """
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise ChromiumError("Chromium is not installed; on Debian: apt-get install chromium")


class Chromium:
    """Browsers by their flags, each started when it is first asked for."""

    def __init__(self, kind: BrowserType, executable: str) -> None:
        self._kind = kind
        self._executable = executable
        self._browsers: dict[tuple[str, ...], Browser] = {}

    async def browser(self, *flags: str) -> Browser:
        """One that was started with these flags as well."""
        if flags not in self._browsers:
            self._browsers[flags] = await self._kind.launch(
                executable_path=self._executable,
                chromium_sandbox=os.geteuid() != 0,  # root cannot have one
                args=[*_FLAGS, *flags],
            )
        return self._browsers[flags]

    async def close(self) -> None:
        for browser in self._browsers.values():
            await browser.close()


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Chromium]:
    """Browsers until the block ends.

    Raises:
        ChromiumError: it is not installed.
    """
    executable = find_chromium()
    async with async_playwright() as playwright:
        chromium = Chromium(playwright.chromium, executable)
        try:
            yield chromium
        finally:
            await chromium.close()


def microphone_flags(recording: Path | None, *, asks: bool = False) -> tuple[str, ...]:
    """A microphone that plays ``recording`` (WAV) from its beginning, each time that a page opens it, then silence.

    ``asks``: the user is asked for permission, which a browser without a screen refuses unless the page's context was
    granted it. None for the recording: there is no microphone.
    """
    if recording is None:
        return ()
    device = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={recording}%noloop")
    return device if asks else (*device, "--use-fake-ui-for-media-stream")
