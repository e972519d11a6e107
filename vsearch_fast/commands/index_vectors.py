"""`vsearch index --vectors`: vectors made elsewhere, indexed or brought up to date."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from click.core import ParameterSource

from ..errors import ArgumentError
from ..index.titles import Titles
from ..terminal.console import tell
from ..words import plural
from .titles import show_as

#: Options of `vsearch index` that go with --vectors; all others are about pictures.
_TOGETHER = {
    "vectors", "ids", "index_path", "model", "columns", "dtype", "keep_missing", "as_json", "quiet",
    "titles",
}  # fmt: skip


def refuse_others(context: click.Context) -> None:
    """UsageError where an option is given that is about pictures."""
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and name not in _TOGETHER:
            called = parameter.human_readable_name if name == "source" else parameter.opts[0]
            raise click.UsageError(f"--vectors takes no pictures: leave {called} out")


def index_vectors(
    file: Path | None,
    listing: Path | None,
    index_path: Path,
    model: Path | None,
    columns: dict[str, str],
    dtype: str | None,
    titles: Titles,
    *,
    keep_missing: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Carry the command out, and say what was done."""
    from ..datasets.vectors import open_vectors
    from ..embedder.embedder import Embedder
    from ..indexing.vectors import bring, open_for_vectors
    from ..terminal.progress import bar

    if file is None:
        raise click.UsageError("--ids is for --vectors, which is missing")
    unknown = sorted(set(columns) - {"id", "path", "vector"})
    if unknown:
        raise ArgumentError(
            f"--vectors has no column of the role {unknown[0]}",
            "Nothing was indexed",
            "Roles are id, path and vector; other columns keep their names",
        )
    vectors = open_vectors(file, listing, columns)
    if not vectors.dim:
        raise ArgumentError(f"{file} has no numbers", "Nothing was indexed", "Name another file")
    embedder = None if model is None else Embedder(model, "cpu")
    with open_for_vectors(index_path, vectors, file, embedder, dtype) as target:
        done = 0
        with bar("Indexing", unit=" rows", quiet=quiet) as advance:

            def committed(rows: int) -> None:
                nonlocal done
                done = rows
                advance(rows, vectors.rows)

            try:
                brought = bring(
                    target, vectors, file, keep_missing=keep_missing, committed=committed
                )
            except KeyboardInterrupt:
                tell(
                    f"\nStopped after {plural(done, 'row')}, which {index_path} holds; the same "
                    "command goes on from there."
                )
                raise
        show_as(target, titles)
        if as_json:
            facts = {"index": str(index_path), **asdict(brought), "rows": len(target)}
            click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
            return
        click.echo(
            f"{brought.added} added, {brought.replaced} replaced, {brought.described} described "
            f"anew, {brought.removed} removed, {brought.unchanged} unchanged: "
            f"{plural(len(target), 'row')} in {index_path}"
        )
