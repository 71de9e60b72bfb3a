"""What a task cost, its child processes included."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from pipeline import usage
from pipeline.usage import Usage, family, pss_bytes

BUSY = """
import sys, time
started = time.process_time()
while time.process_time() - started < 0.5:
    pass
print(flush=True)
sys.stdin.read()
"""


def test_cpu_seconds_of_a_living_child_count_and_still_do_when_it_has_ended() -> None:
    cost = Usage()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in family(os.getpid())
        assert pss_bytes(child.pid) > 1 << 20
        alive = cost.cpu_seconds()
        assert alive >= 0.4
        child.communicate()
    assert cost.cpu_seconds() >= 0.4


def test_the_peak_is_of_this_task_and_not_of_the_one_before() -> None:
    block = bytearray(200 << 20)
    del block
    assert Usage().peak_memory_bytes() < _peak_with(200 << 20) - (100 << 20)


def _peak_with(size: int) -> int:
    cost = Usage()
    block = bytearray(size)
    peak = cost.peak_memory_bytes()
    del block
    return peak


@pytest.mark.parametrize("kernel_tells", [True, False])
def test_grandchildren_started_by_other_threads_are_of_the_family(
    kernel_tells: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel_tells and not usage.KERNEL_TELLS_CHILDREN:
        pytest.skip("this kernel was built without CONFIG_PROC_CHILDREN")
    monkeypatch.setattr(usage, "KERNEL_TELLS_CHILDREN", kernel_tells)
    pipe = subprocess.PIPE
    starts_another = "import subprocess; p = subprocess.Popen(['cat']); print(p.pid, flush=True); p.wait()"
    with ThreadPoolExecutor(1) as thread:
        start = partial(subprocess.Popen, [sys.executable, "-c", starts_another], stdin=pipe, stdout=pipe)
        with thread.submit(start).result() as child:
            assert child.stdout is not None
            grandchild = int(child.stdout.readline())
            assert {os.getpid(), child.pid, grandchild} <= set(family(os.getpid()))
            assert os.getppid() not in family(os.getpid())
            child.communicate()
    assert grandchild not in family(os.getpid())
