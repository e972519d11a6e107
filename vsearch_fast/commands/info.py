"""`vsearch info`: what an index holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..terminal import options


@click.command("info")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@options.json_flag
def command(index_path: Path, as_json: bool) -> None:
    """What INDEX holds: pictures, model, metadata columns, size, distances of a match."""
    from ..commands.calibrate import told
    from ..shards.opening import open_index

    with open_index(index_path) as found:
        facts = found.info()
    if as_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    model = facts.pop("model")
    likeness = facts.pop("likeness")
    reductions = facts.pop("reductions")
    joined = facts.pop("joined")
    limits = told(facts.pop("thresholds")) or ["none taken yet (vsearch calibrate)"]
    for name, value in facts.items():
        if name == "bytes":
            value = f"{value:,}"
        elif name == "segments" and joined < value:
            value = f"{value:,}, small ones: vsearch optimize would leave {joined:,}"
        elif name == "titles":
            value = ", ".join(f"{role}={column}" for role, column in value.items()) or "by name"
        elif name == "columns":
            value = ", ".join(value) or "none"
        click.echo(f"{name:13} {value}")
    for metric, known in reductions.items():
        click.echo(f"{'reduced':13} {metric}: {_reduced(known)}")
    for limit in limits:
        click.echo(f"{'match within':13} {limit}")
    for metric, known in likeness.items():
        can = [
            words for words, key in (("same item", "same"), ("similar", "similar")) if known[key]
        ]
        click.echo(
            f"{'labels':13} {metric}: {', '.join(can) or 'none (vsearch calibrate says why)'}"
        )
    if "columns" in model:
        model["columns"] = ", ".join(f"{role}={own}" for role, own in model["columns"].items())
    for name, value in model.items():
        click.echo(f"model {name:7} {value}")


def _reduced(known: dict[str, Any]) -> str:
    """What is reduced for a metric, in words: facts of `Index.info`."""
    if "left" not in known:
        return "none, since rows are all alike, too few or too large"
    left = list(known["left"])
    numbers = [known[name] for name in ("groups", "coarse", "fine") if known.get(name)]
    what = "sums of bits" if "groups" in known else "numbers"
    shares = ", ".join(f"{share:.1%}" for share in left)
    if not known["pays"]:
        rows = f"; {known['rows']:,} rows are" if known["rows"] else ""
        return f"would not pay ({left[-1]:.1%} of the rows would remain){rows}"
    return (
        f"{known['rows']:,} rows, {' and '.join(map(str, numbers))} {what}, {known['bytes']} bytes"
        f" a row; of a sample they leave {shares}"
    )
