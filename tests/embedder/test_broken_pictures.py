"""embedder.py: pictures that cannot be read are named, or skipped and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from embedding_data import ahead_threads, picture, png

from vsearch_fast import images
from vsearch_fast.embedder import Embedder, ImageSkippedWarning
from vsearch_fast.errors import ArgumentError, ImageError

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[cpu]'")


def broken(folder: Path) -> list[Path]:
    """Three files of the folder that are no pictures; first, in the middle, and last."""
    (folder / "00.png").write_bytes(b"")
    (folder / "05.png").write_bytes(png(5)[:60])
    (folder / "zz.jpg").write_text("no picture")
    return [folder / "00.png", folder / "05.png", folder / "zz.jpg"]


def test_a_broken_picture_raises_by_name(embedder: Embedder, folder: Path) -> None:
    names = broken(folder)
    with pytest.raises(ImageError, match=r"00\.png is empty"):
        embedder.embed(folder)
    with pytest.raises(ImageError, match="Picture 1 is empty"):
        embedder.embed([png(0), b""])
    with pytest.raises(ImageError, match=r"The box 5, 5, 2, 2 of Picture 0 is empty"):
        embedder.embed(picture(0), (5, 5, 2, 2))
    with pytest.raises(ImageError, match="is a folder"):
        embedder.embed([names[1].parent, names[1].parent])
    assert ahead_threads() == []


@pytest.mark.parametrize("kind", ["embed", "codes"])
def test_broken_pictures_are_skipped_and_told(embedder: Embedder, folder: Path, kind: str) -> None:
    names = broken(folder)
    call = getattr(embedder, kind)
    files = images.find_images(folder)
    good = call([file for file in files if file not in names])
    for source in (folder, iter(files)):
        with pytest.warns(ImageSkippedWarning) as caught:
            rows = call(source, on_error="skip")
        np.testing.assert_array_equal(rows, good)
        assert [Path(skip.name) for skip in embedder.skipped] == names
        assert [files[skip.position] for skip in embedder.skipped] == names
        messages = [str(warning.message) for warning in caught]
        for name, skip, message in zip(names, embedder.skipped, messages, strict=True):
            assert skip.reason in message and str(name) in message
        assert {warning.filename for warning in caught} == {__file__}
    call([picture(0)])
    assert embedder.skipped == []


def test_nothing_but_broken_pictures(embedder: Embedder) -> None:
    with pytest.warns(ImageSkippedWarning):
        assert embedder.embed([b"x"] * 9, on_error="skip").shape == (0, 64)
    assert len(embedder.skipped) == 9
    with pytest.warns(ImageSkippedWarning):
        batches = list(embedder.stream([b"x"] * 9, on_error="skip"))
    assert [len(batch.skipped) for batch in batches] == [9]
    assert batches[0].features.shape == (0, 64) and batches[0].codes.shape == (0, 8)


@pytest.mark.parametrize("call", ["embed", "codes", "stream"])
def test_an_unknown_on_error_is_refused_at_once(embedder: Embedder, call: str) -> None:
    with pytest.raises(ArgumentError, match="on_error is 'ignore'"):
        getattr(embedder, call)([], on_error="ignore")
