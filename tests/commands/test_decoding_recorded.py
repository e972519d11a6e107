"""What becomes of pictures before the network is recorded by an index, and kept by its queries."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from icc_profiles import profile
from PIL import Image

from vsearch_fast.embedder import Embedder
from vsearch_fast.index import Index

SRGB = "libjpeg-turbo+srgb"


@pytest.fixture
def wide(tmp_path):
    """Pictures with a profile of wide colours."""
    rng = np.random.default_rng(6)
    folder = tmp_path / "wide"
    folder.mkdir()
    for i in range(4):
        small = Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8))
        large = small.resize((120, 150), Image.Resampling.BICUBIC)
        large.save(folder / f"{i}.jpg", quality=92, icc_profile=profile())
    return folder


def test_an_index_and_its_queries(vsearch, model, wide, tmp_path):
    line = ["index", wide, "-o", tmp_path / "i", "--quiet"]
    assert vsearch(*line, "--model", model, "--decoder", SRGB)[0] == 0
    with Index.open(tmp_path / "i") as index:
        assert index.decoder == SRGB and "LittleCMS" in index.model["decoder_version"]
        stored = index.features(["0.jpg"])
    turned, plain = Embedder(model, decoder=SRGB), Embedder(model)
    np.testing.assert_array_equal(turned.embed(wide / "0.jpg"), stored)
    assert not np.array_equal(plain.embed(wide / "0.jpg"), stored)
    assert pickle.loads(pickle.dumps(turned)).decoder == SRGB
    code, out, err = vsearch("search", tmp_path / "i", wide / "2.jpg", "--metric", "l2", "--csv")
    assert code == 0 and ",0.0" in out.splitlines()[1], out + err
    assert "up to date" in vsearch(*line)[2]
    code, _, err = vsearch(*line, "--decoder", "libjpeg-turbo")
    assert code == 1 and f"were decoded by {SRGB}, not by libjpeg-turbo" in err
    _, _, err = vsearch("search", tmp_path / "i", wide / "2.jpg", "--decoder", "libjpeg-turbo")
    assert "some bits of a query may differ" in err


def test_reduced_is_recorded(vsearch, model, wide, tmp_path):
    both = "libjpeg-turbo+srgb+reduced"
    made = vsearch(
        "index", wide, "-o", tmp_path / "i", "--quiet", "--model", model, "--decoder", both
    )
    assert made[0] == 0
    with Index.open(tmp_path / "i") as index:
        assert index.decoder == both
        found = Embedder(model, decoder="auto+reduced+srgb")
        assert found.decoder == both
        np.testing.assert_array_equal(found.embed(wide / "1.jpg"), index.features(["1.jpg"]))
