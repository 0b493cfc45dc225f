"""Wrong arguments of the long commands are refused before anything is started."""

import importlib
import subprocess
import sys
from typing import NoReturn

import pytest

from loadtests.drill.monitoring import is_installed

BENCHMARKS = ["bench", "bench.alerts", "bench.growth", "bench.hosts", "bench.sealing", "bench.trail", "bench.velocity"]


def refusal(monkeypatch: pytest.MonkeyPatch, module: str, *words: str) -> object:
    """Return the exit code of a command that starts nothing."""

    def start(*_: object, **__: object) -> NoReturn:
        raise AssertionError("something was started")

    for name in ("run", "Popen"):
        monkeypatch.setattr(subprocess, name, start)
    monkeypatch.setattr(sys, "argv", [module, *words])
    main = importlib.import_module(f"loadtests.{module}{'' if '.' in module else '.__main__'}").main
    try:
        return main()
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize(
    ("module", "option", "value"),
    [
        *((module, "--rounds", "0") for module in BENCHMARKS if module not in ("bench.sealing", "bench.velocity")),
        *((module, "--seconds", "-1") for module in ("bench", "bench.alerts", "bench.growth", "bench.hosts")),
        ("bench.sealing", "--leaves", "0"),
        ("bench.velocity", "--groups", "0"),
        ("bench.growth", "--archive", "2"),
        ("prove", "--kill-seconds", "nan"),
        ("prove", "--host-seconds", "-1"),
        ("prove", "--quiet-hours", "inf"),
    ],
)
def test_a_number_that_measures_nothing_is_refused(monkeypatch, capsys, module, option, value):
    assert refusal(monkeypatch, module, option, value) == 2
    assert f"argument {option}" in capsys.readouterr().err


@pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed")
@pytest.mark.parametrize(("module", "words"), [("drill", ["declines"]), ("quiet", []), ("prove", [])])
def test_a_folder_that_cannot_be_written_is_refused_before_the_start(monkeypatch, capsys, tmp_path, module, words):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "below"

    assert refusal(monkeypatch, module, *words, "--out", str(folder)) == 2
    assert capsys.readouterr().err == f"error: Nothing can be written to {folder}: Not a directory.\n"
