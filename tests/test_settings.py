"""Settings from the environment and from overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from stream_server.settings import Settings, SettingsError


def test_the_environment_and_what_wins_over_it() -> None:
    environ = {
        "STREAM_SERVER_PORT": "9000",
        "STREAM_SERVER_HOST": "0.0.0.0",
        "STREAM_SERVER_API_KEYS": "one, two,,",
        "STREAM_SERVER_DATA_DIR": "/data",
        "PATH": "/bin",
    }
    settings = Settings.load(environ, host="127.0.0.1", port=None)
    assert (settings.host, settings.port) == ("127.0.0.1", 9000)
    assert settings.api_keys == ("one", "two")
    assert settings.data_dir == Path("/data")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("STREAM_SERVER_PROT", "1", "unknown setting prot (STREAM_SERVER_PROT)"),
        ("STREAM_SERVER_PORT", "many", "setting port: .*'many'"),
        ("STREAM_SERVER_PORT", "70000", "setting port"),
        ("STREAM_SERVER_VAD", "ears", "setting vad"),
        ("STREAM_SERVER_MAX_SESSIONS", "0", "setting max_sessions"),
        ("STREAM_SERVER_INIT_TIMEOUT", "-1", "setting init_timeout: it has to be greater than 0, got '-1'"),
        ("STREAM_SERVER_ALLOWED_ORIGINS", "a.example", "setting allowed_origins: an origin is written https://"),
        ("STREAM_SERVER_TRUSTED_PROXIES", "::1,10.0.0.0/99", "setting trusted_proxies: an address or a network"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words.replace("(", r"\(").replace(")", r"\)")):
        Settings.load({name: value})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings.load({}).port = 1


def test_the_engine_has_room_for_a_second_channel_of_every_caller() -> None:
    settings = Settings.load({}, max_sessions=10, max_backlog=7)
    assert settings.engine.max_streams >= 20
    assert settings.engine.max_backlog_sec == 7


def test_settings_travel_to_a_process_of_their_own(tmp_path: Path) -> None:
    given = Settings.load(
        {"STREAM_SERVER_API_KEYS": "a,b"},
        data_dir=tmp_path,
        secret="a secret",
        allowed_hosts=("10.0.0.0/8", "files.internal"),
        max_jobs=3,
        job_retention=0.5,
    )
    assert Settings.load(given.environment()) == given
    assert Settings.load({}).environment() == {}, "defaults are the other's own"
