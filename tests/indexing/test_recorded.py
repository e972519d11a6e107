"""One decoder for an index and its queries, and what the commands say of what runs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_ort import CPU, CUDA, TENSORRT, FakeOrt
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder
from vsearch_fast.embedder import embedder as embedder_module
from vsearch_fast.errors import MissingDependencyError, ModelMismatchError
from vsearch_fast.images import jpeg
from vsearch_fast.images.jpeg import LIBJPEG_TURBO, NVIMGCODEC, Decoder
from vsearch_fast.index import Index
from vsearch_fast.indexing import sync


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.onnx")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        cells = rng.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(cells).resize((60, 48)).save(folder / f"{number}.jpg")
    return folder


@pytest.fixture
def nvimgcodec(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A decoder of that name whose pixels are Pillow's plus one; what was decoded by it."""
    used: list[str] = []
    real = jpeg.find_decoder

    def pixels(data: bytes) -> np.ndarray:
        used.append(NVIMGCODEC)
        found = real(LIBJPEG_TURBO).pixels
        assert found is not None
        decoded = found(data)
        assert decoded is not None
        return decoded ^ 1

    def find(name: str = "auto") -> Decoder:
        return Decoder(NVIMGCODEC, "0", pixels) if name == NVIMGCODEC else real(name)

    monkeypatch.setattr(embedder_module, "find_decoder", find)
    return used


def search(vsearch: Any, index: Path, photo: Path, *more: object) -> tuple[dict[str, Any], str]:
    code, out, err = vsearch("search", index, photo, "-k", 1, "--json", *more)
    assert code == 0, err
    return json.loads(out)[0]["hits"][0], err


def test_an_index_records_its_decoder(
    vsearch: Any, model: Path, pictures: Path, tmp_path: Path
) -> None:
    index = tmp_path / "i"
    code, _, err = vsearch("index", pictures, "-o", index, "--model", model, "--quiet")
    assert code == 0 and "Network on CPU (fp32), JPEG by libjpeg-turbo." in err
    with Index.open(index) as found:
        assert found.decoder == found.model["decoder"] == LIBJPEG_TURBO
        assert "Pillow" in found.model["decoder_version"]
    assert f"decoder {LIBJPEG_TURBO}" in vsearch("info", index)[1]


def test_queries_are_decoded_as_the_index_was(
    vsearch: Any, model: Path, pictures: Path, tmp_path: Path, nvimgcodec: list[str]
) -> None:
    index = tmp_path / "i"
    arguments = ["index", pictures, "-o", index, "--model", model, "--quiet"]
    assert vsearch(*arguments, "--decoder", NVIMGCODEC)[0] == 0
    assert len(nvimgcodec) == 5
    hit, err = search(vsearch, index, pictures / "3.jpg")
    assert (hit["id"], hit["distance"], len(nvimgcodec), err) == ("3.jpg", 0, 6, "")
    # By another decoder only where that is said, and told.
    hit, err = search(vsearch, index, pictures / "3.jpg", "--decoder", LIBJPEG_TURBO)
    assert hit["distance"] > 0 and len(nvimgcodec) == 6
    assert "were decoded by nvimgcodec: by libjpeg-turbo some bits" in err
    # The index goes on as it began.
    (pictures / "9.jpg").write_bytes((pictures / "3.jpg").read_bytes() + b"other bytes")
    assert vsearch(*arguments)[0] == 0 and len(nvimgcodec) == 7
    code, _, err = vsearch(*arguments, "--decoder", LIBJPEG_TURBO)
    assert code == 1 and "were decoded by nvimgcodec, not by libjpeg-turbo" in err


def test_an_index_without_a_record_is_libjpeg_turbos(
    vsearch: Any, model: Path, pictures: Path, tmp_path: Path, nvimgcodec: list[str]
) -> None:
    index = tmp_path / "old"
    made = Embedder(model)
    with Index.create(index, made.dim, model_id=made.model_id, model={"file": str(model)}) as old:
        old.add(["3"], made.embed([pictures / "3.jpg"]))
        assert old.decoder == LIBJPEG_TURBO
    assert search(vsearch, index, pictures / "3.jpg")[0]["distance"] == 0
    arguments = ["index", pictures, "-o", index, "--model", model, "--keep-missing", "--quiet"]
    code, _, err = vsearch(*arguments, "--decoder", NVIMGCODEC)
    assert code == 1 and "were decoded by libjpeg-turbo, not by nvimgcodec" in err
    other = Embedder(model, decoder=NVIMGCODEC)
    with pytest.raises(ModelMismatchError, match="were decoded by libjpeg-turbo"):
        sync.open_index(index, other, model, "anything")
    sync.open_index(index, made, model, "anything").close()  # the first one left it free
    assert nvimgcodec == []


def test_a_decoder_that_is_gone_is_an_error(
    vsearch: Any,
    model: Path,
    pictures: Path,
    tmp_path: Path,
    nvimgcodec: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = tmp_path / "i"
    arguments = ["index", pictures, "-o", index, "--model", model, "--quiet"]
    assert vsearch(*arguments, "--decoder", NVIMGCODEC)[0] == 0
    monkeypatch.setattr(embedder_module, "find_decoder", jpeg.find_decoder)
    monkeypatch.setitem(sys.modules, "nvidia", None)
    code, out, err = vsearch("search", index, pictures / "3.jpg")
    assert (code, out) == (1, "")
    assert f"{index} were decoded by nvimgcodec, and here: " in err and "not installed" in err
    assert "nvidia-nvimgcodec-cu12" in err and "--decoder libjpeg-turbo searches with it" in err
    search(vsearch, index, pictures / "3.jpg", "--decoder", LIBJPEG_TURBO)
    # Asked for by name, for a new index: nothing to say about an index.
    code, _, err = vsearch(
        "index", pictures, "-o", tmp_path / "new", "--model", model, "--decoder", NVIMGCODEC
    )
    assert code == 1 and "were decoded" not in err and not (tmp_path / "new").exists()
    with pytest.raises(MissingDependencyError):
        Embedder(model, decoder=NVIMGCODEC)


# Indices made in Python --------------------------------------------------------------------


def test_a_description_names_the_file(
    vsearch: Any, model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    made = Embedder(model.name)
    index = tmp_path / "i"
    with Index.create(index, made.dim, model_id=made.model_id, model=made.description) as new:
        new.add(["3"], made.embed([pictures / "3.jpg"]))
    monkeypatch.chdir("/")
    assert search(vsearch, index, pictures / "3.jpg")[0]["distance"] == 0


@pytest.mark.parametrize("described", [{}, {"file": "/gone/slim.onnx"}])
def test_an_index_of_the_packages_model_needs_no_file(
    vsearch: Any, described: dict[str, str], pictures: Path, tmp_path: Path
) -> None:
    made = Embedder()
    index = tmp_path / "i"
    with Index.create(index, made.dim, model_id=made.model_id, model=described) as new:
        new.add(["3"], made.embed([pictures / "3.jpg"]))
    assert search(vsearch, index, pictures / "3.jpg")[0]["distance"] == 0


# Providers ---------------------------------------------------------------------------------


def test_a_provider_that_cannot_be_had_is_an_error(
    vsearch: Any, model: Path, pictures: Path, tmp_path: Path
) -> None:
    arguments = ["index", pictures, "-o", tmp_path / "i", "--model", model]
    code, _, err = vsearch(*arguments, "--provider", "cuda")
    assert code == 1 and "lacks CUDAExecutionProvider" in err
    assert "The model was not loaded" in err and "[gpu]" in err
    assert not (tmp_path / "i").exists()
    assert vsearch(*arguments, "--provider", "gpu")[0] == 2


def test_the_commands_say_what_runs(
    vsearch: Any,
    model: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = tmp_path / "i"
    fake = FakeOrt([TENSORRT, CUDA, CPU], working=[CUDA])
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    _, _, err = vsearch("index", pictures, "-o", index, "--model", model, "--quiet")
    assert "Network on CUDA (fp32), JPEG by libjpeg-turbo." in err and fake.runs
    hit, err = search(vsearch, index, pictures / "2.jpg")
    assert hit["distance"] == 0 and "Network on CUDA" in err
    hit, err = search(vsearch, index, pictures / "2.jpg", "--provider", "cpu")
    assert hit["distance"] == 0 and "Network on CPU" in err
    fake.working = {CPU}
    hit, err = search(vsearch, index, pictures / "2.jpg")
    assert hit["distance"] == 0 and "The network runs on the CPU instead" in err
    assert "Warning" not in err  # one line of text, not Python's
