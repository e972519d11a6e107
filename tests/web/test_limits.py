"""What is too large, too slow, too long or too much is ended."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from served import refused, serving, wait_for

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
        with socket.create_connection((address.hostname, address.port), timeout=20) as slow:
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
    with serving(index_path, waiting=2) as (client, catalogue):
        wait_for(lambda: len(catalogue.facts.thresholds) == 3)
        plain = catalogue.query_of_item
        monkeypatch.setattr(catalogue, "query_of_item", lambda *a: (go.wait(30), plain(*a))[1])
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
        monkeypatch.setattr(catalogue, "query_of_item", lambda *a: (go.wait(30), plain(*a))[1])
        answer = client.post("/api/search", data={"id": "001.png"})
        refused(answer, 503, "3 seconds")
        assert answer.headers["retry-after"]
        go.set()


def test_a_connection_that_stops_in_its_second_request_is_closed(
    index_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsearch_fast.web.server._HEADER_SECONDS", 0.6)
    with serving(index_path) as (client, _):
        address = urlsplit(str(client.base_url))
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with socket.create_connection((address.hostname, address.port), timeout=20) as stuck:
            for _ in range(5):  # one that goes on asking is served longer than that
                stuck.sendall(head)
                answer = b""
                while not answer.endswith(b"}"):
                    part = stuck.recv(10_000)
                    assert part, "closed between requests"
                    answer += part
                time.sleep(0.2)
            stuck.sendall(b"GET / HT")
            assert stuck.recv(10) == b""


def test_silent_connections_are_closed(index_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch_fast.web.server._HEADER_SECONDS", 0.3)
    with serving(index_path) as (client, _):
        address = urlsplit(str(client.base_url))
        began = time.monotonic()
        with socket.create_connection((address.hostname, address.port), timeout=20) as silent:
            assert silent.recv(10) == b""
        assert time.monotonic() - began < 10
