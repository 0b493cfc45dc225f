"""Files of archives: gzip, one JSON object per line. A file is complete and durable, or it is not there."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path


class Unreadable(Exception):
    """A file that cannot be read to its end, in one sentence."""


def write(path: Path, lines: Iterable[bytes], *, overwrite: bool) -> None:
    """Write the file completely and durably, or not at all. Equal lines make equal files.

    Raises FileExistsError if there is such a file and `overwrite` is False.
    """
    draft = path.with_name(f"{path.name}.part")
    draft.unlink(missing_ok=True)  # never reopened: after a crash it may be a second name of the whole file
    with draft.open("xb") as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=6) as file:
            for line in lines:
                file.write(line + b"\n")
        raw.flush()
        os.fsync(raw.fileno())
    draft.chmod(0o400)
    if overwrite:
        os.replace(draft, path)
    else:
        os.link(draft, path)
        draft.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make new names in the folder durable."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines. Raise Unreadable."""
    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"{path} cannot be read to its end: {error}") from None


def file_sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
