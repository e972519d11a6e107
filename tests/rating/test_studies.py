"""Studies, schedules and the ratings file."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_data import indexes, study

from vsearch_fast.errors import ArgumentError, StoreError, UnknownIdError
from vsearch_fast.index import Index
from vsearch_fast.rating import Ratings, Settings, make, tasks
from vsearch_fast.rating.schedule import BLOCK, total

nicknames = st.text(min_size=1, max_size=8).filter(str.isprintable)


@st.composite
def studies(draw, distinct=False):
    queries = draw(st.integers(1, 26))
    systems = draw(st.integers(2, 5))
    depth = draw(st.integers(1, 3))
    if distinct:  # no two systems find anything in common
        rows = [[[10 * s + r for r in range(depth)] for s in range(systems)]] * queries
    else:
        row = st.lists(st.integers(0, 4), min_size=0, max_size=depth, unique=True)
        rows = [[draw(row) for _ in range(systems)] for _ in range(queries)]
    mode = draw(st.sampled_from(["match", "better", "both"]))
    return study(rows, mode=mode, judged=depth, seed=draw(st.integers(0, 5)))


# The schedule


@given(studies(), nicknames, nicknames)
def test_every_rater_has_the_same_questions_each_once(made, one, other):
    first, second = tasks(made, one), tasks(made, other)
    keys = [task.key for task in first]
    assert len(set(keys)) == len(keys) == total(made)
    assert sorted(keys) == sorted(task.key for task in second)
    assert [task.number for task in first] == list(range(1, len(first) + 1))
    assert first == tasks(made, one)
    expected = set()
    for query, rows in enumerate(made.rows):
        if made.settings.mode != "better":
            expected |= {f"match {query} {p}" for row in rows for p in row[: made.settings.judged]}
        if made.settings.mode != "match":
            expected |= {
                f"better {query} {a} {b}"
                for a, b in combinations(range(len(rows)), 2)
                if rows[a] != rows[b]
            }
    assert set(keys) == expected


@given(studies(), nicknames)
def test_sides_are_balanced_after_any_number_of_tasks(made, nickname):
    left: Counter[tuple[int, ...]] = Counter()
    for task in tasks(made, nickname):
        if task.mode == "better":
            assert task.sides is not None
            pair = tuple(sorted(task.sides))
            left[pair] += 1 if task.sides == pair else -1
            assert abs(left[pair]) <= 1


@given(studies(distinct=True), nicknames)
def test_pairs_and_systems_are_balanced_after_any_number_of_tasks(made, nickname):
    pairs, systems = Counter(dict.fromkeys(made.pairs, 0)), Counter(range(len(made.systems)))
    block = None
    for task in tasks(made, nickname):
        if task.mode == "better":
            assert task.sides is not None
            pairs[tuple(sorted(task.sides))] += 1
            assert max(pairs.values()) - min(pairs.values()) <= 1
        else:
            [system] = made.finders(task.query, task.picture)
            systems[system] += 1
            assert max(systems.values()) - min(systems.values()) <= 1
        assert block is None or task.query // BLOCK in (block, block + 1)
        block = task.query // BLOCK


@given(studies(), nicknames, nicknames, st.data())
def test_raters_who_stop_share_all_but_the_last_block(made, one, other, data):
    stop = data.draw(st.integers(0, total(made)))
    seen = [{task.key for task in tasks(made, name)[:stop]} for name in (one, other)]
    reached = [task.query // BLOCK for task in tasks(made, one)[:stop]]
    whole = {t.key for t in tasks(made, one) if t.query // BLOCK < max(reached, default=0)}
    assert whole <= seen[0] & seen[1]


def test_schedules_stay_as_they_are_between_versions():
    made = study([[[1, 2], [2, 1]], [[3, 4], [5, 6]], [[1, 2], [1, 2]]], mode="both", seed=7)
    assert [(t.key, t.sides) for t in tasks(made, "ann")] == SCHEDULE


SCHEDULE = [
    ("better 1 0 1", (1, 0)),
    ("better 0 0 1", (0, 1)),
    ("match 2 1", None),
    ("match 1 5", None),
    ("match 0 1", None),
    ("match 1 3", None),
    ("match 0 2", None),
]


# Making a study


def test_results_are_the_exact_ones_without_the_query_and_its_group(tmp_path):
    first, second = indexes(tmp_path)
    made = make([first, second], ["l2", "hamming"], Settings("both", 9, 4, group="sender"))
    assert [s.name for s in made.systems] == [
        "first l2", "first hamming", "second l2", "second hamming",
    ]  # fmt: skip
    assert len(made.queries) == 9
    marked = {p.id: p.region for p in made.pictures if p.region is not None}
    assert marked == {"item03": (0.25, 0.1, 0.75, 1.0)}
    for system, of in enumerate(made.systems):
        with Index.open(of.index) as index:
            senders = {item.id: item.metadata["sender"] for item in index}
            for query, rows in enumerate(made.rows):
                name = made.pictures[made.queries[query]].id
                [hits] = index.search(index.features([name]), k=24, metric=of.metric)
                wanted = [hit for hit in hits if senders[hit.id] != senders[name]][:4]
                assert [made.pictures[p].id for p in rows[system]] == [hit.id for hit in wanted]
                assert made.distances[query][system] == tuple(hit.distance for hit in wanted)


def test_rows_are_full_where_the_own_group_is_larger_than_the_first_search(tmp_path):
    ids = [f"i{n:03}" for n in range(200)]
    features = np.zeros((200, 4), np.float32)
    features[:150, 0] = 1  # one crowd, and the others farther away
    features[150:, 1] = np.arange(50) + 5
    items = [{"sender": "crowd" if n < 150 else f"s{n}"} for n in range(200)]
    from vsearch_fast.index import Item

    with Index.create(tmp_path / "i", dim=4) as index:
        described = [Item(i, path=f"/p/{i}", metadata=m) for i, m in zip(ids, items, strict=True)]
        index.add(ids, features, described)
    made = make([tmp_path / "i"], ["l2"], Settings("match", 200, 3, group="sender"))
    for query, [row] in enumerate(made.rows):
        name = made.pictures[made.queries[query]].id
        if name < "i150":
            assert [made.pictures[p].id for p in row] == ["i150", "i151", "i152"]


def test_the_same_queries_are_drawn_again_and_more_of_them_with_a_larger_number(tmp_path):
    [path] = indexes(tmp_path, names=("one",))
    few, many = (make([path], ["l2"], Settings("match", n, seed=3)) for n in (5, 11))

    def names(made):
        return [made.pictures[p].id for p in made.queries]

    assert names(few) == names(many)[:5]
    assert names(few) != names(make([path], ["l2"], Settings("match", 5, seed=4)))


def test_what_cannot_be_a_study_is_refused_with_a_cure(tmp_path):
    first, second = indexes(tmp_path)
    with pytest.raises(ArgumentError, match=r"one system only.*second index or another --metric"):
        make([first], ["l2"], Settings("better"))
    with pytest.raises(ArgumentError, match=r"No item.*column 'shop'.*category, sender"):
        make([first], ["l2"], Settings(group="shop"))
    with Index.open(second, mode="rw") as index:
        index.remove(["item07", "item03"])
    with pytest.raises(ArgumentError, match=r"holds 2 items that .* does not, such as 'item03'"):
        make([second, first], ["l2"], Settings())
    with pytest.raises(ArgumentError, match="more than the 5 results"):
        Settings(judged=6)


# The file


def two_rows():
    return study([[[1, 2], [3, 4]] for _ in range(6)])


def test_what_is_written_is_read_again(tmp_path):
    first, second = indexes(tmp_path)
    made = make([first, second], ["l2", "hamming"], Settings("both", 9, 4))
    with Ratings.create(tmp_path / "r.sqlite", made) as ratings:
        assert ratings.study is made
    with Ratings.open(tmp_path / "r.sqlite") as ratings:
        assert ratings.study == made
    with pytest.raises(ArgumentError, match=r"r\.sqlite holds a study already.*another file"):
        Ratings.create(tmp_path / "r.sqlite", made)


def test_judging_undoing_and_judging_again(tmp_path):
    with Ratings.create(tmp_path / "r", two_rows()) as ratings:
        own = tasks(ratings.study, "ann")
        assert ratings.join(" ann ") == "ann" == ratings.join("ann")
        assert ratings.undo("ann") is None
        assert ratings.judge("ann", own[0], "left")
        assert not ratings.judge("ann", own[0], "left")  # sent twice, stored once
        with pytest.raises(ArgumentError, match=r"answered 'left' before"):
            ratings.judge("ann", own[0], "right")
        with pytest.raises(ArgumentError, match=r"'same' is no answer.*left, right"):
            ratings.judge("ann", own[1], "same")
        ratings.judge("ann", own[1], "equal")
        assert ratings.undo("ann", number=1) is None  # not the last one
        assert ratings.undo("ann", number=2) == 2
        assert ratings.undo("ann", number=2) is None  # sent twice, undone once
        assert ratings.done("ann") == {own[0].key}
        ratings.judge("ann", own[1], "right")
        assert [(j.task, j.answer, j.sides) for j in ratings.judgements()] == [
            (own[0].key, "left", own[0].sides), (own[1].key, "right", own[1].sides),
        ]  # fmt: skip
        with pytest.raises(UnknownIdError, match="no rater 'bob'"):
            ratings.judge("bob", own[0], "left")
    with sqlite3.connect(tmp_path / "r") as sql:  # nothing is deleted
        assert sql.execute("SELECT count(*), count(undone) FROM judgements").fetchone() == (3, 1)


@pytest.mark.parametrize("nickname", ["", "  ", "x" * 41, "a\nb", "a\0b", "\ud800"])
def test_nicknames_that_are_refused(tmp_path, nickname):
    with (
        Ratings.create(tmp_path / "r", two_rows()) as ratings,
        pytest.raises(ArgumentError, match="Choose 1 to 40"),
    ):
        ratings.join(nickname)


@pytest.mark.parametrize("content", [b"", b"no database at all, just text " * 50, None])
def test_files_that_are_no_ratings_are_refused_and_left_alone(tmp_path, content):
    file = tmp_path / "r.sqlite"
    if content is None:
        with sqlite3.connect(file) as sql:
            sql.execute("CREATE TABLE other (x)")
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    with pytest.raises(StoreError, match=r"r\.sqlite"):
        Ratings.open(file)
    if content != b"":
        with pytest.raises(StoreError, match=r"r\.sqlite"):
            Ratings.create(file, two_rows())
    assert file.read_bytes() == before
    with pytest.raises(StoreError, match="There are no ratings at"):
        Ratings.open(tmp_path / "nothing")


def test_many_threads_lose_and_double_nothing(tmp_path):
    made = study([[[1, 2], [3, 4]] for _ in range(10)])
    with Ratings.create(tmp_path / "r", made) as ratings:

        def rate(name):
            ratings.join(name)
            for task in tasks(made, name):
                ratings.judge(name, task, "unsure")
                ratings.judge(name, task, "unsure")

        threads = [threading.Thread(target=rate, args=(f"r{n % 2}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ratings.judgements()) == 2 * total(made)


_RATER = """
import sys
from vsearch_fast.rating import Ratings, tasks
ratings = Ratings.open(sys.argv[1])
ratings.join("ann")
done = ratings.done("ann")
for task in tasks(ratings.study, "ann"):
    if task.key not in done:
        ratings.judge("ann", task, "unsure")
        print(task.number, flush=True)
"""


@pytest.mark.posix
def test_a_kill_loses_no_acknowledged_judgement(tmp_path):
    file = tmp_path / "r.sqlite"
    made = study([[[1, 2], [3, 4]] for _ in range(200)])
    Ratings.create(file, made).close()
    acknowledged = 0
    for stop in (7, 40):
        with subprocess.Popen(
            [sys.executable, "-c", _RATER, str(file)], stdout=subprocess.PIPE, text=True
        ) as rater:
            assert rater.stdout is not None
            for _ in range(stop):
                acknowledged = int(rater.stdout.readline())
            os.kill(rater.pid, signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, rater.stdout.read().split("\n")[:-1])])
        with Ratings.open(file) as ratings:
            numbers = [judgement.number for judgement in ratings.judgements()]
        # At most one was stored and not yet told of; the next run goes on behind it.
        assert len(numbers) - acknowledged in (0, 1)
        assert numbers == list(range(1, len(numbers) + 1))
    with sqlite3.connect(file) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["judge", "undo", "reopen"]), max_size=25))
def test_stopping_anywhere_goes_on_at_the_same_task(tmp_path_factory, steps):
    file = tmp_path_factory.mktemp("r") / "r"
    made = two_rows()
    ratings = Ratings.create(file, made)
    ratings.join("ann")
    own = tasks(made, "ann")
    at = 0
    for step in steps:
        if step == "judge" and at < len(own):
            ratings.judge("ann", own[at], "unsure")
            at += 1
        elif step == "undo":
            assert ratings.undo("ann") == (at or None)
            at = max(0, at - 1)
        elif step == "reopen":
            ratings.close()
            ratings = Ratings.open(file)
        assert ratings.done("ann") == {task.key for task in own[:at]}
    ratings.close()


def test_settings_are_kept_as_json(tmp_path):
    Ratings.create(tmp_path / "r", two_rows()).close()
    with sqlite3.connect(tmp_path / "r") as sql:
        [text] = sql.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()
    assert json.loads(text)["seed"] == 0
