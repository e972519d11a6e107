"""The server under requests that nobody means: no 500, no hang, no growth of memory."""

from __future__ import annotations

import contextlib
import gc
import http.client
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from PIL import Image
from served import make_catalogue, serving

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

#: A request that takes longer hangs.
_SECONDS = 120

#: What a server keeps in memory for its visitors, in bytes: far less than the tests bring.
_KEPT = 1 << 15


def examples(few: int, many: int) -> pytest.MarkDecorator:
    """A test of a few examples in every run, and of many in the long matrices."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.full)])


def tried(count: int, **more: Any) -> settings:
    return settings(
        max_examples=count, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("vsearch_fast.web.asking._FEATURE_BYTES", _KEPT)
        with serving(
            make_catalogue(tmp_path_factory.mktemp("fuzzed")),
            max_pixels=1_000_000, kept_bytes=_KEPT, thumbnail_bytes=_KEPT,
        ) as (client, _):  # fmt: skip
            client.timeout = httpx.Timeout(_SECONDS)
            yield client


@examples(8, 100)
@pytest.mark.parametrize("fitting", [True, False])
def test_the_described_api_keeps_its_description(
    client: httpx.Client, fitting: bool, count: int
) -> None:
    """Schemathesis: requests that fit the OpenAPI description and requests that do not."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    mode = GenerationMode.POSITIVE if fitting else GenerationMode.NEGATIVE
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    checks = [
        not_a_server_error, status_code_conformance, content_type_conformance,
        response_schema_conformance,
    ]  # fmt: skip
    met: set[str] = set()

    def ask(operation: Any) -> None:
        @tried(count, derandomize=True)
        @given(case=operation.as_strategy(mode))
        def send(case: Any) -> None:
            met.add(operation.path)
            case.call_and_validate(checks=checks, timeout=_SECONDS)

        # Nothing can be wrong with a request that has no parameters.
        with warnings.catch_warnings(), contextlib.suppress(Unsatisfiable, SkipTest):
            warnings.simplefilter("ignore")
            send()

    described = [result.ok() for result in schema.get_all_operations()]
    for operation in described:
        ask(operation)
    assert met >= {"/api/search", "/api/items", "/api/thumbnails", "/api/values", "/api/export"}
    assert not fitting or met == {operation.path for operation in described}


def encoded(kind: str, size: tuple[int, int] = (23, 17)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(file, kind)
    return file.getvalue()


_FILES = {kind: encoded(kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")}


@st.composite
def damaged(draw: st.DrawFn, kind: str) -> bytes:
    """A picture cut off, with bytes changed, inserted or doubled."""
    data = bytearray(_FILES[kind])
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        fault = draw(st.sampled_from(["cut", "change", "insert", "double"]))
        if fault == "cut":
            del data[at:]
        elif fault == "change" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif fault == "insert":
            data[at:at] = draw(st.binary(max_size=20))
        else:
            data[at:at] = data[max(0, at - 50) : at]
    return bytes(data)


@examples(15, 300)
@pytest.mark.parametrize("kind", sorted(_FILES))
def test_damaged_pictures_are_answered(client: httpx.Client, kind: str, count: int) -> None:
    @tried(count)
    @given(
        data=damaged(kind),
        box=st.sampled_from([None, "auto", "0,0,5,5"]),
        name=st.text(max_size=20),
    )
    def send(data: bytes, box: str | None, name: str) -> None:
        answer = client.post(
            "/api/search",
            files={"image": (name or "x", data)},
            data={"k": "2"} | ({"box": box} if box else {}),
        )
        assert answer.status_code in (200, 400, 413, 415, 422), answer.text
        if answer.status_code != 200:
            assert answer.json()["error"]["cause"]

    send()


@examples(8, 200)
@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=b", "multipart/form-data", "application/json",
        "application/x-www-form-urlencoded", "text/plain; charset=nope", "",
    ],
)  # fmt: skip
def test_any_body_is_answered(client: httpx.Client, kind: str, count: int) -> None:
    @tried(count)
    @given(body=st.binary(max_size=300))
    def send(body: bytes) -> None:
        for content in (body, b"--b\r\n" + body + b"\r\n--b--\r\n"):
            answer = client.post("/api/search", content=content, headers={"Content-Type": kind})
            assert 400 <= answer.status_code < 500, answer.text
            assert answer.json()["error"]["cause"]

    send()


def _memory() -> int:
    """Bytes of this process, the server's too, that are in memory."""
    gc.collect()
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _part(name: str, data: bytes) -> bytes:
    """A body of one file."""
    head = f'Content-Disposition: form-data; name="image"; filename="{name}"'
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n--b--\r\n"


@examples(1500, 10_000)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc: not Linux")
def test_memory_does_not_grow(client: httpx.Client, count: int) -> None:
    """Requests each of which has something the server might keep: uploads, addresses, errors.

    They are sent by the plainest client, which keeps nothing and takes no time.
    """
    address = client.base_url
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_SECONDS)

    def asked(method: str, path: str, body: bytes | str = "", kind: str = "") -> int:
        connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def requests(first: int, count: int) -> None:
        upload = ("POST", "/api/search")
        multipart, form = "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"
        for number in range(first, first + count):
            kind = number % 5
            if kind == 0:  # a picture never seen before, which is kept for its link
                picture = bytearray(_FILES["BMP"])
                picture[-8:] = number.to_bytes(8, "little")
                assert asked(*upload, _part(f"{number}.bmp", bytes(picture)), multipart) == 200
            elif kind == 1:
                assert asked(*upload, _part(f"{number}", b"x" * 5000), multipart) == 415
            elif kind == 2:
                assert asked("GET", f"/nowhere/{number}") == 404
            elif kind == 3:
                assert asked("GET", f"/api/items?where=category%3D{number}") == 200
            else:
                fields = f"id={number % 30:03}.png&box=0,0,{number % 90 + 1},50"
                assert asked(*upload, fields, form) == 200

    requests(0, 1000)  # until all caches are full
    before = _memory()
    requests(1000, count)
    grown = _memory() - before
    connection.close()
    # Allocators round, and leave holes: so much a request is taken for theirs.
    assert grown < 1600 * count, f"{grown / 2**20:.1f} MiB more after {count:,} requests"
