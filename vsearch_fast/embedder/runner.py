"""One batch through the network: by `session.run`, or bound to buffers on a GPU.

::

    pixels uint8 ─► staging ─► device buffer ─► session ─► device buffers ─► what was asked
      (b, S, S, 3)   (B, S, S, 3), made once                features, codes   b rows

On a GPU the shape is always the same (B): every picture meets the same kernels whatever its
company, a photo that is searched for as well as the thousands that were indexed. The buffers keep
their addresses, as a CUDA graph wants them that a caller's own options ask for. A batch that
is not full carries pixels of an older one along. Little crosses the bus: pixels in as bytes,
and of the outputs those that were asked for; codes are 1/32 of the features.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from .providers import briefly

Run = Callable[[Sequence[str], Sequence[np.ndarray]], list[np.ndarray]]
"""Named outputs of pictures uint8 (S, S, 3), at least one: an array (b, ...) for each name."""


def plain(session: Any) -> Run:
    """Run through ``session.run``, a batch as large as it is: right for the CPU."""

    def run(outputs: Sequence[str], pixels: Sequence[np.ndarray]) -> list[np.ndarray]:
        results: list[np.ndarray] = session.run(list(outputs), {"image": np.stack(pixels)})
        return results

    return run


class BoundRunner:
    """Runs batches of up to `batch_size` pictures through buffers that are made once.

    `device` is ONNX Runtime's name of it ("cuda"; "cpu" works too, and is how this is
    tested without a GPU). One batch at a time: threads wait for each other.
    """

    def __init__(
        self,
        session: Any,
        ort: Any,
        *,
        device: str,
        device_id: int,
        batch_size: int,
        input_size: int,
        dim: int,
        code_bytes: int,
    ) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._provider = session.get_providers()[0]
        self._staging = np.zeros((batch_size, input_size, input_size, 3), np.uint8)
        make = ort.OrtValue.ortvalue_from_shape_and_type
        self._input = make(list(self._staging.shape), np.uint8, device, device_id)
        self._outputs = {
            "features": make([batch_size, dim], np.float32, device, device_id),
            "codes": make([batch_size, code_bytes], np.uint8, device, device_id),
        }
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("image", self._input)
        # Both, always: a captured graph writes where it wrote when it was captured, and codes
        # cost next to nothing beside the features they are made of.
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def __call__(self, outputs: Sequence[str], pixels: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The named outputs, one row a picture."""
        count = len(pixels)
        with self._lock:
            np.stack(pixels, out=self._staging[:count])
            try:
                self._input.update_inplace(self._staging)
                self._session.run_with_iobinding(self._binding)
                # Copied: on the CPU the array is the buffer itself, which the next batch fills.
                return [np.array(self._outputs[name].numpy()[:count]) for name in outputs]
            except Exception as error:  # ONNX Runtime's own types have no common base but this
                raise ModelError(
                    f"The network failed on {self._provider} ({briefly(error)})",
                    f"A batch of {count} pictures has no features",
                    "Where memory ran out, ask for a smaller batch_size; where you asked for a "
                    "CUDA graph, leave it out; or ask for the provider cpu",
                ) from error
