"""The page and the API in front of a cluster: the tests of tests/web that ask a running server."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from on_nodes import connect
from ray_nodes import PATIENCE, Nodes
from served import make_catalogue, search, serving, wait_for

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.cluster.index import ClusterIndex
from vsearch_fast.shards.splitting import split

WEB = Path(__file__).resolve().parents[1] / "web"
#: What such a test may ask for: those that ask for more make catalogues of their own.
ASKED = {"client", "catalogue"}


def _asking(name: str) -> dict[str, Callable[..., None]]:
    """Tests of a file that have a client and the catalogue, and ask for nothing else."""
    found = importlib.util.spec_from_file_location(f"web_{name}", WEB / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    tests = {}
    for test, function in vars(module).items():
        if not test.startswith("test_"):
            continue
        marks = getattr(function, "pytestmark", [])
        given = {
            each.strip()
            for mark in marks
            if mark.name == "parametrize"
            for each in (mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0])
        }
        if set(inspect.signature(function).parameters) - given <= ASKED:
            tests[test] = function
    assert len(tests) >= 3, name
    return tests


for _name in ("test_search", "test_catalogue", "test_errors"):
    globals().update(_asking(_name))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    one = make_catalogue(tmp_path_factory.mktemp("served"))
    place = one  # those tests know its name
    one = one.rename(one.with_name("one.index"))
    split(one, 3, place)
    return place


@pytest.fixture(scope="module")
def served(shards: Path, address: str) -> Iterator[tuple[Any, Any]]:
    with serving(shards, lambda: connect(address, shards)) as pair:
        wait_for(lambda: len(pair[1].facts.likeness) == 3)
        assert isinstance(pair[1].index, ClusterIndex)
        yield pair


@pytest.fixture(scope="module")
def client(served: tuple[Any, Any]) -> Any:
    return served[0]


@pytest.fixture(scope="module")
def catalogue(served: tuple[Any, Any]) -> Any:
    return served[1]


def test_what_was_learnt_is_kept_in_the_list(catalogue: Any, shards: Path) -> None:
    wait_for(lambda: "likeness l2" in json.loads((shards / "shards.json").read_text())["notes"])


def test_vsearch_search(vsearch: Any, cluster: Nodes, shards: Path) -> None:
    photo = shards.parent / "pictures" / "007.png"
    arguments = ("search", shards, photo, "--where", "category=Lamp", "--json", "-k", "3")
    expected = vsearch(*arguments)
    assert expected[0] == 0
    assert vsearch(*arguments, "--ray", cluster.address)[:2] == expected[:2]


def test_vsearch_serve(cluster: Nodes, shards: Path) -> None:
    arguments = ["serve", str(shards), "--ray", cluster.address, "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vsearch_fast.cli", *arguments],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if match := re.match(r"Serving on (\S+)", line):
                break
        else:
            raise AssertionError(said)
        with httpx.Client(base_url=match[1], timeout=PATIENCE) as client:
            assert client.get("/api/catalogue").json()["pictures"] == 30
            found = search(client, id="001.png", k=5)["results"][0]["matches"]
            with connect(cluster.address, shards) as here:
                hits = here.search(here.features(["001.png"]), 6)[0]
            expected = [hit.id for hit in hits if hit.id != "001.png"][:5]
            assert [match["id"] for match in found] == expected
        process.send_signal(signal.SIGTERM)
        # Ray, where it is in a process, makes an exit of the signal.
        assert process.wait(PATIENCE) in (-signal.SIGTERM, signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()
