"""What tests in several folders start once and share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from stream_server.jobs.database import open_database
from stream_server.settings import Settings
from tests.support.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    is_postgres = getattr(request, "param", "sqlite") == "postgres"
    url = request.getfixturevalue("postgres").new_database() if is_postgres else ""
    return Settings.load({}, data_dir=tmp_path, database_url=url)


@pytest.fixture
def database(settings: Settings) -> Iterator[sa.Engine]:
    engine = open_database(settings)
    yield engine
    engine.dispose()
