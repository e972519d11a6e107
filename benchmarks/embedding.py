"""How near files-to-features comes to the bare network: ``python benchmarks/embedding.py -h``.

Three rates are taken in turn, several rounds of each, in one process on the same pictures,
so that a change of the machine's load meets all three:

- network: the network alone on pixels decoded before, in batches of the same size, and once
  on each batch;
- decoder: reading, decoding and resizing the files in the embedder's threads, no network; and
  the same with Pillow decoding, where the embedder uses another library for it;
- end to end: ``Embedder.embed(files)``.

A file's first reading from the disk is left out: all files are read once beforehand. The
network alone runs as in the embedder and, as a check on its settings, in a session on the
CPU with ONNX Runtime's default settings. ``--decoder-only`` leaves the network out.

On a machine where decoder and network run on the same cores, their work adds up: with rates
a and b, of each on all cores, no schedule gives more than 1 / (1/a + 1/b). Where there are
cores to spare the bound is min(a, b). Both are printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from vsearch_fast.embedder import Embedder
from vsearch_fast.embedder.runner import Run, plain
from vsearch_fast.images import find_images, load
from vsearch_fast.images.jpeg import Decoder
from vsearch_fast.system import average_load
from vsearch_fast.threads import run_ahead

NETWORK, DEFAULT = "network alone", "network, CPU, default settings"
DECODER, END_TO_END = "decoder", "end to end"


def main() -> None:
    """Measure, and print a table of images a second."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a model file of vsearch export")
    parser.add_argument("folder", type=Path, help="a folder of pictures")
    parser.add_argument("--limit", type=int, default=64, help="pictures used (default 64)")
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--provider", default="auto", help="as for vsearch index")
    parser.add_argument("--decoder", default="auto", help="as for vsearch index")
    parser.add_argument("--decoder-only", action="store_true", help="time no network")
    parser.add_argument("--rounds", type=int, default=5, help="of each rate (default 5)")
    args = parser.parse_args()

    embedder = Embedder(
        args.model,
        args.provider,
        batch_size=args.batch_size,
        threads=args.threads,
        decoder=args.decoder,
    )
    files = find_images(args.folder)[: args.limit]
    if not files:
        parser.error(f"{args.folder} holds no picture files")
    size = embedder.batch_size

    def decoder(library: Decoder | None) -> None:
        read = partial(load, size=embedder.input_size, resize=embedder.resize, decoder=library)
        for _ in run_ahead(read, files, threads=embedder.threads, depth=2 * size):
            pass

    tasks: dict[str, Callable[[], object]] = {DECODER: lambda: decoder(embedder._decoder)}
    if embedder._decoder.pixels is not None:
        tasks["decoder, Pillow"] = lambda: decoder(None)
    if not args.decoder_only:
        default = _default_session(args.model, embedder.threads)
        pixels = [
            load(file, embedder.input_size, resize=embedder.resize, decoder=embedder._decoder)
            for file in files
        ]
        batches = [pixels[start : start + size] for start in range(0, len(pixels), size)]

        def network(run: Run) -> None:
            for batch in batches:
                run(["features"], batch)

        tasks |= {
            NETWORK: lambda: network(embedder._network),
            DEFAULT: lambda: network(plain(default)),
            END_TO_END: lambda: embedder.embed(files),
        }
    rates, processor = _measure(tasks, len(files), args.rounds)
    _report(rates, processor, embedder, len(files))


def _default_session(model: Path, threads: int) -> object:
    from vsearch_fast.embedder.runtime import runtime

    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _measure(
    tasks: dict[str, Callable[[], object]], pictures: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Images a second and processor milliseconds an image, once a round of each task.

    The order of the tasks is turned round every time.
    """
    for task in tasks.values():
        task()
    rates: dict[str, list[float]] = {name: [] for name in tasks}
    processor: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in tqdm(range(rounds), desc="rounds", disable=None):
        names = list(tasks)
        for name in names if turn % 2 == 0 else reversed(names):
            start, processor_start = time.perf_counter(), time.process_time()
            tasks[name]()
            rates[name].append(pictures / (time.perf_counter() - start))
            processor[name].append(1000 * (time.process_time() - processor_start) / pictures)
    return rates, processor


def _report(
    rates: dict[str, list[float]],
    processor: dict[str, list[float]],
    embedder: Embedder,
    pictures: int,
) -> None:
    print(
        f"{pictures} pictures, batch size {embedder.batch_size}, {embedder.threads} threads, "
        f"{os.cpu_count()} CPUs, load {average_load() or 0.0:.1f}\n"
        f"{embedder.provider}, {embedder.metadata.get('precision')}; {embedder.decoder}: "
        f"{embedder.decoder_version}"
    )
    for name, values in rates.items():
        print(
            f"{name:30} {statistics.median(values):8.1f} images/s "
            f"(from {min(values):.1f} to {max(values):.1f}), "
            f"{statistics.median(processor[name]):.2f} ms of processor time an image"
        )

    # Ratios are taken within a round: what slows a whole round cancels.
    def ratio(bound: Callable[..., float], *names: str) -> float:
        rounds = zip(*(rates[name] for name in names), strict=True)
        return statistics.median(end / bound(*others) for end, *others in rounds)

    if "decoder, Pillow" in rates:
        print(f"decoder to Pillow alone: {ratio(lambda p: p, DECODER, 'decoder, Pillow'):.3f}")
    if END_TO_END not in rates:
        return
    work = [end / net for net, end in zip(processor[NETWORK], processor[END_TO_END], strict=True)]
    both = (END_TO_END, NETWORK, DECODER)
    print("end to end, median of the rounds' ratios:")
    print(f"  of processor time to the network's     {statistics.median(work):.3f}")
    print(f"  to the network alone                   {ratio(lambda n: n, END_TO_END, NETWORK):.3f}")
    print(f"  to the network with default settings   {ratio(lambda n: n, END_TO_END, DEFAULT):.3f}")
    print(f"  to the slower of network and decoder   {ratio(min, *both):.3f}")
    print(f"  to both on the same cores, 1/(1/a+1/b) {ratio(_in_turn, *both):.3f}")


def _in_turn(a: float, b: float) -> float:
    return a * b / (a + b)


if __name__ == "__main__":
    main()
