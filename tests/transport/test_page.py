"""The pages and the browser client over HTTP: which files, under which headers, for whom."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest

from stream_server.transport.page import FOLDER, MEDIA_TYPES, PAGE_FOLDERS
from tests.support.fake import FakeRecognizer
from tests.support.hosting import hosted_server
from tests.support.running import Running

OTHER = {"Origin": "https://app.example.com"}
PAGES = {"/": "captions/index.html", "/jobs": "jobs/jobs.html"}
SERVED = sorted(
    path.relative_to(FOLDER).as_posix()
    for folder in ("client", *PAGE_FOLDERS)
    for path in (FOLDER / folder).rglob("*")
    if path.suffix in (".css", ".js", ".svg")
)
ADDRESSES = {**PAGES, **{f"/browser/{name}": name for name in SERVED}}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with hosted_server(FakeRecognizer(), api_keys=("sk-right",)) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.http_url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_file_as_it_is(client: httpx2.Client, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_: ("text/plain", None))  # as on some machines
    path = FOLDER / ADDRESSES[address]
    answer = client.get(address)
    assert (answer.status_code, answer.content) == (200, path.read_bytes())
    assert answer.headers["content-type"] == MEDIA_TYPES[path.suffix]
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]
    head = client.head(address)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(path.stat().st_size)
    assert head.headers["content-type"] == answer.headers["content-type"]


@pytest.mark.parametrize("address", ["/", "/browser/client/index.js"])
def test_who_has_a_file_already(client: httpx2.Client, address: str) -> None:
    first = client.get(address)
    for asked, condition in (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")):
        answer = client.get(address, headers={asked: first.headers[condition]})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == first.headers["etag"]
        assert "content-type" not in answer.headers
    assert client.get(address, headers={"If-None-Match": '"another"'}).status_code == 200


def directives(answer: httpx2.Response) -> dict[str, str]:
    policy = answer.headers["content-security-policy"]
    return {name: rest for name, _, rest in (part.partition(" ") for part in policy.split("; "))}


@pytest.mark.parametrize("address", ["/", "/?overlay", "/jobs", "/browser/shared/style.css"])
def test_what_a_page_may_do(client: httpx2.Client, address: str) -> None:
    answer = client.get(address)
    rules = directives(answer)
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert all(rules[name] == "'self'" for name in ("script-src", "style-src", "connect-src", "frame-ancestors"))
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "*" not in answer.headers["content-security-policy"]
    assert {"microphone=(self)", "display-capture=(self)"} <= set(answer.headers["permissions-policy"].split(", "))
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "access-control-allow-origin" not in answer.headers


class Links(HTMLParser):
    """What a page loads, and what its rules do not let it do."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if (name == "src" or (name == "href" and tag == "link")) and value and not value.startswith("data:"):
                self.loaded.append(value)
            if name == "style" or name.startswith("on"):
                self.wrong.append(f"{tag} {name}")
        names = [name for name, _ in attributes]
        if tag == "style" or (tag == "script" and "src" not in names):
            self.wrong.append(tag)


@pytest.mark.parametrize("address", PAGES)
def test_a_page_keeps_its_own_rules_and_loads_what_is_there(client: httpx2.Client, address: str) -> None:
    links = Links()
    links.feed(client.get(address).text)
    assert links.wrong == []
    assert links.loaded
    assert [link for link in links.loaded if re.match(r"[a-z]+:|/", link)] == [], "works below any path of a proxy"
    base = httpx2.URL("http://server" + address)
    assert [link for link in links.loaded if client.get(base.join(link).path).status_code != 200] == []


@pytest.mark.parametrize("name", [name for name in SERVED if name.endswith(".js")])
def test_a_module_imports_what_is_there(client: httpx2.Client, name: str) -> None:
    base = httpx2.URL(f"http://server/browser/{name}")
    source = (FOLDER / name).read_text(encoding="utf-8")
    imported = re.findall(r"""^(?:import|export)\s[^;"']*["'](\.[^"']+)["'];$""", source, re.MULTILINE)
    imported += re.findall(r"""new URL\("(\./[^"]+)", import\.meta\.url\)""", source)
    assert [path for path in imported if client.get(base.join(path).path).status_code != 200] == []


def test_nothing_else_of_the_package_is_served(client: httpx2.Client) -> None:
    others = [path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()]
    others = [name for name in others if name not in SERVED]
    assert "__init__.py" in others
    for name in (*others, "", "client", "client/", "shared/", "client/nothing.js"):
        assert client.get(f"/browser/{name}").status_code == 404, name


@pytest.mark.parametrize(
    "path",
    [
        "/browser/client/../__init__.py",
        "/browser/client/%2e%2e/__init__.py",
        "/browser/client/..%2f..%2fpackage.json",
        "/browser/shared/..%2fclient%2findex.js",
        "/browser/client/%2fetc%2fpasswd",
        "/browser/client/..%5cshared%5cstyle.css",
        "/browser/client/..",
        "/browser/client/index.js%00.css",
        f"/browser/client/{'x' * 5000}.js",
    ],
)
def test_no_way_out_of_the_folder(client: httpx2.Client, path: str) -> None:
    # Whole, for the client would put it in order.
    answer = client.send(httpx2.Request("GET", httpx2.URL(str(client.base_url)).copy_with(raw_path=path.encode())))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_pages_of_any_origin_may_import_the_client(client: httpx2.Client) -> None:
    for name in (name for name in SERVED if name.startswith("client/")):
        answer = client.get(f"/browser/{name}", headers=OTHER)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert client.get("/browser/client/index.js", headers={"Origin": "null"}).status_code == 200
    for address in ("/", "/jobs", "/browser/shared/style.css"):
        answer = client.get(address, headers=OTHER)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
        assert client.get(address).headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("allowed", ["https://app.example.com", "https://another.example.com", "*"])
def test_beside_origins_that_are_allowed_everything(allowed: str) -> None:
    """Two of these headers would be as bad as none."""
    with hosted_server(FakeRecognizer(), allowed_origins=(allowed,)) as server:
        answer = httpx2.get(f"{server.http_url}/browser/client/index.js", headers=OTHER, trust_env=False)
        (told,) = answer.headers.get_list("access-control-allow-origin")
        assert told in ("*", OTHER["Origin"])


def test_reading_only(client: httpx2.Client) -> None:
    for address in ("/", "/jobs", "/browser/client/index.js"):
        answer = client.post(address, headers={"Origin": str(client.base_url)})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_pages_are_counted_by_their_routes(server: Running, client: httpx2.Client) -> None:
    client.get("/browser/client/index.js")
    client.get("/browser/client/nothing.js")
    counted = server.service.metrics.render().decode()
    for status in (200, 404):
        assert re.search(rf'requests_total{{method="GET",route="/browser/client/{{name}}",status="{status}"}}', counted)
    assert 'stream_server_errors_total{code="INTERNAL",surface="pages"} 0.0' in counted
    assert "nothing.js" not in counted


def test_a_page_learns_that_a_key_is_needed(client: httpx2.Client) -> None:
    """What the pages do first; they read the code, and ask for a key."""
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/tokens")):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
        answer = client.request(method, path, headers={"Authorization": "Bearer sk-right"})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"


def test_a_page_learns_that_none_is_needed() -> None:
    with hosted_server(FakeRecognizer()) as server, httpx2.Client(base_url=server.http_url, trust_env=False) as client:
        answer = client.post("/v1/tokens")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CONFLICT")


def test_there_are_pages_and_a_client() -> None:
    """The tests above look at what they find."""
    assert {"client/index.js", "shared/style.css"} <= set(SERVED)
    assert all((FOLDER / name).is_file() for name in PAGES.values())
    assert Path(FOLDER).name == "stream_browser"
