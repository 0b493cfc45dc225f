"""Facets: the values by which a list can be filtered, from the small table of identities, one index step per value."""

from typing import Literal

from alerts_audit.models import Identity
from fintech.database.replica import connection
from fintech.database.sql import fetch_all

MAX_WORDS = 500

# A loose index scan: from each value to the next, without reading the rows in between.
WORDS = """
WITH RECURSIVE words(word, number) AS (
    (SELECT {column}, 1 FROM {table} ORDER BY {column} LIMIT 1)
    UNION ALL
    SELECT (SELECT {column} FROM {table} WHERE {column} > word ORDER BY {column} LIMIT 1), number + 1
    FROM words WHERE word IS NOT NULL AND number < {most}
)
SELECT word FROM words WHERE word IS NOT NULL
"""


def get_words(column: Literal["alertname", "severity", "cluster"]) -> list[str]:
    """Return the values in order; the first 500."""
    statement = WORDS.format(column=column, table=Identity._meta.db_table, most=MAX_WORDS)
    return [word for (word,) in fetch_all(statement, using=connection().alias)]
