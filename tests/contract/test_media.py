"""Images of runs, and the environment that runs were started in, over HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runicorn as rn
from runicorn.server.byte_ranges import PartMissing, wanted_part
from tests.serving import Server
from tests.stores import make_run

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
RUN = "20260101_000000_aaaaaa"
OTHER = "20260101_000001_bbbbbb"
BROWSER_RUNS = ["page.html", "page.HTM", "drawing.svg", "data.xml", "page.xhtml", "code.js", "no_suffix", "odd.weird"]


def image(path: str, **data: object) -> str:
    return json.dumps({"ts": 1.5, "type": "image", "data": {"key": "sample", "path": path, **data}}) + "\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media") / "root"


@pytest.fixture(scope="module")
def run(root: Path) -> Path:
    events = (
        image("media/1_a_sample.png", step=3, caption="Größe <b>")
        + '{"ts":1,"type":"metrics","data":{"a":1}}\n{"broken\n'
        + image("media/sub dir/ü?.jpg", step=4, caption=None)
        + image("../../secret.png", step=None)
        + image("media/../meta.json", step=10**30, key="other")
        + image("media/gone.png", step="five")
        + image("media/gone.png", key="other")
    )
    run = make_run(root, f"p/n/runs/{RUN}", events=events, meta={"project": "p"}, status={"status": "finished"})
    media = run / "media"
    (media / "sub dir").mkdir(parents=True)
    (media / "1_a_sample.png").write_bytes(PNG)
    (media / "sub dir" / "ü?.jpg").write_bytes(b"jpeg")
    (media / "empty.txt").write_bytes(b"")
    (media / ".hidden.png").write_bytes(b"hidden")
    for name in BROWSER_RUNS:
        (media / name).write_bytes(b"<script>alert(1)</script>")
    (root / "secret.txt").write_text("secret")
    (media / "link.txt").symlink_to(root / "secret.txt")
    (media / "own.png").symlink_to(media / "1_a_sample.png")
    (media / "away").symlink_to(root)
    (media / "pipe.png").mkdir()
    other = make_run(root, f"p/n/runs/{OTHER}", meta={"project": "p"})
    (other / "media").symlink_to(root)
    return run


@pytest.fixture(scope="module")
def server(root: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = {"XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config"))}
    server = Server(root, "--rate-limit", "off", environment=config)
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log


def media(server: Server, path: str, run_id: str = RUN, **headers: str):
    return server.http.get(
        f"/api/runs/{run_id}/media/{path}", headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


# ── the list ────────────────────────────────────────────────────────────────


def test_logged_images_are_listed_in_order_with_step_and_caption(server: Server) -> None:
    answer = server.http.get(f"/api/runs/{RUN}/media").json()
    assert answer["total"] == len(answer["images"]) == 5
    first, second, third, fourth, fifth = answer["images"]
    assert first == {
        "key": "sample", "step": 3, "caption": "Größe <b>", "ts": 1.5, "path": "media/1_a_sample.png",
        "url": f"/api/runs/{RUN}/media/1_a_sample.png", "media_type": "image/png",
    }  # fmt: skip
    assert second["url"] == f"/api/runs/{RUN}/media/sub%20dir/%C3%BC%3F.jpg"
    assert (third["url"], fourth["url"], fourth["step"]) == (None, None, None)
    assert fifth["url"] is not None
    assert server.http.get(first["url"]).content == PNG
    assert server.http.get(second["url"]).content == b"jpeg"
    assert server.http.get(fifth["url"]).status_code == 404


def test_the_list_can_be_filtered_and_paged(server: Server) -> None:
    def page(**query: object) -> tuple[list[str], int]:
        answer = server.http.get(f"/api/runs/{RUN}/media", params=query).json()
        return [image["path"] for image in answer["images"]], answer["total"]

    assert page(key="other") == (["media/../meta.json", "media/gone.png"], 2)
    assert page(key="nothing") == ([], 0)
    assert page(limit=1, offset=1) == (["media/sub dir/ü?.jpg"], 5)
    for query in ({"limit": 0}, {"limit": 10001}, {"offset": -1}, {"limit": "x"}, {"offset": 10**30}):
        assert server.http.get(f"/api/runs/{RUN}/media", params=query).status_code == 400


def test_the_list_of_a_run_that_logs_is_as_of_now_and_unchanged_is_304(server: Server, root: Path) -> None:
    run = rn.Run("live", str(root), capture_env=False)
    try:
        assert server.http.get(f"/api/runs/{run.id}/media").json() == {"images": [], "total": 0}
        path = run.log_image("k", PNG, step=7, caption="now")
        first = server.http.get(f"/api/runs/{run.id}/media")
        (logged,) = first.json()["images"]
        assert (logged["path"], logged["step"], logged["caption"]) == (path, 7, "now")
        assert server.http.get(logged["url"]).content == PNG
        again = server.http.get(f"/api/runs/{run.id}/media", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    finally:
        run.finish()


@pytest.mark.parametrize("path", ["media", "media/x.png"])
def test_an_unknown_run_is_not_found(server: Server, path: str) -> None:
    answer = server.http.get(f"/api/runs/20990101_000000_aaaaaa/{path}")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Run not found: 20990101_000000_aaaaaa"})


# ── the files ───────────────────────────────────────────────────────────────


def test_an_image_is_shown_as_what_it_is_and_nothing_else(server: Server) -> None:
    answer = media(server, "1_a_sample.png")
    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(PNG))
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "x-ratelimit-limit" in answer.headers
    empty = media(server, "empty.txt")
    assert (empty.status_code, empty.content, empty.headers["content-type"]) == (200, b"", "text/plain; charset=utf-8")


@pytest.mark.parametrize("name", BROWSER_RUNS)
def test_what_a_browser_would_run_is_a_download(server: Server, name: str) -> None:
    answer = media(server, name)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-type"] in ("application/octet-stream", "image/svg+xml")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "nothing.png", "sub dir", "sub%20dir/", "pipe.png", "..%2fmeta.json", "%2fetc/passwd", "/etc/passwd",
        "link.txt", "own.png", "away/secret.txt", ".hidden.png", "a%00.png", "..%5cmeta.json", "a\\b", "%ff.png",
        "1_a_sample.png%00", "1_a_sample.png/x", "x" * 256, "%0a", "C:/x",
    ],
)  # fmt: skip
def test_what_is_no_file_of_the_run_is_not_found_whatever_it_is(server: Server, path: str) -> None:
    answer = media(server, path)
    assert answer.status_code == 404, answer.text
    assert answer.json()["detail"].startswith("Media file not found: ")


def test_a_media_directory_that_leads_out_of_the_run_has_no_files(server: Server) -> None:
    assert media(server, "secret.txt", OTHER).status_code == 404


def test_raw_dots_in_the_path_lead_nowhere(server: Server) -> None:
    for path in ("../meta.json", "../../../../../secret.txt", "%2e%2e/%2e%2e/meta.json", "a/..%2f..%2fmeta.json"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            request = f"GET /api/runs/{RUN}/media/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            answer = b"".join(iter(lambda connection=connection: connection.recv(1 << 16), b""))
        assert b" 404 " in answer.partition(b"\r\n")[0], answer
        assert b"project" not in answer


# ── parts and copies ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=10000-", 10000, len(PNG) - 1),
        ("bytes=-5", len(PNG) - 5, len(PNG) - 1),
        ("bytes=0-99999999", 0, len(PNG) - 1),
        ("bytes=-99999999", 0, len(PNG) - 1),
    ],
)
def test_a_part_can_be_asked_for(server: Server, wanted: str, first: int, last: int) -> None:
    answer = media(server, "1_a_sample.png", Range=wanted)
    assert (answer.status_code, answer.content) == (206, PNG[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(PNG)}"
    assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=-0"])
def test_a_part_behind_the_end_cannot_be_had(server: Server, wanted: str) -> None:
    answer = media(server, "1_a_sample.png", Range=wanted)
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(PNG)}"
    assert "range is not in it" in answer.json()["detail"]
    assert media(server, "empty.txt", Range="bytes=0-0").status_code == 416


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "nonsense"])
def test_what_is_not_understood_as_a_part_gets_the_whole(server: Server, wanted: str) -> None:
    answer = media(server, "1_a_sample.png", Range=wanted)
    assert (answer.status_code, answer.content) == (200, PNG)


def test_a_part_of_a_file_that_has_changed_is_the_whole(server: Server, run: Path) -> None:
    (run / "media" / "changing.png").write_bytes(b"12345")
    first = media(server, "changing.png", Range="bytes=0-1")
    assert media(server, "changing.png", Range="bytes=2-", If_Range=first.headers["etag"]).content == b"345"
    assert media(server, "changing.png", Range="bytes=2-", If_Range=first.headers["last-modified"]).content == b"345"
    (run / "media" / "changing.png").write_bytes(b"abcdefg")
    answer = media(server, "changing.png", Range="bytes=2-", If_Range=first.headers["etag"])
    assert (answer.status_code, answer.content) == (200, b"abcdefg")


def test_a_copy_that_is_still_good_is_not_sent_again(server: Server) -> None:
    first = media(server, "1_a_sample.png")
    again = media(server, "1_a_sample.png", If_None_Match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    assert media(server, "1_a_sample.png", If_None_Match='"other"').status_code == 200
    since = media(server, "1_a_sample.png", If_Modified_Since=first.headers["last-modified"])
    assert since.status_code == 304


@given(st.binary(max_size=40) | st.from_regex(rb"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.integers(0, 2000))
def test_a_part_lies_within_the_file(header: bytes, size: int) -> None:
    try:
        part = wanted_part(header, size)
    except PartMissing:
        return
    if part is not None:
        first, length = part
        assert 0 <= first < first + length <= size


# ── environment ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (None, {"available": False}),
        ("[1]", {"available": True, "environment": {}}),
        ("{", {"available": True, "environment": {}}),
        (
            '{"a": NaN, "b": 1e400, "c": "\\ud800"}',
            {"available": True, "environment": {"a": None, "b": None, "c": "�"}},
        ),
        (
            '{"git_info": [], "env_variables": 5}',
            {"available": True, "environment": {"git_info": [], "env_variables": 5}},
        ),
    ],
)
def test_the_environment_of_a_run_is_shown_as_far_as_it_can_be_read(
    server: Server, run: Path, content: str | None, answer: dict[str, object]
) -> None:
    (run / "environment.json").unlink(missing_ok=True)
    if content is not None:
        (run / "environment.json").write_text(content)
    response = server.http.get(f"/api/environment/{RUN}")
    assert (response.status_code, response.json()) == (200, answer)


def test_credentials_that_0_4_0_stored_are_not_shown(server: Server, run: Path) -> None:
    stored = {
        "git_info": {"remote": "https://user:hunter2@example.org/a.git?token=abc", "branch": "main"},
        "env_variables": {"MLFLOW_TRACKING_URI": "http://me:hunter2@tracking:5000", "PATH": "/usr/bin:/bin"},
    }
    (run / "environment.json").write_text(json.dumps(stored))
    answer = server.http.get(f"/api/environment/{RUN}")
    assert "hunter2" not in answer.text
    environment = answer.json()["environment"]
    assert environment["git_info"] == {"remote": "https://example.org/a.git", "branch": "main"}
    assert environment["env_variables"]["PATH"] == "/usr/bin:/bin"
    (run / "environment.json").unlink()
    (run / "environment.json").symlink_to("/etc/passwd")
    assert server.http.get(f"/api/environment/{RUN}").json() == {"available": True, "environment": {}}
    (run / "environment.json").unlink()
    unknown = server.http.get("/api/environment/20990101_000000_aaaaaa")
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Run not found: 20990101_000000_aaaaaa"})
