"""`manage.py bootstrap --out DIR`: create the first accounts and keys."""

from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser
from django.db.transaction import atomic

from fintech import tokens
from fintech.management.command_line import one_sentence
from fintech.secret_files import random_secret, read_secret, write_secret
from payments.api_keys import authenticate, create_api_key
from payments.errors import PaymentError
from payments.models import ApiKey, Merchant

ADMINISTRATOR = "admin"
MERCHANT = "Demo"
RETURN_HOST = "shop.example"  # reserved for examples: no browser reaches it


class Command(BaseCommand):
    help = (
        "Create the administrator 'admin' (DIR/admin_password) and the merchant 'Demo' with an API key (DIR/api_key)."
        " Existing ones are kept, also under another name, so it is safe to repeat."
    )
    # It runs at each start, after `migrate`, which has run them.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--out", type=Path, required=True, help="the folder for the two secrets")
        parser.add_argument("--show", action="store_true", help="also print the secrets")

    def handle(self, *args: Any, out: Path, show: bool, **options: Any) -> None:
        with one_sentence(OSError, say=lambda error: f"{out} cannot be used: {error}."):
            out.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.stdout.write(ensure_administrator(out / "admin_password"))
            self.stdout.write(ensure_api_key(out / "api_key"))
        if show:
            for path in (out / "admin_password", out / "api_key"):
                self.stdout.write(f"{path.name}: {read_secret(path) or 'unknown'}")


def ensure_administrator(path: Path) -> str:
    """Create the administrator, unless there is one, of any name. Never changes a password.

    It removes a password file that is out of date.

    Not in a transaction: a busy machine needs longer to hash a password than the database waits for a statement.
    """
    users = get_user_model()
    named = users.objects.filter(username=ADMINISTRATOR).first()
    user = named or users.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    known = read_secret(path)
    if user is None:
        password = random_secret()[:20]
        write_secret(path, password)
        users.objects.create_superuser(ADMINISTRATOR, password=password)
        return f"Created the administrator {ADMINISTRATOR}; the password is in {path}."
    name = user.get_username()
    if known is not None and user.check_password(known):
        return f"The administrator {name} exists; the password is in {path}."
    path.unlink(missing_ok=True)
    return f"The administrator {name} exists, with another password: manage.py changepassword changes it."


@atomic
def ensure_api_key(path: Path) -> str:
    known = read_secret(path)
    merchant = owner_of(known)
    if merchant is None:
        defaults = {"country": "DE", "return_hosts": [RETURN_HOST]}
        merchant, _ = Merchant.objects.get_or_create(name=MERCHANT, defaults=defaults)
    if known is not None and not merchant.is_active:  # a further key would be refused, too
        return f"The merchant {merchant} is not active; the API key in {path} is kept."
    if is_key_of(merchant, known):
        return f"The API key in {path} is valid."
    _, secret = create_api_key(merchant=merchant, name="bootstrap", scopes=ApiKey.Scope.values)
    write_secret(path, secret)
    return f"Created an API key for the merchant {merchant}; it is in {path}."


def owner_of(secret: str | None) -> Merchant | None:
    """Return the merchant of a key, under any name, and also if the key is no longer valid."""
    prefix = tokens.read_prefix(secret or "", tokens.API_KEY)
    if secret is None or prefix is None:
        return None
    return Merchant.objects.filter(api_keys__prefix=prefix, api_keys__secret_sha256=tokens.digest(secret)).first()


def is_key_of(merchant: Merchant, secret: str | None) -> bool:
    if secret is None:
        return False
    try:
        return authenticate(f"Bearer {secret}").merchant_id == merchant.pk
    except PaymentError:
        return False
