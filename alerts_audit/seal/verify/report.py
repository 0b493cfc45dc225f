"""The result of a verification: covered range and findings."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

EVERYTHING = "everything"
# Findings per code that are stored individually; the rest is counted. One changed byte can make thousands of dependent
# rows differ, which must not bury the cause.
MAX_FINDINGS = 50

# The current step, its progress, and its total.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Finding:
    """A finding. `code` is stable; `subject` names the row; `detail` describes the mismatch in a sentence."""

    code: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.detail}"


@dataclass
class Report:
    """The report. `remarks` describe the reach of the proof; they are not findings."""

    progress: Progress = lambda what, done, total: None
    findings: list[Finding] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)  # by code, including those not stored
    remarks: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    window: str = EVERYTHING
    tree_size: int = 0
    seconds: float = 0.0

    def find(self, code: str, subject: str, detail: str) -> None:
        self.found[code] += 1
        if self.found[code] <= MAX_FINDINGS:
            self.findings.append(Finding(code, subject, detail))

    @property
    def ok(self) -> bool:
        return not self.findings

    def covered(self) -> dict[str, Any]:
        return {"window": self.window, **dict(sorted(self.counts.items())), "remarks": self.remarks}

    def documents(self) -> list[dict[str, str]]:
        """Return the findings as JSON data. The last ones count the omitted findings."""
        found = [vars(finding) for finding in self.findings]
        for code, count in self.found.items():
            if count > MAX_FINDINGS:
                found.append({"code": "more", "subject": code, "detail": f"and {count - MAX_FINDINGS:,} more"})
        return found


def numbers(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def plural(word: str, first: int, last: int) -> str:
    """Return `leaf 7` or `leaves 7 to 9`."""
    several = {"leaf": "leaves"}.get(word, f"{word}s")
    return f"{word if first == last else several} {numbers(first, last)}"
