"""A catalogue's day on a system that lacks what Windows lacks: run by `test_windows.py`.

Arguments: a folder to work in, and a model.
"""

from __future__ import annotations

# What others have made, which knows Windows: as it is on this system.
import asyncio  # noqa: F401
import concurrent.futures.process  # noqa: F401
import importlib
import json
import multiprocessing.util  # noqa: F401
import pkgutil
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401
import warnings
from pathlib import Path
from typing import Any

import click  # noqa: F401
import jinja2  # noqa: F401
import lark  # noqa: F401
import numba
import numpy as np
import onnxruntime
import PIL.Image
import portalocker
import tqdm
import windows

#: Packages of extras, which are there where the tests run.
EXTRAS = (
    "fastapi", "fastapi_offline", "uvicorn", "prometheus_client", "pyarrow", "pyarrow.dataset",
    "matplotlib.pyplot", "scipy.stats", "scipy.spatial", "sklearn", "sklearn.neighbors", "ray",
    "ray.data", "ray.serve", "krippendorff", "simplejpeg", "pillow_heif", "lance",
    "threadpoolctl", "onnx", "multipart", "python_multipart", "faiss",
)  # fmt: skip


def imported(prefix: str) -> list[str]:
    """Every module of the package, but programs and what makes networks of Keras."""
    names = [
        found.name
        for found in pkgutil.walk_packages(importlib.import_module(prefix).__path__, f"{prefix}.")
        if not found.name.endswith("__main__")
    ]
    for name in names:
        importlib.import_module(name)
    return names


def vsearch(*arguments: Any) -> None:
    """A command, in this process."""
    from vsearch_fast import cli

    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as left:
        if left.code:
            raise AssertionError(f"vsearch {arguments[0]}: {left.code}") from left


def draw(file: Path, seed: int) -> None:
    """A picture unlike the others."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), np.uint8)
    PIL.Image.fromarray(pixels).resize((48, 48)).save(file)


def day(work: Path, model: Path) -> dict[str, Any]:
    """index, search, add, remove, verify, backup, compact, optimize; what was found."""
    from vsearch_fast.index import Index

    photos, index = work / "photos", work / "photos.index"
    for number in range(6):
        draw(photos / "chairs" / f"{number} \u88d9\u5b50.png", number)
    options = ("-o", index, "--model", model, "--quiet")
    vsearch("index", photos, *options)
    first = photos / "chairs" / "0 \u88d9\u5b50.png"
    vsearch("search", index, first, "--model", model)
    draw(photos / "lamps" / "new.png", 10)
    draw(photos / "lamps" / "gone.png", 11)
    vsearch("index", photos, *options)
    (photos / "lamps" / "gone.png").unlink()
    (photos / "chairs" / "5 \u88d9\u5b50.png").rename(photos / "moved.png")
    vsearch("index", photos, *options)
    vsearch("verify", index)
    vsearch("info", index)
    backup = work / "empty"
    backup.mkdir()
    vsearch("backup", index, backup)
    with Index.open(index) as reader:
        before = [(item.id, reader.features([item.id]).tobytes()) for item in reader]
        vsearch("compact", index)  # while somebody has its files mapped
        vsearch("optimize", index)
        meanwhile = sorted(each.name for each in index.glob("vectors-*"))
        [hits] = reader.search(reader.features([before[0][0]]), 3)
    vsearch("verify", index)
    vsearch("shard", index, "-o", work / "shards", "--into", "2")
    vsearch("merge", work / "shards", "-o", work / "merged.index")
    found: dict[str, Any] = {"first": hits[0].id, "asked": before[0][0], "meanwhile": meanwhile}
    for name, place in {"index": index, "backup": backup, "merged": work / "merged.index"}.items():
        with Index.open(place) as reader:
            found[name] = sorted(
                (item.id, reader.features([item.id]).tobytes().hex()[:32]) for item in reader
            )
    with Index.open(index, mode="rw"):
        try:
            Index.open(index, mode="rw")
        except Exception as error:
            found["second"] = str(error)
    found["files"] = sorted(each.name for each in index.iterdir())
    return found


def main(work: str, model: str) -> None:
    for name in EXTRAS:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    assert numba and onnxruntime and portalocker and tqdm
    onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    windows.become_windows()
    warnings.filterwarnings("error", category=EncodingWarning, module=r"vsearch_fast\.")
    names = imported("vsearch_fast")
    found = day(Path(work), Path(model))
    Path(work, "found.json").write_text(
        json.dumps({**found, "modules": len(names)}), encoding="utf-8"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
