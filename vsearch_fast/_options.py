"""What several commands take, and how their values are read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import click

if TYPE_CHECKING:
    from .kernels.reference import Metric

Box = tuple[int, int, int, int]

Command = TypeVar("Command", bound=Callable[..., Any])

METRICS: tuple[Metric, ...] = ("l2", "l1", "hamming")


class Commands(click.Group):
    """A group whose heavier commands are imported when they are called for."""

    elsewhere: ClassVar = {
        "bench": "vsearch_fast.bench.__main__",
        "calibrate": "vsearch_fast._calibrate",
        "eval": "vsearch_fast.evaluate.command",
        "export": "vsearch_fast.export.__main__",
        "garments": "vsearch_fast.datasets.garments.command",
        "gpu": "vsearch_fast._gpu.report",
        "locate": "vsearch_fast._locate_command",
        "rate": "vsearch_fast.rating.command",
        "serve": "vsearch_fast.web.command",
        "train": "vsearch_fast.export.training.command",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.elsewhere])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.elsewhere:
            return import_module(self.elsewhere[cmd_name]).command
        return super().get_command(ctx, cmd_name)


def box(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Box | None:
    if value is None:
        return None
    try:
        x1, y1, x2, y2 = (int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not x1,y1,x2,y2 in pixels") from None
    return x1, y1, x2, y2


def distance(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> float | Literal["auto"] | None:
    if value is None or value == "auto":
        return value  # type: ignore[return-value]
    try:
        number: float = click.FloatRange(0)(value, parameter, ctx)
    except click.BadParameter:
        raise click.BadParameter(f"{value!r} is neither a distance from 0 on nor auto") from None
    return number


def size(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    width, _, height = value.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT in pixels")
    return int(width), int(height)


def pairs(
    ctx: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> list[tuple[str, str]]:
    for value in values:
        if "=" not in value[1:]:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE")
    return [(name, text) for name, _, text in (value.partition("=") for value in values)]


def where_in_words(given: list[tuple[str, str]]) -> str:
    """The same filter in words: ``category=lamp or category=shoe, and kids=False``."""
    columns: dict[str, list[str]] = {}
    for column, text in given:
        columns.setdefault(column, []).append(f"{column}={text}")
    return ", and ".join(" or ".join(values) for values in columns.values())


def where(given: list[tuple[str, str]]) -> dict[str, list[Any]] | None:
    """Filter of an index. ``7`` asks for the text and for the number."""
    columns: dict[str, list[Any]] = {}
    for column, text in given:
        values = columns.setdefault(column, [])
        values.append(text)
        if text.lower() in ("true", "false"):  # as it is printed, and as any CSV spells it
            values.append(text.lower() == "true")
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if value is None or type(value) is int or (type(value) is float and math.isfinite(value)):
            values.append(value)
    return columns or None


def data_set(
    name: str,
    *,
    csv: str = "",
    columns: str = "The CSV's own name of a column, as for vsearch index. Repeat for several.",
) -> Callable[[Command], Command]:
    """What a data set is and how its CSV is read: ``layout``, ``csv_file``, ``columns``.

    ``name`` is what the help calls the data set, ``csv`` and ``columns`` other texts than usual.
    """
    options = (
        click.option(
            "--format",
            "layout",
            type=click.Choice(["auto", "folder", "csv", "deepfashion"]),
            default="auto",
            show_default=True,
            help=f"What {name} is.",
        ),
        click.option(
            "--csv",
            "csv_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=csv or f"List of the pictures in {name}.",
        ),
        click.option(
            "--column",
            "columns",
            multiple=True,
            callback=pairs,
            metavar="ROLE=NAME",
            help=columns,
        ),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):  # the first decorator is the last in the help
            command = option(command)
        return command

    return decorate


backend = click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What searches. auto: a GPU where one is there and the work is worth sending the index "
    "to it; matches are the same.",
)
json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
host = click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve on. Any other than this machine's own wants a token: VSEARCH_TOKEN, or "
    "one that is made and printed.",
)
port = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="0 takes a free one.",
)
provider = click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    show_default=True,
    help="What runs the network. auto: TensorRT (not for fp32) or CUDA where they work, else the "
    "CPU; one that is named is used or is an error.",
)
decoder = click.option(
    "--decoder",
    type=click.Choice(["auto", "libjpeg-turbo", "nvimgcodec"]),
    default="auto",
    show_default=True,
    help="What decodes JPEG files. auto: what the index records, for a new one libjpeg-turbo. "
    "nvimgcodec needs an NVIDIA GPU, also to search.",
)
threads = click.option(
    "--threads", type=click.IntRange(1), help="Processors to use; all by default."
)
max_pixels = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    help="Largest picture that is decoded; by default 178,956,970 pixels.",
)
