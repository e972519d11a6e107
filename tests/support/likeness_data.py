"""What distances say of hits, by its definition in NumPy, and catalogues to learn of."""

from __future__ import annotations

import numpy as np

from vsearch_fast.kernels import reference

DIM = 12


def falling_defined(
    distances: np.ndarray, outcomes: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each distance that occurs and its chance: the smallest of the largest means."""
    places = np.unique(distances)
    mass = np.array([weights[distances == place].sum() for place in places])
    hits = np.array([(weights * outcomes)[distances == place].sum() for place in places])
    count = len(places)
    mean = [
        [hits[a : b + 1].sum() / mass[a : b + 1].sum() if a <= b else np.nan for b in range(count)]
        for a in range(count)
    ]
    chances = [min(max(mean[a][i:]) for a in range(i + 1)) for i in range(count)]
    return places, np.array(chances)


def pairs_defined(
    data: np.ndarray,
    metric: str,
    truth: list[str | None],
    photos: list[int],
    live: np.ndarray,
    *,
    there: list[object] | None = None,
    views: list[object] | None = None,
    shown: int = 10,
) -> list[tuple[float, bool, int, int]]:
    """(distance, outcome, 0 or 1 for what is left out, photo) of every pair, by loops.

    `there`: for photos of the first kind, rows equal in it are left out; None: the row alone.
    `views`: rows equal in it are no pairs.
    """
    if metric == "hamming":
        data = np.packbits(data > 0, axis=-1)
    distances, ids = reference.topk(data, data, len(data), metric=metric)
    found = []
    for kind in (0, 1):
        for photo in photos:
            kept = 0
            for distance, hit in zip(distances[photo].tolist(), ids[photo].tolist(), strict=True):
                owner = (there if there is not None else range(len(data))) if kind == 0 else truth
                out = hit == photo or (owner[hit] is not None and owner[hit] == owner[photo])
                if out or not live[hit] or kept == shown:
                    continue
                kept += 1
                view = views is not None and views[hit] is not None and views[hit] == views[photo]
                if truth[hit] is not None and not view:
                    found.append((distance, truth[hit] == truth[photo], kind, photo))
    return found


def catalogue(
    items: int, views: int, kinds: int, seed: int = 0, spread: float = 0.2
) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Rows whose items lie near their category, and whose views lie near their item."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((kinds, DIM))
    rows, metadata = [], []
    for item in range(items):
        kind = item % kinds
        middle = centres[kind] + rng.standard_normal(DIM)
        for _ in range(views):
            rows.append(middle + spread * rng.standard_normal(DIM))
            metadata.append({"item": f"item {item}", "category": f"kind {kind}"})
    return np.array(rows, np.float32), metadata
