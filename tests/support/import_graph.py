"""Who imports whom inside the package: files, rooms, floors, arrows and circles.

    python tests/support/import_graph.py [CHECKOUT] [--rooms]

A room is a folder of the package, or a file that stands beside the folders. Every import counts:
lazy ones inside functions, and those for types alone. Names of commands in `cli.COMMANDS` count as
the imports that they become. Nothing of the package is run.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "vsearch_fast"

#: Folders that stand at the top of the checkout, and in the package by a link.
_AT_TOP = ("kernels", "export")

Arrows = dict[str, set[str]]


@dataclass(frozen=True)
class Import:
    """One name that a file imports: ``target`` is the module that is named, or holds it."""

    importer: str
    target: str
    name: str
    line: int


class ImportGraph:
    """The imports of a checkout's package, by module name without the package's own.

    The face of a room ``search`` is the module ``search``; the package's own is ``""``.
    """

    def __init__(self, checkout: Path) -> None:
        self.files = dict(_modules(checkout))
        self.imports = [
            each
            for module, file in self.files.items()
            for each in self._imports(module, file)
            if each.target != module
        ]

    def _imports(self, module: str, file: Path) -> Iterator[Import]:
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == PACKAGE:
                        target = alias.name[len(PACKAGE) + 1 :]
                        yield Import(module, self._known(target), "", node.lineno)
            elif isinstance(node, ast.ImportFrom):
                source = _source(node, package)
                if source is None:
                    continue
                for alias in node.names:
                    inside = f"{source}.{alias.name}".lstrip(".")
                    target = inside if inside in self.files else self._known(source)
                    yield Import(module, target, alias.name, node.lineno)
        if module == "cli":
            for name in _commands(tree):
                yield Import(module, self._known(name), "command", 0)

    def _known(self, module: str) -> str:
        assert module in self.files, f"an import of {module}, which is no module of the package"
        return module

    def is_face(self, module: str) -> bool:
        """Whether a module is a folder's ``__init__.py``."""
        return self.files[module].name == "__init__.py"

    @cached_property
    def file_arrows(self) -> Arrows:
        """Who imports whom, file by file."""
        arrows: Arrows = {module: set() for module in self.files}
        for each in self.imports:
            arrows[each.importer].add(each.target)
        return arrows

    @cached_property
    def room_arrows(self) -> Arrows:
        """Who imports whom, room by room; the package's own face and ``python -m`` doors apart."""
        arrows: Arrows = {room_of(module): set() for module in self.files if module}
        for each in self.imports:
            here, there = room_of(each.importer), room_of(each.target)
            if here != there and here and there:
                arrows[here].add(there)
        return arrows


def room_of(module: str) -> str:
    """The room that a module is in."""
    return module.split(".")[0]


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Strongly connected parts of more than one (R. Tarjan, 1972), each sorted."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in arrows[node]:
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            part = [stack.pop()]
            while part[-1] != node:
                part.append(stack.pop())
            if len(part) > 1:
                found.append(sorted(part))

    for node in arrows:
        if node not in number:
            visit(node)
    return found


def floors(arrows: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """The floor of each node, from 0: one above the highest that it imports. A circle is one."""
    lumped = {node: node for node in arrows}
    for part in circles(arrows):
        lumped |= dict.fromkeys(part, part[0])
    below: dict[str, set[str]] = {node: set() for node in lumped.values()}
    for node, others in arrows.items():
        below[lumped[node]] |= {lumped[other] for other in others} - {lumped[node]}
    level: dict[str, int] = {}

    def of(node: str) -> int:
        if node not in level:
            level[node] = 1 + max(map(of, below[node]), default=-1)
        return level[node]

    return {node: of(lumped[node]) for node in arrows}


def _modules(checkout: Path) -> Iterator[tuple[str, Path]]:
    for top, prefix in ((checkout / PACKAGE, ""), *((checkout / name, name) for name in _AT_TOP)):
        for file in sorted(top.rglob("*.py")):
            parts = file.relative_to(top).with_suffix("").parts
            if not prefix and parts[0] in _AT_TOP:
                continue
            if parts[-1] == "__init__":
                parts = parts[:-1]
            yield ".".join([*([prefix] if prefix else []), *parts]), file


def _source(node: ast.ImportFrom, package: str) -> str | None:
    """The module that names are imported from; None where it is not of the package."""
    if node.level == 0:
        whole = node.module or ""
        if whole == PACKAGE:
            return ""
        return whole[len(PACKAGE) + 1 :] if whole.startswith(PACKAGE + ".") else None
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _commands(tree: ast.Module) -> list[str]:
    """The modules that `cli.COMMANDS` names."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMMANDS":
            return list(ast.literal_eval(node.value).values())
    return []


def _tell(graph: ImportGraph, rooms: bool) -> None:
    for what, arrows in (("rooms", graph.room_arrows), ("files", graph.file_arrows)):
        found = circles(arrows)
        print(
            f"{len(arrows)} {what} on {max(floors(arrows).values()) + 1} floors, "
            f"{sum(map(len, arrows.values()))} arrows, {len(found)} circles"
        )
        for part in found:
            print(f"  circle of {len(part)}: {', '.join(part)}")
    if rooms:
        level = floors(graph.room_arrows)
        for floor in sorted(set(level.values()), reverse=True):
            print(f"floor {floor}")
            for room in sorted(room for room, at in level.items() if at == floor):
                print(f"  {room:12} -> {', '.join(sorted(graph.room_arrows[room])) or '-'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    here = Path(__file__).resolve().parents[2]
    parser.add_argument("checkout", nargs="?", type=Path, default=here, help="this one by default")
    parser.add_argument("--rooms", action="store_true", help="list each room with its arrows")
    arguments = parser.parse_args()
    _tell(ImportGraph(arguments.checkout), arguments.rooms)


if __name__ == "__main__":
    main()
