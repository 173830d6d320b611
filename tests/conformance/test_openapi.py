"""What ``/openapi.json`` promises is what the server does, whatever it is sent; and it says all there is to say.

Left out: the WebSocket, which the document does not describe (see protocol/asyncapi.yaml).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup

from stream_server.app import create_app
from stream_server.settings import Settings
from stream_server.jobs.database import open_database, read_secret
from stream_server.keys import KeyStore
from tests.support.clip import DAMAGED, PICTURE, clip
from tests.support.fake import FakeRecognizer
from tests.support.hosting import hosted_server
from tests.support.running import Running

KEY: Final = "sk-all"
FILES: Final = (clip(), clip(0.2, kind="FLAC"), DAMAGED, PICTURE, b"")

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")

BOUNDED = settings(
    max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

schemathesis.openapi.format("binary", st.sampled_from(FILES))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("openapi")
    with hosted_server(FakeRecognizer(), data_dir=folder, job_worker="inline", api_keys=(KEY,)) as running:
        yield running




SCHEMA = schemathesis.openapi.from_dict(
    create_app(Settings.load({}, data_dir=Path("does-not-exist"), job_worker="off"), FakeRecognizer()).openapi()
)
SCHEMA.config.checks.update(excluded_check_names=["positive_data_acceptance"])


@SCHEMA.parametrize()
@BOUNDED
def test_whatever_is_sent(case: schemathesis.Case, server: Running) -> None:
    case.call_and_validate(server.http_url, headers={"Authorization": f"Bearer {KEY}"})
