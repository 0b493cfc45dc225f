"""Commands, ports, paths and files that documents, help texts, comments and error sentences name work as written."""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.db import connection
from django.urls import resolve

from fintech.run.ports import Ports
from fintech.tests.advice import ROOT, TEXTS, Command, commands
from fintech.tests.compose.test_compose import SERVICES, mounts
from loadtests.gateway.app import Gateway
from loadtests.gateway.events import EventSender
from loadtests.gateway.store import Store
from loadtests.stripe.app import FakeStripe
from loadtests.stripe.store import Store as StripeStore

COMMANDS = commands()
PYTHON = re.compile(r"(?:\.venv/bin/)?python3?")
PLACEHOLDERS = {"DATE": "2026-01-01", "ID": "7", "<service>": "app"}
# The containers of our workloads on Kubernetes.
CONTAINERS = {
    document["metadata"]["name"]: {one["name"] for one in document["spec"]["template"]["spec"]["containers"]}
    for name in ("web", "worker")
    for document in yaml.safe_load_all((ROOT / f"deploy/kubernetes/base/{name}.yaml").read_text(encoding="utf-8"))
    if document["kind"] == "Deployment"
}
MODULES = ("fintech", "loadtests", "observability", "payments", "alerts_audit")


def named(*programs: str) -> pytest.MarkDecorator:
    chosen = [command for command in COMMANDS if command.words[0] in programs]
    return pytest.mark.parametrize("command", chosen, ids=str)


def check_manage(words: tuple[str, ...]) -> None:
    """Let the command itself parse its arguments. A sentence may name a command without any."""
    name, *arguments = [PLACEHOLDERS.get(word, word) for word in words]
    application = get_commands()[name]
    parser = load_command_class(application, name).create_parser("manage.py", name)
    if arguments and arguments != ["admin"]:
        parser.parse_args(arguments)


def check_python(words: tuple[str, ...]) -> None:
    """Check a program of ours: its file or module, its options, or the Django command that it passes on."""
    first, *rest = words
    if first == "manage.py" or words[:2] == ("-m", "fintech.run.manage"):
        rest = rest[1:] if first == "-m" else rest
        if rest:
            check_manage(tuple(rest))
        return
    if first == "-m":
        name, *rest = rest
        spec = importlib.util.find_spec(f"{name}.__main__" if (ROOT / name.replace(".", "/")).is_dir() else name)
        assert spec is not None, name
        assert spec.origin is not None
        # The options of a package may have a module of their own, or one that two simulators share.
        modules = Path(spec.origin).parent.glob("*.py") if spec.name.endswith("__main__") else [Path(spec.origin)]
        code = "".join(module.read_text(encoding="utf-8") for module in modules)
        if "loadtests.gateway.serving" in code:
            code += (ROOT / "loadtests/gateway/serving.py").read_text(encoding="utf-8")
    else:
        code = (ROOT / "alerts_audit/seal" / Path(first).name).read_text(encoding="utf-8")
    assert "__main__" in code or spec.name.endswith("__main__")
    for option in (word for word in rest if word.startswith("--") and word != "--help"):
        assert f'"{option}"' in code, option


def compose_parser() -> argparse.ArgumentParser:
    """Parse the part of Compose's command line that we advise."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    flags = {
        "up": ["-d", "--build", "--force-recreate"],
        "down": ["-v"],
        "rm": ["--stop", "--force"],
        "logs": ["-f"],
        "ps": [],
        "stop": [],
        "restart": [],
    }
    for verb, names in flags.items():
        one = verbs.add_parser(verb)
        for name in names:
            one.add_argument(name, action="store_true")
        if verb == "up":
            one.add_argument("--scale", action="append", default=[])
        if verb == "logs":
            one.add_argument("--tail", type=int)
        one.add_argument("services", nargs="*")
    for verb in ("run", "exec"):
        one = verbs.add_parser(verb)
        for name in ("--rm", "--no-deps") if verb == "run" else ():
            one.add_argument(name, action="store_true")
        for name in ("-v", "-e") if verb == "run" else ():
            one.add_argument(name, action="append")
        one.add_argument("services", nargs=1)
        one.add_argument("inside", nargs=argparse.REMAINDER)
    return parser


# --- Commands ----------------------------------------------------------------------------------------------------


def test_commands_are_found_in_each_kind_of_text():
    found = {(str(command.file), command.words) for command in COMMANDS}

    assert len(found) > 150
    assert found >= {
        ("README.md", ("make", "test")),
        ("Makefile", ("docker", "compose", "exec", "app", "cat", "/run/secrets/metrics_token")),
        ("docs/compose.md", ("docker", "compose", "rm", "--stop", "--force", "tempo", "cadvisor")),
        ("alerts_audit/seal/keys.py", ("manage.py", "audit_key", "rotate", "--lost")),
        ("fintech/http/health.py", ("manage.py", "migrate")),
        ("fintech/run/checks.py", ("make", "run")),
        ("observability/runbooks/TargetDown.md", ("make", "run")),
        ("deploy/kubernetes/README.md", ("make", "environment")),
        (
            "loadtests/gateway/__init__.py",
            ("python", "-m", "loadtests.gateway", "--port", "5001", "--data", "var/gateway.sqlite3"),
        ),
    }


@pytest.mark.processes
def test_every_named_target_of_make_exists():
    targets = {command.words[1] for command in COMMANDS if command.words[0] == "make"}
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert len(targets) > 12
    assert targets <= set(re.findall(r"^  make ([a-z-]+)", helped, re.MULTILINE))
    subprocess.run(["make", "--dry-run", *sorted(targets)], cwd=ROOT, capture_output=True, check=True)


@named("manage.py")
def test_a_command_of_django_accepts_its_arguments(command: Command):
    check_manage(command.words[1:])


@pytest.mark.parametrize("command", [c for c in COMMANDS if PYTHON.fullmatch(c.words[0])], ids=str)
def test_a_program_of_ours_exists_and_has_its_options(command: Command):
    if command.file.name != "Dockerfile" and command.words[1:3] != ("-m", "pytest"):
        check_python(command.words[1:])


@named("docker")
def test_a_command_of_compose_names_services_and_what_they_hold(command: Command):
    options = compose_parser().parse_args([PLACEHOLDERS.get(word, word) for word in command.words[2:]])

    scaled = {name.partition("=")[0] for name in getattr(options, "scale", [])}
    assert {*options.services, *scaled} <= SERVICES.keys()
    program, *arguments = getattr(options, "inside", None) or ["true"]
    if program == "python" and arguments[0] != "-c":
        check_python(tuple(arguments))
    if program in ("cat", "rm"):
        folder = arguments[0].rpartition("/")[0]
        assert folder in {target for target, _ in mounts(options.services[0]).values()}


@named("kubectl", "helm")
def test_a_command_of_kubernetes_names_files_and_what_a_container_runs(command: Command):
    words = command.words
    assert [path for flag, path in pairwise(words) if flag in ("-f", "-k") and not (ROOT / path).exists()] == []
    if "exec" in words:
        workload, container = words[words.index("exec") + 1], words[words.index("-c") + 1]
        program, *arguments = words[words.index("--") + 1 :]
        assert container in CONTAINERS[workload.removeprefix("deploy/")]
        if program == "python":
            check_python(tuple(arguments))


def test_the_first_commands_of_a_reader_need_nothing_installed():
    assert [command for command in COMMANDS if command.file.name == "README.md" and command.words[0] == "python"] == []


@pytest.mark.processes
@named("promtool", "amtool")
def test_a_command_of_the_monitoring_succeeds(command: Command):
    if shutil.which(command.words[0]) is None:
        pytest.skip(f"{command.words[0]} is not installed")
    checks = [tuple(service.get("healthcheck", {}).get("test", [])[1:]) for service in SERVICES.values()]
    if command.words in {check[: len(command.words)] for check in checks}:
        return  # of the version in the image, which Debian's may lack
    help_only = [] if "." in command.words[-1] else ["--help"]
    folder = ROOT if command.file.suffix == ".md" else (ROOT / command.file).parent

    subprocess.run([*command.words, *help_only], cwd=folder, capture_output=True, check=True)


@named("psql")
def test_a_query_of_the_database_is_valid(command: Command):
    with connection.cursor() as cursor:
        cursor.execute(command.words[-1].replace("%", "%%"), ())


PROGRAMS_WITH_HELP = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__main__")
    for path in (ROOT / file for file in TEXTS)
    if path.suffix == ".py"
    and path.name != "serving.py"  # the options of two simulators
    and re.search(r"^\s+(?:return )?parser.parse_args\(|ArgumentParser\(prog|= arguments\(", path.read_text(), re.M)
)


@pytest.mark.processes
@pytest.mark.parametrize("module", PROGRAMS_WITH_HELP)
def test_a_program_explains_itself(module: str):
    result = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "usage:" in result.stdout


@pytest.mark.parametrize("name", sorted(name for name, app in get_commands().items() if app in MODULES))
def test_a_command_of_django_explains_itself(name: str, capsys):
    with pytest.raises(SystemExit) as end:
        load_command_class(get_commands()[name], name).create_parser("manage.py", name).parse_args(["--help"])

    assert not end.value.code
    assert "usage: manage.py" in capsys.readouterr().out


# --- Addresses and files -----------------------------------------------------------------------------------------

LOOPBACK = {"127.0.0.1", "localhost"}
ADDRESS = re.compile(rf"(?<![\w.])(?:https?://)?({'|'.join([*SERVICES, *LOOPBACK])}):(\d{{4,5}})\b")
PORT = re.compile(r"\bports? (\d{4,5})\b")
PATH = re.compile(
    r"`(?:(?:GET|POST|PUT|PATCH) )?(/(?:v1|transaction|alert|admin|health|ready|metrics|control/)[^`?:]*)[`?:]"
)
FILE = re.compile(rf"(?<![\w/.-])((?:docs|{'|'.join(MODULES)})/[\w/.-]+\.(?:md|py|yml|json|alloy|conf))\b")
# The ports that these protocols have everywhere.
OTLP, POSTGRESQL = 4318, 5432
DOCUMENTS = {file: text for file, text in TEXTS.items() if file.suffix == ".md"}


def ports_of(service: str) -> set[int]:
    """Return the ports that docker-compose.yml, Prometheus's targets and its own configuration name for a service."""
    targets = "".join(path.read_text() for path in (ROOT / "observability/prometheus/targets").glob("*.yml"))
    own = [yaml.safe_dump(SERVICES[service]), *(path.read_text() for path in ROOT.glob(f"observability/{service}/*.*"))]
    ports = re.findall(r"(?::|--port=)(\d{4,5})\b", "".join(own)) + re.findall(rf"\b{service}:(\d+)", targets)
    return {int(port) for port in ports} | {POSTGRESQL if service == "db" else OTLP}


def test_every_named_port_is_one_that_we_listen_on_or_publish():
    published = {int(port.split(":")[1]) for service in SERVICES.values() for port in service.get("ports", [])}
    local = published | set(vars(Ports()).values()) | {OTLP}
    known = {**{name: ports_of(name) for name in SERVICES}, **dict.fromkeys(LOOPBACK, local)}
    named = {(file, host, int(port)) for file, text in TEXTS.items() for host, port in ADDRESS.findall(text)}
    named |= {(file, "localhost", int(port)) for file, text in TEXTS.items() for port in PORT.findall(text)}
    # A health check asks the port inside of its container.
    named -= {(file, host, port) for file, host, port in named if file.stem == "docker-compose" and host in LOOPBACK}

    assert len(named) > 40
    assert [(file, host, port) for file, host, port in sorted(named) if port not in known[host]] == []


def test_every_named_path_is_a_route_of_the_web_or_of_the_gateway(tmp_path: Path):
    ours, theirs = Store(tmp_path / "data"), StripeStore(tmp_path / "stripe")
    senders = [EventSender(store, url="", secret="") for store in (ours, theirs)]
    gateway = Gateway(ours, token="t", control_token="c", sender=senders[0]).application()
    stripe = FakeStripe(theirs, api_key="t", control_token="c", sender=senders[1]).application()
    of_gateway = {resource.canonical for app in (gateway, stripe) for resource in app.router.resources()}
    named = {path.strip() for text in DOCUMENTS.values() for path in PATH.findall(text)}
    named |= {path for text in TEXTS.values() for path in re.findall(r"127\.0\.0\.1:500[01](/[\w/]+)", text)}

    assert len(named) > 20
    for path in named - of_gateway:
        resolve(re.sub(r"{\w+}", "x", path))


def test_every_named_file_exists():
    named = {(file, path) for file, text in TEXTS.items() for path in FILE.findall(text)}

    assert len(named) > 100
    assert [(file, path) for file, path in sorted(named) if not (ROOT / path).exists()] == []
