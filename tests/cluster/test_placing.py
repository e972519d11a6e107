"""Which node gets which shards; no cluster is needed to say so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch_fast.cluster.placing import Seen, share_out
from vsearch_fast.errors import ClusterError
from vsearch_fast.shards.manifest import Likewise, Listed, Manifest

LIKEWISE = Likewise(4, 4, "zero", "float32", ("whole",), "m")


def listed(rows: list[int]) -> Manifest:
    return Manifest("", LIKEWISE, tuple(Listed(f"s{n}", count) for n, count in enumerate(rows)))


def seen(manifest: Manifest, held: list[list[int]]) -> list[Seen]:
    return [
        Seen(f"n{n}", "/x", manifest, None,
             tuple(shard in own for shard in range(len(manifest.shards))))
        for n, own in enumerate(held)
    ]  # fmt: skip


def test_runs_of_equal_rows_on_nodes_that_share_a_disk() -> None:
    manifest = listed([10, 10, 10, 0, 30, 60])
    everything = list(range(6))
    shares = share_out(manifest, seen(manifest, [everything] * 2), None, anywhere=False)
    assert [(share.numbers, share.nodes) for share in shares] == [
        ((0, 1, 2, 3, 4), ("n0", "n1")), ((5,), ("n1", "n0"))
    ]  # fmt: skip
    shares = share_out(manifest, seen(manifest, [everything] * 4), None, anywhere=False)
    assert [share.nodes[0] for share in shares] == [
        "n0",
        "n1",
        "n3",
    ]  # by their middles
    assert shares[1].nodes == ("n1", "n2", "n3", "n0")  # replicas: a ring


def test_a_shard_goes_where_it_is() -> None:
    manifest = listed([10] * 4)
    shares = share_out(manifest, seen(manifest, [[0, 3], [], [1, 2]]), None, anywhere=False)
    assert {share.nodes: share.numbers for share in shares}.keys() == {("n0",), ("n2",)}
    assert sorted(n for share in shares for n in share.numbers) == [0, 1, 2, 3]
    for share in shares:
        assert set(share.numbers) <= ({0, 3} if share.nodes == ("n0",) else {1, 2})
    copied = share_out(manifest, seen(manifest, [[0, 3], [], [1, 2]]), None, anywhere=True)
    assert {share.nodes[0] for share in copied} == {"n0", "n1", "n2"}


def test_a_shard_that_is_nowhere() -> None:
    manifest = listed([10, 7])
    with pytest.raises(ClusterError, match=r"has s1, a shard of 2\..*its 7 items"):
        share_out(manifest, seen(manifest, [[0], [0]]), None, anywhere=True)


@given(st.data())
def test_each_shard_is_in_one_group_of_nodes_that_have_it(data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, 50), min_size=1, max_size=12))
    manifest = listed(rows)
    numbers = range(len(rows))
    held = data.draw(st.lists(st.lists(st.sampled_from(numbers)), max_size=4))
    there = seen(manifest, [list(numbers), *held])
    shares = share_out(manifest, there, data.draw(st.sampled_from([None, 1, 3, 20])), False)
    assert sorted(n for share in shares for n in share.numbers) == list(numbers)
    for share in shares:
        assert list(share.numbers) == sorted(share.numbers)
        holders = [each.node for each in there if all(each.there[n] for n in share.numbers)]
        assert set(share.nodes) <= set(holders) and len(set(share.nodes)) == len(share.nodes)
