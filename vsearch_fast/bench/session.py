"""One run of the command: roofs, then the parts asked for, shown and recorded as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..machine import available_threads
from . import levels, shapes, tables
from .cases import Case, small_table, table_of
from .contenders import OURS, SCAN, Contender
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
    only_k: bool = False  # k was given, and replaces those of the shapes
    levels: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """What a command is told to measure the same cases; neither peers nor files."""
        given: list[tuple[str, Any]] = [
            ("--rows", self.rows), ("--queries", self.queries), ("--dim", self.dim),
            ("--k", self.k if self.only_k else None), ("--pairs", self.pairs),
            ("--budget", self.budget), ("--features", self.features), ("--model", self.model),
            ("--pictures", self.pictures), ("--threads", self.threads),
            *(("--only", part) for part in self.parts if part in levels.PARTS),
            *(("--metric", metric) for metric in self.metrics),
            *(("--data", kind) for kind in self.kinds),
        ]  # fmt: skip
        words = [word for name, value in given if value is not None for word in (name, str(value))]
        return words + ["--quick"] * self.quick


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
            if tabled := [part for part in levels.PARTS if part in options.parts]:
                for line in warnings(machine) if self.peers else ():
                    self.show(line)
                self._measure_roofs()
                for part in tabled:
                    if part == "shapes":
                        self._shapes(data)
                    else:
                        self._table(part, data, dim, bits)
                if options.levels:
                    data.clear()
                    found = levels.measure_levels(options.levels, options.arguments(), self.say)
                    self.record["levels"] = found
                    self.show()
                    for line in levels.levels_table(found):
                        self.show(line)
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
            scanned = (SCAN,) if case.metric == "hamming" and case.data == "features" else ()
            found, _ = self._case(case, data, (*scanned, *self.peers))
            results += found
            for line in tables.rows_of(found):
                self.show(line)
        self.show()
        for r in results:
            if r["ours"] and r["proof"]:
                self.show(f"- {tables.proof_line(r)}")
        for line in tables.absent(results):
            self.show(f"- {line}")

    def _case(
        self, case: Case, data: Data, peers: Sequence[Contender], call: bool = False
    ) -> tuple[list[dict[str, Any]], float]:
        """The records of one case, ours first, and the cost of a call where it is asked for."""
        options = self.options
        assert self._roofs is not None
        self.say(f"{case.metric}, {case.rows:,} rows: data")
        queries, database = data.load(case)
        measured = measure(
            case, queries, database, peers, pairs=options.pairs, threads=self.threads,
            budget=options.budget, say=self.say, ours=self.ours,
        )  # fmt: skip
        seconds = shapes.cost_of_a_call(queries, database, case) if call else 0.0
        del database
        self.ok &= measured.ok
        return [tables.record(measured, t, self._roofs) for t in measured.timings], seconds

    def _shapes(self, data: Data) -> None:
        """All shapes, against those that are meant to be fast."""
        options = self.options
        results: list[dict[str, Any]] = []
        self.record["shapes"] = results
        for case in shapes.shapes_of(
            options.metrics, dim=options.dim, rows=options.rows, queries=options.queries,
            k=options.k if options.only_k else None, quick=options.quick,
        ):  # fmt: skip
            found, seconds = self._case(case, data, shapes.peers_of(self.peers), call=True)
            found[0]["call_seconds"] = seconds
            results += found
        self.show()
        for line in shapes.table_lines(results):
            self.show(line)
        self.show(f"\n{shapes.summary(results)}\n")
        for line in (*shapes.lost_lines(results), *tables.absent(results)):
            self.show(f"- {line}")
