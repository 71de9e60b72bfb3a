"""What the tests ask of processes that the code under test has started."""

import time
from collections.abc import Callable
from pathlib import Path


def starts(folder: Path) -> int:
    """Times that a stand-in has been started, as it notes them in its folder."""
    return int((folder / "starts").read_text())


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended, and that nobody has waited for yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def await_that(condition: Callable[[], bool]) -> None:
    """Fail unless something becomes true within 20 s."""
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)
