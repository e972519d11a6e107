"""More than one machine: what is embedded, searched and served on a Ray cluster."""

from __future__ import annotations

from .connecting import connect

__all__ = ["connect"]
