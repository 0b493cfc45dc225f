"""Faults of the machine and of the monitoring: a full disk, a certificate near its end, an exporter that crashes."""

import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
import yaml

from fintech.testing.certificates import write_certificate
from fintech.testing.processes import wait_until
from observability.tests.drill import Drill
from observability.tests.monitoring import ask

DISK_MEGABYTES = 24


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
    """Stop it for two seconds of four, for half a minute."""
    process = drill.monitoring.programs["postgres"].process
    for _ in range(8):
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        process.send_signal(signal.SIGCONT)
        time.sleep(2)


# --- Alertmanager ------------------------------------------------------------------------------------------------


def reload_alertmanager(drill: Drill) -> None:
    drill.monitoring.programs["alertmanager"].process.send_signal(signal.SIGHUP)


def break_configuration(drill: Drill) -> None:
    """Break Alertmanager's. Prometheus 2.42 drops alerts at a reload, until it finds its Alertmanagers again."""
    path = drill.monitoring.configuration / "alertmanager.yml"
    path.write_text(f"{path.read_text()}\nnot_a_setting: 1\n")
    reload_alertmanager(drill)


def mend_configuration(drill: Drill) -> None:
    path = drill.monitoring.configuration / "alertmanager.yml"
    path.write_text(path.read_text().replace("not_a_setting: 1\n", ""))
    reload_alertmanager(drill)


# --- Database ----------------------------------------------------------------------------------------------------


def leak_connections(drill: Drill) -> None:
    """Open connections until 85 % are in use."""
    url = drill.own.server.url("postgres", "fintech")
    used = "SELECT count(*) FILTER (WHERE datname IS NOT NULL), current_setting('max_connections')::int"
    [(count, most)] = drill.own.query(f"{used} FROM pg_stat_activity")
    for _ in range(int(most * 0.87) - count):
        drill.leaked.append(drill.stack.enter_context(psycopg.connect(url)))


def close_connections(drill: Drill) -> None:
    for connection in drill.leaked:
        connection.close()


# --- Machine -----------------------------------------------------------------------------------------------------


def fill_disk(share: float) -> Callable[[Drill], None]:
    """Mount a small file system of its own, and fill it. `share` of it remains available."""

    def fill(drill: Drill) -> None:
        image, folder = drill.monitoring.directory / "disk.img", drill.monitoring.directory / "disk"
        folder.mkdir()
        with image.open("wb") as file:
            file.truncate(DISK_MEGABYTES * 1024**2)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
        if subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False).returncode != 0:
            pytest.skip("needs the right to mount a file system")
        drill.stack.callback(lambda: subprocess.run(["umount", folder], check=True))
        space = os.statvfs(folder)
        with (folder / "filler").open("wb") as file:
            os.posix_fallocate(
                file.fileno(), 0, int(space.f_bavail * space.f_frsize - share * space.f_blocks * space.f_frsize)
            )
        drill.machine.set_file_system(folder, "ext4")

    return fill


def clear_disk(drill: Drill) -> None:
    (drill.monitoring.directory / "disk" / "filler").unlink()


# --- Certificates ------------------------------------------------------------------------------------------------


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def serve_certificate(days: float) -> Callable[[Drill], None]:
    """Let the blackbox exporter probe a server whose certificate expires in `days`."""

    def serve(drill: Drill) -> None:
        folder = drill.monitoring.directory
        key = folder / "server.key"
        write_certificate(
            folder / "authority.pem", key, name="127.0.0.1", expires=datetime.now(UTC) + timedelta(days=days)
        )
        server = drill.stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Healthy))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "authority.pem", key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        drill.stack.callback(server.shutdown)
        probe(drill, f"https://127.0.0.1:{server.server_port}/")

    return serve


def probes(drill: Drill) -> Path:
    return drill.monitoring.configuration / "targets" / "probe.yml"


def probe(drill: Drill, url: str) -> None:
    groups = yaml.safe_load(probes(drill).read_text())
    labels = {**groups[0]["labels"], "service": "shop", "tier": "edge", "__param_module": "https_200"}
    write_probes(drill, [*groups, {"targets": [url], "labels": labels}])

    def is_up() -> bool:
        return bool(ask(drill.monitoring.prometheus, "query", query='probe_success{service="shop"} == 1')["result"])

    wait_until(is_up, 30, "the probe of the new server succeeds")


def end_probe(drill: Drill) -> None:
    groups = yaml.safe_load(probes(drill).read_text())
    write_probes(drill, [group for group in groups if group["labels"]["service"] != "shop"])


def write_probes(drill: Drill, groups: list[dict[str, object]]) -> None:
    draft = probes(drill).with_suffix(".new")
    draft.write_text(yaml.safe_dump(groups))
    draft.replace(probes(drill))
