"""Every wrong setting is reported in one sentence that names it and the remedy."""

from typing import Any

import pytest

from fintech import env
from fintech.env import SettingError


def given(read: Any, *arguments: Any, environ: dict[str, str], **options: Any) -> Any:
    """Read a setting from an environment with these values."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in environ.items():
            environment.setenv(name, value)
        return read(*arguments, **options)


def refusal(read: Any, *arguments: Any, environ: dict[str, str], **options: Any) -> str:
    with pytest.raises(SettingError) as error:
        given(read, *arguments, environ=environ, **options)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_a_value_is_read_from_its_name(tmp_path):
    assert given(env.text, "TOKEN", environ={"TOKEN": "abc"}) == "abc"


@pytest.mark.parametrize("content", ["abc", "abc\n", "abc\r\n", "abc\n\n"])
def test_a_value_is_read_from_a_file_without_its_line_break(tmp_path, content):
    (tmp_path / "token").write_bytes(content.encode())

    assert given(env.text, "TOKEN", environ={"TOKEN_FILE": str(tmp_path / "token")}) == "abc"


def test_spaces_in_a_file_belong_to_the_value(tmp_path):
    (tmp_path / "token").write_text(" a b \n")

    assert given(env.text, "TOKEN", environ={"TOKEN_FILE": str(tmp_path / "token")}) == " a b "


@pytest.mark.parametrize("environ", [{}, {"TOKEN": ""}, {"TOKEN_FILE": ""}])
def test_a_value_that_is_missing_has_its_default_or_is_asked_for(environ):
    assert given(env.text, "TOKEN", "abc", environ=environ) == "abc"
    assert refusal(env.text, "TOKEN", environ=environ).startswith("TOKEN is not set: set TOKEN, or TOKEN_FILE ")


@pytest.mark.parametrize("value", ["abc", ""])
def test_a_name_and_its_file_are_one_too_many(tmp_path, value):
    environ = {"TOKEN": value, "TOKEN_FILE": str(tmp_path / "token")}

    assert refusal(env.text, "TOKEN", environ=environ).startswith("TOKEN and TOKEN_FILE are both set")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")

    for path in (tmp_path / "missing", tmp_path, tmp_path / "binary"):
        message = refusal(env.text, "TOKEN", environ={"TOKEN_FILE": str(path)})
        assert message.startswith(f"TOKEN_FILE={path} cannot be read: ")


def test_an_empty_file_is_no_value(tmp_path):
    (tmp_path / "token").write_text("\n")

    assert "TOKEN is not set" in refusal(env.text, "TOKEN", environ={"TOKEN_FILE": str(tmp_path / "token")})


@pytest.mark.parametrize(("value", "expected"), [("True", True), ("False", False)])
def test_a_switch_is_true_or_false(value, expected):
    assert given(env.boolean, "SWITCH", not expected, environ={"SWITCH": value}) is expected
    assert given(env.boolean, "SWITCH", expected, environ={}) is expected


@pytest.mark.parametrize("value", ["true", "1", "yes", "on", " True", "0"])
def test_any_other_word_is_no_switch(value):
    assert refusal(env.boolean, "SWITCH", False, environ={"SWITCH": value}).endswith("use True or False.")


@pytest.mark.parametrize(("value", "expected"), [("5", 5.0), ("0.5", 0.5), ("1e1", 10.0), ("0.1", 0.1), ("60", 60.0)])
def test_a_number_within_its_bounds_is_taken(value, expected):
    assert given(env.number, "SECONDS", 1, least=0.1, most=60, environ={"SECONDS": value}) == expected


@pytest.mark.parametrize("value", ["five", "5s", "0x5", "5,5", " "])
def test_a_malformed_number_is_refused(value):
    assert refusal(env.number, "SECONDS", 1, environ={"SECONDS": value}).endswith("use a number.")


@pytest.mark.parametrize("value", ["0.09", "60.1", "-1", "nan", "inf", "-inf"])
def test_a_number_out_of_its_bounds_is_refused(value):
    message = refusal(env.number, "SECONDS", 1, least=0.1, most=60, environ={"SECONDS": value})

    assert message == f"SECONDS={value} is wrong: use a number from 0.1 to 60."


@pytest.mark.parametrize("value", ["2.5", "0.1"])
def test_a_part_of_a_whole_number_is_refused(value):
    assert "use a whole number" in refusal(env.integer, "WORKERS", 3, environ={"WORKERS": value})


@pytest.mark.parametrize("value", ["0", "257", "inf", "nan", "two", "-3"])
def test_a_whole_number_has_bounds_too(value):
    refusal(env.integer, "WORKERS", 3, least=1, most=256, environ={"WORKERS": value})


def test_a_choice_is_one_of_its_words():
    assert given(env.choice, "LEVEL", "INFO", ["INFO", "DEBUG"], environ={"LEVEL": "DEBUG"}) == "DEBUG"
    message = refusal(env.choice, "LEVEL", "INFO", ["INFO", "DEBUG"], environ={"LEVEL": "info"})
    assert message == "LEVEL='info' is wrong: use one of INFO, DEBUG."


@pytest.mark.parametrize(
    ("value", "expected"),
    [("127.0.0.1:5000", ("127.0.0.1", 5000)), ("localhost:0", ("localhost", 0)), ("[::1]:65535", ("[::1]", 65535))],
)
def test_an_address_is_a_host_and_a_port(value, expected):
    assert given(env.address, "BIND", "127.0.0.1:1", environ={"BIND": value}) == expected


@pytest.mark.parametrize(
    "value", ["5000", ":5000", "localhost", "a:", "a:b", "a:-1", "a:65536", "a:1e3", "a:٣", "::1:80", "[::1]", "[]:1"]
)
def test_a_malformed_address_is_refused(value):
    assert refusal(env.address, "BIND", "127.0.0.1:5000", environ={"BIND": value}).endswith("such as 127.0.0.1:5000.")


@pytest.mark.parametrize("value", ["::1:80", "[::1]", "[]:1", "[::1]]:1"])
def test_an_ipv6_address_needs_brackets_and_a_port(value):
    assert "host:port or [IPv6]:port" in refusal(env.address, "BIND", "127.0.0.1:5000", environ={"BIND": value})


@pytest.mark.parametrize("value", ["http://gateway:5001", "https://gateway.example/v2", "http://[::1]:80/"])
def test_a_url_leads_to_another_service(value):
    assert given(env.url, "GATEWAY_URL", "http://a", environ={"GATEWAY_URL": value}) == value


@pytest.mark.parametrize(
    "value",
    ["gateway:5001", "ftp://gateway", "http://", "http:///x", "http://a:b", "http://a:70000", "//a", "http://[a"],
)
def test_a_malformed_url_is_refused(value):
    assert "use an address such as" in refusal(env.url, "GATEWAY_URL", "http://a", environ={"GATEWAY_URL": value})


@pytest.mark.parametrize("value", ["host:9464", "http://a:9464/metrics,b:9464", "http://a:x"])
def test_a_list_with_a_malformed_url_is_refused(value):
    assert "use addresses such as" in refusal(env.urls, "OTHERS", environ={"OTHERS": value})


def test_a_list_of_urls_is_separated_by_commas():
    assert given(env.urls, "OTHERS", environ={"OTHERS": "http://a:1/m, https://b"}) == ["http://a:1/m", "https://b"]
    assert given(env.urls, "OTHERS", environ={}) == []


@pytest.mark.parametrize(
    ("value", "expected"), [("a,b", ["a", "b"]), (" a , ,b,", ["a", "b"]), ("a b", ["a b"]), (",", [])]
)
def test_words_are_separated_by_commas(value, expected):
    assert given(env.words, "HOSTS", "x", environ={"HOSTS": value}) == expected
