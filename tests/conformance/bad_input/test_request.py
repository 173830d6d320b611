"""Jobs that there are not, or of others; names of files; parameters."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import quote

import httpx2
import pytest

from tests.conformance.bad_input.conftest import OTHER
from tests.conformance.surface import PAUSE_SEC, SURFACES
from tests.support.clip import clip
from tests.support.hosting import client_of
from tests.support.running import Running

ways = pytest.mark.parametrize("way", SURFACES)


def paths_of_jobs(server: Running) -> list[tuple[str, str]]:
    document = httpx2.get(f"{server.http_url}/openapi.json", trust_env=False).json()
    return [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if "{job_id}" in path
    ]


def test_jobs_of_others(server: Running, client: httpx2.Client) -> None:
    """Whatever is asked for by another key: they are not there, and nothing happens to them."""
    made = []
    for way in ("audiotext", "lesan", "batch", "asr", "translate"):
        values = SURFACES[way].send(client, clip()).json()
        made.append(values.get("job_id") or values["id"])
    with client_of(server, OTHER) as stranger:
        for job in made:
            for method, path in paths_of_jobs(server):
                answer = stranger.request(method, path.format(job_id=job))
                assert answer.status_code == 404, (method, path)
                assert job not in answer.text
        assert stranger.get("/v1/transcriptions").json()["data"] == []
    for job in made:
        while (state := client.get(f"/v1/transcriptions/{job}").json()["status"]) in ("queued", "processing"):
            time.sleep(PAUSE_SEC)
        assert state == "completed"


STRANGE: Final = (
    "' OR 1=1 --",
    "1; DROP TABLE jobs",
    "%",
    "_" * 36,
    "null",
    "-1",
    "99999999999999999999999999",
    "00000000-0000-0000-0000-000000000000",
    "\0",
    "a\0b",
    "\x1b[31m",
    "\u202e\ud7ff\U0010ffff",
    "x" * 5000,
    "%2e%2e",
    "..;",
)


@pytest.mark.parametrize("name", STRANGE)
def test_jobs_that_there_are_not(server: Running, client: httpx2.Client, name: str) -> None:
    for method, path in paths_of_jobs(server):
        answer = client.request(method, path.format(job_id=quote(name, safe="")))
        assert (answer.status_code, "NOT_FOUND" in answer.text) == (404, True), (method, path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "%2e%2e%2fetc", "/", "//evil.test/x", "\\..\\..\\x"])
def test_paths_that_lead_out(server: Running, client: httpx2.Client, name: str) -> None:
    for method, path in paths_of_jobs(server):
        answer = client.request(method, path.format(job_id=quote(name, safe="")))
        assert answer.status_code in (404, 405), (method, path)


NAMES: Final = ("' OR 1=1 --", "../../x.wav", "/etc/passwd", "C:\\x.wav", "\x1b[31m\u202e", "x" * 1000, "", "..")


@pytest.mark.parametrize("name", NAMES)
@ways
def test_names_of_files_are_only_shown(way: str, name: str, client: httpx2.Client) -> None:
    surface = SURFACES[way]
    if way == "upload" and not 1 <= len(name) <= 255:
        assert client.get("/v1/uploads/signed-url", params={"filename": name}).status_code == 400
        return
    assert surface.outcome(client, surface.send(client, clip(), name)) == "completed"


NUMBERS: Final = ("-1", "0", "1e309", "NaN", "Infinity", "9" * 400, "0x10", "٣٣", "1.5", "true", "[1]", "{}")
NO_LANGUAGES: Final = ("xx-klingon", "en' --", "../en", "e" * 30_000)
FORMS: Final = [way for way in SURFACES if way != "upload"]
WRONG: Final = [
    *(("openai", "summary_max_length", number) for number in NUMBERS),
    *(("openai", "temperature", number) for number in NUMBERS if number != "0"),
    *(("lightning", "num_speakers", number) for number in NUMBERS),
    *(("openai", "num_speakers", number) for number in NUMBERS),
    *((way, "enable_diarization", value) for way in ("openai", "audiotext") for value in ("maybe", "2", "[true]")),
    *(("asr", "diarization", value) for value in ("enabled", "true", "Enabled,Disabled")),
    *(("openai", "known_speaker_names", value) for value in ("Priya", "SPEAKER_00", "x" * 201, "[1]")),
    *(("openai", "known_speaker_references", value) for value in ("data:,", "file:///etc/passwd", "x" * 100_000)),
    *(("asr", "maxlen", number) for number in NUMBERS),
    *(("asr", "beam_size", number) for number in NUMBERS),
    *(("translate", "min_silence_duration_ms", number) for number in NUMBERS),
    *((way, "language", value) for way in FORMS for value in NO_LANGUAGES),
    *((way, "nonsense", "1") for way in FORMS),
    *((way, "url[]", "http://files.test/") for way in ("asr", "translate")),
]


@pytest.mark.parametrize(("way", "name", "value"), WRONG, ids=lambda value: str(value)[:20])
def test_parameters_that_are_wrong(way: str, name: str, value: str, client: httpx2.Client) -> None:
    surface = SURFACES[way]
    answer = surface.ask(client, clip(), **{name: value})
    assert answer.status_code in (400, 422), answer.text
    assert surface.code(answer) in ("INVALID_PARAMETER", "FEATURE_UNAVAILABLE")
