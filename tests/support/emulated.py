"""A CUDA device for tests: the kernels' own code, compiled by g++ against `emulation.h`.

Tiles are shrunk, so that small inputs cross every border. Arrays end where a page ends that
nothing may touch: a kernel that reads or writes beyond one does not go unnoticed. Each launch has a
seed, by what it is given, which orders what a device may do in any order; and arguments must be of
the types of the kernel's parameters. What is queued on the two streams of a device is noted, and
accesses that nothing orders fail (`ordering`); the host cannot compute with a device's arrays.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import os
import shutil
import subprocess
import tempfile
import threading
import weakref
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import portalocker
import pytest
from kernel_access import accesses
from ordering import TRANSFERS, WORK, Mark, Order

from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.arguments import Record
from vsearch_fast.kernels.cuda.device import Shape

#: Sizes of `tiles.cuh`; the second set has other proportions. `REAL_TILES` are those of a device:
#: of them there are the kernels' shapes alone, and nothing to launch.
TILES = {
    "small": {
        "TILE_THREADS": 8, "TILE_QUERIES": 2, "TILE_ROWS": 2, "TILE_BYTES": 32, "TILE_STAGES": 3,
        "WARPS_QUERIES": 1, "WARPS_ROWS": 2, "WARP_M": 1, "WARP_N": 2, "WARP_STAGES": 3,
        "WARPGROUPS": 1, "WARPGROUP_M": 1, "WGMMA_ROWS": 16, "WARPGROUP_STAGES": 4,
        "STREAM_WARPS": 2, "STREAM_ROWS": 3, "REDUCED_QUERIES": 3, "BLOCK": 64,
    },
    "odd": {
        "TILE_THREADS": 8, "TILE_QUERIES": 1, "TILE_ROWS": 3, "TILE_BYTES": 16, "TILE_STAGES": 2,
        "WARPS_QUERIES": 2, "WARPS_ROWS": 1, "WARP_M": 2, "WARP_N": 4, "WARP_STAGES": 2,
        "WARPGROUPS": 2, "WARPGROUP_M": 2, "WGMMA_ROWS": 8, "WARPGROUP_STAGES": 3,
        "STREAM_WARPS": 1, "STREAM_ROWS": 1, "REDUCED_QUERIES": 1, "BLOCK": 32,
    },
}  # fmt: skip

REAL_TILES = "real"

#: How the compiler works, and where what it made is kept.
WARNING = ("-Wall", "-Werror", "-Wno-unknown-pragmas")
OPTIMISED = ("-O1", *WARNING, "-fsanitize=alignment")
SHAPES = ("-O0", *WARNING, "-DSHAPES_ALONE")
KEPT = Path(tempfile.gettempdir()) / f"vsearch-emulation-{os.getuid()}"

#: The emulation's state is global, as a device's is to its kernels.
_one_at_a_time = threading.Lock()


@cache
def _library(
    unit: str, tiles: str, capability: tuple[int, int], watched: bool = False
) -> ctypes.CDLL:
    """The unit, for a device, with these tiles."""
    text, asked = machine_code(unit, capability)
    if tiles == REAL_TILES:
        text = f'#include "{unit}.cu"\n'
    return compiled(unit, text, sources.source(unit), tiles, asked, watched)


def machine_code(unit: str, capability: tuple[int, int]) -> tuple[str, tuple[str, ...]]:
    """What decides how a unit is compiled for a device: its text, and features that it asks for.

    Devices of which both are equal run the same code: it is compiled once for all of them.
    """
    names = sources.kernels_of(unit, capability)
    text = f'#include "{unit}.cu"\n' + "".join(f"EXPORT({name})\n" for name in names)
    features = sources.features_of(capability)
    return text, tuple(name for name in features if name in sources.source(unit))


def compiled(
    name: str, text: str, includes: str, tiles: str, features: Sequence[str], watched: bool = False
) -> ctypes.CDLL:
    """A source, compiled against the emulation; kept by what it was made of.

    Args:
        includes: the text of what it includes, but for headers.
        tiles: a key of `TILES`, or `REAL_TILES`.
        features: of the device, as `sources.features_of` has them.
        watched: whether plain loads and stores have clocks, too (`emulation_watch.h`).
    """
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: CUDA kernels are not emulated")
    here = Path(__file__).resolve().parent
    flags = [
        "-std=c++17", *(SHAPES if tiles == REAL_TILES else OPTIMISED), "-fPIC",
        "-fno-gnu-unique", "-ffp-contract=off", "-DEMULATION", f"-I{sources.FOLDER}", f"-I{here}",
        *(f"-D{size}={value}" for size, value in TILES.get(tiles, {}).items()),
        *(f"-D{feature}" for feature in features),
        *(("-fsanitize=thread", "-DWATCHED") if watched else ()),
    ]  # fmt: skip
    headers = [header.read_text() for header in sorted(here.glob("emulation*.h"))]
    made_of = (text, includes, flags, sources.digest(), *headers)
    key = hashlib.sha256(repr(made_of).encode()).hexdigest()[:20]
    KEPT.mkdir(mode=0o700, exist_ok=True)
    library = KEPT / f"{name}-{key}.so"
    if not library.exists():
        # Who comes second waits: tests run in several processes, which need the same units.
        with portalocker.Lock(library.with_suffix(".lock"), timeout=300):
            if not library.exists():
                _compile(text, flags, library)
    return ctypes.CDLL(str(library))


def _compile(text: str, flags: Sequence[str], library: Path) -> None:
    building = library.with_suffix(".building")
    made = library.with_suffix(".o")
    subprocess.run(
        ["g++", *flags, "-c", "-x", "c++", "-", "-o", str(made)],
        input=text, text=True, check=True,
    )  # fmt: skip
    # Without -fsanitize: its library would answer in place of the emulation.
    subprocess.run(["g++", "-shared", str(made), "-o", str(building)], check=True)
    made.unlink()
    building.replace(library)


class EmulatedDevice:
    """`vsearch_fast.kernels.cuda.device.Device` on the processor."""

    shared_limit = 227 << 10

    def __init__(
        self, capability: tuple[int, int] = (9, 0), tiles: str = "small", memory: int = 1 << 30,
        watched: bool = False,
    ) -> None:  # fmt: skip
        self.name = f"emulation of {sources.architecture(capability)}"
        self.capability = capability
        # On one processor, one block takes all tiles of rows one after the other.
        self.processors = 1 if tiles == "odd" else 3
        self.launched: list[str] = []
        self.spare: list[Any] = []
        self.order = Order()
        _devices.add(self)
        self.avoided: set[str] = set()
        self._tiles = tiles
        self.watched = watched  # whether plain loads and stores of its kernels have clocks
        self._memory = memory

    def use(self) -> Any:
        return contextlib.nullcontext()

    def free_bytes(self) -> int:
        return self._memory

    def empty(self, shape: Sequence[int], dtype: Any) -> OnDevice:
        array, pages = guarded(tuple(shape), np.dtype(dtype))
        array.view(np.uint8).fill(0xA5)
        self.order.allocated(array.ctypes.data, array.nbytes)
        weakref.finalize(pages, self.order.freed, array.ctypes.data).atexit = False
        return array.view(OnDevice)

    def upload(self, host: np.ndarray) -> OnDevice:
        array = self.empty(host.shape, host.dtype)
        self.write(array, host)
        return array

    def write(self, target: OnDevice, host: np.ndarray) -> None:
        # Memory that is not pinned has been read when a transfer is queued.
        self.order.does(WORK, "a write", [(target, True)])
        inside(target)[...] = host

    def copy(self, target: OnDevice, source: OnDevice) -> None:
        self.order.does(WORK, "a copy", [(source, False), (target, True)])
        inside(target)[...] = inside(source)

    def fill(self, target: OnDevice, value: int) -> None:
        self.order.does(WORK, "a fill", [(target, True)])
        inside(target).fill(value)

    def download(self, source: OnDevice) -> np.ndarray:
        self.order.does(WORK, "a download", [(source, False)])
        self.order.host_waits()
        return inside(source).copy()

    def _library_of(self, kernel: str) -> ctypes.CDLL:
        unit = sources.unit_of(kernel)
        if self.watched:
            return _library(unit, self._tiles, self.capability, True)
        return _library(unit, self._tiles, self.capability)

    def shape_of(self, kernel: str) -> Shape:
        library = self._library_of(kernel)
        return Shape(*(ctypes.c_int * 7).in_dll(library, f"{kernel}_shape"))

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        shared: int,
        arguments: Sequence[Any],
    ) -> None:
        assert threads % 32 == 0
        assert shared <= self.shared_limit
        assert min(grid) > 0
        assert grid[1] <= 65535
        library = self._library_of(kernel)
        signature = getattr(library, f"signature_{kernel}")
        signature.restype = ctypes.c_char_p
        types = signature().decode().split(",")[:-1]
        values: list[Any] = []
        for argument, wanted in zip(arguments, types, strict=True):
            given = type_of(argument, wanted)
            assert given == wanted, f"{kernel} takes {wanted}, not {given}"
            if argument is None:
                values.append(ctypes.c_void_p(None))
            elif isinstance(argument, Record):
                packed = argument.packed(address)
                values.append((ctypes.c_char * packed.nbytes).from_buffer_copy(packed.tobytes()))
            elif isinstance(argument, np.ndarray):
                values.append(ctypes.c_void_p(address(argument)))
            else:
                values.append(np.ctypeslib.as_ctypes_type(type(argument))(argument))
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        self.launched.append(kernel)
        self.order.does(WORK, kernel, accesses(kernel, arguments))
        run = getattr(library, f"emulate_{kernel}")
        run.restype = ctypes.c_char_p
        seed = ctypes.c_ulonglong(seed_of(arguments))
        with _one_at_a_time:
            for array, writes in accesses(kernel, arguments) if self.watched else ():
                if writes:
                    library.watch_array(
                        ctypes.c_void_p(address(array)), ctypes.c_ulonglong(array.nbytes)
                    )
            trouble = run(
                seed, *map(ctypes.c_uint, (*grid, threads, self.shape_of(kernel).cluster)),
                ctypes.c_ulonglong(shared), pointers,
            )  # fmt: skip
        assert not trouble, f"{kernel}, seed {seed.value}: {trouble.decode()}"

    def pinned(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        array: np.ndarray = np.empty(tuple(shape), dtype)
        bounds = array.ctypes.data, array.ctypes.data + array.nbytes
        weakref.finalize(array, self.order.pinned_freed, *bounds).atexit = False
        return array

    def send(self, target: OnDevice, host: np.ndarray, after: Mark | None) -> Mark:
        if after is not None:
            self.order.waits(TRANSFERS, after)
        self.order.does(TRANSFERS, "a transfer", [(target, True)])
        if host.size:
            self.order.reads_pinned(TRANSFERS, "a transfer", host)
        inside(target)[...] = host
        return self.order.mark(TRANSFERS)

    def mark(self) -> Mark:
        return self.order.mark(WORK)

    def work_after(self, mark: Mark) -> None:
        self.order.waits(WORK, mark)

    def wait_for(self, mark: Mark) -> None:
        self.order.host_waits(mark)


#: Devices of which a test asks afterwards whether all was in order.
_devices: weakref.WeakSet[EmulatedDevice] = weakref.WeakSet()


def disorder() -> list[str]:
    """What was not in order on any device since this was asked, each once."""
    found = (fault for device in _devices for fault in device.order.take_faults())
    return list(dict.fromkeys(found))


class OnDevice(np.ndarray):
    """An array of a device: its shape, its dtype and its slices are all that a host may use."""

    def __array_ufunc__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("the host computes with an array of the device: download it")

    __array_function__ = __array_ufunc__
    copy = tolist = item = sum = max = min = any = all = fill = astype = __array_ufunc__

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        assert all(isinstance(one, slice) for one in keys), "an array of the device has slices only"
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__array_ufunc__()


def inside(array: np.ndarray) -> np.ndarray:
    """A device's array as its kernels see it."""
    return array.view(np.ndarray)


#: Types of the sources by those of NumPy.
_NAMES: dict[type, str] = {
    np.uint8: "u8", np.uint32: "u32", np.uint64: "u64", np.int32: "int", np.int64: "i64",
    np.float32: "float", np.float64: "double",
}  # fmt: skip


def type_of(argument: Any, wanted: str) -> str:
    """An argument's type as the sources name it; a null pointer is of the type that is wanted."""
    if argument is None:
        return wanted if wanted.endswith("*") else "a null pointer"
    if isinstance(argument, Record):
        return f"struct of {argument.struct.layout.itemsize}"
    if isinstance(argument, np.ndarray):
        return _NAMES.get(argument.dtype.type, str(argument.dtype)) + "*"
    return _NAMES.get(type(argument), type(argument).__name__)


def seed_of(arguments: Sequence[Any], seed: int = 0) -> int:
    """A number that is the same for the same arguments: of arrays, their first KiB counts."""
    for argument in arguments:
        if isinstance(argument, Record):
            seed = seed_of(argument.values, seed)
        elif argument is not None:
            seed = zlib.crc32(np.asarray(argument).reshape(-1)[:1024].tobytes()[:1024], seed)
    return seed


def address(array: np.ndarray) -> int:
    """Where an array is that a kernel takes."""
    assert array.flags.c_contiguous
    return array.ctypes.data


_libc = ctypes.CDLL(None, use_errno=True)


class _Guarded:
    """Pages of memory and one behind them that nothing may touch."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self.size = -(-max(1, size) // page) * page
        self._map = mmap.mmap(-1, self.size + page)
        self._view = (ctypes.c_char * (self.size + page)).from_buffer(self._map)
        self.base = ctypes.addressof(self._view)
        none = 0
        if _libc.mprotect(ctypes.c_void_p(self.base + self.size), ctypes.c_size_t(page), none):
            raise OSError(ctypes.get_errno(), "mprotect")

    def __del__(self) -> None:
        readable_and_writable = 3
        page = ctypes.c_size_t(mmap.PAGESIZE)
        _libc.mprotect(ctypes.c_void_p(self.base + self.size), page, readable_and_writable)


def guarded(shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, _Guarded]:
    """An array that ends, to 16 bytes, where a page ends that nothing may touch; and its pages,
    which live as long as it does."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    size16 = -(-size // 16) * 16
    pages = _Guarded(size16)
    start = pages.base + pages.size - size16
    memory = (ctypes.c_char * size).from_address(start)
    memory._pages = pages  # type: ignore[attr-defined]
    items = np.frombuffer(memory, dtype, size // dtype.itemsize)  # type: ignore[call-overload]
    return items.reshape(shape), pages
