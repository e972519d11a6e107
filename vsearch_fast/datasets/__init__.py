"""Readers of picture collections. Each gives a list of `Record`, one a picture:

`folder.read`        a folder of pictures, with a sub-folder a category, or a CSV
`deepfashion.read`   DeepFashion's category and attribute benchmark (`.write` writes its format)
`inshop.read`        DeepFashion's in-shop benchmark: items in several views
`garments`           a catalogue of rendered garments that needs no download

A wrong file raises `DatasetError`, which names the file and the line. The modules are imported
when they are first used.
"""

from importlib import import_module
from types import ModuleType

from .records import Record

__all__ = ["Record", "deepfashion", "folder", "garments", "inshop"]


def __getattr__(name: str) -> ModuleType:
    if name in ("deepfashion", "folder", "garments", "inshop"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
