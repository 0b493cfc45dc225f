"""Find the commands, addresses and files that documents, help texts, comments and error sentences name."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("fintech", "payments", "alerts_audit", "loadtests", "observability", ".github")
SUFFIXES = {".py", ".html", ".yml", ".alloy", ".md"}
# The changelog also names commands of the past.
FILES = [
    *(path for path in sorted(ROOT.glob("*.*")) if path.suffix in SUFFIXES and path.name != "CHANGELOG.md"),
    *(ROOT / name for name in ("Makefile", "Dockerfile", ".env")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("deploy/**/README.md")),
    *(
        path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in SUFFIXES and not {"tests", "migrations"} & set(path.relative_to(ROOT).parts)
    ),
]
TEXTS = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in FILES}

PROGRAMS = r"make|docker compose|[\w./]*python3?|manage\.py|promtool|amtool|psql|curl|kubectl|helm"
COMMAND = rf"((?:[A-Z_]+=\S* )*(?:{PROGRAMS}) (?![= ])"
SPAN = re.compile(rf"(?<!`)`{COMMAND}[^`]+)`")
LINE = re.compile(rf"^ *(?:# +)?{COMMAND}(?:[^\n]*\\\n)*[^\n]*)$", re.MULTILINE)
QUOTED = re.compile(r"(?<=[\w ,']): +(docker compose [^\"\n]+)(?:\"|$)", re.MULTILINE)  # as in `make secrets`
# A sentence names the command, and its options.
SENTENCE = re.compile(
    r"(?:[Rr]un|such as|\(|:) ?"
    r"((?:make [a-z-]+(?= [A-Z])|(?:manage\.py|python -m) [\w.]+)(?: [\w-]+(?= --))?(?: --[\w-]+)*)"
)
PROGRAM = re.compile(r"\bmake\b|manage\.py|python")  # in each SENTENCE; parsing a file takes longer than this search


class Command(NamedTuple):
    """One command, and the file that names it."""

    file: Path
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {' '.join(self.words)}"


def split(command: str) -> list[str]:
    """Return the words of a command without its explanation and without the brackets of optional words."""
    command = re.split(r" +# |  +\(?[a-z]| \(| \||; ", command.replace("\\\n", " ").rstrip("."))[0]
    try:
        return shlex.split(re.sub(r"[\[\]]|\.\.\.", " ", command))
    except ValueError:  # a quoted text that continues on the next line
        return command.split()


def literals(path: Path, text: str) -> Iterator[str]:
    """Yield the strings of a Python file that may name a command, f-strings with their expressions as `{}`."""
    if path.suffix != ".py" or not PROGRAM.search(text):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def commands() -> list[Command]:
    """Return every command once for each file."""
    found: dict[Command, None] = {}
    for path, text in TEXTS.items():
        flat = re.sub(r"\n[ #]*", " ", text)
        texts = [*SPAN.findall(flat), *LINE.findall(text), *QUOTED.findall(text)]
        texts += [command for literal in literals(path, text) for command in SENTENCE.findall(literal)]
        for command in texts:
            words = tuple(split(command))
            while re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            found[Command(path, words)] = None
    return list(found)
