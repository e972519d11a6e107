"""The package's version, which model files and indexes record."""

from __future__ import annotations

__version__ = "0.1.0"
