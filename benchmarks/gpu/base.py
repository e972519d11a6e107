"""What the parts of `gpu_report.py` share: sizes, bars, times, data and the memory's release.

A part is a function of a `Bench`, which writes what it finds into a dictionary as it goes.
"""

from __future__ import annotations

import contextlib
import gc
import math
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsearch_fast.bench.cases import Case
from vsearch_fast.bench.data import Data
from vsearch_fast.errors import DeviceError
from vsearch_fast.kernels.cuda.device import Device
from vsearch_fast.search.gpu.selfcheck import trusted

#: Launches that are queued for one time, at most, and what such a time lasts at least.
_MOST_IN_A_ROW = 100
QUEUED_S = 0.02


@dataclass(frozen=True)
class Sizes:
    """How much is measured. ``*_rows`` and ``queries`` count rows; ``dim`` numbers or bits."""

    dim: int = 4096
    k: int = 10
    repeats: int = 5
    copy_bytes: int = 4 << 30
    code_rows: int = 2_000_000  # of the kernels' rates
    float_rows: int = 200_000
    queries: dict[str, int] = field(
        default_factory=lambda: {"hamming": 4096, "l1": 512, "l2": 1024, "cosine": 1024, "ip": 1024}
    )
    stream_rows: int = 20_000_000  # of topk: Hamming, 1 query
    batch_rows: dict[str, int] = field(
        default_factory=lambda: {
            "hamming": 4_000_000,
            "l1": 1_000_000,
            "l2": 1_000_000,
            "cosine": 1_000_000,
        }
    )
    peer_rows: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("hamming", "l1", "l2", "cosine", "ip"), 1_000_000)
    )
    # Rows, numbers and kind of data that L2 is compared on by batches of these sizes.
    versus: tuple[tuple[int, int, str], ...] = (
        (1_000_000, 4096, "relu"),
        (10_000_000, 128, "clusters"),
    )
    versus_batches: tuple[int, ...] = (1, 64, 2048)
    checked: int = 2  # queries of a timed search whose answer is compared with the CPU's
    test_rows: int = 60_000
    # Bits and numbers that equality is tested with: codes of one chunk and of many, short enough to
    # stay in shared memory and longer; more queries than a tile has.
    test_dims: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {
            "hamming": (1000, 4096, 8200),
            "l1": (1000,),
            "l2": (1000,),
            "cosine": (1000,),
            "ip": (1000,),
        }
    )
    test_queries: tuple[int, ...] = (1, 5, 300)
    test_ks: tuple[int, ...] = (1, 10, 100, 2000)
    embedding_batches: tuple[int, ...] = (64, 128, 256)
    pictures: int = 2048

    def at_most(self, rows: int) -> Sizes:
        """The same with no database of more rows."""
        from dataclasses import replace

        return replace(
            self,
            code_rows=min(rows, self.code_rows),
            float_rows=min(rows, self.float_rows),
            stream_rows=min(rows, self.stream_rows),
            test_rows=min(rows, self.test_rows),
            batch_rows={metric: min(rows, n) for metric, n in self.batch_rows.items()},
            peer_rows={metric: min(rows, n) for metric, n in self.peer_rows.items()},
            versus=tuple((min(rows, n), dim, kind) for n, dim, kind in self.versus),
        )


FULL = Sizes()
QUICK = Sizes(
    repeats=3,
    copy_bytes=1 << 30,
    code_rows=500_000,
    float_rows=50_000,
    stream_rows=2_000_000,
    batch_rows={"hamming": 400_000, "l1": 100_000, "l2": 100_000, "cosine": 100_000},
    peer_rows={
        "hamming": 200_000,
        "l1": 100_000,
        "l2": 100_000,
        "cosine": 100_000,
        "ip": 100_000,
    },
    versus=((100_000, 4096, "relu"), (1_000_000, 128, "clusters")),
    test_rows=8_000,
    test_queries=(1, 260),
    test_ks=(1, 10, 2000),
    embedding_batches=(64, 256),
    pictures=512,
)


@dataclass(frozen=True)
class Bar:
    """A figure that is aimed at on one H200.

    Attributes:
        what: the measurement.
        value, unit: of the aim.
        most: whether the measured figure must not be above it, instead of not below.
    """

    what: str
    value: float
    unit: str
    most: bool = False

    def met(self, measured: float) -> bool:
        return measured <= self.value if self.most else measured >= self.value


_SEARCHES = {
    "hamming_stream": ("Hamming, 1 query over 20 M codes", 0.85, "of copy bandwidth"),
    "hamming_batch": ("Hamming, 4096 queries over 4 M codes", 5e11, "pairs/s"),
    "l1_batch": ("L1, 512 queries over 1 M vectors, exact", 8e9, "pairs/s"),
    "l2_batch": ("L2, 1024 queries over 1 M vectors, exact", 5e10, "pairs/s"),
}

BARS = {
    "equality": Bar("answers that differ from the CPU's, ids and bits", 0, "mismatches", most=True),
    "self_check": Bar("devices that fail the self-check", 0, "devices", most=True),
    **{
        f"{name}_{where}": Bar(f"{what}; {said}", value, unit)
        for name, (what, value, unit) in _SEARCHES.items()
        for where, said in (("device", "on the device"), ("host", "from call to answer"))
    },
    "torch_hamming": Bar("Hamming, time of PyTorch / ours", 10, "x"),
    "torch_l1": Bar("L1, time of PyTorch / ours", 5, "x"),
    "torch_l2": Bar("L2, time of PyTorch / ours", 5, "x"),
    **{
        f"certex_{dim}_{queries}": Bar(
            f"L2, {rows // 10**6} M x {dim}, {queries} at a time: certex / ours", 1, "x"
        )
        for rows, dim, _ in FULL.versus
        for queries in FULL.versus_batches
    },
    "network": Bar("VGG-16 fc1, fp16, batch 64 to 256, network alone", 10_000, "images/s"),
    "end_to_end": Bar("JPEG files to features", 0.9, "of the slower of decoder and network"),
}


class OutOfTime(Exception):
    """The time of this call is used up: what is left is for the next."""


class DeviceLost(Exception):
    """The device answers no more in this process, as after an address that is not there."""


@dataclass
class Bench:
    """One part of the report.

    Attributes:
        devices: that searches use; roofs and kernels are measured on the first.
        record: what is written as JSON; of a part that goes on, with what an earlier call found.
        again: whether what was measured is measured again.
        deadline: by `time.monotonic`; no measurement begins later.
        other: the record of another part by its name, empty where there is none.
        say: shows progress.
        save: writes the record as it is.
    """

    devices: Sequence[Device]
    sizes: Sizes
    record: dict[str, Any]
    data: Data = field(default_factory=Data)
    kinds: tuple[str, ...] = ("relu",)
    model: Path | None = None
    pictures: Path | None = None
    provider: str = "cuda"
    again: bool = False
    deadline: float = math.inf
    other: Callable[[str], dict[str, Any]] = lambda _: {}
    say: Callable[[str], Any] = lambda _: None
    save: Callable[[], Any] = lambda: None

    def bar(self, key: str, measured: float, full_size: bool = True) -> None:
        """Record a figure beside its bar.

        Args:
            full_size: whether the case was that of the bar; smaller ones say little about it.
        """
        bar = BARS[key]
        self.record.setdefault("bars", {})[key] = {
            "what": bar.what,
            "bar": bar.value,
            "unit": bar.unit,
            "measured": measured,
            "met": bar.met(measured),
            "full_size": full_size,
        }

    def attempt(self, found: dict[str, Any], name: str, work: Callable[[], Any]) -> None:
        """Put what ``work`` returns into ``found``, or its error: what follows still runs.

        What an earlier call found, an error too, is left as it is.

        Raises:
            OutOfTime: nothing was begun.
            DeviceLost: ``work`` failed, and so would all that follows in this process.
        """
        if name in found:
            return
        if time.monotonic() > self.deadline:
            raise OutOfTime(name)
        self.say(name)
        # If it never returns, or takes the process along, the next call knows where.
        self.record["running"] = [*_path(self.record, found), name][1:]
        self.save()
        try:
            found[name] = work()
        except Exception as error:  # one kernel or peer that fails must not end a long run
            found[name] = {"error": error_text(error)}
            self.say(f"{name}: {found[name]['error']}")
            if not all(map(answers, self.devices)):
                raise DeviceLost(name) from error
        finally:
            self.record.pop("running", None)
            self.save()
        release()


def _path(record: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The keys by which a dictionary is found in the record, itself or in one of it."""
    for name, part in record.items():
        if part is found:
            return [name]
        if isinstance(part, dict) and (path := _path(part, found)):
            return [name, *path]
    return []


def answers(device: Device) -> bool:
    """Whether a device still works in this process; after some errors of CUDA it never does."""
    try:
        wait(device)
    except Exception:  # of whatever kind: all calls return the error that came before
        return False
    return True


def require_trust(bench: Bench) -> None:
    """Refuse to go on with a device that searches would not use: the processor would answer."""
    if not trusted(bench.devices):
        raise DeviceError(
            "A device failed the self-check",
            "Searches would use the processor, and were neither compared nor timed",
            "See the part selfcheck",
        )


def error_text(error: BaseException) -> str:
    """An error in one line, with the file's name and the line that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
    return f"{type(error).__name__}: {error}{where}"


def release() -> None:
    """Give memory of the device back that libraries keep for later."""
    for module, free in (
        ("cupy", lambda cupy: cupy.get_default_memory_pool().free_all_blocks()),
        ("torch", lambda torch: torch.cuda.empty_cache()),
    ):
        if module in sys.modules:
            gc.collect()  # arrays in cycles, as errors leave them
            # After an error of CUDA even this may raise.
            with contextlib.suppress(Exception):
                free(sys.modules[module])


def case_of(bench: Bench, metric: str, rows: int, queries: int, kind: str = "relu") -> Case:
    """A case of the benchmark's data. Its queries are others than its rows."""
    sizes = bench.sizes
    return Case(metric, rows, queries, sizes.dim, min(sizes.k, rows), kind)  # type: ignore[arg-type]


def wait(device: Device) -> None:
    """Until all work that was started on the device is done."""
    with device.use():
        device.wait_for(device.mark())


def seconds(
    device: Device, work: Callable[[], Any], repeats: int, least_s: float = 0
) -> dict[str, Any]:
    """Times of ``work`` after a warm-up (compilation, clocks), the device idle before and after.

    Args:
        least_s: work that is shorter is started several times in a row for each time, so that
            the start and the wait, some 10 microseconds, do not count.

    Returns:
        ``median_s`` and all ``times_s`` of one ``work``, in seconds, and ``in_a_row``.
    """

    def timed(row: int) -> float:
        start = time.perf_counter()
        for _ in range(row):
            work()
        wait(device)
        return (time.perf_counter() - start) / row

    timed(1)
    row = max(1, min(_MOST_IN_A_ROW, math.ceil(least_s / timed(1))))
    times = [timed(row) for _ in range(repeats)]
    return {"median_s": statistics.median(times), "times_s": times, "in_a_row": row}


def clocks_during(device: Device, work: Callable[[], Any]) -> str | None:
    """Clock (MHz) and power (W) of all GPUs while ``work`` repeats; None without nvidia-smi.

    Under load a GPU may run well below its highest clock, which its roofs are computed from.
    """
    try:
        asking = subprocess.Popen(
            ["nvidia-smi", "--query-gpu=clocks.sm,power.draw", "--format=csv,noheader"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
    except OSError:
        return None
    with asking:
        deadline = time.monotonic() + 10
        while asking.poll() is None and time.monotonic() < deadline:
            work()
            wait(device)
        if asking.poll() is None:
            asking.kill()
            return None
        return asking.stdout.read().strip() if asking.stdout else None
