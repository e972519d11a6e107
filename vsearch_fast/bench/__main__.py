"""The command `python -m vsearch_fast.bench` (also `vsearch bench`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ..disk.replacing import replace_text
from ..errors import ArgumentError
from ..terminal import options as shared
from ..terminal.console import run
from ..terminal.keeping import stands
from ..words import JUDGED, METRICS
from .cases import KINDS
from .peers import KEYS

PARTS = ("bars", "small", "shapes", "growth", "large-k", "filters", "footprint")
PLOTS = (".png", ".svg", ".pdf")


def _peers(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> tuple[str, ...]:
    keys = [key.strip() for value in values for key in value.split(",")]
    for key in keys:
        if key not in (*KEYS, "all", "none"):
            raise click.BadParameter(f"{key!r} is none of all, none, {', '.join(KEYS)}")
    return KEYS if "all" in keys else tuple(key for key in KEYS if key in keys)


def _levels(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, ...]:
    if value is None:
        return ()
    from .levels import chosen

    try:
        return chosen(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _output(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """A file to write at the end of a long run: its place is checked before."""
    if value is None:
        return None
    if not value.absolute().parent.is_dir():
        raise click.UsageError(f"the folder of {value} does not exist")
    if parameter.name == "plot_file":
        if value.suffix.lower() not in PLOTS:
            raise click.BadParameter(f"{value.name} ends in none of {', '.join(PLOTS)}")
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            raise click.UsageError("--plot needs Matplotlib: pip install matplotlib") from None
    return value


def _redraw(file: Path, plot_file: Path | None) -> None:
    if plot_file is None:
        raise click.UsageError("--redraw needs --plot FILE, to draw into")
    from .plots import plot

    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise click.UsageError(f"{file} is no record of --json: {error}") from None
    try:
        plot(record, plot_file)
    except ArgumentError as error:
        raise click.UsageError(f"{file}: {error}") from None


@click.command(context_settings={"max_content_width": 100})
@click.option("--quick", is_flag=True, help="Small cases, fewer runs: under a minute in all.")
@click.option(
    "--only",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    default=("bars",),
    help="Parts to run: bars (the table of cases, the default), small (databases of up to "
    "4,000 rows), shapes (64 to 4096 dimensions, k = 1 to 1000, clustered rows), growth (time a "
    "row by size), large-k (k = 1000 against 10), filters (masks of 0.01% to 50% of the rows, of "
    "every type), footprint (memory and start); repeat for several.",
)
@click.option("--all", "every_part", is_flag=True, help="Run all parts.")
@click.option(
    "--peers",
    multiple=True,
    default=("all",),
    callback=_peers,
    metavar="NAMES",
    help=f"Who is compared, where installed: all (the default), none, or of {', '.join(KEYS)}; "
    "with commas or repeated.",
)
@click.option(
    "--metric",
    "metrics",
    type=click.Choice(METRICS),
    multiple=True,
    default=JUDGED,
    help="Distance; repeat for several. l2, l1 and hamming by default.",
)
@click.option("--rows", type=click.IntRange(1), help="Rows of the database, for a case of yours.")
@click.option("--queries", type=click.IntRange(1), help="Queries of one call, for such a case.")
@click.option("--dim", type=click.IntRange(1), help="Features, or bits, a row: 4096 by default.")
@click.option("--k", type=click.IntRange(1), help="Neighbours a query: 10 by default.")
@click.option(
    "--pairs", type=click.IntRange(1), help="Timed runs of each: 15 by default, 5 with --quick."
)
@click.option(
    "--budget",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="What a contender may take for a case; one that needs longer takes part in fewer rounds, "
    "at least 3. 20 by default, 1.2 with --quick.",
)
@click.option(
    "--data",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="relu (noise, half zeros), gaussian (the hard case), clusters (unit vectors about 512 "
    "centres), features (needs --features or --model); repeat for several. By default relu, "
    "gaussian and, where there are some, features, but relu alone "
    "of the noise for cases of yours and with --quick.",
)
@click.option(
    "--features",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Features of a real network, a .npy matrix of float32, one row a picture.",
)
@shared.model("Make such features by this model file of vsearch export.")
@click.option(
    "--pictures",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="... of the pictures of this folder; rendered garments by default.",
)
@click.option(
    "--levels",
    callback=_levels,
    metavar="NAMES",
    help="Also measure the cases of bars, small and shapes with these levels of instructions, each "
    "in a process of its own (VSEARCH_SIMD): all, or names with commas, such as avx2,portable.",
)
@click.option("--threads", type=click.IntRange(1), help="Of every contender; all by default.")
@click.option(
    "--faiss-blas",
    default="auto",
    metavar="NAME",
    help="Kernels of the OpenBLAS that FAISS brings: auto (the default; the processor's best "
    "where it does not know the processor), own (its choice), or a name such as Haswell.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_output,
    help="Also write all figures, single runs, versions and the command to this file.",
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_output,
    help="Also draw the bars and a roofline into this .png, .svg or .pdf file.",
)
@click.option(
    "--redraw",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="RECORD",
    help="Measure nothing: draw the --plot of this file, which an earlier --json wrote.",
)
@click.option("--overwrite", is_flag=True, help="Replace such files of an earlier run.")
def command(
    quick: bool,
    parts: tuple[str, ...],
    every_part: bool,
    peers: tuple[str, ...],
    metrics: tuple[str, ...],
    rows: int | None,
    queries: int | None,
    dim: int | None,
    k: int | None,
    pairs: int | None,
    budget: float | None,
    kinds: tuple[str, ...],
    features: Path | None,
    model: Path | None,
    pictures: Path | None,
    levels: tuple[str, ...],
    threads: int | None,
    faiss_blas: str,
    json_file: Path | None,
    plot_file: Path | None,
    redraw: Path | None,
    overwrite: bool,
) -> None:
    """Measure exact search on this machine, against its roofs and against other libraries.

    First what the machine can do at most: memory's bandwidth, and the rate of the
    instructions that searches are made of. Then all contenders on the same data with as many
    threads, in alternating order; figures are medians, ratios medians of the ratios of runs
    side by side. Every answer is checked: ours must equal the definition to the bit (or the
    command fails), others' mistakes are counted.

    \b
    python -m vsearch_fast.bench --quick
    python -m vsearch_fast.bench --json bars.json --plot bars.png
    python -m vsearch_fast.bench --all --model vgg16-fc1.onnx
    python -m vsearch_fast.bench --metric hamming --rows 200000 --queries 64 --peers faiss
    """
    for name, file in (("--json", json_file), ("--plot", plot_file)):
        if file is not None and not overwrite:
            stands(
                file, None, "", consequence="Nothing was measured", name=name,
                said="holds what an earlier run measured",
            )  # fmt: skip
    if redraw is not None:
        _redraw(redraw, plot_file)
        return
    if features is not None and model is not None:
        raise click.UsageError("give --features or --model, not both")
    if pictures is not None and model is None:
        raise click.UsageError("--pictures needs a --model that makes features of them")
    real = features is not None or model is not None
    if "features" in kinds and not real:
        raise click.UsageError("--data features needs --features FILE or --model FILE")
    if not kinds:
        plain = quick or rows is not None or queries is not None
        kinds = ("relu",) if plain else ("relu", "gaussian")
        kinds += ("features",) if real else ()

    # Loaded here, so that --help is quick.
    from .session import Options, Session

    chosen = PARTS if every_part else tuple(part for part in PARTS if part in parts)
    if plot_file is not None and "bars" not in chosen:
        raise click.UsageError("--plot draws the part bars, which is not among those to run")

    if levels and not {"bars", "small", "shapes"} & set(chosen):
        raise click.UsageError("--levels compares the parts bars, small and shapes alone")

    def say(text: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\033[K{text[:99]}", nl=False, err=True)

    options = Options(
        parts=chosen,
        peers=peers,
        metrics=tuple(dict.fromkeys(metrics)),
        rows=rows,
        queries=queries,
        dim=dim,
        k=k or 10,
        pairs=pairs or (5 if quick else 15),
        budget=budget or (1.2 if quick else 20.0),
        kinds=kinds,
        features=features,
        model=model,
        pictures=pictures,
        threads=threads,
        faiss_blas=faiss_blas,
        quick=quick,
        only_k=k is not None,
        levels=levels,
    )
    session = Session(options, say=say, show=click.echo)
    try:
        session.run()
    finally:
        say("")
    if json_file is not None:
        replace_text(json_file, json.dumps(session.record, indent=1) + "\n")
    if plot_file is not None:
        from .plots import plot

        plot(session.record, plot_file)
    if not session.ok:
        raise click.ClickException(
            "an answer of vsearch_fast is not the right one: please report it, with the record "
            "that --json writes"
        )


if __name__ == "__main__":
    run(command, "python -m vsearch_fast.bench")
