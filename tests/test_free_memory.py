from pathlib import Path

import pytest
import torch

from dar.free_memory import free_memory, free_ram

GB = 10**9


def system(root: Path, available: int, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": f"MemTotal: 99 kB\nMemAvailable: {available // 1000} kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_groups_the_system_tells(tmp_path: Path) -> None:
    assert free_ram(system(tmp_path, 5 * GB, {})) == 5 * GB // 1000 * 1024


@pytest.mark.parametrize("shown_at", ["job/a", "job", "."])
def test_a_group_or_one_above_it_may_leave_less(tmp_path: Path, shown_at: str) -> None:
    group = f"sys/fs/cgroup/{shown_at}"
    files = {
        "proc/self/cgroup": "0::/job/a\n",
        "sys/fs/cgroup/job/a/memory.max": "max\n",
        f"{group}/memory.max": f"{3 * GB}\n",
        f"{group}/memory.current": f"{2 * GB}\n",
        f"{group}/memory.stat": f"anon 5\ninactive_file {GB // 2}\n",
    }
    assert free_ram(system(tmp_path, 5 * GB, files)) == 3 * GB // 2


def test_groups_of_the_first_version_are_read(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/memory/job"
    files = {
        "proc/self/cgroup": "4:cpu,cpuacct:/\n3:memory:/job\n0::/\n",
        f"{group}/memory.limit_in_bytes": f"{2 * GB}\n",
        f"{group}/memory.usage_in_bytes": f"{3 * GB}\n",
        f"{group}/memory.stat": "total_inactive_file 0\n",
    }
    assert free_ram(system(tmp_path, 5 * GB, files)) == 0
    (tmp_path / group / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    assert free_ram(tmp_path) == 5 * GB // 1000 * 1024


def test_systems_that_tell_nothing_have_what_is_built_in(tmp_path: Path) -> None:
    assert free_ram(tmp_path) > GB // 4


def test_a_cpu_has_the_ram_and_a_gpu_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < free_memory(torch.device("cpu")) < 2**50
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GB, 8 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: GB)
    assert free_memory(torch.device("cuda:1")) == 4 * GB
