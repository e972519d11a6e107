"""The whole line on real photos: Keras -> ONNX -> index -> search, against Keras and NumPy.

The network is small, so that this takes seconds; `test_full_vgg16` is the real one.
"""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from slim_models import write_slim_model

from vsearch_fast import cli
from vsearch_fast.datasets import folder
from vsearch_fast.export import export
from vsearch_fast.index import Index
from vsearch_fast.kernels import reference
from vsearch_fast.search import METRICS, pack_bits
from vsearch_fast.words import JUDGED

COUNT = 320


def vsearch(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(a) for a in arguments])
    assert left.value.code == 0


@pytest.fixture
def listing(photos, tmp_path):
    """A CSV of the first photos, with the data set's own columns."""
    file = tmp_path / "some.csv"
    with (photos / "images.csv").open(newline="") as source, file.open("w", newline="") as target:
        csv.writer(target).writerows(list(csv.reader(source))[: COUNT + 1])
    return file


def index_photos(photos, listing, model, path):
    vsearch(
        "index", photos / "images", "--csv", listing, "--column", "path=image",
        "--column", "category=label", "--column", "group=sender_id",
        "-o", path, "--model", model, "--quiet",
    )  # fmt: skip


def keras_features(weights_model, paths, size):
    """What Keras itself makes of the files: load_img, preprocess_input, the layer fc1."""
    import keras

    network = keras.Model(weights_model.input, weights_model.get_layer("fc1").output)
    pictures = [
        keras.utils.img_to_array(keras.utils.load_img(path, target_size=(size, size)))
        for path in paths
    ]
    return network.predict(keras.applications.vgg16.preprocess_input(np.stack(pictures)), verbose=0)


def check_against_oracle(path, metrics=METRICS, queries=None):
    with Index.open(path) as index:
        ids = [item.id for item in index]
        features = index.features(ids)
        chosen = slice(queries)
        for metric in metrics:
            rows = pack_bits(features) if metric == "hamming" else features
            distances, numbers = reference.topk(rows[chosen], rows, 10, metric)
            answers = index.search(features[chosen], 10, metric)
            assert [[h.id for h in hits] for hits in answers] == [
                [ids[n] for n in row] for row in numbers
            ]
            assert [[h.distance for h in hits] for hits in answers] == distances.tolist()
    return ids, features


def test_photos_from_end_to_end(photos, listing, tmp_path, capsys):
    keras_file = write_slim_model(tmp_path / "slim.keras", size=64, units=512)
    report = export(keras_file, output=tmp_path / "slim.onnx")
    path = tmp_path / "photos.index"
    index_photos(photos, listing, report.path, path)
    ids, features = check_against_oracle(path)
    assert len(ids) == COUNT

    records = folder.read(
        photos / "images", csv=listing,
        columns={"path": "image", "category": "label", "group": "sender_id"},
    )  # fmt: skip
    assert [record.id for record in records] == ids
    import keras

    sample = range(0, COUNT, 16)
    theirs = keras_features(
        keras.models.load_model(keras_file), [records[i].path for i in sample], 64
    )
    ours = features[list(sample)]
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()

    # Each photo, searched for through the command, finds itself first, within the filter.
    capsys.readouterr()
    record = records[7]
    for metric in JUDGED:  # a long vector may have a larger inner product than the same photo
        vsearch("search", path, record.path, "--metric", metric, "--json",
                "--where", f"category={record.category}")  # fmt: skip
        hits = json.loads(capsys.readouterr().out)[0]["hits"]
        assert hits[0]["distance"] == 0
        assert hits[0]["id"] == record.id
        assert {hit["metadata"]["category"] for hit in hits} == {record.category}


@pytest.mark.full
def test_full_vgg16(photos, listing, tmp_path):
    """VGG-16 as it is, untrained, on 320 photos, 4096 features."""
    report = export("random:0", output=tmp_path / "vgg16.onnx")
    path = tmp_path / "photos.index"
    index_photos(photos, listing, report.path, path)
    _, features = check_against_oracle(path, queries=8)
    assert features.shape == (COUNT, 4096)
    assert 0.2 < (features > 0).mean() < 0.8
