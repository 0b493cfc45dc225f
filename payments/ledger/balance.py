"""Whether the ledger's legs sum to zero, per currency, while it is being written.

The database refuses a posting that does not (`0002_guards.py`), and `manage.py audit_ledger` looks at each posting by
itself. This is the watch between two audits: it does not take the database's word for it either, and it costs the same
however long the ledger gets, because what is settled is summed once.
"""

from collections import Counter

from django.db import connection
from django.db.backends.utils import CursorWrapper

# What one statement sums stays well within statement_timeout.
LARGEST_SUM = 200_000

SUM = """
SELECT currency, sum(amount)::bigint FROM payments_ledgerleg WHERE id > %s AND id <= %s
GROUP BY currency HAVING sum(amount) <> 0
"""


class Balance:
    """Sums the legs, again and again.

    A posting is one statement, so the legs that a snapshot sees sum to zero in whatever order their ids come to be
    seen. Up to which id nothing can appear any more is found as `kpis.Folder` finds it.
    """

    def __init__(self) -> None:
        self._settled: Counter[str] = Counter()  # of the legs up to `_upto`
        self._upto = 0
        self._seen: tuple[int, str] | None = None  # the newest leg at the last turn, and the witness

    def measure(self) -> dict[str, int] | None:
        """What each currency is off by, in minor units; {} if nothing is.

        None as long as there is more to catch up with than one statement sums.
        """
        with connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(max(id), 0) FROM payments_ledgerleg")
            (newest,) = cursor.fetchone()
            # A witness is kept until it has ended: there may always be a transaction that is older than the last turn.
            if self._seen is None or self._has_ended(cursor, self._seen[1]):
                if self._seen is not None:
                    self._settle(cursor, self._seen[0])
                cursor.execute("SELECT pg_current_xact_id()::text")
                (witness,) = cursor.fetchone()
                self._seen = newest, witness
            if newest - self._upto > LARGEST_SUM:
                return None
            total = self._settled.copy()
            # To the very end: up to the newest that was seen, half of a posting might be missing.
            total.update(self._sum(cursor, self._upto, 2**63 - 1))
        return {currency: amount for currency, amount in total.items() if amount}

    def _settle(self, cursor: CursorWrapper, upto: int) -> None:
        while self._upto < upto:
            part = min(upto, self._upto + LARGEST_SUM)
            self._settled.update(self._sum(cursor, self._upto, part))
            self._upto = part

    @staticmethod
    def _has_ended(cursor: CursorWrapper, witness: str) -> bool:
        """Every transaction up to that one."""
        cursor.execute("SELECT %s::xid8 < pg_snapshot_xmin(pg_current_snapshot())", [witness])
        return bool(cursor.fetchone()[0])

    @staticmethod
    def _sum(cursor: CursorWrapper, after: int, upto: int) -> dict[str, int]:
        cursor.execute(SUM, [after, upto])
        return dict(cursor.fetchall())
