"""What the export refuses, with which words, and that it leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from slim_models import slim_model, write_slim_model

from vsearch_fast.errors import (
    ArgumentError,
    ExportError,
    MissingDependencyError,
    ModelError,
    VsearchError,
)
from vsearch_fast.export import export
from vsearch_fast.export.__main__ import command
from vsearch_fast.export.binarize import Rule

OLD = b"an older file"


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slim model's .keras file."""
    return write_slim_model(tmp_path_factory.mktemp("slim") / "slim.keras")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """An output that exists already; afterwards it is as it was and alone in its folder."""
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / "model.onnx"
    path.write_bytes(OLD)
    yield path
    assert [each.name for each in folder.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == OLD


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(each) for each in arguments])


def says_all(error: VsearchError) -> bool:
    return all((error.cause, error.consequence, error.cure))


# The arguments


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": "fc9"}, r"no layer fc9\b.*block1_conv1, .*, flatten, fc1, fc2, predictions"),
        ({"layer": ""}, "--layer is empty"),
        ({"pool": "avg"}, r"--pool avg is for layers with rows and columns, and fc1 has"),
        ({"pool": "sum"}, r"--pool sum is unknown.*avg, max"),
        ({"precision": "int4"}, r"--precision int4 is unknown.*fp32, fp16, int8"),
        ({"precision": "int8"}, r"int8 needs pictures.*--calibrate FOLDER"),
        ({"calibrate": ["."]}, "--calibrate is for --precision int8"),
        ({"input_size": 0}, "--input-size 0 is no size"),
        ({"input_size": 96}, r"--input-size 96 does not fit the layers.*64 is the model's own"),
    ],
)
def test_wrong_arguments(slim: Path, target: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words) as caught:
        export(slim, output=target, **options)
    assert says_all(caught.value)


@pytest.mark.parametrize("weights", ["random", "random:", "random:x", "random:-1"])
def test_a_seed_has_to_be_a_number(target: Path, weights: str) -> None:
    with pytest.raises(ArgumentError, match=r"does not name a seed.*random:0"):
        export(weights, output=target)


@pytest.mark.parametrize("weights", ["random:0", "imagenet"])
def test_a_wrong_layer_of_vgg16_is_known_at_once(target: Path, weights: str) -> None:
    with pytest.raises(ArgumentError, match=r"no layer fc3\b.*block5_pool, flatten, fc1"):
        export(weights, layer="fc3", output=target)


def test_vgg16_halves_a_picture_five_times(target: Path) -> None:
    with pytest.raises(ArgumentError, match=r"--input-size 31 is too small.*32 or more"):
        export("random:0", layer="block1_conv1", input_size=31, output=target)


def test_usage_errors_exit_with_2(slim: Path, target: Path) -> None:
    result = invoke("--overwrite", "--weights", slim, "--layer", "fc9", "-o", target)
    assert result.exit_code == 2
    assert "no layer fc9" in result.output
    result = invoke("--overwrite", "--weights", slim, "-o", target.with_suffix(".jpg"))
    assert result.exit_code == 2
    assert "does not end in .onnx" in result.output
    assert invoke("--weights", slim).exit_code == 2  # no --output


# The weights


def damage(content: bytes, suffix: str) -> list[tuple[str, bytes, str]]:
    middle = len(content) // 2
    return [
        (f"empty{suffix}", b"", "it is empty"),
        (f"cut{suffix}", content[:middle], "is not a file that Keras can load|cannot load"),
        (f"text{suffix}", b"no model at all\n" * 9, "neither a .keras nor an HDF5 file"),
        ("other.bin", content, "has the content of a .* file but another suffix.*Rename"),
    ]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_damaged_model_files(slim: Path, target: Path, tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    slim_model().save(whole)
    for name, content, words in damage(whole.read_bytes(), suffix):
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(ModelError, match=words) as caught:
            export(file, output=target)
        assert str(file) in caught.value.cause
        assert says_all(caught.value)


def test_a_flipped_byte_is_noticed(slim: Path, target: Path, tmp_path: Path) -> None:
    content = bytearray(slim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file = tmp_path / "flipped.keras"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="Keras cannot load the model"):
        export(file, output=target)


def test_missing_model_file_and_folder(target: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights file .*gone.keras"):
        export(tmp_path / "gone.keras", output=target)
    with pytest.raises(ModelError, match="it is a folder"):
        export(tmp_path, output=target)


def test_a_model_of_other_inputs_is_refused(target: Path, tmp_path: Path) -> None:
    import keras

    image = keras.Input((64, 48, 3))
    file = tmp_path / "oblong.keras"
    keras.Model(image, keras.layers.Conv2D(2, 3, name="fc1")(image)).save(file)
    with pytest.raises(ModelError, match=r"takes \[\(None, 64, 48, 3\)\], not one square picture"):
        export(file, output=target)


def test_weights_of_another_network_are_refused(target: Path, tmp_path: Path) -> None:
    import keras

    file = tmp_path / "few.weights.h5"
    image = keras.Input((32, 32, 3))
    keras.Model(image, keras.layers.Conv2D(2, 3)(image)).save_weights(file)
    with pytest.raises(ModelError, match=r"1 convolutional layers, and VGG-16 has 13.*\.keras"):
        export(file, output=target)


def test_weights_of_other_widths_are_refused(target: Path, tmp_path: Path) -> None:
    file = tmp_path / "slim.weights.h5"
    slim_model(size=None).save_weights(file)
    with pytest.raises(ModelError, match=r"\(3, 3, 3, 4\).*block1_conv1 has"):
        export(file, layer="block5_pool", pool="avg", output=target)
    with pytest.raises(ModelError, match=r"\(3, 3, 3, 4\).*block1_conv1 has"):
        export(file, layer="fc1", output=target)


# The output


def test_output_folder_is_missing(slim: Path, tmp_path: Path) -> None:
    result = invoke("--weights", slim, "-o", tmp_path / "none" / "model.onnx")
    assert result.exit_code == 1
    assert f"mkdir -p {tmp_path / 'none'}" in result.output
    assert not (tmp_path / "none").exists()


def test_output_is_a_folder(slim: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is a folder"):
        export(slim, output=tmp_path)


@pytest.mark.posix
def test_output_folder_is_not_writable() -> None:
    # Root may write anywhere: become somebody else, who has to reach the folder, however.
    with tempfile.TemporaryDirectory() as outer:
        os.chmod(outer, 0o755)
        folder = Path(outer) / "closed"
        folder.mkdir()
        folder.chmod(0o555)
        program = (
            "import os, sys\n"
            "from vsearch_fast.errors import ExportError\n"
            "from vsearch_fast.export import export\n"
            "if os.getuid() == 0: os.setuid(65534)\n"
            "assert os.access(sys.argv[1], os.R_OK | os.X_OK)\n"
            "try: export('random:0', output=sys.argv[1] + '/model.onnx')\n"
            "except ExportError as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, folder], capture_output=True, text=True, check=False
        )
        expected = f"cannot be written to {folder}/model.onnx (Permission denied)"
        assert expected in done.stdout, done.stderr
        assert "another --output" in done.stdout
        assert not any(folder.iterdir())


@pytest.mark.posix
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_full_disk_leaves_the_old_file(
    slim: Path, target: Path, tmp_path: Path, precision: str
) -> None:
    import resource

    from PIL import Image

    picture = tmp_path / "picture.png"
    Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)).save(picture)
    options: dict[str, Any] = {"calibrate": [picture]} if precision == "int8" else {}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(ExportError, match=r"cannot be written to .*\(File too large\)"):
            export(slim, output=target, precision=precision, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_really_full_disk(slim: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mount = shutil.which("mount")
    size = "size=200k"
    mounted = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        with pytest.raises(ExportError, match=r"\(No space left on device\).*Free some space"):
            export(slim, output=folder / "model.onnx")
        assert not any(folder.iterdir())
    finally:
        subprocess.run(["umount", folder], check=True)


# Disagreement and interruption


def without_mean(graph: Any, prepare: str) -> None:
    """The preprocessing with another mean, as a wrong export would have it."""
    original(graph, prepare)
    graph.constants["bgr_mean"] = graph.constants["bgr_mean"] + 1


original: Callable[[Any, str], None]


def test_a_graph_that_disagrees_is_refused(
    slim: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsearch_fast.export import graph as onnx

    global original
    original = onnx.add_preprocessing
    monkeypatch.setattr(onnx, "add_preprocessing", without_mean)
    with pytest.raises(
        ExportError, match=r"disagrees with Keras: on 12 samples the relative error is \d\.\d+e-\d"
    ):
        export(slim, output=target)
    result = invoke("--weights", slim, "-o", target, "--overwrite")
    assert result.exit_code == 1
    assert "at most 1e-04 is allowed. Nothing was written." in result.output


def test_codes_that_are_not_the_sign_bits_are_refused(
    slim: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsearch_fast.export import graph as onnx

    add_codes = onnx.add_codes

    def little_endian(graph: onnx.Graph, rule: Rule) -> None:
        add_codes(graph, rule)
        graph.constants["bit_values"] = graph.constants["bit_values"][::-1].copy()

    monkeypatch.setattr(onnx, "add_codes", little_endian)
    with pytest.raises(ExportError, match=r"codes are not np.packbits"):
        export(slim, output=target)


def test_int8_ranges_that_do_not_fit_are_refused(slim: Path, target: Path, tmp_path: Path) -> None:
    from PIL import Image

    from vsearch_fast.export import verify

    # Black pictures say nothing about the ranges of the activations.
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    Image.fromarray(verify.synthetic_pictures(1, 64)[0]).save(tmp_path / "real.png")
    with pytest.raises(ExportError, match=r"the cosine is 0\.\d+, at least 0.98 is needed.*"):
        export(
            slim,
            output=target,
            layer="fc2",
            precision="int8",
            calibrate=[tmp_path / "black.png"],
            verify_images=[tmp_path / "real.png"],
        )


def test_a_file_that_onnxruntime_cannot_run_is_refused(
    slim: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsearch_fast.export import graph as onnx

    monkeypatch.setattr(onnx, "write", lambda proto, metadata, file: file.write(b"junk") and "")
    monkeypatch.setattr(onnx, "check", lambda path: None)
    with pytest.raises(ExportError, match=r"ONNX Runtime .* cannot run the exported file"):
        export(slim, output=target)


def test_a_graph_that_onnx_checker_refuses_is_refused(
    slim: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsearch_fast.export import graph as onnx

    finish = onnx.finish

    def with_unknown_operator(graph: onnx.Graph) -> Any:
        proto = finish(graph)
        proto.graph.node[0].op_type = "Transmogrify"
        return proto

    monkeypatch.setattr(onnx, "finish", with_unknown_operator)
    with pytest.raises(ExportError, match=r"does not pass onnx.checker"):
        export(slim, output=target)


def test_weights_beyond_two_gigabytes_are_refused(
    slim: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsearch_fast.export import graph as onnx

    monkeypatch.setattr(onnx, "MAX_BYTES", 1000)
    with pytest.raises(ExportError, match=r"GiB, and an ONNX file holds less than 2.*--pool avg"):
        export(slim, output=target)


@pytest.mark.parametrize("step", ["keras_features", "onnx_outputs"])
def test_ctrl_c_leaves_nothing_behind(
    slim: Path, target: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from vsearch_fast.export import verify

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, step, interrupted)
    result = invoke("--weights", slim, "-o", target, "--overwrite")
    assert result.exit_code == 130
    assert "Interrupted. Nothing was written." in result.output


def test_a_real_ctrl_c(slim: Path, target: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vsearch_fast.export",
            "--weights",
            slim,
            "-o",
            target,
            "--overwrite",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "load TensorFlow" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(timeout=300) == 130
    assert "Interrupted" in rest
    assert "Traceback" not in rest


# The surroundings


@pytest.mark.parametrize("package", ["tensorflow", "tf2onnx", "onnxruntime"])
def test_a_missing_package_is_named(
    slim: Path, target: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError) as caught:
        export(slim, output=target)
    assert f"needs the package {package}" in caught.value.cause
    assert "pip install" in caught.value.cure and "[cpu,export]" in caught.value.cure


def test_another_keras_backend_is_refused(
    slim: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ExportError, match="Keras is running on jax"):
        export(slim, output=target)


def test_resize_rules_are_those_of_the_pictures() -> None:
    from vsearch_fast.export.arguments import RESIZE_RULES
    from vsearch_fast.images import RESIZE_FILTERS

    assert tuple(RESIZE_FILTERS) == RESIZE_RULES


def test_the_command_is_imported_without_tensorflow_or_numpy() -> None:
    program = (
        "import sys, vsearch_fast.export.__main__; "
        "print({'tensorflow', 'keras', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_help_teaches_under_the_name_it_was_called_by() -> None:
    import click

    group = click.Group("vsearch", commands={"export": command})
    result = CliRunner().invoke(group, ["export", "--help"], prog_name="vsearch")
    assert result.exit_code == 0
    assert "vsearch export --weights random:0 --output untrained.onnx" in result.output
    assert "python -m" not in result.output
    for option in command.params:
        assert option.opts[0] in result.output


def test_the_command_prints_the_figures(slim: Path, tmp_path: Path) -> None:
    result = invoke("--weights", slim, "-o", tmp_path / "model.onnx")
    assert result.exit_code == 0
    assert "40 features from fc1, pictures of 64 pixels, fp32" in result.stdout
    for figure in (
        "relative error",
        "cosine",
        "bits different",
        "recall@5",
        "constant bits",
        "model id",
    ):
        assert figure in result.stdout
    assert "load TensorFlow" in result.stderr
    assert "UNTRAINED" not in result.output
