"""How work is cut to fit the processor's caches."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..machine import second_level_cache


def _share_of_cache(parts: int) -> int:
    size: int = field(default_factory=lambda: second_level_cache() // parts)
    return size


@dataclass(frozen=True)
class Tiling:
    """How work is cut. It never changes a result, and tests shrink it to cross every border."""

    tile_bytes: int = _share_of_cache(4)
    """Rows that stay in the second-level cache while all queries of a batch pass them."""
    query_bytes: int = 1 << 20
    """Queries of a batch that is scanned: they stay in cache while the rows stream."""
    sketch_query_bytes: int = 8 << 20
    """float32 queries of a batch that is sketched; what passes the rows is a quarter of it."""
    buffer_bytes: int = 24 << 20
    """Selection buffers of all threads: bounds the batch where k is large."""
    chunk_rows: int | None = None
    """Rows a thread takes at a time; None: an eighth of its share, not too few."""
    chunk_bytes: int = 4 << 20
    """Work (rows x queries x bytes a row) of rows that a thread takes at a time, at least: taking
    them costs some microseconds."""
    copy_bytes: int = 16 << 20
    """Rows that must be converted are copied this many bytes at a time."""
    inline_bytes: int = 1 << 20
    """Work (rows x queries x bytes a row) below which threads cost more than they bring."""
    list_bytes: int = 36 << 20
    """Undecided pairs of rows and queries that all threads list before they decide them."""
    device_list: int = 16384
    """Pairs that a query's list on a CUDA device has room for at least."""
    device_rows: int = 1024
    """Rows of a device's first round, of which every pair is listed."""
    device_bytes: int = 2 << 30
    """Lists of all queries of a batch on a device, which has at least four times as much."""
    device_worth_queries: int = 64
    """Queries from which sending rows to a device is likely to pay: a bus moves some 20 GB/s, by
    which two processor cores search for 20 codes or 40 float rows. Estimated."""
    device_worth_bytes: int = 256 << 20
    """Bytes of such rows, likewise."""
    device_extent_rows: int = 1024
    """Resident rows for which a device's memory is taken at a time, at least."""
    device_sorted: int = 2048
    """Pairs that a device sorts in shared memory, at most."""
    device_block_bytes: int = 64 << 20
    """Rows that pass through a device at a time; it holds two such blocks."""
    sketch_rows: int = 1024
    """Rows that are sketched at a time, and for which (lo, step) are chosen."""
    build_queries: int = 8
    """Queries from which sketching rows beyond a sketch for one search pays; measured."""
    build_rows: int = 256
    """Rows beyond a sketch from which sketching them for one search pays."""
    whole_rows: int = 8192
    """Rows up to which threads share the queries and each bounds all rows, unless `chunk_rows`
    says how to cut these: parts of so few bring little."""
    whole_queries: int = 8
    """Queries of a thread's share, at least."""
    first_rows: int = 2048
    """Rows whose nearest lower a worker's limits before it goes on."""
    fair_trial: int = 4096
    """Rows that a worker bounds before it may give up."""
    hopeless: float = 0.5
    """Share of the pairs, left by the sketches, from which scanning them all is cheaper."""
    kept_parameters: int = 4
    """Pairs of (lo, step) for which a worker keeps the sketches of a batch's queries."""
    reduce_rows: int = 4096
    """Rows from which reducing them (`reductions`) pays."""
    reduced_tile: int = 4096
    """Pairs of a tile of reduced rows, at least: what they leave is asked of memory together."""
    reduced_shapes: tuple[tuple[str, int, int, int], ...] = (
        ("l2", 1024, 32, 240), ("l2", 384, 32, 112), ("l2", 128, 32, 0),
        ("l1", 2048, 64, 448), ("l1", 768, 64, 192), ("l1", 256, 64, 0),
    )  # fmt: skip
    """Metric, numbers of a row from which on, coarse and fine numbers of its reduction. Coarse ones
    are even and few (128 for L1), fine ones a multiple of 16 for L2 and of 64 for L1, or none."""
    summed_bytes: int = 64
    """Bytes of a code from which sums of groups of its bits can pay."""
    summed_least: int = 4 << 20
    """Bytes of codes from which searches by sums of their bits pay, for one query four times as
    many: fewer are in the processor's cache, where all are read in no time."""
    summed_left: float = 0.6
    """Shares of the pairs that sums leave, and first halves, together, from which codes are read
    whole: a row by itself costs more than in a run."""
    summed_live: float = 0.125
    """Share of a chunk's codes that must live for their sums to be read: else those are scanned."""
    regroupings: int = 2
    """Turns of moving numbers between groups, when reductions of L1 are learnt."""
    reduced_worth: float = 0.7
    """Share of the bytes of all sketches, or codes, that reading by way of reductions may cost at
    most; of what many queries cost in instructions seven tenths of that."""
    reduced_chunk: int = 1 << 15
    """Pairs of a chunk of reduced rows, at least: they take little time."""
    reduced_left: float = 0.3
    """Share of the pairs, left by reductions, from which sketches alone are cheaper."""
    guessed_ranks: int = 100
    """Neighbours that a sample of reduced rows should hold, for a large k to be guessed by."""
    seed_rows: int = 16384
    """Rows whose reductions tell where the search's limits may start."""
    small_k: int = 64
    """Up to it a worker's first rows are probed; beyond it limits start from a guess."""
    sample_rows: int = 4096
    """Rows of a sample that limits are guessed by."""
    sample_stride: int = 8
    """A sample is at most one row in so many."""
    decided_share: int = 2
    """Listed pairs a query and neighbour up to which they are decided at once."""
    few_pairs: int = 512
    """Pairs to decide for which waking the other workers costs more than they bring."""
    pairs_a_query: int = 8192
    """Listed pairs a query for which a worker has room at most: memory costs time, too."""
    listed_times_k: int = 10
    """Listed pairs a query and neighbour for which large k should find room: more overflows,
    which costs time."""
    small_batch: int = 32
    """Queries below which batches read the sketches too often to be made smaller for that."""
    largest_batch: int = 2048
    """Queries of a batch that is sketched, at most."""
    many_pairs: int = 8192
    """Pairs of a result from which its merging is shared among the threads."""


TILING = Tiling()
