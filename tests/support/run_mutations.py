"""Does a test notice each fault of `mutations.py`? ``python tests/support/run_mutations.py -h``.

Each is put into a copy of the project, alone, and its tests run there until one fails: first with
kernels that are compiled fast and with tiles of one size, and where that notices nothing, as ever.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("mutations.json")
#: What the tests need of the project; files larger than that are links.
_NEEDED = ("kernels", "export", "vsearch_fast", "tests", "docs", "benchmarks", "pyproject.toml")
_LARGE = 1 << 20
#: A failure is enough: it need not be made small. Always the same examples.
_PROFILE = """
from hypothesis import Phase
settings.register_profile(
    "mutations", deadline=None, database=None, phases=(Phase.explicit, Phase.generate),
    derandomize=True,
)
settings.load_profile("mutations")
"""
_FAST = """

if os.environ.get("VSEARCH_MUTATIONS") == "fast":
    OPTIMISED = ("-O0", *OPTIMISED[1:])
    del TILES["odd"]
"""

#: A process that has imported what takes long, and gives birth to one for each fault.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["numpy", "numba", "pytest", "hypothesis"])


def copy_project(target: Path) -> None:
    """The project's files, always at the same place: what Numba compiled is found again."""
    shutil.rmtree(target, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z", *_NEEDED],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source, copy = ROOT / name, target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            copy.symlink_to(os.readlink(source))
        elif source.exists() and source.stat().st_size > _LARGE:
            copy.symlink_to(source)
        elif source.exists():
            shutil.copy2(source, copy)
    with (target / "tests" / "conftest.py").open("a", encoding="utf-8") as file:
        file.write(_PROFILE)
    with (target / "tests" / "support" / "emulated.py").open("a", encoding="utf-8") as file:
        file.write(_FAST)


def _run(project: str, tests: Sequence[str], fast: bool, said: str) -> None:
    """In a process of its own: tests of a project, what they say to a file."""
    os.setpgid(0, 0)
    file = os.open(said, os.O_WRONLY)
    os.dup2(file, 1), os.dup2(file, 2)
    os.chdir(project)
    os.environ.update(PYTHONPATH=project, VSEARCH_MUTATIONS="fast" if fast else "")
    own = (str(ROOT), str(Path(__file__).parent))
    sys.path[:] = [project, *(folder for folder in sys.path if folder not in own)]
    import pytest

    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])
    sys.stdout.flush()
    os._exit(int(code))


def outcome(
    project: Path, tests: Sequence[str], timeout: float, fast: bool = False
) -> tuple[str, str]:
    """(caught, survived or not run; by which test or why) of a project's tests."""
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as said:
        child = _processes.Process(target=_run, args=(str(project), tests, fast, said.name))
        child.start()
        child.join(timeout)
        if child.exitcode is None:
            assert child.pid is not None
            try:
                os.killpg(child.pid, signal.SIGKILL)  # the compilers that it has started as well
            except ProcessLookupError:  # it has not come so far as to lead a group
                child.kill()
            child.join()
            return "caught", "nothing ends"
        lines = said.read().strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if child.exitcode == 0:
        return "survived", lines[-1]
    if (child.exitcode == 1 and failed) or child.exitcode < 0:
        # A signal ends the process where an array does.
        by = failed[0].split(" - ")[0].split("::")[-1] if failed else f"signal {-child.exitcode}"
        return "caught", by
    return "not run", " ".join(lines[-3:])


def mutated(project: Path, one: Mutation) -> str:
    """The file's text with the fault in it.

    Raises:
        ValueError: the text is not there once.
    """
    text = (project / one.file).read_text(encoding="utf-8")
    if text.count(one.old) != 1:
        raise ValueError(f"{one.file} holds {one.old!r} {text.count(one.old)} times, not once")
    return text.replace(one.old, one.new)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", metavar="WORD", help="Those whose file or fault has it.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds of each.")
@click.option("--json", "record", type=click.Path(dir_okay=False, path_type=Path), default=RECORD,
              help="Where results are kept: what is there already is not run again.")  # fmt: skip
@click.option("--unchanged", is_flag=True, help="Run all tests without a fault: they must pass.")
def command(only: str | None, timeout: float, record: Path, unchanged: bool) -> None:
    project = Path(tempfile.gettempdir()) / f"vsearch-mutations-{os.getuid()}"
    copy_project(project)
    known = json.loads(record.read_text()) if record.exists() else {}
    some = [one for one in MUTATIONS if only is None or only in one.file or only in one.breaks]
    try:
        if unchanged:
            tests = sorted({test for one in some for test in one.tests})
            click.echo(" ".join(outcome(project, tests, timeout * len(some))))
            return
        for one in some:
            if known.get(one.key, ["not run"])[0] == "not run":
                start, path = time.perf_counter(), project / one.file
                text = path.read_text(encoding="utf-8")
                path.write_text(mutated(project, one), encoding="utf-8")
                found = outcome(project, one.tests, timeout, fast=True)
                if found[0] == "survived":
                    found = outcome(project, one.tests, timeout)
                known[one.key] = [*found, time.perf_counter() - start]
                path.write_text(text, encoding="utf-8")
                record.write_text(json.dumps(known, indent=1) + "\n")
            what, by, seconds = known[one.key]
            click.echo(f"{what:9} {seconds:5.0f} s  {one.file}: {one.breaks} ({by})")
    finally:
        shutil.rmtree(project, ignore_errors=True)
    came = [known[one.key][0] for one in some]
    click.echo(
        f"{len(came)} faults: {came.count('caught')} caught, {came.count('survived')} survived,"
        f" {came.count('not run')} not run"
    )


if __name__ == "__main__":
    command()
