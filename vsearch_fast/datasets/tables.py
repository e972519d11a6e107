"""CSV and TSV files as people and their programs write them: a header, and a line a picture.

Comma, semicolon, tab or `|` between cells, whichever gives the header the columns that are
looked for; Excel's ``sep=;`` before it; UTF-8 with or without a byte order mark, and UTF-16, as
Excel's "Unicode text" is. A line that is wrong costs that line: the reader goes on at the next.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..errors import DatasetError
from ..words import plural

CONSEQUENCE = "The data set was not read"
_DELIMITERS = ",;\t|"

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ \t]*\r?\n?', re.IGNORECASE)

# The longer ones first: UTF-32's mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

#: Wrong lines that an error names; it counts the rest.
NAMED = 10

_LOOKED_AT = 20


@dataclass(frozen=True)
class Fault:
    """A line that cannot be taken: what is wrong, and what to do about it."""

    line: int
    problem: str
    cure: str


class BadLineError(Exception):
    """What is wrong with the line that is being read, and its cure."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem)
        self.problem, self.cure = problem, cure


class Table:
    """A file's header and lines, each with the number it begins at; `faults` are the wrong ones.

    ``wanted`` are the names of columns that the caller looks for. Raises DatasetError for what
    is wrong with the whole: no file, no header, two columns of one name.
    """

    def __init__(
        self,
        file: Path,
        wanted: Collection[str] = (),
        content: bytes | None = None,
        shown: str = "",
    ) -> None:
        """`content`, where given, is what the file holds, and `shown` its name in messages."""
        self.file, self.shown = file, shown or str(file)
        self.faults: list[Fault] = []
        text = self._decoded(content)
        self._first = 1
        self._physical = list(io.StringIO(text, newline=""))
        self.delimiter = ""
        if self._physical and (separator := _SEPARATOR_LINE.fullmatch(self._physical[0])):
            self.delimiter = separator[1]
            del self._physical[0]
            self._first = 2
        if not self.delimiter:
            self.delimiter = self._guessed(wanted)
        self._lines = self._records(self.delimiter, self.faults)
        begin, header = next(self._lines, (self._first, []))
        if self.faults:
            first = self.faults[0]
            self.wrong(first.line, first.problem, first.cure)
        self.header = [name.strip() for name in header]
        if not self.header:
            self.wrong(1, "the file is empty", "Give it a header and a line a picture")
        for number, name in enumerate(self.header):
            if not name.isascii() and not _is_text(name):
                self.wrong(begin, "the text is not UTF-8", "Save the file as UTF-8")
            if "\0" in name:
                self.wrong(begin, f"the column {name!r} has a NUL in its name", "Rename it")
            if name and name in self.header[:number]:
                self.wrong(begin, f"the column {name!r} is there twice", "Rename one of them")

    def wrong(self, line: int, problem: str, cure: str) -> NoReturn:
        raise DatasetError(f"{self.shown}:{line}: {problem}", CONSEQUENCE, cure)

    def refuse(self, faults: Sequence[Fault]) -> NoReturn:
        """One DatasetError for all wrong lines, the first of them by number."""
        refuse([(self.shown, fault) for fault in sorted(faults, key=lambda fault: fault.line)])

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Each further line's number and its cells by column, without surrounding blanks.

        Lines that are wrong are passed over, and are in `faults`.
        """
        for line, cells in self._lines:
            problem, cure = self._problem(cells)
            if problem:
                self.faults.append(Fault(line, problem, cure))
            else:
                row = zip(self.header, cells, strict=True)
                yield line, {name: cell.strip() for name, cell in row}

    def _problem(self, cells: Sequence[str]) -> tuple[str, str]:
        if len(cells) != len(self.header):
            return (
                f"{plural(len(cells), 'cell')} where the header has {len(self.header)}",
                f"Separate cells by {self.delimiter!r}, and quote those that hold it",
            )
        if not all(cell.isascii() or _is_text(cell) for cell in cells):
            return "the text is not UTF-8", "Save the file as UTF-8"
        if any("\0" in cell for cell in cells):
            return "a cell holds a NUL", "Remove it, or save the file as UTF-8"
        return "", ""

    def _decoded(self, content: bytes | None) -> str:
        try:
            content = self.file.read_bytes() if content is None else content
        except OSError as error:
            raise DatasetError(
                f"{self.shown} cannot be read ({error.strerror})", CONSEQUENCE, "Check the path"
            ) from error
        mark, encoding = next(
            ((mark, name) for mark, name in _MARKS if content.startswith(mark)),
            (b"", _unmarked(content[:1000])),
        )
        content = content[len(mark) :]
        if encoding != "utf-8":
            try:
                return content.decode(encoding)
            except UnicodeDecodeError:
                self.wrong(1, f"the text is no {encoding.upper()}", "Save the file as UTF-8")
        # Bytes that are none become half characters, and cost their line alone.
        return content.decode("utf-8", errors="surrogateescape")

    def _guessed(self, wanted: Collection[str]) -> str:
        """What separates cells: the delimiter by which the header has most wanted columns."""

        def merit(delimiter: str) -> tuple[int, bool, int, int]:
            records = self._records(delimiter, [])
            lines = [cells for _, (_, cells) in zip(range(_LOOKED_AT), records, strict=False)]
            header = [name.strip() for name in lines[0]] if lines else []
            alike = sum(len(cells) == len(header) for cells in lines[1:])
            is_tab = delimiter == "\t" and self.file.suffix.lower() == ".tsv"
            return (
                len(set(header) & set(wanted)),
                is_tab,
                alike if len(header) > 1 else 0,
                len(header),
            )

        return max(_DELIMITERS, key=merit)

    def _records(self, delimiter: str, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
        """Cells of each line that holds any, with the number of the line."""
        at, lines = 0, self._physical
        while at < len(lines):
            start = at
            reader = csv.reader(iter(lines[start:]), delimiter=delimiter, strict=True)
            while at < len(lines):
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    faults.append(Fault(at + self._first, *_unreadable(error)))
                    at += 1  # the next line may be whole: a quote that is open costs its own
                    break
                begin, at = at, start + reader.line_num
                if any(cell.strip() for cell in cells):
                    yield begin + self._first, cells


def refuse(faults: Sequence[tuple[Path | str, Fault]], *, skippable: bool = True) -> NoReturn:
    """One DatasetError for all wrong lines of some files, in this order.

    `skippable` says whether anything is left without them.
    """
    cures = list(dict.fromkeys(fault.cure for _, fault in faults[:NAMED]))
    cure = ". ".join(cures[:3])
    if skippable:
        cure += ". Or leave such lines out: --on-error skip"
    told = "; ".join(f"{file}:{fault.line}: {fault.problem}" for file, fault in faults[:NAMED])
    rest = len(faults) - NAMED
    if rest > 0:
        told += f"; and {plural(rest, 'more line')}"
    if len(faults) > 1:
        told = f"{len(faults):,} lines are wrong: {told}"
    raise DatasetError(told, CONSEQUENCE, cure)


def _unreadable(error: csv.Error) -> tuple[str, str]:
    if "field limit" in str(error):
        return (
            f"a cell has more than {csv.field_size_limit():,} characters",
            "Shorten it, or close its quote",
        )
    return f"no CSV can be read here ({error})", "Check the quotes"


def _is_text(cell: str) -> bool:
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unmarked(beginning: bytes) -> str:
    """UTF-16 has a zero beside each common character; else UTF-8."""
    half = len(beginning) // 2
    if half and beginning[1::2].count(0) > 0.6 * half and beginning[::2].count(0) < 0.1 * half:
        return "utf-16-le"
    if half and beginning[::2].count(0) > 0.6 * half and beginning[1::2].count(0) < 0.1 * half:
        return "utf-16-be"
    return "utf-8"
