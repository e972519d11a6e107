"""``vsearch train``: imports click alone until it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..errors import ArgumentError
from ..export.arguments import RESIZE_RULES
from ..export.training.recipe import AUGMENT, BALANCE, CONVOLUTIONS, LOSSES, SCHEDULES
from ..terminal import options
from ..terminal.console import tell
from ..words import plural

if TYPE_CHECKING:
    from ..datasets.detect import Layout


def _shares(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> dict[str, float] | None:
    if value is None:
        return None
    try:
        train, val, test = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not TRAIN,VAL,TEST") from None
    return {"train": train, "val": val, "test": test}


def _fold(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    if value is None:
        return None
    number, _, count = value.partition("/")
    if not (number.isdigit() and count.isdigit()):
        raise click.BadParameter(f"{value!r} is not like 1/3")
    return int(number), int(count)


def _dense(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


@click.command("train", short_help="Re-train a VGG-16 on a catalogue.")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The catalogue: a folder with a sub-folder a category, a CSV file, a folder of drawn "
    "garments or a DeepFashion data set, whose boxes are cut out.",
)
@options.data_set(
    "--data",
    csv="The CSV file about the pictures in --data.",
    columns="The CSV's own name of path, item, category or group (of those that no two sides "
    "share: sender, product); as in vsearch index.",
)
@click.option(
    "--also",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A further catalogue to train on, never to measure on; categories of one name are one.",
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="CATEGORY",
    help="A category that is none, such as Other; its pictures are left out. Repeat for several.",
)
@options.exclude
@options.on_error("raise", "A folder or a line of a list")
@click.option(
    "--classes",
    default="all",
    show_default=True,
    metavar="all|top:N",
    help="Categories to learn; top:N are those with most pictures on the train side.",
)
@click.option(
    "--base",
    default="imagenet",
    show_default=True,
    metavar="imagenet|random:SEED|FILE",
    help="Where the convolutions come from. imagenet: as for vsearch export, without the dense "
    "layers; FILE: a .keras model, or VGG-16 weights as .h5.",
)
@click.option(
    "--unfreeze",
    is_flag=True,
    help="Train the convolutions too, and take over dense layers of a .keras base that fit.",
)
@click.option(
    "--convolutions",
    type=click.Choice(CONVOLUTIONS),
    default="float32",
    show_default=True,
    help="Numbers that frozen convolutions compute with. bfloat16: several times as fast on "
    "processors that have it (Intel's AMX, AVX-512 BF16), and as good to learn from.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Times that the train side is gone through, at most.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Pictures a step."
)
@click.option(
    "--optimizer",
    default="adadelta",
    show_default=True,
    metavar="NAME[:RATE]",
    help="adadelta (1.0 when no rate is given), adamw (0.001), adam (0.001) or sgd (0.01).",
)
@click.option(
    "--schedule",
    type=click.Choice(SCHEDULES),
    default="constant",
    show_default=True,
    help="cosine: a short rise, then down to nothing at the last epoch.",
)
@click.option(
    "--weight-decay",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Share of the kernels that a step takes away, times the learning rate.",
)
@click.option(
    "--loss",
    type=click.Choice(LOSSES),
    default="crossentropy",
    show_default=True,
    help="contrastive: the cross-entropy, and dense layers whose features are near for the same "
    "item, or the same category from another group.",
)
@click.option(
    "--label-smoothing",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of each label that is spread over all categories.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, min_open=True),
    default=0.1,
    show_default=True,
    help="Of the contrastive loss.",
)
@click.option(
    "--batch-norm", is_flag=True, help="Normalise before each ReLU; the export folds it away."
)
@click.option(
    "--augment",
    type=click.Choice(AUGMENT),
    default="none",
    show_default=True,
    help="How much crops, mirrors, light and colour vary.",
)
@click.option(
    "--copies",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Varied copies a picture that frozen convolutions are run on.",
)
@click.option(
    "--balance",
    type=click.Choice(BALANCE),
    default="weights",
    show_default=True,
    help="What is done about rare categories: weigh them, draw them more often (and small "
    "groups, too), or nothing.",
)
@click.option(
    "--also-share",
    type=click.FloatRange(0, 1, max_open=True),
    default=1 / 3,
    help="Share of --also's pictures with --balance draws. [default: a third]",
)
@click.option(
    "--width",
    type=click.FloatRange(0, 4, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of VGG-16's channels, for a random base.",
)
@click.option(
    "--input-size",
    type=click.IntRange(32),
    metavar="PIXELS",
    help="Side of the square pictures. [default: that of a base made by vsearch train, else 224]",
)
@click.option(
    "--dense",
    default="fc1",
    show_default=True,
    callback=_dense,
    metavar="fc1|fc1,fc2",
    help="Dense layers before the softmax.",
)
@click.option(
    "--units",
    type=click.IntRange(1),
    help="Width of the dense layers. [default: that of a base made by vsearch train, else 4096]",
)
@click.option(
    "--pool",
    type=click.Choice(["avg"]),
    help="Average the last block over rows and columns instead of flattening it.",
)
@click.option(
    "--resize",
    type=click.Choice(RESIZE_RULES),
    default="nearest",
    show_default=True,
    help="Rule by which pictures are stretched to squares; the model records it.",
)
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Epochs without a lower loss on the val side before it stops; 0: never.",
)
@click.option(
    "--shares",
    callback=_shares,
    metavar="TRAIN,VAL,TEST",
    help="Shares of the groups. [default: 0.65,0.1,0.25]",
)
@click.option(
    "--split-seed", type=click.IntRange(0), default=0, show_default=True, help="Of the sides."
)
@click.option(
    "--fold",
    callback=_fold,
    metavar="I/N",
    help="Cross-validation: fold I of N of train and val is the val side.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of drawn weights, orders and variants.",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="For decoded pictures, convolutions' outputs and checkpoints; kept for other "
    "runs. [default: beside the output, removed in the end]",
)
@click.option(
    "--restart",
    is_flag=True,
    help="Begin anew instead of going on, and in the end replace a model that is there.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.keras",
    help="The model to write; history and curve are written beside it.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(
    data: Path,
    layout: Layout,
    csv_file: Path | None,
    columns: list[tuple[str, str]],
    also: tuple[Path, ...],
    exclude: tuple[str, ...],
    on_error: Literal["skip", "raise"],
    output: Path,
    work: Path | None,
    restart: bool,
    quiet: bool,
    shares: dict[str, float] | None,
    pool: str | None,
    **choices: Any,
) -> None:
    """Re-train a VGG-16 on a catalogue; vsearch export --weights FILE.keras takes the result.

    By default the convolutions stay as they are, their outputs are computed once and kept on
    disk, and a new fc1 is learnt before a softmax over the categories. Pictures of one group
    are on one side: trained on, used to choose the epoch, or never seen. Stopped, the same
    command goes on from the last epoch; done, it has nothing to do, and a model that another
    recipe or other pictures made is not replaced without --restart.

    \b
    vsearch train --data shop/items.csv --column group=product -o shop.keras
    vsearch train --data DeepFashion/ --classes top:20 --augment light -o top20.keras
    vsearch export --weights shop.keras --layer fc1 -o shop.onnx
    """
    from ..datasets import detect
    from ..datasets.notes import Notes
    from ..datasets.splits import SHARES
    from ..export.train import train
    from ..export.training.recipe import Recipe

    like_base = [name for name in ("input_size", "units") if choices[name] is None]
    for name in like_base:
        del choices[name]
    try:
        recipe = Recipe(shares=shares or dict(SHARES), pool=pool or "", **choices)
    except ArgumentError as error:
        raise click.UsageError(str(error)) from error
    notes = Notes()
    missing: Literal["keep", "raise"] = "keep" if on_error == "skip" else "raise"
    records, _ = detect.read(
        data, layout, csv=csv_file, columns=dict(columns), missing=missing, exclude=exclude,
        on_error=on_error, notes=notes,
    )  # fmt: skip
    more = []
    for each in also:
        # Patterns are for folders, and a list beside one may be right.
        patterns = exclude if detect.layout_of(each) == "folder" else ()
        found, _ = detect.read(
            each, missing=missing, exclude=patterns, on_error=on_error, notes=notes
        )
        more.append(found)
    for line in notes.told():
        tell(line)
    try:
        report = train(
            records,
            recipe,
            output,
            also=more,
            work=work,
            restart=restart,
            group_column=dict(columns).get("group", "group"),
            like_base=like_base,
            progress=not quiet,
            log=tell,
        )
    except KeyboardInterrupt:
        again = "The same command, without --restart," if restart else "The same command"
        tell(f"\nStopped. {again} goes on from the last epoch that was finished.")
        raise
    if report.already:
        click.echo(
            f"{report.path} is trained already, by this recipe on these pictures. Nothing was "
            "done; --restart trains it anew."
        )
        return
    for line in report.skipped[:20]:
        tell(f"skipped {line}")
    if len(report.skipped) > 20:
        tell(f"and {len(report.skipped) - 20} more")
    epochs = f"epoch {report.best_epoch} of {recipe.epochs}"
    if report.epochs < recipe.epochs:
        epochs = (
            f"epoch {report.best_epoch}, stopped early after {report.epochs} of {recipe.epochs}"
        )
    click.echo(f"{report.path}: {len(report.classes)} classes, {epochs}")
    if report.val:
        loss, accuracy = report.val["val_loss"], report.val["val_accuracy"]
        pictures = plural(report.sides["val"], "picture")
        click.echo(f"val side    loss {loss:.3f}, accuracy {accuracy:.3f}, of {pictures}")
    if report.matches:
        shown = ", ".join(
            f"{metric} {share.value:.3f} ({share.low:.3f} to {share.high:.3f})"
            for metric, share in report.matches.items()
        )
        click.echo(f"P@1         {shown}: nearest of another group, val side, 95% intervals")
    for name, units in report.units.items():
        click.echo(
            f"{name:11} {units.active:.1%} of units active, {units.never:.1%} of bits never and "
            f"{units.always:.1%} always set, over {units.pictures:,} pictures"
        )
    for warning in report.warnings:
        tell(f"Warning: {warning}")
    click.echo(
        f"history     {report.history}" + (f", {report.curve}" if report.curve.is_file() else "")
    )
