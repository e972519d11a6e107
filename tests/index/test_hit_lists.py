"""Hits as tables, and what a notebook shows of them, of an index and of a proof."""

from __future__ import annotations

import base64
import copy
import io
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_data import DIM, described
from PIL import Image

from vsearch_fast import notebook, optional
from vsearch_fast.errors import MissingDependencyError
from vsearch_fast.index import Answers, Hit, Hits, Index
from vsearch_fast.index.items import Item
from vsearch_fast.search import topk
from vsearch_fast.shards.index import ShardedIndex

ATTACK = (
    "\"><script>alert(1)</script><img src=x onerror='alert(2)'>$\\href{javascript:3}{x}$\u202e&"
)


KNOWN = {
    "div", "p", "strong", "span", "table", "thead", "tbody", "tr", "th", "td", "ol", "li", "figure",
    "figcaption", "img", "br", "bdi",
}  # fmt: skip


class Seen(HTMLParser):
    """What a browser would make of HTML: elements, attributes, texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def seen(shown: Any) -> Seen:
    found = Seen(shown._repr_html_())
    assert {name for name, _ in found.elements} <= KNOWN
    for _, attributes in found.elements:
        names = set(attributes)
        assert names <= {"class", "role", "aria-label", "style", "scope", "src", "alt", "title"}
        assert (attributes.get("src") or "data:image/jpeg;base64,").startswith(
            "data:image/jpeg;base64,"
        )
        assert "url(" not in (attributes.get("style") or "")
    assert found.elements[0][1]["class"] == "tex2jax_ignore mathjax_ignore"
    return found


def hits(*metadata: dict[str, Any]) -> Hits:
    return Hits(
        Hit(
            f"id {n}", n + 0.5, f"/p/{n}.jpg" if n else None, (1, 2, 3, 4) if n % 2 else None, known
        )
        for n, known in enumerate(metadata)
    )


def test_answers_are_lists(index: Index, data: np.ndarray) -> None:
    answers, _ = index.search(data[:3], 4, explain=True)
    assert type(answers) is Answers and {type(each) for each in answers} == {Hits}
    assert isinstance(answers, list) and answers == [list(each) for each in answers]
    [first, *_] = answers
    assert isinstance(first[0], Hit) and first[1:3] == [first[1], first[2]]
    assert type(first[:2]) is Hits and first[-1] is first[3]
    for again in (pickle.loads(pickle.dumps(answers)), copy.deepcopy(answers)):
        assert again == answers and type(again) is Answers and type(again[0]) is Hits


def test_sharded_answers_are_the_same(index: Index, data: np.ndarray, tmp_path: Path) -> None:
    with ShardedIndex.create(tmp_path / "shards", [index.path]) as sharded:
        found = sharded.search(data[:2], 3)
        assert type(found) is Answers and found == index.search(data[:2], 3)
        assert "ShardedIndex" in sharded._repr_html_()


def test_a_table_has_each_hit(index: Index, data: np.ndarray) -> None:
    pytest.importorskip("pyarrow")
    answers = index.search(data[:2], 3)
    table = answers.to_arrow()
    assert table.column_names == [
        "query", "rank", "id", "distance", "path", "x1", "y1", "x2", "y2", "colour", "new", "nr",
        "price",
    ]  # fmt: skip
    lines = table.to_pylist()
    assert [(line["query"], line["rank"]) for line in lines] == [
        (query, rank) for query in (0, 1) for rank in (1, 2, 3)
    ]
    for line, hit in zip(lines, [hit for each in answers for hit in each], strict=True):
        box = tuple(line[name] for name in ("x1", "y1", "x2", "y2"))
        assert box == (hit.box or (None,) * 4)
        assert {name: line[name] for name in ("id", "distance", "path")} == {
            "id": hit.id, "distance": hit.distance, "path": hit.path,
        }  # fmt: skip
        assert {name: line[name] for name in hit.metadata} == hit.metadata
    assert "query" not in answers[0].to_arrow().column_names
    assert str(table.schema.field("distance").type) == "double"
    by_bits = index.search(data[:2], 3, "hamming").to_arrow()
    assert str(by_bits.schema.field("distance").type) == "int64"


def test_names_that_a_table_has_itself_and_values_of_all_kinds() -> None:
    pytest.importorskip("pyarrow")
    found = hits({"rank": "r", "metadata.rank": 1, "mixed": 1}, {"mixed": "1", "many": ["a", "b"]})
    line, other = found.to_arrow().to_pylist()
    assert (
        line["rank"] == 1 and line["metadata.rank"] == "r" and line["metadata.metadata.rank"] == 1
    )
    assert (line["mixed"], other["mixed"]) == ("1", '"1"') and other["many"] == ["a", "b"]
    assert line["path"] is None and other["x1"] == 1


def test_nothing_is_a_table_too() -> None:
    pytest.importorskip("pyarrow")
    assert Answers().to_arrow().num_rows == 0
    assert Answers([[], []]).to_arrow().column_names[:2] == ["query", "rank"]
    assert Hits().to_arrow().column_names[0] == "rank"


def test_pandas() -> None:
    pytest.importorskip("pandas")
    found = Answers([hits({"n": 2**60 + 1, "new": True}, {}), hits({"n": 7})])
    frame = found.to_pandas()
    assert frame["n"].tolist()[0] == 2**60 + 1 and frame["n"].isna().tolist() == [
        False,
        True,
        False,
    ]
    assert str(frame.dtypes["n"]) == "Int64" and str(frame.dtypes["x1"]) == "Int32"
    assert frame["query"].tolist() == [0, 0, 1] and frame["distance"].tolist() == [0.5, 1.5, 0.5]


def test_polars() -> None:
    polars = pytest.importorskip("polars")
    frame = Answers([hits({"n": 2**60 + 1}, {})]).to_polars()
    assert frame["n"].to_list() == [2**60 + 1, None]
    assert frame.schema["distance"] == polars.Float64


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_package_that_is_not_there(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = optional.package

    def without(name: str) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(optional, "package", without)
    with pytest.raises(MissingDependencyError, match=rf"{package} is not installed.*frames"):
        getattr(hits({}), f"to_{package}")()


def test_pictures_are_shown_inside(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 900, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    Image.new("RGB", (30, 90), "white").save(tmp_path / "tall.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    names = ["noise.png", "tall.png", "broken.jpg", "gone.jpg"]
    found = seen(
        Hits(
            [
                *(Hit(name, 1.5, str(tmp_path / name), (0, 0, 15, 45), {"n": 1}) for name in names),
                Hit("none", 2, None, None, {}),
            ]
        )
    )
    pictures = found.of("img")
    assert [each["alt"] for each in pictures] == [
        "Hit 1: noise.png, distance 1.5", "Hit 2: tall.png, distance 1.5",
    ]  # fmt: skip
    sizes = []
    for each in pictures:
        data = base64.b64decode((each["src"] or "").partition(",")[2])
        assert len(data) <= notebook.MOST_BYTES
        sizes.append(Image.open(io.BytesIO(data)).size)
    assert sizes[0] == (160, 71) and max(sizes[1]) <= 160
    # The box is drawn, in the picture's own scale.
    small = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    edge, within = small[0, 5], small[20, 5]
    assert edge[0] > edge[2] + 60 and abs(within - 255).max() < 25
    told = [each["aria-label"] or "" for each in found.of("div")[1:]]
    assert told[0].endswith("picture cannot be read") and told[1].endswith("picture is missing")
    assert told[2] == "Hit 5: none, distance 2: no picture"
    assert "id" not in found.texts and "n: 1" in found.texts and "distance 2" in found.texts


def test_nothing_in_a_text_is_markup(tmp_path: Path) -> None:
    folder = tmp_path / "<b>&\"'"
    folder.mkdir()
    Image.new("RGB", (9, 9)).save(folder / "a'\"<i>.png")
    found = Answers(
        [
            [
                Hit(ATTACK, 1.0, str(folder / "a'\"<i>.png"), None, {ATTACK: ATTACK}),
                Hit("\ud800" * 3, 2.0, f"/{ATTACK}", None, {"list": [ATTACK, "\x00\x1b[0m"]}),
            ]
        ]
    )
    shown = seen(found)
    assert [name for name, _ in shown.elements].count("img") == 1
    assert any(each.startswith('1. "><script>alert(1)') for each in shown.texts)
    page = found._repr_html_()
    assert page.encode() and not re.search("[\x00-\x1f\u202e]", page)
    assert all(len(each) <= 300 for each in shown.texts)


def test_what_is_shown_has_an_end() -> None:
    many = Hits(Hit(str(n), n, None, None, {}) for n in range(1000))
    found = seen(many)
    assert len(found.of("li")) == 20 and "and 980 more" in found.texts
    found = seen(Answers([many] * 50))
    assert len(found.of("li")) == 60 and "and 40 queries more" in found.texts
    assert "No hits" in seen(Hits()).texts and "No queries" in seen(Answers()).texts


def test_an_index_is_shown(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "navy").save(tmp_path / "0.png")
    with Index.create(tmp_path / "i", DIM, model_id=ATTACK) as index:
        assert "none" in seen(index).texts
        items = [described(row) for row in range(9)]
        items[0] = Item("item 0", path=str(tmp_path / "0.png"), metadata={ATTACK: 1})
        index.add([item.id for item in items], np.ones((9, DIM), np.float32), items)
        index.remove(["item 8"])
        shown = seen(index)
        assert "8 (and 1 removed row, which vsearch compact drops)" in shown.texts
        assert f"{DIM} numbers, float32" in shown.texts
        assert len(shown.of("img")) == 1 and len(shown.of("li")) == 6
    assert "was closed" in "".join(seen(index).texts)


def test_a_proof_is_shown(index: Index, data: np.ndarray) -> None:
    _, proof = index.search(data[:2], 3, explain=True)
    shown = seen(proof)
    lines = dict(zip(shown.texts, shown.texts[1:], strict=False))
    assert lines["pairs of a query and a row"] == f"{2 * len(data):,}"
    assert lines["computed from stored values"] == f"{proof.scanned:,}"
    rows = np.random.default_rng(0).standard_normal((2000, 256)).astype(np.float32)
    _, _, proof = topk(rows[:2], rows, 3, metric="l2", strategy="sketch", explain=True)
    shown = seen(proof)
    lines = dict(zip(shown.texts, shown.texts[1:], strict=False))
    assert lines["bounded by sketches"] == f"{proof.sketched:,}" and proof.sketched
    assert lines["left for float64"] == f"{proof.undecided:,}"
