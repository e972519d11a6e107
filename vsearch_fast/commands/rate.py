"""`vsearch rate`: a study for people to judge, and the report of what they said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.core import ParameterSource

from ..disk.replacing import replace_text, replacing
from ..errors import MissingDependencyError, VsearchError
from ..installing import how_to_install
from ..rating.opening import opened
from ..terminal import options
from ..terminal.console import tell
from ..words import JUDGED, plural
from . import serving

if TYPE_CHECKING:
    from ..rating.ratings import Ratings
    from ..rating.report import Report
    from ..rating.study import Study
    from ..words import Metric

#: Where ratings go when no file is named.
FILE = Path("ratings.sqlite")


@click.command(short_help="Let people compare indexes or metrics, blindly.")
@click.argument("index_paths", metavar="[INDEX]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--ratings", "file", type=click.Path(path_type=Path), default=FILE,
              show_default=True, metavar="FILE", help="SQLite file of the study and its ratings; "
              "one that is there goes on.")  # fmt: skip
@click.option("--metric", "metrics", multiple=True, default=("l2",), show_default=True,
              type=click.Choice([*JUDGED, "all"]),
              help="Distances to compare; repeat for several.")  # fmt: skip
@click.option("--mode", type=click.Choice(["match", "better", "both"]), default="match",
              show_default=True, help="match: is this result the query's item? better: which of "
              "two systems' rows is better?")  # fmt: skip
@click.option("--queries", type=click.IntRange(1), default=50, show_default=True,
              help="Items to search for, drawn from those in all indexes.")  # fmt: skip
@click.option("--results", type=click.IntRange(1, 50), default=5, show_default=True,
              help="Length of a row.")  # fmt: skip
@click.option("--judged", type=click.IntRange(1, 50), default=1, show_default=True,
              help="Results of a row that match asks about, nearest first.")  # fmt: skip
@click.option("--group", metavar="COLUMN", help="Results that share the query's value in this "
              "metadata column are left out, as for vsearch eval.")  # fmt: skip
@click.option("--category", metavar="COLUMN", default="category", show_default=True,
              help="Metadata column that the report compares people with.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True,
              help="Of queries, order and sides.")  # fmt: skip
@click.option("--report", "reporting", is_flag=True, help="Tell what was judged so far.")
@click.option("--format", "layout", type=click.Choice(["table", "csv", "json"]), default="table",
              show_default=True, help="Of the report.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Write the report as ratings.txt, .csv, .json and .png there, too.")  # fmt: skip
@serving.host
@serving.port
@serving.public_url
@options.backend
@options.threads
def command(
    index_paths: tuple[Path, ...],
    file: Path,
    metrics: tuple[Metric | Literal["all"], ...],
    mode: Literal["match", "better", "both"],
    queries: int,
    results: int,
    judged: int,
    group: str | None,
    category: str,
    seed: int,
    reporting: bool,
    layout: Literal["table", "csv", "json"],
    output: Path | None,
    host: str,
    port: int,
    public_url: str | None,
    backend: str,
    threads: int | None,
) -> None:
    """Let people compare the results of several INDEXes, or metrics, without knowing which is
    which, on a page of their browser.

    The study (queries and what every system found) is made once and kept in the ratings file,
    with every judgement; raters may stop and come back with their nickname. Without INDEX a
    study that is there goes on. Indexes must hold the same items. --report needs no server.

    \b
    vsearch rate photos.index --metric all --mode better
    vsearch rate vgg16.index trained.index --mode both --group sender_id -o study.sqlite
    vsearch rate -o study.sqlite                  go on
    vsearch rate -o study.sqlite --report --output report/
    """
    try:
        from ..rating.ratings import Ratings
        from ..rating.study import Settings
    except ImportError as error:  # pragma: no cover
        raise _missing(error) from error

    if reporting:
        with Ratings.open(file) as ratings:
            _report(ratings, layout, output)
        return
    from ..indexing.columns import column_named
    from ..shards.opening import open_index
    from .serving import require_server

    require_server()
    if group is not None and index_paths:
        with open_index(index_paths[0]) as found:
            group = column_named(found, group)
    chosen = list(dict.fromkeys(_metrics(metrics)))
    settings = Settings(mode, queries, results, judged, group, category, seed)
    # Of a study that is there, only what the command line says is compared.
    context = click.get_current_context()
    said = {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    from ..web.server import bound, run, settings_for, token_for

    token = token_for(host)
    limits = settings_for(host, token, public_url)
    sock = bound(host, port)  # first: an address that is taken is told at once
    with opened(file, index_paths, chosen, settings, backend, threads, said, say=tell) as ratings:
        from ..web.app import create_app

        given = len(ratings.judgements())
        tell(f"{_told(ratings.study)} Ratings go to {file}, which holds {given:,}.")
        app = create_app(None, limits, rating=ratings)
        run(app, sock, token=token, public=limits.public, open_path="/rate", say=tell)


def _metrics(given: Sequence[Metric | Literal["all"]]) -> list[Metric]:
    result: list[Metric] = []
    for name in given:
        result += list(JUDGED) if name == "all" else [name]
    return result


def _report(ratings: Ratings, layout: str, output: Path | None) -> None:
    from ..rating import text
    from ..rating.report import summarise

    judgements = ratings.judgements()
    study = ratings.study
    try:
        found = summarise(study, judgements)
        if output is not None and judgements:
            _write(study, found, output)
    except ImportError as error:
        if isinstance(error, VsearchError):
            raise
        raise _missing(error) from error
    shape = {"table": text.table, "csv": text.as_csv, "json": text.as_json}[layout]
    if judgements or layout != "table":
        click.echo(shape(study, found), nl=False)
    if not judgements:
        written = "" if output is None else f"; nothing was written to {output}"
        tell(
            f"{ratings.file} holds no judgement yet{written}. Rate with: vsearch rate -o "
            f"{ratings.file}"
        )


def _write(study: Study, found: Report, folder: Path) -> None:
    """ratings.txt, .csv, .json and .png; a file of an earlier report is replaced when the new
    one is whole."""
    from ..rating import chart, text

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (
            ("ratings.txt", text.table(study, found)),
            ("ratings.csv", text.as_csv(study, found)),
            ("ratings.json", text.as_json(study, found)),
        ):
            replace_text(folder / name, content, errors="backslashreplace")
        with replacing(folder / "ratings.png") as unfinished:
            chart.draw(study, found, unfinished)
    except OSError as error:
        raise VsearchError(
            f"{error.filename or folder} cannot be written ({error.strerror or error})",
            "The report was not all written; the ratings are untouched",
            "Check the folder and the space on its disk, and run the same command again",
        ) from error
    tell(f"The report is in {folder}.")


def _told(study: Study) -> str:
    from ..rating.schedule import total

    names = ", ".join(system.name for system in study.systems)
    return (
        f"{plural(len(study.queries), 'query', 'queries')}, "
        f"{plural(len(study.systems), 'system')} ({names}), "
        f"{plural(total(study), 'judgement')} a rater."
    )


def _missing(error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"The package {error.name}, which ratings need, is not installed",
        "Nothing was rated or reported",
        f"Install it with {how_to_install('cpu,serve')}",
    )
