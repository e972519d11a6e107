"""Fixtures of the tests of CUDA search: devices that are emulated."""

from __future__ import annotations

import pytest

from vsearch_fast._gpu import backend


@pytest.fixture
def with_devices(monkeypatch):
    """Makes the process have these devices, which pass the self-check."""

    def have(*devices):
        monkeypatch.setattr(backend, "devices", lambda: devices)
        monkeypatch.setattr(backend, "_distrusted", {repr(device): "" for device in devices})
        return devices

    return have
