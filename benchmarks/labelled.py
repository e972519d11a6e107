"""What the measurements of accuracy on labelled pictures share: arguments, pictures, record."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch_fast import Embedder, __version__
from vsearch_fast.bench.machine import command_line
from vsearch_fast.datasets import detect
from vsearch_fast.datasets.records import Record
from vsearch_fast.words import JUDGED

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Options of data, model and output; each script adds its own."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("data", type=Path, help="as for vsearch index")
    made.add_argument("--format", default="auto", help="as for vsearch index")
    made.add_argument("--csv", type=Path, default=None, help="as for vsearch index")
    made.add_argument(
        "--column", action="append", default=[], metavar="ROLE=NAME", type=_pair,
        help="as for vsearch index",
    )  # fmt: skip
    made.add_argument("--leave-out", action="append", default=[], help="no category; repeat")
    made.add_argument("--metric", action="append", choices=JUDGED, help="default: all; repeat")
    made.add_argument("--limit", type=int, default=None, help="pictures, drawn at random")
    made.add_argument("--seed", type=int, default=0, help="of that (default 0)")
    made.add_argument("--threads", type=int, default=None)
    made.add_argument("--provider", default="auto", help="as for vsearch index")
    made.add_argument("--json", type=Path, default=None, help="also write the figures here")
    return made


def parsed(options: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line; ``metric`` is a list of those asked for, or of all."""
    args = options.parse_args()
    args.metric = args.metric or list(JUDGED)
    return args


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not ROLE=NAME")
    return name, value


def labelled(args: argparse.Namespace) -> tuple[list[Record], str]:
    """The pictures that have a category which is not left out, and where they are from."""
    records, origin = detect.read(
        args.data, args.format, csv=args.csv, columns=dict(args.column) or None
    )
    return [r for r in records if r.category is not None and r.category not in args.leave_out], (
        str(origin)
    )


def limited(records: list[Record], args: argparse.Namespace) -> list[Record]:
    """As many of them as ``--limit`` allows, drawn by ``--seed``, in their order."""
    if args.limit is None or len(records) <= args.limit:
        return records
    chosen = np.random.default_rng(args.seed).choice(len(records), args.limit, replace=False)
    return [records[number] for number in np.sort(chosen)]


def embedder_of(args: argparse.Namespace) -> Embedder:
    """The network of ``--model``, whose codes, where Hamming is asked for, are features > 0."""
    embedder = Embedder(args.model, args.provider, threads=args.threads)
    if "hamming" in args.metric and embedder.binarize != "zero":
        sys.exit(
            f"The codes of {embedder} are by the rule {embedder.binarize}, and this measures the "
            "bits features > 0. Nothing was measured: name l1 and l2 alone (--metric)."
        )
    return embedder


def facts(args: argparse.Namespace, embedder: Embedder, script: str, **more: Any) -> dict[str, Any]:
    """What a record says of the run, ``more`` of it between data and model."""
    return {
        "data": args.data.name,
        **more,
        "model": Path(embedder.description["file"]).name,
        "model_id": embedder.model_id,
        "weights": embedder.metadata.get("weights", ""),
        "dim": embedder.dim,
        "vsearch_fast": __version__,
        "command": command_line(f"benchmarks/{script}"),
    }


def write(file: Path | None, about: dict[str, Any], outcomes: Sequence[DataclassInstance]) -> None:
    """Write the record where a file was named."""
    if file is not None:
        content = {"facts": about, "outcomes": [asdict(outcome) for outcome in outcomes]}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
