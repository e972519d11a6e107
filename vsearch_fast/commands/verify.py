"""`vsearch verify`: an index compared with its checksums, and repaired."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ArgumentError, DamagedError
from ..terminal import options
from ..terminal.console import tell
from ..terminal.progress import bar

if TYPE_CHECKING:
    from ..index.repairing import Embed, Repaired
    from ..index.verifying import Verified

#: Ids and damages that are named; the rest is counted (--json has all).
_NAMED = 20


@click.command("verify")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.option(
    "--repair",
    is_flag=True,
    help="Mend what is damaged: codes, sketches and filters are made again, pictures whose "
    "features are lost are embedded again, or dropped where they cannot be read.",
)
@click.option(
    "--add",
    "add",
    is_flag=True,
    help="Give an index of format 1, which has no checksums, those of what it holds now.",
)
@options.model(
    "Model that embeds again what --repair finds lost; by default the one that the index notes."
)
@click.option(
    "--drop",
    is_flag=True,
    help="With --repair: embed nothing again, drop all pictures whose features are lost.",
)
@options.photos
@options.json_flag
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def command(
    ctx: click.Context,
    index_path: Path,
    repair: bool,
    add: bool,
    model: Path | None,
    drop: bool,
    photos_root: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Read all of INDEX and compare it with its checksums; exit code 1 where it is damaged.

    Rows, items, filters and the database itself are looked at. A writer may write meanwhile, and
    searches go on. A search checks what it reads for the first time, too, and refuses what is
    damaged: this command says all of it, and what it means. Of a sharded index every shard is read,
    and an id that is in two of them is damage, too.

    \b
    vsearch verify photos.index
    vsearch verify photos.index --repair
    """
    from ..index.index import Index
    from ..shards.manifest import is_sharded

    if is_sharded(index_path):
        if repair or add:
            raise ArgumentError(
                f"{index_path} is a sharded index, whose shards are mended one by one",
                "Nothing was changed",
                "Name the shard that is damaged: vsearch verify without --repair tells which",
            )
        if not _shards_sound(index_path, as_json, quiet):
            ctx.exit(1)
        return
    with Index.open(index_path, mode="rw" if repair or add else "r", damaged=True) as found:
        if add and found.add_checksums():
            tell(f"{index_path} has checksums now, of what it held.")
        elif not found.info()["checksums"]:
            tell(
                f"{index_path} has no checksums: it was made before there were any. "
                "vsearch verify --add makes them; so does its next change."
            )
        with bar("Verifying", unit="B", quiet=quiet or as_json) as progress:
            if not repair:
                verified = found.verify(progress)
                _print(verified, as_json)
                if not verified.sound:
                    ctx.exit(1)
                return
            embed = (
                None
                if drop
                else _embed(found, index_path, model, photos_root, quiet=quiet or as_json)
            )
            repaired = found.repair(embed, progress)
    if as_json:
        click.echo(json.dumps(repaired.as_dict(), indent=1, ensure_ascii=False))
    else:
        _print(repaired.before, False)
        _tell_repaired(repaired)
    if not repaired.after.sound:
        raise DamagedError(
            f"{index_path} is damaged still: {repaired.after.damages[0].what}",
            "It was repaired in part",
            "Restore it from a backup, or index again",
        )


def _shards_sound(index_path: Path, as_json: bool, quiet: bool) -> bool:
    """Verify all shards, and print what was found."""
    from ..shards.index import ShardedIndex

    with (
        ShardedIndex.open(index_path) as found,
        bar("Verifying", unit="shard", quiet=quiet or as_json) as progress,
    ):
        shards = found.verify_each(progress)
    sound = all(verified.sound for verified in shards)
    if as_json:
        each = [verified.as_dict() for verified in shards]
        told = {"path": str(index_path), "sound": sound, "shards": each}
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        for verified in shards:
            _print(verified, False)
    return sound


def _embed(
    found: Any, index_path: Path, model: Path | None, photos: Path | None, *, quiet: bool
) -> Embed:
    """Embeds what is lost; the network is loaded when something is."""

    def embed(items: Sequence[Any]) -> Any:
        from ..indexing.again import embed_again
        from ..indexing.photos import Photos
        from ..indexing.recorded import embedder_for, model_file

        embedder = embedder_for(
            index_path, model or model_file(index_path), decoder="auto", writing=True, say=tell
        )
        again = embed_again(embedder, found, Photos(found, photos), progress=not quiet)
        return again(items)

    return embed


def _print(verified: Verified, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(verified.as_dict(), indent=1, ensure_ascii=False))
        return
    for damage in verified.damages[:_NAMED]:
        rows = ""
        if damage.first is not None:
            rows = f", rows {damage.first:,} to {damage.last:,}"
            if damage.first == damage.last:
                rows = f", row {damage.first:,}"
        click.echo(f"{damage.file}{rows}: {damage.what}.{_names(damage.ids)}")
    if len(verified.damages) > _NAMED:
        click.echo(f"... and {len(verified.damages) - _NAMED} more (--json lists all).")
    size = f"{verified.rows:,} rows, {verified.bytes:,} bytes"
    if verified.sound:
        click.echo(f"{verified.path} is as it was written ({size}).")
    else:
        click.echo(
            f"{verified.path} is damaged ({size} were read). vsearch verify --repair mends it; a "
            "backup may hold what is lost."
        )


def _names(ids: Sequence[str]) -> str:
    if not ids:
        return ""
    more = f" and {len(ids) - 3:,} more" if len(ids) > 3 else ""
    return f" Items: {', '.join(ids[:3])}{more}."


def _tell_repaired(repaired: Repaired) -> None:
    click.echo(
        f"{repaired.restored:,} restored, {len(repaired.embedded):,} embedded again, "
        f"{len(repaired.dropped):,} dropped."
    )
    for what, ids in (("embedded again", repaired.embedded), ("dropped", repaired.dropped)):
        for id_ in ids[:_NAMED]:
            click.echo(f"  {what}: {id_}")
        if len(ids) > _NAMED:
            click.echo(f"  ... and {len(ids) - _NAMED:,} more (--json lists all)")
