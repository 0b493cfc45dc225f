"""Sum the ledger's legs per currency while it is being written: the sums must be zero.

The database refuses an unbalanced posting (`0002_guards.py`), and `manage.py audit_ledger` checks each posting.
This is the watch between two runs of `audit_ledger`. It does not rely on the database either, and its cost does not
grow with the ledger: legs that are settled are summed once.
"""

from collections import Counter

from django.db import connection
from django.db.backends.utils import CursorWrapper

from fintech.database.connections import snapshot
from payments.table_follower import TableFollower

# The legs that one statement sums, well within statement_timeout.
BATCH_SIZE = 200_000

SUM = """
SELECT currency, sum(amount)::bigint FROM payments_ledgerleg WHERE id > %s AND id <= %s
GROUP BY currency HAVING sum(amount) <> 0
"""


class Balance:
    """The running sum. A posting is one statement, so the legs in one snapshot sum to zero, whatever their order."""

    def __init__(self) -> None:
        self._follower = TableFollower("payments_ledgerleg")
        self._settled: Counter[str] = Counter()  # of the legs up to `_upto`
        self._upto = 0

    def measure(self) -> dict[str, int] | None:
        """Return the sums that are not zero, per currency, in minor units.

        Returns None if there are more new legs than one statement may sum; the next call continues.
        """
        with connection.cursor() as cursor:
            if not self._follower.advance(cursor):
                self._settled, self._upto = Counter(), 0
            with snapshot(connection):  # or an archive run could take a half of a posting between two statements
                self._settle(cursor, self._follower.settled)
                if self._follower.newest - self._upto > BATCH_SIZE:
                    return None
                total = self._settled.copy()
                # To the very end: up to the newest that was seen, half of a posting might be missing.
                total.update(self._sum(cursor, self._upto, 2**63 - 1))
        return {currency: amount for currency, amount in total.items() if amount}

    def _settle(self, cursor: CursorWrapper, upto: int) -> None:
        while self._upto < upto:
            part = min(upto, self._upto + BATCH_SIZE)
            self._settled.update(self._sum(cursor, self._upto, part))
            self._upto = part

    @staticmethod
    def _sum(cursor: CursorWrapper, after: int, upto: int) -> dict[str, int]:
        cursor.execute(SUM, [after, upto])
        return dict(cursor.fetchall())
