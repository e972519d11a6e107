"""A CUDA device through CuPy: compiles the sources once, launches them, moves memory.

CuPy keeps what it compiled in its own cache folder, by source, options and device, so a process
compiles only what no process before it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...loading import package
from . import sources
from .arguments import Record
from .device import Shape


class CudaDevice:
    """A device of `vsearch_fast.kernels.cuda.device.Device`, by its CUDA number."""

    def __init__(self, number: int) -> None:
        self._cupy: Any = package("cupy")
        self.number = number
        properties = self._cupy.cuda.runtime.getDeviceProperties(number)
        self.name = properties["name"].decode()
        self.capability = (int(properties["major"]), int(properties["minor"]))
        self.processors = int(properties["multiProcessorCount"])
        self.shared_limit = int(properties["sharedMemPerBlockOptin"])
        self.spare: list[Any] = []
        self.avoided: set[str] = set()
        self._modules: dict[str, Any] = {}
        self._kernels: dict[str, Any] = {}
        self._shapes: dict[str, Shape] = {}
        self._compiling = Lock()

    def __repr__(self) -> str:
        return f"<CudaDevice {self.number}: {self.name}>"

    def use(self) -> Any:
        return self._cupy.cuda.Device(self.number)

    @cached_property
    def _sending(self) -> Any:
        """The stream of transfers, beside that of the work."""
        with self.use():
            return self._cupy.cuda.Stream(non_blocking=True)

    # Memory

    def free_bytes(self) -> int:
        with self.use():
            free, _ = self._cupy.cuda.runtime.memGetInfo()
            return int(free + self._cupy.get_default_memory_pool().free_bytes())

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> Any:
        return self._cupy.empty(tuple(shape), dtype)

    def upload(self, host: NDArray) -> Any:
        return self._cupy.asarray(np.ascontiguousarray(host))

    def write(self, target: Any, host: NDArray) -> None:
        host = np.ascontiguousarray(host, target.dtype)
        if target.flags.c_contiguous:
            target.set(host)
        else:
            target[...] = self._cupy.asarray(host)

    def copy(self, target: Any, source: Any) -> None:
        target[...] = source

    def fill(self, target: Any, value: int) -> None:
        target.fill(target.dtype.type(value))

    def download(self, source: Any) -> NDArray:
        return self._cupy.asnumpy(source)

    # Work

    def _module(self, unit: str) -> Any:
        if unit not in self._modules:
            self._modules[unit] = self._cupy.RawModule(
                code=sources.source(unit), options=sources.options(self.capability)
            )
        return self._modules[unit]

    def _kernel(self, kernel: str) -> Any:
        with self._compiling:
            if kernel not in self._kernels:
                self._kernels[kernel] = self._module(sources.unit_of(kernel)).get_function(kernel)
            return self._kernels[kernel]

    def shape_of(self, kernel: str) -> Shape:
        with self._compiling:
            if kernel not in self._shapes:
                constant = self._module(sources.unit_of(kernel)).get_global(f"{kernel}_shape")
                numbers = self._cupy.ndarray((7,), np.int32, constant).get()
                self._shapes[kernel] = Shape(*map(int, numbers))
            return self._shapes[kernel]

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        shared: int,
        arguments: Sequence[Any],
    ) -> None:
        function = self._kernel(kernel)
        if shared > function.max_dynamic_shared_size_bytes:
            function.max_dynamic_shared_size_bytes = shared
        null = np.uint64(0)
        given = tuple(
            null
            if argument is None
            else argument.packed(lambda array: array.data.ptr)
            if isinstance(argument, Record)
            else argument
            for argument in arguments
        )
        function((*grid, 1), (threads, 1, 1), given, shared_mem=shared)

    # Transfers beside the work

    def pinned(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray:
        size = int(np.prod(shape, dtype=np.int64))
        memory = self._cupy.cuda.alloc_pinned_memory(max(1, size * np.dtype(dtype).itemsize))
        return np.frombuffer(memory, dtype, size).reshape(tuple(shape))

    def send(self, target: Any, host: NDArray, after: Any) -> Any:
        if after is not None:
            self._sending.wait_event(after)
        target.set(host, stream=self._sending)
        return self._sending.record()

    def mark(self) -> Any:
        return self._cupy.cuda.get_current_stream().record()

    def work_after(self, mark: Any) -> None:
        self._cupy.cuda.get_current_stream().wait_event(mark)

    def wait_for(self, mark: Any) -> None:
        mark.synchronize()
