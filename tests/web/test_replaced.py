"""An index that is replaced, taken away or fails while it is served."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from served import PATIENCE, make_catalogue, png, refused, search, serving, wait_for

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.errors import ModelError, StoreError
from vsearch_fast.index import Index


def another(folder: Path, source: Path, *, model_id: str | None = None, count: int = 3) -> Path:
    """An index of the same model with other items, `new-0` being item 001.png's very features."""
    with Index.open(source) as old:
        row = old.features(["001.png"])
        with Index.create(
            folder / "another.index", old.dim, model=old.model, exist_ok=False,
            model_id=old.model_id if model_id is None else model_id,
        ) as new:  # fmt: skip
            rows = np.concatenate([row, np.zeros((count - 1, old.dim), np.float32)])
            new.add([f"new-{n}" for n in range(count)], rows)
    return folder / "another.index"


def best(answer: dict[str, Any]) -> str:
    return str(answer["results"][0]["matches"][0]["id"])


def swap_folders(place: Path, new: Path) -> None:
    place.rename(place.with_name("old.index"))
    new.rename(place)


def swap_links(place: Path, new: Path) -> None:
    link = place.with_name("next")
    link.symlink_to(new)
    link.rename(place)


def build_anew(place: Path, new: Path) -> None:
    shutil.rmtree(place)
    shutil.copytree(new, place)


def replace_files(place: Path, new: Path) -> None:
    for file in place.iterdir():
        file.unlink()
    for file in new.iterdir():
        shutil.copy(file, place / file.name)


@pytest.mark.posix
@pytest.mark.parametrize("swap", [swap_folders, swap_links, build_anew, replace_files])
def test_a_replacement_is_seen_at_the_next_search(tmp_path: Path, swap: Any) -> None:
    real = make_catalogue(tmp_path / "a", 6)
    place = tmp_path / "a" / "served.index"
    if swap is swap_links:
        place.symlink_to(real)
    else:
        real.rename(place)
    new = another(tmp_path, place)
    with serving(place) as (client, catalogue):
        wait_for(lambda: len(catalogue.facts.likeness) == 3)
        kept = search(client, png())["query"]["kept"]
        old = catalogue.index
        assert best(search(client, id="001.png")) != "new-0"
        swap(place, new)
        # An upload of before, and a link to an item that is gone; both at once.
        assert best(search(client, query=kept)).startswith("new-")
        refused(client.post("/api/search", data={"id": "001.png"}), 404, "001.png")
        assert best(search(client, id="new-0")) in ("new-1", "new-2")
        assert client.get("/api/catalogue").json()["pictures"] == 3
        assert client.get("/api/items").json()["items"][0]["id"] == "new-0"
        assert client.get("/healthz").json() == {"status": "ok", "pictures": 3}
        assert catalogue.index is not old
        wait_for(lambda: len(catalogue.facts.likeness) == 3)  # of the new one, soon
        answer = search(client, id="new-0", metric="all")
        assert all("label" in match for result in answer["results"] for match in result["matches"])


def test_an_index_that_is_taken_away_and_put_back(tmp_path: Path) -> None:
    place = make_catalogue(tmp_path, 4)
    with serving(place) as (client, _):
        place.rename(tmp_path / "aside")
        for answer in (
            client.post("/api/search", data={"id": "001.png"}),
            client.post("/api/search", files={"image": ("a.png", png())}),
            client.get("/api/items"),
            client.get("/api/items", params={"id": "001.png"}),
            client.get("/api/catalogue"),
            client.get("/api/thumbnails", params={"id": "001.png"}),
            client.get("/healthz"),
        ):
            refused(answer, 503, "not at its address")
            assert answer.headers["retry-after"] and str(tmp_path) not in answer.text
        assert client.get("/livez").json() == {"status": "ok"}
        (tmp_path / "aside").rename(place)
        assert len(search(client, id="001.png")["results"][0]["matches"]) == 3
        wait_for(lambda: client.get("/healthz").status_code == 200)  # it is looked at each second


def test_an_index_of_another_model_is_not_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = make_catalogue(tmp_path, 4)
    new = another(tmp_path, place, model_id="0" * 64)
    with serving(place) as (client, _):
        swap_folders(place, new)
        for _ in range(3):
            refused(client.post("/api/search", data={"id": "new-0"}), 503, "another model")
        refused(client.get("/healthz"), 503, "another model")
        shutil.rmtree(place)
        (tmp_path / "old.index").rename(place)
        assert len(search(client, id="001.png")["results"][0]["matches"]) == 3
    assert caplog.text.count("one of another model") == 1  # once, not a line a request


@pytest.mark.posix
def test_searches_never_fail_while_links_are_moved(tmp_path: Path) -> None:
    """Every answer is of one of the two, whole; none of both."""
    real = make_catalogue(tmp_path / "a", 6)
    place = tmp_path / "a" / "served.index"
    place.symlink_to(real)
    new = another(tmp_path, real, count=6)
    begun, moved = threading.Semaphore(0), threading.Semaphore(0)
    searches = 60

    def move() -> None:
        # One move a search, at another moment of each, however fast or slow it is.
        for number in range(searches):
            begun.acquire()
            time.sleep(number % 5 * 0.004)
            swap_links(place, (new, real)[number % 2])
            moved.release()

    with serving(place) as (client, _):
        kept = search(client, png())["query"]["kept"]
        threading.Thread(target=move, daemon=True).start()
        seen: set[bool] = set()
        for number in range(searches):
            begun.release()
            found = search(client, query=kept, metric=("l2", "l1", "hamming")[number % 3])
            kinds = {match["id"].startswith("new-") for match in found["results"][0]["matches"]}
            assert len(kinds) == 1
            seen |= kinds
            assert moved.acquire(timeout=PATIENCE)
        assert seen == {True, False}


def test_what_goes_wrong_does_not_end_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vsearch_fast.web.service._LOOK", 0.02)
    monkeypatch.setattr("vsearch_fast.web.service._REFRESH", 0.04)
    place = make_catalogue(tmp_path, 4)
    with serving(place) as (client, catalogue):
        wait_for(lambda: len(catalogue.facts.likeness) == 3)
        times: list[float] = []
        errors = [StoreError("locked for 30 s"), RuntimeError("x"), OSError("y")]
        plain = catalogue.refresh

        def refresh() -> None:
            times.append(time.monotonic())
            if errors:
                raise errors.pop(0)
            plain()

        monkeypatch.setattr(catalogue, "refresh", refresh)
        wait_for(lambda: len(times) > 6)
        with Index.open(place, mode="rw") as writer:
            writer.remove(["002.png"])
        wait_for(lambda: client.get("/api/catalogue").json()["pictures"] == 3)
    assert caplog.text.count("locked for 30 s") == 1


def test_health_tells_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch_fast.web.service._LOOK", 0.0)
    monkeypatch.setattr("vsearch_fast.web.service._HEALTHY", PATIENCE)
    place = make_catalogue(tmp_path, 4)
    broken = StoreError(f"{tmp_path} is damaged", "Nothing was searched", "Restore it")

    def fail(*arguments: Any, **options: Any) -> Any:
        raise broken

    with serving(place) as (client, catalogue):
        assert client.get("/healthz").json() == {"status": "ok", "pictures": 4}
        with monkeypatch.context() as patched:
            patched.setattr(Index, "search", fail)
            refused(client.post("/api/search", data={"id": "001.png"}), 503, "does not work now")
            answer = client.get("/healthz")
            refused(answer, 503, "cannot be searched")
            assert str(tmp_path) not in answer.text  # open to those without a token
            assert client.head("/healthz").status_code == 503
            assert client.get("/livez").status_code == 200
        wait_for(lambda: client.get("/healthz").status_code == 200)  # tried again by itself
        with monkeypatch.context() as patched:
            patched.setattr(
                catalogue.embedder, "both", lambda *a: (_ for _ in ()).throw(ModelError("gone"))
            )
            picture = {"image": ("a.png", png(5))}
            refused(client.post("/api/search", files=picture), 503)
            refused(client.get("/healthz"), 503, "network")
        wait_for(lambda: client.get("/healthz").status_code == 200)
        # What an index does that waits for another process's lock.
        with monkeypatch.context() as patched:
            go = threading.Event()
            patched.setattr(Index, "__len__", lambda self: (go.wait(PATIENCE), 4)[1])
            patched.setattr("vsearch_fast.web.service._HEALTHY", 0.5)
            refused(client.get("/healthz"), 503, "has not answered")
            go.set()
        wait_for(lambda: client.get("/healthz").status_code == 200)


def test_a_reading_error_is_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_catalogue(tmp_path, 4)
    with serving(place) as (client, catalogue):
        monkeypatch.setattr("vsearch_fast.web.current._AGAIN", 0.0)
        plain = Index.search
        failed: list[Index] = []

        def once(self: Index, *arguments: Any, **options: Any) -> Any:
            if not failed:
                failed.append(self)
                raise StoreError(f"{self.path} was replaced", "Nothing was searched", "Open it")
            return plain(self, *arguments, **options)

        monkeypatch.setattr(Index, "search", once)
        assert len(search(client, id="001.png")["results"][0]["matches"]) == 3
        assert failed and failed[0] is not catalogue.index


def test_two_servers_on_one_index_and_a_writer(tmp_path: Path) -> None:
    place = make_catalogue(tmp_path, 5)
    with serving(place) as (one, first), serving(place) as (two, _):
        row = first.index.features(["001.png"])
        with Index.open(place, mode="rw") as writer:
            for number in range(5):
                writer.add([f"more-{number}"], row)
                for client in (one, two):
                    found = search(client, id="001.png", k=100)["results"][0]["matches"]
                    assert [match["id"] for match in found[: number + 1]] == [
                        f"more-{n}" for n in range(number + 1)
                    ]


def test_the_first_searches_are_made_by_one_thread_before_any_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_catalogue(tmp_path, 4)
    threads: list[int] = []
    plain = Index.search

    def noted(self: Index, *arguments: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return plain(self, *arguments, **options)

    monkeypatch.setattr(Index, "search", noted)
    with serving(place):
        assert len(threads) >= 3 and len(set(threads[:3])) == 1


def test_a_client_that_goes_while_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_catalogue(tmp_path, 4)
    with serving(place, seconds=3, waiting=32) as (client, catalogue):
        go = threading.Event()
        plain = catalogue._scan
        monkeypatch.setattr(
            catalogue, "_scan", lambda requests: (go.wait(PATIENCE), plain(requests))[1]
        )
        for _ in range(2):  # the wait of each ends while others are queued with equal arrays
            answers: list[int] = []
            threads = [
                threading.Thread(target=lambda to=answers: to.append(ask(client))) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            with pytest.raises(httpx.ReadTimeout):
                impatient = httpx.Timeout(PATIENCE, read=0.3)
                client.post("/api/search", data={"id": "001.png"}, timeout=impatient)
            for thread in threads:
                thread.join()
            assert set(answers) == {503}
        go.set()
        wait_for(lambda: ask(client) == 200)


def ask(client: httpx.Client) -> int:
    return client.post("/api/search", data={"id": "001.png"}).status_code
