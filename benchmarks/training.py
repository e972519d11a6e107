"""What the cache of the convolutions' outputs saves: ``python benchmarks/training.py``.

Times an epoch's batches by the full-width VGG-16 with frozen convolutions, once through the
convolutions and once from their outputs on disk, in alternating order, and prints the ratio of
the medians; and how long the outputs take to compute, in float32 and in bfloat16. The weights are
random: what they are changes no time.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np


@click.command()
@click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True)
@click.option("--batches", type=click.IntRange(1), default=3, show_default=True, help="Timed.")
@click.option("--width", type=float, default=1.0, show_default=True)
@click.option("--input-size", type=click.IntRange(32), default=224, show_default=True)
@click.option("--classes", type=click.IntRange(2), default=46, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    batch_size: int, batches: int, width: float, input_size: int, classes: int, as_json: bool
) -> None:
    """Time a batch of the default recipe with and without the cache."""
    from vsearch_fast.export import backend

    backend.prepare_keras()
    import keras

    from vsearch_fast.export.training import losses, network
    from vsearch_fast.export.training.loop import compiled
    from vsearch_fast.export.training.pictures import preprocessed
    from vsearch_fast.export.training.recipe import Recipe

    recipe = Recipe(base="random:0", width=width, input_size=input_size)
    made = network.build(network.Shape(width, input_size), classes, seed=0)
    made.body.trainable = False
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch_size, input_size, input_size, 3), np.uint8)
    told = losses.keys(*rng.integers(0, classes, (3, batch_size)))
    with tempfile.TemporaryDirectory() as folder:
        bodies = {"float32": made.body, "bfloat16": network.in_bfloat16(made)}
        rates = {name: _pictures_per_second(body, pixels, batches) for name, body in bodies.items()}
        cached = np.lib.format.open_memmap(
            Path(folder) / "batch.npy",
            "w+",
            np.float16,
            (batch_size, made.body.outputs[0].shape[1]),
        )
        for first in range(0, batch_size, 16):
            some = preprocessed(pixels[first : first + 16])
            cached[first : first + 16] = np.asarray(made.body.predict_on_batch(some))
        # One after the other, not at once: each has an optimiser of its own.
        whole = compiled(made.whole("predictions"), recipe, classes, batches)
        head = compiled(made.behind("predictions"), recipe, classes, batches)
        seconds: dict[str, list[float]] = {"convolutions": [], "cache": []}
        order = np.arange(batch_size)
        for number in range(batches + 1):
            rng.shuffle(order)
            for name, model in (("convolutions", whole), ("cache", head)):
                start = time.perf_counter()
                if name == "cache":
                    inputs = cached[order].astype(np.float32)
                else:
                    inputs = preprocessed(pixels[order])
                model.train_on_batch(inputs, told[order])
                if number:  # the first compiles
                    seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    ratio = medians["convolutions"] / medians["cache"]
    if as_json:
        click.echo(
            json.dumps(
                {
                    "seconds_a_batch": seconds,
                    "outputs_per_second": rates,
                    "ratio": ratio,
                    "batch_size": batch_size,
                    "width": width,
                    "input_size": input_size,
                    "keras": keras.__version__,
                    "backend": keras.config.backend(),
                }
            )
        )
        return
    for name, rate in rates.items():
        click.echo(f"outputs in {name:8} {rate:8.1f} pictures/s")
    for name, median in medians.items():
        click.echo(
            f"{name:13} {median:7.2f} s a batch of {batch_size}: {batch_size / median:8.1f} "
            "pictures/s"
        )
    click.echo(f"An epoch from the cache is {ratio:.1f} times as fast")


def _pictures_per_second(body: Any, pixels: np.ndarray, runs: int) -> float:
    """The median over runs of 16 pictures, as `vsearch train` computes them; the first compiles."""
    from vsearch_fast.export.training.pictures import preprocessed

    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        body.predict_on_batch(preprocessed(pixels[:16]))
        seconds.append(time.perf_counter() - start)
    return len(pixels[:16]) / statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
