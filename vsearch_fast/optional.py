"""Packages of others that only some users have."""

from __future__ import annotations

from types import ModuleType

from .errors import MissingDependencyError
from .installing import how_to_install
from .loading import package


def optional(name: str, cause: str, consequence: str, extra: str, instead: str = "") -> ModuleType:
    """The package, or a module of it.

    Args:
        name: to import.
        cause, consequence: of the error where it is not installed.
        extra: brings it.
        instead: what else one can do.

    Raises:
        MissingDependencyError: it cannot be imported.
    """
    try:
        package(name.partition(".")[0])  # as a whole, before any part of it
        return package(name)
    except ImportError as error:
        cure = how_to_install(extra) + (f", or {instead}" if instead else "")
        raise MissingDependencyError(cause, consequence, cure) from error
