"""How commands end: errors as text, exit codes, a quiet Ctrl-C."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from ..errors import VsearchError
from ..words import plural


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave the process: 0 done, 1 an error, 2 usage, 130 interrupted."""
    # Of `python -m vsearch_fast.bench` as of `vsearch bench`, which has it of its group.
    command.context_settings.setdefault("help_option_names", ["-h", "--help"])
    for stream in (sys.stdout, sys.stderr):
        # A file's name need not be text: what no encoding can print is shown escaped.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    log = logging.getLogger("vsearch_fast.kernels")
    log.setLevel(logging.INFO)
    log.addHandler(Compiling())
    log.propagate = False
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False)
        raise SystemExit(code if isinstance(code, int) else 0)
    except VsearchError as error:
        _fail(error)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        raise SystemExit(130) from None
    except BrokenPipeError:  # `vsearch search ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except MemoryError as error:
        detail = f" ({error})" if str(error) else ""
        _fail(
            VsearchError(
                f"there is not enough memory{detail}", "The command stopped", "Ask for less at once"
            )
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(
            VsearchError(
                f"{where}{error.strerror or error}",
                "The command stopped",
                "Check the path, its permissions and the space on its disk",
            )
        )


class Compiling(logging.Handler):
    """Says that kernels are compiled, which takes seconds once: on a terminal, how many are."""

    def emit(self, record: logging.LogRecord) -> None:
        total, done = getattr(record, "total", None), getattr(record, "done", 0)
        target = getattr(record, "target", "this processor")  # a GPU has a name
        if total is None:
            if record.levelno >= logging.WARNING:
                tell(record.getMessage() + ".")
        elif sys.stderr.isatty():
            end = done == total
            click.echo(
                f"\rCompiling kernels, once for {target}: {done} of {total}"
                + ("\n" if end else ""),
                err=True, nl=False,
            )  # fmt: skip
        elif done == 0:
            tell(f"Compiling {plural(total, 'kernel')}, once for {target} ...")


def tell(line: str) -> None:
    """A line for whoever watches, beside what the command prints."""
    click.echo(line, err=True)


def _fail(error: VsearchError) -> NoReturn:
    click.echo(f"Error: {error.cause}.", err=True)
    for part in (error.consequence, error.cure):
        if part:
            click.echo(f"  {part}.", err=True)
    raise SystemExit(1)
