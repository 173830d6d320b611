"""Where the examples of the documents are played: a server with the real model, recordings, and the web around it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import soundfile

from stream_server.engine.moonshine.asset import find_assets
from stream_server.engine.moonshine.recognizer import MoonshineRecognizer, MoonshineSettings
from stream_server.engine.recognizer import Task
from stream_server.engine.work import Hypothesis
from tests.support.hosting import hosted_server
from tests.support.receiver import Receiver, running_receiver
from tests.support.running import Running
from tests.support.speech import recording

LANGUAGES = ("en", "am", "ca", "hi", "lb", "ti")
"""The recordings are English; who asks for another of these gets what the model makes of it."""

SAID = "ever failed"
"""What the recordings have in them, in small letters."""


class HeldRecognizer(MoonshineRecognizer):
    """The real model, said to speak the languages of a document; it does nothing while ``gate`` is closed."""

    def __init__(self, languages: tuple[str, ...]) -> None:
        super().__init__(find_assets(), MoonshineSettings())
        self.info = replace(self.info, languages=languages)
        self.gate = threading.Event()
        self.gate.set()

    def step(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        assert self.gate.wait(60)
        return super().step(tasks)


@dataclass(frozen=True)
class Stage:
    """``folder`` is where the examples are run; its recordings are also on ``web``, which takes callbacks too."""

    server: Running
    recognizer: HeldRecognizer
    web: Receiver
    folder: Path

    @property
    def url(self) -> str:
        return self.server.http_url

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def get(self, path: str, headers: Mapping[str, str]) -> httpx2.Response:
        with httpx2.Client(base_url=self.url, trust_env=False) as client:
            return client.get(path, headers=headers)

    def post(self, path: str, headers: Mapping[str, str], **body: Any) -> httpx2.Response:
        with httpx2.Client(base_url=self.url, trust_env=False, timeout=60) as client:
            return client.post(path, headers=headers, **body)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is recognized until the block ends."""
        self.recognizer.gate.clear()
        try:
            yield
        finally:
            self.recognizer.gate.set()


@contextmanager
def staged(
    folder: Path,
    names: Sequence[str],
    *,
    languages: tuple[str, ...],
    dialogues: Sequence[str] = (),
    **settings: Any,
) -> Iterator[Stage]:
    """A stage with recordings called ``names``, such as ``audio.mp3``, and of two people talking, ``dialogues``. They
    are English; who asks for another of the ``languages`` gets what the model makes of that."""
    place = folder / "recordings"
    place.mkdir()
    for name in names:
        soundfile.write(place / name, recording("beckett.wav"), 16_000)
    for name in dialogues:
        soundfile.write(place / name, recording("endgame_nagg_nell.wav"), 16_000)
    recognizer = HeldRecognizer(languages)
    with (
        running_receiver() as web,
        hosted_server(
            recognizer, data_dir=folder / "data", job_worker="inline", allowed_hosts=("127.0.0.0/8",), **settings
        ) as server,
    ):
        web.files |= {f"/{name}": (place / name).read_bytes() for name in (*names, *dialogues)}
        yield Stage(server, recognizer, web, place)
