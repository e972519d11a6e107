"""Rows of DeepFashion's files, and what is done about those that are wrong.

A wrong row costs its picture, in all files: a picture without the box or the side that the set
gives it would be another one than it says. All wrong rows are gathered, so that an error names
them at once, or a list tells what was left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn

from ..errors import ArgumentError, DatasetError
from ..words import plural
from .notes import Notes
from .tables import CONSEQUENCE, BadLineError, Fault, refuse

_CURE = "Get the file again"

OnError = Literal["raise", "skip"]


def wrong(problem: str) -> NoReturn:
    """The row that is being read is wrong."""
    raise BadLineError(problem, _CURE)


@dataclass
class Rows:
    """Reads files row by row.

    Attributes:
        on_error: whether `finish` raises for wrong rows, or notes them.
        lost: pictures that a wrong row was about.
    """

    on_error: OnError = "raise"
    lost: set[str] = field(default_factory=set)
    _faults: list[tuple[Path, Fault]] = field(default_factory=list)
    # What is wrong only because another row is, such as a picture that has lost its row.
    _following: list[tuple[Path, Fault]] = field(default_factory=list)
    _at: tuple[Path, int, bytes] = (Path(), 0, b"")

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ArgumentError(
                f"on_error is {self.on_error!r}", CONSEQUENCE, "Pass 'raise' or 'skip'"
            )

    def of(self, file: Path) -> Iterator[tuple[int, bytes]]:
        """Each row after the two header lines, with its line number.

        Raises DatasetError where the first line is no number, or not that of the rows: then it is
        not known what is missing.
        """
        with file.open("rb") as lines:
            first = lines.readline()
            try:
                count = int(first)
            except ValueError:
                self.refuse(file, 1, f"the number of rows should stand here, not {first[:40]!r}")
            lines.readline()
            found = 0
            number = 2
            for number, line in enumerate(lines, 3):
                if line.strip():
                    found += 1
                    yield number, line
        if found != count:
            self.refuse(file, number, f"the file ends after {found} rows, and line 1 says {count}")

    def at(self, file: Path, line: int, content: bytes) -> Rows:
        """A context that notes BadLineError, as of this row, and goes on behind it."""
        self._at = file, line, content
        return self

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, BadLineError):
            return False
        file, line, content = self._at
        self.note(file, line, error.problem, error.cure)
        self.lost.add(content.split(None, 1)[0].decode(errors="replace"))
        return True

    def note(
        self, file: Path, line: int, problem: str, cure: str = _CURE, *, follows: bool = False
    ) -> None:
        """Remember a wrong row; `follows` where it may be wrong because of another."""
        faults = self._following if follows and self._faults else self._faults
        faults.append((file, Fault(line, problem, cure)))

    def refuse(self, file: Path, line: int, problem: str) -> NoReturn:
        """DatasetError for a file that is wrong as a whole, and for the rows noted so far."""
        if not self._faults:
            raise DatasetError(f"{file}:{line}: {problem}", CONSEQUENCE, _CURE)
        refuse([*self._faults, (file, Fault(line, problem, _CURE))], skippable=False)

    def finish(self, notes: Notes | None, left: int) -> None:
        """Raise DatasetError for what was wrong, or note it; `left` pictures are whole."""
        if not self._faults:
            return
        if self.on_error == "raise" or not left:
            refuse(self._faults, skippable=left > 0)
        if notes is not None:
            for file, fault in [*self._faults, *self._following]:
                notes.lines.append((f"{file}:{fault.line}", f"{fault.problem}. {fault.cure}."))


class Pictures:
    """Checks that a file names every picture of the list once."""

    def __init__(self, file: Path, rows: Rows, numbers: Mapping[str, int]) -> None:
        self.file = file
        self._rows, self._numbers = rows, numbers
        self._seen = bytearray(len(numbers))

    def row(self, line: int, name: str) -> int | None:
        """The picture's row in `list_category_img.txt`; None where there is nothing to take."""
        row = self._numbers.get(name)
        if row is None:
            if name not in self._rows.lost:
                self._rows.note(
                    self.file,
                    line,
                    f"the picture {name!r} is not in list_category_img.txt",
                    follows=True,
                )
            return None
        if self._seen[row]:
            self._rows.note(self.file, line, f"{name!r} is there twice")
            return None
        self._seen[row] = 1
        return row

    def check_complete(self) -> None:
        """Lose, and note, the pictures that no row names."""
        if all(self._seen):
            return
        for name, row in self._numbers.items():
            if not self._seen[row] and name not in self._rows.lost:
                self._rows.note(self.file, 1, f"no row names the picture {name!r}", follows=True)
                self._rows.lost.add(name)


def text(content: bytes) -> str:
    """A row in letters."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        wrong("the text is not UTF-8")


def words_of(content: bytes, count: int, what: str) -> list[str]:
    """The words of a row, which are so many: `what` they are, for who is told of another number."""
    words = text(content).split()
    if len(words) != count:
        wrong(f"{plural(len(words), 'word')} where {what} should stand")
    return words
