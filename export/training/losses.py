"""The contrastive loss: pictures that should match are drawn together, all others apart.

P. Khosla et al., *Supervised Contrastive Learning*, 2020, https://arxiv.org/abs/2004.11362
(the form with the sum over positives outside the logarithm).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

#: Columns of what the loss is told about a picture, all int32; see `keys`.
CLASS, GROUP, ITEM = range(3)


def keys(classes: np.ndarray, groups: np.ndarray, items: np.ndarray) -> np.ndarray:
    """What the loss is told: int32 (n, 3). An item of -1 has no second picture."""
    return np.stack([classes, groups, items], axis=1).astype(np.int32)


@keras.saving.register_keras_serializable(package="vsearch_fast")
class Contrastive(keras.losses.Loss):
    """Mean over a batch of -log p(positives), at this `temperature`, of unit features.

    A picture's positives are the others of its item where the item has several pictures,
    otherwise those of its class that *another* sender took: what two senders' dresses have in
    common is the dress, and not the floor. Pictures of its class and its sender count neither
    way. A picture without a positive in the batch has no part in the mean.
    """

    def __init__(self, temperature: float = 0.1, name: str = "contrastive") -> None:
        super().__init__(name=name)
        self.temperature = temperature

    def get_config(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "name": self.name}

    def call(self, y_true: Any, y_pred: Any) -> Any:
        told = ops.cast(y_true, "int32")
        features = ops.cast(y_pred, "float32")
        norms = ops.sqrt(ops.sum(ops.square(features), axis=1, keepdims=True) + 1e-12)
        unit = features / norms
        similar = ops.matmul(unit, ops.transpose(unit)) / self.temperature
        positive, counted = pairs(told)
        similar = ops.where(counted, similar, -1e9)
        log_p = similar - ops.logsumexp(similar, axis=1, keepdims=True)
        positive = ops.cast(positive, "float32")
        count = ops.sum(positive, axis=1)
        loss = -ops.sum(positive * log_p, axis=1) / ops.maximum(count, 1.0)
        # Scaled so that the mean over the batch is the mean over pictures with a positive.
        has_one = ops.cast(count > 0, "float32")
        share = ops.maximum(ops.mean(has_one), 1e-6)
        return loss * has_one / share


def pairs(told: Any) -> tuple[Any, Any]:
    """Of all pairs (n, n): which are positives, and which count at all (booleans)."""
    classes, groups, items = (told[:, column] for column in (CLASS, GROUP, ITEM))

    def same(values: Any) -> Any:
        return ops.equal(values[:, None], values[None, :])

    n = ops.shape(told)[0]
    other = ops.logical_not(ops.cast(ops.eye(n), "bool"))
    by_item = ops.greater_equal(items, 0)[:, None]
    same_class, same_group, same_item = same(classes), same(groups), same(items)
    sister = ops.logical_and(same_class, ops.logical_not(same_group))
    positive = ops.logical_and(ops.where(by_item, same_item, sister), other)
    company = ops.logical_and(same_class, same_group)
    neither = ops.logical_and(company, ops.logical_not(by_item))
    return positive, ops.logical_and(other, ops.logical_not(neither))
