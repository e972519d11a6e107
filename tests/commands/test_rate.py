"""`vsearch rate`, from indexes to the report."""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from click.testing import CliRunner
from rating_data import indexes

from vsearch_fast.commands.rate import command
from vsearch_fast.errors import VsearchError
from vsearch_fast.rating import Ratings, tasks


@pytest.fixture
def served(monkeypatch):
    """Instead of serving: what would have been."""
    calls = []

    def run(app, sock, *, token, public, open_path, say):
        assert public is None
        calls.append((app, sock.getsockname(), token, open_path))
        sock.close()

    monkeypatch.setattr("vsearch_fast.web.server.run", run)
    return calls


def rate(*arguments):
    return CliRunner().invoke(command, [*map(str, arguments), "--port", "0"])


def done(result):
    if result.exception is not None:
        raise result.exception
    return result


def test_from_indexes_to_the_report(tmp_path, served):
    paths = indexes(tmp_path)
    file, out = tmp_path / "r.sqlite", tmp_path / "report"
    made = ["--mode", "both", "--queries", 12, "--results", 3, "--metric", "l2", "-o", file]
    done(rate(*paths, *made))
    assert served[0][3] == "/rate" and served[0][2] is None
    with Ratings.open(file) as ratings:
        for name in ("ann", "bob"):
            ratings.join(name)
            for number, task in enumerate(tasks(ratings.study, name)):
                # ann and bob agree on what they say of the first system's matches.
                answer = "same" if task.mode == "match" else "left"
                if number % 5 == 4 and name == "bob":
                    answer = "different" if task.mode == "match" else "equal"
                ratings.judge(name, task, answer)
    result = done(rate(*paths, *made))  # the same again goes on
    assert f"holds {2 * len(tasks(ratings.study, ''))}" in result.output
    done(rate("-o", file))  # and so does the file alone
    assert len(served) == 3

    table = done(rate("-o", file, "--report", "--output", out)).output
    assert "Krippendorff's alpha (ordinal)" in table and "first l2" in table
    told = json.loads(done(rate("-o", file, "--report", "--format", "json")).stdout)
    assert told == json.loads((out / "ratings.json").read_text())
    assert told["raters"] == {"ann": told["judgements"] // 2, "bob": told["judgements"] // 2}
    assert told["systems"][0]["category_p1"] is not None
    assert (
        done(rate("-o", file, "--report", "--format", "csv")).stdout
        == (out / "ratings.csv").read_text()
    )
    assert len(list(csv.reader((out / "ratings.csv").open()))) > 20
    assert (out / "ratings.txt").read_text() in table
    assert sorted(path.name for path in out.iterdir()) == [
        "ratings.csv", "ratings.json", "ratings.png", "ratings.txt",
    ]  # fmt: skip


def test_other_settings_for_the_same_file_are_refused(tmp_path, served):
    first, second = indexes(tmp_path)
    file = tmp_path / "r.sqlite"
    done(rate(first, "-o", file, "--queries", 5))
    for arguments, told in (
        ([first, "--queries", 6], "queries is 5, not 6"),
        ([first, "--queries", 5, "--seed", 1], "seed is 0, not 1"),
        ([first, second, "--queries", 5], "its systems are first l2, not first l2, second l2"),
        ([first, "--queries", 5, "--metric", "all"], "its systems are first l2, not first l2"),
    ):
        result = rate(*arguments, "-o", file)
        assert isinstance(result.exception, VsearchError)
        assert told in result.exception.cause and str(file) in result.exception.cause
        assert result.exception.consequence and "-o" in result.exception.cure
    assert len(served) == 1


def test_what_is_not_said_is_as_the_study_has_it(tmp_path, served):
    first, second = indexes(tmp_path)
    file = tmp_path / "r.sqlite"
    done(rate(first, "-o", file, "--queries", 5, "--metric", "all", "--mode", "both"))
    done(rate(first, "-o", file))
    done(rate(first, "-o", file, "--queries", 5))
    assert len(served) == 3
    assert "systems" in str(rate(second, "-o", file).exception)


def test_a_place_for_no_file_is_told_before_the_searches(tmp_path, served):
    [path] = indexes(tmp_path, names=("one",))
    for file, told in ((tmp_path / "no" / "r.sqlite", "does not exist"), (path, "is a folder")):
        result = rate(path, "-o", file)
        assert isinstance(result.exception, VsearchError)
        assert told in result.exception.cause and str(file) in result.exception.cause
        assert "query" not in result.output
    assert not served


def test_a_report_of_no_ratings_says_so(tmp_path, served):
    [path] = indexes(tmp_path, names=("one",))
    file = tmp_path / "r.sqlite"
    done(rate(path, "-o", file))
    result = done(rate("-o", file, "--report", "--output", tmp_path / "out"))
    assert "holds no judgement yet" in result.output
    assert not (tmp_path / "out").exists()
    assert json.loads(done(rate("-o", file, "--report", "--format", "json")).stdout)["systems"]
    missing = rate("-o", tmp_path / "none", "--report")
    assert isinstance(missing.exception, VsearchError)
    nothing = rate("-o", tmp_path / "none")
    assert "no INDEX to make one of" in str(nothing.exception)
    assert not (tmp_path / "none").exists()


def test_a_study_that_cannot_be_made_leaves_no_file(tmp_path, served):
    [path] = indexes(tmp_path, names=("one",))
    result = rate(path, "--mode", "better", "-o", tmp_path / "r.sqlite")
    assert isinstance(result.exception, VsearchError)
    assert not (tmp_path / "r.sqlite").exists() and not served


@pytest.mark.posix
def test_a_server_that_is_killed_keeps_what_it_acknowledged(tmp_path):
    [path] = indexes(tmp_path, names=("one",))
    file = tmp_path / "r.sqlite"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = "from vsearch_fast.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", start, "rate", path, "-o", file, "--port", str(port)],
        stderr=subprocess.DEVNULL,
    )
    try:

        def post(name, **body):
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/rate/{name}",
                json.dumps({"nickname": "ann", **body}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)

        end = time.monotonic() + 60
        while True:
            try:
                post("raters")
                break
            except OSError:
                assert time.monotonic() < end and process.poll() is None
                time.sleep(0.1)
        for number in range(1, 11):
            assert post("judgements", number=number, answer="similar")["done"] == number
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    with Ratings.open(file) as ratings:
        assert [judgement.number for judgement in ratings.judgements()] == list(range(1, 11))
