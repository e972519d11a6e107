"""The server under requests that nobody means: no 500, no hang, no growth of memory."""

from __future__ import annotations

import gc
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from served import make_catalogue, serving

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

#: A request that takes longer hangs.
_SECONDS = 20


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(
        make_catalogue(tmp_path_factory.mktemp("fuzzed")),
        max_pixels=1_000_000, kept_bytes=1 << 20, thumbnail_bytes=1 << 20,
    ) as (client, _):  # fmt: skip
        client.timeout = httpx.Timeout(_SECONDS)
        yield client


def test_the_described_api_keeps_its_description(client: httpx.Client) -> None:
    """Schemathesis: requests that fit the OpenAPI description and requests that do not."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    checks = [
        not_a_server_error, status_code_conformance, content_type_conformance,
        response_schema_conformance,
    ]  # fmt: skip
    met = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        met.add(operation.path)

        @settings(
            max_examples=40, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def ask(case) -> None:
            case.call_and_validate(checks=checks, timeout=_SECONDS)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ask()
    assert {"/api/search", "/api/items", "/api/thumbnails", "/healthz", "/metrics"} <= met


def encoded(kind: str, size: tuple[int, int] = (23, 17)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(file, kind)
    return file.getvalue()


_FILES = {kind: encoded(kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A picture cut off, with bytes changed, inserted or doubled."""
    data = bytearray(_FILES[draw(st.sampled_from(sorted(_FILES)))])
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["cut", "change", "insert", "double"]))
        if kind == "cut":
            del data[at:]
        elif kind == "change" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=20))
        else:
            data[at:at] = data[max(0, at - 50) : at]
    return bytes(data)


@settings(max_examples=300, database=None, suppress_health_check=list(HealthCheck))
@given(data=damaged(), box=st.sampled_from([None, "auto", "0,0,5,5"]), name=st.text(max_size=20))
def test_damaged_pictures_are_answered(
    client: httpx.Client, data: bytes, box: str | None, name: str
) -> None:
    answer = client.post(
        "/api/search",
        files={"image": (name or "x", data)},
        data={"k": "2"} | ({"box": box} if box else {}),
    )
    assert answer.status_code in (200, 400, 413, 415, 422), answer.text
    if answer.status_code != 200:
        assert answer.json()["error"]["cause"]


@settings(max_examples=200, database=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=300),
    kind=st.sampled_from(
        [
            "multipart/form-data; boundary=b", "multipart/form-data", "application/json",
            "application/x-www-form-urlencoded", "text/plain; charset=nope", "",
        ]
    ),
)  # fmt: skip
def test_any_body_is_answered(client: httpx.Client, body: bytes, kind: str) -> None:
    for content in (body, b"--b\r\n" + body + b"\r\n--b--\r\n"):
        answer = client.post("/api/search", content=content, headers={"Content-Type": kind})
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json()["error"]["cause"]


def _memory() -> int:
    """Bytes of this process, the server's too, that are in memory."""
    gc.collect()
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc: not Linux")
def test_memory_does_not_grow(client: httpx.Client) -> None:
    """10,000 requests, each with something the server might keep: uploads, addresses, errors."""

    def requests(first: int, count: int) -> None:
        for number in range(first, first + count):
            kind = number % 5
            if kind == 0:  # a picture never seen before, which is kept for its link
                picture = bytearray(_FILES["BMP"])
                picture[-8:] = number.to_bytes(8, "little")
                answer = client.post(
                    "/api/search", files={"image": (f"{number}.bmp", bytes(picture))}
                )
                assert answer.status_code == 200
            elif kind == 1:
                broken = client.post("/api/search", files={"image": (f"{number}", b"x" * 5000)})
                assert broken.status_code == 415
            elif kind == 2:
                assert client.get(f"/nowhere/{number}").status_code == 404
            elif kind == 3:
                parameters = {"where": f"category={number}"}
                assert client.get("/api/items", params=parameters).status_code == 200
            else:
                data = {"id": f"{number % 30:03}.png", "box": f"0,0,{number % 90 + 1},50"}
                assert client.post("/api/search", data=data).status_code == 200

    requests(0, 2500)  # until all caches are full
    before = _memory()
    requests(2500, 10_000)
    grown = _memory() - before
    # 400 bytes a request would be 4 MB; allocators round, and leave holes.
    assert grown < 16 << 20, f"{grown / 2**20:.1f} MiB more after 10,000 requests"
