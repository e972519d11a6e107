"""`vsearch serve`: a catalogue's search page and HTTP API."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..index.titles import chosen
from ..terminal import options
from ..terminal.console import tell
from ..words import JUDGED, plural
from . import on_ray, serving
from .serving import require_server
from .titles import warn_of_unknown

if TYPE_CHECKING:
    from ..index.index import Index
    from ..rating.ratings import Ratings


@click.command(short_help="A page and an HTTP API to search with.")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@serving.host
@serving.port
@serving.public_url
@options.model("The model, if it was moved since the index was made.")
@click.option("--max-upload", type=click.IntRange(1_000), default=20_000_000, show_default=True,
              help="Bytes of a request at most.")  # fmt: skip
@click.option("--max-pixels", type=click.IntRange(1), default=40_000_000, show_default=True,
              help="Largest picture that is decoded, width times height.")  # fmt: skip
@click.option("--ratings", type=click.Path(path_type=Path), metavar="FILE",
              help="A study of vsearch rate, to be rated at /rate; where there is none, one of "
              "INDEX is made that compares its distances.")  # fmt: skip
@click.option("--cors", multiple=True, metavar="ORIGIN",
              help="Let pages of this address, such as https://shop.example, use the API. Repeat "
              "for several.")  # fmt: skip
@click.option("--fetch", multiple=True, metavar="HOST",
              help="Fetch pictures that are searched for by an address of this host, such as "
              "cdn.shop.example. No others are fetched. Repeat for several.")  # fmt: skip
@options.titles
@on_ray.option
@options.photos
@options.provider
@options.backend
@options.decoder
@options.threads
def command(
    index_path: Path,
    host: str,
    port: int,
    public_url: str | None,
    model: Path | None,
    max_upload: int,
    max_pixels: int,
    ratings: Path | None,
    cors: tuple[str, ...],
    fetch: tuple[str, ...],
    titles: list[tuple[str, str]],
    ray_address: str | None,
    photos_root: Path | None,
    provider: str,
    backend: str,
    decoder: str,
    threads: int | None,
) -> None:
    """Serve a page, and an HTTP API, to search INDEX with.

    Drop, paste, pick or photograph a picture, draw a box around the item, compare distances,
    filter, and search on from any result. The API is described at /docs. INDEX may be brought
    up to date meanwhile: searches see what was committed.

    \b
    vsearch serve photos.index
    vsearch serve photos.index --port 9000
    vsearch serve photos.index --host 0.0.0.0      for others too, with a token
    vsearch serve photos.index --public-url https://shop.example/find/     behind a proxy
    vsearch serve photos.index --ratings ratings.sqlite     and ask for people's judgement
    vsearch serve /data/photos.shards --ray auto     of shards on a Ray cluster
    """
    require_server()
    from ..indexing.photos import Photos
    from ..indexing.recorded import embedder_for, model_file, running
    from ..shards.opening import identity_of
    from ..web.app import create_app
    from ..web.catalogue import Catalogue
    from ..web.server import bound, run, settings_for, token_for

    if ray_address is not None and ratings is not None:
        raise click.UsageError("--ray and --ratings exclude each other: rate where the files are")
    shown = chosen(titles, "The server was not started")
    token = token_for(host)
    settings = replace(
        settings_for(host, token, public_url, cors, fetch),
        upload_bytes=max_upload,
        max_pixels=max_pixels,
    )
    sock = bound(host, port)  # first: an address that is taken is told at once
    first = None if ray_address is None else on_ray.opened(
        index_path, ray_address, threads=threads, backend=backend
    )  # fmt: skip
    model = model or model_file(index_path, first)
    embedder = embedder_for(
        index_path, model, decoder=decoder, writing=False, say=tell, index=first,
        providers=provider, threads=threads, max_pixels=max_pixels,
    )  # fmt: skip
    tell(running(embedder))

    def reopen() -> Index:
        found = on_ray.opened(
            index_path, ray_address, model_id=embedder.model_id, threads=threads, backend=backend
        )
        return found if ray_address is not None or backend != "cuda" else found.to("cuda")

    def identity(path: Path) -> tuple[Any, ...] | None:
        # On a cluster it is there even where this machine has no such folder.
        return identity_of(path) if ray_address is None else (ray_address, identity_of(path))

    with contextlib.ExitStack() as closing:
        if first is not None:
            closing.enter_context(first)
            on_ray.refuse_another(index_path, first, embedder.model_id)
        index = closing.enter_context(reopen()) if first is None else first
        catalogue = Catalogue(
            index_path, index, embedder, settings,
            backend=backend if ray_address is None else "auto", threads=threads,
            photos=Photos(index, photos_root), reopen=reopen, identity=identity,
            titles=shown,
        )  # fmt: skip
        warn_of_unknown(index, shown)
        tell(f"{plural(catalogue.facts.pictures, 'picture')} in {index_path}.")
        with (
            contextlib.closing(catalogue),
            contextlib.nullcontext()
            if ratings is None
            else _study(ratings, index_path, backend, threads) as study,
        ):
            app = create_app(catalogue, settings, study, say=tell)
            run(app, sock, token=token, public=settings.public, say=tell)


def _study(
    file: Path, index_path: Path, backend: str, threads: int | None
) -> contextlib.AbstractContextManager[Ratings]:
    """The study of this file; where there is none, a new one of all distances of the index."""
    from ..rating.opening import opened
    from ..rating.study import Settings as Study

    # One that is there is served as it is, whatever it compares.
    paths = [] if file.exists() and file.stat().st_size else [index_path]
    return opened(file, paths, JUDGED, Study(mode="both"), backend, threads, say=tell)
