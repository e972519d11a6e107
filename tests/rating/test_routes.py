"""The HTTP API of ratings, in process."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from rating_data import indexes

pytest.importorskip("fastapi", reason="FastAPI is missing: pip install '.[serve]'")
from fastapi.testclient import TestClient

from vsearch_fast.rating import Ratings, Settings, make
from vsearch_fast.web.app import create_app
from vsearch_fast.web.settings import Settings as Limits

SECRETS = ("first", "second", "l2", "hamming", "photos", "item0", "kind", "sender")


@pytest.fixture(params=["match", "better", "both"])
def ratings(request, tmp_path):
    made = make(indexes(tmp_path), ["l2", "hamming"], Settings(request.param, 6, 3))
    with Ratings.create(tmp_path / "r.sqlite", made) as opened:
        yield opened


@pytest.fixture
def client(ratings):
    with TestClient(create_app(None, Limits(), rating=ratings), "http://localhost") as client:
        yield client


def ok(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "cause", "consequence", "cure"} and all(error.values())
    return error


ANSWER = {"match": "similar", "better": "left"}


def test_a_rater_goes_through_all_tasks_and_learns_no_system(client, ratings):
    about = ok(client.get("/api/rate/study"))
    joined = ok(client.post("/api/rate/raters", json={"nickname": "ann"}))
    assert joined == {"nickname": "ann", "done": 0, "total": about["judgements_total"]}
    seen = [about, joined]
    now = ok(client.get("/api/rate/next", params={"nickname": "ann"}))
    for number in range(1, joined["total"] + 1):
        seen.append(now)
        task = now["task"]
        assert (task["number"], now["done"]) == (number, number - 1)
        assert [each["number"] for each in now["upcoming"]] == list(
            range(number + 1, min(number + 3, joined["total"]) + 1)
        )
        body = {"nickname": "ann", "number": number, "answer": ANSWER[task["mode"]]}
        now = ok(client.post("/api/rate/judgements", json=body))
        assert ok(client.post("/api/rate/judgements", json=body)) == now  # sent twice
    assert (now["task"], now["upcoming"], now["done"]) == (None, [], joined["total"])
    assert len(ratings.judgements()) == joined["total"]
    sent = json.dumps(seen)
    assert not [word for word in SECRETS if word in sent]


def test_undo_goes_back_one_task(client):
    client.post("/api/rate/raters", json={"nickname": "ann"})
    first = ok(client.get("/api/rate/next", params={"nickname": "ann"}))
    assert ok(client.post("/api/rate/undo", json={"nickname": "ann"})) == first
    body = {"nickname": "ann", "number": 1, "answer": "unsure"}
    ok(client.post("/api/rate/judgements", json=body))
    for _ in range(2):  # sent twice
        assert ok(client.post("/api/rate/undo", json={"nickname": "ann", "number": 1})) == first


def test_pictures_are_opaque_numbers(client, ratings):
    answer = client.get("/api/rate/pictures", params={"key": 3, "size": 112})
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert answer.content[:2] == b"\xff\xd8"
    refused(client.get("/api/rate/pictures", params={"key": 10**6}), 404)
    refused(client.get("/api/rate/pictures", params={"key": "../../etc/passwd"}), 422)
    refused(client.get("/api/rate/pictures", params={"key": 3, "size": 113}), 422)
    path = ratings.study.pictures[4].path
    with open(path, "w") as file:
        file.write("no picture")
    error = refused(client.get("/api/rate/pictures", params={"key": 4}), 404)
    assert not [word for word in (*SECRETS, path) if word in json.dumps(error)]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("raters", {"nickname": ""}, 400),
        ("raters", {"nickname": "x" * 41}, 400),
        ("raters", {"nickname": "a\x00"}, 400),
        ("raters", {"nickname": 5}, 422),
        ("raters", {}, 422),
        ("judgements", {"nickname": "nobody", "number": 1, "answer": "unsure"}, 404),
        ("judgements", {"nickname": "ann", "number": 2, "answer": "unsure"}, 400),
        ("judgements", {"nickname": "ann", "number": 10**6, "answer": "unsure"}, 404),
        ("judgements", {"nickname": "ann", "number": 0, "answer": "unsure"}, 422),
        ("judgements", {"nickname": "ann", "number": 10**30, "answer": "unsure"}, 422),
        ("judgements", {"nickname": "ann", "number": 1, "answer": "great"}, 422),
        ("undo", {"nickname": "nobody"}, 404),
        ("undo", {"nickname": "\ud83d"}, 422),
        ("undo", {}, 422),
    ],
)
def test_wrong_requests_are_told_so(client, path, body, status):
    client.post("/api/rate/raters", json={"nickname": "ann"})
    content = json.dumps(body)
    headers = {"Content-Type": "application/json"}
    refused(client.post(f"/api/rate/{path}", content=content, headers=headers), status)


def test_an_answer_of_the_other_mode_is_refused(client):
    client.post("/api/rate/raters", json={"nickname": "ann"})
    task = ok(client.get("/api/rate/next", params={"nickname": "ann"}))["task"]
    wrong = "left" if task["mode"] == "match" else "same"
    body = {"nickname": "ann", "number": 1, "answer": wrong}
    refused(client.post("/api/rate/judgements", json=body), 400)
    refused(client.get("/api/rate/next", params={"nickname": "nobody"}), 404)
    refused(client.get("/api/rate/next"), 422)


def test_an_answer_that_contradicts_the_stored_one_is_refused(client, ratings):
    client.post("/api/rate/raters", json={"nickname": "ann"})
    task = ok(client.get("/api/rate/next", params={"nickname": "ann"}))["task"]
    body = {"nickname": "ann", "number": 1, "answer": "unsure"}
    ok(client.post("/api/rate/judgements", json=body))
    error = refused(
        client.post("/api/rate/judgements", json={**body, "answer": ANSWER[task["mode"]]}), 400
    )
    assert "'unsure' before" in error["cause"]
    assert [each.answer for each in ratings.judgements()] == ["unsure"]


def test_the_described_api_keeps_its_description(tmp_path):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        not_a_server_error, status_code_conformance, content_type_conformance,
        response_schema_conformance,
    ]  # fmt: skip
    made = make(indexes(tmp_path), ["l2"], Settings("both", 4, 3))
    with Ratings.create(tmp_path / "r.sqlite", made) as ratings:
        app = create_app(None, Limits(hosts=None), rating=ratings)
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        met = set()
        for result in schema.get_all_operations():
            operation = result.ok()
            if not operation.path.startswith("/api/rate"):
                continue
            met.add(operation.path)

            @settings(
                max_examples=25, deadline=None, database=None, derandomize=True,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=operation.as_strategy())
            def ask(case):
                case.call_and_validate(checks=checks)

            ask()
        assert len(met) == 6


def test_foreign_pages_judge_nothing(client, ratings):
    ok(client.post("/api/rate/raters", json={"nickname": "ann"}))
    task = ok(client.get("/api/rate/next", params={"nickname": "ann"}))["task"]
    body = {"nickname": "ann", "number": task["number"], "answer": ANSWER.get(task["mode"])}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example", "Host": "evil.example"},
    ):
        refused(client.post("/api/rate/judgements", json=body, headers=headers), 403)
        refused(client.post("/api/rate/undo", json={"nickname": "ann"}, headers=headers), 403)
    assert ratings.judgements() == []
    own = {"Origin": "https://shop.example", "Sec-Fetch-Site": "same-origin"}
    ok(client.post("/api/rate/judgements", json=body, headers=own))  # through nginx, by its name
    assert len(ratings.judgements()) == 1


def test_a_file_that_was_removed_takes_no_judgement(client, ratings, tmp_path):
    ok(client.post("/api/rate/raters", json={"nickname": "ann"}))
    task = ok(client.get("/api/rate/next", params={"nickname": "ann"}))["task"]
    body = {"nickname": "ann", "number": task["number"], "answer": ANSWER[task["mode"]]}
    assert ok(client.get("/healthz")) == {"status": "ok", "pictures": 0}
    ratings.file.rename(tmp_path / "aside.sqlite")
    for _ in range(2):
        answer = client.post("/api/rate/judgements", json=body)
        error = refused(answer, 503)
        assert answer.headers["retry-after"] and str(tmp_path) not in json.dumps(error)
        refused(client.get("/healthz"), 503)
        assert ok(client.get("/livez")) == {"status": "ok"}
        (tmp_path / "r.sqlite").touch()  # another file of the name is not the one
    (tmp_path / "aside.sqlite").replace(ratings.file)
    ok(client.post("/api/rate/judgements", json=body))  # as the page sends it again
    assert len(ratings.judgements()) == 1 and ok(client.get("/healthz"))
