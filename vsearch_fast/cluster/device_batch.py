"""How many pictures a GPU takes at once, by its memory."""

from __future__ import annotations

import os
import subprocess

from ..embedder.embedder import GPU_BATCH_SIZE
from .embedding_units import PICTURES

#: Of the pictures' activations: two of the largest layers (64 channels of float32 a pixel, as in
#: VGG-16), and as much again for what cuDNN works in.
_BYTES_A_PIXEL = 2 * 2 * 64 * 4

#: Of the memory, after the weights: the rest is for fragments, CUDA itself and other processes.
_SHARE = 0.5

#: A unit of work: a batch that is larger would never be full.
LARGEST = PICTURES


def batch_for(memory: int, input_size: int, weights: int = 0) -> int:
    """Pictures a batch for a device: a power of two, from 1 to `LARGEST`.

    An estimate from above of what VGG-16 takes, the widest network there is here.

    Args:
        memory: bytes of the device, of which `weights` are the network's.
        input_size: S, of pictures of S x S pixels.
    """
    room = _SHARE * max(0, memory - weights)
    most = int(room // (_BYTES_A_PIXEL * input_size * input_size))
    return min(LARGEST, 1 << max(0, most.bit_length() - 1))


def device_memory() -> int | None:
    """Bytes of memory of the first GPU that this process may use; None where it cannot be told."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    query = ["nvidia-smi", "-i", visible]
    query += ["--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        return int(told.split()[0]) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def batch_for_device(input_size: int, weights: int) -> int:
    """`batch_for` this process's GPU, and what an Embedder takes by itself where it is unknown."""
    memory = device_memory()
    return GPU_BATCH_SIZE if memory is None else batch_for(memory, input_size, weights)
