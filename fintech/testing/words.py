"""Check texts and names against docs/vocabulary.yml: `python -m fintech.testing.words [file or folder ...]`."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
VOCABULARY: dict[str, Any] = yaml.safe_load((ROOT / "docs/vocabulary.yml").read_text(encoding="utf-8"))
SUFFIXES = {"", ".md", ".py", ".html", ".yml", ".toml", ".in", ".alloy", ".tmpl", ".js", ".css"}
# Not a constant such as NOBODY, an attribute such as file.tell(), or a part of a longer word or name.
WORDS = "|".join(f"[{word[0].upper()}{word[0]}]{word[1:]}" for word in VOCABULARY["avoid"])
AVOIDED = re.compile(rf"(?<![.\w-])({WORDS})(?![\w-])")
STORED = re.compile("|".join(map(re.escape, VOCABULARY["stored"])))
OPENING = re.compile(rf"({'|'.join(VOCABULARY['openings'])})\b")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def findings(path: Path) -> Iterator[str]:
    """Yield each finding in a file as `path:line: text`."""
    name, text = path.relative_to(ROOT), path.read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        for word in AVOIDED.findall(STORED.sub("", line)):
            yield f"{name}:{number}: {word!r}: use {VOCABULARY['avoid'][word.lower()]}"
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            docstring = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
            if docstring and OPENING.match(docstring):
                opening = f"the docstring begins with {docstring.split()[0]!r}"
                yield f"{name}:{getattr(node, 'lineno', 1)}: {opening}: use a verb or a noun phrase"
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for word in avoided_in_name(node.name):
                    yield f"{name}:{node.lineno}: the test's name contains {word!r}: use a sentence about one behaviour"


def avoided_in_name(name: str) -> list[str]:
    """Return the words to avoid in a test's name, and a question word at its beginning."""
    words = name.removeprefix("test_").split("_")
    openings = {word.lower() for word in VOCABULARY["openings"]}
    return [word for word in words if word in VOCABULARY["avoid"]] + [word for word in words[:1] if word in openings]


def files(places: list[str]) -> Iterator[Path]:
    """Yield the text files of files and folders, which are named relative to the project."""
    for place in places:
        for path in sorted((ROOT / place).rglob("*")) if (ROOT / place).is_dir() else [ROOT / place]:
            if path.is_file() and path.suffix in SUFFIXES and path.name != "vocabulary.yml":
                yield path


def main() -> None:
    """Print all findings, and exit with 1 if there are any."""
    found = [finding for path in files(sys.argv[1:] or VOCABULARY["checked"]) for finding in findings(path)]
    sys.stdout.writelines(f"{finding}\n" for finding in found)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
