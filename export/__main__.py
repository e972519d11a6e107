"""``python -m vsearch_fast.export``, also mounted as ``vsearch export``.

Imports click alone, so that a command line that offers the export starts as fast as before.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from ..errors import ArgumentError, KeptError, VsearchError
from ..terminal.console import tell
from ..words import BINARIZE, ZERO
from .architectures import ARCHITECTURES, VGG16
from .arguments import RESIZE_RULES

_HELP = """Turn a Keras network into the ONNX file that the other commands work with.

The file takes raw RGB pixels and gives features and their packed sign bits; the preprocessing
is inside. Before it is moved into place it is run on sample pictures and compared with Keras,
and refused when it disagrees.

\b
Examples:
  # the usual model: ImageNet weights, first dense layer, 4096 features
  {command} --output vgg16-fc1.onnx
\b
  # without a network connection: weights that you have as a file
  {command} --weights vgg16_weights.h5 --output vgg16-fc1.onnx
\b
  # with the convolutions' weights alone (Keras' "notop" file)
  {command} --layer block5_pool --unit-length -o vgg16-pool5.onnx
\b
  # three to four times as fast on a CPU, calibrated on your pictures
  {command} --precision int8 --calibrate photos/ --output vgg16-fc1-int8.onnx
\b
  # 512 features for pictures of 320 pixels, from the last convolutional block
  {command} --layer block5_pool --pool avg --input-size 320 -o vgg16-pool5-avg.onnx
\b
  # another network of keras.applications, without its classifier, averaged
  {command} --architecture efficientnetv2-b0 --output efficientnet.onnx
\b
  # and, beside it, what finds the item's box in a photo (vsearch search --auto-box)
  {command} --locate --output vgg16-fc1.onnx
\b
  # for a GPU; counts the code bits that it gives otherwise than the CPU
  {command} --precision fp16 --verify-on cuda -o vgg16-fc1-fp16.onnx
\b
  # no training at all: to try things out
  {command} --weights random:0 --output untrained.onnx

Exit codes: 0 exported, 1 an error, 2 wrong options, 130 interrupted.
"""


class _Command(click.Command):
    """Shows the examples under the name that the command was called by."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.help = _HELP.format(command=ctx.command_path)
        super().format_help_text(ctx, formatter)


@click.command(
    cls=_Command, name="export", short_help="Turn a Keras network into an ONNX file.", help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
@click.option(
    "--architecture",
    default=VGG16,
    show_default=True,
    metavar="NAME",
    help="A network of keras.applications, with its own preprocessing and picture size: "
    f"{', '.join(ARCHITECTURES)}.",
)
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|random:SEED|FILE",
    help="ImageNet weights, from Keras' folder, from the file or folder that VSEARCH_WEIGHTS "
    "names, else downloaded by Keras (528 MiB; up to block5_pool, without dense layers, 56 MiB); "
    "an UNTRAINED network from a seed; or a .keras or .h5 file, either a whole model (see "
    "--preprocess), or weights of VGG-16 or the --architecture.",
)
@click.option(
    "--layer",
    metavar="fc1|fc2|last|NAME",
    help="The layer whose output becomes the features; a convolutional one is flattened unless "
    "--pool is given. Layers behind it are left out. last, of architectures but VGG-16: all but "
    "the classifier, by --pool, else averaged. [default: fc1 of vgg16 and vgg19, else last]",
)
@click.option(
    "--pool",
    type=click.Choice(["avg", "max"]),
    help="Average or maximum over rows and columns, for convolutional layers.",
)
@click.option(
    "--input-size",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Side of the square pictures. [default: the model's own, or 224]",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="fp16 halves the file and is for GPUs; int8 is for CPUs and needs --calibrate.",
)
@click.option(
    "--half-weights",
    is_flag=True,
    help="Store the weights in 16 bits and widen them when the file is loaded: half the file, "
    "the arithmetic as --precision says.",
)
@click.option(
    "--unit-length",
    is_flag=True,
    help="Divide each picture's features by their length, so that L2 distance orders as the "
    "angle does. Codes by --binarize zero stay the same.",
)
@click.option(
    "--resize",
    type=click.Choice(RESIZE_RULES),
    help="The rule by which pictures are stretched to squares. [default: the model's own, or "
    "nearest, which is Keras']",
)
@click.option(
    "--preprocess",
    type=click.Choice(["vgg", "tf", "torch", "inside"]),
    help="What becomes of pixels before a whole model: vgg, what keras.applications.vgg16."
    "preprocess_input makes; tf, numbers from -1 to 1; torch, by ImageNet's means and deviations; "
    "inside, nothing, as the model does it itself. [default: vgg; a model "
    "that seems to do it itself is refused]",
)
@click.option(
    "--binarize",
    type=click.Choice(BINARIZE),
    default=ZERO,
    show_default=True,
    help="How the codes that Hamming compares are made of the features: zero, bits are features "
    "above 0; median, above the median over given pictures; itq, the signs of a learnt projection. "
    "The features stay the same.",
)
@click.option(
    "--bits",
    type=click.IntRange(min=1),
    metavar="N",
    help="Bits of itq, a multiple of 8, at most 4096 and fewer than pictures. [default: 256, or as "
    "many as the pictures allow]",
)
@click.option(
    "--binarize-images",
    multiple=True,
    type=click.Path(exists=True),
    metavar="PICTURES",
    help="Pictures that median and itq learn from, a file or a folder; may be given more than "
    "once. Some hundred like those to be searched, 2,000 are used at most. [default: those of "
    "--verify-images, else of --calibrate]",
)
@click.option(
    "--calibrate",
    multiple=True,
    type=click.Path(exists=True),
    metavar="PICTURES",
    help="Pictures for int8, a file or a folder; may be given more than once. Some dozens like "
    "those to be searched are enough, 48 are used at most.",
)
@click.option(
    "--verify-images",
    multiple=True,
    type=click.Path(exists=True),
    metavar="PICTURES",
    help="Pictures to verify with, a file or a folder; may be given more than once. [default: "
    "drawn pictures; for int8 some of --calibrate]",
)
@click.option(
    "--verify-on",
    type=click.Choice(["cpu", "cuda", "tensorrt"]),
    help="Run the same pictures on this provider too, and print how many code bits differ from "
    "the CPU's.",
)
@click.option(
    "--locate",
    is_flag=True,
    help="Write FILE.locate.onnx beside it too: what finds the item's box, for vsearch locate and "
    "vsearch search --auto-box. The model file is the same with and without.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    metavar="FILE.onnx",
    help="The file to write. One that the same command wrote is left as it is.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace a file that is there, whatever it is, when the new one has proved itself.",
)
@click.pass_context
def command(
    context: click.Context,
    architecture: str,
    weights: str,
    layer: str | None,
    pool: str | None,
    input_size: int | None,
    precision: str,
    half_weights: bool,
    unit_length: bool,
    resize: str | None,
    preprocess: str | None,
    binarize: str,
    bits: int | None,
    binarize_images: tuple[str, ...],
    calibrate: tuple[str, ...],
    verify_images: tuple[str, ...],
    verify_on: str | None,
    locate: bool,
    output: str,
    overwrite: bool,
) -> None:
    from .exporting import export, is_exported

    choices: dict[str, Any] = {
        "output": output,
        "architecture": architecture,
        "layer": layer,
        "pool": pool or "",
        "input_size": input_size,
        "precision": precision,
        "half_weights": half_weights,
        "unit_length": unit_length,
        "resize": resize or "",
        "preprocess": preprocess or "",
        "binarize": binarize,
        "bits": bits,
        "binarize_images": binarize_images,
        "calibrate": calibrate,
        "verify_images": verify_images,
        "locate": locate,
        "log": tell,
    }
    try:
        there = not overwrite and is_exported(weights, **choices)
        if there and not (verify_images or verify_on):  # a further check makes it anew, the same
            click.echo(
                f"{output} is exported already, from these weights by these options. Nothing was "
                "done; --overwrite exports it anew."
            )
            return
        report = export(weights, verify_on=verify_on or "", **choices)
    except KeyboardInterrupt:
        click.echo("Interrupted. Nothing was written.", err=True)
        context.exit(130)
    except KeptError as error:
        raise click.ClickException(str(error)) from error
    except ArgumentError as error:
        raise click.UsageError(str(error)) from error
    except VsearchError as error:
        raise click.ClickException(str(error)) from error
    figures = report.figures
    click.echo(
        f"{report.path}: {report.file_size / 2**20:.1f} MiB, {report.dim} features from "
        f"{report.layer}{f', {report.pool} pooled' if report.pool else ''}, pictures of "
        f"{report.input_size} pixels, {report.precision}"
    )
    if not report.trained:
        click.echo(f"weights          UNTRAINED ({report.weights}): for trying things out only")
    click.echo(f"verified with    {figures.samples} pictures: {report.pictures}")
    click.echo(f"relative error   {figures.relative_error:.1e} (worst picture, against Keras)")
    click.echo(f"cosine           {figures.cosine:.6f} worst, {figures.mean_cosine:.6f} mean")
    click.echo(f"bits different   {figures.bits_different:.3%}")
    for name, recall in (("L2", figures.recall_l2), ("Hamming", figures.recall_hamming)):
        if recall is not None:
            click.echo(f"{f'recall@{figures.k}':16} {recall:.1%} by {name} distance")
    click.echo(
        f"{'constant bits':16} {(figures.never + figures.always) / figures.bits:.1%} over these "
        f"pictures ({figures.never:,} never, {figures.always:,} always set, of {figures.bits:,})"
    )
    click.echo(f"codes            equal {report.codes}")
    if report.on_provider is not None:
        across = report.on_provider
        short = across.provider.removesuffix("ExecutionProvider")
        click.echo(
            f"{f'on {short}':16} {across.bits_different:,} of {across.bits:,} code bits differ "
            f"from the CPU's ({across.bits_different / across.bits:.4%})"
        )
        click.echo(
            f"{'':16} features by {across.largest_difference:.1e} at most, relative error "
            f"{across.relative_error:.1e} (worst of {across.pictures} pictures)"
        )
    if report.locate_path is not None:
        click.echo(
            f"boxes            {report.locate_path}: "
            f"{report.locate_path.stat().st_size / 2**20:.1f} MiB, relative error "
            f"{report.locate_error:.1e} (worst picture, against Keras)"
        )
    click.echo(f"model id         {report.model_id}")
    for warning in figures.warnings():
        tell(f"Warning: {warning}.")
    click.echo(f"{report.seconds['total']:.1f} s in all", err=True)


if __name__ == "__main__":
    sys.exit(command(prog_name="python -m vsearch_fast.export"))
