"""`python -m loadtests.prove`: prove every promise, and print one page. The exit code is 1 if one is broken."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loadtests.drill.monitoring import is_installed
from loadtests.own_platform import own_folder
from loadtests.prove import kills, promises

ROOT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.prove",
        description="Run load with kills, all drills, hours of silence and the slow tests; print one page.",
        epilog="Exit codes: 0, every promise held; 1, one is broken; 2, nothing ran.",
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("prove_output"), help="the folder of the evidence (prove_output)")
    add("--kill-seconds", type=float, default=120.0, help="how long processes are killed (120)")
    add("--quiet-hours", type=float, default=4.0, help="hours of silence, at twenty times the clock (4)")
    add("--page", action="store_true", help="only judge the evidence that is there")
    return parser.parse_args()


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def gather(options: argparse.Namespace) -> None:
    """Write all evidence. A part that fails leaves none, which the page shows."""
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for name in (promises.KILLS, "quiet.json", promises.TESTS, "scorecard.json"):
        (out / name).unlink(missing_ok=True)
    say("Load with kills ...")
    write_kills(out, options.kill_seconds)
    hours = ["--hours", str(options.quiet_hours), "--speed", "20"]
    run("Silence ...", [sys.executable, "-m", "loadtests.quiet", *hours, "--out", str(out)])
    run("All drills ...", [sys.executable, "-m", "loadtests.drill", "all", "--out", str(out)])
    tests = [
        "-m",
        "slow",
        "--timeout",
        "3600",
        "--ignore",
        "loadtests/tests/drill",
        f"--junitxml={out / promises.TESTS}",
    ]
    run("Slow tests ...", [sys.executable, "-m", "pytest", "-q", *tests])


def write_kills(out: Path, seconds: float) -> None:
    try:
        with own_folder() as folder:
            result = kills.run(Path(tempfile.mkdtemp(dir=folder)), seconds, say)
    except AssertionError as error:
        say(f"FAILED: {error}")
        return
    (out / promises.KILLS).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def run(text: str, command: list[str]) -> None:
    say(text)
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=ROOT, env=environment | {"PROVE": "1"}, check=False)


def main() -> int:
    options = arguments()
    if not options.page:
        if not is_installed():
            sys.stderr.write("error: This needs Prometheus and Alertmanager, see README.md.\n")
            return 2
        gather(options)
    results = promises.judge(options.out)
    print("\n" + "\n".join(result.line() for result in results))
    return 0 if all(result.held for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
