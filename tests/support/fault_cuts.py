"""In actors: several operations on one index, and what a power cut among them may leave."""

from __future__ import annotations

import shutil
from pathlib import Path

import fault_disk
import fault_truth
from fault_disk import Image
from fault_operations import BY_NAME, done, judge, judge_states, perform
from fault_stage import say
from fault_truth import Content, WrongError

from vsearch_fast.errors import StoreError
from vsearch_fast.index import Index


def perform_all(names: list[str], folder: Path) -> None:
    """One operation, or several of an index that stays open."""
    if len(names) == 1:
        perform(names[0], folder)
        return
    with Index.open(folder, mode="rw") as index:
        for name in names:
            change = BY_NAME[name].change
            assert change is not None
            change(index)
            done()


def states_of(names: list[str]) -> list[Content]:
    """Before the first operation, after it, ..., after the last."""
    states = [fault_truth.base()]
    for name in names:
        after = BY_NAME[name].after
        assert after is not None
        states.append(after(states[-1]))
    return states


def judge_images(names: list[str], place: Path, images: list[tuple[str, int, Image]]) -> None:
    """Says of each image (its name, how many operations had returned, what is left) what it
    holds, or what is wrong. Every fourth is written to as well."""
    for number, (case, returned, image) in enumerate(images):
        fault_disk.write(place, image)
        try:
            if len(names) == 1:
                outcome = judge(names[0], place / "index", returned > 0, go_on=number % 4 == 0)
            else:
                states = states_of(names)[returned : returned + 2]
                outcome = judge_states(place / "index", states, go_on=number % 4 == 0)
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        say((case, outcome))
        shutil.rmtree(place)


def judge_copies(names: list[str], place: Path, images: list[tuple[str, Image]]) -> None:
    """Says of each copy of an index that was made among these operations: "right", "refused",
    "found by verify" (its database was read in the midst of a commit), or what is wrong."""
    for case, image in images:
        fault_disk.write(place, image)
        try:
            fault_truth.check(place / "index", states_of(names))
            outcome = "right"
        except StoreError as error:
            outcome = "refused" if error.cause and error.consequence and error.cure else repr(error)
        except WrongError as error:
            with Index.open(place / "index") as index:
                outcome = f"WrongError: {error}" if index.verify().sound else "found by verify"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        say((case, outcome))
        shutil.rmtree(place)
