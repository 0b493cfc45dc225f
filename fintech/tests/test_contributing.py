"""CONTRIBUTING.md and the other documents name files that exist, and the changelog names the version."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
PACKAGES = [path.parent for path in sorted(ROOT.glob("[a-z]*/**/__init__.py")) if "tests" not in path.parts]
TOP = {path.name for path in ROOT.iterdir()}


def named_paths(document: Path) -> set[str]:
    """Return the paths in backticks that begin with a file or folder of the project's root."""
    words = re.findall(r"`([\w.-]+(?:/[\w.-]*)*)`", document.read_text())
    return {word for word in words if ("/" in word or "." in word) and word.partition("/")[0] in TOP - {"var"}}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_named_file_exists(document: Path):
    assert [path for path in named_paths(document) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading(document: Path):
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", document.read_text()):
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_instructions_for_contributors_name_many_files():
    assert len(named_paths(ROOT / "CONTRIBUTING.md")) > 30


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_that_lists_its_modules_names_each_of_them(package: Path):
    listed = re.findall(r"^(\w+)\.py  ", (package / "__init__.py").read_text(), re.MULTILINE)
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}

    assert not listed or sorted(listed) == sorted(modules)


def test_the_changelog_ends_its_unreleased_part_with_the_version_of_the_project():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[:2] == [
        "Unreleased",
        version,
    ]
