"""Fixtures that all tests share, and the count of tests that saw real photos."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import settings

from vsearch_fast.embedder.runtime import without_telemetry

# Tests and their helpers import ONNX Runtime themselves.
without_telemetry()

# Time decides no test: the machine may be busy, and kernels compile at their first call.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Children of a shell's background job are born deaf to Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Ray's workers give way to all others by default: beside a browser's tests they hardly run at all.
os.environ.setdefault("RAY_worker_niceness", "0")

PHOTOS_VARIABLE = "VSEARCH_PHOTOS"
DEFAULT_PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "clothing"

# Of two processes that take whole files, none should begin a long one when the other is done.
LONGEST_FIRST = [
    "cuda/test_backend.py", "export/test_train.py", "evaluate/test_recipes.py",
    "cuda/test_kernels.py", "web/test_fuzz.py",
]  # fmt: skip

# What helpers assert is explained like the tests' own assertions.
pytest.register_assert_rewrite(
    *(file.stem for file in (Path(__file__).parent / "support").glob("*.py"))
)


@pytest.fixture
def photos(request: pytest.FixtureRequest) -> Path:
    """Folder of real photos: ``images/*.jpg`` and ``images.csv``; skips where there is none."""
    folder = Path(os.environ.get(PHOTOS_VARIABLE, DEFAULT_PHOTOS))
    if not (folder / "images.csv").is_file():
        pytest.skip(f"no real photos in {folder}: set {PHOTOS_VARIABLE} to the clothing data set")
    request.node.user_properties.append(("photos", folder.name))  # also of another process's test
    return folder


@pytest.fixture
def imagenet_weights() -> Path:
    """Folder with Keras' "notop" file of ImageNet weights; skips where there is none."""
    folder = DEFAULT_PHOTOS.with_name("vgg16-imagenet")
    if not list(folder.glob("*notop.h5")):
        pytest.skip(f"no ImageNet weights in {folder}: put Keras' notop file of VGG-16 there")
    return folder


@pytest.fixture
def vsearch(capsys):
    """Run the command in this process: (exit code, standard output, standard error)."""
    from vsearch_fast import cli

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, captured.out, captured.err

    return run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long matrices to ``make test-full``, which asks for them by ``-m``, and what needs
    POSIX to systems that have it. Files that take minutes come first."""
    tests = Path(__file__).parent
    places = {tests / file: place for place, file in enumerate(LONGEST_FIRST)}
    assert all(file.is_file() for file in places), "LONGEST_FIRST names a file that is gone"
    items.sort(key=lambda item: places.get(item.path, len(places)))
    for item in items:
        if item.get_closest_marker("posix") is not None:
            item.add_marker(pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX"))
    if config.option.markexpr:
        return
    # The marker, not the keyword, which a folder of that name gives to all of its tests.
    long = [item for item in items if item.get_closest_marker("full")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = terminalreporter.stats.get("passed", [])
    used = {report.nodeid for report in passed if "photos" in dict(report.user_properties)}
    terminalreporter.write_line(f"real photos: used by {len(used)} passed tests")
    seconds: dict[str, float] = defaultdict(float)
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.write_line("seconds, of the files that took longest:")
    for file, taken in sorted(seconds.items(), key=lambda pair: -pair[1])[:30]:
        terminalreporter.write_line(f"{taken:6.0f} {file}")
