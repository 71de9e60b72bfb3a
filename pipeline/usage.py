"""What a task cost: CPU seconds and memory of its process and of the child processes it keeps, read from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

PROC = "/proc"
KERNEL_TELLS_CHILDREN = os.path.exists(f"{PROC}/self/task/{os.getpid()}/children")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Usage:
    """Measures from its making on."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._cpu_before = {pid: cpu_seconds(pid) for pid in family(os.getpid())}
        self._ended_before = _ended_children_cpu_seconds()
        # where this is refused, the peak is that of the worker's whole life
        with suppress(OSError), open(f"{PROC}/self/clear_refs", "w") as file:
            file.write("5")

    def seconds(self) -> float:
        """Wall seconds."""
        return time.monotonic() - self._started

    def cpu_seconds(self) -> float:
        """CPU seconds of this process and its descendants, those that have ended meanwhile included."""
        alive = sum(cpu_seconds(pid) - self._cpu_before.get(pid, 0.0) for pid in family(os.getpid()))
        return max(0.0, alive + _ended_children_cpu_seconds() - self._ended_before)

    def peak_memory_bytes(self) -> int:
        """Largest resident memory of this process, plus those of the child processes that are alive."""
        return sum(_field_bytes(pid, "status", "VmHWM:") for pid in family(os.getpid()))


def family(root: int) -> list[int]:
    """A process and all that it has started, directly or not, and that is alive."""
    children = _children if KERNEL_TELLS_CHILDREN else _children_by_parents()
    found = [root]
    for pid in found:
        found += children(pid)
    return found


def _children(pid: int) -> list[int]:
    """As the kernel keeps them, for each thread that has started some: looking at the family alone costs the same on
    a machine of ten thousand processes."""
    try:
        threads = os.listdir(f"{PROC}/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for thread in threads for child in _text(f"{PROC}/{pid}/task/{thread}/children").split()]


def _children_by_parents() -> Callable[[int], list[int]]:
    """From all processes of the machine, on kernels without CONFIG_PROC_CHILDREN."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir(PROC)):
        if stat := _text(f"{PROC}/{name}/stat"):
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    return lambda pid: children.get(pid, [])


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 once it has ended."""
    return _field_bytes(pid, "status", "VmRSS:")


def pss_bytes(pid: int) -> int:
    """Memory of a process with shared pages counted in proportion; 0 once it has ended."""
    return _field_bytes(pid, "smaps_rollup", "Pss:")


def cpu_seconds(pid: int) -> float:
    """CPU seconds that a process has taken; 0 once it has ended."""
    if pid == os.getpid():
        return time.process_time()
    if not (stat := _text(f"{PROC}/{pid}/stat")):
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S  # utime and stime: fields 14 and 15 of proc(5)


def _ended_children_cpu_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _field_bytes(pid: int, file: str, field: str) -> int:
    lines = _text(f"{PROC}/{pid}/{file}").splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(field))


def _text(path: str) -> str:
    """A file of /proc; empty if its process has ended or is not ours to look at."""
    try:
        with open(path) as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
