"""Files mapped into memory that take no descriptor.

Python's `mmap` keeps a copy of the descriptor for as long as the map lives, so that an index of
hundreds of segments meets the limit of open files (`ulimit -n` is 1024 as a rule). The kernel
needs none: a map stays when its file is closed. Windows has neither that limit nor such a call:
there it is Python's, and who holds a map keeps its file from being removed or replaced.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref

import numpy as np
from numpy.typing import DTypeLike

from ..system import c_library

_libc = c_library()
if _libc is not None:
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64,
    ]  # fmt: skip
    _libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


class _Map:
    """The owner of a map, which NumPy reads through its array interface."""

    def __init__(self, address: int, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (address + offset, True),  # read-only
            "typestr": dtype.str,
            "shape": shape,
        }


def map_array(descriptor: int, offset: int, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """A read-only array over a file from byte `offset` on, which must be that long.

    Reading a part that was cut off since ends the process (SIGBUS), as with every map.

    Raises:
        OSError: the system refuses; ENOMEM is its limit on address space or maps.
    """
    kind = np.dtype(dtype)
    length = offset + int(np.prod(shape)) * kind.itemsize
    if length == 0:
        return np.empty(shape, kind)
    if _libc is None:
        held = mmap.mmap(descriptor, length, access=mmap.ACCESS_READ)
        return np.ndarray(shape, kind, held, offset)
    address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == _FAILED:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    owner = _Map(address, offset, shape, kind)
    # At exit the system unmaps; threads may still be reading then.
    weakref.finalize(owner, _libc.munmap, address, length).atexit = False
    return np.asarray(owner)
