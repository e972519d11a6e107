"""Results as records (for JSON and plots) and as Markdown, to be pasted as printed."""

from __future__ import annotations

import statistics
from typing import Any

from ..kernels.layout import SUMS
from .cases import Case
from .measure import Measured, Timing, paired_ratio
from .roofs import Roofs

#: Which instruction roof a contender that compares stored rows is held against.
_STORED = {
    "hamming": "popcount", "l1": "float_sad", "l2": "float_fma", "cosine": "float_fma",
    "ip": "float_fma",
}  # fmt: skip
_SKETCHED = {"l1": "byte_sad", "l2": "byte_dot", "cosine": "byte_dot", "ip": "byte_dot"}


def work_of(case: Case, proof: dict[str, Any] | None) -> tuple[float, float, str]:
    """(bytes read, steps, name of their roof) of one search; no name where none applies.

    Ours by its proof: the bytes that it read, and the steps on sketches where it had them.
    Others are taken to read each stored row once and to compare each pair.
    """
    if proof is None:
        return case.rows * case.row_bytes, case.pairs * case.steps, _STORED[case.metric]
    if proof["sketched"]:
        width = -(-case.dim // 64) * 64
        return proof["bytes_read"], proof["sketched"] * width, _SKETCHED[case.metric]
    if case.metric == "hamming" and proof["reduced"]:  # sums of bits are no work of that roof
        return proof["bytes_read"], proof["reduced"] * SUMS, ""
    # Tile matrix instructions count bits in another way, and L1 and L2 scans add in float64:
    # their roofs are not measured.
    roof = "popcount" if case.metric == "hamming" and proof["simd"] != "amx" else ""
    return proof["bytes_read"], proof["scanned"] * case.steps, roof


def record(measured: Measured, timing: Timing, roofs: Roofs) -> dict[str, Any]:
    """All figures of one row of the table."""
    case = measured.case
    out: dict[str, Any] = {
        **case.as_dict(),
        "contender": timing.contender,
        "ours": timing is measured.ours,
        "why_not": timing.why_not,
    }
    if timing.why_not:
        return out
    size, steps, roof = work_of(case, timing.proof)
    seconds = timing.seconds
    shares = {"memory": size / seconds / roofs.read}
    if measured.reads:  # the read that was timed in the same round
        whole = case.rows * case.row_bytes
        shares["memory"] = size / whole * paired_ratio(measured.reads, timing.runs)
    if roof:
        shares[roof.replace("_", " ")] = steps / seconds / getattr(roofs, roof)
    best = max(shares, key=lambda name: shares[name])
    if measured.reads:
        best = "memory"
    return out | {
        "seconds": seconds,
        "pairs_timed": len(timing.runs),
        "mpairs_s": case.pairs / seconds / 1e6,
        "ratio": paired_ratio(timing.runs, measured.ours.runs),
        "bytes": size,
        "steps": steps,
        "gb_s": size / seconds / 1e9,
        "shares": shares,
        "roof": best,
        "share": shares[best],
        "wrong": timing.wrong,
        "of": case.queries * min(case.k, case.rows),
        "distance_error": timing.error,
        "exact": timing.exact,
        "prepared_seconds": timing.prepared,
        "read_gb_s": case.rows * case.row_bytes / statistics.median(measured.reads.values()) / 1e9
        if measured.reads
        else None,
        "proof": timing.proof,
        "checked_queries": measured.checked,
        "checked": measured.right,
        "runs": [timing.runs[n] for n in sorted(timing.runs)],
    }


def significant(value: float) -> str:
    """Three significant digits, without exponents."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _answer(r: dict[str, Any]) -> str:
    if r["ours"]:
        return "exact" if r["exact"] else "WRONG"
    return f"{r['wrong']:,} of {r['of']:,}"


HEAD = (
    "| metric | data | rows | queries | contender | ms | million pairs/s | time / ours "
    "| GB/s | of roof | mistakes | pairs |\n"
    "|---|---|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|"
)


def rows_of(results: list[dict[str, Any]]) -> list[str]:
    """Rows of the table under `HEAD`; those too large for a contender are told by `absent`."""
    lines = []
    for r in results:
        head = (
            f"| {r['metric']} | {r['data']} | {r['rows']:,} | {r['queries']} | {r['contender']} |"
        )
        if r["why_not"]:
            if not r["why_not"].startswith("not run"):
                lines.append(f"{head} {r['why_not']} | | | | | | |")
            continue
        times = "" if r["ours"] else f"{significant(r['ratio'])} x"
        lines.append(
            f"{head} {significant(r['seconds'] * 1e3)} | {significant(r['mpairs_s'])} | {times} "
            f"| {significant(r['gb_s'])} | {r['share']:.0%} {r['roof']} | {_answer(r)} "
            f"| {r['pairs_timed']} |"
        )
    return lines


def absent(results: list[dict[str, Any]]) -> list[str]:
    """Who was left out of which cases, and why."""
    said = {
        f"{r['contender']}: {r['why_not']}"
        for r in results
        if r["why_not"] and r["why_not"].startswith("not run")
    }
    return sorted(said)


def proof_line(r: dict[str, Any]) -> str:
    """How our answer of one case was proved."""
    p = r["proof"]
    queries = "1 query" if r["queries"] == 1 else f"{r['queries']} queries"
    text = f"{r['metric']}, {r['data']}, {queries} x {r['rows']:,} rows: {p['strategy']}"
    text += f" ({p['simd']}), {p['scanned']:,} pairs scanned"
    reduced = p.get("reduced", 0)  # which records of before do not have
    if reduced and r["metric"] == "hamming":
        text += (
            f", {reduced:,} bounded by sums of bits, which left "
            f"{p['after_coarse'] / reduced:.1%}, and the first halves of these "
            f"{p['after_fine'] / reduced:.1%}"
        )
    elif reduced:
        text += (
            f", {reduced:,} bounded by reduced rows, of which coarse ones left "
            f"{p['after_coarse'] / reduced:.1%}, and fine ones "
            f"{p['after_fine'] / reduced:.1%} for sketches"
        )
    if p["sketched"]:
        each = p["candidates"] / max(1, p["queries"])
        text += (
            f", {p['sketched']:,} bounded by sketches; {p['candidates']:,} candidates "
            f"({significant(each)} a query) computed in float32, {p['undecided']:,} in float64"
        )
    text += f"; {p['bytes_read'] / 1e6:,.0f} MB read"
    if r["read_gb_s"]:
        text += f"; memory gave {r['read_gb_s']:.1f} GB/s meanwhile"
    if r["metric"] == "hamming" and reduced:
        text += f"; its sums were made in {r['prepared_seconds']:.2f} s"
    elif r["metric"] != "hamming":
        size = r["rows"] * r["dim"] * 4
        took = r["prepared_seconds"]
        text += (
            f"; its sketch was made in {took:.2f} s ({r['rows'] / took:,.0f} rows/s, "
            f"{size / took / 1e9:.1f} GB/s of float32)"
        )
    held = "equal" if r["checked"] and r["exact"] else "NOT EQUAL"
    text += (
        f'. {held} to the bit: all queries to strategy="scan", {r["checked_queries"]} of them '
        "to the definition in NumPy"
    )
    return text


def roofs_lines(roofs: Roofs) -> list[str]:
    """The roofs, for reading."""
    return [
        f"read bandwidth {roofs.read / 1e9:.1f} GB/s "
        f"({roofs.read_slowest / 1e9:.1f} to {roofs.read_fastest / 1e9:.1f})",
        f"Hamming: exclusive or and population count of {roofs.popcount / 1e9:,.0f} GB/s "
        f"({roofs.popcount / 8e9:,.0f} billion words/s)",
        f"sketches: {roofs.byte_sad / 1e9:,.0f} billion absolute differences/s of bytes, "
        f"{roofs.byte_dot / 1e9:,.0f} billion multiply-adds/s",
        f"float32: {roofs.float_sad / 1e9:,.0f} billion absolute differences/s, "
        f"{roofs.float_fma / 1e9:,.0f} billion multiply-adds/s",
    ]
