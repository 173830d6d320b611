import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from stream_server.network import AddressGuard, AddressRefused, guarded_async_client, guarded_client, is_public
from tests.support.site import HERE, Site, content, endless, redirect, running_site


@pytest.fixture
def server() -> Iterator[Site]:
    with running_site() as site:
        site.pages = {"/": content(b"ok"), "/loop": redirect("/loop")}
        yield site


@contextmanager
def names(monkeypatch: pytest.MonkeyPatch, table: dict[str, list[list[str]]]) -> Iterator[list[str]]:
    """A resolver: for each name, the answers to the first question, to the second, and so on."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        host = host.decode() if isinstance(host, bytes) else host
        asked.append(host)
        if host not in table:
            return real(host, port, *args, **kwargs)
        answers = table[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [entry for address in found for entry in real(address, port, type=socket.SOCK_STREAM)]

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        yield asked


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.9.9.9", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
        "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1",
        "2001::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
        "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "151.101.1.69", "2606:4700::1111", "2a00:1450:4001::200e"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0/",
        "http://example.com@127.0.0.1/",
        "http://user:password@example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "example.com/a.wav",
        "http://",
        "http:///a.wav",
        "http://[::1/",
        "",
    ],
)
def test_what_is_refused_without_a_resolver_and_with_one(url: str) -> None:
    with pytest.raises(AddressRefused):
        AddressGuard(()).check(url)
    with (
        guarded_client((), timeout=5) as client,
        pytest.raises((AddressRefused, httpx2.InvalidURL, httpx2.UnsupportedProtocol)),
    ):
        client.get(url)


def test_a_name_that_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch, server: Site) -> None:
    with names(monkeypatch, {"inside.example": [["127.0.0.1"]]}), guarded_client((), timeout=5) as client:
        with pytest.raises(AddressRefused, match=r"inside\.example is not a public address.*allowed_hosts"):
            client.get(f"http://inside.example:{server.port}/")
        with pytest.raises(AddressRefused):
            client.get(f"http://localhost:{server.port}/")
    assert server.asked == []


def test_a_name_is_resolved_once_and_what_was_judged_is_connected_to(
    monkeypatch: pytest.MonkeyPatch, server: Site
) -> None:
    """DNS rebinding: the second answer would lead inside."""
    table = {"moving.example": [["127.0.0.2"], ["127.0.0.1"]]}
    with names(monkeypatch, table) as asked, guarded_client(("127.0.0.2",), timeout=5) as client:
        with pytest.raises(httpx2.ConnectError):  # nobody listens on 127.0.0.2
            client.get(f"http://moving.example:{server.port}/")
        assert asked.count("moving.example") == 1
        with pytest.raises(AddressRefused):
            client.get(f"http://moving.example:{server.port}/")
    assert server.asked == []


def test_only_the_good_ones_among_several_addresses_are_tried(monkeypatch: pytest.MonkeyPatch, server: Site) -> None:
    table = {"both.example": [["127.0.0.1", "127.0.0.3", "127.0.0.2"]]}
    with (
        names(monkeypatch, table),
        guarded_client(("127.0.0.2", "127.0.0.3"), timeout=5) as client,
        pytest.raises(httpx2.ConnectError),
    ):
        client.get(f"http://both.example:{server.port}/")
    assert server.asked == []
    with names(monkeypatch, {"both.example": [["127.0.0.2", "127.0.0.1"]]}), guarded_client(HERE, timeout=5) as client:
        assert client.get(f"http://both.example:{server.port}/").text == "ok"
    assert server.hosts == [f"both.example:{server.port}"]  # the name stays in the request


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/",
        "http://2130706434:1/",
        "http://[::ffff:127.0.0.1]:1/",
        "file:///etc/passwd",
        "http://a:b@127.0.0.1/",
    ],
)
def test_every_redirect_is_judged(target: str, server: Site) -> None:
    server.pages["/to"] = redirect(target)
    with (
        guarded_client(("127.0.0.1",), timeout=5) as client,
        pytest.raises((AddressRefused, httpx2.UnsupportedProtocol)),
    ):
        client.get(server.url("/to"))
    assert len(server.asked) == 1


def test_redirects_come_to_an_end(server: Site) -> None:
    with guarded_client(HERE, timeout=5) as client, pytest.raises(httpx2.TooManyRedirects):
        client.get(f"http://127.0.0.1:{server.port}/loop")
    assert len(server.asked) == 6


@pytest.mark.parametrize("allowed", [("127.0.0.0/8",), ("127.0.0.1",), ("localhost",), ("LOCALHOST.",)])
def test_what_the_setting_lets_through(allowed: tuple[str, ...], server: Site) -> None:
    with guarded_client(allowed, timeout=5) as client:
        assert client.get(f"http://localhost:{server.port}/").text == "ok"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch, server: Site) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{server.port}")
    with guarded_client((), timeout=5) as client, pytest.raises(AddressRefused):
        client.get("http://10.0.0.1/")
    assert server.asked == []


async def test_the_async_client_does_the_same(monkeypatch: pytest.MonkeyPatch, server: Site) -> None:
    port = server.port
    with names(monkeypatch, {"inside.example": [["127.0.0.1"]]}):
        async with guarded_async_client((), timeout=5) as client:
            for url in (
                f"http://inside.example:{port}/",
                f"http://127.0.0.1:{port}/",
                "http://2130706433/",
                "ftp://a/",
            ):
                with pytest.raises((AddressRefused, httpx2.UnsupportedProtocol)):
                    await client.get(url)
        assert server.asked == []
        async with guarded_async_client(HERE, timeout=5) as client:
            server.pages |= {"/here": redirect(server.url("/")), "/inside": redirect("http://10.0.0.1/")}
            assert (await client.get(f"http://inside.example:{port}/here")).text == "ok"
            with pytest.raises(AddressRefused):
                await client.get(server.url("/inside"))
            with pytest.raises(httpx2.ConnectError, match="cannot be resolved"):
                await client.get("http://does-not-exist.invalid/")


def test_a_name_that_nobody_knows(server: Site) -> None:
    with guarded_client((), timeout=5) as client:
        for host in ("does-not-exist.invalid", "a" * 64 + ".example"):
            with pytest.raises((httpx2.ConnectError, httpx2.InvalidURL)):
                client.get(f"http://{host}/")


def test_a_dot_at_the_end_of_an_address_hides_nothing() -> None:
    with pytest.raises(AddressRefused):
        AddressGuard(()).check("http://127.0.0.1./")


def test_a_network_that_is_none() -> None:
    with pytest.raises(ValueError, match="/99"):
        AddressGuard(("10.0.0.0/99",))


def test_the_time_for_everything_together() -> None:
    """The server sends a little all the time, so that no single read ever waits long."""
    with running_site() as site:
        site.pages = {"/": endless(b"x", 0.02), "/short": content(b"ok")}
        with guarded_client(HERE, timeout=5, total=0.3) as client:
            assert client.get(site.url("/short")).text == "ok"
            with pytest.raises(httpx2.ReadTimeout):
                client.get(site.url("/"))
            with pytest.raises(httpx2.ConnectTimeout):
                client.get(site.url("/short"))


def test_a_single_read_waits_no_longer_than_that_either() -> None:
    with running_site() as site:
        site.pages = {"/": endless(b"x", 1.5)}
        with (
            guarded_client(HERE, timeout=60, total=0.2) as client,
            client.stream("GET", site.url("/")) as response,
            pytest.raises(httpx2.ReadTimeout),
        ):
            next(response.iter_raw())


def test_tls_is_checked_against_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The connection goes to an address, but it is the name that the certificate has to be for."""
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(certificate_for("files.example"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(httpx2, "create_ssl_context", lambda **_: trusting)
    table = {"files.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]}
    with running_site(context) as site, names(monkeypatch, table), guarded_client(HERE, timeout=5) as client:
        site.pages = {"/": content(b"ok")}
        assert client.get(f"https://files.example:{site.port}/").text == "ok"
        for host in ("other.example", "127.0.0.1"):
            with pytest.raises(httpx2.ConnectError, match="certificate"):
                client.get(f"https://{host}:{site.port}/")


def certificate_for(name: str) -> bytes:
    """A key and a certificate that has signed itself."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain
    ) + certificate.public_bytes(serialization.Encoding.PEM)
