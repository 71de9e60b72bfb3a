"""A program that stands in for the worker: it speaks the same frames, and misbehaves on certain words of a prompt.

Run as ``python -m tests.stages.models.vllm.stand_in_worker FOLDER SOCKET OPTIONS``. It answers each request with its
prompt in capitals, after as many beats of ``BEAT_S`` as ``max_tokens``, a token a beat, ``max_num_seqs`` requests at
once. Words: "poison" kills it, "freeze" stops all its tokens, "endless" never ends, "child" starts a process whose id
it answers, "long" is refused. Files in the folder: ``starts`` counts its starts; ``fails``: it ends before it is
ready, ``silent``: it is never ready, ``breaks``: it ends at its first request, whatever that is; ``asked`` gets a line
of keys for each message that asks.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import orjson

from stages.models.vllm.frames import Frames, framed

BEAT_S = 0.01

folder, socket_path, options = Path(sys.argv[1]), sys.argv[2], orjson.loads(sys.argv[3])
starts = folder / "starts"
starts.write_text(str(int(starts.read_text()) + 1 if starts.exists() else 1))
print("a message of the worker", flush=True)
if (folder / "fails").exists():
    sys.exit(3)
if (folder / "silent").exists():
    time.sleep(600)

connection = socket.socket(socket.AF_UNIX)
connection.connect(socket_path)
connection.sendall(framed({"ready": 512}))
connection.settimeout(BEAT_S)
frames, tokens, is_frozen = Frames(), 0, False
requests: dict[int, list] = {}
left: dict[int, int] = {}  # tokens to be made


def answer(key: int, text: str) -> None:
    connection.sendall(framed({"answer": [key, text, "stop", len(requests[key][0].split()), requests[key][1]]}))
    del requests[key], left[key]


while True:
    try:
        piece = connection.recv(1 << 16)
        if not piece:
            sys.exit("the host has gone")
    except TimeoutError:
        piece = b""
    for message in frames.fed(piece):
        with (folder / "asked").open("a") as log:
            log.write(" ".join(str(key) for key, *_ in message.get("ask", ())) + "\n")
        for key, *request in message.get("ask", ()):
            requests[key], left[key] = request, request[1]
        for key in message.get("abort", ()):
            requests.pop(key), left.pop(key)
            with (folder / "aborted").open("a") as log:
                log.write(f"{key}\n")
    for key in list(requests)[: options["max_num_seqs"]]:
        prompt = requests[key][0]
        if "poison" in prompt or (folder / "breaks").exists():
            print("the last words", flush=True)
            os._exit(7)
        if "long" in prompt:
            connection.sendall(framed({"failed": [key, "refused", "too long"]}))
            del requests[key], left[key]
            continue
        if "child" in prompt:
            answer(key, str(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid))
            continue
        is_frozen |= "freeze" in prompt
        if is_frozen:
            continue
        tokens += 1
        left[key] -= "endless" not in prompt
        if left[key] <= 0:
            answer(key, prompt.upper())
    connection.sendall(framed({"tokens": tokens}))
