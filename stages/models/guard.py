"""A process between a worker and the server that it has started: whichever way the worker dies, the server goes too.

Run as ``python -m stages.models.guard PARENT_PID COMMAND...``, as leader of a process group of its own. The
command and what it starts belong to that group, so killing the group ends everything.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

LOOK_S = 0.5


def main() -> None:
    """Run the command until it ends, or the parent does; then end all that is left of the group, this process too."""
    if os.getpgrp() != os.getpid():
        sys.exit("the guard ends its whole process group: it must be started as leader of a new one")
    parent, command = int(sys.argv[1]), sys.argv[2:]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    # a signal at the parent's death would also come at the death of the thread that started us
    while server.poll() is None and os.getppid() == parent:
        time.sleep(LOOK_S)
    print(f"the server ended with status {server.poll()}", flush=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
