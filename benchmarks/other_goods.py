"""Does a network know more than clothing? Pictures of other things, photographed again.

A stand-in for a catalogue of other goods, of which nothing was trained on: the sample pictures that
come inside scikit-image (a coffee cup, a rocket, coins, a cat, ...), each varied several times as a
second photo would be (`export.training.augment`, strong: crops, mirror, rotation, light, colour,
erased rectangles). Each view is a query among all other views of all pictures; right is another
view of the same picture. That asks for the same thing, not for another thing of its class, so it is
easier than a catalogue of classes: only what networks have beside each other says something.

    pip install scikit-image
    VSEARCH_WEIGHTS=weights/ vsearch export --weights imagenet --layer block5_pool --pool avg \\
        --unit-length -o imagenet-average.onnx
    python benchmarks/other_goods.py --model imagenet-average.onnx

measures every network of the package, and those files beside them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vsearch_fast import Embedder, topk
from vsearch_fast.export.training.augment import STRENGTHS, vary
from vsearch_fast.models import SHIPPED
from vsearch_fast.version import __version__
from vsearch_fast.words import JUDGED

#: Those that lie in scikit-image itself and show something; the others are downloads.
PICTURES = (
    "astronaut", "brick", "camera", "cat", "cell", "checkerboard", "clock", "coffee", "coins",
    "colorwheel", "grass", "gravel", "horse", "hubble_deep_field", "immunohistochemistry", "logo",
    "moon", "page", "retina", "rocket", "text",
)  # fmt: skip

#: Side of a picture before it is varied.
_SIDE = 256


def sample_pictures() -> dict[str, NDArray[np.uint8]]:
    """The pictures by name, uint8 (256, 256, 3). Those that are not installed are left out."""
    from skimage import data, util

    found = {}
    for name in PICTURES:
        try:
            pixels = util.img_as_ubyte(getattr(data, name)())
        except (OSError, ModuleNotFoundError, AttributeError):
            continue  # a download in this version of scikit-image
        image = Image.fromarray(pixels).convert("RGB")
        found[name] = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
    return found


def views_of(
    pictures: dict[str, NDArray[np.uint8]], views: int, size: int
) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Each picture varied `views` times, uint8 (size, size, 3), and which picture it is of."""
    varied = [
        vary(pixels, size, STRENGTHS["strong"], np.random.default_rng([number, view]))
        for number, pixels in enumerate(pictures.values())
        for view in range(views)
    ]
    return varied, np.repeat(np.arange(len(pictures)), views)


def found_again(
    features: NDArray[np.float32], codes: NDArray[np.uint8], of: NDArray[np.int64]
) -> dict[str, float]:
    """Share of the views whose nearest other view is of the same picture, by metric."""
    shares: dict[str, float] = {}
    for metric in JUDGED:
        rows = codes if metric == "hamming" else features
        _, nearest = topk(rows, rows, 2, metric=metric)
        own = np.arange(len(rows))
        other = np.where(nearest[:, 0] == own, nearest[:, 1], nearest[:, 0])
        shares[metric] = float((of[other] == of).mean())
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", default=[], help="a model file beside them")
    parser.add_argument("--views", type=int, default=6, help="of each picture (6)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    chosen = parser.parse_args()
    try:
        pictures = sample_pictures()
    except ModuleNotFoundError:
        raise SystemExit("scikit-image is not installed: pip install scikit-image") from None
    outcomes = []
    print(f"{len(pictures)} pictures, {chosen.views} views of each\n")
    print(f"{'network':32}" + "".join(f"{metric:>9}" for metric in JUDGED))
    for model in [each.name for each in SHIPPED] + chosen.model:
        embedder = Embedder(model)
        views, of = views_of(pictures, chosen.views, embedder.input_size)
        features, codes = embedder.both(views)
        shares = found_again(features, codes, of)
        name = Path(model).stem
        print(f"{name:32}" + "".join(f"{share:9.3f}" for share in shares.values()), flush=True)
        outcomes.append({"model": name, "model_id": embedder.model_id, "found": shares})
    if chosen.json:
        record = {
            "pictures": list(pictures),
            "views": chosen.views,
            "vsearch_fast": __version__,
            "outcomes": outcomes,
        }
        chosen.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
