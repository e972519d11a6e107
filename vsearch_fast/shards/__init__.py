"""One index in several: ordinary indexes, and a list that says which."""

from __future__ import annotations

from .index import ShardedIndex

__all__ = ["ShardedIndex"]
