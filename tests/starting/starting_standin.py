"""A small service for the start script: answers HTTP on a port, or only lives; behaves as its arguments say.

``name port``: the port 0 listens nowhere. Further words: ``late=S`` answers after S seconds, ``dies=S`` ends with 3
after S seconds, ``deaf`` ignores SIGTERM, ``dtms`` answers as DTMS, ``never`` says it is not ready, ``child`` starts a
process of its own. Begin and end are noted in the file that STANDIN_NOTES names.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

name, port, *words = sys.argv[1:]
options = dict(word.partition("=")[::2] for word in words)


def note(what: str) -> None:
    with Path(os.environ["STANDIN_NOTES"]).open("a") as file:
        file.write(f"{what} {name} {os.getpid()} {os.environ.get('DTMS_API_PORT')}\n")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = "never" not in options
        who = {
            "service": "dtms",
            "instance_id": name,
            "status": "ready" if ready else "not_ready",
            "phase": "connecting",
        }
        body = who | {"reasons": [] if ready else [{"code": "x", "detail": "the terminal is away"}]}
        text = json.dumps(body if "dtms" in options else {"service": name}).encode()
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


def end(*_: object) -> None:
    note("ends")
    print(f"{name} says goodbye", flush=True)
    os._exit(0)


signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in options else end)
note("begins")
print(f"{name} says hello", flush=True)
if "child" in options:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note(f"child={sleeper.pid}")
if "late" in options:
    time.sleep(float(options["late"]))
if port != "0":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
if "dies" in options:
    time.sleep(float(options["dies"]))
    sys.exit(3)
while True:
    time.sleep(600)
