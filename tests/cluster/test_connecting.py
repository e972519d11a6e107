"""What `connect` is told is looked at before any cluster is."""

from __future__ import annotations

from typing import Any

import pytest

import vsearch_fast as vs
from vsearch_fast.errors import ArgumentError, ClusterError


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 0}, {"replicas": True}, {"threads": 0}, {"groups": 0}, {"ahead": -1},
        {"timeout": 0}, {"slow": -1.0}, {"opening": 0}, {"device": "tpu"},
    ],
)  # fmt: skip
def test_a_wrong_argument(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        vs.connect("127.0.0.1:1", "nothing", **wrong)


def test_nobody_answers() -> None:
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at 127\.0\.0\.1:1"):
        vs.connect("127.0.0.1:1", "nothing")
