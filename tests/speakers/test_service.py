"""Which model a setting means, and that each is loaded once, when it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from stream_server.engine.moonshine.asset import AssetError
from stream_server.settings import Settings
from stream_server.speakers import service
from stream_server.speakers.community.analysis import Analyzer
from stream_server.speakers.community.diarizer import CommunityDiarizer
from stream_server.speakers.diarizer import DiarizerError
from stream_server.speakers.embedder import Embedder, EmbedderError
from stream_server.speakers.live import LiveDiarization
from stream_server.speakers.process import ProcessDiarizer
from stream_server.speakers.service import Speakers, load_community, load_speakers
from tests.support.tone import ToneEmbedder


class Loading:
    """A load that is counted. ``error``: what it raises; ``gate``: it waits until so many have asked."""

    def __init__(self, model: object, error: Exception | None = None) -> None:
        self.model = model
        self.error = error
        self.times = 0
        self.began = threading.Event()
        self.gate: threading.Event | None = None

    def __call__(self, *_: object) -> Any:
        self.times += 1
        self.began.set()
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return self.model


@pytest.fixture
def analyzer(monkeypatch: pytest.MonkeyPatch) -> Loading:
    loading = Loading(Analyzer(cast(Any, None), cast(Any, None)))
    monkeypatch.setattr(service, "_load_analyzer", loading)
    return loading


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> Loading:
    loading = Loading(ToneEmbedder())
    monkeypatch.setattr(service, "load_embedder", loading)
    return loading


@pytest.fixture
def speakers(analyzer: Loading, embedder: Loading) -> Iterator[Speakers]:
    made = load_speakers(Settings())
    yield made
    made.close()


def asked(speakers: Speakers) -> tuple[Callable[[], object], ...]:
    return speakers.diarizer, speakers.embedded_diarizer, speakers.live


def test_nothing_is_loaded_until_it_is_asked_for(speakers: Speakers, analyzer: Loading, embedder: Loading) -> None:
    assert (analyzer.times, embedder.times) == (0, 0)
    speakers.embedder()
    assert (analyzer.times, embedder.times) == (0, 1)


def test_a_model_is_loaded_once_for_all(speakers: Speakers, analyzer: Loading, embedder: Loading) -> None:
    for _ in range(3):
        assert isinstance(speakers.diarizer(), CommunityDiarizer)
        assert isinstance(speakers.embedded_diarizer(), CommunityDiarizer)
        assert isinstance(speakers.live(), LiveDiarization)
        assert speakers.embedder() is embedder.model
    assert (analyzer.times, embedder.times) == (1, 1)
    assert speakers.diarizer() is speakers.diarizer()
    assert speakers.live() is not speakers.live(), "one for each channel"


def test_many_who_ask_at_once_wait_for_one_load(speakers: Speakers, analyzer: Loading) -> None:
    analyzer.gate = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(ask) for ask in asked(speakers) * 2]
        assert analyzer.began.wait(10)
        analyzer.gate.set()
        assert all(each.result(10) for each in waiting)
    assert analyzer.times == 1


def test_who_wants_another_model_does_not_wait(speakers: Speakers, analyzer: Loading, embedder: Loading) -> None:
    analyzer.gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(speakers.live)
        assert analyzer.began.wait(10)
        assert speakers.embedder() is embedder.model
        assert not waiting.done()
        analyzer.gate.set()
        waiting.result(10)


def test_a_load_that_has_failed_is_tried_again(speakers: Speakers, analyzer: Loading, embedder: Loading) -> None:
    analyzer.error = DiarizerError("not now")
    for number, ask in enumerate(asked(speakers), 1):
        with pytest.raises(DiarizerError, match="not now"):
            ask()
        assert analyzer.times == number
    analyzer.error = None
    for ask in asked(speakers):
        assert ask()
    assert analyzer.times == 4

    embedder.error = EmbedderError("not now")
    with pytest.raises(EmbedderError, match="not now"):
        speakers.embedder()
    embedder.error = None
    model: Embedder = speakers.embedder()
    assert model is embedder.model


def test_who_waits_for_a_load_that_fails_does_not_begin_another(
    embedder: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = threading.Semaphore(0)

    class WatchedLock:
        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            came.release()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    monkeypatch.setattr(service, "Lock", WatchedLock)
    speakers = load_speakers(Settings())
    embedder.error, embedder.gate = EmbedderError("not now"), threading.Event()
    with ThreadPoolExecutor(8) as threads:
        all_of_them = [threads.submit(speakers.embedder) for _ in range(8)]
        for _ in all_of_them:
            assert came.acquire(timeout=10)
        embedder.gate.set()
        for each in all_of_them:
            with pytest.raises(EmbedderError, match="not now"):
                each.result(10)
    assert embedder.times == 1
    embedder.error = None
    assert speakers.embedder() is embedder.model


class Crowd:
    """A lock that says when so many have come to it."""

    def __init__(self, many: int) -> None:
        self._lock = threading.Lock()
        self._left = many
        self.complete = threading.Event()

    def __enter__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.complete.set()
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def test_those_who_waited_for_a_load_that_fails_have_failed_too() -> None:
    """Not each of them after another attempt, which may take minutes."""
    loading = Loading("a model", DiarizerError("not now"))
    loading.gate = threading.Event()
    once = service._Once(loading)
    crowd = Crowd(5)
    once._lock = cast(Any, crowd)
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(once.get) for _ in range(5)]
        assert crowd.complete.wait(10)
        loading.gate.set()
        for each in waiting:
            with pytest.raises(DiarizerError, match="not now"):
                each.result(10)
    assert loading.times == 1
    loading.error = None
    assert once.get() == "a model"
    assert loading.times == 2


def test_apart_means_in_another_process(analyzer: Loading) -> None:
    """But for short samples and live callers, which wait for an answer."""
    speakers = load_speakers(Settings(), apart=True)
    diarizer = speakers.diarizer()
    assert isinstance(diarizer, ProcessDiarizer)
    assert diarizer.name == CommunityDiarizer.name
    assert analyzer.times == 0, "the other process loads it"
    assert isinstance(speakers.embedded_diarizer(), CommunityDiarizer)
    assert isinstance(speakers.live(), LiveDiarization)
    speakers.close()


def test_closing_ends_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[ProcessDiarizer] = []
    monkeypatch.setattr(ProcessDiarizer, "close", lambda diarizer: closed.append(diarizer))
    speakers = load_speakers(Settings(), apart=True)
    speakers.close()
    assert closed == []
    diarizer = speakers.diarizer()
    speakers.close()
    assert closed == [diarizer]


def test_what_is_switched_off_says_so(analyzer: Loading) -> None:
    for apart in (False, True):
        with pytest.raises(DiarizerError, match=r"switched off on this server \(diarizer=off\)"):
            load_speakers(Settings(diarizer="off"), apart=apart).diarizer()
    with pytest.raises(EmbedderError, match="speaker_embedding=off"):
        load_speakers(Settings(speaker_embedding="off")).embedder()


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the gpu extra is not installed")
    with pytest.raises(DiarizerError, match="nothing' is neither a folder nor the name of a hub repository"):
        load_speakers(Settings(diarizer=str(tmp_path / "nothing"), device="cpu")).diarizer()


def test_models_that_are_not_installed_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> bytes:
        raise AssetError("pip install it")

    monkeypatch.setattr("stream_server.speakers.community.network.segmentation_model", missing)
    for ask in (*asked(load_speakers(Settings())), load_community):
        with pytest.raises(DiarizerError, match="pip install it"):
            ask()
