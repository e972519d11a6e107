"""Foreign ONNX encoders as model files, against the same encoders in NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import foreign_encoders as foreign
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from vsearch_fast.cli import vsearch
from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import ArgumentError, KeptError, ModelError
from vsearch_fast.export import AdoptReport, adopt
from vsearch_fast.export import foreign as reading

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PIXELS = np.random.default_rng(3).integers(0, 256, (5, 32, 32, 3), np.uint8)


def saved(proto: onnx.ModelProto, folder: Path, **options: Any) -> Path:
    onnx.save(proto, folder / "theirs.onnx", **options)
    return folder / "theirs.onnx"


def adopted(proto: onnx.ModelProto, folder: Path, **choices: Any) -> AdoptReport:
    report = adopt(
        saved(proto, folder), output_file=folder / "mine.onnx", overwrite=True,
        **{"mean": MEAN, "std": STD, **choices},
    )  # fmt: skip
    assert report is not None
    return report


def prepared(pixels: np.ndarray = PIXELS) -> np.ndarray:
    """Channels first, float64, by the definition."""
    return ((pixels / 255.0 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layout": "nhwc"},
        {"size": "side"},
        {"batch": 1},  # declared only: its nodes take any number
        {"opset": 11},
        {"opset": 21},
        {"names": ("image", "features")},
        {"names": ("bits", "codes")},
    ],
)
def test_a_convolution(options: dict[str, Any], tmp_path: Path) -> None:
    output = options.get("names", ("", "embedding"))[1]
    choices = {"size": 32, "layout": "nchw"} if "size" in options else {}
    report = adopted(foreign.convolution(**options), tmp_path, output=output, **choices)
    expected = foreign.in_numpy("convolution", prepared())["embedding"]
    features, codes = Embedder(report.path, "cpu").both(PIXELS)
    assert relative(features, expected) < 1e-5
    np.testing.assert_array_equal(codes, np.packbits(features > 0, axis=-1))
    assert (report.dim, report.input_size, report.precision) == (foreign.DIM, 32, "fp32")
    assert report.figures.relative_error < 1e-5


def test_pictures_are_resized_as_it_is_recorded(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    picture = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).resize((70, 90))
    picture.save(tmp_path / "a.png")
    for rule in ("bicubic", "nearest"):
        report = adopted(foreign.convolution(), tmp_path, output="embedding", resize=rule)
        embedder = Embedder(report.path, "cpu")
        small = picture.resize((32, 32), Image.Resampling[rule.upper()])
        expected = foreign.in_numpy("convolution", prepared(np.asarray(small)[None]))["embedding"]
        assert relative(embedder.embed(tmp_path / "a.png"), expected) < 1e-5
        assert embedder.resize == embedder.description["resize"] == rule


@pytest.mark.parametrize(
    "output,choices,rows",
    [
        ("hidden", {"token": 0}, lambda found: found["hidden"][:, 0]),
        ("hidden", {"token": 5}, lambda found: found["hidden"][:, 5]),
        ("hidden", {"pool": "mean"}, lambda found: found["hidden"].mean(axis=1)),
        ("embedding", {}, lambda found: found["embedding"]),
        ("embedding", {"unit_length": True}, lambda found: found["embedding"]),
    ],
)
@pytest.mark.parametrize("texts", [False, True])
def test_a_transformer(
    output: str, choices: dict[str, Any], rows: Any, texts: bool, tmp_path: Path
) -> None:
    report = adopted(foreign.transformer(texts=texts), tmp_path, output=output, **choices)
    expected = rows(foreign.in_numpy("transformer", prepared()))
    if choices.get("unit_length"):
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    embedder = Embedder(report.path, "cpu")
    assert relative(embedder.embed(PIXELS), expected) < 1e-5
    assert embedder.description["layer"] == output and embedder.description["pool"] == report.pool
    held = {each.name for each in onnx.load(report.path).graph.initializer}
    assert not any("vocabulary" in name for name in held)


def test_maps_are_averaged(tmp_path: Path) -> None:
    report = adopted(foreign.convolution(), tmp_path, output="maps", pool="mean")
    expected = foreign.in_numpy("convolution", prepared())["maps"].mean(axis=(2, 3))
    assert relative(Embedder(report.path, "cpu").embed(PIXELS), expected) < 1e-5


def test_float16(tmp_path: Path) -> None:
    proto = foreign.convolution(dtype=np.float16)
    report = adopted(proto, tmp_path, output="embedding")
    expected = foreign.in_numpy("convolution", prepared())["embedding"]
    embedder = Embedder(report.path, "cpu")
    found = embedder.embed(PIXELS)
    assert found.dtype == np.float32 and 1e-6 < relative(found, expected) < 5e-3
    assert report.precision == embedder.metadata["precision"] == "fp16"


def test_bytes_and_bgr(tmp_path: Path) -> None:
    """An encoder that prepares bytes itself; and one whose first channel is blue."""
    proto = foreign.convolution(layout="nhwc", names=("raw", "embedding"))
    graph = proto.graph
    graph.node[0].input[0] = "floats"
    graph.node.insert(0, helper.make_node("Cast", ["raw"], ["floats"], to=TensorProto.FLOAT))
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    report = adopted(proto, tmp_path, output="embedding", mean=None, std=None)
    expected = foreign.in_numpy("convolution", PIXELS.transpose(0, 3, 1, 2))["embedding"]
    assert relative(Embedder(report.path, "cpu").embed(PIXELS), expected) < 1e-5
    with pytest.raises(ArgumentError, match="takes bytes"):
        adopted(proto, tmp_path, output="embedding")
    means = (103.9, 116.8, 123.7)
    report = adopted(
        foreign.convolution(), tmp_path, output="embedding", channels="bgr", scale=1, mean=means,
        std=[58],
    )  # fmt: skip
    turned = ((PIXELS[..., ::-1] - np.array(means)) / 58).transpose(0, 3, 1, 2)
    expected = foreign.in_numpy("convolution", turned)["embedding"]
    assert relative(Embedder(report.path, "cpu").embed(PIXELS), expected) < 1e-5


def test_branches_and_functions_come_along(tmp_path: Path) -> None:
    """What a branch takes from outside is kept, and so are functions of the file's own."""
    node = helper.make_node
    half = helper.make_graph(
        [node("Mul", ["dense_out", "two"], ["doubled"])], "then", [],
        [helper.make_tensor_value_info("doubled", TensorProto.FLOAT, None)],
    )  # fmt: skip
    other = helper.make_graph(
        [node("Identity", ["dense_out"], ["same"])], "else", [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
    )  # fmt: skip
    proto = foreign.convolution(
        last=[node("If", ["yes"], ["chosen"], then_branch=half, else_branch=other),
              node("Negated", ["chosen"], ["embedding"], domain="theirs")]
    )  # fmt: skip
    for name, value in (("two", np.float32(2)), ("yes", np.array(True))):
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(
        helper.make_function("theirs", "Negated", ["x"], ["y"], [node("Neg", ["x"], ["y"])], opsets)
    )
    proto.opset_import.append(helper.make_opsetid("theirs", 1))
    report = adopted(proto, tmp_path, output="embedding")
    expected = -2 * foreign.in_numpy("convolution", prepared())["embedding"]
    assert relative(Embedder(report.path, "cpu").embed(PIXELS), expected) < 1e-5


def test_weights_in_files_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(
        foreign.transformer(), tmp_path, save_as_external_data=True, location="theirs.data",
        size_threshold=0,
    )  # fmt: skip
    output = tmp_path / "alone" / "mine.onnx"
    output.parent.mkdir()
    choices: dict[str, Any] = {
        "output": "embedding",
        "mean": MEAN,
        "std": STD,
        "output_file": output,
    }
    adopt(path, **choices)
    expected = foreign.in_numpy("transformer", prepared())["embedding"]
    assert relative(Embedder(output, "cpu").embed(PIXELS), expected) < 1e-5
    content = output.read_bytes()
    monkeypatch.setattr(reading, "MAX_BYTES", 1000)
    with pytest.raises(ModelError, match="a model file holds less than 2"):
        adopt(path, overwrite=True, **choices)
    monkeypatch.undo()
    (tmp_path / "theirs.data").unlink()
    with pytest.raises(ModelError, match="lie in files of their own"):
        adopt(path, overwrite=True, **choices)
    assert output.read_bytes() == content and list(output.parent.iterdir()) == [output]


def test_more_than_a_file_holds_is_told_without_reading_it(tmp_path: Path) -> None:
    proto = foreign.convolution()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "nowhere.data"), ("length", str(3 * 2**30))):
        tensor.external_data.add(key=key, value=value)
    with pytest.raises(ModelError, match=r"are 3\.0 GiB"):
        adopted(proto, tmp_path, output="embedding")


def unlike(kind: str) -> onnx.ModelProto:
    """An encoder with one thing wrong."""
    node = helper.make_node
    if kind == "constant":
        last = [node("Mul", ["dense_out", "nought"], ["embedding"])]
    else:
        last = [node("Log", ["dense_out"], ["embedding"])]
    proto = foreign.convolution(last=last)
    proto.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "nought"))
    return proto


REFUSED: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "several outputs": (foreign.transformer, {}, ArgumentError, "has 2 outputs: hidden"),
    "no such output": (foreign.transformer, {"output": "pooled"}, ArgumentError, "no output pool"),
    "tokens": (foreign.transformer, {"output": "hidden"}, ArgumentError, "17 tokens a picture"),
    "token 17": (
        foreign.transformer, {"output": "hidden", "token": 17}, ArgumentError, "Choose 0 to 16",
    ),
    "rows pooled": (
        foreign.transformer, {"output": "embedding", "pool": "mean"}, ArgumentError, "one row a",
    ),
    "a map": (foreign.convolution, {"output": "maps"}, ArgumentError, "--pool mean"),
    "texts": (
        lambda: foreign.transformer(texts=True), {"output": "logits"}, ArgumentError,
        r"needs 2 inputs: pixel_values \(batch, 3, 32, 32\), input_ids",
    ),
    "layout": (foreign.convolution, {"layout": "nhwc"}, ArgumentError, "Say --layout nchw"),
    "open layout": (
        lambda: opened(foreign.convolution()), {}, ArgumentError, "does not say where its chan",
    ),
    "wrong layout": (
        lambda: opened(foreign.convolution()), {"layout": "nhwc", "size": 32}, ModelError,
        "It runs with --layout nchw",
    ),
    "size": (foreign.convolution, {"size": 64}, ArgumentError, "pictures of 32 pixels, not of 64"),
    "no size": (
        lambda: foreign.convolution(size="side"), {}, ArgumentError, "of any size",
    ),
    "positions": (
        lambda: opened(foreign.transformer(), 2, 3), {"size": 64, "output": "embedding"},
        ModelError, "does not run on pictures of 64 x 64 pixels, nchw",
    ),
    "batch of one": (
        lambda: foreign.transformer(batch=1), {"output": "embedding"}, ModelError,
        "which the file declares as 1",
    ),
    "batch of four": (
        lambda: foreign.transformer(batch=4), {"output": "embedding"}, ModelError,
        "which the file declares as 4",
    ),
    "no mean": (foreign.convolution, {"mean": None}, ArgumentError, "--mean and --std are not"),
    "two means": (foreign.convolution, {"mean": (1, 2)}, ArgumentError, "one number or three"),
    "no deviation": (foreign.convolution, {"std": (0.0,)}, ArgumentError, "above 0"),
    "units": (foreign.convolution, {"mean": (123.7,)}, ArgumentError, "--scale 1"),
    "not finite": (lambda: unlike("log"), {}, ModelError, "infinite or not a number for"),
    "constant": (lambda: unlike("constant"), {}, ModelError, "same for 12 different pictures"),
    "old": (lambda: foreign.convolution(opset=10), {}, ModelError, "operator set 10"),
    "rule": (foreign.convolution, {"resize": "cubic"}, ArgumentError, "--resize cubic is unknown"),
    "both": (
        foreign.transformer, {"token": 0, "pool": "mean"}, ArgumentError, "Leave one of the two",
    ),
}  # fmt: skip


def opened(proto: onnx.ModelProto, *sides: int) -> onnx.ModelProto:
    """The encoder with an input whose sides, or all of them, are not declared."""
    shape = proto.graph.input[0].type.tensor_type.shape
    for side in sides or range(4):
        shape.dim[side].dim_param = f"side_{side}"
    return proto


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_told_before_anything_is_written(kind: str, tmp_path: Path) -> None:
    make, choices, error, match = REFUSED[kind]
    proto = make()
    if len(proto.graph.output) == 2 and proto.graph.output[0].name == "embedding":
        choices = {"output": "embedding", **choices}
    with pytest.raises(error, match=match):
        adopted(proto, tmp_path, **choices)
    assert [each.name for each in tmp_path.iterdir()] == ["theirs.onnx"]


def test_files_that_are_no_encoders(tmp_path: Path) -> None:
    own = adopted(foreign.convolution(), tmp_path, output="embedding").path
    (tmp_path / "text.onnx").write_text("this is no network")
    (tmp_path / "empty.onnx").touch()
    choices: dict[str, Any] = {"mean": MEAN, "std": STD, "output_file": tmp_path / "out.onnx"}
    for name, match in (
        (own.name, "is a model file of this package already"),
        ("text.onnx", "is no ONNX model"),
        ("empty.onnx", "is no ONNX model"),
        ("none.onnx", "There is no file"),
        (".", "is a folder"),
    ):
        with pytest.raises(ModelError, match=match):
            adopt(tmp_path / name, **choices)
    with pytest.raises(ArgumentError, match=r"does not end in \.onnx"):
        adopt(tmp_path / "theirs.onnx", **{**choices, "output_file": tmp_path / "out.bin"})
    assert not (tmp_path / "out.onnx").exists()


def test_codes_by_a_learnt_rule(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / f"{i}.png")
    report = adopted(
        foreign.convolution(), tmp_path, output="embedding", binarize="median",
        binarize_images=[tmp_path],
    )  # fmt: skip
    embedder = Embedder(report.path, "cpu")
    features, codes = embedder.both(sorted(tmp_path.glob("*.png")))
    assert embedder.binarize == "median"
    bits = np.unpackbits(codes, axis=1, count=foreign.DIM)
    np.testing.assert_array_equal(bits.sum(axis=0), 15)
    np.testing.assert_array_equal(bits, features > np.median(features, axis=0))


def test_the_command(tmp_path: Path) -> None:
    path, output = saved(foreign.transformer(), tmp_path), tmp_path / "mine.onnx"
    numbers = ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))]
    line = ["adopt", str(path), *numbers, "--output", "hidden", "-o", str(output)]
    run = CliRunner().invoke
    done = run(vsearch, [*line, "--token", "0"])
    assert done.exit_code == 0, done.output
    assert "16 features from hidden (token 0), pictures of 32 pixels, nchw, fp32" in done.output
    before = output.read_bytes()
    assert "is made already" in run(vsearch, [*line, "--token", "0"]).output
    other = run(vsearch, [*line, "--pool", "mean"])
    assert other.exit_code == 1 and "--overwrite" in other.output
    assert output.read_bytes() == before
    with pytest.raises(KeptError):
        adopt(path, output_file=output, output="hidden", pool="mean", mean=MEAN, std=STD)
    assert run(vsearch, [*line, "--pool", "mean", "--overwrite"]).exit_code == 0
    assert output.read_bytes() != before
    for wrong in (["--mean", "a,b"], ["--token", "99"], ["--layout", "nhwc"]):
        refused = run(vsearch, [*line, *wrong, "--overwrite"])
        assert refused.exit_code == 2, refused.output
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    index = tmp_path / "photos.index"
    made = run(vsearch, ["index", str(folder), "-o", str(index), "--model", str(output)])
    assert made.exit_code == 0, made.output
    found = run(vsearch, ["search", str(index), str(folder / "3.png"), "--json"])
    assert found.exit_code == 0 and '"3.png"' in found.output, found.output
    said = Embedder(output).metadata
    assert json.loads(said["preprocess"])["mean"] == list(MEAN)
