"""Accesses that nothing orders are noticed: small programs that are wrong, and the same mended."""

from __future__ import annotations

import contextlib
import re
import threading

import kernel_access
import numpy as np
import pytest
from emulated import EmulatedDevice, disorder
from ordering import Unordered

from vsearch_fast.kernels.cuda import arguments, sources
from vsearch_fast.kernels.cuda.device import I64
from vsearch_fast.search.gpu.feed import feed
from vsearch_fast.search.gpu.resident_rows import count_bits, write_bit_counts

ROWS = np.arange(64, dtype=np.uint8).reshape(4, 16)


@pytest.fixture
def device():
    """One whose faults a test has seen when it ends."""
    yield EmulatedDevice()
    disorder()


def sent(device, after=None):
    """(array, mark of the transfer, pinned memory) of rows on their way."""
    pinned = device.pinned(ROWS.shape, np.uint8)
    pinned[:] = ROWS
    array = device.empty(ROWS.shape, np.uint8)
    return array, device.send(array, pinned, after), pinned


# An event that nothing waits for


@pytest.mark.parametrize("uses", [count_bits, EmulatedDevice.download])
def test_work_must_wait_for_what_it_reads(device, uses):
    array, mark, pinned = sent(device)
    device.work_after(mark)
    uses(device, array)
    array, mark, pinned = sent(device, device.mark())
    with pytest.raises(
        Unordered, match=r"reads, the work's stream\) is not ordered behind a trans"
    ):
        uses(device, array)
    device.wait_for(mark)
    assert (pinned == ROWS).all()


def test_a_transfer_must_wait_for_the_work_on_its_memory(device):
    array, mark, pinned = sent(device)
    device.work_after(mark)
    count_bits(device, array)
    device.send(array, pinned, device.mark())
    device.work_after(device.send(array, pinned, device.mark()))
    count_bits(device, array)
    with pytest.raises(
        Unordered, match=r"transfer \(writes, .*\) is not ordered behind count_bits"
    ):
        device.send(array, pinned, None)


def test_an_older_mark_does_not_do(device):
    early = device.mark()
    array, mark, pinned = sent(device)
    device.work_after(mark)
    count_bits(device, array)
    with pytest.raises(Unordered, match="behind count_bits"):
        device.send(array, pinned, early)


def test_reading_beside_each_other_is_no_fault(device):
    """Nor is writing to other bytes of the same array."""
    array, mark, pinned = sent(device)
    device.work_after(mark)
    device.send(array[2:], pinned[2:], device.mark())
    count_bits(device, array[:2])
    with pytest.raises(Unordered):
        count_bits(device, array[1:3])


def test_what_a_stream_waited_for_is_passed_on(device):
    """The transfer is behind the work's mark, and the work behind the transfer's."""
    array, first, _held = sent(device)
    other, second, _held_too = sent(device, device.mark())
    device.work_after(second)  # of the same stream, queued later: the first as well
    count_bits(device, array)
    count_bits(device, other)
    device.wait_for(first)
    device.wait_for(second)
    assert disorder() == []


# The host


def test_a_host_that_waited_orders_what_it_queues(device):
    array, mark, _ = sent(device)
    device.wait_for(mark)
    count_bits(device, array)
    assert disorder() == []


def test_a_thread_that_did_not_wait_knows_nothing(device):
    array, mark, pinned = sent(device)
    thread = threading.Thread(target=lambda: device.wait_for(mark))
    thread.start()
    thread.join()
    with pytest.raises(Unordered):
        count_bits(device, array)
    assert len(pinned)


def test_the_host_computes_with_no_array_of_the_device(device):
    array = device.upload(ROWS)
    for use in (
        lambda: array + 1, lambda: array.sum(), lambda: np.concatenate([array, array]),
        lambda: array[0], lambda: array[array], lambda: array.tolist(),
        lambda: array.__setitem__(slice(1), 0),
    ):  # fmt: skip
        with pytest.raises(AssertionError, match="of the device"):
            use()
    assert (device.download(array[1:3]) == ROWS[1:3]).all()


def test_pinned_memory_is_written_when_its_transfer_was_waited_for(device):
    array, mark, pinned = sent(device)
    device.wait_for(mark)
    pinned[:] = 0
    again = device.send(array, pinned, None)
    pinned[1] = 9
    with pytest.raises(Unordered, match="pinned memory was written before a transfer was waited"):
        device.wait_for(again)


def test_pinned_memory_is_given_back_when_its_transfer_was_waited_for(device):
    _, mark, pinned = sent(device)
    device.wait_for(mark)
    del pinned
    assert disorder() == []
    _, mark, pinned = sent(device)
    del pinned
    assert disorder() == ["pinned memory was given back while a transfer may still read it"]


# Memory of a pool


def test_work_is_behind_what_its_stream_did_with_its_memory(device):
    array = device.upload(ROWS)
    count_bits(device, array)
    del array
    count_bits(device, device.upload(ROWS))
    assert disorder() == []


def test_a_transfer_to_memory_of_the_pool_waits_for_its_last_use(device):
    array = device.upload(ROWS)
    count_bits(device, array)
    del array
    array, mark, pinned = sent(device, device.mark())
    device.wait_for(mark)
    early = device.mark()
    count_bits(device, array)
    del array
    with pytest.raises(Unordered, match="behind count_bits, whose memory was given back"):
        sent(device, early)
    assert len(pinned)


def test_work_on_memory_of_the_pool_waits_for_the_transfer_that_had_it(device):
    array, _, pinned = sent(device)
    del array
    with pytest.raises(Unordered, match=r"a write .* behind a transfer, whose memory was given"):
        device.upload(ROWS)
    assert len(pinned)


# Two slots in turn


class Careless:
    """A device that leaves out one of what `feed` asks of it."""

    def __init__(self, device: EmulatedDevice, left_out: str) -> None:
        self.device, self.left_out, self.marks = device, left_out, 0

    def __getattr__(self, name):
        return getattr(self.device, name)

    def mark(self):
        self.marks += 1
        if self.left_out == f"mark {self.marks}":
            return EmulatedDevice().mark()
        return self.device.mark()

    def send(self, target, host, after):
        return self.device.send(target, host, None if self.left_out == "after" else after)

    def work_after(self, mark):
        if self.left_out != "work_after":
            self.device.work_after(mark)

    def wait_for(self, mark):
        if self.left_out != "wait_for":
            self.device.wait_for(mark)


def fed(device, parts=4):
    def fill(part, pinned):
        pinned["rows"][:] = part
        return 4

    held = device.upload(ROWS)
    count_bits(device, held)
    del held  # to the pool, for one of the slots
    sums = device.empty((4,), np.uint32)
    for part, arrays in feed(device, range(1, parts + 1), {"rows": ((4, 16), np.uint8)}, fill):
        write_bit_counts(device, arrays["rows"], sums)
        assert device.download(sums).tolist() == [16 * part.bit_count()] * 4


def unread(device, parts=4):
    """The same without a wait for results, which would order much."""

    def fill(part, pinned):
        pinned["rows"][:] = part
        return 4

    sums = device.empty((4,), np.uint32)
    for _, arrays in feed(device, range(1, parts + 1), {"rows": ((4, 16), np.uint8)}, fill):
        write_bit_counts(device, arrays["rows"], sums)


@pytest.mark.parametrize(
    ("left_out", "fault"),
    [
        ("after", "a transfer .* is not ordered behind"),
        ("mark 1", "a transfer .* behind count_bits, whose memory was given back"),
        ("mark 2", "a transfer .* is not ordered behind count_bits"),  # a slot used too early
        ("work_after", "count_bits .* is not ordered behind a transfer"),
        ("wait_for", "pinned memory was given back"),
    ],
)
def test_each_wait_of_the_feed_is_needed(device, left_out, fault):
    fed(device)
    unread(device)
    assert disorder() == []
    careless = Careless(device, left_out)
    with contextlib.suppress(Unordered):
        fed(careless) if left_out == "mark 1" else unread(careless)
    found = disorder()
    assert found
    assert any(re.search(fault, one) for one in found), found


def test_no_kernel_is_given_memory_of_another(device):
    other = EmulatedDevice()
    array = other.upload(ROWS)
    with pytest.raises(Unordered, match="count_bits is given an array that is not the device's"):
        count_bits(device, array)


# What kernels write


def test_kernels_write_what_they_declare_and_no_more():
    found = kernel_access.kernels() | kernel_access.structs()
    assert {name: " ".join(filter(None, fields)) for name, fields in found.items()} == (
        kernel_access.WRITTEN
    )


def test_the_declarations_are_those_of_all_kernels_and_structs():
    own = {name for names in sources.OTHERS.values() for name in names}
    of_structs = {"bound_dots", *(name for name in own if name.endswith("_reduced"))}
    taken = own - of_structs
    assert set(kernel_access.kernels()) == taken
    for struct in (arguments.SCAN, arguments.REDUCED):
        names = [name for _, name in struct.fields]
        for name, written in zip(names, kernel_access.structs()[struct.name], strict=False):
            assert written in (None, name)


def test_the_accesses_of_a_launch(device):
    rows, sums = device.upload(ROWS), device.empty((4,), np.uint32)
    given = (rows, I64(16), np.int32(16), I64(4), sums)
    found = list(kernel_access.accesses("count_bits", given))
    assert [(array is rows, array is sums, writes) for array, writes in found] == [
        (True, False, False), (False, True, True),
    ]  # fmt: skip
