"""Every way in which a recording comes in over HTTP, and what becomes of it, in one form for all dialects."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

PAUSE_SEC: Final = 0.02

_OPENAI: Final = (frozenset({"error", "detail", "request_id"}), ("error", "code"))
_LESAN: Final = (frozenset({"error", "request_id"}), ("error", "code"))
_FLAT: Final = (frozenset({"error", "code"}), ("code",))


@dataclass(frozen=True)
class Surface:
    """``file``: the field of a form in which the file is; empty where the body is the file, ``path`` too where that
    goes to a signed address. ``address``: the field of a URL. ``values``: what has to be said. ``shape``: the fields
    of an error, and where among them its code is."""

    path: str
    shape: tuple[frozenset[str], tuple[str, ...]]
    file: str = ""
    address: str = ""
    values: dict[str, str] = field(default_factory=dict)
    takes_callback: bool = False

    def send(self, client: httpx2.Client, content: bytes | Iterable[bytes], name: str = "a.wav") -> httpx2.Response:
        """Send a file; one in pieces where the body is the file, for a form needs all of it."""
        if self.file:
            return client.post(self.path, data=self.values, files={self.file: (name, content)})
        if self.path:
            return client.post(self.path, params=self.values, content=content, headers={"X-Filename": name.encode()})
        signed = client.get("/v1/uploads/signed-url", params={"filename": name})
        return client.put(signed.json()["upload_url"], content=content)

    def ask(self, client: httpx2.Client, content: bytes, **values: str) -> httpx2.Response:
        """The same with other parameters."""
        if self.file:
            return client.post(self.path, data=self.values | values, files={self.file: ("a.wav", content)})
        return client.post(self.path, params=self.values | values, content=content)

    def point(self, client: httpx2.Client, url: str, **more: str) -> httpx2.Response:
        """Name an address in place of a file."""
        value: Any = [url] if self.address == "audio_urls" else url
        return client.post(self.path, json=self.values | {self.address: value} | more)

    def outcome(self, client: httpx2.Client, answer: httpx2.Response) -> str:
        """``completed``, or the code of the error, whenever that comes."""
        if answer.status_code >= 400:
            return self.code(answer)
        values = answer.json()
        if "file_id" in values:
            order = {"audio_url": f"upload://{values['file_id']}"}
            values = client.post("/v1/transcriptions", json=order).json()
        job = values.get("job_id") or ("status" in values and values["id"])
        if not job:
            return "completed"
        if self.path.endswith("batch"):
            (entry,) = client.get(f"/v1/transcriptions/{job}").json()["metadata"]["jobs"]
            job = entry["job_id"]
        while (found := client.get(f"/v1/transcription-jobs/{job}").json())["status"] in ("queued", "processing"):
            time.sleep(PAUSE_SEC)
        return found["error"]["code"] if found["status"] == "failed" else str(found["status"])

    def code(self, answer: httpx2.Response) -> str:
        """The code of an error, which has the shape of the dialect."""
        fields, place = self.shape
        values = answer.json()
        assert set(values) >= fields, values
        assert answer.headers["x-request-id"]
        for name in place:
            values = values[name]
        return str(values)


WHISPER: Final = {"model": "whisper-1"}
SURFACES: Final = {
    "openai": Surface("/v1/audio/transcriptions", _OPENAI, "file", "url", WHISPER),
    "audiotext": Surface("/v1/transcription-jobs", _OPENAI, "file", "url", WHISPER, True),
    "lesan": Surface("/v1/transcriptions", _LESAN, "file", "audio_url", {}, True),
    "batch": Surface("/v1/transcriptions/batch", _LESAN, "files", "audio_urls", {}, True),
    "lightning": Surface("/v1/listen", _FLAT, "audio", "url", {}, True),
    "asr": Surface("/asr2", _FLAT),
    "translate": Surface("/translate", _FLAT, values={"target_langs": "en"}),
    "upload": Surface("", _LESAN),
}
