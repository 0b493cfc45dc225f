"""`migrate`, run as the schema's owner, because the application's role cannot change the schema."""

from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands.migrate import Command as MigrateCommand

from fintech.database.grants import grant_application_role, set_application_timeouts


class Command(MigrateCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database="owner")

    def handle(self, *args: Any, **options: Any) -> None:
        super().handle(*args, **options)
        grant_application_role(using=options["database"])
        set_application_timeouts(using=options["database"])
