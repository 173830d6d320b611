"""The sources of audio of the browser client, in real Chromium: what a sink gets is what was played, to the end."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_server.audio.container import ContainerDecoder
from stream_server.recording import write_wav
from tests.browser import NEEDS_PLAYWRIGHT
from tests.support.site import Site, content, running_site

pytest.importorskip("playwright.async_api", reason=NEEDS_PLAYWRIGHT)

from playwright.async_api import Page

from tests.support.browser import Visitor

CLIENT: Final = Path(__file__).parents[2] / "clients" / "browser" / "stream_browser" / "client"
RATE: Final = 16_000
"""Of what is played."""
ALIKE: Final = 0.95
"""What a browser does to change rates, and what an interpolation here does, leaves a little."""
PLAIN: Final = {"autoGainControl": False}
"""Constraints with which a microphone gives what it hears."""

# Opens a source and takes from it for a while; gives what the sink, the tap and the level meter got, or the error.
TAKE: Final = """async ({ module, open, options, seconds, file }) => {
  const encode = async (parts) => {
    const reader = new FileReader();
    await new Promise((resolve) => { reader.onload = resolve; reader.readAsDataURL(new Blob(parts)); });
    return reader.result.split(",")[1];
  };
  const levels = [], sunk = [], tapped = [];
  const api = await import(module);
  try {
    const bytes = file && Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
    const given = bytes ? [new File([bytes], "talk.wav")] : [];
    const source = await api[open](...given, { ...options, onLevel: (level) => levels.push(level) });
    let taken, ended = false;
    const enough = new Promise((resolve) => (taken = resolve));
    let rate = source.format.sample_rate;
    source.tap = (pcm, tapRate) => {
      rate = tapRate;
      tapped.push(pcm);
      if (tapped.reduce((sum, { length }) => sum + length, 0) >= seconds * tapRate) taken();
    };
    source.start((audio) => void sunk.push(audio));
    window.running = source;
    await Promise.race([enough, source.ended.then(() => (ended = true))]);
    await source.stop();
    return {
      format: source.format, label: source.label, rate, ended, levels,
      sizes: sunk.map(({ byteLength }) => byteLength), sunk: await encode(sunk), tapped: await encode(tapped),
    };
  } catch (error) {
    return { code: error.code ?? error.name, message: error.message };
  }
}"""


class Sources:
    """The client's modules on a site of their own, and what one of its sources gives."""

    def __init__(self, site: Site, visitor: Visitor) -> None:
        self._site = site
        self._visitor = visitor

    async def open(self, microphone: Path | None, **visit: Any) -> Page:
        return await self._visitor.open(self._site.url("/"), microphone=microphone, **visit)

    async def take(
        self, page: Page, opener: str, *, seconds: float = 1e9, file: bytes = b"", origin: str = "", **options: Any
    ) -> Taken:
        """Let it run until so many seconds were heard, or it ends by itself."""
        answer = await page.evaluate(
            TAKE,
            {
                "module": f"{origin}/client/index.js",
                "open": opener,
                "options": options,
                "seconds": seconds,
                "file": base64.b64encode(file).decode(),
            },
        )
        return Taken(answer)


class Taken:
    """What came of it: either ``error`` (code and message), or all others."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.error: tuple[str, str] | None = (answer["code"], answer["message"]) if "code" in answer else None
        if self.error is None:
            self.format: dict[str, Any] = answer["format"]
            self.label: str = answer["label"]
            self.rate: int = answer["rate"]
            self.ended: bool = answer["ended"]
            self.levels: list[dict[str, float]] = answer["levels"]
            self.sizes: list[int] = answer["sizes"]
            self.bytes = base64.b64decode(answer["sunk"])
            self.tapped = samples(base64.b64decode(answer["tapped"]))


def samples(pcm: bytes) -> NDArray[np.float32]:
    return np.asarray(np.frombuffer(pcm, "<i2") / 2**15, np.float32)


def sweep(seconds: float) -> NDArray[np.float32]:
    """A tone that is nowhere the same, so that where a piece of it belongs is certain."""
    time = np.arange(round(seconds * RATE)) / RATE
    return np.asarray(0.4 * np.sin(2 * np.pi * (200 + 400 * time / seconds) * time), np.float32)


def wav(path: Path, audio: NDArray[np.float32], *, before: float = 0.0, behind: float = 0.0) -> Path:
    """With so many seconds of silence around it."""
    padded = np.pad(audio, (round(before * RATE), round(behind * RATE)))
    write_wav(path, (padded * 32767).astype("<i2").tobytes())
    return path


def likeness(heard: NDArray[np.float32], rate: int, played: NDArray[np.float32]) -> NDArray[np.float64]:
    """How well each quarter of a second that was played is found in what was heard; 1: it is there.

    Each by itself, as a browser's pretended microphone drops a little where the machine is busy.
    """
    at = np.arange(0, len(heard) - 1, rate / RATE)
    line = np.interp(at, np.arange(len(heard)), heard)
    found = []
    for piece in np.split(played, range(RATE // 4, len(played), RATE // 4)):
        start = int(np.correlate(line, piece, "valid").argmax())
        window = line[start : start + len(piece)]
        found.append(window @ piece / (np.linalg.norm(window) * np.linalg.norm(piece) + 1e-9))
    return np.array(found)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as site:
        serve_client(site)
        yield site


def serve_client(site: Site) -> None:
    site.pages["/"] = content(b"<!doctype html><title>Sources</title><link rel=icon href=data:,>", "text/html")
    for path in CLIENT.glob("*.js"):
        answer = content(path.read_bytes(), "text/javascript", Access_Control_Allow_Origin="*")
        site.pages[f"/client/{path.name}"] = answer


@pytest.fixture
def sources(site: Site, visitor: Visitor) -> Sources:
    return Sources(site, visitor)


@pytest.fixture(scope="module")
def played() -> NDArray[np.float32]:
    return sweep(1.5)


@pytest.fixture(scope="module")
def fake(played: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A microphone plays as soon as it is open, and it takes a moment until somebody listens."""
    return wav(tmp_path_factory.mktemp("source") / "sweep.wav", played, before=1.0, behind=60.0)


async def test_a_microphone_gives_what_it_hears(sources: Sources, fake: Path, played: NDArray[np.float32]) -> None:
    page = await sources.open(fake)
    taken = await sources.take(page, "openMicrophone", seconds=3.5, constraints=PLAIN)
    assert taken.error is None
    assert taken.format == {"sample_rate": taken.rate, "dtype": "int16", "channels": 1}
    assert taken.rate == await page.evaluate("new AudioContext().sampleRate")
    assert np.median(likeness(samples(taken.bytes), taken.rate, played)) > ALIKE
    assert set(taken.sizes[:-1]) == {2 * 4096}
    assert 0 < taken.sizes[-1] <= 2 * 4096
    assert np.array_equal(taken.tapped, samples(taken.bytes)), "the tap gets the same"
    assert len(taken.levels) == pytest.approx(12 * len(taken.tapped) / taken.rate, rel=0.2)
    assert max(level["peak"] for level in taken.levels) == pytest.approx(0.4, abs=0.05)
    assert max(level["rms"] for level in taken.levels) == pytest.approx(0.4 / np.sqrt(2), abs=0.05)


async def test_a_microphone_can_be_opened_again(sources: Sources, fake: Path, played: NDArray[np.float32]) -> None:
    page = await sources.open(fake)
    for _ in range(2):
        taken = await sources.take(page, "openMicrophone", seconds=3.5, constraints=PLAIN)
        assert taken.error is None
        assert np.median(likeness(samples(taken.bytes), taken.rate, played)) > ALIKE


async def test_a_microphone_in_opus_is_a_container_that_the_server_decodes(
    sources: Sources, fake: Path, played: NDArray[np.float32]
) -> None:
    page = await sources.open(fake)
    taken = await sources.take(page, "openMicrophone", seconds=3.5, codec="opus", constraints=PLAIN)
    assert taken.error is None
    assert taken.format == {"dtype": "container"}
    decoder = ContainerDecoder(1)
    try:
        heard = np.concatenate([decoder.receive(taken.bytes), decoder.finish()])[:, 0]
    finally:
        decoder.close()
    assert np.median(likeness(heard, decoder.sample_rate, played)) > ALIKE
    assert np.median(likeness(taken.tapped, taken.rate, played)) > ALIKE, "the tap still gets samples"
    assert taken.levels
    assert 8 * len(taken.bytes) / (len(heard) / decoder.sample_rate) < 40_000


async def test_a_microphone_that_was_unplugged_ends(sources: Sources, fake: Path) -> None:
    # No flag unplugs the fake device, so its track is ended by hand.
    page = await sources.open(
        fake,
        script="""const ask = MediaDevices.prototype.getUserMedia;
        MediaDevices.prototype.getUserMedia = async function (constraints) {
          const stream = await ask.call(this, constraints);
          setTimeout(() => stream.getTracks()[0].dispatchEvent(new Event("ended")), 500);
          return stream;
        };""",
    )
    taken = await sources.take(page, "openMicrophone")
    assert taken.error is None
    assert taken.ended
    assert taken.bytes


async def test_a_module_of_another_origin_loads_its_worklet(sources: Sources, fake: Path) -> None:
    with running_site() as other:
        serve_client(other)
        page = await sources.open(fake, expected=[f"the page asked {re.escape(other.url('/client/'))}"])
        taken = await sources.take(page, "openMicrophone", seconds=0.5, origin=other.url(""))
        assert taken.error is None
        assert ("/client/capture-worklet.js", None) in other.asked


async def test_a_microphone_that_is_not_allowed_says_what_to_do(sources: Sources, fake: Path) -> None:
    page = await sources.open(fake, asks=True)
    code, message = (await sources.take(page, "openMicrophone")).error or ("", "")
    assert code == "PERMISSION_DENIED"
    assert "Allow it for this page" in message


async def test_no_microphone_says_what_to_do(sources: Sources) -> None:
    page = await sources.open(None, permissions=["microphone"])
    code, message = (await sources.take(page, "openMicrophone")).error or ("", "")
    assert code == "NO_DEVICE"
    assert "Connect one" in message


async def test_a_chosen_microphone_that_is_gone_says_so(sources: Sources, fake: Path) -> None:
    page = await sources.open(fake)
    code, message = (await sources.take(page, "openMicrophone", deviceId="0" * 64)).error or ("", "")
    assert code == "NO_DEVICE"
    assert "choose another" in message


async def test_microphones_are_listed_by_name(sources: Sources, fake: Path) -> None:
    page = await sources.open(fake)
    listed = await page.evaluate("import('/client/index.js').then(({ listMicrophones }) => listMicrophones())")
    assert listed
    for microphone in listed:
        assert microphone["label"]
    taken = await sources.take(page, "openMicrophone", seconds=0.2, deviceId=listed[-1]["deviceId"])
    assert taken.error is None


async def test_a_file_is_played_at_real_speed_to_its_end(
    sources: Sources, tmp_path: Path, played: NDArray[np.float32]
) -> None:
    page = await sources.open(None)
    file = wav(tmp_path / "talk.wav", played).read_bytes()
    taken = await sources.take(page, "openFile", file=file, audible=False)
    assert taken.error is None
    assert taken.ended
    assert taken.label == "talk.wav"
    found = likeness(samples(taken.bytes), taken.rate, played)
    assert np.median(found) > ALIKE
    assert found[-1] > ALIKE, "its end is there"


async def test_a_file_is_sent_as_it_is(sources: Sources, tmp_path: Path, played: NDArray[np.float32]) -> None:
    page = await sources.open(None)
    file = wav(tmp_path / "talk.wav", played, behind=5.0).read_bytes()
    taken = await sources.take(page, "openFile", file=file, realTime=False)
    assert taken.error is None
    assert taken.ended
    assert taken.bytes == file


async def test_a_file_that_is_no_recording_says_so(sources: Sources) -> None:
    page = await sources.open(None)
    code, message = (await sources.take(page, "openFile", file=b"not a recording" * 100)).error or ("", "")
    assert code == "BAD_FILE"
    assert "talk.wav" in message
