"""Parts ``roofs`` and ``kernels`` of the GPU report: rates of kernels alone and of searches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch_fast import Resident, Sketched
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.device import Device
from vsearch_fast.search import topk
from vsearch_fast.search.dispatch import tiling
from vsearch_fast.search.gpu import lists as _lists
from vsearch_fast.search.gpu import scans
from vsearch_fast.search.gpu.blocks import Block
from vsearch_fast.search.gpu.host import HostRows
from vsearch_fast.search.gpu.products import PRODUCTS, keys_of
from vsearch_fast.search.gpu.resident_rows import ResidentRows
from vsearch_fast.search.gpu.rounds import Problem, _Batch
from vsearch_fast.search.gpu.scans import Compared, scan
from vsearch_fast.search.sketches import build

from . import prediction
from .base import (
    BARS,
    FULL,
    QUEUED_S,
    Bench,
    case_of,
    clocks_during,
    release,
    require_trust,
    seconds,
)
from .rates import memory
from .tests import differing

# Roofs


def roofs(bench: Bench, found: dict[str, Any]) -> None:
    """The rate of every scan of the first device, beside its prediction."""
    for metric, families in (
        ("hamming", ("hamming",)),
        ("l2", ("l2_sketches", "l2_floats")),
        ("l1", ("l1_sketches", "l1_floats")),
        ("cosine", ("dot_sketches", "dot_floats")),
    ):
        _families(bench, found.setdefault("kernels", {}), metric, families)
        release()  # of rows that nothing holds any more


def _families(bench: Bench, found: dict[str, Any], metric: str, families: tuple[str, ...]) -> None:
    device, sizes = bench.devices[0], bench.sizes
    kernels = [(f, kernel) for f in families for kernel in sources.scans_for(f, device.capability)]
    if all(kernel in found for _, kernel in kernels):
        return
    rows = sizes.code_rows if metric == "hamming" else sizes.float_rows
    queries, database = bench.data.load(case_of(bench, metric, rows, sizes.queries[metric]))
    resident = _resident_rows(device, database)
    for family, kernel in kernels:
        bench.attempt(
            found, kernel, partial(kernel_rate, bench, metric, family, kernel, queries, resident)
        )


def copy_bandwidth(bench: Bench) -> float:
    """Bytes/s of a copy, measured now where the part ``rates`` has not."""
    known = bench.other("rates").get("rates", {}).get("memory", {})
    if "copy" not in known:
        known = bench.record.setdefault("kernels", {}).setdefault("memory", memory(bench))
    return float(known["copy"])


def _resident_rows(device: Device, database: NDArray) -> ResidentRows:
    floats = database.dtype.kind == "f"
    rows = ResidentRows([device], "floats" if floats else "codes", database.shape[1], False, True)
    rows.extend([database], [build(database) if floats else None])
    return rows


def kernel_rate(
    bench: Bench, metric: str, family: str, kernel: str, queries: NDArray, resident: ResidentRows
) -> dict[str, Any]:
    """The rate of a scan whose limits no pair passes: pairs/s, and bytes/s of rows of a stream."""
    device = bench.devices[0]
    with device.use():
        strategy = "scan" if family.endswith("floats") else "auto"
        covered = resident.covered(resident.rows, strategy)
        blocks = list(resident.blocks(device, metric, covered, None, strategy))
        if not blocks:
            return {"skipped": "the rows are not on the device"}
        width = blocks[0].rows.shape[1]
        if kernel.endswith("resident") and width > scans._RESIDENT_BYTES:
            return {"skipped": f"rows of {width} bytes"}
        shape = device.shape_of(kernel)
        if shape.shared_bytes(width) > device.shared_limit:
            return {"skipped": f"needs {shape.shared_bytes(width)} bytes of shared memory"}
        stream = "stream" in kernel
        some = queries[: shape.queries] if stream else queries
        batch = _batch_of(device, metric, some, 1, None)
        # Of products 0 is the key of a NaN; what is below all distances, of -1,000.
        nothing = int(keys_of(np.array([-1000.0]), metric)[0]) if metric in PRODUCTS else 0
        device.fill(batch.lists.limits, nothing)
        scans_ = [_scan_of(batch, block, kernel) for block in blocks]

        def work() -> None:
            for one in scans_:
                one()

        measured = seconds(device, work, bench.sizes.repeats, QUEUED_S)
        clocks = clocks_during(device, work)
        passed = int(device.download(batch.lists.counts).sum(dtype=np.int64))
    rows = sum(block.count for block in blocks)
    found: dict[str, Any] = {
        "rows": rows,
        "queries": len(some),
        "row_bytes": width,
        **measured,
        "clocks": clocks,
        "pairs_per_s": rows * len(some) / measured["median_s"],
        "passed": passed,  # 0, or the rate is not that of the scan alone
    }
    if stream:
        found["bytes_per_s"] = rows * width / measured["median_s"]
    found |= prediction.beside(device.name, family, kernel, width, found["pairs_per_s"])
    if "predicted_pairs_per_s" in found:
        bench.say(
            f"{kernel}: {found['pairs_per_s']:.3g} pairs/s, predicted"
            f" {found['predicted_pairs_per_s']:.3g} by {found['predicted_limit']}"
        )
    return found


def _batch_of(
    device: Device, metric: str, queries: NDArray, k: int, database: NDArray | None
) -> _Batch:
    """Queries on the device with their lists, as a search begins."""

    def refuse(row: int) -> Exception:
        return ArithmeticError(f"row {row} seems not to be finite")

    host = None if metric == "hamming" or database is None else HostRows([database], None)
    problem = Problem(metric, queries.shape[1], k, host, refuse)
    capacity = _lists.capacity_for(k, tiling.TILING.device_list)
    return _Batch(device, problem, queries, capacity)


def _scan_of(batch: _Batch, block: Block, kernel: str) -> Callable[[], None]:
    """Scans a block once, without the rounds and the selection of a search."""
    rows = Compared(block.rows, block.errors, block.sums, block.bounds, block.totals)
    pieces = [
        (first, last, batch.rows, batch.unit, batch.products(0.0))
        if run is None
        else (first, last, batch._sketch(run.lo, run.step), run.step, batch.products(run.lo))
        for first, last, run in block.pieces()
    ]

    def work() -> None:
        for first, last, queries, scale, products in pieces:
            scan(
                batch.device, block.family, queries, rows, None, first, last, block.first,
                batch.lists, scale, batch.gamma, batch.lost, kernel, products,
            )  # fmt: skip

    return work


# Searches


def kernels(bench: Bench, found: dict[str, Any]) -> None:
    """Exact searches of resident rows, selection included, beside their bars."""
    require_trust(bench)
    sizes = bench.sizes
    for kind in bench.kinds:
        # Signs of noise and of features are both searched; bars are of noise.
        for name, metric, rows, queries in (
            ("hamming_stream", "hamming", sizes.stream_rows, 1),
            ("hamming_batch", "hamming", sizes.batch_rows["hamming"], sizes.queries["hamming"]),
            ("l2_batch", "l2", sizes.batch_rows["l2"], sizes.queries["l2"]),
            ("l1_batch", "l1", sizes.batch_rows["l1"], sizes.queries["l1"]),
            ("cosine_batch", "cosine", sizes.batch_rows["cosine"], sizes.queries["cosine"]),
        ):
            key = name if kind == "relu" else f"{name} {kind}"
            case = case_of(bench, metric, rows, queries, kind)
            bench.attempt(found, key, partial(search_rate, bench, case))
            if kind == "relu" and f"{name}_device" in BARS and "error" not in found[key]:
                _bars(bench, name, found[key])
                bench.save()
    for metric, family in (("hamming", "hamming"), ("l2", "l2_sketches")):
        bench.attempt(found, f"structures {family}", partial(structures, bench, metric, family))


def structures(bench: Bench, metric: str, family: str) -> dict[str, Any]:
    """Kernels of the same work by different structures, each beside the next simpler one, on the
    same rows: pairs of blocks (`multicast`), warpgroups in a pipeline, one loop."""
    device, sizes = bench.devices[0], bench.sizes
    chain = [name for name in sources.scans_for(family, device.capability)
             if "_warpgroup" in name and not name.endswith("resident")]  # fmt: skip
    if not chain:
        return {"skipped": f"{device.name} has no warpgroups' products"}
    rows = sizes.code_rows if metric == "hamming" else sizes.float_rows
    queries, database = bench.data.load(case_of(bench, metric, rows, sizes.queries[metric]))
    resident = _resident_rows(device, database)
    found: dict[str, Any] = {
        kernel: kernel_rate(bench, metric, family, kernel, queries, resident) for kernel in chain
    }
    for kernel, simpler in pairwise(chain):
        if "pairs_per_s" in found[kernel] and "pairs_per_s" in found[simpler]:
            ratio = found[kernel]["pairs_per_s"] / found[simpler]["pairs_per_s"]
            found[kernel]["times_the_next"] = ratio
            bench.say(f"{kernel}: {ratio:.2f} x {simpler}")
    return found


def search_rate(bench: Bench, case: Any) -> dict[str, Any]:
    """One case: times on the device and from the call to the answer, and whether it is right."""
    device, sizes, metric = bench.devices[0], bench.sizes, case.metric
    queries, database = bench.data.load(case)
    there = resident_of(database)
    rows_there = there.rows_there
    with device.use():

        def blocks() -> list[Block]:
            covered = rows_there.covered(rows_there.rows)
            return list(rows_there.blocks(device, metric, covered, None))

        def on_device() -> None:
            # Queries are sent again by each repeat: a batch is used once. That is some
            # megabytes, beside rows that are read for all queries.
            batch = _batch_of(device, metric, queries, case.k, database)
            for block in blocks():
                batch.take(block)
            batch.finish()

        measured = seconds(device, on_device, sizes.repeats)
        on_first = sum(block.count for block in blocks())
    host = seconds(
        device, lambda: topk(queries, there, case.k, metric=metric, backend="cuda"), sizes.repeats
    )
    distances, ids, proof = topk(
        queries, there, case.k, metric=metric, backend="cuda", explain=True
    )
    few = min(sizes.checked, len(queries))
    expected = topk(queries[:few], database, case.k, metric=metric, backend="cpu")
    width = case.row_bytes if metric == "hamming" else case.dim
    return {
        **case.as_dict(),
        "on_device": measured,
        "from_call_to_answer": host,
        "pairs_per_s_on_device": on_first * case.queries / measured["median_s"],
        "pairs_per_s": case.pairs / host["median_s"],
        "bytes_per_s_on_device": on_first * width / measured["median_s"],
        "bytes_per_s": case.rows * width / host["median_s"],
        "rows_on_devices": rows_there.rows,
        "checked_queries": few,
        "mismatches": differing((distances[:few], ids[:few]), expected),
        "proof": str(proof),
    }


def resident_of(database: NDArray) -> Resident:
    """A database on the devices; sketches are made by all processors beforehand."""
    return Resident(database if database.dtype == np.uint8 else Sketched(database))


def _bars(bench: Bench, name: str, found: dict[str, Any]) -> None:
    """Figures of a case beside its two bars."""
    if found["mismatches"]:
        return  # a wrong answer has no rate
    wanted = FULL.stream_rows if name == "hamming_stream" else FULL.batch_rows[found["metric"]]
    asked = 1 if name == "hamming_stream" else FULL.queries[found["metric"]]
    whole = found["rows"] >= wanted and found["queries"] >= asked and found["dim"] == FULL.dim
    for where, suffix in (("device", "_on_device"), ("host", "")):
        if name == "hamming_stream":
            figure = found[f"bytes_per_s{suffix}"] / copy_bandwidth(bench)
            found[f"share_of_copy_bandwidth{suffix}"] = figure
        else:
            figure = found[f"pairs_per_s{suffix}"]
        bench.bar(f"{name}_{where}", figure, whole)
