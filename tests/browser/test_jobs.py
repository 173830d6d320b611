"""The jobs page: a recording goes in, and its words come out, with the audio that they were said in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
import srt
import webvtt

from stream_server.engine.moonshine.asset import find_recording
from tests.browser import NEEDS_PLAYWRIGHT
from tests.support.process import ServerProcess
from tests.support.recital import Recital

pytest.importorskip("playwright.async_api", reason=NEEDS_PLAYWRIGHT)
pytest.importorskip("jiwer", reason="the extra `bench` is not installed")

from playwright.async_api import Locator, Page, Route, expect

from bench.score import score
from tests.support.browser import PATIENCE_MS, Visitor

WORST_PERCENT: Final = 15.0
REFUSED: Final = (r"Failed to load resource: the server responded with a status of 400",)
"""What Chromium itself writes to the console when the server refuses a file."""

HOLD_UPLOADS: Final = """
// Uploads stand still half-way, until the page gives them up.
XMLHttpRequest.prototype.send = function () {
  this.upload.onprogress({ loaded: 1, total: 2 });
  this.abort = () => this.onabort();
};
"""


class JobsPage:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.jobs = page.get_by_role("list", name="Jobs").get_by_role("listitem")
        self.words = page.locator("#segments .word")
        self.audio = page.locator("audio")

    def job(self, name: str) -> Locator:
        return self.jobs.filter(has_text=name)

    async def choose(self, *paths: Path) -> None:
        async with self.page.expect_file_chooser() as chooser:
            await self.page.get_by_role("button", name="Choose files").click()
        await (await chooser.value).set_files(paths)

    async def in_state(self, name: str, *states: str) -> None:
        pattern = re.compile(f"^({'|'.join(states)})$")
        await expect(self.job(name)).to_have_attribute("data-state", pattern, timeout=PATIENCE_MS)

    async def opened(self, path: Path) -> None:
        """Transcribe a file, and read its result."""
        await self.choose(path)
        await self.in_state(path.name, "completed")
        await self.job(path.name).get_by_role("button", name="Open").click()
        await expect(self.page.get_by_role("region", name=path.name)).to_be_visible()
        await expect(self.words.first).to_be_visible()

    async def seconds(self) -> float:
        seconds: float = await self.audio.evaluate("audio => audio.currentTime")
        return seconds

    async def download(self, name: str, folder: Path) -> Path:
        await self.page.get_by_text("Download", exact=True).click()
        async with self.page.expect_download() as started:
            await self.page.get_by_role("button", name=name, exact=True).click()
        download = await started.value
        path = folder / download.suggested_filename
        await download.save_as(path)
        return path


@pytest.fixture
def talk(recording: Recital, tmp_path: Path) -> Path:
    return recording.write(tmp_path / "talk.wav")


async def test_from_a_file_to_its_words_and_to_the_moment_they_were_said(
    server: ServerProcess, visitor: Visitor, talk: Path, recording: Recital
) -> None:
    jobs = JobsPage(await visitor.open(f"{server.url}/jobs"))
    await jobs.choose(talk)
    await expect(jobs.page.get_by_role("progressbar", name="Progress of talk.wav")).to_be_visible()
    await jobs.in_state("talk.wav", "completed")
    await expect(jobs.page.get_by_role("progressbar")).to_have_count(0)
    assert re.fullmatch(r"[0-9a-f-]{32,36}", await jobs.job("talk.wav").get_attribute("data-job-id") or "")

    await jobs.job("talk.wav").get_by_role("button", name="Open").click()
    await expect(jobs.page.get_by_role("region", name="talk.wav")).to_be_visible()
    segments = jobs.page.locator("#segments .segment .text")
    await expect(segments).to_have_count(len(recording.sentences))
    assert score([recording.text], [" ".join(await segments.all_inner_texts())]).percent <= WORST_PERCENT

    second = jobs.page.locator(".segment").nth(1)
    await second.locator(".word").first.click()
    begun = int(await second.get_attribute("data-offset-ms") or "") / 1000
    assert begun == pytest.approx(recording.starts[1], abs=0.5)
    assert begun <= await jobs.seconds() < begun + 5
    await expect(second.locator(".word[data-now]")).to_be_visible()
    await expect(second).to_have_attribute("data-playing", "")

    third = jobs.page.locator(".segment").nth(2)
    # The mark follows the audio.
    await expect(third.locator(".word[data-now]")).to_be_visible(timeout=PATIENCE_MS)
    await jobs.page.get_by_role("button", name="Pause").click()
    await jobs.page.locator("#result").press("ArrowLeft")
    await jobs.page.locator("#result").press(" ")
    await expect(jobs.page.get_by_role("button", name="Pause")).to_be_visible()


async def test_what_is_downloaded_can_be_read_by_others(
    server: ServerProcess, visitor: Visitor, talk: Path, tmp_path: Path
) -> None:
    jobs = JobsPage(await visitor.open(f"{server.url}/jobs"))
    await jobs.opened(talk)
    shown = " ".join(await jobs.page.locator("#segments .text").all_inner_texts()).split()

    text = await jobs.download("Text", tmp_path)
    assert text.name == "talk.txt"
    assert text.read_text("utf-8").split() == shown
    subtitles = list(srt.parse((await jobs.download("SRT", tmp_path)).read_text("utf-8")))
    assert " ".join(subtitle.content for subtitle in subtitles).split() == shown
    captions = webvtt.read(str(await jobs.download("VTT", tmp_path))).captions
    assert " ".join(caption.text for caption in captions).split() == shown
    document = json.loads((await jobs.download("JSON", tmp_path)).read_text("utf-8"))
    assert [word["word"] for segment in document["segments"] for word in segment["words"]] == shown


async def test_a_search_marks_what_it_finds(server: ServerProcess, visitor: Visitor, talk: Path) -> None:
    jobs = JobsPage(await visitor.open(f"{server.url}/jobs"))
    await jobs.opened(talk)
    search = jobs.page.get_by_role("searchbox", name="Search")
    await search.fill("AGE of")
    await expect(jobs.page.locator("mark")).to_have_text(["age", " ", "of"] * 2)
    await search.press("Enter")
    await expect(jobs.page.locator("#found")).to_have_text("1 of 2")
    await search.fill("dinosaur")
    await expect(jobs.page.locator("mark")).to_have_count(0)
    await expect(jobs.page.locator("#found")).to_have_text("none")


async def test_a_file_that_is_no_recording_says_why(server: ServerProcess, visitor: Visitor, tmp_path: Path) -> None:
    files = {"empty.wav": b"", "notes.txt": b"Dear diary", "rubbish.mp3": b"Dear diary" * 1000}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    jobs = JobsPage(await visitor.open(f"{server.url}/jobs", expected=REFUSED))
    await jobs.choose(*(tmp_path / name for name in files))
    for name, reason in (
        ("empty.wav", "The file is empty."),
        ("notes.txt", "This is not a recording (text/plain)."),
        ("rubbish.mp3", "not audio or video in a known format"),
    ):
        await jobs.in_state(name, "failed")
        await expect(jobs.job(name)).to_contain_text(reason)
    await jobs.job("rubbish.mp3").get_by_role("button", name="Remove").click()
    await expect(jobs.job("rubbish.mp3")).to_have_count(0)


async def test_an_upload_can_be_cancelled(server: ServerProcess, visitor: Visitor, talk: Path) -> None:
    jobs = JobsPage(await visitor.open(f"{server.url}/jobs", script=HOLD_UPLOADS))
    await jobs.choose(talk)
    await expect(jobs.job("talk.wav")).to_contain_text("Uploading, 50 %")
    await jobs.job("talk.wav").get_by_role("button", name="Cancel").click()
    await jobs.in_state("talk.wav", "cancelled")
    await expect(jobs.job("talk.wav").get_by_role("button", name="Try again")).to_be_visible()


async def test_a_job_can_be_cancelled(
    server: ServerProcess, visitor: Visitor, recording: Recital, tmp_path: Path
) -> None:
    long = Recital(recording.pcm * 80, recording.sentences, recording.starts).write(tmp_path / "long.wav")
    jobs = JobsPage(await visitor.open(f"{server.url}/jobs"))
    await jobs.choose(long)
    await jobs.in_state("long.wav", "processing")
    await expect(jobs.job("long.wav")).to_contain_text(re.compile(r"Transcrib"))
    await jobs.job("long.wav").get_by_role("button", name="Cancel").click()
    await jobs.in_state("long.wav", "cancelled")


async def test_after_a_reload_the_words_are_there_and_the_audio_can_be_chosen_again(
    server: ServerProcess, visitor: Visitor, talk: Path
) -> None:
    jobs = JobsPage(await visitor.open(f"{server.url}/jobs"))
    await jobs.opened(talk)
    await jobs.page.reload()
    await expect(jobs.page.get_by_role("region", name="talk.wav")).to_be_visible()
    await expect(jobs.words.first).to_be_visible()
    await expect(jobs.page.get_by_text("The audio is not here any more")).to_be_visible()
    async with jobs.page.expect_file_chooser() as chooser:
        await jobs.page.get_by_role("button", name="Choose the file").click()
    await (await chooser.value).set_files(talk)
    await jobs.page.get_by_role("button", name="Play", exact=True).click()
    await expect(jobs.page.locator(".word[data-now]")).to_be_visible()


async def test_an_address_that_is_none_is_not_sent(server: ServerProcess, visitor: Visitor) -> None:
    jobs = JobsPage(await visitor.open(f"{server.url}/jobs", expected=REFUSED))
    address = jobs.page.get_by_role("textbox", name="Address")
    await address.fill("talk.mp3")
    await address.press("Enter")
    await expect(jobs.page.get_by_text("Give an address that begins with https://")).to_be_visible()
    await address.fill(f"{server.url}/talk.mp3")
    await address.press("Enter")
    await jobs.in_state(f"{server.url}/talk.mp3", "failed")  # the server fetches nothing from this machine


async def test_speakers_are_asked_for_and_named(
    server: ServerProcess, visitor: Visitor, talk: Path, tmp_path: Path
) -> None:
    """The server's part is said by the test: whom models hear is not for a test of the page to depend on."""
    forms: list[str] = []
    job = {
        "id": "a-job",
        "created_at": "2026-01-01T00:00:00Z",
        "progress": {"percent": 0, "message": "Queued"},
        "error": None,
        "result": None,
    }
    said = (("Good morning.", "SPEAKER_00"), ("Hello.", "Anna"), ("How are you?", "Anna"), ("Well.", "SPEAKER_00"))
    segments = [
        {"id": at, "start": at, "end": at + 0.9, "text": text, "avg_logprob": -0.1, "speaker": speaker, "words": []}
        for at, (text, speaker) in enumerate(said)
    ]
    result = {"duration": 4.0, "text": " ".join(text for text, _ in said), "segments": segments}

    async def answer(route: Route) -> None:
        if route.request.method == "POST":
            forms.append((route.request.post_data_buffer or b"").decode("latin-1"))
            await route.fulfill(status=202, json={**job, "status": "queued"})
        else:
            await route.fulfill(json={**job, "status": "completed", "result": result})

    jobs = JobsPage(await visitor.open(f"{server.url}/jobs"))
    await jobs.page.route(re.compile("/v1/transcription-jobs"), answer)
    await expect(jobs.page.get_by_role("combobox", name="Speakers")).to_be_disabled()
    await jobs.page.get_by_label("Tell speakers apart").check()
    await jobs.choose(talk)
    await jobs.in_state(talk.name, "completed")
    assert re.search(r'name="enable_diarization"\s+true', forms[0])
    assert "num_speakers" not in forms[0]

    await jobs.job(talk.name).get_by_role("button", name="Open").click()
    await expect(jobs.page.locator("#segments .who")).to_have_text(["Speaker 1", "Anna", "Speaker 1"])
    text = (await jobs.download("Text", tmp_path)).read_text("utf-8")
    assert text == "Speaker 1: Good morning.\nAnna: Hello.\nHow are you?\nSpeaker 1: Well.\n"

    await jobs.page.get_by_role("combobox", name="Speakers").select_option("2")
    await jobs.choose(talk)
    await expect(jobs.job(talk.name).and_(jobs.page.locator("[data-state=completed]"))).to_have_count(2)
    assert re.search(r'name="num_speakers"\s+2', forms[1])


async def test_two_people_are_told_apart(server: ServerProcess, visitor: Visitor) -> None:
    """With the models: nothing here is said by the test."""
    jobs = JobsPage(await visitor.open(f"{server.url}/jobs"))
    await jobs.page.get_by_label("Tell speakers apart").check()
    await jobs.page.get_by_role("combobox", name="Speakers").select_option("2")
    await jobs.opened(find_recording("endgame_nagg_nell.wav"))
    names = await jobs.page.locator("#segments .who").all_inner_texts()
    assert names == ["Speaker 1", "Speaker 2"] * 7
