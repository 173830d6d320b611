"""The speakers of a project over HTTP: registered by a recording, listed, identified, deleted; and what is refused."""

from __future__ import annotations

import asyncio
import io
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import httpx2
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from stream_server.app import THREADS
from stream_server.speakers.diarizer import Diarizer
from stream_server.speakers.embedder import Embedder, EmbedderError
from stream_server.transport import speaker as module
from tests.support.clip import DAMAGED, PICTURE
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.support.tone import RATE, ToneDiarizer, ToneEmbedder, silence, voice

PRIYA, RAHUL = 400, 1200
KEYS = ("sk-one", "sk-two")
REGISTER, LIST, IDENTIFY, DELETE = (f"/v1/speakers/{name}" for name in ("register", "list", "identify", "delete"))


class GatedEmbedder(ToneEmbedder):
    """Waits at ``gate``; ``busy`` counts those that came to it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.busy = threading.Semaphore(0)

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        self.busy.release()
        assert self.gate.wait(30)
        return super().embed(samples)


class FailingEmbedder(ToneEmbedder):
    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        raise EmbedderError("the secret path cannot be read")


@dataclass
class Models:
    """What the server has in place of real models; may be changed while it runs. ``gate``: loading waits at it."""

    of_voices: Embedder = field(default_factory=ToneEmbedder)
    of_turns: ToneDiarizer = field(default_factory=ToneDiarizer)
    gate: threading.Event | None = None
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def embedder(self) -> Embedder:
        self.asked.release()
        assert self.gate is None or self.gate.wait(30)
        return self.of_voices

    def embedded_diarizer(self) -> Diarizer:
        return self.of_turns

    def close(self) -> None:
        pass

    def live(self) -> NoReturn:
        raise AssertionError("nobody speaks live here")


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    models = Models()
    monkeypatch.setattr("stream_server.app.load_speakers", lambda *_, **__: models)
    return models


@pytest.fixture
async def server(models: Models, tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(FakeRecognizer(), data_dir=tmp_path, job_worker="elsewhere", api_keys=KEYS) as running:
        yield running


def client_of(server: Running, key: str = KEYS[0]) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.AsyncClient(base_url=server.http_url, trust_env=False, headers=headers, timeout=60)


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(server) as client:
        yield client


def wav(*pieces: NDArray[np.float32]) -> dict[str, Any]:
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(pieces), RATE, format="WAV")
    return {"file": ("voice.wav", file.getvalue())}


async def register(http: httpx2.AsyncClient, name: str, pitch: float, **form: str) -> httpx2.Response:
    return await http.post(REGISTER, data={"name": name, **form}, files=wav(voice(pitch, 3)))


async def identify(http: httpx2.AsyncClient, pitch: float, **form: str) -> Any:
    return (await http.post(IDENTIFY, data=form, files=wav(voice(pitch, 1.5)))).json()


async def listed(http: httpx2.AsyncClient, **query: str) -> list[str]:
    return [speaker["name"] for speaker in (await http.get(LIST, params=query)).json()["speakers"]]


def nothing_is_kept(server: Running) -> bool:
    return [path for path in (server.service.settings.data_dir / "objects").rglob("*") if path.is_file()] == []


async def test_a_speaker_comes_and_goes(http: httpx2.AsyncClient, server: Running) -> None:
    desk = {"project": "desk"}
    added = await register(http, " Priya ", PRIYA, **desk)
    assert (added.status_code, added.json()) == (
        200,
        {"success": True, "speaker": "Priya", "message": "Registered successfully"},
    )
    (await register(http, "Rahul", RAHUL, **desk)).raise_for_status()
    found = (await http.get(LIST, params=desk)).json()
    assert set(found) == {"speakers"}
    assert [(each["name"], each["project"]) for each in found["speakers"]] == [("Priya", "desk"), ("Rahul", "desk")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each["registered_at"]) for each in found["speakers"])
    assert await identify(http, RAHUL, **desk) == {"speaker": "Rahul", "confidence": 1.0}
    assert await identify(http, 2800, **desk) == {"speaker": "unknown", "confidence": 0.0}
    gone = await http.request("DELETE", DELETE, data={"name": "Rahul", **desk})
    assert (gone.status_code, gone.json()) == (200, {"success": True})
    assert await listed(http, **desk) == ["Priya"]
    assert (await identify(http, RAHUL, **desk))["speaker"] == "unknown"
    assert nothing_is_kept(server)


async def test_another_key_and_another_project_see_nothing(server: Running) -> None:
    async with client_of(server, KEYS[0]) as owner, client_of(server, KEYS[1]) as other:
        await register(owner, "Priya", PRIYA, project="desk")
        for client, project in ((other, "desk"), (owner, ""), (owner, "shop")):
            assert await listed(client, project=project) == []
            assert await identify(client, PRIYA, project=project) == {"speaker": "unknown", "confidence": 0.0}
            missing = await client.request("DELETE", DELETE, data={"name": "Priya", "project": project})
            assert missing.status_code == 404
            assert "there is no speaker 'Priya'" in missing.json()["detail"]
        assert (await register(other, "Priya", RAHUL, project="desk")).status_code == 200
        assert await listed(owner, project="desk") == ["Priya"]


async def test_who_names_no_project_has_one_too(http: httpx2.AsyncClient) -> None:
    await register(http, "Priya", PRIYA)
    assert (await http.get(LIST)).json()["speakers"][0]["project"] == ""
    assert (await identify(http, PRIYA, project=" "))["speaker"] == "Priya"


async def test_a_name_that_is_known_gets_a_further_sample_of_the_same_voice(http: httpx2.AsyncClient) -> None:
    await register(http, "Priya", PRIYA)
    again = await register(http, "Priya", PRIYA)
    assert again.json()["message"] == "Registered successfully; there are 2 samples now"
    other = await register(http, "Priya", RAHUL)
    assert other.status_code == 409
    assert "another voice is registered as 'Priya'" in other.json()["detail"]
    assert await listed(http) == ["Priya"]


async def test_a_change_of_model_is_said(http: httpx2.AsyncClient, models: Models) -> None:
    await register(http, "Priya", PRIYA)
    await register(http, "Rahul", RAHUL)
    models.of_voices = ToneEmbedder("new")
    found = (await http.get(LIST)).json()
    assert [each["name"] for each in found["speakers"]] == ["Priya", "Rahul"]
    assert found["message"] == (
        "registered with another model than new, and not recognized until registered again: Priya, Rahul"
    )
    assert await identify(http, PRIYA) == {"speaker": "unknown", "confidence": 0.0}
    again = (await register(http, "Priya", PRIYA)).json()["message"]
    assert again == "Registered successfully; 1 of another model than new are not used"
    assert (await http.get(LIST)).json()["message"].endswith("again: Rahul")
    assert (await identify(http, PRIYA))["speaker"] == "Priya"


@pytest.mark.parametrize(
    ("path", "form", "files", "detail"),
    [
        (REGISTER, {"project": "desk"}, wav(voice(PRIYA, 3)), "name is missing"),
        (REGISTER, {"name": "Priya"}, {}, "file is missing"),
        (REGISTER, {"name": "Priya", "voice": "x"}, wav(voice(PRIYA, 3)), "voice"),
        (REGISTER, {"name": "x" * 201}, wav(voice(PRIYA, 3)), "200"),
        (REGISTER, {"name": "a\nb"}, wav(voice(PRIYA, 3)), "not printed"),
        (REGISTER, {"name": "\u200d"}, wav(voice(PRIYA, 3)), "not printed"),
        (REGISTER, {"name": "unknown\u200d"}, wav(voice(PRIYA, 3)), "take another name"),
        (REGISTER, {"name": "speaker_00"}, wav(voice(PRIYA, 3)), "take another name"),
        (REGISTER, {"name": "Unknown"}, wav(voice(PRIYA, 3)), "take another name"),
        (REGISTER, {"name": "Priya"}, wav(silence(3)), "no speech is heard"),
        (REGISTER, {"name": "Priya"}, wav(silence(1), voice(PRIYA, 0.2)), "0.2 s .* at least 2 s"),
        (REGISTER, {"name": "Priya"}, wav(voice(PRIYA, 3), voice(RAHUL, 4)), r"2 voices .* \(4.0 s, 3.0 s\)"),
        (REGISTER, {"name": "Priya"}, {"file": b"no sound at all"}, "audio"),
        (REGISTER, {"name": "Priya"}, {"file": PICTURE}, "audio"),
        (REGISTER, {"name": "Priya"}, {"file": DAMAGED}, "."),
        (IDENTIFY, {"project": "desk"}, {}, "file is missing"),
        (IDENTIFY, {"project": "a\tb"}, wav(voice(PRIYA, 3)), "not printed"),
        (IDENTIFY, {"name": "Priya"}, wav(voice(PRIYA, 3)), "name"),
        (IDENTIFY, {}, wav(voice(PRIYA, 0.5)), "0.5 s .* at least 1 s"),
        (IDENTIFY, {}, wav(silence(3)), "no speech is heard"),
        (IDENTIFY, {}, wav(voice(PRIYA, 3), voice(RAHUL, 3)), "2 voices"),
    ],
)
async def test_what_is_refused(
    http: httpx2.AsyncClient, server: Running, path: str, form: dict[str, str], files: Any, detail: str
) -> None:
    answer = await http.post(path, data=form, files=files or {"file": ("", b"")})
    assert answer.status_code == 400
    assert set(answer.json()) == {"detail", "request_id"}
    assert re.search(detail, answer.json()["detail"])
    assert await listed(http) == []
    assert nothing_is_kept(server)


@pytest.mark.parametrize("name", ["ශ්\u200dරී", "علی\u200cرضا", "Zoë Müller-O'Hara", "प्रिया"])
async def test_names_of_every_language(http: httpx2.AsyncClient, name: str) -> None:
    assert (await register(http, name, PRIYA)).status_code == 200
    assert await listed(http) == [name]
    assert (await identify(http, PRIYA))["speaker"] == name


async def test_a_name_or_a_project_has_to_be_proper_everywhere(http: httpx2.AsyncClient) -> None:
    for request in (
        http.request("DELETE", DELETE, data={"project": "desk"}),
        http.request("DELETE", DELETE, data={"name": "a\x07b"}),
        http.get(LIST, params={"project": "x" * 201}),
        http.get(LIST, params={"project": "\x00"}),
        http.get(LIST, params={"name": "Priya"}),
    ):
        answer = await request
        assert (answer.status_code, set(answer.json())) == (400, {"detail", "request_id"})


async def test_a_key_is_needed(server: Running) -> None:
    async with client_of(server, "sk-wrong") as stranger:
        for answer in (
            await register(stranger, "Priya", PRIYA),
            await stranger.get(LIST),
            await stranger.post(IDENTIFY, files=wav(voice(PRIYA, 3))),
            await stranger.request("DELETE", DELETE, data={"name": "Priya"}),
        ):
            assert answer.status_code == 401


async def test_a_file_that_is_too_large(models: Models, tmp_path: Path) -> None:
    async with (
        running_server(FakeRecognizer(), data_dir=tmp_path, job_worker="elsewhere", max_upload_bytes=50_000) as server,
        client_of(server) as http,
    ):
        answer = await register(http, "Priya", PRIYA)
        assert answer.status_code == 413
        assert nothing_is_kept(server)


async def test_what_is_heard_counts_among_the_hours_of_the_key(models: Models, tmp_path: Path) -> None:
    async with (
        running_server(
            FakeRecognizer(), data_dir=tmp_path, job_worker="elsewhere", api_keys=KEYS, audio_hours_per_day=4 / 3600
        ) as server,
        client_of(server) as http,
    ):
        answers = [await register(http, "Priya", PRIYA) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert "hours of audio" in answers[-1].json()["detail"]
        assert await listed(http) == ["Priya"]


async def test_only_so_many_are_listened_to_at_once(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    models.of_voices = gated = GatedEmbedder()
    async with (
        running_server(FakeRecognizer(), data_dir=tmp_path, job_worker="elsewhere") as server,
        client_of(server) as http,
    ):
        first = asyncio.create_task(register(http, "Priya", PRIYA))
        await asyncio.to_thread(gated.busy.acquire)
        refused = await http.post(IDENTIFY, files=wav(voice(PRIYA, 3)))
        assert refused.status_code == 503
        assert "too many recordings are being listened to" in refused.json()["detail"]
        assert int(refused.headers["Retry-After"]) >= 1
        gated.gate.set()
        assert (await first).status_code == 200
        assert (await identify(http, PRIYA))["speaker"] == "Priya"
        assert nothing_is_kept(server)


async def test_who_hangs_up_registers_nobody(models: Models, server: Running, http: httpx2.AsyncClient) -> None:
    models.of_voices = gated = GatedEmbedder()
    asking = asyncio.create_task(register(http, "Priya", PRIYA))
    await asyncio.to_thread(gated.busy.acquire)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    while not nothing_is_kept(server):
        await asyncio.sleep(0.01)
    gated.gate.set()
    models.of_voices = ToneEmbedder()
    await register(http, "Rahul", RAHUL)
    assert await listed(http) == ["Rahul"]


async def test_a_model_that_fails_is_not_the_callers_fault(models: Models, http: httpx2.AsyncClient) -> None:
    models.of_voices = FailingEmbedder()
    answer = await register(http, "Priya", PRIYA)
    assert answer.status_code == 503
    assert answer.json()["detail"] == "the model of voices has failed; the server's log says why"


async def test_a_model_that_takes_long_to_load_takes_one_thread(models: Models, http: httpx2.AsyncClient) -> None:
    await register(http, "Priya", PRIYA)
    assert models.asked.acquire(blocking=False)
    models.gate = threading.Event()
    first = asyncio.create_task(http.get(LIST))
    await asyncio.to_thread(models.asked.acquire)
    others = [asyncio.create_task(http.get(LIST)) for _ in range(THREADS + 8)]
    for _ in range(4):  # each of these needs a thread, and comes after the others
        assert (await http.request("DELETE", DELETE, data={"name": "Rahul"})).status_code == 404
    models.gate.set()
    assert {answer.status_code for answer in await asyncio.gather(first, *others)} == {200}


async def test_a_server_that_takes_no_recordings() -> None:
    async with running_server(FakeRecognizer()) as server, client_of(server) as http:
        for answer in (
            await register(http, "Priya", PRIYA),
            await http.get(LIST),
            await http.post(IDENTIFY, files=wav(voice(PRIYA, 3))),
            await http.request("DELETE", DELETE, data={"name": "Priya"}),
        ):
            assert answer.status_code == 422
            assert "job_worker is off" in answer.json()["detail"]


async def test_where_voices_are_not_recognized_they_can_still_be_deleted(
    models: Models, server: Running, tmp_path: Path
) -> None:
    async with client_of(server) as http:
        await register(http, "Priya", PRIYA)
    settings: dict[str, Any] = {"data_dir": tmp_path, "job_worker": "elsewhere", "api_keys": KEYS}
    async with (
        running_server(FakeRecognizer(), speaker_embedding="off", **settings) as other,
        client_of(other) as http,
    ):
        for refused in (await register(http, "Rahul", RAHUL), await http.post(IDENTIFY, files=wav(voice(PRIYA, 3)))):
            assert refused.status_code == 422
            assert "speaker_embedding=off" in refused.json()["detail"]
        found = (await http.get(LIST)).json()
        assert [each["name"] for each in found["speakers"]] == ["Priya"]
        assert "none of them is recognized" in found["message"]
        assert (await http.request("DELETE", DELETE, data={"name": "Priya"})).status_code == 200
        assert (await http.get(LIST)).json() == {"speakers": []}


async def test_where_files_are_diarized_elsewhere_samples_are_looked_over_here(models: Models, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data_dir": tmp_path, "job_worker": "elsewhere", "diarizer": "somebody/sortformer"}
    async with running_server(FakeRecognizer(), **settings) as server, client_of(server) as http:
        refused = await http.post(REGISTER, data={"name": "Priya"}, files=wav(voice(PRIYA, 3), voice(RAHUL, 3)))
        assert (refused.status_code, len(models.of_turns.opened)) == (400, 1)


async def test_without_a_diarizer_voices_are_not_counted(models: Models, tmp_path: Path) -> None:
    async with (
        running_server(FakeRecognizer(), data_dir=tmp_path, job_worker="elsewhere", diarizer="off") as server,
        client_of(server) as http,
    ):
        noise = np.random.default_rng(1).normal(0, 0.2, 3 * RATE).astype(np.float32)
        answer = await http.post(REGISTER, data={"name": "Priya"}, files=wav(silence(2), noise, voice(PRIYA, 3)))
        assert answer.status_code == 200, answer.json()
        assert models.of_turns.opened == []
