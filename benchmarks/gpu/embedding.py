"""Section ``embedding`` of the GPU report: images a second, and bits that differ from the CPU's."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from embedding import DECODER, END_TO_END, NETWORK, _measure

from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import ArgumentError
from vsearch_fast.images import find_images, load
from vsearch_fast.threads import run_ahead

from .base import FULL, Bench


def run(bench: Bench, found: dict[str, Any]) -> None:
    """Every batch size, the best of them beside the bars, then bits."""
    if bench.model is None or bench.pictures is None:
        found["skipped"] = "--model and --pictures were not given"
        return
    files = find_images(bench.pictures)
    if not files:
        raise ArgumentError(
            f"{bench.pictures.name} holds no picture files",
            "Nothing was embedded",
            "Give a folder of JPEG files",
        )
    found["pictures"] = len(files)
    for size in bench.sizes.embedding_batches:
        bench.attempt(found, f"batch {size}", partial(rates, bench, files, size))
    _bars(bench, found)
    bench.attempt(found, "differing_bits", partial(differing_bits, bench, files))


def rates(bench: Bench, files: list[Path], size: int) -> dict[str, Any]:
    """Images/s of network, decoder and both, in turn; files are repeated to fill the batches."""
    embedder = Embedder(bench.model, bench.provider, batch_size=size)
    wanted = max(size, min(bench.sizes.pictures, 8 * size)) // size * size
    taken = list(islice(cycle(files), wanted))
    read = partial(
        load, size=embedder.input_size, resize=embedder.resize, decoder=embedder._decoder
    )
    pixels = list(run_ahead(read, taken[:size], threads=embedder.threads, depth=2 * size))

    def network() -> None:
        for _ in range(wanted // size):
            embedder._network(["features"], pixels)

    def decoder() -> None:
        for _ in run_ahead(read, taken, threads=embedder.threads, depth=2 * size):
            pass

    tasks: dict[str, Callable[[], object]]
    tasks = {NETWORK: network, DECODER: decoder, END_TO_END: lambda: embedder.embed(taken)}
    measured, processor = _measure(tasks, wanted, bench.sizes.repeats)
    rounds = zip(measured[NETWORK], measured[DECODER], measured[END_TO_END], strict=True)
    return {
        "batch": size,
        "images": wanted,
        "provider": embedder.provider,
        "precision": embedder.metadata.get("precision"),
        "decoder": f"{embedder.decoder} {embedder.decoder_version}",
        "threads": embedder.threads,
        "images_per_s": {name: statistics.median(rates) for name, rates in measured.items()},
        "all_images_per_s": measured,
        "processor_ms_an_image": {n: statistics.median(ms) for n, ms in processor.items()},
        "end_to_end_by_slower": statistics.median(e / min(n, d) for n, d, e in rounds),
    }


def _bars(bench: Bench, found: dict[str, Any]) -> None:
    measured = [part for name, part in found.items() if name.startswith("batch")]
    measured = [part for part in measured if "error" not in part]
    if measured:
        whole = (
            bench.sizes.pictures >= FULL.pictures
            and measured[0]["precision"] == "fp16"
            and measured[0]["provider"] != "CPUExecutionProvider"
        )
        best = max(part["images_per_s"][NETWORK] for part in measured)
        bench.bar("network", best, whole)
        bench.bar("end_to_end", max(part["end_to_end_by_slower"] for part in measured), whole)


def differing_bits(bench: Bench, files: list[Path]) -> dict[str, Any]:
    """Bits of the codes that differ between the provider and the CPU."""
    some = files[: 8 * bench.sizes.embedding_batches[0]]
    ours = Embedder(bench.model, bench.provider).codes(some)
    cpu = Embedder(bench.model, "cpu").codes(some)
    bits = np.bitwise_count(ours ^ cpu)
    return {
        "pictures": len(some),
        "bits": int(ours.size * 8),
        "differing": int(bits.sum()),
        "most_of_a_picture": int(bits.sum(axis=1).max()),
    }
