"""Other libraries in the GPU report, by stand-ins: what they are handed, and what is made of it."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from benchmark_scripts import importable
from contract_data import DEVICE_METRICS
from emulated import EmulatedDevice

from vsearch_fast.kernels import reference


@pytest.fixture(scope="module")
def modules():
    """(base, peers), imported as the report does."""
    with importable():
        from gpu import base, peers
    return base, peers


@pytest.fixture
def bench(modules, with_devices):
    sizes = replace(
        modules[0].FULL, dim=48, k=3, repeats=1, queries=dict.fromkeys(DEVICE_METRICS, 5),
        peer_rows=dict.fromkeys(DEVICE_METRICS, 40),
        versus=((50, 40, "relu"), (60, 128, "clusters")), versus_batches=(1, 4),
    )  # fmt: skip
    return modules[0].Bench(with_devices(EmulatedDevice()), sizes, {})


class Rows:
    """What the stand-ins have in common: rows that are added, and an exact search."""

    def __init__(self, metric: str, squared: bool = False) -> None:
        self.metric, self.squared = metric, squared
        self.rows: list[np.ndarray] = []

    def add(self, rows):
        self.rows.append(rows)

    def search(self, queries, k):
        found, ids = reference.topk(queries, np.concatenate(self.rows), k, self.metric)
        return (found**2 if self.squared else found).astype(np.float32), ids


def certex():
    """certex 0.1.0 as its documentation has it: an index by its dimension; squared distances, or
    likenesses, the largest first."""
    module = types.ModuleType("certex")
    module.Index = Likenesses  # type: ignore[attr-defined]
    return {"certex": module}


class Likenesses(Rows):
    def __init__(self, dim, metric):
        super().__init__(metric, squared=metric == "l2")
        self.dim = dim

    def add(self, rows):
        assert rows.shape[1:] == (self.dim,)
        super().add(rows)

    def search(self, queries, k):
        found, ids = super().search(queries, k)
        return {"l2": found, "cosine": 1 - found, "ip": -found}[self.metric], ids


def faiss():
    module = types.ModuleType("faiss")
    module.StandardGpuResources = object  # type: ignore[attr-defined]
    module.METRIC_L1, module.METRIC_L2 = 2, 1  # type: ignore[attr-defined]
    module.GpuIndexBinaryFlat = lambda _, bits: Rows("hamming")  # type: ignore[attr-defined]
    module.GpuIndexFlat = lambda _, dim, metric: (  # type: ignore[attr-defined]
        Rows("l1") if metric == 2 else Rows("l2", squared=True)
    )
    return {"faiss": module}


class There(np.ndarray):
    """An array of CuPy."""

    def set(self, host):
        self[...] = host


def cuvs():
    cupy = types.ModuleType("cupy")
    cupy.empty = lambda shape, dtype: np.empty(shape, dtype).view(There)  # type: ignore[attr-defined]
    cupy.asarray = cupy.asnumpy = np.asarray  # type: ignore[attr-defined]
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(  # type: ignore[attr-defined]
        free_all_blocks=lambda: None
    )
    force = types.ModuleType("cuvs.neighbors.brute_force")

    def build(rows, metric):
        made = Rows({"l1": "l1", "euclidean": "l2"}[metric])
        made.add(np.asarray(rows))
        return made

    force.build = build  # type: ignore[attr-defined]
    force.search = lambda index, queries, k: index.search(queries, k)  # type: ignore[attr-defined]
    folders = {name: types.ModuleType(name) for name in ("cuvs", "cuvs.neighbors")}
    return {"cupy": cupy, **folders, "cuvs.neighbors.brute_force": force}


MODULES = {"certex": certex, "FAISS": faiss, "cuVS": cuvs}


@pytest.mark.parametrize(("peer", "make"), MODULES.items(), ids=list(MODULES))
def test_a_peer_answers_as_we_do(modules, bench, monkeypatch, peer, make):
    peers = modules[1]
    for name, module in make().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(peers, "PEERS", {peer: peers.PEERS[peer]})
    found: dict = {}
    peers.run(bench, found)
    metrics = peers.PEERS[peer][0]
    assert set(found) == {
        *(f"{peer} {metric}" for metric in metrics), f"{peer} l2 50 x 40", f"{peer} l2 60 x 128",
    }  # fmt: skip
    for metric in metrics:
        assert found[f"{peer} {metric}"]["same_distances"] == 1
        assert found[f"{peer} {metric}"]["same_ids"] == 1
    for case in ("50 x 40", "60 x 128"):
        by_batch = found[f"{peer} l2 {case}"]
        assert set(by_batch) == {"1", "4"}
        for batch, one in by_batch.items():
            assert one["queries"] == int(batch)
            assert one["same_distances"] == 1
            assert len(one["times_s"][0]) == len(one["times_s"][1]) == 1
    bars = bench.record.get("bars", {})
    assert set(bars) == ({"certex_128_1"} if peer == "certex" else set())
    assert not any(bar["full_size"] for bar in bars.values())


def test_wrong_answers_win_nothing(modules, bench, monkeypatch):
    peers = modules[1]
    wrong = certex()
    right = wrong["certex"].Index

    def index(dim, metric):
        made = right(dim, metric)
        made.add = lambda rows: Rows.add(made, rows + 1)
        return made

    wrong["certex"].Index = index
    monkeypatch.setitem(sys.modules, "certex", wrong["certex"])
    monkeypatch.setattr(peers, "PEERS", {"certex": peers.PEERS["certex"]})
    found: dict = {}
    peers.run(bench, found)
    assert found["certex l2"]["same_distances"] < 0.5
    assert "bars" not in bench.record


def test_what_was_compared_is_not_made_again(modules, bench, monkeypatch):
    peers = modules[1]
    monkeypatch.setitem(sys.modules, "certex", certex()["certex"])
    monkeypatch.setattr(peers, "PEERS", {"certex": peers.PEERS["certex"]})
    found: dict = {}
    peers.run(bench, found)
    monkeypatch.setattr(bench.data, "load", None)  # no data is made
    peers.run(bench, found)


def test_cases_are_those_that_are_aimed_at(modules):
    base = modules[0]
    assert [case[:2] for case in base.FULL.versus] == [(1_000_000, 4096), (10_000_000, 128)]
    assert base.FULL.versus_batches == (1, 64, 2048)
    assert sum(name.startswith("certex") for name in base.BARS) == 6
    assert [case[0] for case in base.FULL.at_most(7).versus] == [7, 7]
