"""images.py against broken and hostile files."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from drawn_images import CASES, MODES_OF_FORMAT, encode, random_image
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast import images
from vsearch_fast.errors import ImageError


@pytest.mark.posix
def test_files_that_are_no_pictures_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("This is no picture at all, whatever its name says.\n")
    (tmp_path / "short.png").write_bytes(b"\x89P")
    (tmp_path / "document.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    for name, words in {
        "empty.jpg": "is empty",
        "text.jpg": "is not an image",
        "short.png": "is not an image",
        "document.png": "is not an image",
        "folder.jpg": "is a folder",
        "pipe.jpg": "is not a regular file",
        "link.jpg": "does not exist",
        "missing.jpg": "does not exist",
        "nul\0.jpg": "is not a path",
        "x" * 300: "cannot be opened",
    }.items():
        path = f"{tmp_path}/{name}"
        with pytest.raises(ImageError, match=words) as caught:
            images.decode(path)
        shown = repr(path) if "\0" in path else path
        assert shown in caught.value.cause
        assert caught.value.consequence and caught.value.cure


def test_the_given_name_stands_in_errors() -> None:
    with pytest.raises(ImageError, match=r"^cat\.png is empty"):
        images.decode(b"", name="cat.png")
    with pytest.raises(ImageError, match="given as bytes is empty"):
        images.decode(b"")


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encode(random_image("L", 4, 4)))

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", denied)  # the tests may run as root, whom nothing stops
    with pytest.raises(ImageError, match=r"secret\.png cannot be opened \(Permission denied\)"):
        images.decode(path)


@pytest.mark.parametrize(("picture_format", "mode", "options"), CASES)
@pytest.mark.filterwarnings("ignore")  # Pillow remarks on some of the damage
def test_a_truncated_file_is_refused_or_whole(
    picture_format: str, mode: str, options: dict
) -> None:
    """Cut anywhere, a file is refused, unless only what follows the last pixel is lost."""
    data = encode(random_image(mode, 61, 47), picture_format, **options)
    whole = np.asarray(images.decode(data))
    refused = 0
    for cut in range(0, len(data), max(1, len(data) // 50)):
        try:
            shown = np.asarray(images.decode(data[:cut]))
        except ImageError:
            refused += 1
            continue
        np.testing.assert_array_equal(shown, whole, err_msg=f"cut at {cut} of {len(data)}")
    assert refused > 30


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_large_jpeg_is_refused(progressive: bool) -> None:
    """Larger than Pillow's read block, so that decoding has begun when the file ends."""
    data = encode(random_image("RGB", 700, 500), "JPEG", quality=95, progressive=progressive)
    assert len(data) > 3 * 65536
    for cut in [*range(70_000, len(data), 50_000), len(data) - 3]:
        with pytest.raises(ImageError, match="cut off"):
            images.decode(data[:cut])


@pytest.mark.parametrize(("picture_format", "mode", "options"), CASES)
@pytest.mark.filterwarnings("ignore")  # Pillow remarks on some of the damage
def test_mutated_files_raise_nothing_but_image_errors(
    picture_format: str, mode: str, options: dict
) -> None:
    data = encode(random_image(mode, 31, 23), picture_format, **options)
    rng = random.Random(f"{picture_format} {mode}")
    refused = 0
    for _ in range(60):
        mutant = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            # Half of the damage goes to the headers.
            reach = len(mutant) if rng.random() < 0.5 else min(len(mutant), 120)
            mutant[rng.randrange(reach)] = rng.randrange(256)
        try:
            images.load(bytes(mutant), 8, max_pixels=1_000_000)
        except ImageError:
            refused += 1
    assert refused > 0


@given(st.binary(max_size=200), st.sampled_from(list(MODES_OF_FORMAT)), st.integers(0, 60))
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_behind_a_true_beginning_are_refused(
    rest: bytes, picture_format: str, keep: int
) -> None:
    data = encode(random_image("L", 31, 23), "PNG" if picture_format == "WEBP" else picture_format)
    with pytest.raises(ImageError):
        images.load(data[:keep] + rest, 8, max_pixels=1_000_000)
