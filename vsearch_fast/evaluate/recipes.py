"""The rows that can be trained anywhere: a slim source network, and heads re-trained on it.

Where ImageNet weights cannot be had, the comparison that the table is for (a source network's
own fc1 and fc2 against heads re-trained on the data) is made with a slim VGG-16 that is trained
on drawn garments. Each step is a command of `vsearch` in a process of its own, printed before
it runs, so that any of them can be given by hand; what is there already is not made again.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import ArgumentError, ExportError
from ..models.shipped import SHIPPED
from .rows import AND, ModelRow

Say = Callable[[str], None]


@dataclass(frozen=True)
class Scale:
    """How large the slim networks and their training are.

    `items` drawn garments, in two views of `size`; `width`, `input_size` and `units` of the
    network; epochs of the source network and of the heads; `top`, the categories of the head
    that learns the most common ones.
    """

    items: int
    size: str
    width: str
    input_size: int
    units: int
    source_epochs: int
    head_epochs: int
    top: int = 8


SCALES = {
    "full": Scale(5000, "160x200", "0.25", 96, 4096, 6, 30),
    "tiny": Scale(40, "64x80", "0.0625", 32, 64, 1, 1, top=2),
}

#: Pictures of the garments that the source network learns; no other seed in the project is this.
GARMENTS_SEED = 1000

_NOTE = "slim source network trained on drawn garments, not ImageNet"


#: The networks that come with the package.
PACKAGED = [ModelRow(each.row, each.path, note=f"see models/{each.card}") for each in SHIPPED]


def packaged_rows(files: Mapping[str, Path]) -> list[ModelRow]:
    """Rows of the package's networks, but those that one of `files` (by name) is or is called."""
    given = {file.resolve() for file in files.values()}
    return [
        row
        for row in PACKAGED
        if row.name not in files and row.file is not None and row.file.resolve() not in given
    ]


def training_words(
    data: Path,
    layout: str,
    csv: Path | None,
    columns: Sequence[tuple[str, str]],
    group: str | None,
    leave_out: Sequence[str],
    exclude: Sequence[str] = (),
    on_error: str = "raise",
) -> list[object]:
    """The words by which `vsearch train` reads the data set that `vsearch eval` was given."""
    roles = dict(columns)
    if group is not None and _has_list(data, csv):
        roles["group"] = group
    words: list[object] = ["--data", data]
    if layout != "auto":
        words += ["--format", layout]
    if csv is not None:
        words += ["--csv", csv]
    for role, name in roles.items():
        words += ["--column", f"{role}={name}"]
    for category in leave_out:
        words += ["--leave-out", category]
    for pattern in exclude:
        words += ["--exclude", pattern]
    if on_error != "raise":
        words += ["--on-error", on_error]
    return words


def check_groups(
    data: Path, csv: Path | None, columns: Sequence[tuple[str, str]], group: str | None
) -> None:
    """ArgumentError where training would not be split by the groups that are compared."""
    roles = dict(columns)
    if group is not None and roles.get("group", group) != group:
        raise ArgumentError(
            f"--group {group} and --column group={roles['group']} differ",
            "Nothing was trained: a group could be on both sides",
            "Give one of them",
        )
    if group is not None and not _has_list(data, csv):
        raise ArgumentError(
            f"--train splits by the data set's own groups, not by --group {group}",
            "Nothing was trained",
            "Leave --group out, or list the pictures in a CSV file: --csv",
        )


def _has_list(data: Path, csv: Path | None) -> bool:
    return csv is not None or data.suffix.lower() == ".csv"


def slim_rows(
    folder: Path, data: Sequence[object], scale: Scale, say: Say, *, quiet: bool = False
) -> list[ModelRow]:
    """Train and export what is missing in `folder`, and return its rows of the table.

    `data` are the words that name the data set to `vsearch train`. Raises ExportError where a
    step fails; what the steps before it made is kept.
    """
    key = json.dumps([asdict(scale), *(str(word) for word in data)])
    # Of another scale or other data is another folder: its networks are others.
    folder = folder / hashlib.sha256(key.encode()).hexdigest()[:8]
    folder.mkdir(parents=True, exist_ok=True)
    steps = _Steps(folder, say, quiet)
    garments, source = folder / "garments", folder / "source.keras"
    if not source.is_file():
        # Drawing goes on where it was, and returns at once when nothing is missing.
        steps.run(
            "garments", "-o", garments, "--items", scale.items, "--views", 2,
            "--seed", GARMENTS_SEED, "--size", scale.size,
        )  # fmt: skip
    network = ["--units", scale.units, "--input-size", scale.input_size, "--pool", "avg"]
    network += ["--resize", "bilinear", "--batch-norm"]
    source_command = steps.make(
        source, "train", "--data", garments, "--base", "random:0", "--unfreeze",
        "--width", scale.width, *network, "--dense", "fc1,fc2", "--loss", "contrastive",
        "--label-smoothing", 0.1, "--augment", "strong", "--balance", "draws",
        "--optimizer", "adamw", "--schedule", "cosine", "--weight-decay", 0.05,
        "--batch-size", 96, "--epochs", scale.source_epochs, "--shares", "1,0,0",
    )  # fmt: skip
    rows = [
        _row(steps, f"Slim VGG-16 {layer}, garments", source, source_command, layer)
        for layer in ("fc1", "fc2")
    ]
    for name, classes in (("all categories", "all"), ("N most common", f"top:{scale.top}")):
        head = folder / f"head-{classes.replace(':', '')}.keras"
        command = steps.make(
            head, "train", *data, "--classes", classes, "--base", source, *network,
            "--augment", "light", "--epochs", scale.head_epochs, "--batch-size", 64,
        )  # fmt: skip
        name = name.replace("N", str(scale.top), 1)
        rows.append(_row(steps, f"Slim VGG-16 re-trained, {name}", head, command, "fc1"))
    return rows


def _row(steps: _Steps, name: str, weights: Path, command: str, layer: str) -> ModelRow:
    file = weights.with_name(f"{weights.stem}-{layer}.onnx")
    export = steps.make(file, "export", "--weights", weights, "--layer", layer)
    return ModelRow(name, file, f"{command}{AND}{export}", _NOTE)


class _Steps:
    """Runs commands of `vsearch`, each of which makes one file."""

    def __init__(self, folder: Path, say: Say, quiet: bool) -> None:
        self.folder, self.say, self.quiet = folder, say, quiet

    def make(self, file: Path, *words: object) -> str:
        """Run a command with `-o file` unless the file is there; the command as text."""
        command = [*words, "-o", file]
        if not file.is_file():
            self.run(*command)
        return self._text(command)

    def run(self, *words: object) -> None:
        self.say(self._text(words))
        command = [sys.executable, "-m", "vsearch_fast.cli", *map(str, words)]
        output = subprocess.DEVNULL if self.quiet else None
        errors = subprocess.PIPE if self.quiet else None  # its steps go there, too
        done = subprocess.run(command, stdout=output, stderr=errors, check=False)
        if done.returncode == 130:
            raise KeyboardInterrupt
        if done.returncode != 0:
            sys.stderr.write((done.stderr or b"").decode(errors="backslashreplace"))
            raise ExportError(
                f"a step of the training failed: {self._text(words)}",
                "Nothing was evaluated; what was made before is kept in "
                f"{self.folder}, and the same command goes on from there",
                "See the message above",
            )

    def _text(self, words: Sequence[object]) -> str:
        """The command as one would type it."""
        return shlex.join(["vsearch", *map(str, words)])
