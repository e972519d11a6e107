"""The evaluation as a whole: who is compared, what is kept, what is written and said."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast import cli
from vsearch_fast.datasets import deepfashion, folder, garments, splits
from vsearch_fast.datasets.records import Record
from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import ArgumentError, DatasetError, ModelError
from vsearch_fast.evaluate import ModelRow, Options, evaluate, recipes, report, sampling, table_rows
from vsearch_fast.evaluate import features as features_module
from vsearch_fast.evaluate.recipes import PACKAGED, packaged_rows
from vsearch_fast.evaluate.rows import Training, training_of
from vsearch_fast.evaluate.study import ANY, CONTROL, OTHERS
from vsearch_fast.kernels import reference
from vsearch_fast.models import default_model

FAST = Options(draws=50, backend="cpu", threads=2, provider="cpu")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("garments")
    return folder, garments.render_catalogue(folder, items=34, views=2, size=(80, 100))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def trained(path, records, **entry):
    """A model that says it was trained on these pictures."""
    groups = sorted({splits.fingerprint(splits.group_of(record)) for record in records})
    entry = {"trained_groups": groups, "classes": "all", **entry}
    return write_tiny_model(path, metadata={"training": json.dumps(entry)})


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as left:
        cli.main(["eval", *map(str, arguments)])
    assert left.value.code == code


def value(study, row, distance, measure="P", k=1, rule=None, average="micro", scope=0):
    look = report.Lookup(study)
    title = study.scopes[scope].title
    return look.figure(title, row, distance, (measure, k), rule or study.lead, average)


# figures ------------------------------------------------------------------------------------


def test_figures_equal_plain_loops(catalogue, model, tmp_path):
    _, records = catalogue
    study = evaluate(records, [ModelRow("tiny", model)], tmp_path, options=FAST)
    rows = Embedder(model, "cpu").embed([r.path for r in records], [r.box for r in records])
    assert study.lead == OTHERS and len(study.queries) == len(records)
    for rule in (OTHERS, ANY):
        for metric in ("l1", "l2", "hamming"):
            vectors = reference.pack_bits(rows) if metric == "hamming" else rows
            _, ranked = reference.topk(vectors, vectors, len(vectors), metric)
            hits, found, colours = [], [], []
            for query, order in enumerate(ranked):
                near = [
                    records[row]
                    for row in order
                    if row != query and (rule == ANY or records[row].group != records[query].group)
                ][:5]
                hits.append([near[n].category == records[query].category for n in range(5)])
                found.append(near[0].item == records[query].item)
                colours.append(near[0].metadata["colour"] == records[query].metadata["colour"])
            p1 = value(study, "tiny", metric, rule=rule)
            assert p1.value == pytest.approx(np.mean(hits, axis=0)[0])
            assert value(study, "tiny", metric, k=5, rule=rule).value == pytest.approx(
                np.mean(hits)
            )
            assert value(study, "tiny", metric, "colour", rule=rule).value == pytest.approx(
                np.mean(colours)
            )
            by_category: dict[str | None, list[bool]] = {}
            for record, hit in zip(records, hits, strict=True):
                by_category.setdefault(record.category, []).append(hit[0])
            macro = np.mean([np.mean(each) for each in by_category.values()])
            assert value(study, "tiny", metric, rule=rule, average="macro").value == (
                pytest.approx(macro)
            )
            if rule == ANY:
                recall = value(study, "tiny", metric, "item recall", rule=ANY)
                assert recall.value == pytest.approx(np.mean(found))
            assert p1.low <= p1.value <= p1.high
    counts = Counter(record.category for record in records)
    lonely = [record for record in records if counts[record.category] == 2]
    assert value(study, "tiny", "l2").unmatched == len(lonely)


def test_every_row_has_the_same_queries_and_differences(catalogue, model, tmp_path):
    _, records = catalogue
    options = replace(FAST, queries=20, sample=50)
    twin = ModelRow("twin", model)
    study = evaluate(records, [ModelRow("tiny", model), twin], tmp_path, options=options)
    assert len(study.sample.records) == 50 and len(study.queries) == 20
    assert study.sample.left_out == {"beyond the sample of 50": 18}
    own = [d for d in study.differences if (d.row, d.other) == ("twin", "tiny")]
    assert own and all(d.value == d.low == d.high == 0 for d in own)
    assert [row for row, _ in report.Lookup(study).lines()] == [
        CONTROL,
        *["tiny"] * 3,
        *["twin"] * 3,
    ]
    again = evaluate(records, [ModelRow("tiny", model)], tmp_path, options=options)
    assert again.queries.tolist() == study.queries.tolist()
    assert value(again, "tiny", "l1") == value(study, "tiny", "l1")


def test_no_groups_have_one_rule(tmp_path, model):
    for number in range(6):
        Image.new("RGB", (20, 20), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    records = [Record(str(n), tmp_path / f"{n}.png", category="ab"[n % 2]) for n in range(6)]
    study = evaluate(records, table_rows(), tmp_path / "cache", options=FAST)
    assert study.lead == ANY and not study.sample.grouped
    assert {figure.rule for figure in study.figures} == {ANY}
    assert value(study, CONTROL, "").value == pytest.approx(2 / 5)
    assert "own group" not in report.text(study)
    # Each picture is its own group: six are no ground for percentiles.
    assert "Note: the queries are of 6 groups alone" in report.text(study)


def test_deepfashion_attributes(tmp_path):
    root = tmp_path / "fashion"
    records = garments.write_deepfashion(root, items=20, views=2, size=(80, 100))
    types = deepfashion.attribute_types(root)
    by_type = deepfashion.attributes_by_type(records[0], types)
    assert set(by_type) == set(deepfashion.ATTRIBUTE_TYPES) and not by_type["shape"]
    names = {name for each in by_type.values() for name in each}
    assert ";".join(sorted(names)) == ";".join(
        sorted(str(records[0].metadata["attributes"]).split(";"))
    )
    study = evaluate(records, table_rows(), tmp_path / "cache", options=FAST, attribute_types=types)
    assert set(study.measures) == {"P", "item recall", "texture", "fabric", "style"}
    lists = study.neighbours["32x32 pixels", "l2"]
    sets = [deepfashion.attributes_by_type(r, types)["style"] for r in study.sample.records]
    expected = [
        len(sets[q] & sets[row]) / len(sets[q] | sets[row])
        for q, row in zip(study.queries, lists[:, 0], strict=True)
    ]
    figure = value(study, "32x32 pixels", "l2", "style")
    assert figure.value == pytest.approx(np.mean(expected))


def test_real_photos_show_what_their_senders_share(photos, tmp_path):
    columns = {"path": "image", "category": "label", "group": "sender_id"}
    records = folder.read(photos, csv="images.csv", columns=columns)
    options = replace(FAST, leave_out=("Not sure", "Other", "Skip"))
    rows = [ModelRow("pixels", baseline="pixels")]
    study = evaluate(records, rows, tmp_path, options=options)
    others, any_other = (value(study, "pixels", "l2", rule=rule) for rule in (OTHERS, ANY))
    # Measured on other photos of the same collection: 0.25 and 0.49, by chance 0.11.
    assert 0.2 < others.value < 0.3 and others.low > 0.15 and others.high < 0.35
    assert any_other.value > others.value + 0.1
    assert 0.08 < value(study, CONTROL, "").value < 0.13


# who is compared ------------------------------------------------------------------------------


def test_trained_groups_are_left_out_for_all_rows(catalogue, model, tmp_path):
    _, records = catalogue
    half = records[: len(records) // 2]
    knows = trained(tmp_path / "half.onnx", half)
    rows = [ModelRow("tiny", model), ModelRow("half", knows)]
    study = evaluate(records, rows, tmp_path / "cache", options=FAST)
    assert not {r.group for r in study.sample.records} & {r.group for r in half}
    assert study.sample.left_out == {"half was trained on their group": len(half)}


def test_nothing_left_is_an_error(catalogue, tmp_path):
    _, records = catalogue
    rows = [ModelRow("all", trained(tmp_path / "all.onnx", records))]
    with pytest.raises(DatasetError) as raised:
        evaluate(records, rows, tmp_path / "cache", options=FAST)
    assert "0 of 68 pictures are left" in raised.value.cause
    assert "68: all was trained on their group" in raised.value.cause
    assert raised.value.consequence and raised.value.cure


def test_groups_of_another_column_are_told(catalogue, model, tmp_path):
    _, records = catalogue
    others = [replace(record, group="other") for record in records]
    rows = [ModelRow("stranger", trained(tmp_path / "other.onnx", others))]
    study = evaluate(records, rows, tmp_path / "cache", options=FAST)
    assert len(study.sample.records) == len(records)
    assert "under another group column" in study.notes[0]


def test_test_side_is_that_of_the_models(catalogue):
    _, records = catalogue
    sides, _ = splits.split(records, seed=5)
    groups = frozenset(
        splits.fingerprint(splits.group_of(record))
        for record, side in zip(records, sides, strict=True)
        if side == "train"
    )
    five = Training(groups, None, {"split_seed": 5, "shares": dict(splits.SHARES)})
    sample = sampling.draw(records, {"five": five}, count=100, seed=0, side="test")
    kept = {record.id for record in sample.records}
    assert kept == {r.id for r, side in zip(records, sides, strict=True) if side == "test"}
    # Whose val side is another's train side has the same test side.
    more = Training(groups, None, {"split_seed": 5, "shares": {"train": 0.75, "test": 0.25}})
    both = sampling.draw(records, {"five": five, "more": more}, count=100, seed=0, side="test")
    assert {record.id for record in both.records} == kept
    with pytest.raises(ArgumentError, match="test side of five"):
        sampling.draw(records, {"five": five}, count=100, seed=0, side="test", split_seed=1)


def test_categories_left_out(catalogue):
    _, records = catalogue
    bare = [*records, replace(records[0], id="bare", category=None)]
    sample = sampling.draw(bare, {}, count=100, seed=0, leave_out=["Shirt"])
    assert "Shirt" not in sample.category_names
    assert list(sample.left_out) == ["no category", "category Shirt"]
    with pytest.raises(ArgumentError, match="no category 'Shrit'"):
        sampling.draw(records, {}, count=100, seed=0, leave_out=["Shrit"])


def test_regrouped(catalogue):
    _, records = catalogue
    by_colour = sampling.regrouped(records, "colour")
    assert [r.group for r in by_colour] == [r.metadata["colour"] for r in records]
    with pytest.raises(ArgumentError, match="no picture has a column 'sender'"):
        sampling.regrouped(records, "sender")


def test_top_n_model_has_a_scope_of_its_own(catalogue, model, tmp_path):
    _, records = catalogue
    most = [name for name, _ in Counter(r.category for r in records).most_common(3)]
    file = trained(tmp_path / "top.onnx", [], classes=[*most, "Unseen"])
    study = evaluate(records, table_rows({"retrained-top": file}), tmp_path / "c", options=FAST)
    name = "VGG-16 re-trained, 4 most common"
    assert [each.name for each in study.rows if each.file] == [name]
    assert [scope.names for scope in study.scopes] == [None, tuple(sorted(most))]
    figure = value(study, name, "l2", scope=1)
    assert figure.queries == sum(record.category in most for record in records)
    control = value(study, CONTROL, "", scope=1).value
    assert control > value(study, CONTROL, "").value


def test_training_that_cannot_be_read():
    assert training_of({}, "x") == Training()
    for text in ("{", "[]", '{"trained_groups": 7}', '{"classes": 3}', '{"classes": [1]}'):
        with pytest.raises(ModelError, match="what it was trained on"):
            training_of({"training": text}, "x")


# features on disk -----------------------------------------------------------------------------


def test_features_are_computed_once_and_resumed(catalogue, model, tmp_path, monkeypatch):
    _, records = catalogue
    source = features_module.extractor(ModelRow("tiny", model), "cpu")
    whole = np.array(features_module.outputs(source, records, tmp_path, provider="cpu").features)
    [file] = tmp_path.glob("*.npy")

    seen = []
    stream = features_module._stream

    def counting(source, records, *more):
        seen.append(len(records))
        return stream(source, records, *more)

    monkeypatch.setattr(features_module, "_stream", counting)
    features_module.outputs(source, records, tmp_path, provider="cpu")
    assert seen == []
    # A kill leaves the beginning of the file, here with a torn row at its end.
    partial = file.with_suffix(".partial")
    partial.write_bytes(file.read_bytes()[: -30 * 4 * source.dim - 100])
    file.unlink()
    again = features_module.outputs(source, records, tmp_path, provider="cpu").features
    assert seen == [31]
    np.testing.assert_array_equal(again, whole)
    assert not partial.exists()


def test_features_know_the_file_behind_a_path(tmp_path, model):
    for number in range(3):
        Image.new("RGB", (9, 9), (90 * number, 9, 9)).save(tmp_path / f"{number}.png")
    records = [Record(str(n), tmp_path / f"{n}.png", category="a") for n in range(3)]
    source = features_module.extractor(ModelRow("tiny", model), "cpu")
    cache = tmp_path / "cache"
    before = np.array(features_module.outputs(source, records, cache, provider="cpu").features)
    Image.new("RGB", (9, 10), (1, 255, 1)).save(tmp_path / "1.png")
    after = features_module.outputs(source, records, cache, provider="cpu").features
    assert (before[1] != after[1]).any()
    np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])


def test_broken_pictures_are_left_out_for_all_rows(catalogue, model, tmp_path):
    _, records = catalogue
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    records = [*records[:9], replace(records[9], path=broken), *records[10:]]
    rows = [ModelRow("tiny", model), ModelRow("32x32 pixels", baseline="pixels")]
    study = evaluate(records, rows, tmp_path / "cache", options=FAST)
    assert study.sample.left_out == {"cannot be read": 1}
    assert records[9] not in study.sample.records
    assert all(np.isfinite(f.value) for f in study.figures)


# rows, files, command -------------------------------------------------------------------------


def test_rows_that_always_stand(model):
    rows = table_rows({"imagenet-fc2": model, "mine": model}, [ModelRow("slim", note="slim")])
    assert [row.name for row in rows if row.file is None and not row.baseline] == [
        "VGG-16 fc1 (fc6), ImageNet",
        "VGG-16 re-trained, all categories",
        "VGG-16 re-trained, N most common",
        "slim",
        "VGG-16 fc1, untrained",
    ]
    assert [row.file is None for row in rows[-5:]] == [True] * 5  # below the others
    assert [row.name for row in rows if row.file] == ["VGG-16 fc2 (fc7), ImageNet", "mine"]
    with pytest.raises(ArgumentError, match="named 'slim'"):
        table_rows({"slim": model}, [ModelRow("slim")])


@pytest.mark.posix
def test_the_packages_network_stands_once(model, tmp_path):
    assert packaged_rows({"mine": model}) == PACKAGED
    others = [row for row in PACKAGED if row.file != default_model()]
    assert len(others) == len(PACKAGED) - 1
    assert packaged_rows({"mine": default_model()}) == others
    (tmp_path / "link.onnx").symlink_to(default_model())
    assert packaged_rows({"imagenet-fc1": tmp_path / "link.onnx"}) == others
    assert packaged_rows({PACKAGED[0].name: model}) == list(PACKAGED[1:])


def test_command_writes_all_files(catalogue, model, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    source, records = catalogue
    output = tmp_path / "results"
    run(
        source, "--csv", "garments.csv", "-o", output, "--model", f"tiny={model}", "--queries",
        "30", "--leave-out", "Shirt", "--provider", "cpu", "--backend", "cpu",
    )  # fmt: skip
    said = capsys.readouterr()
    assert "VGG-16 fc1 (fc6), ImageNet: not run, no model file was given" in said.out
    assert "vsearch export --weights imagenet --layer fc1" in said.out
    assert f"vsearch train --data {source} --csv garments.csv --leave-out Shirt" in said.out
    assert "tiny: UNTRAINED weights" in said.out
    assert "Left out:\n" in said.out and ": category Shirt" in said.out
    table = [line for line in said.out.splitlines() if not line.startswith(("  ", "VGG", "Note"))]
    assert max(map(len, table)) <= 120

    record = json.loads((output / "results.json").read_text())
    assert record["command"].startswith("vsearch eval") and str(tmp_path) not in str(record)
    assert record["data"]["queries"] == 30
    assert record["versions"]["numpy"] == np.__version__
    assert len(record["not_run"]) == 5 and record["not_run"][0]["command"]
    with (output / "table.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(record["figures"]) + 5
    first = record["figures"][0]
    assert rows[0]["row"] == first["row"] == CONTROL
    assert float(rows[0]["value"]) == pytest.approx(first["value"], abs=1e-6)
    text = (output / "table.md").read_text()
    assert text.count("| not run |") == 3 * 5  # both rules, and the items and attributes
    assert f"| tiny | L2 | {_found(record, 'tiny', 'l2'):.3f} (" in text
    with Image.open(output / "accuracy.png") as picture:
        assert min(picture.size) > 500
    assert {file.name for file in (output / "sheets").iterdir()} == {
        "tiny.jpg", "vgg-16-of-this-package-for-anything.jpg",
        "slim-vgg-16-fc1-of-this-package.jpg", "32x32-pixels.jpg", "hsv-histogram.jpg",
    }  # fmt: skip
    assert record["data"]["left_out"] == {
        "category Shirt": sum(r.category == "Shirt" for r in records)
    }


def test_a_stopped_training_says_that_it_goes_on(catalogue, tmp_path, capsys, monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipes, "made_rows", stopped)
    run(catalogue[0], "--csv", "garments.csv", "-o", tmp_path, "--train", "tiny", code=130)
    assert "the same command goes on" in capsys.readouterr().err


def _found(record, row, distance):
    return next(
        f["value"]
        for f in record["figures"]
        if (f["row"], f["distance"], f["measure"], f["k"]) == (row, distance, "P", 1)
        and (f["rule"], f["average"]) == (OTHERS, "micro")
    )


def test_command_refuses(catalogue, model, tmp_path, capsys):
    source, _ = catalogue
    given = [source, "--csv", "garments.csv", "-o", tmp_path / "out"]
    run(*given, "--model", "x=missing.onnx", code=1)
    assert "missing.onnx" in capsys.readouterr().err
    run(*given, "--model", f"x={model}", "--model", f"x={model}", code=2)
    run(*given, "--group", "nothing", code=1)
    assert "no picture has a column 'nothing'" in capsys.readouterr().err
    run(*given, "--attribute", "pattern", "--attribute", "nothing", code=1)
    assert "The attributes are background, colour, colours, fabric" in capsys.readouterr().err
    run(*given, "--model", "just-a-file.onnx", code=2)
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / name / "1.png")
    run(tmp_path, "-o", tmp_path / "results", code=1)
    assert "take its contact sheets for data" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
