"""`vsearch index --views whole,box`, and what the other commands make of such an index."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_locate import item, write_model_that_locates
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder, embed_views
from vsearch_fast.index import Index

Run = Callable[..., tuple[int, str, str]]
NUMBER = 12
#: The picture whose box the list gives, and the box.
BOXED, OWN = "03.png", (4, 6, 60, 70)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_that_locates(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["path,category,x1,y1,x2,y2"]
    for number in range(NUMBER):
        x, y = (int(v) for v in rng.integers(10, 60, 2))
        made = np.asarray(item(120, 150, (x, y, x + 40, y + 60)))
        noise = rng.integers(0, 24, made.shape, np.uint8)
        Image.fromarray(made // 2 + noise).save(folder / f"{number:02}.png")
        box = ",".join(map(str, OWN)) if f"{number:02}.png" == BOXED else ",,,"
        lines.append(f"{number:02}.png,{'ab'[number % 2]},{box}")
    (folder / "list.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def indexed(vsearch: Run, photos: Path, model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "photos.index"
    code, out, err = vsearch("index", photos, "-o", path, "--csv", photos / "list.csv",
                             "--model", model, "--views", "whole,box", "--quiet")  # fmt: skip
    assert code == 0, err
    assert f"{NUMBER} added" in out and f"{NUMBER} pictures in" in out
    return path


def test_both_views_are_stored(indexed: Path, photos: Path, model: Path) -> None:
    embedder = Embedder(model)
    with Index.open(indexed) as index:
        assert index.views == ("whole", "box") and len(index) == NUMBER
        for held in index:
            box = OWN if held.id == BOXED else None
            assert held.box == box
            picture = photos / held.id
            whole = embedder.embed(picture)[0]
            part = embedder.embed(picture, box or embedder.locate(picture))[0]
            assert np.array_equal(index.features([held.id])[0], np.stack([whole, part]))
            assert not np.array_equal(whole, part)


@pytest.mark.parametrize("metric", ["l2", "l1", "hamming"])
def test_every_photo_of_the_catalogue_finds_itself_first(
    vsearch: Run, indexed: Path, photos: Path, metric: str
) -> None:
    code, out, _ = vsearch("search", indexed, photos, "--metric", metric, "-k", NUMBER, "--json")
    assert code == 0
    answers = json.loads(out)
    assert len(answers) == NUMBER
    for answer in answers:
        first = answer["hits"][0]
        assert (first["path"], first["distance"]) == (answer["query"], 0)
        assert len({hit["id"] for hit in answer["hits"]}) == NUMBER


def test_a_search_takes_the_nearer_view(
    vsearch: Run, indexed: Path, photos: Path, model: Path
) -> None:
    embedder, photo = Embedder(model), photos / "05.png"
    for options, box in (
        ((), None),
        (("--auto-box",), None),
        (("--box", "9,9,80,90"), (9, 9, 80, 90)),
    ):
        features, _ = embed_views(embedder, [photo], [box])
        with Index.open(indexed) as index:
            [hits] = index.search(features, 5)
        _, out, _ = vsearch("search", indexed, photo, "-k", 5, "--json", *options)
        [answer] = json.loads(out)
        assert [(h["id"], h["distance"]) for h in answer["hits"]] == [
            (hit.id, hit.distance) for hit in hits
        ]
    code, out, err = vsearch("search", indexed, photo, "--where", "category=a", "--explain")
    assert code == 0 and "Proof" in err and out.count("photos") >= 1


def test_it_is_kept_up_to_date(vsearch: Run, indexed: Path, photos: Path, model: Path) -> None:
    run = ("index", photos, "-o", indexed, "--csv", photos / "list.csv", "--quiet")
    _, out, err = vsearch(*run)
    assert f"{NUMBER} unchanged" in out and "up to date" in err
    with Index.open(indexed) as index:
        before = index.features(["00.png", "02.png"])
    (photos / "00.png").rename(photos / "new.png")
    (photos / "01.png").unlink()
    shutil.copy(photos / "04.png", photos / "06.png")
    (photos / "07.png").write_bytes(b"no picture")
    text = (photos / "list.csv").read_text()
    (photos / "list.csv").write_text(
        text.replace("00.png", "new.png").replace("02.png,a", "02.png,b")
    )
    code, out, _ = vsearch(*run)
    assert code == 0
    assert "1 described anew, 2 recognised" in out and f"{NUMBER - 2} pictures in" in out
    with Index.open(indexed) as index:
        assert np.array_equal(index.features(["new.png", "02.png"]), before)
        assert np.array_equal(index.features(["06.png"]), index.features(["04.png"]))
        assert index.verify().sound
    code, _, err = vsearch(*run, "--views", "whole")
    assert code != 0 and "holds of each item the views whole,box, not whole" in err


def test_lost_features_are_embedded_again(vsearch: Run, indexed: Path, photos: Path) -> None:
    with Index.open(indexed) as index:
        before = index.features(["00.png", "01.png", BOXED])
        row_bytes = before[0].nbytes
    with open(indexed / "vectors-00000.npy", "r+b") as file:
        file.seek(128 + 3 * row_bytes + row_bytes // 2)  # the box of the fourth
        file.write(b"\x01\x02\x03\x04")
    code, out, _ = vsearch("verify", indexed)
    assert code != 0 and "Rows are not as they were written" in out
    code, out, err = vsearch("verify", indexed, "--repair")
    assert code == 0, out + err
    with Index.open(indexed) as index:
        assert index.verify().sound and len(index) == NUMBER
        assert np.array_equal(index.features(["00.png", "01.png", BOXED]), before)


def test_the_other_commands(vsearch: Run, indexed: Path, photos: Path, tmp_path: Path) -> None:
    _, out, _ = vsearch("info", indexed)
    assert "whole,box" in out
    code, out, _ = vsearch("calibrate", indexed)
    assert code == 0 and f"{NUMBER} items" in out
    assert vsearch("search", indexed, photos / "02.png", "--no-match")[0] == 0
    assert vsearch("compact", indexed)[0] == 0
    assert vsearch("backup", indexed, tmp_path / "copy")[0] == 0
    assert vsearch("verify", tmp_path / "copy")[0] == 0


def test_a_model_that_cannot_locate(
    vsearch: Run, photos: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = write_tiny_model(tmp_path_factory.mktemp("bare") / "tiny.onnx")
    run = ("index", photos, "-o", tmp_path / "new.index", "--model", model, "--views", "whole,box")
    code, _, err = vsearch(*run)
    assert code != 0 and "no file beside it that finds boxes" in err
    assert not (tmp_path / "new.index").exists()


def test_views_in_python(photos: Path, model: Path, tmp_path: Path) -> None:
    embedder = Embedder(model)
    files = sorted(str(path) for path in photos.glob("*.png"))
    with Index.create(tmp_path / "own.index", embedder.dim, views=("whole", "box")) as index:
        features, codes = embed_views(embedder, files)
        index.add(files, features, codes=codes)
        hits = index.search(embed_views(embedder, files[:2])[0], k=3)
    assert [line[0].id for line in hits] == files[:2]
    broken: list[str | bytes] = [files[0], b"no picture", files[1]]
    with pytest.warns(UserWarning, match="Skipped"):
        features, _ = embed_views(embedder, broken, on_error="skip")
    assert features.shape == (2, 2, embedder.dim)
    assert [skipped.position for skipped in embedder.skipped] == [1]
    # A box outside leaves the picture out, not its one view.
    with pytest.warns(UserWarning, match="Skipped"):
        features, _ = embed_views(
            embedder, files[:2], [(900, 900, 999, 999), None], on_error="skip"
        )
    assert len(features) == 1 and embedder.skipped[0].position == 0
