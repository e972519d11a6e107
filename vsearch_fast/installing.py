"""How to add an optional part to *this* installation, in words that work as they are.

The package is in no registry under its name, so ``pip install 'vsearch_fast[gpu]'`` would ask one
for whatever a stranger may register there. pip notes beside an installed package where it took
it from (PEP 610): from a folder, a wheel or a repository; the same source is named again.
"""

from __future__ import annotations

import json
import shlex
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

NAME = "vsearch_fast"


def how_to_install(extras: str) -> str:
    """The command that adds ``extras`` ("cpu,serve") to the installation that runs.

    Where its source is no longer there, the command for whoever fetches it again.
    """
    origin = _origin()
    url = str(origin.get("url", ""))
    if "dir_info" in origin or not origin:
        folder = _path(url) if origin else Path(__file__).resolve().parents[1]
        if (folder / "pyproject.toml").is_file():
            editable = "" if origin and not origin["dir_info"].get("editable") else "-e "
            return f"pip install {editable}{shlex.quote(f'{folder}[{extras}]')}"
    elif "vcs_info" in origin:
        found = origin["vcs_info"]
        commit = f"@{found['commit_id']}" if found.get("commit_id") else ""
        return f"pip install '{NAME}[{extras}] @ {found.get('vcs', 'git')}+{url}{commit}'"
    elif not url.startswith("file:") or _path(url).is_file():
        return f"pip install '{NAME}[{extras}] @ {url}'"
    if not origin and _distribution() is not None:  # of a registry, which then has the name
        return f"pip install '{NAME}[{extras}]'"
    return f"pip install '.[{extras}]' in the folder of {NAME}'s source"


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _distribution() -> Distribution | None:
    try:
        return distribution(NAME)
    except PackageNotFoundError:
        return None


def _origin() -> dict[str, Any]:
    """What PEP 610's file says of where this package came from; nothing where there is none.

    Nothing also where the installed package is not the one that runs: a checkout on the path.
    """
    found = _distribution()
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}") if found else {}
    except (OSError, ValueError):
        return {}
    if not isinstance(origin, dict) or not isinstance(origin.get("dir_info", {}), dict):
        return {}
    root = Path(__file__).resolve().parents[1]
    if (root / "pyproject.toml").is_file() and _path(str(origin.get("url", ""))) != root:
        return {}  # it runs from another checkout than the one that is installed
    return origin
