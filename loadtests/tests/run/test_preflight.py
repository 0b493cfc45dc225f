"""Refusals before the first request: one sentence, exit code 2, no file."""

import socket

import pytest

from loadtests.run import LoadTestError, preflight
from loadtests.tests.run.service import KEY, LoadTest

pytestmark = pytest.mark.processes


def refusal(load_test: LoadTest, *options: str) -> str:
    code, output, errors = load_test.run(*options)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert not load_test.output.exists() or list(load_test.output.iterdir()) == []
    return errors


def test_an_unreachable_target_is_refused(tmp_path):
    assert "Connection refused" in refusal(LoadTest(tmp_path, "http://127.0.0.1:9"))


def test_a_name_that_does_not_exist_is_refused(tmp_path):
    assert "does not answer" in refusal(LoadTest(tmp_path, "http://payments.invalid"))


def test_a_wrong_key_is_refused(tmp_path, service):
    assert "refuses the API key" in refusal(LoadTest(tmp_path, service.url, key="another"))


@pytest.mark.parametrize("key", ["", "two\nlines", "ünïcode"])
def test_a_file_without_a_key_is_refused(tmp_path, service, key):
    assert "contains no key" in refusal(LoadTest(tmp_path, service.url, key=key))


def test_a_missing_key_file_is_refused(load_test, tmp_path):
    assert "cannot be read" in refusal(load_test, "--api-key-file", str(tmp_path / "absent"))


def test_a_redirect_is_refused_and_its_target_is_named(load_test, service):
    service.redirect = "https://payments.example/"

    assert "redirects to https://payments.example/" in refusal(load_test)


@pytest.mark.parametrize("page", [[], {"data": 1}, "<html>"])
def test_another_service_is_refused(load_test, service, page):
    service.page = page

    assert "is not the payments API" in refusal(load_test)


def test_a_folder_that_cannot_be_written_is_refused(load_test, tmp_path):
    (tmp_path / "file").touch()

    assert "Nothing can be written" in refusal(load_test, "--output", str(tmp_path / "file"))


def test_a_port_that_does_not_speak_http_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        load_test = LoadTest(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}")
        with load_test.start() as process, listener.accept()[0] as connection:
            connection.sendall(b"SSH-2.0-other\r\n")
            _, errors = process.communicate(timeout=30)

    assert process.returncode == 2
    assert "does not answer" in errors
    assert errors.count("\n") == 1


def test_a_port_for_workers_that_is_taken_is_refused(load_test):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        assert "Address already in use" in refusal(load_test, "--expect-workers", "1", "--master-bind-port", port)


def test_a_ready_service_passes(service, tmp_path):
    preflight.check_target(service.url, KEY, tmp_path)
    with pytest.raises(LoadTestError):
        preflight.check_target(service.url, "another", tmp_path)
