"""`vsearch adopt`: an ONNX encoder of others made a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import ArgumentError, KeptError, VsearchError
from ..terminal.console import tell
from ..words import BINARIZE, ZERO

_RULES = ("nearest", "box", "bilinear", "bicubic", "lanczos")


class _Numbers(click.ParamType):
    """One number, or three with commas between."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(each) for each in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not one number, or three with commas between", param, ctx)


@click.command("adopt")
@click.argument("encoder", type=click.Path(path_type=Path))
@click.option(
    "--size",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Side of the square pictures. [default: what the file declares]",
)
@click.option(
    "--mean",
    type=_Numbers(),
    metavar="R,G,B",
    help="What is taken off red, green and blue after --scale; one number for all.",
)
@click.option(
    "--std", type=_Numbers(), metavar="R,G,B", help="What they are divided by after that."
)
@click.option(
    "--scale",
    type=float,
    default=255.0,
    show_default=True,
    help="What pixels, 0 to 255, are divided by first; 1 leaves them.",
)
@click.option(
    "--channels",
    type=click.Choice(["rgb", "bgr"]),
    default="rgb",
    show_default=True,
    help="What the encoder takes first, red or blue.",
)
@click.option(
    "--layout",
    type=click.Choice(["nchw", "nhwc"]),
    help="Channels before rows and columns (PyTorch), or behind. [default: what the file declares]",
)
@click.option(
    "--resize",
    type=click.Choice(_RULES),
    default="bicubic",
    show_default=True,
    help="The rule by which pictures are stretched to squares.",
)
@click.option(
    "--output",
    metavar="NAME",
    help="The encoder's output with the features. [default: the only one]",
)
@click.option(
    "--token",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of an output with a row for each token, the row to take; 0 is [CLS] where there is one.",
)
@click.option(
    "--pool",
    type=click.Choice(["mean"]),
    help="Average the rows of all tokens, or a map over rows and columns.",
)
@click.option(
    "--unit-length",
    is_flag=True,
    help="Divide each picture's features by their length, so that L2 orders as the angle does.",
)
@click.option(
    "--binarize",
    type=click.Choice(BINARIZE),
    default=ZERO,
    show_default=True,
    help="How the codes that Hamming compares are made of the features, as for vsearch export.",
)
@click.option("--bits", type=click.IntRange(min=1), metavar="N", help="Bits of --binarize itq.")
@click.option(
    "--binarize-images",
    multiple=True,
    type=click.Path(exists=True),
    metavar="PICTURES",
    help="Pictures that median and itq learn from, a file or a folder; may be given more than "
    "once.",
)
@click.option(
    "-o",
    "--output-file",
    required=True,
    type=click.Path(dir_okay=False),
    metavar="FILE.onnx",
    help="The model file to write. One that the same command wrote is left as it is.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there, whatever it is.")
def command(encoder: Path, overwrite: bool, pool: str | None, **choices: Any) -> None:
    """Make a model file of an ONNX encoder of pictures: CLIP, SigLIP, DINOv2, or your own.

    Its preprocessing goes inside; the encoder stays as it is. It is run on drawn pictures first:
    a layout, size or output that does not fit, a batch that is fixed, and numbers that are not
    finite are told before anything is written. Pictures are stretched to squares, as everywhere
    here, where the encoder's own loader may cut the middle out.

    \b
    # CLIP (of a file with texts as well, the half that sees)
    vsearch adopt clip.onnx --size 224 --output image_embeds --unit-length \\
        --mean 0.48145466,0.4578275,0.40821073 --std 0.26862954,0.26130258,0.27577711 \\
        -o clip-model.onnx
    # DINOv2: the token [CLS]
    vsearch adopt dinov2.onnx --size 224 --output last_hidden_state --token 0 \\
        --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 -o dinov2-model.onnx
    vsearch index photos/ -o photos.index --model dinov2-model.onnx
    """
    from ..export.adopting import adopt

    try:
        report = adopt(encoder, pool=pool or "", overwrite=overwrite, log=tell, **choices)
    except KeptError as error:
        raise click.ClickException(str(error)) from error
    except ArgumentError as error:
        raise click.UsageError(str(error)) from error
    except VsearchError as error:
        raise click.ClickException(str(error)) from error
    if report is None:
        click.echo(
            f"{choices['output_file']} is made already, of this encoder by these options. Nothing "
            "was done; --overwrite makes it anew."
        )
        return
    figures = report.figures
    how = f" ({report.pool})" if report.pool else ""
    click.echo(
        f"{report.path}: {report.file_size / 2**20:.1f} MiB, {report.dim} features from "
        f"{report.output}{how}, pictures of {report.input_size} pixels, {report.layout}, "
        f"{report.precision}"
    )
    click.echo(
        f"relative error   {figures.relative_error:.1e} (worst of {figures.samples} drawn "
        "pictures, against the encoder)"
    )
    click.echo(
        f"{'constant bits':16} {(figures.never + figures.always) / figures.bits:.1%} over these "
        f"pictures ({figures.never:,} never, {figures.always:,} always set, of {figures.bits:,})"
    )
    click.echo(f"codes            equal {report.codes}")
    click.echo(f"model id         {report.model_id}")
    for warning in figures.warnings():
        tell(f"Warning: {warning}.")
