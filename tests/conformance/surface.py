"""Every way in which a recording comes in over HTTP, and what becomes of it, in one form for all dialects."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

PAUSE_SEC: Final = 0.02


@dataclass(frozen=True)
class Surface:
    """``field``: of a form, where the file is; None where the body is the file. ``address``: the field of a URL."""

    path: str
    field: str | None
    address: str | None = None
    values: dict[str, str] = field(default_factory=dict)
    callback: bool = False
    job: str = ""
    """Where a job is asked about, if one is made."""

    def send(self, client: httpx2.Client, content: bytes | Iterable[bytes], name: str = "a.wav") -> httpx2.Response:
        if self.field is not None:
            return client.post(self.path, data=self.values, files={self.field: (name, content)})
        if self.path:
            headers = {"X-Filename": name} if name.isascii() else {}
            return client.post(self.path, params=self.values, content=content, headers=headers)
        address = client.get("/v1/uploads/signed-url", params={"filename": name}).json()["upload_url"]
        return client.put(address, content=content)

    def post(self, client: httpx2.Client, **values: Any) -> httpx2.Response:
        """Parameters alone, as a form, or in the query where the body is the file."""
        if self.field is not None:
            return client.post(self.path, data=self.values | values)
        return client.post(self.path, params=self.values | values, content=b"RIFF0000WAVE")

    def point(self, client: httpx2.Client, url: str, **more: str) -> httpx2.Response:
        """Name an address in place of a file."""
        assert self.address is not None
        value: Any = [url] if self.address.endswith("s") else url
        return client.post(self.path, json=self.values | {self.address: value} | more)

    def outcome(self, client: httpx2.Client, answer: httpx2.Response) -> str:
        """``completed``, or the code of the error, whenever it comes; the error has the shape of the dialect."""
        if answer.status_code >= 400:
            return self.code(answer)
        values = answer.json()
        if not self.job:
            return "completed"
        job = values.get("id") or values.get("job_id")
        while (found := client.get(self.job.format(job)).json())["status"] in ("queued", "processing"):
            time.sleep(PAUSE_SEC)
        if self.path.endswith("batch"):
            (entry,) = found["metadata"]["jobs"]
            found = client.get(f"/v1/transcriptions/{entry['job_id']}").json()
        if found["status"] == "completed":
            return "completed"
        return str(client.get(f"/v1/transcription-jobs/{job}").json()["error"]["code"]) if not found[
            "error"
        ] or isinstance(found["error"], str) else str(found["error"]["code"])

    def code(self, answer: httpx2.Response) -> str:
        """The code of an error, which has the shape of the dialect and says nothing of ours."""
        values = answer.json()
        assert "Traceback" not in answer.text
        shape, place = SHAPES[self.path]
        assert set(values) >= shape, values
        assert answer.headers["x-request-id"]
        for name in place:
            values = values[name]
        return str(values)


_OPENAI: Final = ({"error", "detail", "request_id"}, ("error", "code"))
_LESAN: Final = ({"error", "request_id"}, ("error", "code"))
_FLAT: Final = ({"error", "code"}, ("code",))
SHAPES: Final[dict[str, tuple[set[str], tuple[str, ...]]]] = {
    "/v1/audio/transcriptions": _OPENAI,
    "/v1/transcription-jobs": _OPENAI,
    "/v1/transcriptions": _LESAN,
    "/v1/transcriptions/batch": _LESAN,
    "/v1/media/probe": _LESAN,
    "": _LESAN,
    "/v1/listen": _FLAT,
    "/asr2": _FLAT,
    "/translate": _FLAT,
}

SURFACES: Final = {
    "openai": Surface("/v1/audio/transcriptions", "file", "url", {"model": "whisper-1"}),
    "audiotext": Surface(
        "/v1/transcription-jobs", "file", "url", {"model": "whisper-1"}, True, "/v1/transcription-jobs/{}"
    ),
    "lesan": Surface("/v1/transcriptions", "file", "audio_url", {}, True, "/v1/transcriptions/{}"),
    "batch": Surface("/v1/transcriptions/batch", "files", "audio_urls", {}, True, "/v1/transcriptions/{}"),
    "lightning": Surface("/v1/listen", "audio", "url", {}, True),
    "luxasr": Surface("/asr2", None, job="/v3/asr/jobs/{}"),
    "translate": Surface("/translate", None, values={"target_langs": "en"}, job="/v3/translate/jobs/{}"),
    "put": Surface("", None),
}
Check = Callable[[httpx2.Response], None]
