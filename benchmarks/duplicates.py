"""How long duplicates take to find, and which are found.

    python benchmarks/duplicates.py photos/ --json results.json       both
    python benchmarks/duplicates.py --rows 100000                     time alone, on drawn rows

**Time**: all pairs of rows within a cosine distance of each other, and all pairs of 64-bit hashes
within 10 bits, by the package and by others (`duplicate_times.py`).

**Truth**: of some photos copies are made, and kinds of them looked for among all photos:
recompressed (JPEG quality 40), resized (half the width and height), cropped (90% of both),
mirrored, watermarked. *Recall* is the share of copies whose photo lies within the threshold;
*precision* the share of (copy, photo) pairs within it that are of one photo. *Photos* counts the
pairs among the photos themselves: nobody made those, some are two shots of one thing. Beside the
network's features and codes stands a perceptual hash (DCT), as imagededup defines its PHash: 32 x
32 by Lanczos, grey, the 8 x 8 lowest frequencies of the cosine transform, a bit each, whether it
reaches the median of all but the first; 10 of 64 bits may differ there by default. (Its network,
MobileNetV3, is not measured: its weights come from the network alone.)
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from duplicate_times import RADIUS, feature_times, hash_times, hashes_to_join, rows_to_join
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from vsearch_fast import Embedder, range_search, self_join_blocks
from vsearch_fast.bench.machine import command_line, environment
from vsearch_fast.images import find_images
from vsearch_fast.machine import available_threads
from vsearch_fast.words import Metric

#: By measure: the thresholds that are told, as distances.
THRESHOLDS: dict[str, tuple[float, ...]] = {
    "cosine": (0.01, 0.02, 0.03, 0.04, 0.05),
    "hamming": (164, 245, 286, 327, 409),
    "phash": (0, 2, 4, 6, 8, 10),
}


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def recompressed(image: Image.Image, rng: np.random.Generator) -> bytes:
    return _jpeg(image, 40)


def resized(image: Image.Image, rng: np.random.Generator) -> bytes:
    size = (max(1, image.width // 2), max(1, image.height // 2))
    return _jpeg(image.resize(size, Image.Resampling.LANCZOS), 90)


def cropped(image: Image.Image, rng: np.random.Generator) -> bytes:
    width, height = round(0.9 * image.width), round(0.9 * image.height)
    left = int(rng.integers(image.width - width + 1))
    top = int(rng.integers(image.height - height + 1))
    return _jpeg(image.crop((left, top, left + width, top + height)), 90)


def mirrored(image: Image.Image, rng: np.random.Generator) -> bytes:
    return _jpeg(ImageOps.mirror(image), 90)


def watermarked(image: Image.Image, rng: np.random.Generator) -> bytes:
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    font = ImageFont.load_default(max(12, image.width // 9))
    middle = (image.width / 2, image.height / 2)
    draw = ImageDraw.Draw(layer)
    draw.text(middle, "SHOP SAMPLE", fill=(255, 255, 255, 150), font=font, anchor="mm")
    return _jpeg(Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB"), 90)


MADE: dict[str, Callable[[Image.Image, np.random.Generator], bytes]] = {
    made.__name__: made for made in (recompressed, resized, cropped, mirrored, watermarked)
}


def phash(image: Image.Image) -> NDArray[np.uint8]:
    """The perceptual hash (DCT) of a picture, uint8 (8,)."""
    from scipy.fft import dct

    small = image.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS)
    grey = np.asarray(small.convert("L"), np.float64)
    low = dct(dct(grey, axis=0), axis=1)[:8, :8].ravel()
    return np.packbits(low >= np.median(low[1:]))


def figures(
    originals: NDArray,
    copies: dict[str, NDArray],
    chosen: NDArray[np.int64],
    metric: Metric,
    thresholds: tuple[float, ...],
) -> list[dict[str, Any]]:
    """Recall and precision of copies of some originals, by kind and threshold.

    Args:
        originals: rows of all photos.
        copies: by kind, a row for each photo of `chosen`.
        chosen: row numbers of the photos that were copied.
    """
    most = max(thresholds)
    among = np.concatenate(
        [d for _, _, d in self_join_blocks(originals, most, metric=metric)] or [np.empty(0)]
    )
    found = {}
    for kind, rows in copies.items():
        offsets, distances, ids = range_search(rows, originals, most, metric=metric)
        found[kind] = distances, ids == np.repeat(chosen, np.diff(offsets))
    told = []
    for threshold in thresholds:
        kinds = {}
        for kind, (distances, own) in found.items():
            near = distances <= threshold
            right = int(np.count_nonzero(near & own))
            pairs = int(np.count_nonzero(near))
            kinds[kind] = {
                "recall": right / len(chosen),
                "precision": right / pairs if pairs else None,
            }
        photos = int(np.count_nonzero(among <= threshold))
        told.append({"threshold": threshold, "kinds": kinds, "photos": photos})
    return told


def embedded(
    embedder: Embedder, photos: list[Any], made: dict[str, list[Any]], keep: Path | None
) -> tuple[dict[str, NDArray], dict[str, NDArray], float]:
    """Features and codes of the photos and of each kind of copies, and seconds a photo.

    Args:
        keep: where they are kept, and taken from, where it holds those of this model and number.
    """
    mark = np.array([embedder.model_id, str(len(photos)), *(str(len(m)) for m in made.values())])
    kinds = ("photos", *made)
    if keep is not None and keep.exists():
        with np.load(keep) as held:
            if np.array_equal(held["mark"], mark):
                features, codes = (
                    {kind: held[f"{what} {kind}"] for kind in kinds} for what in ("f", "c")
                )
                return features, codes, float(held["seconds"])
    features, codes = {}, {}
    began = time.perf_counter()
    features["photos"], codes["photos"] = embedder.both(photos, progress=True)
    seconds = (time.perf_counter() - began) / max(1, len(photos))
    for kind, pictures in made.items():
        features[kind], codes[kind] = embedder.both(pictures)
    if keep is not None:
        arrays = {f"f {kind}": features[kind] for kind in kinds}
        arrays |= {f"c {kind}": codes[kind] for kind in kinds}
        np.savez(keep, mark=mark, seconds=np.array(seconds), **arrays)
    return features, codes, seconds


def truth(
    folder: Path, model: str | None, count: int, limit: int | None, keep: Path | None
) -> tuple[dict[str, Any], NDArray]:
    """The figures of all measures, and the features of the photos."""
    photos: list[Any] = list(find_images(folder))[:limit]
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(photos), min(count, len(photos)), replace=False))
    made: dict[str, list[Any]] = {
        kind: [
            make(Image.open(photos[i]).convert("RGB"), np.random.default_rng([number, i]))
            for i in chosen.tolist()
        ]
        for number, (kind, make) in enumerate(MADE.items())
    }
    embedder = Embedder(model)
    features, codes, network = embedded(embedder, photos, made, keep)
    began = time.perf_counter()
    hashes = {"photos": np.stack([phash(Image.open(each)) for each in photos])}
    seconds = {"network": network, "phash": (time.perf_counter() - began) / len(photos)}
    for kind, pictures in made.items():
        hashes[kind] = np.stack([phash(Image.open(io.BytesIO(each))) for each in pictures])
    measures: dict[str, tuple[Metric, dict[str, NDArray]]] = {
        "cosine": ("cosine", features), "hamming": ("hamming", codes),
        "phash": ("hamming", hashes),
    }  # fmt: skip
    outcomes = {}
    for name, (metric, rows) in measures.items():
        copies = {kind: rows[kind] for kind in made}
        outcomes[name] = figures(rows["photos"], copies, chosen, metric, THRESHOLDS[name])
    record = {
        "photos": len(photos), "copied": len(chosen), "model_id": embedder.model_id,
        "bits": embedder.bits, "seconds_a_picture": seconds, "measures": outcomes,
    }  # fmt: skip
    return record, features["photos"]


def shown(record: dict[str, Any]) -> str:
    """The record in lines."""
    lines = []
    if "truth" in record:
        found = record["truth"]
        lines.append(f"{found['photos']:,} photos, {found['copied']:,} copied in each way")
        for name, outcomes in found["measures"].items():
            lines.append(f"\n{name:10}" + "".join(f"{kind:>22}" for kind in MADE) + "   photos")
            for outcome in outcomes:
                each = [
                    f"{one['recall']:.3f} / "
                    + ("-" if one["precision"] is None else f"{one['precision']:.3f}")
                    for one in outcome["kinds"].values()
                ]
                lines.append(
                    f"{outcome['threshold']:<10g}" + "".join(f"{text:>22}" for text in each)
                    + f"{outcome['photos']:9,}"
                )  # fmt: skip
    for name, of in (("time", "rows of {dim:,}, within {radius}"), ("hash_time", "hashes")):
        if name not in record:
            continue
        lines.append(f"\n{record['rows']:,} " + of.format(**record))
        for way, seconds in record[name]["seconds"].items():
            work = statistics.median(record[name]["work"][way])
            lines.append(
                f"{way:10} {statistics.median(seconds):8.2f} s, {work:8.2f} s of work, "
                f"{record[name]['pairs'][way]:,} {'groups' if way == 'index' else 'pairs'}"
            )
        for way, why in record[name].get("not_run", {}).items():
            lines.append(f"{way:10} not run: {why}")
    return "\n".join(lines)


@click.command()
@click.argument("photos", required=False, type=click.Path(path_type=Path))
@click.option("--model", help="Of the features; the package's by default.")
@click.option("--copies", default=200, show_default=True, help="Photos that are copied.")
@click.option("--limit", type=int, help="Photos at most.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep features there (.npz).")
@click.option("--rows", default=20_000, show_default=True, help="Of the join; 0: no times.")
@click.option("--dim", default=4096, show_default=True, help="Numbers a row without photos.")
@click.option("--runs", default=3, show_default=True)
@click.option("--threads", type=int, default=available_threads, help="All by default.")
@click.option(
    "--imagededup/--no-imagededup",
    default=True,
    help="Time it too, where it is installed: 100,000 hashes take it most of an hour.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the record.")
def main(
    photos: Path | None, model: str | None, copies: int, limit: int | None, keep: Path | None,
    rows: int, dim: int, runs: int, threads: int, imagededup: bool, json_file: Path | None,
) -> None:  # fmt: skip
    """Measure duplicates: time, and truth on PHOTOS."""
    record: dict[str, Any] = {
        "command": command_line("benchmarks/duplicates.py"), "machine": environment(threads)
    }  # fmt: skip
    features = None
    if photos is None:
        record["no_truth"] = "no folder of photos was named"
    elif not photos.is_dir():
        record["no_truth"] = f"{photos.name} is not there"
    else:
        record["truth"], features = truth(photos, model, copies, limit, keep)
        click.echo(shown(record))
    if "no_truth" in record:
        click.echo(f"Truth is not measured: {record['no_truth']}.", err=True)
    if rows:
        made = rows_to_join(rows, dim, features)
        record |= {"rows": rows, "dim": made.shape[1], "radius": RADIUS}
        record["data"] = (
            "clusters" if features is None else "features of the photos, and mixtures of two"
        )
        record["time"] = feature_times(made, runs, threads, imagededup=imagededup)
        hashes = hashes_to_join(rows)
        record["hash_time"] = hash_times(hashes, runs, threads, imagededup=imagededup)
        click.echo(shown({name: each for name, each in record.items() if name != "truth"}))
    if json_file:
        json_file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
