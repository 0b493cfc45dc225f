"""Tables of an app that the alert trail seals with its own evidence, although the two apps do not know each other."""

from dataclasses import dataclass

from django.db.models import Model


@dataclass(frozen=True)
class SealedTable:
    """An append-only table. `fields` are its columns, the key first: names and order are hashed, and never change."""

    name: str
    table: str
    fields: str
    json: frozenset[str]


SEALED: list[SealedTable] = []


def seal_rows(model: type[Model], name: str, fields: str, *, json: frozenset[str] = frozenset()) -> None:
    """Let the trail's log have a leaf for each row of a model."""
    SEALED.append(SealedTable(name, model._meta.db_table, fields, json))
