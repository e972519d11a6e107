"""The network that comes with the package; CARD.md says what it is and what it is not.

A slim VGG-16, trained on public-domain photos of clothing and on drawn garments, so that the
first search shows matches without a download. A catalogue of other things deserves another:
``vsearch export`` for the full VGG-16 with ImageNet weights, ``vsearch train`` for one's own.
"""

from __future__ import annotations

from .shipped import default_model, default_model_id

__all__ = ["default_model", "default_model_id"]
