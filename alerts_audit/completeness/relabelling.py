"""Follow the relabelling between Prometheus and Alertmanager, as Prometheus does it.

It has two homes: `alerting.alert_relabel_configs`, for all Alertmanagers, and `alert_relabel_configs` of each entry of
`alerting.alertmanagers`, which come second and exist since Prometheus 2.51.
Source: model/relabel/relabel.go of Prometheus.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

Labels = dict[str, str]

# In the value of a label that may or may not have been set, or that was made from such a label.
UNKNOWN = "\0?\0"

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


@dataclass(frozen=True)
class Step:
    """One relabelling rule."""

    action: str
    regex: re.Pattern[str]
    source_labels: tuple[str, ...]
    separator: str
    target_label: str
    replacement: str
    modulus: int

    @classmethod
    def read(cls, given: dict[str, Any]) -> Self:
        """Complete the rule with Prometheus's defaults. Raises re.error: Go's expressions are not all Python's."""
        return cls(
            action=str(given.get("action", "replace")).lower(),
            regex=re.compile(str(given.get("regex", "(.*)")), re.DOTALL),
            source_labels=tuple(map(str, given.get("source_labels") or ())),
            separator=str(given.get("separator", ";")),
            target_label=str(given.get("target_label", "")),
            replacement=str(given.get("replacement", "$1")),
            modulus=int(given.get("modulus") or 0),
        )

    def value(self, labels: Labels) -> str:
        return self.separator.join(labels.get(name, "") for name in self.source_labels)

    def matches(self, labels: Labels) -> re.Match[str] | None:
        return self.regex.fullmatch(self.value(labels))

    def equals(self, labels: Labels) -> bool:
        return labels.get(self.target_label, "") == self.value(labels)


def relabel(labels: Labels, steps: list[Step]) -> Labels | None:
    """Return the labels that are sent; None if the alert is not sent. Each action of `steps` is one of ACTIONS.

    A value that contains UNKNOWN is not certain.
    """
    current: Labels | None = labels
    for step in steps:
        if current is None:
            break
        current = ACTIONS[step.action](step, current)
    return {name: value for name, value in current.items() if value} if current else None


def _expand(template: str, match: re.Match[str]) -> str:
    """Go's Expand: an unknown group is empty."""

    def group(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        name = found[2] or found[3]
        try:
            return match[int(name) if name.isdigit() else name] or ""
        except IndexError:
            return ""

    return _REFERENCE.sub(group, template)


def _replace(step: Step, labels: Labels) -> Labels:
    match = step.matches(labels)
    if match is None:
        return labels
    target = _expand(step.target_label, match)
    if not target:
        return labels
    # Prometheus refuses to load a name that it would not set. An expanded one that is no legacy name is set since
    # Prometheus 3, but not if that is configured to allow legacy names only.
    is_set = "$" not in step.target_label or _NAME.fullmatch(target)
    return labels | {target: _expand(step.replacement, match) if is_set else UNKNOWN}


def _hash_mod(step: Step, labels: Labels) -> Labels:
    digest = hashlib.md5(step.value(labels).encode(), usedforsecurity=False).digest()
    return labels | {step.target_label: str(int.from_bytes(digest[8:], "big") % step.modulus)}


def _label_map(step: Step, labels: Labels) -> Labels:
    matches = [(step.regex.fullmatch(name), value) for name, value in labels.items()]
    return labels | {_expand(step.replacement, match): value for match, value in matches if match}


ACTIONS: dict[str, Callable[[Step, Labels], Labels | None]] = {
    "replace": _replace,
    "keep": lambda step, labels: labels if step.matches(labels) else None,
    "drop": lambda step, labels: None if step.matches(labels) else labels,
    "keepequal": lambda step, labels: labels if step.equals(labels) else None,
    "dropequal": lambda step, labels: None if step.equals(labels) else labels,
    "hashmod": _hash_mod,
    "lowercase": lambda step, labels: labels | {step.target_label: step.value(labels).lower()},
    "uppercase": lambda step, labels: labels | {step.target_label: step.value(labels).upper()},
    "labelmap": _label_map,
    "labeldrop": lambda step, labels: {name: labels[name] for name in labels if not step.regex.fullmatch(name)},
    "labelkeep": lambda step, labels: {name: labels[name] for name in labels if step.regex.fullmatch(name)},
}
