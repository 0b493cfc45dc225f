"""docs/settings.md names every setting that the code reads, and no other."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = "text|integer|number|boolean|words|urls|address|url|choice|routes|webhook_secret"
READ = re.compile(rf"\b(?:{KINDS})\(\s*\"([A-Z][A-Z_]+)\"")
CODE = [
    path
    for folder in ("fintech", "payments", "alerts_audit", "loadtests")
    for path in (ROOT / folder).rglob("*.py")
    if "tests" not in path.parts and "bench" not in path.parts
]
# `make run` reads these from the environment itself: they say what to start, not how.
OF_THE_RUN = {"NO_LOAD", "BASE_PORT", "SECOND_GATEWAY"}


def names_in_code() -> set[str]:
    return {name for path in CODE for name in READ.findall(path.read_text())}


def names_in_document() -> set[str]:
    words = re.findall(r"`([A-Z][A-Z_]+)(?:=\w+)?`", (ROOT / "docs" / "settings.md").read_text())
    return set(words) - {"NAME", "NAME_FILE"} - OF_THE_RUN


def test_every_setting_that_the_code_reads_is_documented():
    assert names_in_code() - names_in_document() == set()


def test_every_setting_of_the_document_is_read_by_the_code():
    assert names_in_document() - names_in_code() == set()


def defaults_in_code() -> dict[str, str]:
    """Return the settings whose default is a literal."""
    found = {}
    for path in CODE:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and len(call.args) > 1:
                name, default = call.args[:2]
                if ast.unparse(call.func.value) == "env" and isinstance(default, ast.Constant):
                    found[ast.literal_eval(name)] = str(default.value)
    return found


def defaults_in_document() -> dict[str, str]:
    rows = re.compile(r"^\| `([A-Z_]+)` \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
    return {name: value.strip("`") for name, value in rows.findall((ROOT / "docs" / "settings.md").read_text())}


def test_the_defaults_of_the_document_are_those_of_the_code():
    documented = {name: {"none": "", "unset": ""}.get(value, value) for name, value in defaults_in_document().items()}
    code = defaults_in_code()

    assert len(code) > 20
    assert {name: documented.get(name) for name in code} == code


def test_the_search_finds_settings_in_all_their_forms():
    assert {"DJANGO_SECRET_KEY", "HTTPS", "BIND", "LEASE_SECONDS", "ALLOWED_HOSTS", "LOAD_USERS"} <= names_in_code()
