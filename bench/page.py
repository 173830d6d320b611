"""What the caption page costs, and how soon its reader sees the first words.

    python -m bench.page [--folder FOLDER] [--seconds 40]

Chromium plays a recording into the page's microphone, and a server of its own answers. The CPU time of the page's
process is Chromium's own figure, over ``--seconds`` of captioning: on an empty page, in dark large type on the whole
screen, and below 500 captions. The time to the first words is from the moment the first word was spoken, found in the
audio that the page sent, to the frame with which words are on the screen. Prints tables, the figures beside their
targets, and one line of JSON. Needs Playwright, Chromium, and a machine that does nothing else meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from playwright.async_api import Browser, Page, expect

from bench import machine
from bench.chromium import ChromiumError, find_chromium, microphone_flags, running_chromium
from bench.command import recordings_parser, run
from bench.corpus import SAMPLE_RATE, Clip
from bench.option import count
from bench.progress import ProgressDisplay
from bench.report import Check, figure, print_checks, print_table
from bench.server import start_server
from stream_server.recording import write_wav
from stream_server.terminal import say_error

PAGE_PERCENT: Final = 5.0
FIRST_WORDS_SEC: Final = 1.5
STARTS: Final = 5
"""Starts of which the time to the first words is measured."""
EARLIER: Final = 500
"""Captions that are there already, on a page that has been used for long."""
LEAD_SEC: Final = 2.0
SPEECH: Final = 0.15
"""Of the loudest hundredth of a second: what is as loud is speech."""
PATIENCE_MS: Final = 30_000
STEP: Final = SAMPLE_RATE // 100
SCENES: Final = ("empty page", "dark, large type, whole screen", f"below {EARLIER} captions")

WATCH: Final = """
// When the page sent how much audio, how loud each hundredth of a second of it was, and when words were first on the
// screen. Only up to then: it costs the page nothing afterwards.
window.watched = { rate: 0, sends: [], levels: [], firstWordsAt: null };
const send = WebSocket.prototype.send;
let rest = [];
WebSocket.prototype.send = function (data) {
  if (typeof data !== "string") {
    const samples = new Int16Array(data.buffer ?? data, data.byteOffset ?? 0, Math.floor(data.byteLength / 2));
    watched.sends.push([performance.now(), samples.length]);
    rest.push(...samples);
    const step = watched.rate / 100;
    for (; rest.length >= step; rest = rest.slice(step)) {
      watched.levels.push(Math.sqrt(rest.slice(0, step).reduce((sum, sample) => sum + sample ** 2, 0) / step));
    }
  } else if (data.startsWith("{")) watched.rate ||= JSON.parse(data).sample_rate ?? 0;
  return send.call(this, data);
};
const observer = new MutationObserver(() => {
  const parts = [...document.querySelectorAll("#captions .stable, #captions .unstable")];
  if (!parts.some((part) => part.textContent.trim())) return;
  observer.disconnect();
  WebSocket.prototype.send = send;
  requestAnimationFrame(() => { watched.firstWordsAt = performance.now(); });
});
observer.observe(document, { subtree: true, childList: true, characterData: true });
"""

FILL: Final = """
// Captions of an earlier visit of this tab, as the page itself keeps them.
for (let id = 0; id < COUNT; id++) {
  const start_ms = id * 4000;
  const text = "It was the season of light, it was the season of darkness, it was the spring of hope.";
  const words = text.split(" ").map((word, at) => (
    { word, start_ms: start_ms + at * 180, end_ms: start_ms + at * 180 + 160, confidence: 0.9 }));
  const final = { id, text, start_ms, end_ms: start_ms + 3000, channel: 0, channels: 1, language: "en", confidence: 0.9,
    words };
  sessionStorage.setItem("stream-server.final." + String(id).padStart(8, "0"), JSON.stringify(final));
}
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Percent of a core in one scene: of the process of the page, which renders the sound as well, and of the rest of
    Chromium by its kinds."""

    scene: str
    page: float
    audio: float
    """The service that opens microphones; here it plays the file."""
    gpu: float
    """Without a graphics card it draws on the CPU."""
    browser: float
    captions: int
    """How many finals came meanwhile."""


class Cpu:
    """CPU time of Chromium's processes, by their kinds."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    async def seconds(self) -> dict[str, float]:
        session = await self._browser.new_browser_cdp_session()
        processes = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
        await session.detach()
        totals: dict[str, float] = {}
        for process in processes:
            totals[process["type"]] = totals.get(process["type"], 0.0) + process["cpuTime"]
        return totals


def speech_of(clips: Sequence[Clip], seconds: float) -> bytes:
    """The recordings in a loop, beginning with a word, behind the quiet that comes before the first word of all."""
    first = clips[0].audio
    levels = np.sqrt(np.square(first[: len(first) // STEP * STEP].astype(np.float64)).reshape(-1, STEP).mean(axis=1))
    begin = int(np.argmax(levels > SPEECH * levels.max()))
    at = STEP * int(np.argmin(levels[: max(begin, 1)]))
    lead = np.resize(first[at : at + STEP], round(LEAD_SEC * SAMPLE_RATE))
    speech = np.concatenate([first[begin * STEP :], *(clip.audio for clip in clips[1:]), first[: begin * STEP]])
    return np.concatenate([lead, np.resize(speech, round(seconds * SAMPLE_RATE))]).astype("<i2").tobytes()


def first_words_sec(watched: dict[str, Any]) -> float | None:
    """From the moment the first word was spoken to the words on the screen; None where one of the two never came.

    Audio cannot be sent before it was spoken: the send that had the least delay says when the first sample was.
    """
    if watched["firstWordsAt"] is None or not watched["levels"]:
        return None
    sent, starts = 0, []
    for at, length in watched["sends"]:
        sent += length
        starts.append(at / 1000 - sent / watched["rate"])
    levels = np.array(watched["levels"])
    spoken = min(starts) + float(np.argmax(levels > SPEECH * levels.max())) / 100
    return float(watched["firstWordsAt"]) / 1000 - spoken


async def _start(page: Page) -> None:
    await page.get_by_role("button", name="Start captions").click()
    await expect(page.locator("#connection")).to_have_attribute("data-state", "open", timeout=PATIENCE_MS)


async def _first_words(browser: Browser, url: str) -> float | None:
    """One start on a fresh page."""
    context = await browser.new_context()
    await context.add_init_script(WATCH)
    page = await context.new_page()
    await page.goto(url)
    await _start(page)
    await page.wait_for_function("() => watched.firstWordsAt !== null", timeout=PATIENCE_MS)
    watched = await page.evaluate("watched")
    await context.close()
    return first_words_sec(watched)


async def _cost(browser: Browser, url: str, scene: str, seconds: float) -> Cost:
    """A page in this scene, from a moment at which words are on the screen."""
    is_dark, is_full = scene == SCENES[1], scene == SCENES[2]
    context = await browser.new_context(color_scheme="dark" if is_dark else "light")
    if is_full:
        await context.add_init_script(FILL.replace("COUNT", str(EARLIER)))
    page = await context.new_page()
    await page.goto(url)
    finals = page.locator("#finals > li")
    await expect(finals).to_have_count(EARLIER if is_full else 0)
    await _start(page)
    if is_dark:
        await page.get_by_role("button", name="Full screen").click()
    await expect(page.locator("#captions")).to_contain_text(" ", timeout=PATIENCE_MS)
    cpu, earlier = Cpu(browser), await finals.count()
    before, began = await cpu.seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    after, took = await cpu.seconds(), time.monotonic() - began
    captions = await finals.count() - earlier
    await context.close()

    def percent(kind: str) -> float:
        return 100 * (after.get(kind, 0.0) - before.get(kind, 0.0)) / took

    sound = percent("audio.mojom.AudioService")
    return Cost(scene, percent("renderer"), sound, percent("GPU"), percent("browser"), captions)


async def measure(clips: Sequence[Clip], display: ProgressDisplay, seconds: float) -> dict[str, Any]:
    about = machine.describe()
    with tempfile.TemporaryDirectory(prefix="stream-server-page-") as folder:
        recording = Path(folder) / "speech.wav"
        write_wav(recording, speech_of(clips, seconds + 30))
        async with start_server() as server, running_chromium() as chromium:
            browser = await chromium.browser(*microphone_flags(recording))
            advance = display.begin("starts", STARTS)
            waits = []
            for _ in range(STARTS):
                waits.append(await _first_words(browser, server.http_url))
                advance(1)
            costs = []
            for scene in SCENES:
                display.begin(f"{seconds:g} s of captions: {scene}", 1)
                costs.append(await _cost(browser, server.http_url, scene, seconds))
            version = browser.version
    known = [wait for wait in waits if wait is not None]
    worst = max(known) if len(known) == len(waits) else None
    checks = [
        Check("first words behind the first word, the latest", worst, FIRST_WORDS_SEC, unit="s"),
        *(Check(f"CPU of the page: {cost.scene}", cost.page, PAGE_PERCENT, unit="%") for cost in costs),
        Check("captions meanwhile, the fewest", min(cost.captions for cost in costs), 1, at_least=True),
    ]
    _report(waits, costs, checks, version)
    return {
        "bench": "page",
        **about,
        "chromium": version,
        "seconds": seconds,
        "first_words_sec": waits,
        "cpu_percent": [asdict(cost) for cost in costs],
        "checks": [check.to_dict() for check in checks],
    }


def _report(waits: Sequence[float | None], costs: Sequence[Cost], checks: Sequence[Check], version: str) -> None:
    known = sorted(wait for wait in waits if wait is not None)
    middle = median(known) if known else None
    rows = [(figure(middle, "s", 2), *(figure(wait, "s", 2) for wait in waits))]
    print_table("First words on the screen", ("median", *(f"start {index + 1}" for index in range(len(waits)))), rows)
    print_table(
        f"Percent of a core in Chromium {version}",
        ("", "page", "sound", "drawing", "browser", "captions"),
        [
            (
                cost.scene,
                *(figure(value, "%", 1) for value in (cost.page, cost.audio, cost.gpu, cost.browser)),
                str(cost.captions),
            )
            for cost in costs
        ],
    )
    print_checks(checks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured (whatever the figures), 1 failed, 2 wrong usage, 130 interrupted."""
    parser = recordings_parser("bench.page", __doc__)
    parser.add_argument("--seconds", type=count, default=40, help="of captioning for each figure of CPU time")
    options = parser.parse_args(arguments)
    try:
        find_chromium()
    except ChromiumError as error:
        say_error(str(error))
        return 1
    return run(options, lambda clips, display: measure(clips, display, options.seconds))


if __name__ == "__main__":
    sys.exit(main())
