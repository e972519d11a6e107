"""Faults of one line, put into the kernels and their launcher one at a time: what must notice them.

`run_mutations.py` applies each to a copy of the project and runs its tests. A test of every run
(`tests/cuda/test_mutations.py`) keeps the texts those of the sources.
"""

from __future__ import annotations

from dataclasses import dataclass

_KERNELS = "tests/cuda/test_kernels.py::"
_SEARCH = "tests/cuda/test_search.py::"
_QUICK = "tests/cuda/test_quick_tests.py::"
_ROUNDS = "tests/cuda/test_rounds.py::"
_COMPILE = "tests/cuda/test_compile.py::"
_REDUCED = "tests/cuda/test_reduced.py::"
_ENDED = "tests/cuda/test_reduced_rounds.py::"
_WATCHED = "tests/cuda/test_watched.py::"
_DECIDES = f"{_ENDED}test_the_device_decides_as_the_host_would"
_RESIDUAL = (
    f"{_QUICK}test_either_sides_residual_may_be_all_that_lies_between"
    "[l1_sketches-l1_sketches_stream_1-row]"
)
_CUDA, _GPU = "kernels/cuda", "vsearch_fast/search/gpu"


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Attributes:
        file: of the project.
        old, new: text that stands there once, and what takes its place.
        breaks: what is wrong then.
        tests: that should fail, as pytest takes them.
    """

    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]

    @property
    def key(self) -> str:
        """By which a record of results has it."""
        return f"{self.file}: {self.old} -> {self.new}"


def _scan(kernel: str, architecture: str = "sm_90a") -> str:
    return f"{_KERNELS}test_a_scan_lists_what_may_be_near[{architecture}-{kernel}]"


MUTATIONS = (
    # What is listed, and by which bounds
    Mutation(
        f"{_CUDA}/common.cuh", "if (place < (u32)scan.capacity) {",
        "if (place <= (u32)scan.capacity) {", "a list runs over by one pair",
        (f"{_KERNELS}test_a_list_holds_no_more_than_its_room",),
    ),
    Mutation(
        f"{_CUDA}/common.cuh", "scan.ids[at] = scan.base + (u32)row;", "scan.ids[at] = (u32)row;",
        "ids begin anew with each block", (_scan("hamming_stream_1"),),
    ),
    Mutation(
        f"{_CUDA}/common.cuh", "return live ? live[position] : position;", "return position;",
        "rows that a filter leaves out are scanned", (_scan("hamming_stream_1"),),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh", "return query.sum + row.sum - 2 * product;",
        "return query.sum + row.sum - product;", "distances from products",
        (_scan("hamming_warp", "sm_80"),),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh", "return (int)distance < query.limit;",
        "return (int)distance <= query.limit;", "equal distances are listed",
        (_scan("hamming_stream_1"),),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh", "(int)(row.sum - 2 * product) < query.room;",
        "(int)(row.sum - 2 * product) < query.room - 1;", "the last distance within is lost",
        (_scan("hamming_warp", "sm_80"),),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh", "most = __dadd_rn(most, scan.query_errors[number]) / scan.scale;",
        "most = most / scan.scale;", "the quick test forgets a query's residual",
        (_scan("l2_sketches_stream_1"),),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh", "found.bound = scan.row_bounds[number];", "found.bound = 0.0f;",
        "the quick test forgets a row's residual",
        (f"{_QUICK}test_either_sides_residual_may_be_all_that_lies_between",),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh", "return !(sum > query.bound && sum <= LARGEST_FLOAT);",
        "return !(sum > query.bound);", "sums that overflow count as far",
        (f"{_QUICK}test_rows_that_are_not_finite_stay",),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh", "double errors = __dadd_rn(scan.query_errors[query], ",
        "double errors = __dadd_rn(0.0, ", "listed bounds forget a query's residual",
        (_scan("l2_sketches_stream_1"),),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh", "double whole = SQUARED ? __dsqrt_rn((double)distance)",
        "double whole = false ? __dsqrt_rn((double)distance)", "squares taken for distances",
        (_scan("l2_sketches_stream_1"),),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh", "most = __dadd_rn(most, scan.lost) / (1.0 - scan.scale);",
        "most = most / (1.0 - scan.scale);", "the quick test forgets what is flushed",
        (f"{_KERNELS}test_a_flushed_row_that_seems_far_stays",),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh", "lower = __dsub_rn(__dmul_rn(near, 1.0 - scan.scale), scan.lost);",
        "lower = __dmul_rn(near, 1.0 - scan.scale);", "listed bounds forget what is flushed",
        (f"{_KERNELS}test_a_flushed_row_that_seems_far_stays",),
    ),
    Mutation(
        f"{_CUDA}/common.cuh", "constexpr float QUICK_MARGIN = 1.0f + 1.0f / (1 << 20);",
        "constexpr float QUICK_MARGIN = 1.0f;", "no margin for the roundings of quick tests",
        (f"{_QUICK}test_a_bound_that_is_rounded_down_has_a_margin",),
    ),
    # Tiles and streams
    Mutation(
        f"{_CUDA}/tile.cuh", "copies_wait<TILE_STAGES - 2>();", "copies_wait<TILE_STAGES - 1>();",
        "a stage is read before it is there", (_scan("hamming_tile"),),
    ),
    Mutation(
        f"{_CUDA}/tile.cuh", "wanted = wanted && offset >= 0;", "wanted = wanted && offset > 0;",
        "row 0 is taken for zeros", (_scan("hamming_tile"),),
    ),
    Mutation(
        f"{_CUDA}/tile.cuh", "__syncthreads();  // this stage is there for all;", "//",
        "threads read what others have not copied", (_scan("hamming_tile"),),
    ),
    Mutation(
        f"{_CUDA}/tile.cuh", "__syncthreads();  // the tile before may still be read", "",
        "facts of rows change under the tests of a tile",
        ("tests/cuda/test_backend.py::test_every_kernel_passes_the_self_check[capability0]",),
    ),
    Mutation(
        f"{_CUDA}/stream.cuh", "q < scan.query_count && start + r < scan.last &&",
        "q < scan.query_count &&", "the last row is listed several times",
        (_scan("hamming_stream_1"),),
    ),
    Mutation(
        f"{_CUDA}/stream.cuh", "i64 step = (i64)gridDim.x * STREAM_WARPS * STREAM_ROWS;",
        "i64 step = (i64)gridDim.x * STREAM_WARPS;", "blocks take rows of each other",
        (_scan("hamming_stream_1"),),
    ),
    Mutation(
        f"{_CUDA}/stream.cuh", "__syncthreads();\n    if (scan.width <= WARP_BYTES) {",
        "if (scan.width <= WARP_BYTES) {", "queries are read before they are there",
        (_scan("hamming_stream_2"),),
    ),
    # Tensor cores
    Mutation(
        f"{_CUDA}/chunks.cuh", "((piece ^ (row & 7)) << 4)", "((piece ^ (row & 3)) << 4)",
        "another swizzle than the hardware's", (_scan("hamming_warpgroup"),),
    ),
    Mutation(
        f"{_CUDA}/tensor.cuh", "copies_wait<AHEAD - 1>();", "copies_wait<AHEAD>();",
        "a product of a stage that is not there", (_scan("hamming_warpgroup"),),
    ),
    Mutation(
        f"{_CUDA}/tensor.cuh", "            warpgroup_sees_shared();\n", "",
        "no fence between copies and products", (_scan("l2_sketches_warpgroup"),),
    ),
    Mutation(
        f"{_CUDA}/tensor.cuh", "warpgroup_wait<1>();", "",
        "a stage is filled under the product that reads it", (_scan("l2_sketches_warpgroup"),),
    ),
    Mutation(
        f"{_CUDA}/tensor.cuh", "adds || k > 0);", "k > 0);",
        "sums begin anew with each chunk", (_scan("hamming_warpgroup"),),
    ),
    Mutation(
        f"{_CUDA}/tensor.cuh", "bool wanted = at + piece * 16 < width &&",
        "bool wanted = at + piece * 16 <= width &&", "16 bytes behind a row are compared",
        (_scan("hamming_warp", "sm_80"),),
    ),
    # Selection
    Mutation(
        f"{_CUDA}/select.cuh", "__syncthreads();  // all have read what may now be written", "",
        "pairs are moved before others have read them", (f"{_KERNELS}test_dropping_keeps_the_order",
        f"{_KERNELS}test_limits_are_the_kth_upper_bounds_and_drop_the_rest"),
    ),
    Mutation(
        f"{_CUDA}/select.cuh", "if (before <= k && k < up_to) {",
        "if (before <= k && k <= up_to) {",
        "a digit too high", (f"{_KERNELS}test_keep_nearest", f"{_WATCHED}test_selection"),
    ),
    Mutation(
        f"{_CUDA}/select.cuh", "(keys[low] == keys[high] && ids[low] > ids[high])",
        "(keys[low] == keys[high] && ids[low] < ids[high])",
        "equal distances in falling order of id",
        (f"{_KERNELS}test_keep_nearest",),
    ),
    Mutation(
        f"{_CUDA}/select.cu", "mine[i] < last || (mine[i] == last && my_ids[i] <= last_id);",
        "mine[i] < last || (mine[i] == last && my_ids[i] < last_id);", "the k-th nearest is lost",
        (f"{_KERNELS}test_keep_nearest",),
    ),
    Mutation(
        f"{_CUDA}/select.cu",
        "if (threadIdx.x == 0 && found < limits[query]) limits[query] = found;",
        "if (threadIdx.x == 0) limits[query] = found;", "limits rise again",
        (f"{_KERNELS}test_limits_are_the_kth_upper_bounds_and_drop_the_rest",),
    ),
    Mutation(
        f"{_CUDA}/select.cu", "return keys[at + i] <= limit;", "return keys[at + i] < limit;",
        "pairs at the limit are dropped",
        (f"{_KERNELS}test_limits_are_the_kth_upper_bounds_and_drop_the_rest",),
    ),
    Mutation(
        f"{_CUDA}/select.cu", "if (count == (u32)k && sorted[k - 1] < limits[query])",
        "if (count && sorted[count - 1] < limits[query])", "a limit by fewer than k pairs",
        (f"{_KERNELS}test_keep_nearest",),
    ),
    Mutation(
        f"{_CUDA}/select.cu", "counts[query] = kept[query] = 0;", "counts[query] = 0;",
        "the first round of a search goes back to the search before",
        (f"{_SEARCH}test_lists_are_taken_over",
         f"{_SEARCH}test_rows_that_come_ever_nearer_overflow_lists"),
    ),
    Mutation(
        f"{_CUDA}/select.cu", "bool stays = due[DUE] == round && most <= (u32)capacity;",
        "bool stays = most <= (u32)capacity;", "rounds behind one that was forgotten stay",
        (f"{_ROUNDS}test_a_round_that_does_not_fit_is_forgotten_with_those_behind_it",),
    ),
    Mutation(
        f"{_CUDA}/select.cu", "query += BLOCK) counts[query] = kept[query];",
        "query += BLOCK) counts[query] = 0;", "a round that is forgotten takes those before along",
        (f"{_ROUNDS}test_a_round_that_does_not_fit_is_forgotten_with_those_behind_it",),
    ),
    # Refinement
    Mutation(
        f"{_CUDA}/refine.cu", "first <= id && id < last;", "first <= id && id <= last;",
        "a row behind the block is read", (f"{_KERNELS}test_refining_gives_the_defined_distance",),
    ),
    Mutation(
        f"{_CUDA}/refine.cu", "return key <= most && key != upper;",
        "return key < most && key != upper;", "the k-th most promising is left out",
        (f"{_KERNELS}test_refining_gives_the_defined_distance",),
    ),
    Mutation(
        f"{_CUDA}/refine.cu", "for (int half = 16; half; half /= 2) {",
        "for (int half = 1; half < 32; half *= 2) {", "lanes are added in another order",
        (f"{_KERNELS}test_refining_gives_the_defined_distance",),
    ),
    Mutation(
        f"{_CUDA}/refine.cu", "defined_distance<false>(mine, row, dim, squared);\n"
        "        __syncwarp();  // all lanes have read the bounds",
        "defined_distance<false>(mine, row, dim, squared);",
        "a lane finds the bounds that another has replaced",
        (f"{_KERNELS}test_refining_gives_the_defined_distance",
         f"{_WATCHED}test_reduced_rows_and_refinement[l2]"),
    ),
    Mutation(
        f"{_CUDA}/refine.cu", "if (!(bits_of(distance) < 0x7ff0000000000000ull))",
        "if (bits_of(distance) > 0x7ff0000000000000ull)", "infinite rows are taken for finite",
        (f"{_KERNELS}test_refining_finds_rows_that_are_not_finite",),
    ),
    Mutation(
        f"{_CUDA}/refine.cu", "bounds[row] = as_float_up(errors[row] / scale) * QUICK_MARGIN;",
        "bounds[row] = as_float_up(errors[row]) * QUICK_MARGIN;", "bounds that are not in steps",
        (_RESIDUAL,),
    ),
    # Reductions
    Mutation(
        f"{_CUDA}/reduced.cu", "limit = __dadd_rn(limit, reduced.coarse_errors[query]);", "",
        "the coarse test forgets a query's error",
        (f"{_REDUCED}test_the_kernel_leaves_what_its_definition_leaves",),
    ),
    Mutation(
        f"{_CUDA}/reduced.cu", "__dadd_rn(reach, widen(facts[2]))", "__dadd_rn(reach, 0.0)",
        "the fine test forgets a row's error",
        (f"{_REDUCED}test_the_kernel_leaves_what_its_definition_leaves",),
    ),
    Mutation(
        f"{_CUDA}/reduced.cu", "real && !(near > reach)", "!(near > reach)",
        "the last row stays several times",
        (f"{_REDUCED}test_the_kernel_leaves_what_its_definition_leaves",),
    ),
    # What only clocks of plain loads and stores show
    Mutation(
        f"{_CUDA}/select.cu", "if (threadIdx.x == 0 && kept < count) counts[query] = kept;",
        "if (threadIdx.x == 0) counts[query] = kept;",
        "an empty list's count is stored while others load it", (f"{_WATCHED}test_selection",),
    ),
    Mutation(
        f"{_CUDA}/select.cu", "if (apart) mine[i] = sorted[i], my_ids[i] = sorted_ids[i];",
        "mine[i] = sorted[i], my_ids[i] = sorted_ids[i];",
        "pairs that lie sorted are stored while another loads the last",
        (f"{_WATCHED}test_selection[70-small]",),
    ),
    Mutation(
        f"{_CUDA}/select.cu", "    __syncthreads();  // all have read what is due\n", "",
        "what is due is stored while others load it", (f"{_WATCHED}test_selection",),
    ),
    # Rounds that the device ends
    Mutation(
        f"{_CUDA}/select.cu", "        left[COARSE] = left[FINE] = 0;\n", "",
        "what a round left counts for the next", (_DECIDES,),
    ),
    Mutation(
        f"{_CUDA}/select.cu", "flat = fine > (u64)most_left;", "flat = false;",
        "reductions are never given up", (_DECIDES,),
    ),
    Mutation(
        f"{_CUDA}/select.cu", "due[DUE_INSTEAD] = flat ? round + 1 : NEVER_DUE;",
        "due[DUE_INSTEAD] = round + 1;", "sketches list once more what reductions have listed",
        (_DECIDES,),
    ),
    Mutation(
        f"{_GPU}/rounds.py", "if asked is not None and self._may_be_flat:", "if False:",
        "nothing scans what reductions no longer do",
        (f"{_ENDED}test_the_device_itself_gives_reductions_up",),
    ),
    Mutation(
        f"{_GPU}/rounds.py", "            if ahead and first == last:\n", "            if ahead:\n",
        "the host waits after each round",
        (f"{_ENDED}test_one_wait_for_all_rounds_of_reduced_rows",),
    ),
    # The launcher: streams and events
    Mutation(
        f"{_GPU}/feed.py", "slots = [_Slot(pinned, arrays, free)",
        "slots = [_Slot(pinned, arrays, None)", "the first transfers wait for nothing",
        ("tests/cuda/test_ordering.py",),
    ),
    Mutation(
        f"{_GPU}/feed.py", "device.work_after(slot.sent)", "pass",
        "work does not wait for its rows", ("tests/cuda/test_ordering.py",),
    ),
    Mutation(
        f"{_GPU}/feed.py", "device.wait_for(slot.sent)\n            rows = fill",
        "pass\n            rows = fill",
        "pinned memory is filled under its transfer", ("tests/cuda/test_ordering.py",),
    ),
    Mutation(
        f"{_GPU}/feed.py", "            slot.used = device.mark()\n", "",
        "a slot is overwritten under the work that reads it", ("tests/cuda/test_ordering.py",),
    ),
    Mutation(
        f"{_GPU}/feed.py", "device.wait_for(slot.sent)\n\n", "pass\n\n",
        "memory of transfers under way is given back", ("tests/cuda/test_ordering.py",),
    ),
    # The launcher: lists and rounds
    Mutation(
        f"{_GPU}/lists.py", "        self.ended = due\n", "        pass\n",
        "the device waits for a round that does not come",
        (f"{_ROUNDS}test_what_overflows_is_searched_again_from_there[False-hamming]",),
    ),
    Mutation(
        f"{_GPU}/rounds.py", "first, self._seen, careful = failed.first, failed.seen, True",
        "self._seen, careful = failed.seen, True", "rows of a round are left out",
        (f"{_ROUNDS}test_what_overflows_is_searched_again_from_there[False-hamming]",),
    ),
    Mutation(
        f"{_GPU}/rounds.py", "self._unsure |= self._longest + size > lists.capacity",
        "self._unsure |= self._longest + size > 2 * lists.capacity", "nobody asks what did not fit",
        (f"{_ROUNDS}test_what_overflows_by_little_is_asked_about",),
    ),
    Mutation(
        f"{_GPU}/rounds.py", "            self._decide(block)\n            lists.keep()\n",
        "            self._decide(block)\n", "a rewind brings back pairs that were dropped",
        (f"{_SEARCH}test_equal_rows_are_decided_in_portions",),
    ),
    Mutation(
        f"{_GPU}/lists.py", "self.device.copy(self.counts, self.kept)", "pass",
        "a round that overflowed is not forgotten",
        (f"{_KERNELS}test_what_came_since_keep_is_forgotten",),
    ),
    Mutation(
        f"{_GPU}/lists.py", "words[_LONGEST] > self.capacity,",
        "words[_LONGEST] > 2 * self.capacity,", "a list that overflowed is believed",
        (f"{_ROUNDS}test_a_list_overflows_by_the_first_pair_that_it_has_no_room_for",),
    ),
    Mutation(
        f"{_GPU}/lists.py", "metric = k, metric\n    lists.begin()", "metric = k, metric",
        "lists of the search before", (f"{_SEARCH}test_lists_are_taken_over",),
    ),
    Mutation(
        f"{_GPU}/lists.py", "lists.k, lists.metric = k, metric", "lists.metric = metric",
        "the k of the search before", (f"{_SEARCH}test_lists_are_taken_over",),
    ),
    Mutation(
        f"{_GPU}/host.py", "found[order] = distances", "found[:] = distances",
        "distances of other pairs",
        (f"{_ROUNDS}test_the_host_decides_each_pair_by_its_own_row[l2]",),
    ),
    Mutation(
        f"{_GPU}/scans.py", "        start += count\n", "", "all passes are of the first queries",
        (f"{_SEARCH}test_all_features_at_full_width",),
    ),
    Mutation(
        f"{_GPU}/reduced.py", "I64(part.start), F64(asked.growth)", "I64(0), F64(asked.growth)",
        "pages of other rows", (f"{_REDUCED}test_the_kernel_leaves_what_its_definition_leaves",),
    ),
    Mutation(
        f"{_GPU}/bounds.py", "F64(step), bounds)", "F64(2.0 * step), bounds)",
        "bounds that are half as wide", (_RESIDUAL,),
    ),
    Mutation(
        f"{_GPU}/backend.py", "np.lexsort((some_ids, some))", "np.lexsort((some, some_ids))",
        "devices' results in order of id",
        (f"{_SEARCH}test_resident_rows_grow_without_being_copied[3]",),
    ),
    Mutation(
        f"{_CUDA}/arguments.py", "if type(value) is not wanted:",
        "if not isinstance(value, np.number):",
        "scalars of another type", ("tests/cuda/test_arguments.py",),
    ),
    # What only machine code shows
    Mutation(
        f"{_CUDA}/primitives.cuh", "fence.proxy.async.shared::cta;", "fence.proxy.async;",
        "a fence of the whole device in each step",
        (f"{_COMPILE}test_no_fence_is_of_the_whole_device",),
    ),
    Mutation(
        f"{_CUDA}/primitives.cuh", 'asm("cvt.f64.f32 %0, %1;" : "=d"(wide) : "f"(x));', "wide = x;",
        "subnormal numbers are flushed",
        (f"{_COMPILE}test_float64_is_neither_flushed_nor_fused[refine-sm_80]",),
    ),
    Mutation(
        f"{_CUDA}/decide.cuh",
        "static APART void list(const Scan& scan, int query, i64 position, u32",
        "static DEVICE void list(const Scan& scan, int query, i64 position, u32",
        "the listing is inlined at every pair",
        (f"{_COMPILE}test_code_is_small[hamming-sm_80]",
         f"{_COMPILE}test_tiles_leave_registers_for_a_second_block[hamming-sm_80]"),
    ),
)  # fmt: skip
