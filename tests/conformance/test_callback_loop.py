"""A callback that is sent to a server of ours makes no job there, whose callback would make the next."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import httpx2

from tests.support.clip import clip
from tests.support.fake import FakeRecognizer
from tests.support.hosting import hosted_server
from tests.support.receiver import running_receiver

JOBS: Final = "/v1/transcriptions"
PAUSE_SEC: Final = 0.02
MAKING: Final = (
    "/v1/audio/transcriptions?model=whisper-1&url={url}",
    "/v1/transcription-jobs?model=whisper-1&url={url}",
    "/v1/transcriptions?audio_url={url}",
    "/v1/transcriptions/batch?audio_urls={url}",
    "/v1/listen?url={url}",
    "/asr2",
    "/translate?target_langs=en",
)


def finished(client: httpx2.Client, job: str) -> dict[str, Any]:
    """The job when its callback has been tried."""
    while True:
        found: dict[str, Any] = client.get(f"{JOBS}/{job}").json()
        if found["callback"]["status"] not in ("waiting", "pending"):
            return found
        time.sleep(PAUSE_SEC)


def test_nothing_follows_from_a_callback(tmp_path: Path) -> None:
    """Where nobody needs a key, and the server may call itself."""
    settings = {"allowed_hosts": ("127.0.0.0/8",), "callback_attempts": 1}
    with (
        running_receiver() as web,
        hosted_server(FakeRecognizer(), data_dir=tmp_path, job_worker="inline", **settings) as server,
        httpx2.Client(base_url=server.http_url, trust_env=False, timeout=60) as client,
    ):
        web.files["/a.wav"] = clip()
        address = f"{web.url}/a.wav"
        made = []
        for path in MAKING:
            order = {"audio_url": address, "callback_url": server.http_url + path.format(url=address)}
            made.append(client.post(JOBS, json=order).json()["id"])
        for job in made:
            told = finished(client, job)["callback"]
            assert (told["status"], told["last_status"], told["attempts"]) == ("failed", 400, 1)
        assert [found["id"] for found in client.get(JOBS).json()["data"]] == made[::-1]
