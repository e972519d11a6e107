"""`vsearch demo`: the whole line on a rendered catalogue, timed, each step used again."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ..datasets.garments.catalogue import render_catalogue
from ..datasets.records import Record
from ..embedder.embedder import Embedder
from ..errors import ExportError
from ..index.index import Index
from ..indexing import sync
from ..indexing.recorded import running
from ..models.shipped import DEFAULT as default_name
from ..models.shipped import NETWORKS, Shipped
from ..results.page import write_page
from ..results.picture import write_picture
from ..results.result import Result
from ..terminal import options
from ..words import JUDGED, plural

VIEWS = 3
QUERIES = 40
SHOWN = 6
DEFAULT = "default"


class Clock:
    """Names each step and tells its time when it is done."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.steps: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.steps.append((name, time.perf_counter() - start))
        self.say(f"  {name}: {self.steps[-1][1]:.1f} s")


def run(
    folder: Path,
    *,
    items: int,
    weights: str,
    say: Callable[[str], None],
    provider: str = "auto",
) -> None:
    """Render, export, index, search and write ``matches.html`` and ``matches.jpg``.

    ``weights`` as for the export, or the name of a network of the package, or ``default``;
    ``provider`` as for the Embedder. Everything is made in ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock(say)
    started = time.perf_counter()

    say(f"1. A catalogue of {plural(items, 'garment')}, {VIEWS} pictures each")
    with clock.step("drawing"):
        records = render_catalogue(folder / "garments", items=items, views=VIEWS, progress=True)
    catalogue, photos = _split(records)

    say("2. The network, as one ONNX file")
    with clock.step("network"):
        model = _model(folder, weights, say)
    embedder = Embedder(model, providers=provider)
    say(f"  {running(embedder)}")
    trained = embedder.metadata["trained"] != "no"

    say(f"3. An index of {plural(len(catalogue), 'picture')}")
    with clock.step("indexing"):
        index = _index(folder, embedder, model, catalogue)

    queries = photos[:QUERIES]
    say(f"4. {plural(len(queries), 'photo')} of indexed garments, in another pose, light and place")
    with index:
        with clock.step("features of the photos"):
            features, codes = embedder.both(
                [record.path for record in queries],
                [record.box for record in queries],
                progress=True,
            )
        results: list[Result] = []
        for metric in JUDGED:
            asked = codes if metric == "hamming" else features
            index.search(asked[:1], 1, metric)  # compiles, or loads, the kernel
            start = time.perf_counter()
            answers = index.search(asked, 5, metric)
            milliseconds = (time.perf_counter() - start) * 1e3
            found = sum(
                hits[0].metadata["item"] == record.item
                for hits, record in zip(answers, queries, strict=True)
            )
            say(
                f"  {metric:8} {milliseconds:6.1f} ms for "
                f"{plural(len(queries), 'search', 'searches')}; "
                f"the same garment comes first for {found} of {len(queries)}"
            )
            results += [
                Result(str(record.path), metric, hits, record.box, record.item)
                for record, hits in zip(queries, answers, strict=True)
            ]
    by_query = [r for q in range(len(queries)) for r in results[q :: len(queries)]]
    facts = [("pictures", str(len(catalogue))), ("network", _network_in_words(embedder, weights))]
    page, picture = folder / "matches.html", folder / "matches.jpg"
    write_page(
        page, by_query[: SHOWN * len(JUDGED)], title="Garments and their matches", facts=facts
    )
    write_picture(picture, _best_answered(by_query))
    say(f"Done in {time.perf_counter() - started:.0f} s. Open {page} in a browser.")
    named = "" if weights == DEFAULT else f" --model {model}"
    say(f"Your own pictures: vsearch index FOLDER -o my.index{named}")
    if not trained:
        say("The network is UNTRAINED: it sees colour, texture and outline, and knows nothing of "
            "garments.")  # fmt: skip
    elif weights == DEFAULT:
        say("What else comes with the package, and how fast it is: vsearch models.")


def _split(records: list[Record]) -> tuple[list[Record], list[Record]]:
    """Catalogue (all views of a garment but the last) and photos to search for (the last)."""
    by_item: dict[str | None, list[Record]] = {}
    for record in records:
        by_item.setdefault(record.item, []).append(record)
    catalogue = [r for views in by_item.values() for r in views[:-1]]
    return catalogue, [views[-1] for views in by_item.values()]


def _best_answered(by_query: list[Result]) -> list[Result]:
    """The results of the query whose item most metrics put first: the picture shows what a
    match looks like, the printed counts how often there is one."""
    queries = [by_query[i : i + len(JUDGED)] for i in range(0, len(by_query), len(JUDGED))]
    return max(queries, key=lambda results: sum(r.shows_same(r.hits[0]) for r in results))


def _shipped(weights: str) -> Shipped | None:
    """The package's network that is meant, if it is one."""
    return NETWORKS.get(default_name if weights == DEFAULT else weights)


def _network_in_words(embedder: Embedder, weights: str) -> str:
    if shipped := _shipped(weights):
        return shipped.title
    if embedder.metadata["trained"] == "no":
        return "VGG-16 fc1, untrained (random weights): matches by colour and texture"
    return f"VGG-16 {embedder.metadata['layer']}, trained"


def _model(folder: Path, weights: str, say: Callable[[str], None]) -> Path:
    """The network: the package's own, or exported in a process of its own, whose memory it
    gives back."""
    if shipped := _shipped(weights):
        return shipped.path
    from ..export.weights import usual_layer

    layer = usual_layer(weights)
    file = _file(folder, weights, layer)
    if file.exists():
        say(f"  using {file} again")
        return file
    command = [sys.executable, "-m", "vsearch_fast.export", "--weights", weights]
    if layer != "fc1":
        say(f"  These weights have no dense layers: features are those of {layer}, of unit length.")
        command += ["--layer", layer, "--unit-length"]
    done = subprocess.run([*command, "--output", str(file)], check=False)
    if done.returncode != 0:
        raise ExportError(
            f"the network could not be exported with the weights {weights}",
            "There is nothing to search with",
            "See the message above, or leave --weights out for the package's own network",
        )
    return file


def _file(folder: Path, weights: str, layer: str) -> Path:
    name = weights.replace(":", "-")
    if weights != "imagenet" and not weights.startswith("random:"):
        file = Path(weights).absolute()
        name = f"{file.stem}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"
    return folder / f"vgg16-{layer.replace('_', '-')}-{name}.onnx"


def _index(folder: Path, embedder: Embedder, model: Path, catalogue: list[Record]) -> Index:
    """The index of the catalogue by this model, brought up to date, open."""
    path = folder / f"garments-{embedder.model_id[:8]}.index"
    origin = f"the demo's garments in {folder.resolve()}"
    index = sync.open_index(path, embedder, model, origin, root=folder / "garments")
    try:
        sync.apply(index, embedder, sync.plan(index, catalogue), on_error="raise", progress=True)
    except BaseException:
        index.close()
        raise
    return index


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("vsearch-demo"),
    show_default=True,
    help="Folder for all it makes.",
)
@click.option(
    "--items",
    type=click.IntRange(1),
    default=120,
    show_default=True,
    help="Garments to draw, three pictures each.",
)
@click.option(
    "--weights",
    default="default",
    show_default=True,
    metavar="default|NAME|imagenet|random:SEED|FILE",
    help="default: the network of the package; NAME: one of those that vsearch "
    "models lists; others as for vsearch export. Of weights without dense layers it takes "
    "block5_pool, of unit length.",
)
@options.provider
def command(output: Path, items: int, weights: str, provider: str) -> None:
    """Run the whole line on a drawn catalogue: model, export, index, searches, a page.

    Two pictures of each garment are indexed; the third, in another pose, light and place,
    is what is searched for. What was made before is used again.
    """
    run(output, items=items, weights=weights, provider=provider, say=click.echo)
