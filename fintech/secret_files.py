"""Secrets in files: one secret a file, for its owner alone."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def random_secret() -> str:
    return secrets.token_urlsafe(48)


def write_secret(path: Path, value: str) -> None:
    """Replace the file whole; nobody ever sees half a secret, or one that others may read."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{value}\n")
    draft.replace(path)


def read_secret(path: Path) -> str | None:
    """None where there is no file, or an empty one."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def ensure_secret(path: Path, make: Callable[[], str] = random_secret) -> None:
    """Make the secret once; what is there stays."""
    if read_secret(path) is None:
        write_secret(path, make())
