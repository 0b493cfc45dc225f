"""`make tools`: Debian's Prometheus, Alertmanager and exporters under var/tools, without root or installing them.

apt works on a state of its own there, so the system's is neither changed nor needed; dpkg only unpacks.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from fintech.run import RunError
from fintech.run.layout import BASE_DIR

PACKAGES = ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter", "prometheus-blackbox-exporter")
# Debian's Alertmanager reads its default template and its pages from the first path. The second has the same
# length and is relative: started in the folder it was unpacked to, it finds them there.
INSTALLED = b"/usr/share/prometheus/alertmanager"
UNPACKED = b"usr/share//prometheus/alertmanager"


def fetch_tools(tools: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise RunError(
            "make tools needs apt-get and dpkg (Debian, Ubuntu): install Prometheus and the others another way,"
            " so that they are on PATH."
        )
    state = tools / "apt"
    for directory in ("state/lists/partial", "cache/archives/partial", "packages"):
        (state / directory).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    run_apt(state, "update")
    run_apt(state, "download", *PACKAGES)
    for package in sorted((state / "packages").glob("*.deb")):
        run(["dpkg", "-x", str(package), str(tools)], state)
    make_relative(tools / "usr" / "bin" / "prometheus-alertmanager")
    shutil.rmtree(state)


def run_apt(state: Path, *command: str) -> None:
    options = {
        "Dir::State": state / "state",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    run(["apt-get", "--quiet", "--quiet", *words, *command], state)


def run(command: list[str], state: Path) -> None:
    result = subprocess.run(command, cwd=state / "packages", capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = (result.stdout + result.stderr).strip().splitlines() or ["no output"]
        raise RunError(f"{Path(command[0]).name} failed ({said[-1]}); it needs access to Debian's packages.")


def make_relative(program: Path) -> None:
    content = program.read_bytes()
    if content.count(INSTALLED) == 0:
        return  # built without the path, as upstream builds it
    draft = program.with_suffix(".new")
    draft.write_bytes(content.replace(INSTALLED, UNPACKED))
    draft.chmod(0o755)
    draft.replace(program)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fintech.run.tools", description=__doc__)
    parser.add_argument("--var", type=Path, default=BASE_DIR / "var")
    tools = parser.parse_args().var.resolve() / "tools"
    programs = [tools / "usr" / "bin" / package for package in PACKAGES]
    if all(program.exists() for program in programs):
        sys.stdout.write(f"They are already in {tools}; remove that folder to fetch them again.\n")
        return 0
    sys.stdout.write(f"Fetching {', '.join(PACKAGES)} from Debian ...\n")
    try:
        fetch_tools(tools)
    except (RunError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"Unpacked into {tools}. make run finds them there.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
