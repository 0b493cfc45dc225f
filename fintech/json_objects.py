"""JSON objects that all readers read alike. If a name occurs twice, readers disagree about which value counts."""

import json
from collections import Counter
from typing import Any

from fintech.texts import shorten_name


class RepeatedName(ValueError):
    def __init__(self, name: str) -> None:
        super().__init__(f"the name {shorten_name(name)!r} occurs twice in one object")


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object (`object_pairs_hook` of `json`). Raise RepeatedName."""
    result = dict(pairs)
    if len(result) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise RepeatedName(next(name for name, _ in pairs if counts[name] > 1))
    return result


def refuse_repeated_names(body: bytes) -> None:
    """Raise RepeatedName if an object in `body`, which is JSON, has a name twice: faster parsers keep the last one."""
    json.loads(body, object_pairs_hook=unique_names)
