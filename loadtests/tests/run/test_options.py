import pytest

from loadtests.run.options import parse


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--rps 0", "--rps"),
        ("--rps many", "--rps"),
        ("--rps inf", "--rps"),
        ("--duration -1", "--duration"),
        ("--workers 0", "--workers"),
        ("--workers 1.5", "--workers"),
        ("--shape round", "--shape"),
        ("--max-error-rate 5", "--max-error-rate"),
        ("--min-rate-held 98", "--min-rate-held"),
        ("--base-url localhost:5000", "--base-url"),
        ("--base-url ftp://localhost", "--base-url"),
        ("--base-url http://localhost:x", "--base-url"),
        ("--base-url http://localhost/?a=b", "--base-url"),
        ("--find-limit --shape ramp", "--shape"),
        ("--processes 2 --expect-workers 2", "--expect-workers"),
        ("--workers 2 --processes 3", "--workers"),
        ("--rsp 3", "--rsp"),
        ("--work 3", "--work"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_exit_code_2(arguments, named, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(arguments.split())

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert named in said


def test_the_help_names_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])

    assert ended.value.code == 0
    assert "Exit code 0" in capsys.readouterr().out


def test_the_defaults_are_those_of_make_run(monkeypatch):
    monkeypatch.delenv("BASE_PORT", raising=False)
    monkeypatch.delenv("API_KEY_FILE", raising=False)
    options = parse([])

    assert (options.rps, options.duration, options.workers) == (12, 180, 30)
    assert options.base_url == "http://127.0.0.1:5000"
    assert str(options.api_key_file) == "var/secrets/api_key"


def test_the_default_address_follows_base_port_as_make_run_does(monkeypatch):
    monkeypatch.setenv("BASE_PORT", "8200")

    assert parse([]).base_url == "http://127.0.0.1:8200"


def test_a_slash_at_the_end_of_the_address_does_not_double():
    assert parse(["--base-url", "http://localhost:5000/"]).base_url == "http://localhost:5000"
