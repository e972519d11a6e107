"""The ratings file: a study, its raters and their judgements in one SQLite database.

A judgement is on disk before it is acknowledged: one transaction each, flushed
(`disk.sqlite.connect`: synchronous EXTRA). A process that is killed loses at most what was not
acknowledged, and a page that was not answered sends it again: the same judgement of the same task
is stored once.

Nothing is ever deleted: an undone judgement keeps its line and gets the time of its undoing.

``meta`` the format and the study's settings; ``systems``, ``pictures``, ``queries``, ``results``
the study, written once in one transaction; ``raters``; ``judgements``. Times are UTC, ISO 8601.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ..disk.forking import inside
from ..disk.sqlite import connect, sql_error
from ..errors import ArgumentError, StoreError, UnknownIdError
from ..version import __version__
from .schedule import Task
from .study import Picture, Settings, Study, System

FORMAT = 1
#: PRAGMA application_id of a ratings file: "vsrt".
APPLICATION = 0x76737274

ANSWERS = {
    "match": ("same", "similar", "different", "unsure"),
    "better": ("left", "right", "equal", "unsure"),
}

LONGEST_NICKNAME = 40

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE systems (
    system INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL,
    model_id TEXT NOT NULL, metric TEXT NOT NULL
);
CREATE TABLE pictures (
    picture INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, path TEXT NOT NULL, category TEXT,
    region TEXT
);
CREATE TABLE queries (
    query INTEGER PRIMARY KEY, picture INTEGER NOT NULL REFERENCES pictures
);
CREATE TABLE results (
    query INTEGER NOT NULL REFERENCES queries, system INTEGER NOT NULL REFERENCES systems,
    rank INTEGER NOT NULL, picture INTEGER NOT NULL REFERENCES pictures, distance NUMERIC NOT NULL,
    PRIMARY KEY (query, system, rank)
) WITHOUT ROWID;
CREATE TABLE raters (
    rater INTEGER PRIMARY KEY, nickname TEXT NOT NULL UNIQUE, since TEXT NOT NULL
);
CREATE TABLE judgements (
    judgement INTEGER PRIMARY KEY AUTOINCREMENT, rater INTEGER NOT NULL REFERENCES raters,
    number INTEGER NOT NULL, task TEXT NOT NULL, answer TEXT NOT NULL,
    left_system INTEGER REFERENCES systems, right_system INTEGER REFERENCES systems,
    given TEXT NOT NULL, undone TEXT
);
CREATE UNIQUE INDEX judged_once ON judgements (rater, task) WHERE undone IS NULL;
"""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rater said, as it stands.

    Attributes:
        nickname: the rater's.
        number: of the task in the rater's schedule.
        task: `Task.key`.
        answer: one of `ANSWERS`.
        sides: the systems at the left and right, or None.
        given: when, UTC.
    """

    nickname: str
    number: int
    task: str
    answer: str
    sides: tuple[int, int] | None
    given: str


class Ratings:
    """An opened ratings file; safe to use from several threads and processes.

    Attributes:
        file: the database.
        study: what is rated.
    """

    def __init__(self, file: Path, sql: sqlite3.Connection, study: Study) -> None:
        self.file = file
        self.study = study
        self._sql = sql
        self._lock = threading.Lock()
        self._identity = _identity(file)

    @classmethod
    def create(cls, file: str | os.PathLike[str], study: Study) -> Self:
        """Write a study into a new file.

        Raises:
            ArgumentError: there is a study already.
            StoreError: another kind of file, or one that cannot be written.
        """
        path = Path(file)
        with _told(path, "No study was stored"):
            sql = connect(path, writable=True, create=True)
            try:
                with _transaction(sql):
                    if _holds_study(sql, path, "No study was stored"):
                        raise ArgumentError(
                            f"{path} holds a study already",
                            "No study was stored",
                            "Name another file for the ratings",
                        )
                    _write(sql, study)
            except BaseException:
                sql.close()
                raise
        return cls(path, sql, study)

    @classmethod
    def open(cls, file: str | os.PathLike[str]) -> Self:
        """Open a file with a study.

        Raises:
            StoreError: no such file, another kind of file, one of another format.
        """
        path = Path(file)
        consequence = "No ratings were read"
        if not path.is_file():
            raise StoreError(
                f"There are no ratings at {path}",
                consequence,
                f"Make a study with vsearch rate INDEX... -o {path}, or name its file",
            )
        with _told(path, consequence):
            sql = connect(path, writable=True)
            try:
                if not _holds_study(sql, path, consequence):
                    raise StoreError(
                        f"{path} is an empty file",
                        consequence,
                        f"Make a study with vsearch rate INDEX... -o {path}",
                    )
                with _transaction(sql):
                    study = _read(sql, path)
            except BaseException:
                sql.close()
                raise
        return cls(path, sql, study)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._sql.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Raters

    def join(self, nickname: str) -> str:
        """Make a rater, or find the one of this nickname; returns it as it is kept.

        Raises:
            ArgumentError: not 1 to 40 printable characters.
        """
        name = checked_nickname(nickname)
        with self._writing("The rater was not added") as sql:
            sql.execute(
                "INSERT INTO raters (nickname, since) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (name, _now()),
            )
        return name

    def done(self, nickname: str) -> set[str]:
        """Keys of the tasks that the rater has judged.

        Raises:
            UnknownIdError: no such rater.
        """
        with self._reading() as sql:
            rater = _rater(sql, nickname, "Nothing was read")
            return {
                key
                for (key,) in sql.execute(
                    "SELECT task FROM judgements WHERE rater = ? AND undone IS NULL", (rater,)
                )
            }

    # Judgements

    def judge(self, nickname: str, task: Task, answer: str) -> bool:
        """Store an answer; False when it was stored before. It is on disk when this returns.

        Raises:
            UnknownIdError: no such rater.
            ArgumentError: no answer to this kind of task, or another one was given before.
            StoreError: it could not be written.
        """
        consequence = "The judgement was not stored"
        if answer not in ANSWERS[task.mode]:
            raise ArgumentError(
                f"{answer!r} is no answer to task {task.number}",
                consequence,
                f"Answer {', '.join(ANSWERS[task.mode])}",
            )
        left, right = task.sides or (None, None)
        with self._writing(consequence) as sql:
            rater = _rater(sql, nickname, consequence)
            before = sql.execute(
                "SELECT answer FROM judgements WHERE rater = ? AND task = ? AND undone IS NULL",
                (rater, task.key),
            ).fetchone()
            if before is None:
                sql.execute(
                    "INSERT INTO judgements"
                    " (rater, number, task, answer, left_system, right_system, given)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (rater, task.number, task.key, answer, left, right, _now()),
                )
                return True
        if before[0] != answer:
            raise ArgumentError(
                f"Task {task.number} was answered {before[0]!r} before, perhaps in another window",
                f"The answer {answer!r} was not stored",
                "Undo the one before to change it",
            )
        return False

    def undo(self, nickname: str, number: int | None = None) -> int | None:
        """Take the rater's last judgement back; returns the number of its task, or None when
        there was none. With `number`, only when that is the last one's: so it may be asked twice.

        Raises:
            UnknownIdError: no such rater.
        """
        consequence = "Nothing was undone"
        with self._writing(consequence) as sql:
            rater = _rater(sql, nickname, consequence)
            last = sql.execute(
                "SELECT judgement, number FROM judgements WHERE rater = ? AND undone IS NULL"
                " ORDER BY judgement DESC LIMIT 1",
                (rater,),
            ).fetchone()
            if last is None or number not in (None, last[1]):
                return None
            sql.execute("UPDATE judgements SET undone = ? WHERE judgement = ?", (_now(), last[0]))
            return int(last[1])

    def judgements(self) -> list[Judgement]:
        """All that stand, in the order in which they were given."""
        with self._reading() as sql:
            return [
                Judgement(
                    nickname, number, task, answer, None if left is None else (left, right), given
                )
                for nickname, number, task, answer, left, right, given in sql.execute(
                    "SELECT nickname, number, task, answer, left_system, right_system, given"
                    " FROM judgements JOIN raters USING (rater) WHERE undone IS NULL"
                    " ORDER BY judgement"
                )
            ]

    def check_still_there(self, consequence: str = "Nothing was stored") -> None:
        """StoreError where the file was removed or replaced since it was opened: what is stored
        would be in a file that nobody finds again."""
        if _identity(self.file) != self._identity:
            raise StoreError(
                f"{self.file} was removed or replaced while it was used",
                consequence,
                "Put it back, or start again: what was stored before is in the file that was there",
            )

    @contextmanager
    def _writing(self, consequence: str) -> Iterator[sqlite3.Connection]:
        with _told(self.file, consequence), self._lock:
            self.check_still_there(consequence)
            with _transaction(self._sql):
                yield self._sql

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with _told(self.file, "Nothing was read"), self._lock:
            yield self._sql


def checked_nickname(nickname: str) -> str:
    """The nickname without space around it.

    Raises:
        ArgumentError: not 1 to 40 printable characters.
    """
    name = nickname.strip()
    if not (0 < len(name) <= LONGEST_NICKNAME and name.isprintable()):
        raise ArgumentError(
            f"A nickname of {len(name)} characters" if name.isprintable() else
            "A nickname with characters that cannot be printed",
            "Nothing was stored",
            f"Choose 1 to {LONGEST_NICKNAME} letters, digits or other printable characters",
        )  # fmt: skip
    return name


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _rater(sql: sqlite3.Connection, nickname: str, consequence: str) -> int:
    # Half a character (a lone surrogate) is in no file and breaks SQLite's encoding.
    name = nickname.encode("utf-8", "replace").decode().strip()
    line = sql.execute("SELECT rater FROM raters WHERE nickname = ?", (name,)).fetchone()
    if line is None:
        raise UnknownIdError(
            f"There is no rater {name[:LONGEST_NICKNAME]!r}", consequence, "Enter a nickname first"
        )
    return int(line[0])


@contextmanager
def _transaction(sql: sqlite3.Connection) -> Iterator[None]:
    sql.execute("BEGIN IMMEDIATE")
    try:
        yield
        sql.execute("COMMIT")
    except BaseException:
        if sql.in_transaction:
            sql.execute("ROLLBACK")
        raise


@contextmanager
def _told(file: Path, consequence: str) -> Iterator[None]:
    """Around all use of SQLite: its errors in plain words, and no fork meanwhile."""
    try:
        with inside():
            yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise StoreError(
                f"{file} is no SQLite file, or a damaged one ({error})",
                consequence,
                "Name a ratings file, or restore it from a copy",
            ) from error
        raise sql_error(file, error, consequence) from error


def _holds_study(sql: sqlite3.Connection, file: Path, consequence: str) -> bool:
    """Whether there is a study; False of a new or empty database."""
    (application,) = sql.execute("PRAGMA application_id").fetchone()
    (tables,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == APPLICATION:
        return bool(tables)
    if tables or application:
        raise StoreError(
            f"{file} is a database of another program", consequence, "Name another file"
        )
    return False


def _write(sql: sqlite3.Connection, study: Study) -> None:
    sql.execute(f"PRAGMA application_id = {APPLICATION}")
    for statement in filter(str.strip, _SCHEMA.split(";")):
        sql.execute(statement)
    facts = {
        "format": str(FORMAT),
        "name": study.name,
        "settings": json.dumps(asdict(study.settings)),
        "made": _now(),
        "version": __version__,
    }
    sql.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
    sql.executemany(
        "INSERT INTO systems VALUES (?, ?, ?, ?, ?)",
        [(i, s.name, s.index, s.model_id, s.metric) for i, s in enumerate(study.systems)],
    )
    sql.executemany(
        "INSERT INTO pictures VALUES (?, ?, ?, ?, ?)",
        [
            (i, p.id, p.path, p.category, None if p.region is None else json.dumps(p.region))
            for i, p in enumerate(study.pictures)
        ],
    )
    sql.executemany("INSERT INTO queries VALUES (?, ?)", enumerate(study.queries))
    sql.executemany(
        "INSERT INTO results VALUES (?, ?, ?, ?, ?)",
        [
            (query, system, rank, picture, study.distances[query][system][rank])
            for query, rows in enumerate(study.rows)
            for system, row in enumerate(rows)
            for rank, picture in enumerate(row)
        ],
    )


def _read(sql: sqlite3.Connection, file: Path) -> Study:
    meta = dict(sql.execute("SELECT key, value FROM meta"))
    if meta.get("format") != str(FORMAT):
        raise StoreError(
            f"{file} has format {meta.get('format')}, and this version reads {FORMAT}",
            "No ratings were read",
            "Use the version that made it",
        )
    systems = tuple(
        System(*line)
        for line in sql.execute("SELECT name, path, model_id, metric FROM systems ORDER BY system")
    )
    queries = [p for (p,) in sql.execute("SELECT picture FROM queries ORDER BY query")]
    rows: list[list[list[int]]] = [[[] for _ in systems] for _ in queries]
    distances: list[list[list[float]]] = [[[] for _ in systems] for _ in queries]
    for query, system, picture, distance in sql.execute(
        "SELECT query, system, picture, distance FROM results ORDER BY query, system, rank"
    ):
        rows[query][system].append(picture)
        distances[query][system].append(distance)
    return Study(
        meta["name"],
        Settings(**json.loads(meta["settings"])),
        systems,
        tuple(
            Picture(name, path, category, None if region is None else tuple(json.loads(region)))
            for name, path, category, region in sql.execute(
                "SELECT id, path, category, region FROM pictures ORDER BY picture"
            )
        ),
        tuple(queries),
        tuple(tuple(tuple(row) for row in of) for of in rows),
        tuple(tuple(tuple(row) for row in of) for of in distances),
    )
