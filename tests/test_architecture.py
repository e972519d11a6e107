"""The house: which room may know which, what each room's face offers, and no circles.

Every import counts, lazy ones and those for types alone (`support/import_graph.py`).
"""

from __future__ import annotations

import ast
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from import_graph import ImportGraph, circles, floors, room_of

ROOT = Path(__file__).resolve().parents[1]
#: From the roof down: a room may import from those of lower lines alone.
HOUSE = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("web",),
    ("cluster", "rating", "export"),
    ("exchange", "results", "indexing", "evaluate", "bench"),
    ("shards",),
    ("datasets", "index", "embedder", "neighbors"),
    ("terminal", "search"),
    ("notebook",),
    ("images",),
    ("kernels", "models", "disk"),
    ("checks",),
    ("threads", "optional"),
    ("loading", "machine"),
    ("arithmetic", "errors", "installing", "system", "words", "version"),
)

#: What must never be known, whatever the floors say, and by whom.
STRANGERS = {
    "kernels": {"disk", "models"},
    "embedder": {"search", "index", "datasets", "export"},
    "datasets": {"index", "search", "embedder", "export"},
    "images": {"search", "index", "kernels"},
    "search": {"index", "images", "embedder", "disk", "export"},
    "index": {"images", "embedder", "datasets", "export"},
    "export": {"search", "index"},
}

FACES = {
    "": """Answers Embedder ExactNeighbors Hit Hits Index Item Label Likeness Proof Resident
           ShardedIndex Sketched Threshold __version__ connect datasets errors pack_bits
           range_search self_join self_join_blocks topk""",
    "cluster": "connect",
    "datasets": "Record deepfashion folder garments inshop",
    "datasets.garments": """CATEGORIES COLOURS GarmentInfo PATTERNS item_id read render
                            render_catalogue write_deepfashion""",
    "embedder": "Batch Embedder ImageSkippedWarning ProviderFallbackWarning Skipped embed_views",
    "evaluate": """Difference Figure ModelRow Options STANDARD Study evaluate table_rows write""",
    "export": "AdoptReport ExportReport adopt export write_classes",
    "images": """Box FORMATS IMAGE_SUFFIXES Look MAX_PIXELS RESIZE_FILTERS Source decode find_images
                 load look
                 pixel_box reduced upright_size""",
    "index": "Answers Duplicate DuplicateGroup Hit Hits Index Item Label Likeness Threshold",
    "kernels.reference": """BLOCK DISTANCE LANES METRICS Metric cosine hamming ip l1 l2 lane_sum
                            pack_bits range_search self_join topk""",
    "models": "DEFAULT SHIPPED Shipped default_model default_model_id model_path",
    "rating": """Judgement Picture Ratings Report Settings Study System Task make summarise
                 tasks""",
    "shards": "ShardedIndex",
    "search": """METRICS Metric Proof Resident Sketched available_threads pack_bits
                 range_search self_join self_join_blocks topk topk_segments""",
}


@pytest.fixture(scope="module")
def graph() -> ImportGraph:
    return ImportGraph(ROOT)


def test_every_room_has_its_floor(graph: ImportGraph) -> None:
    assert sorted(room for line in HOUSE for room in line) == sorted(graph.room_arrows)


def test_wheels_hold_every_package(graph: ImportGraph) -> None:
    """The list is written by hand, and what it lacks is missing from wheels alone."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    # Those of kernels/ and export/ are found through the links of the package's folder.
    there = {
        f"vsearch_fast.{module}".rstrip(".") for module in graph.files if graph.is_face(module)
    }
    assert sorted(listed) == sorted(there)


def test_arrows_run_one_way(graph: ImportGraph) -> None:
    floor = {room: number for number, line in enumerate(HOUSE) for room in line}
    upward = {
        f"{each.importer}:{each.line} -> {each.target}"
        for each in graph.imports
        if each.importer and room_of(each.importer) != room_of(each.target)
        and floor.get(room_of(each.target), -1) <= floor[room_of(each.importer)]
    }  # fmt: skip
    assert not upward


def test_there_is_no_circle(graph: ImportGraph) -> None:
    assert circles(graph.room_arrows) == []
    assert circles(graph.file_arrows) == []


@pytest.mark.parametrize("room", STRANGERS)
def test_rooms_that_know_nothing_of_each_other(room: str, graph: ImportGraph) -> None:
    assert not graph.room_arrows[room] & STRANGERS[room]


def test_kernels_know_the_ground_floor_alone(graph: ImportGraph) -> None:
    ground_floor = {room for line in HOUSE[-3:] for room in line}
    assert graph.room_arrows["kernels"] <= ground_floor


def test_the_export_is_known_to_commands_alone(graph: ImportGraph) -> None:
    assert {room for room, others in graph.room_arrows.items() if "export" in others} <= {
        "cli", "commands",
    }  # fmt: skip


def test_keras_is_the_exports_alone() -> None:
    found = {
        str(file.relative_to(ROOT))
        for top in ("vsearch_fast", "kernels")
        for file in (ROOT / top).rglob("*.py")
        if not file.is_relative_to(ROOT / "vsearch_fast" / "export")
        and {"tensorflow", "keras", "tf2onnx"} & set(_foreign(file))
    }
    assert not found


def test_files_import_from_files(graph: ImportGraph) -> None:
    """Inside the package nobody goes through a room's face: it is for those outside."""
    through_faces = {
        f"{each.importer}:{each.line} -> {each.target}.{each.name}"
        for each in graph.imports
        if graph.is_face(each.target) and each.importer and not graph.is_face(each.importer)
    }
    assert not through_faces


def test_imports_are_relative(graph: ImportGraph) -> None:
    absolute = re.compile(r"^\s*from vsearch_fast\b", re.MULTILINE)
    found = [module for module, file in graph.files.items() if absolute.search(file.read_text())]
    assert not found


def test_names_of_files_begin_with_no_underscore(graph: ImportGraph) -> None:
    doors = ("__init__.py", "__main__.py")
    assert not [
        file for file in graph.files.values() if file.name[0] == "_" and file.name not in doors
    ]


@pytest.mark.parametrize("room", FACES)
def test_faces_are_as_written_down(room: str) -> None:
    face = import_module(".".join(filter(None, ["vsearch_fast", room])))
    assert sorted(face.__all__) == sorted(FACES[room].split())
    for name in face.__all__:
        assert getattr(face, name) is not None


def test_other_rooms_have_no_face(graph: ImportGraph) -> None:
    """What has no ``__all__`` offers nothing: its ``__init__.py`` imports nothing."""
    faces = {each.importer for each in graph.imports if graph.is_face(each.importer)}
    assert faces - set(FACES) == set()


@pytest.mark.parametrize(
    "door",
    ["vsearch_fast", "vsearch_fast.bench", "vsearch_fast.evaluate", "vsearch_fast.export"],
)
def test_doors_are_there(door: str) -> None:
    assert (ROOT / Path(*door.split(".")) / "__main__.py").is_file()
    assert import_module(f"{door}.__main__").command


def test_the_graph_sees_lazy_and_type_imports_and_circles(tmp_path: Path) -> None:
    """The test's own instrument, on a house with every kind of arrow."""
    package = tmp_path / "vsearch_fast"
    files = {
        "__init__.py": "",
        "a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b.c import C\n",
        "b/__init__.py": "from .c import C\n__all__ = ['C']\n",
        "b/c.py": "class C:\n    def f(self):\n        from .. import a\n        return a\n",
        "d.py": "import vsearch_fast.b.c\nfrom . import b\n",
        "cli.py": 'COMMANDS = {"d": "d"}\n',
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    graph = ImportGraph(tmp_path)
    assert graph.room_arrows == {"a": {"b"}, "b": {"a"}, "d": {"b"}, "cli": {"d"}}
    assert circles(graph.room_arrows) == [["a", "b"]]
    assert circles(graph.file_arrows) == [["a", "b.c"]]
    assert floors(graph.room_arrows) == {"a": 0, "b": 0, "d": 1, "cli": 2}


def _foreign(file: Path) -> list[str]:
    """Top-level names of the packages that a file imports."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("top", ["vsearch_fast", "kernels", "export"])
def test_what_holds_arrays_is_told_apart_by_identity(top: str) -> None:
    """`==` of two arrays has no one truth, and so has that of two records which hold them:
    `in`, `remove` and `index` would raise where two of them meet."""
    compared = {
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
        for file in (ROOT / top).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(
            re.match(r"(dataclasses\.)?dataclass\b(?!.*\beq=False)", ast.unparse(decorator))
            for decorator in node.decorator_list
        )
        and any(
            re.search(r"\b(ndarray|NDArray)\b", ast.unparse(field.annotation))
            and not ast.unparse(field.annotation).startswith("Callable")
            for field in node.body
            if isinstance(field, ast.AnnAssign)
        )
    }
    assert not compared
