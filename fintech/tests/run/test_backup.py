"""`make backup` and `make restore`: pay, back up, pay more, destroy the database, restore, and go on."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from fintech.run import checks
from fintech.run.backup import OUTDATED, REPLACED, RESTORED, back_up, copy_missing, exists, replace, unpack
from fintech.run.layout import DATABASE, Layout, make_environment
from fintech.run.ports import Ports
from fintech.run.postgres import EmbeddedPostgres
from fintech.testing.processes import BASE_DIR, Program, request, scrape, wait_until
from fintech.tests.run.test_run import OURS, free_base_port, make_run

pytestmark = [pytest.mark.in_order, pytest.mark.processes]

PAYMENT = {"amount": 1250, "currency": "EUR", "customer": "c_42"}
SUCCEEDED = 'transactions_total{status="succeeded"}'


@pytest.fixture(scope="module")
def layout() -> Iterator[Layout]:
    """In a folder that PostgreSQL's account can reach: another run of pytest closes the one that it shares."""
    with tempfile.TemporaryDirectory(prefix="fintech-backup-") as directory:
        found = Layout(Path(directory) / "var", Ports.from_base(free_base_port()))
        yield found
        found.make_directories()
        checks.stop_leftovers(found, EmbeddedPostgres(found.postgres))


@pytest.fixture(scope="module")
def run(layout: Layout) -> Iterator[Program]:
    program = make_run(layout, AUDIT_SEAL_SECONDS="1", RETIRE_SECONDS="1", WEB_CONCURRENCY="1")
    yield program
    if program.alive:
        program.stop(timeout=60)


def start(program: Program) -> None:
    before = program.output().count("Ready ")
    program.start(ready=lambda: program.output().count("Ready ") > before, timeout=120)


def command(layout: Layout, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fintech.run.backup", "--var", str(layout.var), *map(str, words)],
        cwd=BASE_DIR,
        env={name: value for name, value in os.environ.items() if not name.startswith(OURS)} | env,
        capture_output=True,
        text=True,
        check=False,
    )


def manage(layout: Layout, *words: str) -> subprocess.CompletedProcess[str]:
    environment = make_environment(
        layout, EmbeddedPostgres(layout.postgres).urls(DATABASE), {"PATH": os.environ["PATH"]}
    )
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def pay(layout: Layout, *keys: str) -> set[int]:
    authorization = {"Authorization": f"Bearer {layout.api_key.read_text().strip()}"}
    return {
        request(
            layout.ports.web, "POST", "/v1/transactions", PAYMENT, headers={**authorization, "Idempotency-Key": key}
        ).status
        for key in keys
    }


def checkpoints(layout: Layout) -> list[str]:
    path = layout.audit / "checkpoints"
    return path.read_text().splitlines() if path.exists() else []


def drift(layout: Layout) -> dict[str, float]:
    wanted = ('kpi_drift{kpi="transactions",status="succeeded"}', 'gateway_drift{currency="EUR"}')
    found = scrape(layout.ports.worker)
    return {name: found[name] for name in wanted if name in found}


def counted(layout: Layout) -> tuple[float, float]:
    """Return the number of succeeded payments: in the web's counter, and in those of the web and of the worker."""
    web, worker = scrape(layout.ports.metrics), scrape(layout.ports.worker)
    both = [*web.items(), *worker.items()]
    of_any_host = re.compile(r'transactions_total\{(retired="\w+",)?status="succeeded"\}')
    return web.get(SUCCEEDED, 0), sum(value for name, value in both if of_any_host.fullmatch(name))


@pytest.fixture(scope="module")
def file(layout: Layout) -> Path:
    return layout.var.parent / "backup.tar"


def test_without_a_database_there_is_nothing_to_back_up(layout, file):
    result = command(layout, "make", file)

    assert result.returncode == 1
    assert result.stderr == f"error: There is no database in {layout.postgres}.\n"
    assert not file.exists()


def test_a_target_that_is_no_file_is_refused_before_anything_is_read(layout, tmp_path):
    """It was refused when the whole database had been dumped, and a device was replaced by the file."""
    os.mkfifo(tmp_path / "pipe")

    for target, reason in ((tmp_path, "is a folder: name a file in it"), (tmp_path / "pipe", "is not a file")):
        result = command(layout, "make", target)

        assert result.returncode == 1
        assert result.stderr.startswith(f"error: {target} {reason}")


def test_a_server_of_its_own_is_backed_up_by_its_own_means(layout, file):
    result = command(layout, "make", file, DATABASE_URL="postgresql://db.example/fintech")

    assert result.returncode == 1
    assert "pgBackRest or Barman" in result.stderr


def test_a_backup_is_unpacked_by_the_oldest_python(tmp_path, monkeypatch):
    def extractall(self, path=".", members=None, *, numeric_owner=False) -> None:
        """Take what that of Python 3.11.2 takes."""

    content = {"backup.json": b'{"made_at": "today"}', "audit/checkpoints": b"1\n", "secrets/api_key": b"key\n"}
    with tarfile.open(tmp_path / "backup.tar", "w") as archive:
        for name, body in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    monkeypatch.setattr(tarfile.TarFile, "extractall", extractall)
    (tmp_path / "folder").mkdir()

    assert unpack(tmp_path / "backup.tar", tmp_path / "folder") == "today"
    assert {name: (tmp_path / "folder" / name).read_bytes() for name in content} == content


@pytest.mark.parametrize(
    ("target", "variable"), [("backup", "FILE"), ("restore", "FILE"), ("archive", "TO"), ("drill", "OUT")]
)
def test_make_passes_a_path_with_a_space_as_one_word(target, variable):
    words = ["make", "--no-print-directory", "--dry-run", target, f"{variable}=/srv/my files/x"]

    recipe = subprocess.run(words, cwd=BASE_DIR, capture_output=True, text=True, check=True).stdout

    assert shlex.split(recipe.splitlines()[-1])[-1] == "/srv/my files/x"


def test_a_running_platform_is_backed_up(layout, run, file):
    start(run)
    assert pay(layout, "1", "2", "3") == {201}
    wait_until(lambda: len(checkpoints(layout)) > 1, 60, "the trail is sealed")
    (layout.audit / "archives").mkdir()
    (layout.audit / "archives" / "alert-trail-0-9.jsonl.gz").write_bytes(b"rows that are nowhere else")

    result = command(layout, "make", file)

    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 1
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        names = set(archive.getnames())
    assert names >= {
        "database.dump",
        "backup.json",
        "audit/signing_key",
        "audit/checkpoints",
        "audit/archives/alert-trail-0-9.jsonl.gz",
        "secrets/django_secret_key",
    }


def test_a_seal_that_is_elsewhere_is_not_left_out(layout, run, tmp_path, monkeypatch):
    seal, target = tmp_path / "seal", tmp_path / "backup.tar"

    result = command(layout, "make", target, AUDIT_DIR=str(seal))

    assert result.returncode == 1
    assert f"error: {seal / 'checkpoints'} does not exist: set AUDIT_DIR as for `make run`" in result.stderr
    assert not target.exists()

    shutil.copytree(layout.audit, seal)
    (seal / "signing_key.lost").symlink_to(seal / "signing_key")
    result = command(layout, "make", target, AUDIT_DIR=str(seal))

    assert result.returncode == 0, result.stderr
    (tmp_path / "unpacked").mkdir()
    unpack(target, tmp_path / "unpacked")
    monkeypatch.setenv("AUDIT_DIR", str(tmp_path / "restored"))
    copied = copy_missing(tmp_path / "unpacked", layout)
    assert {path.relative_to(tmp_path / "restored").as_posix() for path in copied} >= {
        "checkpoints",
        "signing_key.lost",
        "archives/alert-trail-0-9.jsonl.gz",
    }


@pytest.mark.parametrize(
    ("member", "setting"),
    [("secrets/django_secret_key", "DJANGO_SECRET_KEY"), ("audit/signing_key", "AUDIT_SIGNING_KEY_FILE")],
)
def test_a_secret_that_its_owner_keeps_elsewhere_is_named(layout, run, tmp_path, member, setting):
    path, target = layout.var / member, tmp_path / "backup.tar"
    path.rename(tmp_path / "kept")
    try:
        without = command(layout, "make", target)
        result = command(layout, "make", target, **{setting: "/etc/fintech/key"})
    finally:
        (tmp_path / "kept").rename(path)

    assert without.returncode == 1
    assert f"error: {path} does not exist: set {setting} as for `make run`" in without.stderr
    assert result.returncode == 0, result.stderr
    assert f"{setting} is set, so its secret is not in the backup" in result.stdout


def test_a_failed_backup_leaves_no_file_with_secrets(layout, run, file, tmp_path, monkeypatch):
    target = tmp_path / "backups" / "failed.tar"

    def fail(path: Path, target: Path) -> None:
        assert target.parent / path.name in target.parent.iterdir()
        raise OSError("No space left on device")

    monkeypatch.delenv("AUDIT_DIR")  # that of the tests
    monkeypatch.setattr(Path, "replace", fail)  # the last step
    with pytest.raises(OSError, match="No space left"):
        back_up(layout, EmbeddedPostgres(layout.postgres), target)

    assert list(target.parent.iterdir()) == []


def test_a_running_platform_is_not_restored(layout, run, file):
    result = command(layout, "restore", file)

    assert result.returncode == 1
    assert f"error: The platform is already running (PID {run.pid}): stop that run with Ctrl-C first." in result.stderr
    assert pay(layout, "4", "5") == {201}


@pytest.mark.parametrize("content", [b"", b"not a tar file", b"../../etc/passwd", b"secrets/../x"])
def test_a_file_that_is_no_backup_changes_nothing(layout, run, tmp_path, content):
    if run.alive:
        sealed = len(checkpoints(layout))
        wait_until(lambda: len(checkpoints(layout)) > sealed, 60, "what came after the backup is sealed")
        assert run.stop(number=signal.SIGINT, timeout=60) == 0
    path = tmp_path / "other.tar"
    path.write_bytes(content)
    if b"/" in content:
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo(content.decode()), io.BytesIO())

    result = command(layout, "restore", path)

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith(f"error: {path} ")
    assert len(result.stderr.splitlines()) == 1
    assert not (layout.var.parent / "etc").exists()


def test_a_restore_keeps_the_database_that_it_replaces(layout, file):
    result = command(layout, "restore", file)

    assert result.returncode == 0, result.stderr
    assert "The one before is kept as fintech_replaced" in result.stdout
    assert "is not that of the backup" not in result.stdout


def test_a_restore_names_each_secret_that_differs_from_the_backup(layout, file):
    names = ("secrets/django_secret_key", "audit/signing_key")
    before = {name: (layout.var / name).read_bytes() for name in names}
    for name in names:
        (layout.var / name).write_bytes(b"another\n")

    result = command(layout, "restore", file)

    assert result.returncode == 0, result.stderr
    assert result.stdout.count("is not that of the backup, and was kept") == 2
    for name in names:
        assert (layout.var / name).read_bytes() == b"another\n"
        words = ["tar", "-xf", str(file), "-C", str((layout.var / name).parent), "--strip-components=1", name]
        assert f"`{' '.join(words)}` replaces it." in result.stdout
        subprocess.run(words, check=True)
        assert (layout.var / name).read_bytes() == before[name]


def test_a_restore_that_fails_at_the_last_rename_keeps_both_databases(layout):
    postgres = EmbeddedPostgres(layout.postgres)
    postgres.start()
    try:
        with pytest.raises(psycopg.errors.InvalidCatalogName):
            replace(postgres)  # no database was restored beside it
        for name in (DATABASE, REPLACED):
            with psycopg.connect(postgres.url("postgres", name)) as connection:
                assert connection.execute("SELECT count(*) FROM payments_transaction").fetchone() == (3,), name
    finally:
        postgres.stop()


def test_a_restore_replaces_the_kept_database_and_leaves_no_third_one(layout, tmp_path):
    """In a server of its own, of empty databases."""
    postgres = EmbeddedPostgres(layout.var.parent / "small")
    postgres.init()
    postgres.start()
    try:
        for name in (DATABASE, REPLACED, OUTDATED, RESTORED):  # the third one is of a restore that was killed
            postgres.ensure_database(name)
        assert replace(postgres)
        with psycopg.connect(postgres.url("postgres", DATABASE)) as connection:
            found = [name for name in (DATABASE, REPLACED, OUTDATED, RESTORED) if exists(connection, name)]
    finally:
        postgres.stop()

    assert found == [DATABASE, REPLACED]


def test_a_destroyed_database_comes_back_with_lost_secrets(layout, run, file):
    written = checkpoints(layout)
    archives = layout.audit / "archives"
    subprocess.run(["rm", "-r", layout.postgres, layout.secrets / "django_secret_key", archives], check=True)

    result = command(layout, "restore", file)

    assert result.returncode == 0, result.stderr
    assert "is kept" not in result.stdout
    assert f"Restored {layout.secrets / 'django_secret_key'}, which did not exist." in result.stdout
    assert checkpoints(layout) == written
    assert (archives / "alert-trail-0-9.jsonl.gz").read_bytes() == b"rows that are nowhere else"


def test_no_counter_falls_and_the_restored_rows_are_series_that_no_rate_counts(layout, run):
    start(run)

    wait_until(lambda: counted(layout) == (0, 3), 60, lambda: f"of the web, in all: {counted(layout)}")
    kpi = 'kpi_drift{kpi="transactions",status="succeeded"}'
    wait_until(lambda: drift(layout).get(kpi) == 0, 60, "the counters equal the rows")


def test_the_gateways_record_shows_the_lost_payments(layout):
    gateway = 'gateway_drift{currency="EUR"}'
    wait_until(lambda: drift(layout).get(gateway) == 2500, 60, "two payments of 12.50 are missing")

    result = manage(layout, "reconcile")

    assert result.returncode == 1
    assert result.stdout.count("missing_in_ledger") == 2


def test_a_newer_checkpoint_file_stops_the_seal_and_says_what_to_do(layout):
    log = layout.logs / "worker.log"
    advice = "move the file elsewhere and keep it."
    last = json.loads(checkpoints(layout)[-1])["id"]

    wait_until(lambda: f"The checkpoint file ends with checkpoint {last}" in log.read_text(), 60, "the seal stopped")
    result = manage(layout, "verify_audit")

    assert advice in log.read_text()
    assert result.returncode == 1
    assert f"checkpoint {last} of the file: the database has none of that number" in result.stdout


def test_a_retry_of_a_lost_payment_adopts_its_charge(layout):
    assert pay(layout, "4", "5", "6") == {201}

    wait_until(lambda: set(drift(layout).values()) == {0}, 60, lambda: f"no drift: {drift(layout)}")
    assert manage(layout, "reconcile").stdout.startswith("6 items at the gateway, 6 in the ledger")
    assert manage(layout, "audit_ledger").returncode == 0
    assert counted(layout) == (3, 6)


def test_the_seal_goes_on_when_the_file_was_moved(layout, run):
    (layout.audit / "checkpoints").rename(layout.audit / "checkpoints.before-restore")

    wait_until(lambda: len(checkpoints(layout)) > 1, 60, "the trail is sealed again")
    result = manage(layout, "verify_audit")

    assert result.returncode == 0, result.stdout
    assert run.stop(number=signal.SIGINT, timeout=60) == 0
