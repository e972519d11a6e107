"""Which devices there are, whether they can be trusted, and one search on all of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from threading import Event, Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._cascade import Work
from .._pool import run
from ..errors import DeviceError, MissingDependencyError, VsearchError
from ..kernels.cuda import sources
from ..kernels.cuda.device import Device
from ..sketches import Sketch, as_float32
from .blocks import Block
from .host import HostRows
from .passing import Passing, parts_of, pass_through
from .resident import ResidentRows
from .search import Problem, search

#: Numbers a row up to which sums of squares of 8-bit sketches fit 32 bits, and float32 sums
#: have a bound.
LARGEST_SKETCHED = 66_000
_LARGEST_DIM = 1 << 22
_LARGEST_ID = (1 << 32) - 2
_LARGEST_K = 1 << 20

#: Queries and bytes of rows from which sending rows to a device is likely to pay: a bus moves
#: some 20 GB/s, by which two processor cores search for 20 codes or 40 float rows. Estimated.
_WORTH_QUERIES = 64
_WORTH_BYTES = 256 << 20

_CURE = "Use backend='cpu', or see `vsearch gpu` for what is missing"

_ROWS_READ = 1024

#: Error of a device that gave wrong results in this process, by its number.
_distrusted: dict[str, str] = {}
_checking = Lock()


def installed() -> bool:
    """Whether CuPy can be imported; without importing it, which takes a second."""
    return find_spec("cupy") is not None


@cache
def devices() -> tuple[Device, ...]:
    """All CUDA devices that this process may use.

    Raises:
        MissingDependencyError: CuPy is not installed, or cannot be imported.
        DeviceError: no driver, too old a driver, no device, too old devices.
    """
    if not installed():
        raise MissingDependencyError(
            "CuPy is not installed",
            "Nothing was searched on a GPU",
            "pip install 'vsearch_fast[gpu]' for CUDA 12, or 'vsearch_fast[gpu-cuda13]'",
        )
    try:
        import cupy
    except Exception as error:  # whatever a broken installation raises
        raise MissingDependencyError(
            f"CuPy is installed and cannot be imported: {error}",
            "Nothing was searched on a GPU",
            "Install one CuPy alone, cupy-cuda12x or cupy-cuda13x, for the driver's CUDA version",
        ) from error
    from ..kernels.cuda.module import CudaDevice

    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise _no_device(str(error), _driver_version(runtime)) from error
    found = tuple(CudaDevice(number) for number in range(count))
    usable = tuple(device for device in found if device.capability >= sources.OLDEST)
    if not usable:
        raise DeviceError(
            "No device is of compute capability "
            f"{'.'.join(map(str, sources.OLDEST))} or later: {', '.join(d.name for d in found)}"
            if found
            else "CUDA sees no device",
            "Nothing was searched on a GPU",
            "Use backend='cpu', or a machine with an NVIDIA GPU (is CUDA_VISIBLE_DEVICES empty?)",
        )
    return usable


def _driver_version(runtime: Any) -> int:
    try:
        return int(runtime.driverGetVersion())
    except Exception:  # without a driver there is no version
        return 0


def _no_device(message: str, driver: int) -> DeviceError:
    consequence = "Nothing was searched on a GPU"
    if "InsufficientDriver" in message and driver:
        return DeviceError(
            f"The NVIDIA driver supports CUDA {driver // 1000}.{driver % 1000 // 10}, which is too"
            f" old for the installed CuPy ({message})",
            consequence,
            "Update the driver, or install the CuPy of the driver's CUDA version",
        )
    if "InsufficientDriver" in message:
        return DeviceError(
            f"No NVIDIA driver was found ({message})",
            consequence,
            "Install the driver, or use backend='cpu'",
        )
    return DeviceError(
        f"CUDA sees no device ({message})",
        consequence,
        "Use backend='cpu', or a machine with an NVIDIA GPU (is CUDA_VISIBLE_DEVICES empty?)",
    )


@dataclass(frozen=True)
class Request:
    """One search, as `search.topk_segments` has checked it."""

    metric: str
    queries: NDArray
    segments: Sequence[NDArray]
    masks: Sequence[NDArray[np.uint8] | None]
    sketches: Sequence[Sketch | None]
    resident: ResidentRows | None
    strategy: str
    k: int  # at most the live rows
    threads: int | None
    refuse: Callable[[int], Exception]

    def refuse_first(self, row: int) -> Exception:
        """The error for the first live row that holds NaN or infinity, ``row`` or one before.

        Devices and blocks find such rows in no order. Read again only when there is one.
        """
        first = 0
        for segment, mask in zip(self.segments, self.masks, strict=True):
            for start in range(0, min(len(segment), row - first), _ROWS_READ):
                some = as_float32(segment[start : start + _ROWS_READ])
                bad = ~np.isfinite(some).all(axis=1)
                if mask is not None:
                    bad &= mask[start : start + _ROWS_READ] != 0
                if bad.any():
                    return self.refuse(min(row, first + start + int(np.argmax(bad))))
            first += len(segment)
        return self.refuse(row)

    def devices(self) -> Sequence[Device]:
        """Those that hold the resident rows, else all."""
        return devices() if self.resident is None else self.resident.devices

    @property
    def rows(self) -> int:
        return sum(map(len, self.segments))

    def unfit(self) -> str | None:
        """Why no device can search this, or None."""
        dim = self.queries.shape[1]
        if dim == 0:
            return "rows of no numbers"
        if self.rows > _LARGEST_ID:
            return f"{self.rows:,} rows"
        if self.k > _LARGEST_K:
            return f"k = {self.k:,}"
        if self.metric != "hamming" and dim > _LARGEST_DIM:
            return f"rows of {dim:,} numbers"
        sketching = self.strategy == "sketch" or (self.strategy == "auto" and any(self.sketches))
        if self.metric != "hamming" and dim > LARGEST_SKETCHED and sketching:
            return f"sketches of {dim:,} numbers"
        return None

    def covered(self) -> int:
        """Rows that the devices hold as the strategy needs them: the first so many."""
        if self.resident is None:
            return 0
        rows = min(self.resident.rows, self.rows)
        if self.metric != "hamming" and self.strategy == "scan":
            # Scans read float32; rows of which the devices hold less are sent.
            return rows if self.resident.all_vectors_wide() else 0
        return rows

    def worth_it(self) -> bool:
        """Whether a device is likely the faster one."""
        if self.resident is not None:
            return True
        bytes_ = sum(s.shape[0] * s.shape[1] * s.itemsize for s in self.segments)
        return len(self.queries) >= _WORTH_QUERIES and bytes_ >= _WORTH_BYTES


def wanted(backend: str, request: Request) -> bool:
    """Whether a search goes to the devices.

    Raises:
        MissingDependencyError, DeviceError: backend ``cuda``, and it cannot.
    """
    if backend == "cpu":
        return False
    unfit = request.unfit()
    if backend == "cuda":
        if unfit:
            raise DeviceError(f"A GPU cannot search {unfit}", "Nothing was searched", _CURE)
        return trusted(request.devices())
    if unfit or not (request.worth_it() and (request.resident is not None or installed())):
        return False
    try:
        return trusted(request.devices())
    except VsearchError:
        return False  # `auto` on a machine without a GPU: the processor, and nothing to say


def trusted(some: Sequence[Device]) -> bool:
    """Whether all devices pass the self-check, which runs once a process; warns where not."""
    from .selfcheck import check

    with _checking:
        for device in some:
            key = repr(device)
            if key not in _distrusted:
                _distrusted[key] = check(device)
                if _distrusted[key]:
                    warnings.warn(
                        f"{device.name} failed the self-check: {_distrusted[key]}. Searches of this"
                        " process use the processor instead. Please report this, with the device"
                        " and the versions of CuPy and the driver.",
                        RuntimeWarning,
                        stacklevel=4,
                    )
        return not any(_distrusted[repr(device)] for device in some)


def run_search(request: Request, distances: NDArray, ids: NDArray[np.int64]) -> tuple[Work, str]:
    """Search on the resident rows' devices, or on all; write the result to ``distances`` and
    ``ids``. Returns the work and the name of what did it.

    Raises:
        DeviceError: not enough memory, or a device that failed.
    """
    some = request.devices()
    covered = request.covered()
    mask = _joined(request.masks, request.segments) if covered else None
    if covered:
        assert request.resident is not None
        bad = request.resident.lowest_bad(covered, mask)
        if bad is not None:
            raise request.refuse_first(bad)
    exact = request.metric == "hamming"
    problem = Problem(
        request.metric, request.queries.shape[1], request.k,
        None if exact else HostRows(list(request.segments), request.threads),
        request.refuse_first,
    )  # fmt: skip
    kinds = parts_of(
        request.metric, request.segments, request.masks, request.sketches, covered,
        request.strategy,
    )  # fmt: skip
    shares = [_share(kinds, number, len(some)) for number in range(len(some))]
    results: list[Any] = [None] * len(some)

    def work(number: int) -> None:
        device = some[number]

        def blocks() -> Generator[Block]:
            if covered:
                assert request.resident is not None
                yield from request.resident.blocks(
                    device, request.metric, covered, mask, request.strategy
                )
            for kind in shares[number]:
                yield from pass_through(
                    device, request.metric, kind, request.threads, request.refuse_first
                )

        with device.use():
            results[number] = search(device, problem, request.queries, blocks)

    with failures_named():
        run(work, len(some), Event())
    name = f"cuda {sources.architecture(some[0].capability)}"
    return _merge(results, distances, ids), name + (f" x {len(some)}" if len(some) > 1 else "")


def _share(kinds: list[list[Passing]], number: int, devices: int) -> list[list[Passing]]:
    """A device's rows of each kind: every part is cut among all devices."""
    shares = []
    for kind in kinds:
        mine = []
        for part in kind:
            rows = len(part.rows)
            size = max(1, -(-rows // devices))
            mine += list(part.cut(size))[number : number + 1] if devices > 1 else [part]
        shares.append(mine)
    return shares


def _joined(
    masks: Sequence[NDArray[np.uint8] | None], segments: Sequence[NDArray]
) -> NDArray[np.uint8] | None:
    """Masks of segments as one, None where all rows live."""
    if all(mask is None for mask in masks):
        return None
    return np.concatenate(
        [
            np.ones(len(segment), np.uint8) if mask is None else mask
            for mask, segment in zip(masks, segments, strict=True)
        ]
    )


@contextmanager
def failures_named() -> Iterator[None]:
    """Errors of CUDA and CuPy as DeviceError, which says what to do."""
    try:
        yield
    except VsearchError:
        raise
    except Exception as error:
        raise _failed(error) from error


def _failed(error: Exception) -> DeviceError:
    if "OutOfMemory" in type(error).__name__ or "out of memory" in str(error):
        return DeviceError(
            f"The GPU's memory is full: {error}",
            "The search was given up",
            "Free memory on the device, search for fewer queries at a time or a smaller k,"
            " or use backend='cpu'",
        )
    return DeviceError(
        f"The GPU failed: {type(error).__name__}: {error}", "The search was given up", _CURE
    )


def _merge(results: list[Any], distances: NDArray, ids: NDArray[np.int64]) -> Work:
    """The nearest of all devices' nearest."""
    work = Work()
    for result in results:
        work.add(result[3])
    if len(results) == 1:
        found, found_ids, counts, _ = results[0]
        assert (counts == distances.shape[1]).all(), "a device returned too few rows"
        distances[:], ids[:] = found[:, : distances.shape[1]], found_ids[:, : distances.shape[1]]
        return work
    for query in range(len(distances)):
        some = np.concatenate([found[query, : counts[query]] for found, _, counts, _ in results])
        some_ids = np.concatenate([f[query, : counts[query]] for _, f, counts, _ in results])
        order = np.lexsort((some_ids, some))[: distances.shape[1]]
        distances[query], ids[query] = some[order], some_ids[order]
    return work
