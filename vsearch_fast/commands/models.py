"""`vsearch models`: the networks that come with the package."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from ..models.shipped import DEFAULT, SHIPPED
from ..terminal import options

#: Seconds of processor time that a network is measured for, at least.
_SECONDS = 2.0

#: Pictures of one round.
_PICTURES = 16


@click.command("models")
@click.option(
    "--measure",
    is_flag=True,
    help="Measure their speed on this machine, a few seconds each, instead of telling that of the "
    "card's.",
)
@options.json_flag
def command(measure: bool, as_json: bool) -> None:
    """The networks that come with the package: size, speed, what they know, licence.

    Their names go wherever a model file goes. A file of the same name in the current folder is
    meant by ./NAME.

    \b
    vsearch models
    vsearch index photos/ -o photos.index --model slim-clothing

    Speed is pictures a second of one processor core: network and resizing, without decoding.
    """
    found: list[dict[str, Any]] = []
    for each in SHIPPED:
        speed, where = each.pictures_per_second, each.measured_on
        if measure:
            speed, where = _measured(each.path), "this machine"
        found.append(
            {
                "name": each.name,
                "default": each.name == DEFAULT,
                "what": each.title,
                "knows": each.knows,
                "bytes": each.bytes,
                "pictures_per_second": round(speed, 1),
                "measured_on": where,
                "licence": each.licence,
                "file": str(each.path),
                "card": str(each.path.with_name(each.card)),
                "model_id": each.model_id,
            }
        )
    if as_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for number, facts in enumerate(found):
        if number:
            click.echo()
        default = ", taken where none is named" if facts["default"] else ""
        click.echo(f"{facts['name']}{default}")
        rate = f"{facts['pictures_per_second']:g} pictures/s of one core ({facts['measured_on']})"
        for name, value in (
            ("what", facts["what"]),
            ("knows", facts["knows"]),
            ("size", f"{facts['bytes'] / 1e6:.1f} MB"),
            ("speed", rate),
            ("licence", facts["licence"]),
            ("card", facts["card"]),
        ):
            click.echo(f"  {name:8} {value}")


def _measured(model: Path) -> float:
    """Pictures a second of processor time, in one thread; of noise, which is as fast as photos."""
    import numpy as np

    from ..embedder.embedder import Embedder

    embedder = Embedder(model, "cpu", threads=1)
    size = embedder.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (_PICTURES, size, size, 3), np.uint8)
    embedder.embed(pixels)  # what is made once
    done, start = 0, time.process_time()
    while (spent := time.process_time() - start) < _SECONDS:
        embedder.embed(pixels)
        done += len(pixels)
    return done / spent
