"""Processors that a process may use, by what control groups allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsearch_fast import machine


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2, V1 = "sys/fs/cgroup/", "sys/fs/cgroup/cpu/"
OWN = "proc/self/cgroup"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({OWN: "0::/\n"}, None),
        ({OWN: "0::/\n", V2 + "cpu.max": "150000 100000\n"}, 1.5),
        ({OWN: "0::/\n", V2 + "cpu.max": "max 100000\n"}, None),
        ({OWN: "0::/a/b\n", V2 + "a/b/cpu.max": "max 100000", V2 + "a/cpu.max": "5 10"}, 0.5),
        ({OWN: "0::/a/b\n", V2 + "a/b/cpu.max": "200000 100000", V2 + "a/cpu.max": "8 4"}, 2.0),
        ({OWN: "0::/a/b\n", V2 + "a/b/cpu.max": "300000 100000", V2 + "cpu.max": "1 1"}, 1.0),
        # A container: the path is the host's, the mount begins at the group.
        ({OWN: "0::/docker/abc\n", V2 + "cpu.max": "100000 50000"}, 2.0),
        ({OWN: "0::/../../x\n", V2 + "cpu.max": "100000 50000"}, 2.0),
        ({OWN: "0::/\n", V2 + "cpu.max": "nonsense"}, None),
        ({OWN: "0::/\n", V2 + "cpu.max": "100000 0"}, None),
        ({OWN: "4:cpu,cpuacct:/a\n2:memory:/\n", V1 + "a/cpu.cfs_quota_us": "250000\n",
          V1 + "a/cpu.cfs_period_us": "100000\n"}, 2.5),
        ({OWN: "4:cpuacct,cpu:/\n", "sys/fs/cgroup/cpuacct,cpu/cpu.cfs_quota_us": "100000",
          "sys/fs/cgroup/cpuacct,cpu/cpu.cfs_period_us": "100000"}, 1.0),
        ({OWN: "4:cpu:/\n", V1 + "cpu.cfs_quota_us": "-1", V1 + "cpu.cfs_period_us": "9"}, None),
        # Both at once: the tighter one.
        ({OWN: "4:cpu:/\n0::/\n", V1 + "cpu.cfs_quota_us": "3", V1 + "cpu.cfs_period_us": "1",
          V2 + "cpu.max": "2 1"}, 2.0),
    ],
)  # fmt: skip
def test_quotas_of_control_groups(files, quota, tmp_path):
    assert machine.cpu_quota(tree(tmp_path, files)) == quota


@pytest.mark.posix
@pytest.mark.parametrize(
    ("quota", "threads"), [(None, 6), (0.2, 1), (1.0, 1), (1.2, 2), (6.0, 6), (64.0, 6)]
)
def test_threads_are_capped_by_the_quota(quota, threads, monkeypatch):
    monkeypatch.setattr(machine, "_quota_of_this_process", lambda: quota)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert machine.available_threads() == threads
