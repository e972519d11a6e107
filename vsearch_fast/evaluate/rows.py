"""What a row of the table is, which rows always stand in it, and what a model file says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, ModelError
from .baselines import BASELINES

_CONSEQUENCE = "Nothing was evaluated"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A feature extractor in the table.

    Attributes:
        name: as the table shows it; unique.
        file: its ONNX file, or None where the weights cannot be had: the row is then printed
            as not run, with `command`.
        command: what would make the file.
        note: what a reader must know of it ("slim source network, not ImageNet").
        why_not: why there is no file.
        baseline: a key of `BASELINES` instead of a file.
    """

    name: str
    file: Path | None = None
    command: str = ""
    note: str = ""
    why_not: str = "no model file was given"
    baseline: str | None = None


#: Between the steps of a row's command, as a shell has it.
AND = " && "

#: Rows that no table leaves out, by the name that `--model NAME=FILE` fills them by. In their
#: commands "{data}" stands for the words that name the data set to `vsearch train`. The last step,
#: the evaluation with the new row, is added by `table_rows`.
STANDARD: Mapping[str, ModelRow] = {
    "imagenet-fc1": ModelRow(
        "VGG-16 fc1 (fc6), ImageNet",
        command="vsearch export --weights imagenet --layer fc1 -o imagenet-fc1.onnx",
    ),
    "imagenet-fc2": ModelRow(
        "VGG-16 fc2 (fc7), ImageNet",
        command="vsearch export --weights imagenet --layer fc2 -o imagenet-fc2.onnx",
    ),
    "retrained-all": ModelRow(
        "VGG-16 re-trained, all categories",
        command="vsearch train {data} --base imagenet --classes all "
        "--output retrained-all.keras && vsearch export --weights retrained-all.keras "
        "--layer fc1 -o retrained-all.onnx",
    ),
    "retrained-top": ModelRow(
        "VGG-16 re-trained, N most common",
        command="vsearch train {data} --base imagenet --classes top:8 "
        "--output retrained-top.keras && vsearch export --weights retrained-top.keras "
        "--layer fc1 -o retrained-top.onnx",
    ),
    "untrained": ModelRow(
        "VGG-16 fc1, untrained",
        command="vsearch export --weights random:0 --layer fc1 -o untrained.onnx",
    ),
}


def table_rows(
    files: Mapping[str, Path] | None = None,
    more: list[ModelRow] | None = None,
    data: str = "--data DATA",
    again: str = "vsearch eval DATA -o OUTPUT",
) -> list[ModelRow]:
    """All rows of a table, in its order: the standard ones, `more`, other files, baselines; below
    them those without a file.

    Args:
        files: model files by a key of `STANDARD`, or by a name of one's own.
        more: further rows, such as those that a recipe has made.
        data: how `vsearch train` is told the data set, in the commands of rows without a file.
        again: the evaluation, which those commands end with.

    Raises:
        ArgumentError: two rows of one name.
    """
    given = dict(files or {})
    rows = [
        _filled(row, given.pop(key, None), data, again, key)
        for key, row in STANDARD.items()
        if key != "untrained"
    ]
    rows += more or []
    untrained = _filled(
        STANDARD["untrained"], given.pop("untrained", None), data, again, "untrained"
    )
    rows += [ModelRow(name, file) for name, file in given.items()]
    rows.append(untrained)
    rows += [ModelRow(each.name, baseline=key) for key, each in BASELINES.items()]
    rows.sort(key=lambda row: row.file is None and row.baseline is None)
    names = [row.name for row in rows]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(
                f"two rows are named {name!r}", _CONSEQUENCE, "Give each model a name of its own"
            )
    return rows


def _filled(row: ModelRow, file: Path | None, data: str, again: str, key: str) -> ModelRow:
    """A standard row with its file, if there is one, and its command about this data."""
    made = row.command.replace("{data}", data)
    row = replace(row, command=f"{made}{AND}{again} --model {key}={key}.onnx")
    return row if file is None else replace(row, file=file, why_not="")


@dataclass(frozen=True, slots=True)
class Training:
    """What a model's file says of the pictures that it was trained on.

    Attributes:
        groups: fingerprints (`datasets.splits.fingerprint`) of the groups trained on.
        classes: the categories trained on, None for all.
        entry: the file's whole entry.
    """

    groups: frozenset[str] = frozenset()
    classes: tuple[str, ...] | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)


def training_of(metadata: Mapping[str, str], name: str) -> Training:
    """The entry ``training`` of a model's metadata; empty where there is none.

    Raises:
        ModelError: an entry that cannot be read: what the model knows would then be unknown.
    """
    text = metadata.get("training", "")
    if not text:
        return Training()
    try:
        entry = json.loads(text)
        groups = frozenset(entry.get("trained_groups") or ())
        classes = entry.get("classes", "all")
        if not all(isinstance(group, str) for group in groups):
            raise ValueError("a group is no text")
        if classes != "all" and not all(isinstance(each, str) for each in classes):
            raise ValueError("a class is no text")
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"the model {name!r} does not say legibly what it was trained on ({error})",
            f"{_CONSEQUENCE}: its figures could be of pictures that it knows",
            "Export it again",
        ) from error
    return Training(groups, None if classes == "all" else tuple(classes), entry)


def slug(name: str) -> str:
    """The name as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"
