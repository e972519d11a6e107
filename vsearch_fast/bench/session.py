"""One run of the command: roofs, then the parts asked for, shown and recorded as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..machine import available_threads
from . import tables
from .cases import small_table, table_of
from .contenders import OURS, Contender
from .data import Data, embed_features, read_features
from .filters import filters, filters_table
from .footprint import footprint, footprint_text
from .growth import growth, growth_table, large_k, large_k_table
from .machine import command_line, environment, warnings
from .measure import Say, measure
from .peers import choose, load
from .roofs import Roofs, measure_roofs

DIM = 4096


@dataclass(frozen=True)
class Options:
    """What the command was asked for; see its ``--help``."""

    parts: tuple[str, ...]
    peers: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: int | None
    queries: int | None
    dim: int | None
    k: int
    pairs: int
    budget: float
    kinds: tuple[str, ...]
    features: Path | None
    model: Path | None
    pictures: Path | None
    threads: int | None
    faiss_blas: str
    quick: bool


class Session:
    """Runs the parts.

    Attributes:
        record: everything, for JSON.
        ok: whether each of our answers was right.
    """

    def __init__(
        self,
        options: Options,
        *,
        say: Say = lambda _: None,
        show: Callable[[str], Any] = print,
        ours: Contender = OURS,
        peers: Sequence[Contender] | None = None,
    ) -> None:
        self.options = options
        self.say = say
        self.ours = ours
        self.peers = choose(options.peers) if peers is None else tuple(peers)
        self.threads = options.threads or available_threads()
        self.record: dict[str, Any] = {"command": command_line()}
        self.ok = True
        self._show = show
        self._roofs: Roofs | None = None

    def show(self, text: str = "") -> None:
        self.say("")
        self._show(text)

    def run(self) -> None:
        """All parts; what they show is Markdown."""
        options = self.options
        data, dim, bits = self._data()
        with load(self.peers, self.threads, options.faiss_blas):
            machine = environment(self.threads)
            self.record["machine"] = machine
            self.show(
                f"{machine['cpu']}, {self.threads} threads, {machine['instructions']}; "
                f"{dim} dimensions, k = {options.k}, {options.pairs} pairs"
            )
            if tabled := [part for part in ("bars", "small") if part in options.parts]:
                for line in warnings(machine) if self.peers else ():
                    self.show(line)
                self._measure_roofs()
                for part in tabled:
                    self._table(part, data, dim, bits)
                for library in machine["blas"]:
                    self.show(
                        f"- BLAS of {library['of']}: {library['library']}, kernels "
                        f"{library['kernels']}, {library['threads']} threads"
                    )
            common: dict[str, Any] = {
                "dim": dim, "bits": bits, "pairs": min(options.pairs, 7), "threads": self.threads,
                "quick": options.quick, "say": self.say,
            }  # fmt: skip
            for kind in options.kinds:
                if "growth" in options.parts:
                    self._part("growth", growth_table,
                               growth(data, self._metrics(kind), kind=kind, **common))  # fmt: skip
                if "large-k" in options.parts:
                    self._part("large_k", large_k_table,
                               large_k(data, self._metrics(kind), kind=kind, **common))  # fmt: skip
                if "filters" in options.parts:
                    peers = tuple(key for key in options.peers if key in ("numpy", "faiss"))
                    filtered = filters(data, self._metrics(kind), kind=kind, peers=peers, **common)
                    self.ok &= all(each["exact"] for each in filtered)
                    self._part("filters", filters_table, filtered)
        data.clear()
        if "footprint" in options.parts:
            found = footprint(options.metrics, dim=dim, quick=options.quick, say=self.say)
            self.record["footprint"] = found
            self.show(f"\n{footprint_text(found)}")

    def draw(self, file: Path) -> None:
        """The picture of the part bars, which must have run."""
        from .plots import plot

        assert self._roofs is not None
        machine = self.record["machine"]
        title = (
            f"{machine['cpu']}, {self.threads} threads, {machine['instructions']}; "
            f"{self.record['dim']} dimensions, k = {self.options.k}"
        )
        plot(self.record["results"], self._roofs, title, file)

    def _data(self) -> tuple[Data, int, int | None]:
        """The maker of data, the dimension (that of the features where there are some), and the
        bits of codes that a rule of the model makes."""
        options = self.options
        features, codes, bits = None, None, None
        if options.features is not None:
            features = read_features(options.features)
        elif options.model is not None:
            features, codes, bits = embed_features(options.model, options.pictures, self.say)
        dim = options.dim or (DIM if features is None else features.shape[1])
        if features is not None and features.shape[1] != dim:
            raise ArgumentError(
                f"the features have {features.shape[1]} columns and --dim is {dim}",
                "Nothing was timed",
                "Leave --dim out",
            )
        self.record["dim"] = dim
        if features is not None:
            self.record["features"] = {
                "pictures": len(features),
                "active": float((features > 0).mean()),
            }
        if codes is None:
            return Data(features), dim, None
        set_bits = np.unpackbits(codes, axis=1, count=bits)
        self.record["features"] |= {"bits": bits, "active": float(set_bits.mean())}
        return Data(features, codes), dim, bits

    def _metrics(self, kind: str) -> tuple[str, ...]:
        """Signs of Gaussian noise are those of its ReLU: no case of their own."""
        if kind == "gaussian" and "relu" in self.options.kinds:
            return tuple(metric for metric in self.options.metrics if metric != "hamming")
        return self.options.metrics

    def _part(
        self, name: str, text: Callable[[list[dict[str, Any]]], str], found: list[dict[str, Any]]
    ) -> None:
        self.record.setdefault(name, []).extend(found)
        if found:
            self.show(f"\n{text(found)}")

    def _measure_roofs(self) -> None:
        self._roofs = measure_roofs(self.threads, quick=self.options.quick, say=self.say)
        self.record["roofs"] = self._roofs.as_dict()
        self.show()
        for line in tables.roofs_lines(self._roofs):
            self.show(f"- {line}")

    def _table(self, part: str, data: Data, dim: int, bits: int | None) -> None:
        """All contenders on the cases of this part."""
        options = self.options
        assert self._roofs is not None
        self.show(f"\n{tables.HEAD}")
        if part == "small":
            cases = small_table(
                options.metrics, dim=dim, k=options.k, data=options.kinds, quick=options.quick
            )
        else:
            cases = table_of(
                options.metrics, rows=options.rows, queries=options.queries, dim=dim, k=options.k,
                data=options.kinds, bits=bits, quick=options.quick,
            )  # fmt: skip
        results: list[dict[str, Any]] = []
        self.record["results" if part == "bars" else part] = results
        for case in cases:
            self.say(f"{case.metric}, {case.rows:,} rows: data")
            queries, database = data.load(case)
            measured = measure(
                case, queries, database, self.peers, pairs=options.pairs, threads=self.threads,
                budget=options.budget, say=self.say, ours=self.ours,
            )  # fmt: skip
            del database
            self.ok &= measured.ok
            found = [tables.record(measured, t, self._roofs) for t in measured.timings]
            results += found
            for line in tables.rows_of(found):
                self.show(line)
        self.show()
        for r in results:
            if r["ours"] and r["proof"]:
                self.show(f"- {tables.proof_line(r)}")
        for line in tables.absent(results):
            self.show(f"- {line}")
