"""The networks that come with the package; their cards say what each is and what it is not.

Today it is one, a slim VGG-16, trained on public-domain photos of clothing and on drawn garments,
so that the first search shows matches without a download. A catalogue of other things deserves
another: ``vsearch export`` for the full VGG-16 with ImageNet weights, ``vsearch train`` for one's
own.
"""

from __future__ import annotations

from .shipped import DEFAULT, SHIPPED, Shipped, default_model, default_model_id, model_path

__all__ = ["DEFAULT", "SHIPPED", "Shipped", "default_model", "default_model_id", "model_path"]
