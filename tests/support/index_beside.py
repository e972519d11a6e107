"""What happens to an index while it is changed: a step fails, or others read."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from contract_data import cut_as

from vsearch_fast.errors import StoreError
from vsearch_fast.index import Index
from vsearch_fast.search.tiling import Tiling

SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["vsearch_fast.index"])

#: Answers of an index that can be compared as text.
Ask = Callable[[Index], Any]


def at_each(steps: list[tuple[Any, str]]) -> Callable[[Any], Any]:
    """Have a test run with each step (`place` and `name`) failing, before it is done and after
    (`late`), by a full disk and by Ctrl-C (`error`)."""
    marks = (
        pytest.mark.parametrize(
            "error", [OSError(28, "No space left on device"), KeyboardInterrupt()]
        ),
        pytest.mark.parametrize("late", [False, True]),
        pytest.mark.parametrize(("place", "name"), steps),
    )

    def marked(test: Any) -> Any:
        for mark in marks:
            test = mark(test)
        return test

    return marked


@contextlib.contextmanager
def failing(place: Any, name: str, late: bool, error: BaseException) -> Iterator[None]:
    """While it is open, a step raises the error, before it is done or after, and what is done
    must raise, too."""
    real = getattr(place, name)

    def fails(*arguments: Any, **options: Any) -> Any:
        if late:
            real(*arguments, **options)
        raise error

    with (
        mock.patch.object(place, name, fails),
        pytest.raises((StoreError, OSError, KeyboardInterrupt)),
    ):
        yield


def _ask_on(folder: Path, ask: Ask, cut: Tiling, stop: Any, results: Any) -> None:
    seen, count = set(), 0
    with cut_as(cut), Index.open(folder) as reader:
        while not stop.is_set() or count < 3:
            seen.add(str(ask(reader)))
            count += 1
    results.put((seen, count))


def same_answers_beside(
    index: Index, ask: Ask, change: Callable[[], None], cut: Tiling | None = None
) -> None:
    """Change an index; meanwhile two threads, one by the object that is changed, and a process ask
    on and on, and get the answer of before.

    Args:
        ask: of a module, so that the process finds it.
        cut: how the process works.
    """
    results, stop, thread_stop = SPAWN.Queue(), SPAWN.Event(), threading.Event()
    right = str(ask(index))
    seen: set[str] = set()
    errors: list[BaseException] = []
    process = SPAWN.Process(target=_ask_on, args=(index.path, ask, cut or Tiling(), stop, results))
    process.start()

    def ask_on(reader: Index) -> None:
        try:
            while not thread_stop.is_set():
                seen.add(str(ask(reader)))
        except BaseException as error:
            errors.append(error)

    with Index.open(index.path) as reader:
        threads = [threading.Thread(target=ask_on, args=(of,)) for of in (index, reader)]
        for thread in threads:
            thread.start()
        change()
        thread_stop.set()
        stop.set()
        for thread in threads:
            thread.join()
    in_process, count = results.get(timeout=120)
    process.join()
    assert not errors
    assert seen == in_process == {right}
    assert count >= 3
