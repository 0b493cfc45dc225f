"""`python -m fintech.run.backup make|restore`: keep what `make run` must not lose, and bring it back.

A backup is one tar file: the database as `pg_dump` writes it, the alert trail's seal and archives, and the secrets.
pg_dump works beside the running platform, reads each row of one moment, and its file can be restored by newer versions
of PostgreSQL; pg_basebackup would copy damaged pages unread, and would need the log of all writes since.

Backup and restore need the settings of `make run` that name another place, such as AUDIT_DIR.

A restore never replaces a secret, a key or a checkpoint file that exists: a checkpoint file that is newer than the
restored database is how the platform notices that it was taken back.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from fintech import env
from fintech.run import RunError, checks, environment
from fintech.run.layout import BASE_DIR, DATABASE, Layout
from fintech.run.ports import read_ports
from fintech.run.postgres import PROGRAMS, EmbeddedPostgres, PostgresError
from fintech.secret_files import copy_secret

DUMP, ABOUT = "database.dump", "backup.json"
SEAL, ARCHIVES, SECRETS = "audit", "audit/archives", "secrets"
FOLDERS = (SEAL, SECRETS, ARCHIVES)
MEMBER = re.compile(rf"{re.escape(DUMP)}|{re.escape(ABOUT)}|(?:{'|'.join(FOLDERS)})/\w[\w.-]*", re.ASCII)
NEXT = (
    "Start it with `make run`. Then `make verify` and `make reconcile` name what happened after the backup"
    " (docs/backup.md)."
)
# The database that a restore replaced, until the next restore; the new one while it is loaded; the one that an earlier
# restore replaced, while this one ends.
REPLACED, RESTORED, OUTDATED = f"{DATABASE}_replaced", f"{DATABASE}_restored", f"{DATABASE}_outdated"
# Why the restored database needs a file as it is in the backup.
NEEDED = {
    "secrets/django_secret_key": "the webhook secrets in the restored database can be read only with the backup's",
    "audit/signing_key": "the seal of the restored database was signed with the backup's",
}
# Settings by which the caller of `make run` keeps a secret, and the file that it has otherwise.
OWN = {
    "DJANGO_SECRET_KEY": "secrets/django_secret_key",
    "DJANGO_SECRET_KEY_FILE": "secrets/django_secret_key",
    "AUDIT_SIGNING_KEY_FILE": "audit/signing_key",
}


def run_program(name: str, *words: str) -> None:
    """Run a program of PostgreSQL; a RunError has its last line."""
    result = subprocess.run([str(PROGRAMS / name), *words], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RunError(f"{name} failed: {reason}")


def place(layout: Layout, member: str) -> Path:
    """Return where a file or a folder of the backup is on this machine."""
    folder, _, rest = member.partition("/")
    root = BASE_DIR / env.text("AUDIT_DIR", str(layout.audit)) if folder == SEAL else layout.var / folder
    return root / rest


@contextmanager
def running(layout: Layout, postgres: EmbeddedPostgres) -> Iterator[None]:
    """Use the server of a running platform, or start it for the duration."""
    if postgres.pid() is not None:
        yield
        return
    if not (postgres.data_dir / "PG_VERSION").exists():
        raise RunError(f"There is no database in {postgres.data_dir}.")
    layout.make_directories()
    with checks.take_lock(layout):
        postgres.start()
        try:
            yield
        finally:
            postgres.stop()


# --- Backup ------------------------------------------------------------------------------------------------------


def back_up(layout: Layout, postgres: EmbeddedPostgres, target: Path) -> None:
    """Write a backup. No other user can read it, because it has the secrets."""
    if target.is_dir():
        raise RunError(f"{target} is a folder: name a file in it, such as {target / 'fintech.tar'}.")
    if target.exists() and not target.is_file():  # a device would be replaced
        raise RunError(f"{target} is not a file.")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.new")
    draft.unlink(missing_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder, running(layout, postgres):
            check_complete(layout, postgres)
            write_archive(draft, Path(folder), layout, postgres)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def write_archive(path: Path, folder: Path, layout: Layout, postgres: EmbeddedPostgres) -> None:
    dump = folder / DUMP
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        # Links would not be the files that they lead to.
        with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
            # Before the database, so that the copied checkpoints are never newer than the copied rows.
            add_files(archive, layout, SEAL, SECRETS)
            run_program("pg_dump", "--format=custom", f"--file={dump}", postgres.url("postgres", DATABASE))
            run_program("pg_restore", "--list", "--file=/dev/null", str(dump))
            (folder / ABOUT).write_text(json.dumps(about(postgres)))
            for name in (DUMP, ABOUT):
                archive.add(folder / name, name)
            # After the database, which may already lack the rows of an archive that was made in the meantime.
            add_files(archive, layout, ARCHIVES)
        file.flush()
        os.fsync(file.fileno())


def add_files(archive: tarfile.TarFile, layout: Layout, *folders: str) -> None:
    for name in folders:
        for path in sorted(place(layout, name).glob("*")):
            if path.is_file() and MEMBER.fullmatch(f"{name}/{path.name}"):
                archive.add(path, f"{name}/{path.name}")


def check_complete(layout: Layout, postgres: EmbeddedPostgres) -> None:
    """Raise RunError if a file that the database needs is elsewhere."""
    needed = {"secrets/django_secret_key": "DJANGO_SECRET_KEY"}
    if is_sealed(postgres):
        needed |= {"audit/checkpoints": "AUDIT_DIR", "audit/signing_key": "AUDIT_SIGNING_KEY_FILE"}
    kept_by_caller = {OWN[name] for name in own_settings()}
    for member, name in needed.items():
        path = place(layout, member)
        if member not in kept_by_caller and not path.is_file():
            raise RunError(f"{path} does not exist: set {name} as for `make run` (docs/backup.md).")


def own_settings() -> list[str]:
    return [name for name in OWN if os.environ.get(name)]


def is_sealed(postgres: EmbeddedPostgres) -> bool:
    """Return True if the database has checkpoints. Before the first migration it has not even their table."""
    query = (
        "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'alerts_audit_checkpoint' AND pg_relation_size(oid) > 0)"
    )
    with psycopg.connect(postgres.url("postgres", DATABASE)) as connection:
        return connection.execute(query).fetchone() == (True,)


def about(postgres: EmbeddedPostgres) -> dict[str, Any]:
    with psycopg.connect(postgres.url("postgres", DATABASE)) as connection:
        (version,) = connection.execute("SHOW server_version").fetchone() or ("",)
    return {"made_at": datetime.now(UTC).isoformat(timespec="seconds"), "postgresql": version}


# --- Restore -----------------------------------------------------------------------------------------------------


def restore(layout: Layout, postgres: EmbeddedPostgres, source: Path) -> list[str]:
    """Replace the database by that of a backup, and return what was done. The replaced one is kept beside it."""
    layout.make_directories()
    with checks.take_lock(layout), tempfile.TemporaryDirectory(dir=layout.run) as name:
        folder = Path(name)
        made_at = unpack(source, folder)
        checks.stop_leftovers(layout, postgres)
        postgres.start()
        try:
            load(postgres, folder / DUMP)
            different = differences(folder, layout)
            # Before the database is replaced, which cannot be used without them.
            copied = copy_missing(folder, layout)
            forget_counters(layout)
            kept = replace(postgres)
        finally:
            postgres.stop()
    done = [f"The database is that of {made_at}."]
    done += [f"The one before is kept as {REPLACED}, until the next restore."] if kept else []
    done += [f"Restored {path}, which did not exist." for path in copied]
    return done + [advice(member, layout, source) for member in different]


def unpack(source: Path, folder: Path) -> str:
    """Unpack a backup, and return when it was made. Raise RunError for any other file."""
    try:
        with tarfile.open(source) as archive:
            members = archive.getmembers()
            if not all(member.isfile() and MEMBER.fullmatch(member.name) for member in members):
                raise RunError(f"{source} is not a backup: it contains other files.")
            for member in members:
                extract(archive, member, folder)
        return str(json.loads((folder / ABOUT).read_text())["made_at"])
    except (OSError, tarfile.TarError, ValueError, KeyError) as error:
        reason = "it is no tar file" if "\n" in str(error) else error  # tarfile tries each compression: a line for each
        raise RunError(f"{source} is not a backup: {reason}.") from None


def extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one file. Python 3.11.2, that of Debian 12, lacks extractall's `filter`, without which newer ones warn."""
    path = folder / member.name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None  # a file, as unpack checked
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)


def load(postgres: EmbeddedPostgres, dump: Path) -> None:
    """Restore beside the present database."""
    with psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True) as connection:
        drop(connection, RESTORED)
    postgres.ensure_database(RESTORED)
    url = postgres.url("postgres", RESTORED)
    run_program("pg_restore", "--exit-on-error", "--no-password", f"--dbname={url}", str(dump))


def replace(postgres: EmbeddedPostgres) -> bool:
    """Replace the present database by the restored one. Return True if there was one."""
    with psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True) as connection:
        kept = exists(connection, DATABASE)
        drop(connection, OUTDATED)  # of a restore that was killed before its last line
        # Together: without a database of this name `make run` would create an empty one. If it fails, all are kept.
        with connection.transaction():
            if kept:
                if exists(connection, REPLACED):
                    rename(connection, REPLACED, OUTDATED)
                rename(connection, DATABASE, REPLACED)
            rename(connection, RESTORED, DATABASE)
        drop(connection, OUTDATED)
        return kept


def forget_counters(layout: Layout) -> None:
    """Remove the metrics files, so that the web and the worker count in new epochs, from 0.

    Counters that went on with the fewer restored rows would fall, which Prometheus takes for a restart: it would count
    all of these rows again, in one moment.
    """
    metrics = BASE_DIR / env.text("RUNTIME_DIR", str(layout.runtime)) / "metrics"
    if metrics.exists():
        shutil.rmtree(metrics)


def exists(connection: psycopg.Connection, name: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def drop(connection: psycopg.Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def rename(connection: psycopg.Connection, old: str, new: str) -> None:
    connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))


def copy_missing(folder: Path, layout: Layout) -> list[Path]:
    """Copy the files of the backup that do not exist here, and return them."""
    for name in FOLDERS:
        place(layout, name).mkdir(mode=0o700, parents=True, exist_ok=True)
    places = {place(layout, member): folder / member for member in members(folder)}
    return [path for path, source in places.items() if not path.exists() and copy_secret(path, source)]


def differences(folder: Path, layout: Layout) -> list[str]:
    """Return the files that exist here with another content. A file that only grew since the backup is no other one."""
    existing = [member for member in members(folder) if place(layout, member).exists()]
    return [member for member in existing if not begins_with(place(layout, member), folder / member)]


def begins_with(path: Path, other: Path) -> bool:
    with path.open("rb") as file, other.open("rb") as beginning:
        return all(file.read(len(part)) == part for part in iter(lambda: beginning.read(2**20), b""))


def members(folder: Path) -> list[str]:
    files = (path for name in FOLDERS for path in sorted((folder / name).glob("*")) if path.is_file())
    return [path.relative_to(folder).as_posix() for path in files]


def advice(member: str, layout: Layout, source: Path) -> str:
    why = NEEDED.get(member, "the restored database may need the backup's")
    folder = place(layout, member.partition("/")[0])
    return (
        f"{place(layout, member)} is not that of the backup, and was kept: {why}."
        f" `tar -xf {source} -C {folder} --strip-components=1 {member}` replaces it."
    )


# --- Commands ----------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fintech.run.backup", description="Back up or restore `make run`.")
    parser.add_argument("--var", type=Path, default=BASE_DIR / "var", help="data, logs, secrets (default: var)")
    actions = parser.add_subparsers(dest="action", required=True, metavar="make|restore")
    make = actions.add_parser("make", help="write a backup, beside the running platform or without it")
    make.add_argument("file", type=Path, nargs="?", help="default: var/backups/ with the time in the name")
    actions.add_parser("restore", help="replace the database by that of a backup").add_argument("file", type=Path)
    return parser.parse_args()


def main() -> None:
    environment.drop_unknown()
    options = arguments()
    try:
        if {"DATABASE_URL", "DATABASE_URL_FILE"} & os.environ.keys():
            raise RunError(
                "DATABASE_URL is a server of its own: back it up with pgBackRest or Barman (docs/backup.md)."
            )
        layout = Layout(options.var.resolve(), read_ports(""))
        postgres = EmbeddedPostgres(layout.postgres)
        if options.action == "make":
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
            target = (options.file or layout.var / "backups" / f"fintech-{stamp}.tar").absolute()
            back_up(layout, postgres, target)
            done = [f"{target} has {target.stat().st_size} bytes. Keep a copy on another machine."]
            done += [
                f"{name} is set, so its secret is not in the backup: keep a copy of it, too." for name in own_settings()
            ]
            sys.stdout.write("\n".join([*done, ""]))
        else:
            done = restore(layout, postgres, options.file.absolute())
            sys.stdout.write("\n".join([*done, NEXT, ""]))
    except (RunError, PostgresError, env.SettingError, psycopg.Error, OSError) as error:
        sys.exit(f"error: {str(error).strip()}")


if __name__ == "__main__":
    main()
