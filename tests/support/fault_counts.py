"""How many faults a suite has tried and what became of each."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Counts outcomes by name; those that must not be are kept, to be told in full.

    Args:
        what: the suite, as its line of figures begins.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []

    def add(self, outcome: str) -> None:
        self.counts[outcome] += 1

    def fail(self, case: object, why: object) -> None:
        self.counts["failed"] += 1
        self.failures.append(f"{case}: {why}")

    @property
    def line(self) -> str:
        parts = ", ".join(f"{count:,} {name}" for name, count in sorted(self.counts.items()))
        return f"{self.what}: {self.counts.total():,} tried: {parts or 'none'}"

    def settle(self, least: int = 1) -> None:
        """Print the figures; fail with the first cases that did not do as they must, or where
        fewer than `least` were tried."""
        print(f"\n{self.line}")
        assert not self.failures, "\n".join([self.line, *self.failures[:20]])
        assert self.counts.total() >= least, self.line
