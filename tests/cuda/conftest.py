"""Fixtures of the tests of CUDA search: devices that are emulated."""

from __future__ import annotations

import pytest
from emulated import disorder

from vsearch_fast.search.gpu import devices as devices_module
from vsearch_fast.search.gpu import selfcheck


@pytest.fixture
def with_devices(monkeypatch):
    """Makes the process have these devices, which pass the self-check."""

    def have(*devices):
        monkeypatch.setattr(devices_module, "devices", lambda: devices)
        monkeypatch.setattr(selfcheck, "_distrusted", {repr(device): "" for device in devices})
        return devices

    return have


@pytest.fixture(autouse=True)
def in_order():
    """Whatever else a test asks: nothing that its devices did was left unordered."""
    disorder()
    yield
    assert disorder() == []
