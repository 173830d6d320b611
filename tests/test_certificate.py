"""TLS: a server with a certificate of its own, who trusts it, and what is said about files that are none."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import soundfile

from stream_client import StreamClient, StreamClientError
from stream_protocol.events import FinalSegment
from stream_server.certificate import CertificateError, tls_context
from tests.protocol.sound import synthesize
from tests.support.certificate import Pair, make_pair
from tests.support.fake import FakeRecognizer
from tests.support.process import free_port
from tests.support.running import Running, running_server
from tests.support.speech import pcm


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("tls"))


def addresses(server: Running) -> tuple[str, str]:
    return f"wss://127.0.0.1:{server.port}/ws", f"https://127.0.0.1:{server.port}"


async def test_https_and_wss(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    trusting = ssl.create_default_context(cafile=pair.certificate)
    caplog.set_level("INFO")
    async with running_server(FakeRecognizer(), tls_certificate=pair.certificate, tls_key=pair.key) as server:
        wss, https = addresses(server)
        assert f"on {https}" in caplog.text
        async with httpx2.AsyncClient(verify=trusting, trust_env=False) as client:
            assert (await client.get(f"{https}/readyz")).json()["status"] == "ready"
            own = await client.get(f"{https}/healthz", headers={"Origin": https})
            assert own.status_code == 200
            insecure = await client.get(f"{https}/healthz", headers={"Origin": https.replace("https", "http")})
            assert insecure.status_code == 403
        async with StreamClient(wss, ssl_context=trusting) as stream:
            await stream.send(pcm(synthesize("speech", 16_000, 16_000)))
            await stream.end()
            finals = [event async for event in stream if isinstance(event, FinalSegment)]
        assert [final.text != "" for final in finals] == [True]


async def test_who_does_not_trust_it_is_told(pair: Pair) -> None:
    async with running_server(FakeRecognizer(), tls_certificate=pair.certificate, tls_key=pair.key) as server:
        wss, https = addresses(server)
        with pytest.raises(StreamClientError, match=r"certificate of 127\.0\.0\.1 is not trusted"):
            async with StreamClient(wss):
                pass
        with pytest.raises(StreamClientError, match=r"not a WebSocket server|hung up"):
            async with StreamClient(wss.replace("wss:", "ws:")):
                pass
        async with httpx2.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get(f"{https}/healthz")


async def test_old_versions_of_tls_are_not_spoken(pair: Pair) -> None:
    context = tls_context(pair.certificate, pair.key)
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_noise_in_place_of_a_handshake(pair: Pair) -> None:
    """It ends that connection, and the next one is served."""
    async with running_server(FakeRecognizer(), tls_certificate=pair.certificate, tls_key=pair.key) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: server\r\n\r\n")
            trusting = ssl.create_default_context(cafile=pair.certificate)
            async with httpx2.AsyncClient(verify=trusting, trust_env=False) as client:
                assert (await client.get(f"{addresses(server)[1]}/healthz")).status_code == 200


async def test_a_command_trusts_it_by_the_variable_of_openssl(pair: Pair, tmp_path: Path) -> None:
    """As curl and Python's clients do."""
    soundfile.write(tmp_path / "speech.wav", synthesize("speech", 16_000, 16_000), 16_000)
    async with running_server(FakeRecognizer(), tls_certificate=pair.certificate, tls_key=pair.key) as server:
        listening = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stream_server", "listen", "--json"),
            *("--url", addresses(server)[0], "--file", str(tmp_path / "speech.wav")),
            env=os.environ | {"SSL_CERT_FILE": str(pair.certificate)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await listening.communicate()
    assert listening.returncode == 0, err.decode()
    assert '"type":"final_segment"' in out.decode()


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls_context(None, None) is None


def test_a_key_in_the_file_of_its_certificate(pair: Pair, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    assert tls_context(both, None) is not None


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (-9, -1, "has expired"),
        (1, 60, "is not valid yet"),
        (-1, 2.5, r"expires in 2\.[45] days"),
        (-1, 60, None),
    ],
)
def test_the_time_of_a_certificate(
    begins: float, ends: float, said: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_pair(tmp_path, begins=begins, ends=ends)
    assert tls_context(pair.certificate, pair.key) is not None
    assert [bool(said and re.search(said, record.message)) for record in caplog.records] == ([True] if said else [])


WRONG: dict[str, tuple[str | None, str | None, str]] = {
    "a key alone": (None, "server.key", "tls_key is set without tls_certificate"),
    "no certificate": ("missing.pem", "server.key", "cannot read the certificate: .*missing.pem: No such file"),
    "no key": ("server.pem", "missing.key", "cannot read the key .*missing.key: No such file"),
    "a key of another": ("server.pem", "other.key", "the key in .*other.key is not that of .*server.pem"),
    "a key where the certificate should be": ("server.key", "server.key", "there is no certificate in .*server.key"),
    "a certificate where the key should be": ("server.pem", "server.pem", "there is no key .* in .*server.pem"),
    "a certificate without a key": ("server.pem", None, "there is no key .* in .*server.pem"),
    "a key with a password": ("server.pem", "server-locked.key", "server-locked.key is encrypted"),
    "something else": ("noise.pem", "server.key", "cannot use .*noise.pem"),
    "a folder": (".", "server.key", "cannot read the certificate"),
}


@pytest.mark.parametrize("case", WRONG)
def test_files_that_make_no_tls(case: str, pair: Pair) -> None:
    folder = pair.certificate.parent
    make_pair(folder, "other")
    (folder / "noise.pem").write_text("-----BEGIN CERTIFICATE-----\nbm9pc2U=\n-----END CERTIFICATE-----\n")
    certificate, key, message = WRONG[case]
    with pytest.raises(CertificateError, match=message):
        tls_context(certificate and folder / certificate, key and folder / key)


def test_the_command_says_so_and_does_not_start(pair: Pair, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stream_server", "serve", "--port", str(free_port()), "--data-dir", str(tmp_path)]
    done = subprocess.run(
        [*command, "--tls-certificate", str(pair.certificate), "--tls-key", str(tmp_path / "missing.key")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "error: cannot read the key of the certificate" in done.stderr
    assert "Traceback" not in done.stderr
