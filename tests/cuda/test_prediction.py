"""The model of speed: loops of machine code, and what they make of a kernel's time."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark_scripts import BENCHMARKS, importable
from click.testing import CliRunner

from vsearch_fast.errors import MissingDependencyError
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.device import Shape


@pytest.fixture(scope="module")
def modules():
    """(machine_code, machines, prediction), imported as the report does."""
    with importable():
        from gpu import machine_code, machines, prediction, rates
    assert rates.RATES
    return machine_code, machines, prediction


#: A tile: chunks around pieces, 64 pairs a thread, then a test whose pairs are listed by a call.
TILE = """
        /*0000*/                   S2R R2, SR_TID.X ;
        /*0010*/                   IADD3 R9, R9, 0x1, RZ ;
        /*0020*/                   LDGSTS.E.BYPASS.128 [R4], [R6.64] ;
        /*0030*/                   LDS.128 R4, [R2] ;
{terms}
        /*3000*/               @P1 BRA 0x30 ;
        /*3010*/               @P2 BRA 0x20 ;
        /*3020*/                   ISETP.GE.AND P0, PT, R2, R3, PT ;
        /*3030*/              @!P0 BRA 0x3060 ;
        /*3040*/                   MUFU.RSQ R4, R5 ;
        /*3050*/                   CALL.REL.NOINC 0x4000 ;
        /*3060*/               @P3 BRA 0x10 ;
        /*3070*/                   EXIT ;
        /*4000*/                   ATOMG.E.ADD.STRONG.GPU PT, R4, [R4.64], R5 ;
        /*4010*/                   STG.E.64 [R4.64], R6 ;
        /*4020*/                   RET.REL.NODEC R20 0x0 ;
"""
SHAPE = Shape(256, 128, 128, 65024, 0, 1)


def tile(modules, registers=128):
    """256 POPC and as many LOP3 a piece of 16 bytes: 64 pairs of four words."""
    terms = "\n".join(
        f"        /*{0x40 + 0x10 * n:04x}*/                   {name} R1, R2 ;"
        for n, name in enumerate(["LOP3.LUT", "POPC"] * 256)
    )
    return modules[0].code_of(registers, SHAPE, TILE.format(terms=terms))


def test_loops_and_what_is_done_once_a_listed_pair(modules):
    code = tile(modules)
    assert [(loop.start, loop.stop) for loop in code.loops] == [
        (0x10, 0x3060), (0x20, 0x3010), (0x30, 0x3000),
    ]  # fmt: skip
    names = {each.name.split(".")[0] for each in code.instructions}
    assert "POPC" in names and "EXIT" in names
    assert not names & {"CALL", "ATOMG", "STG", "RET", "MUFU"}


@pytest.mark.parametrize(
    ("name", "alone"),
    [("A100", 16 * 108 * 1.41e9 / 128), ("H200", 16 * 132 * 1.98e9 / 128)],
)
def test_a_tile_is_bound_by_its_population_counts(modules, name, alone):
    _, machines, prediction = modules
    machine = machines.machine_named(f"NVIDIA {name} 80GB")
    found = prediction.predict("hamming_tile", "hamming", machine, tile(modules), 512)
    assert found.limit == "convert"
    assert found.roof == pytest.approx(alone, rel=1e-6)  # 128 words of 512 bytes, 16 a cycle
    assert found.pairs_per_s == pytest.approx(alone, rel=1e-3)
    assert found.blocks == 2


def test_one_block_adds_its_tests_to_its_products(modules):
    _, machines, prediction = modules
    machine = machines.machine_named("NVIDIA A100-SXM4-80GB")
    shared, alone = tile(modules), tile(modules, registers=255)
    assert prediction.blocks_of(machine, alone, 65024) == 1
    found = [
        prediction.predict("hamming_tile", "hamming", machine, c, 512) for c in (shared, alone)
    ]
    assert found[1].pairs_per_s < found[0].pairs_per_s
    assert found[1].roof == found[0].roof


def test_a_slower_unit_or_memory_sets_the_pace(modules):
    _, machines, prediction = modules
    machine = machines.machine_named("NVIDIA L4")
    half = replace(machine, own={**machine.own, "popc": 8.0})
    found = [prediction.predict("hamming_tile", "hamming", m, tile(modules), 512)
             for m in (machine, half)]  # fmt: skip
    assert found[0].pairs_per_s == pytest.approx(2 * found[1].pairs_per_s, rel=1e-3)
    slow = replace(machine, own={**machine.own, "l2_bytes": 0.01})
    assert prediction.predict("hamming_tile", "hamming", slow, tile(modules), 512).limit == (
        "second-level cache"
    )


def test_code_that_computes_nothing_is_no_prediction(modules):
    code, machines, prediction = modules
    empty = code.code_of(32, SHAPE, "        /*0000*/                   EXIT ;\n")
    with pytest.raises(ValueError, match="hamming_tile: no loop"):
        prediction.predict("hamming_tile", "hamming", machines.MACHINES[0], empty, 512)


def test_machines_are_known_by_their_names(modules):
    _, machines, _ = modules
    names = {
        "NVIDIA H200": "H200", "NVIDIA H100 80GB HBM3": "H100", "NVIDIA L4": "L4",
        "NVIDIA A100-SXM4-80GB": "A100", "NVIDIA GeForce RTX 4090": "RTX 4090",
        "NVIDIA L40S": None, "emulation of sm_90a": None,
    }  # fmt: skip
    for name, known in names.items():
        machine = machines.machine_named(name)
        assert (machine and machine.name) == known


def test_every_rate_that_is_measured_is_one_of_the_model(modules):
    _, machines, _ = modules
    for machine in machines.MACHINES:
        features = sources.features_of(machine.capability)
        for needs, unit, _ in sys.modules["gpu.rates"].RATES.values():
            if needs is None or needs in features:
                assert machine.per_second(unit) > 0


@pytest.mark.parametrize(
    ("name", "pipe"),
    [("POPC", "convert"), ("BGMMA.64x128x256.AND.POPC", "wgmma"), ("IMMA.16832.U8.U8", "mma"),
     ("LDS.128", "shared"), ("LDG.E.EF.128", "memory"), ("LOP3.LUT", "alu"), ("UIADD3", "other"),
     ("FADD", "fma"), ("DADD", "double"), ("IDP.4A.U8.U8", "dp4a"), ("IMAD.IADD", "imad")],
)  # fmt: skip
def test_pipes(modules, name, pipe):
    assert modules[2].pipe_of(name) == pipe


def test_a_real_kernel(modules):
    """From source to prediction, where NVIDIA's compiler is installed."""
    _, machines, prediction = modules
    machine = machines.machine_named("NVIDIA A100")
    try:
        found = list(prediction.predictions(machine, ("l2_floats",)))
    except MissingDependencyError as missing:
        pytest.skip(missing.cause)
    assert [one.kernel for one in found] == [
        "l2_floats_tile", "l2_floats_stream_2", "l2_floats_stream_1",
    ]  # fmt: skip
    by_name = {one.kernel: one for one in found}
    # A difference and a fused multiply-add a number, 64 a cycle: half of the unit's pace at most.
    tile = by_name["l2_floats_tile"]
    assert tile.roof == pytest.approx(64 * 108 * 1.41e9 / 4096, rel=1e-6)
    assert 0.1 * tile.roof < tile.pairs_per_s < 0.51 * tile.roof
    stream = by_name["l2_floats_stream_1"]
    assert stream.pairs_per_s * 16384 < machine.bandwidth
    assert stream.pairs_per_s * 16384 > 0.5 * machine.bandwidth


#: Of a kernel that is no scan: a loop of halves, which is not the one, and one of floats.
REFINE = """
        /*0010*/                   LDG.E.U16 R1, [R2.64] ;
        /*0020*/                   DADD R4, R4, R6 ;
        /*0030*/                   DMUL R4, R4, R6 ;
        /*0040*/                   DADD R4, R4, R6 ;
        /*0050*/                   DADD R4, R4, R6 ;
        /*0060*/               @P1 BRA 0x10 ;
        /*0070*/                   LDG.E R1, [R2.64] ;
        /*0080*/                   DADD R4, R4, R6 ;
        /*0090*/                   DMUL R4, R4, R6 ;
        /*00a0*/                   DADD R4, R4, R6 ;
        /*00b0*/               @P1 BRA 0x70 ;
        /*00c0*/                   EXIT ;
"""


@pytest.mark.parametrize(("name", "limit"), [("H200", "memory bandwidth"), ("4090", "double")])
def test_refinement_is_bound_by_memory_or_by_slow_float64(modules, name, limit):
    code, machines, prediction = modules
    machine = machines.machine_named(name)
    refine = code.code_of(84, Shape(256, 1, 8, 0, 0, 2), REFINE)
    found = prediction.predict_other("refine", machine, refine)
    assert found.limit == limit
    assert found.pairs_per_s <= found.roof
    if limit == "double":  # 12,288 operations of a pair, two a cycle and processor
        assert found.pairs_per_s == pytest.approx(128 * 2.52e9 * 2 / 12288, rel=1e-3)
    assert found.ms == pytest.approx(1e9 / found.pairs_per_s)
    with pytest.raises(ValueError, match="refine: no loop"):
        prediction.predict_other("refine", machine, tile(modules))


# The record of all predictions

RECORD = json.loads((BENCHMARKS / "results" / "gpu-predicted.json").read_text())


def test_the_record_is_of_all_kernels_and_none_is_above_its_roof(modules):
    machines = modules[1]
    by_machine: dict[str, list[str]] = {}
    for one in RECORD["predictions"]:
        by_machine.setdefault(one["machine"], []).append(one["kernel"])
        assert 0 < one["pairs_per_s"] <= one["roof"] * (1 + 1e-9), one
        machine = machines.machine_named(one["machine"].split()[-1])
        assert one["pairs_per_s"] * one["row_bytes"] / one["queries"] < machine.bandwidth or (
            "stream" not in one["kernel"] and "reduced" not in one["kernel"]
        )
        assert one["ms"] == pytest.approx(1e9 * one["queries"] / one["pairs_per_s"])
    assert set(by_machine) == {machine.name for machine in machines.MACHINES}
    for machine in machines.MACHINES:
        scans = {k for f in sources.SCANS for k in sources.scans_for(f, machine.capability)}
        found = by_machine[machine.name]
        assert len(found) == len(set(found))
        assert scans | {"l1_reduced", "l2_reduced", "refine", "count_bits"} == set(found)


def test_the_kernels_page_has_the_table_of_the_record(modules):
    page = (Path(sources.FOLDER) / "README.md").read_text(encoding="utf-8")
    assert modules[2].table(RECORD) in page


def test_predictions_are_printed_and_written(modules, monkeypatch, tmp_path):
    with importable():
        import gpu_report
    _, machines, prediction = modules
    one = prediction.predict("hamming_tile", "hamming", machines.MACHINES[2], tile(modules), 512)
    monkeypatch.setattr(gpu_report.prediction, "made", lambda say: [one])
    monkeypatch.setattr(gpu_report.prediction, "compiler_version", lambda: (13, 0))
    done = CliRunner().invoke(
        gpu_report.command, ["--predict", "--json", str(tmp_path / "some.json")]
    )
    assert done.exit_code == 0, done.output
    assert "hamming_tile" in done.output
    record = json.loads((tmp_path / "some.json").read_text())
    assert record["predictions"] == [json.loads(json.dumps(one.record()))]
    assert record["nvrtc"] == "13.0"
    done = CliRunner().invoke(gpu_report.command, ["--json", str(tmp_path / "other.json")])
    assert "--json needs --predict" in done.output
