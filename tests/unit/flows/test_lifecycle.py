"""`slipway run` itself: what comes in which order. The whole of it is `make run`."""

from __future__ import annotations

import subprocess
import sys

ORDER = """
import sys
import flows.lifecycle
from flows.cli import main

def begun(folder, kubeconfig):
    sys.exit(6 if "prefect" in sys.modules else 7)

flows.lifecycle.start_sandbox = begun
main(["run"])
"""


LAST_WORDS = """
import logging, sys, threading, uuid, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

arrived = []

class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        arrived.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.do_GET()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *what):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{server.server_address[1]}/api"
os.environ["PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
import prefect.main
from flows.lifecycle import send_logs

logging.getLogger("prefect.flow_runs").info("nothing is left", extra={"flow_run_id": str(uuid.uuid4())})
send_logs()
sys.exit(7 if any(path == "/api/logs/" and b"nothing is left" in body for path, body in arrived) else 6)
"""


def test_a_runs_last_words_reach_the_server_before_it_is_ended() -> None:
    """Sent later they would be tried for a minute against a server that is gone, with an error as the last line."""
    done = subprocess.run(
        [sys.executable, "-c", LAST_WORDS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 7, done.stdout + done.stderr


def test_prefect_is_imported_after_the_sandbox_said_where_its_server_is() -> None:
    """Imported before, it would start a server of its own, and the sandbox's UI would show no run."""
    done = subprocess.run(
        [sys.executable, "-c", ORDER], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 7, done.stdout + done.stderr
