"""`python -m loadtests.drill list | FAULT... | all | incomplete`: run drills on a platform of their own."""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from fintech.run import interruption
from fintech.testing.processes import BASE_DIR
from loadtests.drill import NotPossible, page, scorecard
from loadtests.drill.faults.catalogue import FAULTS, Fault
from loadtests.drill.lab import Drill
from loadtests.drill.monitoring import is_installed
from loadtests.drill.platforms import Platforms
from loadtests.drill.running_platform import in_real_time, running_platform
from loadtests.drill.steps import DrillFailed, run
from loadtests.own_platform import own_folder


def slug(fault: Fault) -> str:
    """Return the fault's name as one word."""
    return re.sub(r"[^a-z]+", "-", fault.name.lower()).strip("-")


BY_SLUG = {slug(fault): fault for fault in FAULTS}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.drill",
        description="Make faults on a platform of its own, and follow each alert until people are notified, the trail"
        " has it, and it has resolved.",
        epilog="Exit codes: 0, every drill went as its fault says; 1, a drill failed; 2, nothing was run.",
    )
    parser.add_argument(
        "faults",
        nargs="+",
        metavar="list | FAULT | all | incomplete",
        help="the faults, by the names of `list`; incomplete: those without all figures in the folder, for example"
        " after an interruption",
    )
    parser.add_argument("--out", type=Path, default=Path("drill_output"), help="folder of the scorecard and its page")
    parser.add_argument(
        "--against-running",
        action="store_true",
        help="make the faults on the platform of `make run` (at BASE_PORT, if it is set), in real time: only those that"
        " HTTP makes and undoes",
    )
    parser.add_argument("--var", type=Path, default=BASE_DIR / "var", help="the data of that platform (default: var)")
    return parser.parse_args(words)


def chosen(words: Sequence[str], out: Path, *, against_running: bool = False) -> list[Fault]:
    """Return the faults in the order of the catalogue, in which they share platforms. Raise ValueError."""
    unknown = [word for word in words if word not in ("all", "incomplete") and word not in BY_SLUG]
    if unknown:
        raise ValueError(f"There is no fault {', '.join(unknown)}: `python -m loadtests.drill list` names them.")
    named = {*words, *(slug(fault) for fault in scorecard.incomplete(out) if "incomplete" in words)}
    faults = [fault for word, fault in BY_SLUG.items() if "all" in words or word in named]
    if against_running and (impossible := [slug(fault) for fault in faults if not fault.over_http]):
        possible = ", ".join(slug(fault) for fault in FAULTS if fault.over_http)
        raise ValueError(
            f"{', '.join(impossible)} cannot be undone from outside: a running platform can have {possible}."
        )
    return faults


def listing() -> str:
    width = max(map(len, BY_SLUG))
    return "\n".join(
        f"{word:<{width}}  {fault.alert or 'no alert':<26} {fault.made}" for word, fault in BY_SLUG.items()
    )


def say_stage(began: float, stage: str) -> None:
    print(f"  {time.monotonic() - began:6.1f} s  {stage}", flush=True)


Provider = Callable[[Fault], AbstractContextManager[Drill]]


def run_all(faults: Sequence[Fault], provide: Provider, out: Path) -> int:
    """Run the drills and write each score at once, so that an interruption loses none. Return the exit code."""
    failed = 0
    for number, fault in enumerate(faults, 1):
        print(f"{number}/{len(faults)} {fault.name}: {fault.alert or 'no alert'}", flush=True)
        failed += not drill(fault, provide, out)
        interruption.check()
    page.write(out)
    print(f"{len(faults) - failed} of {len(faults)} drills went as expected: {out / 'scorecard.html'}")
    return 1 if failed else 0


def drill(fault: Fault, provide: Provider, out: Path) -> bool:
    say: Callable[[str], None] = partial(say_stage, time.monotonic())
    try:
        with provide(fault) as platform:
            score = scorecard.score(run(fault, platform, say))
    except NotPossible as reason:
        say(f"not possible: {reason}")
        return False
    except DrillFailed as reason:
        say(f"FAILED: {reason}")
        return False
    except Exception as error:  # of the fault or its platform; the other drills go on
        say(f"FAILED: {type(error).__name__}: {error}")
        return False
    scorecard.write([score], out)
    return True


def run_chosen(options: argparse.Namespace, faults: Sequence[Fault]) -> int:
    with ExitStack() as stack:
        if options.against_running:
            provide: Provider = partial(running_platform, options.var, stack=stack)
            return run_all([in_real_time(fault) for fault in faults], provide, options.out)
        folder = stack.enter_context(own_folder())
        platforms = stack.enter_context(Platforms(lambda: Path(tempfile.mkdtemp(dir=folder))))
        return run_all(faults, platforms.platform_for, options.out)


def main() -> int:
    options = arguments()
    if options.faults == ["list"]:
        print(listing())
        return 0
    try:
        faults = chosen(options.faults, options.out, against_running=options.against_running)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if not is_installed():
        sys.stderr.write("error: A drill needs Prometheus and Alertmanager, see README.md.\n")
        return 2
    interruption.install()
    try:
        return run_chosen(options, faults)
    except KeyboardInterrupt:
        sys.stderr.write("The drills were interrupted; the fault and its platform are gone.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
