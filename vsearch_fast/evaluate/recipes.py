"""The rows that are made for a table: a base network's last block, and heads trained on it.

The article behind this project re-trained a VGG-16 by one recipe: ImageNet's convolutions as they
are, a new dense layer of 4096, Adadelta. That is what `vsearch train` does where nothing else is
asked for. Beside it stands the best recipe on the same convolutions, and their output as it is.
Each step is a command of `vsearch` in a process of its own, printed before it runs, so that any of
them can be given by hand; what is there already is not made again.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import ArgumentError, ExportError
from ..models.shipped import SHIPPED
from .rows import AND, ModelRow

Say = Callable[[str], None]

#: What `vsearch train` is told beyond its defaults: of what cross-validation on the train side of
#: photos of clothing tried, the best. It learns from the same outputs of the convolutions.
BEST = (
    "--loss", "contrastive", "--optimizer", "adamw", "--schedule", "cosine", "--weight-decay",
    "0.05", "--label-smoothing", "0.1", "--batch-norm", "--balance", "draws", "--batch-size", "96",
    "--shares", "0.75,0,0.25",
)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How large the networks and their training are.

    `base` as for `vsearch train`; `network` and `size`, what it and `vsearch export` are told of
    it; epochs of the best recipe and, at most, of the article's; `top`, how many categories the
    heads for the most common ones learn.
    """

    base: str
    network: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    article: tuple[str, ...] = ()
    best: tuple[str, ...] = ()
    top: int = 8


SCALES = {
    "full": Scale("imagenet", best=("--epochs", "6")),
    "tiny": Scale(
        "random:0",
        network=("--width", "0.0625", "--input-size", "32", "--units", "64"),
        size=("--input-size", "32"),
        article=("--epochs", "1"),
        best=("--epochs", "1"),
        top=2,
    ),
}


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


def made_rows(
    folder: Path,
    data: Sequence[object],
    scale: Scale,
    say: Say,
    *,
    given: Collection[str] = (),
    quiet: bool = False,
) -> tuple[dict[str, Path], list[ModelRow]]:
    """Train and export what is missing in `folder`.

    `data` are the words that name the data set to `vsearch train`. Returns files for rows of
    `STANDARD` by their key, less those that are `given`, and further rows. Raises ExportError where
    a step fails; what the steps before it made is kept.
    """
    key = json.dumps([asdict(scale), BEST, *(str(word) for word in data)])
    # Of another scale or other data is another folder: its networks are others.
    folder = folder / hashlib.sha256(key.encode()).hexdigest()[:8]
    folder.mkdir(parents=True, exist_ok=True)
    steps = _Steps(folder, say, quiet)
    base = "ImageNet" if scale.base == "imagenet" else scale.base
    files: dict[str, Path] = {}
    rows: list[ModelRow] = []
    for name, more in (("", ()), (", unit length", ("--unit-length",))):
        file = folder / f"block5-pool{'-unit' if more else ''}.onnx"
        command = steps.make(
            file, "export", "--weights", scale.base, "--layer", "block5_pool", *scale.size, *more
        )
        rows.append(ModelRow(f"VGG-16 block5_pool, {base}{name}", file, command))
    if "untrained" not in given:
        files["untrained"] = folder / "untrained.onnx"
        steps.make(
            files["untrained"], "export", "--weights", "random:0", "--layer", "fc1", *scale.size
        )
    classes = {"all": "all categories", f"top:{scale.top}": f"{scale.top} most common"}
    for recipe, words in (("article", scale.article), ("best", (*BEST, *scale.best))):
        for choice, title in classes.items():
            key = f"retrained-{choice.partition(':')[0]}"
            if recipe == "article" and key in given:
                continue
            head = folder / f"{recipe}-{choice.replace(':', '')}.keras"
            train = steps.make(
                head, "train", *data, "--base", scale.base, *scale.network, "--classes", choice,
                *words, "--work", folder / "work",
            )  # fmt: skip
            file = head.with_suffix(".onnx")
            # The contrastive loss compares directions: so does L2 on unit length.
            length = ("--unit-length",) if recipe == "best" else ()
            export = steps.make(file, "export", "--weights", head, "--layer", "fc1", *length)
            if recipe == "article":
                files[key] = file
            else:
                name = f"VGG-16 re-trained by the best recipe, {title}"
                rows.append(ModelRow(name, file, f"{train}{AND}{export}"))
    return files, rows


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
