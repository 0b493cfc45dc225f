"""Our own application, which counts the Python instructions of its payments: see instructions.py."""

import atexit
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from fintech.server import cooperation
from loadtests.bench.null_gateway import application

WARM_UP = int(os.environ["BENCH_WARM_UP"])  # the first tasks, which are not counted

instructions, calls = Counter[CodeType](), Counter[CodeType]()
_tasks = 0
_spawn = cooperation.spawn


def spawn(function: Callable[..., None], *arguments: Any) -> None:
    """Begin a task whose functions are counted. Each request on the loop is a task."""
    global _tasks  # noqa: PLW0603 - of this process
    _tasks += 1
    if _tasks <= WARM_UP:
        _spawn(function, *arguments)
        return

    def counted() -> None:
        sys.settrace(_begin)
        try:
            function(*arguments)
        finally:
            sys.settrace(None)

    _spawn(counted)


def _begin(frame: FrameType, event: str, argument: Any) -> Any:
    frame.f_trace_opcodes, frame.f_trace_lines = True, False
    calls[frame.f_code] += 1
    return _count


def _count(frame: FrameType, event: str, argument: Any) -> Any:
    if event == "opcode":
        instructions[frame.f_code] += 1
    return _count


def _place(code: CodeType) -> str:
    """Return the file below the folder of its packages, the line and the name."""
    folders = sorted((folder for folder in sys.path if folder and code.co_filename.startswith(folder)), key=len)
    file = code.co_filename.removeprefix(folders[-1] if folders else "").lstrip("/")
    return f"{file}:{code.co_firstlineno} {code.co_qualname}"


def _write() -> None:
    functions = [(number, calls[code], _place(code)) for code, number in instructions.most_common()]
    content = {"payments": _tasks - WARM_UP, "functions": functions}
    Path(os.environ["BENCH_COUNTS"]).write_text(json.dumps(content), encoding="utf-8")


cooperation.spawn = spawn
atexit.register(_write)

__all__ = ["application"]
