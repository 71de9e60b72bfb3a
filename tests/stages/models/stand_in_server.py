"""A program that stands in for vLLM's server: it speaks as much of its protocol as the lane uses, and misbehaves.

Run as ``python -m tests.stages.models.stand_in_server --port N --folder FOLDER --model M``. The folder tells how: a
file ``silent``: it never listens; ``fails``: it ends at once; ``child``: it starts a process, whose id it writes
there; ``dies``: it ends at the first request, once; ``hangs``: it answers no request and makes no token, once, while
its health is well. It writes the number of its starts to ``starts``.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--folder", type=Path)
parser.add_argument("--model")
options = parser.parse_args()
running = tokens = 0
lock = threading.Lock()


def happens_once(name: str) -> bool:
    try:
        (options.folder / name).unlink()
    except FileNotFoundError:
        return False
    return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        metrics = f'vllm:num_requests_running{{model_name="m"}} {running}.0\nvllm:generation_tokens_total {tokens}.0\n'
        self.reply({"/health": "", "/metrics": metrics}[self.path])

    def do_POST(self) -> None:
        global running, tokens
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            running += 1
        if happens_once("dies"):
            os._exit(1)
        if happens_once("hangs"):
            time.sleep(600)
        assert body["model"] == options.model
        assert body["repetition_detection"]
        choice = {"message": {"content": "text"}, "finish_reason": "stop"}
        with lock:
            running, tokens = running - 1, tokens + 7
        self.reply(json.dumps({"choices": [choice]}))

    def reply(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


starts = options.folder / "starts"
starts.write_text(str(int(starts.read_text()) + 1 if starts.exists() else 1))
print("a message of the server", flush=True)
if (options.folder / "fails").exists():
    sys.exit(3)
if (options.folder / "child").exists():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (options.folder / "child").write_text(str(child.pid))
if (options.folder / "silent").exists():
    time.sleep(600)
ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()
