"""A folder of small pictures that the pages' examples run in, drawn once."""

from __future__ import annotations

import csv
import shutil

import pytest

ITEMS, VIEWS, SIZE = 6, 3, (120, 150)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """What every page finds in its working folder:

    ``photos/CATEGORY/*.jpg``     two views of six garments
    ``query.jpg``                 a third view of the dress
    ``new-photos/*.jpg``          third views of two others
    ``broken.jpg``                cut off in the middle
    ``shop/items.csv``            the same photos as a list, in ``shop/images``
    ``vgg16-fc1.onnx``            the package's network under the name of the usual one
    """
    from vsearch_fast.datasets import garments
    from vsearch_fast.models import model_path

    root = tmp_path_factory.mktemp("drawn")
    records = garments.render_catalogue(
        root / "garments", items=ITEMS, views=VIEWS, size=SIZE, workers=1
    )
    work = root / "work"
    (work / "new-photos").mkdir(parents=True)
    (work / "shop" / "images").mkdir(parents=True)
    table: list[tuple[object, ...]] = [("image", "label", "product", "price", "kids")]
    for number, record in enumerate(records):
        item, view = divmod(number, VIEWS)
        if view < VIEWS - 1:
            photo = work / "photos" / record.category / record.path.name
            photo.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(record.path, photo)
            shutil.copy(record.path, work / "shop" / "images" / record.path.name)
            table.append((record.path.name, record.category, record.item, 10 + item, item % 2 == 1))
        elif record.category == "Dress":
            shutil.copy(record.path, work / "query.jpg")
        elif len(list((work / "new-photos").iterdir())) < 2:
            shutil.copy(record.path, work / "new-photos" / record.path.name)
    with (work / "shop" / "items.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)
    whole = (work / "query.jpg").read_bytes()
    (work / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    for ending in (".onnx", ".locate.onnx"):
        model = model_path("slim-clothing")  # small, and with boxes of its own
        shutil.copy(model.with_suffix(ending), work / f"vgg16-fc1{ending}")
    return work
