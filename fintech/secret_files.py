"""Secrets in files: one secret per file, readable for its owner only."""

import base64
import io
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def random_secret() -> str:
    return secrets.token_urlsafe(48)


def webhook_secret() -> str:
    """Return a secret that signs webhooks, in the form of the Standard Webhooks specification."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def write_secret(path: Path, value: str) -> None:
    """Replace the file atomically; no other user can read it, and no reader sees half a secret."""
    write_draft(path, io.BytesIO(f"{value}\n".encode())).replace(path)


def copy_secret(path: Path, source: Path) -> bool:
    """Create the file atomically and durably. Return False, and change nothing, if it exists."""
    with source.open("rb") as content:
        draft = write_draft(path, content)
    try:
        os.link(draft, path)
        return True
    except FileExistsError:
        return False
    finally:
        draft.unlink()


def write_draft(path: Path, content: BinaryIO) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())
    return draft


def read_secret(path: Path) -> str | None:
    """Return the secret; None if the file is missing or empty."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def ensure_secret(path: Path, make: Callable[[], str] = random_secret) -> None:
    """Create the secret unless it exists."""
    if read_secret(path) is None:
        write_secret(path, make())
