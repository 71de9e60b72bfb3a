"""What a task cost, its child processes included."""

import os
import subprocess
import sys

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
    usage = Usage()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in family(os.getpid())
        assert pss_bytes(child.pid) > 1 << 20
        alive = usage.cpu_seconds()
        assert alive >= 0.4
        child.communicate()
    assert usage.cpu_seconds() >= 0.4


def test_the_peak_is_of_this_task_and_not_of_the_one_before() -> None:
    block = bytearray(200 << 20)
    del block
    assert Usage().peak_memory_bytes() < _peak_with(200 << 20) - (100 << 20)


def _peak_with(size: int) -> int:
    usage = Usage()
    block = bytearray(size)
    peak = usage.peak_memory_bytes()
    del block
    return peak
