"""A program that stands in for vLLM's server: it speaks as much of its protocol as we use, and misbehaves.

Run as ``python -m tests.stages.models.vllm.stand_in_server --folder FOLDER --model M --served-model-name M --host H
--port N``. It answers with the prompt in capitals, and the size of the picture. The folder tells how: a file
``silent``: it never listens; ``fails``: it ends at once; ``child``: it starts a process, whose id it writes there;
``blind``: it refuses pictures; ``strict``: it refuses all but the first request. At its first request but one, once:
``dies``: it ends; ``hangs``: it answers nothing and makes no token, while its health is well; ``stumbles``: status 500.
It writes the number of its starts to ``starts``.
"""

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--folder", type=Path)
for name in ("--model", "--served-model-name", "--host"):
    parser.add_argument(name)
options = parser.parse_args()
running = tokens = requests = 0
lock = threading.Lock()


def happens_once(name: str) -> bool:
    try:
        (options.folder / name).unlink()
    except FileNotFoundError:
        return False
    return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the second would wait for the first to be acknowledged

    def do_GET(self) -> None:
        metrics = f'vllm:num_requests_running{{model_name="m"}} {running}.0\nvllm:generation_tokens_total {tokens}.0\n'
        self.reply({"/health": "", "/metrics": metrics}[self.path])

    def do_POST(self) -> None:
        global running, tokens, requests
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["model"] == options.model == options.served_model_name
        with lock:
            running, requests = running + 1, requests + 1
            is_first = requests == 1
        if not is_first:
            self.misbehave()
        status, content = self.answer(body, is_first)
        with lock:
            running, tokens = running - 1, tokens + 7
        self.reply(json.dumps(content), status)

    def misbehave(self) -> None:
        if happens_once("dies"):
            os._exit(1)
        if happens_once("hangs"):
            time.sleep(600)

    def answer(self, body: dict, is_first: bool) -> tuple[int, dict]:
        if (options.folder / "blind").exists():
            return 400, {"message": "this model reads no pictures"}
        if (options.folder / "strict").exists() and not is_first:
            return 400, {"message": "not this one"}
        if not is_first and happens_once("stumbles"):
            return 500, {}
        picture, text = body["messages"][0]["content"]
        png = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
        said = f"{text['text'].upper()} {Image.open(io.BytesIO(png)).size} {body.get('top_k')}"
        return 200, {"choices": [{"message": {"content": said}, "finish_reason": "stop"}]}

    def reply(self, text: str, status: int = 200) -> None:
        self.send_response(status)
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
