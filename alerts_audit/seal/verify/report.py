"""What a verification covered, and what is wrong."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

EVERYTHING = "everything"
MOST_FINDINGS = 1000  # that are kept one by one; the rest is counted

# What is being done, how far it is, and of how much.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Finding:
    """`code` is stable; `subject` names the row, `detail` says what is wrong with it, in a sentence."""

    code: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.detail}"


@dataclass
class Report:
    """`remarks` are what to know about the proof's reach; they are no findings."""

    progress: Progress = lambda what, done, total: None
    findings: list[Finding] = field(default_factory=list)
    more: int = 0
    remarks: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    window: str = EVERYTHING
    tree_size: int = 0
    seconds: float = 0.0

    def find(self, code: str, subject: str, detail: str) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(code, subject, detail))
        else:
            self.more += 1

    @property
    def ok(self) -> bool:
        return not self.findings

    def covered(self) -> dict[str, Any]:
        return {"window": self.window, **dict(sorted(self.counts.items())), "remarks": self.remarks}

    def documents(self) -> list[dict[str, str]]:
        """The findings as JSON has them; the last one counts what is left out."""
        found = [vars(finding) for finding in self.findings]
        if self.more:
            found.append({"code": "more", "subject": "findings", "detail": f"and {self.more} more"})
        return found


def numbers(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def plural(word: str, first: int, last: int) -> str:
    """`leaf 7`, `leaves 7 to 9`."""
    several = {"leaf": "leaves"}.get(word, f"{word}s")
    return f"{word if first == last else several} {numbers(first, last)}"
