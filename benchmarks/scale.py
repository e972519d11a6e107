"""How vsearch_fast grows with items, shards and queries: measured on one machine.

    python benchmarks/scale.py                       every section, into results/scale.json
    python benchmarks/scale.py --anew --clean        all of them anew
    python benchmarks/scale.py --only merge          one section (repeat for several)
    python benchmarks/scale.py --only disk --disk-rows 1000000
    python benchmarks/scale.py --model               the cost model of the record, and the plot

Sections that the record has are not measured again, unless they are named by `--only`; so a run
that was stopped goes on. Indexes that are measured lie in `--folder`; `--clean` removes them.

- large: an index of many items is opened, listed, filtered, added to
- shards: 1, 2, 4 and 8 shards in processes of one thread, against one process of as many threads
- overhead: what a shard costs a query
- merge: the exact merge of 1,000 answers
- manifest: a list of 100,000 shards
- codes: codes of 4096 bits, as many as memory takes
- disk: vectors on the disk, in a quarter of the memory that they would take
- costs: what the model is fitted to
- embedding: pictures a second
- ray: a call of an actor, where Ray is installed
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from scaling import codes, costs, disk, large, merging, model, plot, ray_calls, shards

from vsearch_fast.bench.machine import command_line, environment
from vsearch_fast.search import available_threads
from vsearch_fast.system import average_load

RECORD = Path(__file__).parent / "results" / "scale.json"
PICTURE = Path(__file__).parents[1] / "docs" / "scale.png"

SECTIONS = (
    "large", "shards", "overhead", "merge", "manifest", "codes", "disk", "costs", "embedding",
    "ray",
)  # fmt: skip


def say(text: str) -> None:
    """A line that says what is done."""
    click.echo(f"{time.strftime('%H:%M:%S')}  {text}", err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", type=click.Choice(SECTIONS), multiple=True, help="These sections alone.")
@click.option("--items", default=1_000_000, show_default=True, help="Of the large index.")
@click.option("--rows", default=65_536, show_default=True, help="Of all shards together.")
@click.option("--queries", default=16, show_default=True, help="At once, of the section shards.")
@click.option("--codes", "code_rows", type=int, help="[default: what memory takes, at most 10 M]")
@click.option("--disk-rows", default=200_000, show_default=True, help="Of the section disk.")
@click.option("--repeats", default=7, show_default=True, help="Runs that a median is of.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="For indexes. [default: a temporary one's]"
)
@click.option("--anew", is_flag=True, help="Begin with an empty record.")
@click.option("--clean", is_flag=True, help="Remove the indexes at the end.")
@click.option("--model", "only_model", is_flag=True, help="Measure nothing: the model and plot.")
@click.option("--json", "record", default=RECORD, type=click.Path(path_type=Path))
@click.option("--picture", default=PICTURE, type=click.Path(path_type=Path))
def main(
    only: tuple[str, ...], items: int, rows: int, queries: int, code_rows: int | None,
    disk_rows: int, repeats: int, folder: Path | None, anew: bool, clean: bool, only_model: bool,
    record: Path, picture: Path,
) -> None:  # fmt: skip
    """Measure how it grows, and print what follows for more."""
    known: dict[str, Any] = {}
    if record.exists() and not anew:
        known = json.loads(record.read_text(encoding="utf-8"))
    folder = folder or Path(tempfile.gettempdir()) / "vsearch-scale"
    folder.mkdir(parents=True, exist_ok=True)
    work: dict[str, Callable[[], Any]] = {
        # By its size: a larger one stands beside the usual one.
        "large": lambda: {
            **known.get("large", {}),
            str(items): large.measure(folder / f"large-{items}.index", items, say),
        },
        "shards": lambda: shards.measure(folder, rows, queries, repeats, say),
        "overhead": lambda: merging.measure_overhead(say),
        "merge": lambda: merging.measure_merge(say),
        "manifest": lambda: merging.measure_manifest(say),
        "codes": lambda: codes.measure(code_rows, say),
        "disk": lambda: disk.measure(folder / f"disk-{disk_rows}.index", disk_rows, 8, say),
        "costs": lambda: {
            "searches": costs.measure(folder, repeats, say), "bytes": costs.space(folder),
        },
        "embedding": lambda: costs.embedding(say),
        "ray": lambda: ray_calls.measure(say),
    }  # fmt: skip
    for name in () if only_model else SECTIONS:
        if name not in (only or SECTIONS) or (name in known and not only):
            continue
        began, busy = time.perf_counter(), average_load()
        known[name] = work[name]()
        known.setdefault("load", {})[name] = round(busy or 0.0, 1)
        known.setdefault("took", {})[name] = round(time.perf_counter() - began, 1)
        known["command"] = command_line("benchmarks/scale.py")
        known["machine"] = environment(available_threads())
        record.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        say(f"{name}: {known['took'][name]:.0f} s")
    if set(model.NEEDS) <= known.keys():
        known["model"] = {
            "costs": {
                name: model.fitted(known["costs"]["searches"], name) for name in model.METRICS
            },
            "trial": model.checked(known),
            "projected": model.projected(known),
        }
        record.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        click.echo("\n".join(model.lines(known)))
        plot.draw(known, picture)
    if clean:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
