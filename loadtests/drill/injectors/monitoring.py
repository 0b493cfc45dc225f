"""Faults of the machine and of the monitoring: a full disk, a certificate near its end, an exporter that crashes."""

import json
import random
import secrets
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fintech.testing.certificates import write_certificate
from fintech.testing.processes import Program, answers, free_port, request, running, wait_until
from loadtests.drill import NotPossible
from loadtests.drill.lab import Drill
from loadtests.drill.monitoring import ask, back_fill

RETENTION = "--storage.tsdb.retention.size="


# --- Exporters ---------------------------------------------------------------------------------------------------


def kill_exporter(drill: Drill) -> None:
    drill.monitoring.programs["postgres"].kill()


def start_exporter(drill: Drill) -> None:
    drill.monitoring.programs["postgres"].start()


def crash_exporter(drill: Drill) -> None:
    """Kill and start it four times. Start times less than four seconds apart may count as one."""
    for _ in range(4):
        kill_exporter(drill)
        start_exporter(drill)
        time.sleep(6)


def stall_exporter(drill: Drill) -> None:
    """Stop it for 40 seconds of 80, for ten minutes of the rules' time."""
    process, seconds = drill.monitoring.programs["postgres"].process, 40 / drill.conditions.speed
    for _ in range(8):
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)
        time.sleep(seconds)


# --- Prometheus ----------------------------------------------------------------------------------------------------


def stop_prometheus(drill: Drill) -> None:
    drill.monitoring.programs["prometheus"].kill()


def start_prometheus(drill: Drill) -> None:
    ready = partial(answers, drill.monitoring.prometheus, "/-/ready")
    drill.monitoring.programs["prometheus"].start(ready=ready)


# --- Certificates ------------------------------------------------------------------------------------------------


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def serve_certificate(days: float) -> Callable[[Drill], None]:
    """Let the blackbox exporter probe a server whose certificate expires in `days`."""

    def serve_and_probe(drill: Drill) -> None:
        folder = drill.monitoring.directory
        key = folder / "server.key"
        write_certificate(
            folder / "authority.pem", key, name="127.0.0.1", expires=datetime.now(UTC) + timedelta(days=days)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "authority.pem", key)
        probe(drill, f"https://127.0.0.1:{serve(drill, Healthy, context)}/")

    return serve_and_probe


def probe(drill: Drill, url: str, *, module: str = "https_200") -> None:
    groups = drill.monitoring.read_targets("probe")
    labels = {**groups[0]["labels"], "service": "shop", "tier": "edge", "__param_module": module}
    drill.monitoring.write_targets("probe", [*groups, {"targets": [url], "labels": labels}])

    def is_up() -> bool:
        return bool(ask(drill.monitoring.prometheus, "query", query='probe_success{service="shop"} == 1')["result"])

    wait_until(is_up, 30, "the probe of the new server succeeds")


def end_probe(drill: Drill) -> None:
    groups = drill.monitoring.read_targets("probe")
    drill.monitoring.write_targets("probe", [group for group in groups if group["labels"]["service"] != "shop"])


# --- Services that answer wrongly or late --------------------------------------------------------------------------


class Broken(Healthy):
    """A server that is healthy unless it `fails`."""

    fails: threading.Event

    def do_GET(self) -> None:
        self.send_response(503 if self.fails.is_set() else 200)
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(500 if self.fails.is_set() else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def serve(drill: Drill, handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> int:
    """Serve until the drill ends. Return the port."""
    server = drill.stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    drill.stack.callback(server.shutdown)
    return server.server_port


def serve_broken(drill: Drill, *, fails: bool) -> int:
    """Serve answers that `drill.broken` makes failures. Return the port."""
    drill.broken = threading.Event()
    if fails:
        drill.broken.set()
    return serve(drill, type("Server", (Broken,), {"fails": drill.broken}))


def break_service(drill: Drill) -> None:
    """Probe a monitoring service, and let it answer 503."""
    probe(drill, f"http://127.0.0.1:{serve_broken(drill, fails=False)}/", module="http_200")
    drill.broken.set()


def repair(drill: Drill) -> None:
    drill.broken.clear()


class SlowWorker(Healthy):
    """The worker's metrics over a slow network."""

    port = 0

    def do_GET(self) -> None:
        time.sleep(1.5)
        body = request(self.port, "GET", "/metrics").body
        with suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


def slow_scrapes(drill: Drill) -> None:
    SlowWorker.port = drill.own.platform.worker_port
    drill.monitoring.write_targets("worker", [{"targets": [f"127.0.0.1:{serve(drill, SlowWorker)}"]}])


def scrape_directly(drill: Drill) -> None:
    drill.monitoring.write_targets("worker", [{"targets": [f"127.0.0.1:{drill.own.platform.worker_port}"]}])


# --- A second Prometheus -------------------------------------------------------------------------------------------


@dataclass
class Replica:
    """A second Prometheus, as in a pair, whose metrics the first one scrapes. Its own rules and storage fail."""

    drill: Drill
    folder: Path
    program: Program

    def write_rules(self, *rules: Mapping[str, object]) -> None:
        (self.folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "replica", "rules": rules}]}))
        self.program.process.send_signal(signal.SIGHUP)


def start_replica(
    drill: Drill,
    *flags: str,
    rules: Sequence[Mapping[str, object]] = (),
    storage: Path | None = None,
    **settings: object,
) -> Replica:
    folder = drill.monitoring.directory / f"replica-{secrets.token_hex(4)}"
    folder.mkdir()
    port = free_port()
    configuration = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": ["rules.yml"]}
    (folder / "prometheus.yml").write_text(json.dumps({**configuration, **settings}))
    (folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "replica", "rules": list(rules)}]}))
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={storage or folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *flags,
    ]
    log, ready = folder / "log", partial(answers, port, "/-/ready")
    program = drill.stack.enter_context(running(command, {}, log=log, ready=ready))
    groups = drill.monitoring.read_targets("prometheus")
    drill.stack.callback(partial(drill.monitoring.write_targets, "prometheus", groups))
    drill.monitoring.write_targets("prometheus", [*groups, {"targets": [f"127.0.0.1:{port}"]}])
    drill.replica = Replica(drill, folder, program)
    return drill.replica


TWO = '(label_replace(vector(1), "n", "1", "", "") or label_replace(vector(1), "n", "2", "", ""))'


def fail_a_rule(drill: Drill) -> None:
    """Let the second Prometheus evaluate a rule that matches many series with many."""
    start_replica(drill, rules=[{"record": "broken", "expr": f"{TWO} * on () {TWO}"}])


def correct_the_rule(drill: Drill) -> None:
    drill.replica.write_rules()


def refuse_alerts(drill: Drill) -> None:
    """Let the second Prometheus send an alert to an Alertmanager that answers 500."""
    alertmanager = {"static_configs": [{"targets": [f"127.0.0.1:{serve_broken(drill, fails=True)}"]}]}
    rule = {"alert": "Unsendable", "expr": "vector(1)"}
    flag = "--rules.alert.resend-delay=1s"
    start_replica(drill, flag, rules=[rule], alerting={"alertmanagers": [alertmanager]})


def limit_storage(drill: Drill) -> None:
    """Start the second Prometheus with blocks that use 95 % of its limit."""
    storage = drill.monitoring.directory / "small-storage"
    now = int(time.time())
    samples = "".join(f"drill {random.random()} {now - 7200 + second}\n" for second in range(0, 7000, 5))
    back_fill(storage, f"{samples}# EOF\n")
    used = sum(file.stat().st_size for file in storage.rglob("*") if file.is_file())
    start_replica(drill, f"{RETENTION}{used * 100 // 95}B", storage=storage)


def raise_limit(drill: Drill) -> None:
    program = drill.replica.program
    program.kill()
    program.command = [f"{RETENTION}1GB" if RETENTION in word else word for word in program.command]
    program.start()


def fill_storage(drill: Drill) -> None:
    """Store the second Prometheus's data on a file system of its own, and use all of its inodes."""
    storage = drill.monitoring.directory / "no-inodes"
    storage.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1g,nr_inodes=200", "tmpfs", storage], check=False
    ).returncode:
        raise NotPossible("it needs the right to mount a file system")
    drill.stack.callback(lambda: subprocess.run(["umount", storage], check=True))
    itself = [{"targets": [f"127.0.0.1:{drill.monitoring.prometheus}"]}]
    scrapes = [{"job_name": "any", "static_configs": itself}]
    start_replica(drill, "--storage.tsdb.min-block-duration=20s", storage=storage, scrape_configs=scrapes)
    # From then on Prometheus appends to the files that it has; it needs new ones for a block.
    wait_until(lambda: any((storage / "chunks_head").iterdir()), 60, "the second Prometheus writes chunks")
    (storage / "filler").mkdir()
    with suppress(OSError):
        for number in range(200):
            (storage / "filler" / str(number)).touch()


def clear_storage(drill: Drill) -> None:
    shutil.rmtree(drill.monitoring.directory / "no-inodes" / "filler")
