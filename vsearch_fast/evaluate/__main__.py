"""``vsearch eval``, also ``python -m vsearch_fast.evaluate``.

Imports click alone, so that a command line that offers it starts as fast as before.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..terminal import options
from ..terminal.console import run, tell
from .rows import AND

if TYPE_CHECKING:
    from ..datasets.detect import Layout
    from .rows import ModelRow
    from .sampling import Side
    from .study import Study

_STANDARD = "imagenet-fc1, imagenet-fc2, retrained-all, retrained-top, untrained"


@click.command(
    name="eval",
    short_help="Measure how often the nearest picture is a right one.",
    context_settings={"max_content_width": 100},
)
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Folder for table.md, table.csv, results.json, accuracy.png and sheets/.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    callback=options.pairs,
    metavar="NAME=FILE",
    help="A model of vsearch export, or the name of a network of the package (vsearch models); "
    "repeat for several. The names "
    f"{_STANDARD} fill the rows that always stand in the table, any other name is a row of its "
    "own.",
)
@click.option(
    "--train",
    type=click.Choice(["full", "tiny"]),
    help="Make the rows of the article first, from ImageNet's convolutions: their output, and "
    "heads re-trained on the train side of DATA, for all categories and the most common ones, by "
    "the article's recipe and by the best one. full takes about an hour for 2,000 pictures on two "
    "processors; tiny, of a random network, a minute or two (its figures mean nothing).",
)
@options.data_set("DATA")
@click.option(
    "--group",
    metavar="COLUMN",
    help="A query never matches a picture that has its value in this column (sender, product). "
    "[default: the group, or else the item, where DATA has them]",
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="CATEGORY",
    help="A category that is none, such as Other. Repeat for several.",
)
@options.exclude
@options.on_error("raise", "A folder or a line of a list")
@click.option(
    "--attribute",
    "attributes",
    multiple=True,
    metavar="COLUMN",
    help="Measure whether matches agree in this column too; repeat for several. [default: pattern "
    "and colour, where DATA has them; DeepFashion's attributes by type]",
)
@click.option(
    "--side",
    type=click.Choice(["all", "test"]),
    default="all",
    show_default=True,
    help="test: only pictures on the test side of the split that vsearch train makes. Groups that "
    "a model was trained on are left out in any case, for all rows.",
)
@click.option(
    "--split-seed",
    type=click.IntRange(0),
    help="Seed of that split. [default: the models' own, or 0]",
)
@click.option(
    "--sample",
    type=click.IntRange(2),
    default=20_000,
    show_default=True,
    help="Pictures at most, drawn by the seed.",
)
@click.option(
    "--queries",
    type=click.IntRange(1),
    default=1_000,
    show_default=True,
    help="Queries among them, the same for every row.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where features are kept, so that they are computed once. [default: OUTPUT/features]",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace results on other data, or of another protocol, in FOLDER. A table of the same "
    "is brought up to date without.",
)
@options.provider
@options.backend
@options.threads
@click.option("--quiet", is_flag=True, help="No progress; only the table and what was left out.")
@click.pass_context
def command(
    context: click.Context,
    data: Path,
    output: Path,
    models: list[tuple[str, str]],
    train: Literal["full", "tiny"] | None,
    layout: Layout,
    csv_file: Path | None,
    columns: list[tuple[str, str]],
    group: str | None,
    leave_out: tuple[str, ...],
    exclude: tuple[str, ...],
    on_error: Literal["skip", "raise"],
    attributes: tuple[str, ...],
    side: Literal["all", "test"],
    split_seed: int | None,
    sample: int,
    queries: int,
    seed: int,
    cache: Path | None,
    overwrite: bool,
    provider: str,
    backend: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Measure on DATA how often the nearest picture is a right one.

    Every row of the table, a model (this package's own among them), a baseline or chance,
    answers the same queries among the same pictures, by L1, L2 and Hamming distance. Pictures
    that a model was trained on are left out for all. A row whose weights are not there is
    printed as not run, with the command that would make them. Stopped and run again, it goes on
    where it was.

    \b
    vsearch eval photos/ -o results --train full
    vsearch eval photos/ -o results --model imagenet-fc1=vgg16-fc1.onnx
    vsearch eval shop/ --csv list.csv --column path=image --column category=label \\
        --group sender_id --leave-out Other -o results --model mine=mine.onnx
    """
    from ..datasets import detect
    from ..datasets.notes import Notes
    from ..errors import ArgumentError
    from ..models.shipped import model_path
    from . import output as outputs
    from . import picture
    from .attributes import check_columns
    from .recipes import SCALES, check_groups, made_rows, packaged_rows, training_words
    from .rows import table_rows
    from .sampling import regrouped
    from .study import Options, evaluate

    files: dict[str, Path] = {}
    for name, file in models:
        if name in files:
            raise click.UsageError(f"--model names {name!r} twice")
        files[name] = model_path(file)
    packaged = packaged_rows(files)
    words = training_words(data, layout, csv_file, columns, group, leave_out, exclude, on_error)
    in_words = shlex.join(map(str, words))
    again = shlex.join(command_words(context.command_path))
    rows = table_rows(files, packaged, in_words, again)
    picture.check()
    if output.exists() and not output.is_dir():
        raise ArgumentError(f"{output} is a file", "Nothing was evaluated", "Name a folder")

    def say(line: str) -> None:
        if not quiet:
            tell(line)

    notes = Notes()
    records, _ = detect.read(
        data, layout, csv=csv_file, columns=dict(columns), missing="keep", exclude=exclude,
        on_error=on_error, notes=notes,
    )  # fmt: skip
    for line in notes.told():
        say(line)
    # Every picture below a plain folder is data, and so would the contact sheets be.
    listed = csv_file is not None or any(record.metadata for record in records)
    if not listed and output.resolve().is_relative_to(data.resolve()):
        raise ArgumentError(
            f"{output} is inside of {data}",
            "Nothing was evaluated: the next run would take its contact sheets for data",
            "Name a folder for the results that is outside of it",
        )
    if group is not None:
        records = regrouped(records, group)
    check_columns(records, attributes)
    if train is not None:
        check_groups(data, csv_file, columns, group)
    types = None
    if any("attributes" in record.metadata for record in records):
        types = _attribute_types(data)
    chosen_side: Side = side
    options = Options(
        sample=sample, queries=queries, seed=seed, leave_out=leave_out, side=chosen_side,
        split_seed=split_seed, columns=attributes or None, backend=backend, threads=threads,
        provider=provider,
    )  # fmt: skip
    asked = outputs.asked_of(data, [*words[2:], group], options)
    if not overwrite:
        outputs.check_place(output, asked)
    try:
        if train is not None:
            made, more = made_rows(
                output / "models", words, SCALES[train], say, given=files, quiet=quiet
            )
            rows = table_rows({**made, **files}, [*more, *packaged], in_words, again)
        study = evaluate(
            records, rows, cache or output / outputs.CACHE, options=options,
            attribute_types=types, say=say, progress=not quiet,
        )  # fmt: skip
    except KeyboardInterrupt:
        click.echo(
            "\nStopped. What was trained and computed is kept; the same command goes on from it.",
            err=True,
        )
        raise
    from .report import text

    click.echo(text(study))
    study = _without_folders(study)
    for path in outputs.write(study, output, command_line(context.command_path), asked):
        say(f"wrote {path}")


def _attribute_types(data: Path) -> dict[str, str] | None:
    """DeepFashion's types by name; None for another data set that has such a column."""
    from ..datasets import deepfashion
    from ..errors import DatasetError

    if not data.is_dir():
        return None
    try:
        return deepfashion.attribute_types(data)
    except DatasetError:
        return None


def command_words(name: str) -> list[str]:
    """The command as it was given; `name` is that of the program, and of the command in it."""
    words, known = sys.argv[1:], name.split()
    return [*known, *(words[1:] if words[:1] == known[-1:] else words)]


def command_line(name: str) -> str:
    """The command that was given, without the folders of this machine."""
    return shlex.join(map(_bare, command_words(name)))


def _without_folders(study: Study) -> Study:
    """The study as files tell it: its commands, too, name no folder of this machine. They are
    whole on the terminal."""

    def bare(row: ModelRow) -> ModelRow:
        steps = [map(_bare, shlex.split(step)) for step in row.command.split(AND)]
        return replace(row, command=AND.join(map(shlex.join, steps)))

    return replace(
        study, rows=[bare(row) for row in study.rows], not_run=[bare(row) for row in study.not_run]
    )


def _bare(word: str) -> str:
    """An absolute path by its last part; a relative one names no machine."""
    head, equals, tail = word.rpartition("=")
    return f"{head}{equals}{Path(tail).name}" if Path(tail).is_absolute() else word


if __name__ == "__main__":
    run(command, "python -m vsearch_fast.evaluate")
