"""`manage.py bootstrap`: create the first accounts and keys, once."""

import stat

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.management import CommandError, call_command
from django.db import connection

from fintech.secret_files import read_secret, write_secret
from payments.api_keys import authenticate, cache, revoke_api_key
from payments.models import ApiKey, Merchant

pytestmark = pytest.mark.django_db  # rolled back: there is one administrator in the whole database


@pytest.fixture
def bootstrap(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 1)  # a real hash takes a quarter of a second
    # Other tests keep the accounts that they created; these changes are rolled back.
    get_user_model().objects.filter(is_superuser=True).update(is_superuser=False)
    get_user_model().objects.filter(username="admin").update(username="earlier")

    def run(*options: str) -> str:
        call_command("bootstrap", "--out", str(tmp_path), *options)
        return capsys.readouterr().out

    return run


def administrator():
    return get_user_model().objects.get(username="admin")


def test_it_makes_an_administrator_and_a_key_with_all_scopes(bootstrap, tmp_path):
    said = bootstrap()

    password, key = read_secret(tmp_path / "admin_password"), read_secret(tmp_path / "api_key")
    assert administrator().is_superuser
    assert administrator().check_password(password)
    assert authenticate(f"Bearer {key}").scopes == set(ApiKey.Scope.values)
    assert password not in said
    assert key not in said
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_second_run_changes_nothing(bootstrap, tmp_path):
    bootstrap()
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    keys = ApiKey.objects.count()

    bootstrap()

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert ApiKey.objects.count() == keys


def test_renamed_accounts_are_the_same_accounts(bootstrap, tmp_path):
    """A second merchant got a new key in the file, and a repeated request with it was charged again."""
    bootstrap()
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    get_user_model().objects.filter(username="admin").update(username="renamed")
    Merchant.objects.filter(name="Demo").update(name="Shop")
    merchants = Merchant.objects.count()

    said = bootstrap()

    assert "The administrator renamed exists; the password is in" in said
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert Merchant.objects.count() == merchants
    assert list(get_user_model().objects.filter(is_superuser=True).values_list("username")) == [("renamed",)]


def test_a_removed_administrator_does_not_come_back_beside_another_one(bootstrap, tmp_path):
    bootstrap()
    administrator().delete()
    get_user_model().objects.create_superuser("successor", password="my own words")

    bootstrap()

    assert list(get_user_model().objects.filter(is_superuser=True).values_list("username")) == [("successor",)]
    assert not (tmp_path / "admin_password").exists()


class WatchfulHasher(PBKDF2PasswordHasher):
    iterations = 1
    open_transactions: list[int] = []

    def encode(self, password, salt, iterations=None):
        self.open_transactions.append(len(connection.savepoint_ids))
        return super().encode(password, salt, iterations)


def test_no_transaction_is_open_while_a_password_is_hashed(bootstrap, settings):
    """A busy machine hashes for longer than idle_in_transaction_session_timeout."""
    settings.PASSWORD_HASHERS = [f"{__name__}.WatchfulHasher"]

    bootstrap()
    bootstrap()

    assert WatchfulHasher.open_transactions == [0, 0]


def test_a_password_of_the_administrators_own_is_kept_and_the_old_file_goes(bootstrap, tmp_path):
    bootstrap()
    user = administrator()
    user.set_password("my own words")
    user.save()

    said = bootstrap("--show")

    assert administrator().check_password("my own words")
    assert not (tmp_path / "admin_password").exists()
    assert "admin_password: unknown" in said


def test_a_renamed_merchant_whose_key_was_revoked_gets_the_new_one(bootstrap, tmp_path):
    bootstrap()
    old = read_secret(tmp_path / "api_key")
    Merchant.objects.filter(name="Demo").update(name="Shop")
    revoke_api_key(ApiKey.objects.get(prefix=str(old)[:11]))
    cache.forget()  # this process would remember it for some seconds

    said = bootstrap()

    assert "Created an API key for the merchant Shop" in said
    assert not Merchant.objects.filter(name="Demo").exists()


@pytest.mark.parametrize("trouble", ["revoked", "of another database", "missing"])
def test_a_key_that_is_no_longer_good_is_replaced(bootstrap, tmp_path, trouble):
    bootstrap()
    path = tmp_path / "api_key"
    old = read_secret(path)
    if trouble == "revoked":
        revoke_api_key(ApiKey.objects.get(prefix=str(old)[:11]))
        cache.forget()  # this process would remember it for some seconds
    elif trouble == "missing":
        path.unlink()
    else:
        write_secret(path, "fk_00000000_of-another-database")

    bootstrap()

    assert read_secret(path) != old
    assert authenticate(f"Bearer {read_secret(path)}")


def test_an_inactive_merchant_gets_no_further_key(bootstrap, tmp_path):
    """Each start added a key with all scopes, valid as soon as the merchant is active again."""
    bootstrap()
    before = read_secret(tmp_path / "api_key")
    Merchant.objects.filter(name="Demo").update(is_active=False)
    cache.forget()  # this process would remember it for some seconds
    keys = ApiKey.objects.count()

    said = bootstrap()

    assert "The merchant Demo is not active" in said
    assert (read_secret(tmp_path / "api_key"), ApiKey.objects.count()) == (before, keys)


def test_secrets_are_printed_only_on_request(bootstrap, tmp_path):
    said = bootstrap("--show")

    assert f"api_key: {read_secret(tmp_path / 'api_key')}" in said


def test_a_folder_that_cannot_be_used_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(CommandError, match="cannot be used"):
        call_command("bootstrap", "--out", str(tmp_path / "file"))
