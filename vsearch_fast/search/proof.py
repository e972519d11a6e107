"""How a search was proved: what was compared, and how closely."""

from __future__ import annotations

from dataclasses import dataclass

from .. import notebook
from ..words import plural


@dataclass(frozen=True, slots=True)
class Proof:
    """What a search did to know its answer; `topk` and `Index.search` return it on ``explain``.

    Every pair of a query and a live row was either computed from stored values (`scanned`),
    bounded by its sketch (`sketched`) or by its reduction (`reduced`): these add up to
    ``queries * rows``. Of the reduced pairs coarse numbers left `after_coarse`, and fine ones
    `after_fine`, which were bounded by sketches. What no bound excluded are `candidates`,
    which were computed in float32 with a rounding bound; that excluded all but `undecided`,
    which were computed in float64 by the definition. Where most candidates are among the k nearest
    (large k), float64 comes at once and the two are the same; so it does on CUDA devices, which
    have no tier between and bound `scanned` pairs of L1 and L2 by a float32 sum first.
    Of codes sums of groups of bits are what is reduced: they left `after_coarse`, and the first
    halves of these rows `after_fine`, which were counted whole.

    Attributes:
        metric: of the search.
        strategy: ``scan``, ``sketch``, or ``sketch and scan`` where some rows had no sketch, or
            bounds excluded too little; of codes with sums ``sums``, likewise.
        simd: level of vector instructions (`kernels.level`), or ``cuda`` and the architecture.
        queries, rows: how many; rows are the live ones. Of items of two views, and queries of
            several, each view counts.
        scanned, sketched, candidates, undecided: pairs; so are reduced, after_coarse, after_fine.
        repeated: queries that were searched again, because fewer than k rows lay within a limit
            that was guessed (large k); candidates and undecided count both searches.
        bytes_read: stored bytes that were read, once a batch of queries for rows and sketches,
            once a pair for candidates.
    """

    metric: str
    strategy: str
    simd: str
    queries: int
    rows: int
    scanned: int
    sketched: int
    candidates: int
    undecided: int
    repeated: int
    bytes_read: int
    reduced: int = 0
    after_coarse: int = 0
    after_fine: int = 0

    def __str__(self) -> str:
        pairs = max(1, self.queries * self.rows)
        parts = [f"{self.metric} by {self.strategy} ({self.simd}), {self.rows:,} rows"]
        if self.queries != 1:
            parts[0] += f" x {self.queries:,} queries"
        left = f"{self.candidates:,} left for float32, {self.undecided:,} for float64"
        if self.simd.startswith("cuda"):
            left = f"{self.undecided:,} left for float64"
        if self.reduced and self.metric == "hamming":
            parts.append(
                f"{self.reduced / pairs:.0%} of pairs bounded by sums of bits, which left"
                f" {self.after_coarse / self.reduced:.2%}, and the first halves of these"
                f" {self.after_fine / self.reduced:.2%}"
            )
        elif self.reduced:
            parts.append(
                f"{self.reduced / pairs:.0%} of pairs bounded by reduced rows, of which coarse ones"
                f" left {self.after_coarse / self.reduced:.2%}, fine ones"
                f" {self.after_fine / self.reduced:.2%} for sketches"
                + ("" if self.sketched else f", and these {left}")
            )
        if self.sketched:
            parts.append(f"{self.sketched / pairs:.0%} of pairs bounded by sketches, {left}")
        if self.repeated:
            parts.append(f"{self.repeated:,} queries searched again")
        if self.scanned:
            parts.append(f"{self.scanned / pairs:.0%} computed from stored values")
        parts.append(f"{self.bytes_read / 1e6:,.1f} MB read")
        return "; ".join(parts)

    def _repr_html_(self) -> str:
        """For notebooks: of all pairs how many each step met, and how many it left."""
        pairs = max(1, self.queries * self.rows)
        first, second = "coarse numbers", "fine numbers"
        if self.metric == "hamming":
            first, second = "sums of bits", "first halves"
        steps = [
            ("bounded by reduced rows", self.reduced),
            (f"left by {first}", self.after_coarse if self.reduced else 0),
            (f"left by {second}", self.after_fine if self.reduced else 0),
            ("bounded by sketches", self.sketched),
            ("computed from stored values", self.scanned),
            ("left for float32", 0 if self.simd.startswith("cuda") else self.candidates),
            ("left for float64", self.undecided),
        ]
        lines = [("pairs of a query and a row", f"{self.queries * self.rows:,}", "")]
        # What no step met, and nothing was left of, is not told.
        lines += [(name, f"{count:,}", f"{count / pairs:.3%}") for name, count in steps if count]
        if self.repeated:
            lines.append(("queries searched again", f"{self.repeated:,}", ""))
        lines.append(("read", f"{self.bytes_read / 1e6:,.1f} MB", ""))
        asked = plural(self.queries, "query", "queries")
        told = f"{self.metric} by {self.strategy} ({self.simd}), {asked}"
        table = notebook.table(lines, ("step", "count", "of all pairs"))
        parts = [notebook.heading("Proof", f"{told} in {plural(self.rows, 'row')}"), table]
        return notebook.whole(parts, "Proof")


@dataclass
class Work:
    """What a search did, counted: see `proof.Proof`."""

    sketched: int = 0
    scanned: int = 0
    candidates: int = 0
    undecided: int = 0
    repeated: int = 0
    bytes_read: int = 0
    reduced: int = 0
    after_coarse: int = 0
    after_fine: int = 0

    def add(self, other: Work) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
