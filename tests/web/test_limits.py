"""What is too large, too slow, too long or too much is ended."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image
from served import PATIENCE, make_catalogue, refused, serving, wait_for

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")


def test_a_body_too_large(index_path: Path) -> None:
    with serving(index_path, upload_bytes=10_000) as (client, _):
        answer = client.post("/api/search", files={"image": ("a.png", b"x" * 30_000)})
        refused(answer, 413, "10,000")
        kind = {"Content-Type": "multipart/form-data; boundary=b"}  # and of no announced length
        head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        parts = [head, *[b"x" * 1000] * 20]
        refused(client.post("/api/search", content=iter(parts), headers=kind), 413)


def test_a_body_too_slow(index_path: Path) -> None:
    with serving(index_path, seconds=0.5) as (client, _):
        address = urlsplit(str(client.base_url))
        with socket.create_connection((address.hostname, address.port), PATIENCE) as slow:
            slow.sendall(
                b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b"
            )
            assert b" 408 " in slow.recv(1000)
        assert client.get("/healthz").status_code == 200


def test_more_than_may_wait_are_told_to_come_again(
    index_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    with serving(index_path, waiting=2, seconds=PATIENCE) as (client, catalogue):
        wait_for(lambda: len(catalogue.facts.likeness) == 3)
        plain = catalogue.query_of_item
        monkeypatch.setattr(
            catalogue, "query_of_item", lambda *a: (go.wait(PATIENCE), plain(*a))[1]
        )
        statuses: list[httpx.Response] = []
        threads = [
            threading.Thread(
                target=lambda: statuses.append(client.post("/api/search", data={"id": "001.png"}))
            )
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(statuses) >= 4)
        assert client.get("/healthz").status_code == 200  # the loop is free
        go.set()
        for thread in threads:
            thread.join()
        busy = [answer for answer in statuses if answer.status_code == 429]
        assert busy and all(answer.headers["retry-after"] == "1" for answer in busy)
        refused(busy[0], 429)
        assert {answer.status_code for answer in statuses} == {200, 429}


def test_a_search_that_takes_too_long(index_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    with serving(index_path, seconds=3) as (client, catalogue):  # enough to read the request
        plain = catalogue.query_of_item
        monkeypatch.setattr(
            catalogue, "query_of_item", lambda *a: (go.wait(PATIENCE), plain(*a))[1]
        )
        answer = client.post("/api/search", data={"id": "001.png"})
        refused(answer, 503, "3 seconds")
        assert answer.headers["retry-after"]
        go.set()


def test_a_connection_that_stops_in_its_second_request_is_closed(
    index_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 2.0  # between two requests: no pause of a busy machine is as long
    monkeypatch.setattr("vsearch_fast.web.server._HEADER_SECONDS", limit)
    with serving(index_path) as (client, _):
        address = urlsplit(str(client.base_url))
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        began = time.monotonic()
        with socket.create_connection((address.hostname, address.port), PATIENCE) as stuck:
            while time.monotonic() < began + 1.5 * limit:  # one that goes on asking is served on
                stuck.sendall(head)
                answer = b""
                while not answer.endswith(b"}"):
                    part = stuck.recv(10_000)
                    assert part, "closed between requests"
                    answer += part
            stuck.sendall(b"GET / HT")
            assert stuck.recv(10) == b""


def test_silent_connections_are_closed(index_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch_fast.web.server._HEADER_SECONDS", 0.3)
    with serving(index_path) as (client, _):
        address = urlsplit(str(client.base_url))
        with socket.create_connection((address.hostname, address.port), PATIENCE) as silent:
            assert silent.recv(10) == b""


def asked_raw(client: httpx.Client, request: bytes) -> bytes:
    """The answer to these bytes, up to the end of the connection."""
    address = urlsplit(str(client.base_url))
    with socket.create_connection((address.hostname, address.port), PATIENCE) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionError):  # of what it did not read to the end
            while part := connection.recv(65_536):
                answer += part
    return answer


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("GET /livez HTTP/1.0|Host: localhost", 200),
        ("GET /livez HTTP/1.0", 403),  # which names no host
        ("GET /livez HTTP/1.1|Host: localhost|Host: evil.example|Connection: close", 400),
        ("GET /livez HTTP/1.1|Host: localhost|Connection: Upgrade, close|Upgrade: websocket", 200),
        ("GET /livez HTTP/1.1|Host: localhost|Connection: close|X: " + "x" * 200_000, 400),
        ("POST /nope HTTP/1.1|Host: localhost|Content-Length: 9|Expect: 100-continue"
         "|Connection: close", 404),
        ("POST /nope HTTP/1.1|Host: localhost|Content-Length: " + "9" * 30, 400),
        ("POST /nope HTTP/1.1|Host: localhost|Content-Length: 99999999999999|Connection: close",
         404),
        ("POST /nope HTTP/1.1|Host: localhost|Content-Length: 5|Transfer-Encoding: chunked"
         "|Connection: close||0|", 404),
    ],
)  # fmt: skip
def test_odd_requests(
    client: httpx.Client, lines: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = asked_raw(client, lines.replace("|", "\r\n").encode() + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"100 Continue" not in answer
    assert "pip install" not in caplog.text
    assert client.get("/livez").status_code == 200


def test_pictures_that_shrink_while_they_are_shown(tmp_path: Path) -> None:
    """An uncompressed picture is read, never mapped: mapped, its end would end the server."""
    index_path = make_catalogue(tmp_path, 2)
    path = tmp_path / "pictures" / "000.png"
    Image.effect_noise((3000, 3000), 60).save(path, "BMP")
    whole = path.read_bytes()
    ended = threading.Event()

    def shrink() -> None:
        while not ended.is_set():
            with path.open("r+b") as file:
                file.truncate(2000)
                time.sleep(0.005)
                file.write(whole)

    shrinker = threading.Thread(target=shrink)
    with serving(index_path) as (client, _):
        shrinker.start()
        try:
            for _ in range(15):
                answer = client.get("/api/thumbnails", params={"id": "000.png"})
                assert answer.status_code in (200, 404)
                box = {"id": "000.png", "box": "0,0,2000,2000"}
                answer = client.post("/api/search", data=box)
                assert answer.status_code in (200, 400, 404, 415)
        finally:
            ended.set()
            shrinker.join()


def test_a_disk_without_room_for_an_upload(
    index_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with serving(index_path) as (client, _):
        monkeypatch.setattr("tempfile.TemporaryFile", full)
        answer = client.post("/api/search", files={"image": ("a.png", b"x" * 3_000_000)})
        refused(answer, 503, "disk")
        monkeypatch.undo()
        assert client.post("/api/search", data={"id": "001.png"}).status_code == 200
