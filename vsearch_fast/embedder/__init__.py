"""Features of pictures, by a network in an ONNX file."""

from __future__ import annotations

from .embedder import Batch, Embedder, ImageSkippedWarning, Skipped
from .providers import ProviderFallbackWarning
from .views import embed_views

__all__ = [
    "Batch",
    "Embedder",
    "ImageSkippedWarning",
    "ProviderFallbackWarning",
    "Skipped",
    "embed_views",
]
