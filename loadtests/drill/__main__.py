"""`python -m loadtests.drill list | FAULT... | all | incomplete`: run drills on a platform of their own."""

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Lock

from fintech.run import interruption
from fintech.testing.processes import BASE_DIR, TooLate
from loadtests.command import run_command
from loadtests.drill import NotPossible, page, scorecard
from loadtests.drill.faults import FAULTS, Fault
from loadtests.drill.lab import Drill
from loadtests.drill.platforms import Group, groups, own_platforms
from loadtests.drill.running_platform import in_real_time, running_platform
from loadtests.drill.steps import DrillFailed, run
from loadtests.own_platform import own_folder


def slug(fault: Fault) -> str:
    """Return the fault's name as one word."""
    return re.sub(r"[^a-z]+", "-", fault.name.lower()).strip("-")


BY_SLUG = {slug(fault): fault for fault in FAULTS}
# Drills mostly wait: three need two cores.
AT_ONCE = 3
MAX_SPEED = 60  # above it, a minute of the rules' time would not contain a scrape


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.drill",
        description="Inject faults into a platform of its own. Follow each alert until people are notified, the trail"
        " has it, and it has resolved.",
        epilog="Exit codes: 0, every drill passed; 1, a drill failed; 2, nothing was run.",
    )
    parser.add_argument(
        "faults",
        nargs="+",
        metavar="list | FAULT | all | incomplete",
        help="list: print the names of the faults; incomplete: those of which the scorecard lacks a figure, for example"
        " after an interruption",
    )
    parser.add_argument(
        "--speed",
        type=float,
        help="how many times faster than the clock the rules run (the fault's own speed, usually 20); 1 is real time;"
        " its scorecard is in the folder `speed-SPEED` of --out",
    )
    parser.add_argument("--out", type=Path, default=Path("drill_output"), help="folder of the scorecard and its page")
    parser.add_argument(
        "--at-once",
        type=int,
        choices=range(1, 9),
        default=AT_ONCE,
        help=f"how many drills run at once ({AT_ONCE}); a drill that is late runs again, alone",
    )
    parser.add_argument(
        "--against-running",
        action="store_true",
        help="inject the faults into the platform of `make run` (at BASE_PORT, if it is set), in real time: only faults"
        " that HTTP requests can inject and end; its scorecard is in the folder `running` of --out",
    )
    parser.add_argument("--var", type=Path, default=BASE_DIR / "var", help="the data of that platform (default: var)")
    return parser.parse_args(words)


def place(options: argparse.Namespace) -> Path:
    """Return the folder of the scorecard: rows of another platform or speed must not replace measured ones."""
    out: Path = options.out
    if options.against_running:
        return out / "running"
    return out if options.speed is None else out / f"speed-{options.speed:g}"


def chosen(
    words: Sequence[str], out: Path, *, against_running: bool = False, speed: float | None = None
) -> list[Fault]:
    """Return the faults in the order of the catalogue, in which they share platforms. Raise ValueError.

    With `against_running` they are in real time, and with `speed` at this one.
    """
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
    if against_running and speed is not None:
        raise ValueError("--speed is not for --against-running: a running platform is in real time.")
    if against_running:
        return [in_real_time(fault) for fault in faults]
    return faults if speed is None else at_speed(faults, speed)


def at_speed(faults: Sequence[Fault], speed: float) -> list[Fault]:
    if not 0 < speed <= MAX_SPEED:
        raise ValueError(f"--speed {speed:g} is not above 0 and at most {MAX_SPEED}.")
    if kept := [slug(fault) for fault in faults if fault.keeps_its_speed and fault.conditions.speed != speed]:
        raise ValueError(f"{', '.join(kept)}: possible only at its own speed, so without --speed.")
    return [fault.at_speed(speed) for fault in faults]


def listing() -> str:
    width = max(map(len, BY_SLUG))
    return "\n".join(
        f"{word:<{width}}  {fault.alert or 'no alert':<26} {fault.made}" for word, fault in BY_SLUG.items()
    )


Provider = Callable[[Fault], AbstractContextManager[Drill]]
# The context of a group's drills, which provides their platforms.
Provide = Callable[[], AbstractContextManager[Provider]]
Outcomes = dict[Fault, Exception | None]
turn = Lock()


def say_stage(fault: Fault, began: float, stage: str) -> None:
    print(f"  {time.monotonic() - began:6.1f} s  {fault.name}: {stage}", flush=True)


def run_all(faults: Sequence[Fault], provide: Provide, out: Path, at_once: int) -> int:
    """Run groups of drills at once, and alone again those that were late beside others. Return the exit code."""
    run: Callable[[Group], Outcomes] = partial(run_group, provide=provide, out=out)
    with ThreadPoolExecutor(at_once) as lanes:
        outcomes = dict(chain.from_iterable(found.items() for found in lanes.map(run, groups(faults))))
    late = {fault: reason for fault, reason in outcomes.items() if at_once > 1 and isinstance(reason, TooLate)}
    for fault, reason in late.items():
        outcomes |= run_group([fault], provide, out, repeated=str(reason))
    page.write(out)
    failed = sum(reason is not None for reason in outcomes.values())
    print(f"{len(faults) - failed} of {len(faults)} drills went as expected: {out / 'scorecard.html'}")
    return 1 if failed else 0


def run_group(group: Group, provide: Provide, out: Path, *, repeated: str | None = None) -> Outcomes:
    """Run drills one after the other. Write each score at once, so that an interruption loses none."""
    outcomes: Outcomes = {}
    with provide() as platform_for:
        for fault in group:
            interruption.check()
            say: Callable[[str], None] = partial(say_stage, fault, time.monotonic())
            say(f"begins{' again, alone' if repeated else ''}; its alert: {fault.alert or 'none'}")
            outcomes[fault] = drill(fault, platform_for, out, say, repeated)
    return outcomes


def drill(
    fault: Fault, platform_for: Provider, out: Path, say: Callable[[str], None], repeated: str | None
) -> Exception | None:
    """Run a drill and write its score. Return the reason if it failed."""
    try:
        with platform_for(fault) as platform:
            score = scorecard.score(run(fault, platform, say), repeated)
    except NotPossible as reason:
        say(f"not possible: {reason}")
        return reason
    except (DrillFailed, TooLate) as reason:
        say(f"FAILED: {reason}")
        return reason
    except Exception as error:  # of the fault or its platform; the other drills go on
        say(f"FAILED: {type(error).__name__}: {error}")
        return error
    with turn:
        scorecard.write([score], out)
    return None


def run_chosen(options: argparse.Namespace, faults: Sequence[Fault]) -> int:
    with ExitStack() as stack:
        if options.against_running:
            platform_for = partial(running_platform, options.var, stack=stack)
            return run_all(faults, lambda: nullcontext(platform_for), place(options), at_once=1)
        folder = stack.enter_context(own_folder())
        return run_all(faults, partial(own_platforms, folder), place(options), options.at_once)


def main() -> int:
    options = arguments()
    if options.faults == ["list"]:
        print(listing())
        return 0
    try:
        faults = chosen(options.faults, place(options), against_running=options.against_running, speed=options.speed)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    interrupted = "The drills were interrupted; the fault and its platform are gone."
    return run_command(partial(run_chosen, options, faults), out=options.out, interrupted=interrupted)


if __name__ == "__main__":
    sys.exit(main())
