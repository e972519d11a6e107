"""`vsearch ...`: the group, and where its commands are."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import click

from .terminal.console import run
from .version import __version__

#: Where the `command` of each name is. It is imported when it is called for.
COMMANDS = {
    "adopt": "commands.adopt",
    "backup": "commands.backup",
    "bench": "bench.__main__",
    "calibrate": "commands.calibrate",
    "compact": "commands.compact",
    "convert": "commands.convert",
    "demo": "commands.demo",
    "duplicates": "commands.duplicates",
    "eval": "evaluate.__main__",
    "export": "export.__main__",
    "garments": "commands.garments",
    "gpu": "commands.gpu",
    "index": "commands.index",
    "info": "commands.info",
    "locate": "commands.locate",
    "merge": "commands.merge",
    "models": "commands.models",
    "optimize": "commands.optimize",
    "rate": "commands.rate",
    "search": "commands.search",
    "serve": "commands.serve",
    "shard": "commands.shard",
    "train": "commands.train",
    "verify": "commands.verify",
    "warm": "commands.warm",
}


class Commands(click.Group):
    """All commands by name, none of them imported before it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f".{COMMANDS[cmd_name]}", __package__).command
        return found


@click.group(
    cls=Commands,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="vsearch")
def vsearch() -> None:
    """Exact visual item search: find the same or most similar pictures of a catalogue.

    \b
    vsearch demo                                                 all of it, on drawn garments
    vsearch index photos/ -o photos.index                        a catalogue of yours
    vsearch search photos.index dress.jpg --html matches.html    the matches of a photo

    The network in the package knows clothing. For other things, one that knows more of the world:

    \b
    vsearch export --weights imagenet --output vgg16-fc1.onnx    once
    vsearch index lamps/ -o lamps.index --model vgg16-fc1.onnx

    Every command explains itself: vsearch COMMAND --help. Exit codes: 0 done, 1 an error,
    2 a wrong command line, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `vsearch` command."""
    run(vsearch, "vsearch", arguments)


if __name__ == "__main__":
    main()
