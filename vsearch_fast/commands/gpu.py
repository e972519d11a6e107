"""`vsearch gpu`: which GPUs searches can use, and what is missing where they cannot."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from ..errors import DeviceError
from ..kernels.cuda import sources

_PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "cupy", "onnxruntime-gpu", "onnxruntime")


@click.command("gpu")
def command() -> None:
    """Say which GPUs searches can use, and check that they search rightly.

    The check compiles the kernels, which takes some seconds at the first time, and compares every
    one of them with the definition on a small problem.
    """
    from ..search.gpu import devices, selfcheck

    for name in _PACKAGES:
        try:
            click.echo(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    failed = []
    for device in devices.devices():
        with device.use():
            free = device.free_bytes() / 1e9
        click.echo(
            f"{device.name}: {sources.architecture(device.capability)}, {device.processors}"
            f" processors, {free:,.1f} GB free"
        )
        wrong = selfcheck.check(device)
        right = "every kernel equals the definition"
        if device.avoided:
            right += f", but for {', '.join(sorted(device.avoided))}: not used"
        click.echo(f"  self-check: {wrong or right}")
        if wrong:
            failed.append(device.name)
    if failed:
        raise DeviceError(
            f"{', '.join(failed)} failed the self-check",
            "Searches use the processor instead",
            "Report this, with the versions above",
        )
