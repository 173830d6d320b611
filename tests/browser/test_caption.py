"""Captions of a microphone: while people speak, over a network that breaks, and when something is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.proxy import Fault, Proxy
from bench.score import score
from stream_client import StreamClient
from tests.browser import NEEDS_PLAYWRIGHT
from tests.support.fake import FakeRecognizer
from tests.support.process import ServerProcess
from tests.support.recital import Recital
from tests.support.running import running_server
from tests.support.speech import moonshine

pytest.importorskip("playwright.async_api", reason=NEEDS_PLAYWRIGHT)

from playwright.async_api import expect

from tests.browser.caption import WATCH, Caption, CaptionPage
from tests.support.browser import LOST_CONNECTION, Visitor

WORST_PERCENT = 15.0
"""Word error rate that captions of a clear reading may have."""
APART_MS = 500
"""How far a caption may lie from where its sentence begins: the detector of speech takes some of the silence along."""


def assert_complete(captions: Sequence[Caption], recording: Recital) -> None:
    """Every sentence once, in order, where it was spoken."""
    heard = [caption.text for caption in captions]
    assert len(heard) == len(recording.sentences), heard
    assert [caption.segment_id for caption in captions] == list(range(len(heard)))
    for sentence, text in zip(recording.sentences, heard, strict=True):
        assert score([sentence], [text]).percent <= 2 * WORST_PERCENT, f"{sentence!r} was heard as {text!r}"
    assert score(recording.sentences, heard).percent <= WORST_PERCENT, heard
    for caption, start in zip(captions, recording.starts, strict=True):
        shift = caption.offset_ms - captions[0].offset_ms
        assert shift == pytest.approx(1000 * (start - recording.starts[0]), abs=APART_MS), captions


async def test_captions_appear_while_somebody_speaks(
    server: ServerProcess, visitor: Visitor, recording: Recital
) -> None:
    page = CaptionPage(await visitor.open(server.url, script=WATCH))
    await page.captioning()
    await page.has_finals(len(recording.sentences))
    await page.stopped()

    assert_complete(await page.captions(), recording)
    seen = await page.page.evaluate("watched")
    assert seen["finalsAtFirstWords"] == 0, "words are there before the sentence has ended"
    assert recording.starts[0] < seen["secondsAtFirstWords"] < recording.starts[1]
    assert seen["states"][-2:] == ["open", "ended"]


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CLOSE, Fault.FREEZE])
async def test_a_cut_loses_and_doubles_nothing(
    network: Proxy, visitor: Visitor, recording: Recital, fault: Fault
) -> None:
    page = CaptionPage(await visitor.open(f"http://{network.address}/", script=WATCH, expected=LOST_CONNECTION))
    await page.captioning()
    await page.hears(2)
    if fault is Fault.FREEZE:
        network.cut(Fault.FREEZE)
        sent = await page.page.evaluate("watched.bytes")
        await page.page.wait_for_function("sent => watched.bytes > sent + 2 * watched.rate", arg=sent)
        network.cut(Fault.RESET)  # what a router does with connections that it has forgotten
    else:
        assert network.cut(fault) >= 1
    await page.page.wait_for_function("() => watched.states.includes('reconnecting')")
    await page.in_state("open")
    await page.has_finals(len(recording.sentences))
    await page.stopped()

    assert_complete(await page.captions(), recording)
    states = await page.page.evaluate("watched.states")
    assert states[states.index("reconnecting") - 1 :][:3] == ["open", "reconnecting", "open"]
    await expect(page.notice).to_be_hidden()


async def test_a_server_that_stops_hands_over_to_the_next(visitor: Visitor, recording: Recital) -> None:
    """A new server knows nothing of the session: the page goes on behind the last final, numbers and times as well."""
    settings: dict[str, Any] = {"drain_timeout": 0.0, "retry_after": 0.1}
    async with running_server(moonshine(), **settings) as first, running_server(moonshine(), **settings) as second:
        network = Proxy(f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}", health="/readyz")
        async with network:
            page = CaptionPage(await visitor.open(f"http://{network.address}/", script=WATCH, expected=LOST_CONNECTION))
            await page.captioning()
            await page.hears(2)
            carrying = first if first.server.app.state.service.limit.taken else second
            carrying.server.should_exit = True
            await page.page.wait_for_function("() => watched.states.includes('reconnecting')")
            await page.in_state("open")
            await page.has_reached(recording.starts[-1])
            await page.stopped()
            captions = await page.captions()
    for before, after in pairwise(captions):  # numbers may be left out: what was open comes again under a new one
        assert (before.segment_id, before.offset_ms) < (after.segment_id, after.offset_ms)
        assert before.offset_ms < after.offset_ms
    assert score([recording.text], [" ".join(caption.text for caption in captions)]).percent <= WORST_PERCENT, captions
    # What the first server had heard of a sentence it has made final; the rest of it came from the second one.
    assert len(captions) <= len(recording.sentences) + 1


async def test_a_second_start_goes_on_below_the_first(
    server: ServerProcess, visitor: Visitor, short_microphone: Path, short_recording: Recital
) -> None:
    page = CaptionPage(await visitor.open(server.url, microphone=short_microphone))
    for run in (1, 2):
        await page.captioning()
        await page.has_finals(run)
        await page.stopped()
    captions = await page.captions()
    for caption in captions:
        assert score(short_recording.sentences, [caption.text]).percent <= WORST_PERCENT, caption


async def test_who_refuses_the_microphone_is_told_what_to_do(server: ServerProcess, visitor: Visitor) -> None:
    page = CaptionPage(await visitor.open(server.url, asks=True, permissions=[]))
    await page.start.click()
    await expect(page.notice).to_contain_text(re.compile("allow", re.IGNORECASE))
    await page.in_state("idle", "failed")

    await page.page.context.grant_permissions(["microphone"], origin=server.url)
    await page.captioning()
    await expect(page.notice).to_be_hidden()
    await page.hears()


async def test_without_a_microphone_there_is_still_the_file(
    server: ServerProcess, visitor: Visitor, short_recording: Recital, tmp_path: Path
) -> None:
    page = CaptionPage(await visitor.open(server.url, microphone=None, permissions=["microphone"]))
    await page.start.click()
    await expect(page.notice).to_contain_text(re.compile("no microphone|connect|plug", re.IGNORECASE))
    await page.in_state("idle", "failed")

    await page.play_file(short_recording.write(tmp_path / "speech.wav"))
    await page.has_finals(1)
    await page.in_state("ended")
    await expect(page.notice).to_be_hidden()
    assert score(short_recording.sentences, [await page.text()]).percent <= WORST_PERCENT


async def test_a_microphone_that_goes_takes_no_words_with_it(
    server: ServerProcess, visitor: Visitor, short_recording: Recital, short_microphone: Path
) -> None:
    # No flag unplugs the fake device, so its track is ended by hand.
    keep = """
    const open = MediaDevices.prototype.getUserMedia;
    MediaDevices.prototype.getUserMedia = async function (...wanted) {
      return (window.opened = await open.apply(this, wanted));
    };
    """
    page = CaptionPage(await visitor.open(server.url, microphone=short_microphone, script=keep))
    await page.captioning()
    await page.hears()
    await page.page.evaluate("opened.getTracks()[0].dispatchEvent(new Event('ended'))")
    await expect(page.notice).to_contain_text("microphone has gone")
    await page.in_state("ended")
    assert await page.text(), "what it had heard is there"
    await page.captioning()
    await expect(page.notice).to_be_hidden()
    await page.stopped()


async def test_a_full_server_says_when_to_come_back(visitor: Visitor) -> None:
    async with running_server(FakeRecognizer(), max_sessions=1, retry_after=7) as full:
        page = CaptionPage(await visitor.open(full.http_url, expected=LOST_CONNECTION))
        async with StreamClient(full.ws_url):
            await page.start.click()
            await expect(page.notice).to_contain_text(re.compile(r"full.*in \d+ s", re.IGNORECASE | re.DOTALL))
            await page.in_state("idle", "failed")
        await page.captioning()
        await expect(page.notice).to_be_hidden()
        await page.stopped()


async def test_a_server_with_keys_asks_for_one(visitor: Visitor) -> None:
    async with running_server(FakeRecognizer(), api_keys=("sk-right",)) as closed:
        page = CaptionPage(await visitor.open(closed.http_url, clock=True, expected=(r"status of 401",)))
        dialog = page.page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Not now").click()
        await expect(page.notice).to_contain_text("key")

        await page.start.click()
        await expect(dialog.get_by_label("API key")).to_be_visible()
        await page.page.clock.fast_forward("01:00")  # it has to be looked for
        await dialog.get_by_label("API key").fill("sk-wrong")
        await page.page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_contain_text("refused")
        await dialog.get_by_label("API key").fill("sk-right")
        await page.page.keyboard.press("Enter")
        await page.in_state("open")
        await expect(page.notice).to_be_hidden()
        await page.stopped()


async def test_who_gives_no_key_is_told_so(visitor: Visitor) -> None:
    async with running_server(FakeRecognizer(), api_keys=("sk-right",)) as closed:
        page = CaptionPage(await visitor.open(closed.http_url, expected=(r"status of 401",)))
        dialog = page.page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Not now").click()
        await page.start.click()
        await dialog.get_by_role("button", name="Not now").click()
        await page.in_state("failed")
        await expect(page.notice).to_contain_text("key")
        await expect(page.notice.get_by_role("button", name="Enter a key")).to_be_visible()


async def test_a_server_that_is_gone_for_good_is_given_up(
    server: ServerProcess, visitor: Visitor, short_microphone: Path
) -> None:
    async with Proxy(f"127.0.0.1:{server.port}") as network:
        url = f"http://{network.address}/"
        page = await visitor.open(url, microphone=short_microphone, clock=True, expected=LOST_CONNECTION)
        captions = CaptionPage(page)
        await captions.captioning()
        await captions.has_finals(1)
    await captions.in_state("reconnecting")
    await page.clock.fast_forward("05:00")
    await captions.in_state("failed")
    await expect(captions.notice).to_contain_text("connection")
    await captions.has_finals(1)
    await expect(captions.start).to_be_enabled()


async def test_a_narrow_link_gets_its_transcript_as_opus(network: Proxy, visitor: Visitor, recording: Recital) -> None:
    page = CaptionPage(await visitor.open(f"http://{network.address}/", script=WATCH, expected=LOST_CONNECTION))
    await page.choose_opus()
    await page.captioning()
    await page.hears(2)
    network.cut()
    await page.page.wait_for_function("() => watched.states.includes('reconnecting')")
    await page.has_finals(len(recording.sentences))
    await page.stopped()
    heard = [caption.text for caption in await page.captions()]
    assert score([recording.text], [" ".join(heard)]).percent <= WORST_PERCENT, heard
    assert await page.page.evaluate("watched.bytes") < len(recording.pcm) / 2
