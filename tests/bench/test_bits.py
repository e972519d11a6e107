"""The benchmark of codes that have structure: as an index has them, beside the scan."""

from __future__ import annotations

import json

import numpy as np
from click.testing import CliRunner
from contract_data import cut_as

from vsearch_fast.bench import session
from vsearch_fast.bench.__main__ import command
from vsearch_fast.bench.roofs import Roofs
from vsearch_fast.search.tiling import Tiling

ROOFS = Roofs(2, 50e9, 45e9, 55e9, 700e9, 900e9, 1000e9, 140e9, 270e9)


def test_codes_of_features_are_searched_by_their_sums(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "measure_roofs", lambda *_, **__: ROOFS)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((50, 6)) @ rng.standard_normal((6, 512))
    np.save(tmp_path / "features.npy", features.astype(np.float32))
    arguments = [
        "--metric", "hamming", "--features", tmp_path / "features.npy", "--data", "features",
        "--rows", 900, "--queries", 3, "--pairs", 1, "--peers", "none",
        "--json", tmp_path / "out.json",
    ]  # fmt: skip
    with cut_as(Tiling(reduce_rows=1, reduced_worth=np.inf, summed_least=0, summed_left=2.0)):
        done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    ours, scanned = json.loads((tmp_path / "out.json").read_text())["results"]
    assert ours["ours"] and ours["exact"] and ours["proof"]["strategy"] == "sums"
    assert ours["bytes"] == ours["proof"]["bytes_read"]
    assert (scanned["contender"], scanned["wrong"]) == ("vsearch_fast, scanned", 0)
    assert "2,700 bounded by sums of bits, which left" in done.output
    assert "its sums were made in" in done.output
