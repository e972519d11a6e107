"""The GPU report's sections on emulated devices: what is measured, recorded and said."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise, product

import pytest
from benchmark_scripts import BENCHMARKS, importable
from contract_data import DEVICE_METRICS, FLOAT_METRICS
from emulated import EmulatedDevice

from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.layout import width_of
from vsearch_fast.search.gpu import selfcheck
from vsearch_fast.search.gpu.blocks import padded
from vsearch_fast.search.gpu.scans import kernels_for


@pytest.fixture(scope="module")
def modules():
    """The report and what it is made of, imported as a script would."""
    with importable():
        import gpu_report
        from gpu import base
    return base, gpu_report


@pytest.fixture
def bench(modules, with_devices, monkeypatch):
    base, _ = modules
    monkeypatch.setattr(selfcheck, "check", lambda device: "")  # tested on its own
    tiny = replace(
        base.FULL, dim=48, k=3, repeats=1, copy_bytes=1 << 14, code_rows=24, float_rows=20,
        queries=dict.fromkeys(DEVICE_METRICS, 5), stream_rows=60,
        batch_rows={"hamming": 60, "l1": 40, "l2": 40, "cosine": 40},
        peer_rows=dict.fromkeys(DEVICE_METRICS, 40),
        versus=((50, 40, "relu"), (60, 16, "clusters")), versus_batches=(1, 4),
        test_rows=40, test_dims={"hamming": (24, 160)} | dict.fromkeys(FLOAT_METRICS, (24,)),
        test_queries=(3,), test_ks=(1, 9),
    )  # fmt: skip
    return base.Bench(with_devices(EmulatedDevice()), tiny, {})


def run(modules, bench, *names):
    """The record as it is written, of parts that are run one after the other."""
    for name in names:
        modules[1].run_part(bench, name)
    return json.loads(json.dumps(bench.record, default=float))


def test_equality_is_counted(modules, bench):
    bench.sizes = replace(bench.sizes, test_ks=(9,))
    record = run(modules, bench, "tests")
    assert record["sections"]["tests"]["state"] == "done"
    for case in ("hamming 24", "hamming 160", "l1 24", "l2 24", "cosine 24", "ip 24"):
        part = record["tests"][f"equality {case}"]
        assert part["mismatches"] == 0, part["where"]
        assert part["results"] > part["searches"] >= 18
    assert record["bars"]["equality"]["met"]


@pytest.mark.parametrize("size", ["QUICK", "FULL"])
def test_equality_is_of_every_scan_that_searches_choose(modules, size):
    """By both kinds of warpgroup kernels, and over several chunks of 128 bytes."""
    sizes = getattr(modules[0], size)
    assert max(sizes.test_queries) > 256
    chosen, chunks = set(), dict[str, int]()
    for metric, dims in sizes.test_dims.items():
        for family, dim in product(sources.SCANS, dims):
            if family in {sources.family_of(metric, kind) for kind in ("sketches", "floats")}:
                width = padded(dim // 8) if metric == "hamming" else padded(4 * dim)
                width = width_of(dim) if family.endswith("sketches") else width
                for count in sizes.test_queries:
                    for name, _ in kernels_for(family, (9, 0), count, width, 227 << 10):
                        chosen.add(name)
                        chunks[name] = max(chunks.get(name, 0), -(-width // 128))
    assert chosen >= {
        "hamming_multicast_warpgroup", "hamming_pipelined_warpgroup_resident",
        "l2_sketches_multicast_warpgroup",
        "l1_sketches_tile", "l1_floats_tile", "l2_floats_tile", "dot_sketches_warpgroup",
        "dot_floats_tile",
    }  # fmt: skip
    assert min(chunks.values()) >= 4
    assert {1000, 4096, 8200} <= set(sizes.test_dims["hamming"])


def test_wrong_answers_are_counted(modules, bench, monkeypatch):
    tests = sys.modules["gpu.tests"]
    right = tests.topk

    def off(*args, backend, **options):
        distances, ids = right(*args, backend="cpu", **options)
        if backend == "cuda":
            distances[0, 0] += 1
        return distances, ids

    monkeypatch.setattr(tests, "topk", off)
    record = run(modules, bench, "tests")
    part = record["tests"]["equality l1 24"]
    assert part["mismatches"] == part["searches"]
    assert len(part["where"]) == 20
    assert not record["bars"]["equality"]["met"]


def test_roofs_and_kernels(modules, bench, monkeypatch):
    monkeypatch.setattr(sys.modules["gpu.kernels"], "QUEUED_S", 0)
    record = run(modules, bench, "roofs", "kernels")
    assert {s["state"] for s in record["sections"].values()} == {"done"}, record["sections"]
    names = {name for family in sources.SCANS for name in sources.scans_for(family, (9, 0))}
    assert set(record["roofs"]["kernels"]) == names
    assert names <= set(bench.devices[0].launched)
    for name, rate in record["roofs"]["kernels"].items():
        assert rate["passed"] == 0, name
        assert rate["pairs_per_s"] > 0
        assert ("bytes_per_s" in rate) == ("stream" in name)
    for family in ("hamming", "l2_sketches"):
        found = record["kernels"][f"structures {family}"]
        chain = [f"{family}{one}_warpgroup" for one in ("_multicast", "_pipelined", "")]
        assert list(found) == chain
        for name, simpler in pairwise(chain):
            ratio = found[name]["pairs_per_s"] / found[simpler]["pairs_per_s"]
            assert found[name]["times_the_next"] == ratio > 0
    for name in ("hamming_stream", "hamming_batch", "l1_batch", "l2_batch", "cosine_batch"):
        found = record["kernels"][name]
        assert found["mismatches"] == 0
        assert found["pairs_per_s"] > 0
        if name == "cosine_batch":  # which no bar is set for
            continue
        for where in ("device", "host"):
            bar = record["bars"][f"{name}_{where}"]
            assert bar["measured"] > 0
            assert not bar["full_size"]


def test_peers_that_are_not_there_are_named(modules, bench):
    record = run(modules, bench, "peers")
    assert record["sections"]["peers"]["state"] == "done", record["sections"]
    assert record["peers"].keys() == {
        "PyTorch hamming", "FAISS hamming", "PyTorch l1", "FAISS l1", "cuVS l1",
        "PyTorch l2", "FAISS l2", "cuVS l2", "certex l2", "certex cosine", "certex ip",
        *(f"{peer} l2 {size}" for peer in ("PyTorch", "FAISS", "cuVS", "certex")
          for size in ("50 x 40", "60 x 16")),
    }  # fmt: skip
    for name, found in record["peers"].items():
        assert found.keys() & {"absent", "ratio", "1"}, name


def test_a_device_that_fails_the_self_check_is_not_timed(modules, bench, monkeypatch):
    monkeypatch.setattr(selfcheck, "_distrusted", {repr(d): "wrong" for d in bench.devices})
    record = run(modules, bench, "tests", "kernels", "peers")
    assert "bars" not in record
    for state in record["sections"].values():
        assert state["error"].startswith("DeviceError: A device failed the self-check.")


def test_a_peer_is_timed_in_turn(modules, bench, monkeypatch):
    peers = sys.modules["gpu.peers"]
    from vsearch_fast.search import topk

    def numpy_peer(database, case):
        return lambda queries: topk(queries, database, case.k, metric=case.metric, backend="cpu")

    monkeypatch.setattr(
        peers, "PEERS", {"PyTorch": (("hamming", "l2"), numpy_peer), "Off": (("l2",), None)}
    )
    record = run(modules, bench, "peers")
    assert record["peers"]["PyTorch hamming"]["same_distances"] == 1
    assert record["peers"]["PyTorch l2"]["same_ids"] == 1
    assert record["bars"]["torch_l2"]["measured"] == record["peers"]["PyTorch l2"]["ratio"]
    assert record["sections"]["peers"]["failed"] == ["Off l2", "Off l2 50 x 40", "Off l2 60 x 16"]


def test_what_fails_is_recorded_and_the_others_go_on(modules, bench, monkeypatch):
    report = modules[1]

    def broken(bench, found):
        found["before"] = 1
        raise RuntimeError("out of luck")

    monkeypatch.setitem(report.PARTS, "roofs", broken)
    kernels = sys.modules["gpu.kernels"]
    right = kernels.search_rate

    def no_l1(bench, case):
        if case.metric == "l1":
            raise MemoryError("full")
        return right(bench, case)

    monkeypatch.setattr(kernels, "search_rate", no_l1)
    record = run(modules, bench, "roofs", "kernels", "embedding")
    states = record["sections"]
    assert states["roofs"]["state"] == "failed"
    assert "RuntimeError: out of luck (test_gpu_report.py, line" in states["roofs"]["error"]
    assert record["roofs"] == {"before": 1}
    assert states["kernels"]["failed"] == ["l1_batch"]
    assert record["kernels"]["hamming_stream"]["share_of_copy_bandwidth"] > 0
    assert states["embedding"]["state"] == "done"


def test_embedding(modules, bench, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from PIL import Image
    from tiny_model import write_tiny_model

    (tmp_path / "pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 40), (90 * number, 20, 60)).save(
            tmp_path / "pictures" / f"{number}.jpg"
        )
    bench.model = write_tiny_model(tmp_path / "tiny.onnx")
    bench.pictures, bench.provider = tmp_path / "pictures", "cpu"
    bench.sizes = replace(bench.sizes, embedding_batches=(2, 4), pictures=8)
    record = run(modules, bench, "embedding")
    assert record["sections"]["embedding"]["state"] == "done", record
    assert record["embedding"]["batch 4"]["images"] == 8
    assert record["embedding"]["differing_bits"]["differing"] == 0
    assert record["bars"]["network"]["measured"] > 0
    assert not record["bars"]["end_to_end"]["full_size"]


@pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is installed")
def test_without_cupy_it_says_what_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu_report.py"), "--quick"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Error: CuPy is not installed." in done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "gpu-report").exists()
