"""`python -m loadtests.prove`: prove every promise, and print one page. The exit code is 1 if one is broken."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from loadtests.argument_types import positive
from loadtests.command import run_command, say
from loadtests.drill import choose
from loadtests.drill.choose import git
from loadtests.own_platform import own_folder
from loadtests.prove import hosts, kills, promises

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "commit.txt"  # of all evidence in the folder


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.prove",
        description="Prove each promise of README, and print one page: load with kills on one host and on several,"
        " hours without a fault, all drills, and the slow tests.",
        epilog="Exit codes: 0, every promise held; 1, one is broken; 2, nothing ran; 130, it was interrupted.",
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("prove_output"), help="the folder of the evidence (prove_output)")
    add("--kill-seconds", type=positive, default=120.0, help="how long processes are killed (120)")
    add("--host-seconds", type=positive, default=600.0, help="how long hosts are killed, added and removed (600)")
    add("--quiet-hours", type=positive, default=4.0, help="hours without a fault, as the rules count them (4)")
    add("--only", choices=PARTS, nargs="+", default=list(PARTS), help="run only these parts; the page has all promises")
    resume = "keep the evidence that is there, if it is of this code: run the parts and drills without it"
    add("--resume", action="store_true", help=resume)
    add("--page", action="store_true", help="only judge the evidence that is there")
    return parser.parse_args()


def gather(options: argparse.Namespace) -> int:
    """Write the evidence of each part, and say what it shows. A part that fails leaves none, which the page shows."""
    out, began = options.out.resolve(), time.monotonic()
    chosen = [name for name in PARTS if name in options.only]
    if problem := prepare(out, chosen, resume=options.resume):
        sys.stderr.write(f"error: {problem}\n")
        return 2
    for together in ROUNDS:
        names = [name for name in together if name in chosen]
        with ExitStack() as started:
            for name in names:
                evidence, write = PARTS[name]
                kept = options.resume and all(result.held for result in results(out, evidence))
                say(f"{chosen.index(name) + 1}/{len(chosen)} {name}{': kept' if kept else ' ...'}")
                if not kept:
                    started.enter_context(write(out, options))
        for result in chain.from_iterable(results(out, PARTS[name][0]) for name in names):
            say(f"  {result.line()}")
    say(f"It took {(time.monotonic() - began) / 60:.0f} minutes.")
    return 0


def prepare(out: Path, chosen: list[str], *, resume: bool) -> str:
    """Remove the evidence that this run does not keep, and note the code. Return why it cannot resume, or "".

    Whatever is left counts when an interrupted run is resumed, so nothing of an earlier run or other code may be left.
    """
    note, now = out / COMMIT, stamp(out)
    if resume and not now:
        return f"Without Git, the code of the evidence in {out} is unknown: run without RESUME (--resume)."
    before = note.read_text(encoding="utf-8").strip() if note.exists() else ""
    is_other = now != before and any((out / evidence).exists() for evidence, _ in PARTS.values())
    if resume and is_other:
        return f"The evidence in {out} is of other code ({before or 'unknown'}): run without RESUME (--resume)."
    for name, (evidence, _) in PARTS.items():
        if is_other or (name in chosen and not resume):
            (out / evidence).unlink(missing_ok=True)
    note.write_text(f"{now}\n", encoding="utf-8")
    return ""


def stamp(out: Path) -> str:
    """Return the commit, with a digest of what is not committed outside of `out`, if anything is; "" without Git."""
    commit = git("rev-parse", "HEAD").strip()
    code = ["--", "."]
    if out.is_relative_to(choose.BASE_DIR):
        code.append(f":(exclude){out.relative_to(choose.BASE_DIR)}")
    changes = [git("diff", "--binary", "HEAD", *code).encode(errors="surrogateescape")]
    for name in git("ls-files", "-z", "--others", "--exclude-standard", *code).split("\0")[:-1]:
        path = choose.BASE_DIR / name
        changes += [name.encode(errors="surrogateescape"), path.read_bytes() if path.is_file() else b""]
    return f"{commit}+{hashlib.sha256(b''.join(changes)).hexdigest()[:12]}" if any(changes) else commit


def results(out: Path, evidence: str) -> list[promises.Result]:
    return [result for result in promises.judge(out) if result.evidence == str(out / evidence)]


@contextmanager
def write_kills(out: Path, options: argparse.Namespace) -> Iterator[None]:
    write_figures(out / promises.KILLS, kills.run, options.kill_seconds)
    yield


@contextmanager
def write_hosts(out: Path, options: argparse.Namespace) -> Iterator[None]:
    write_figures(out / promises.HOSTS, hosts.run, options.host_seconds)
    yield


def write_figures(
    evidence: Path, measure: Callable[[Path, float, Callable[[str], None]], dict[str, Any]], seconds: float
) -> None:
    evidence.unlink(missing_ok=True)
    try:
        with own_folder() as folder:
            result = measure(Path(tempfile.mkdtemp(dir=folder)), seconds, say)
    except Exception as error:  # the other parts take most of the time, and do not depend on this one
        traceback.print_exc()
        say(f"FAILED: {type(error).__name__}: {error}")
        return
    evidence.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def write_silence(out: Path, options: argparse.Namespace) -> AbstractContextManager[None]:
    (out / promises.SILENCE).unlink(missing_ok=True)
    return running("loadtests.quiet", "--hours", str(options.quiet_hours), "--speed", "20", "--out", str(out))


def write_scorecard(out: Path, options: argparse.Namespace) -> AbstractContextManager[None]:
    """Run the drills, which write their row at once: those that an interruption left out can follow."""
    return running("loadtests.drill", "incomplete", "--out", str(out))


def write_tests(out: Path, options: argparse.Namespace) -> AbstractContextManager[None]:
    """Run the slow tests, except those of what a part has done for longer."""
    (out / promises.TESTS).unlink(missing_ok=True)
    done = [f"--ignore=loadtests/tests/prove/test_{part}.py" for part in ("kills", "hosts")]
    words = ["-q", "-n", "auto", "-m", "slow", "--timeout", "3600"]
    return running("pytest", *words, *done, f"--junitxml={out / promises.TESTS}")


@contextmanager
def running(module: str, *words: str) -> Iterator[None]:
    """Run a module beside the block, and wait for its end. An interruption ends it."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    process = subprocess.Popen([sys.executable, "-m", module, *words], cwd=ROOT, env=environment | {"PROVE": "1"})
    try:
        yield
        process.wait()
    finally:
        process.terminate()
        process.wait()


# Name -> file of evidence, and the context that writes it until its end.
PARTS: dict[str, tuple[str, Callable[[Path, argparse.Namespace], AbstractContextManager[None]]]] = {
    "kills": (promises.KILLS, write_kills),
    "hosts": (promises.HOSTS, write_hosts),
    "silence": (promises.SILENCE, write_silence),
    "drills": (promises.SCORECARD, write_scorecard),
    "tests": (promises.TESTS, write_tests),
}
# Silence and drills mostly wait, so they run at once; the others need the machine for themselves.
ROUNDS = (("kills",), ("hosts",), ("silence", "drills"), ("tests",))


def main() -> int:
    options = arguments()
    interrupted = "Interrupted. What is proven is kept: `make prove RESUME=1` goes on."
    if not options.page and (code := run_command(partial(gather, options), out=options.out, interrupted=interrupted)):
        return code
    page = promises.judge(options.out)
    print("\n" + "\n".join(result.line() for result in page))
    return 0 if all(result.held for result in page) else 1


if __name__ == "__main__":
    sys.exit(main())
