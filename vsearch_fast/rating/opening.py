"""The study of a ratings file: the one that is there, or a new one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArgumentError

if TYPE_CHECKING:
    from ..words import Metric
    from .ratings import Ratings
    from .study import Settings, Study


def opened(
    file: Path,
    paths: Sequence[Path],
    metrics: Sequence[Metric],
    settings: Settings,
    backend: str,
    threads: int | None,
    said: Collection[str] = (),
    *,
    say: Callable[[str], None],
) -> Ratings:
    """The study of this file, made where there is none.

    `said` names the settings (and "metrics") that a study which is there must have; `say` is
    called with a line for each step of making one.

    Raises:
        ArgumentError: the file's study is another one; no study and no index.
    """
    from .ratings import Ratings
    from .study import make

    if file.is_dir() or not file.absolute().parent.is_dir():
        problem = "is a folder" if file.is_dir() else "lies in a folder that does not exist"
        raise ArgumentError(
            f"The ratings file {file} {problem}",
            "Nothing was searched or served",
            "Name a file in a folder that is there with -o",
        )
    if file.exists() and file.stat().st_size:
        ratings = Ratings.open(file)
        if paths:
            try:
                _check_same(file, ratings.study, paths, metrics, settings, said)
            except BaseException:
                ratings.close()
                raise
        return ratings
    if not paths:
        raise ArgumentError(
            f"There is no study at {file}, and no INDEX to make one of",
            "Nothing is served",
            "Name indexes, or the file of a study",
        )
    made = make(paths, metrics, settings, threads=threads, backend=backend, say=say)
    return Ratings.create(file, made)


def _check_same(
    file: Path,
    study: Study,
    paths: Sequence[Path],
    metrics: Sequence[Metric],
    settings: Settings,
    said: Collection[str],
) -> None:
    """ArgumentError unless the study is what these indexes and settings would be."""
    from .study import systems

    differences = [
        f"{name} is {getattr(study.settings, name)!r}, not {getattr(settings, name)!r}"
        for name in type(settings).__slots__
        if name in said and getattr(study.settings, name) != getattr(settings, name)
    ]
    # An index may have been moved, and is the same by its name and model.
    if "metrics" not in said:
        metrics = list(dict.fromkeys(system.metric for system in study.systems))
    here = [(s.name, s.model_id) for s in systems(paths, metrics)]
    there = [(s.name, s.model_id) for s in study.systems]
    if here != there:
        differences.append(
            f"its systems are {', '.join(name for name, _ in there)}"
            + (", of other models" if [n for n, _ in here] == [n for n, _ in there] else "")
            + f", not {', '.join(name for name, _ in here)}"
        )
    if differences:
        raise ArgumentError(
            f"{file} holds another study: {'; '.join(differences)}",
            "Nothing is served, so that two studies do not mix",
            "Name another file with -o, or go on with this one: vsearch rate -o " + str(file),
        )
