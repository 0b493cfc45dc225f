"""Sum the ledger's legs while it is being written: legs that are settled are summed once, so the cost does not grow.

The database refuses an unbalanced posting (`0002_guards.py`), and `manage.py audit_ledger` checks each posting.
`Balance` is the watch between two runs of `audit_ledger`, and does not rely on the database either.
"""

from collections import Counter
from typing import Any, ClassVar

from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper

from fintech.database.connections import snapshot
from payments.table_follower import TableFollower

# The legs that one statement sums, well within statement_timeout.
BATCH_SIZE = 200_000

Sums = Counter[Any]  # in minor units, by the first column of the statement


class RunningSums:
    """The sums of all legs, which each process makes for itself.

    A posting is one statement, so the legs in one snapshot are whole postings, whatever their order.
    """

    statement: ClassVar[str]
    archived: ClassVar[str | None] = None  # reads the sums of archived legs

    def __init__(self, **values: Any) -> None:
        self._values = values
        self._follower = TableFollower("payments_ledgerleg")
        self._settled: Sums = Counter()  # of the legs up to `_upto`, and of those that were archived before
        self._upto = 0

    def measure(self) -> Sums | None:
        """Return the sums that are not zero.

        Returns None if there are more new legs than one statement may sum; the next call continues.
        """
        with connection.cursor() as cursor:
            if not self._follower.advance(cursor):
                self._upto = 0
            with snapshot(connection):  # or an archive run could take a half of a posting between two statements
                if self._upto == 0:
                    self._settled = self._read(cursor, self.archived) if self.archived else Counter()
                while self._upto < self._follower.settled:
                    part = min(self._follower.settled, self._upto + BATCH_SIZE)
                    self._settled.update(self._sum(cursor, part))
                    self._upto = part
                if self._follower.newest - self._upto > BATCH_SIZE:
                    return None
                # To the very end: up to the newest that was seen, half of a posting might be missing.
                total = self._settled.copy()
                total.update(self._sum(cursor, 2**63 - 1))
        return Counter({key: amount for key, amount in total.items() if amount})

    def _sum(self, cursor: CursorWrapper, upto: int) -> Sums:
        return self._read(cursor, self.statement, after=self._upto, upto=upto)

    def _read(self, cursor: CursorWrapper, statement: str, **limits: int) -> Sums:
        cursor.execute(statement, {**self._values, **limits})
        return Counter(dict(cursor.fetchall()))


class Balance(RunningSums):
    """The sums per currency, which must all be zero."""

    statement = """
        SELECT currency, sum(amount)::bigint FROM payments_ledgerleg WHERE id > %(after)s AND id <= %(upto)s
        GROUP BY currency HAVING sum(amount) <> 0
    """


class OtherGateways(RunningSums):
    """The money that gateways other than the one of `gateway_drift` moved, by kind of event and currency.

    Legs that are archived later are in the sums by then. A worker that leads again begins with new sums, because others
    may have archived legs that it had not summed.
    """

    statement = """
        SELECT (event.kind, leg.currency), abs(sum(leg.amount))::bigint
        FROM payments_ledgerleg AS leg
        JOIN payments_event AS event ON event.id = leg.event_id
        JOIN payments_transaction AS payment ON payment.id = leg.transaction_id
        WHERE leg.id > %(after)s AND leg.id <= %(upto)s
            AND leg.account = 'gateway_clearing' AND payment.gateway <> %(gateway)s
        GROUP BY event.kind, leg.currency
    """
    archived = """
        SELECT (kind, currency), abs(sum(amount))::bigint FROM payments_archivedtotal
        WHERE account = 'gateway_clearing' AND gateway <> %(gateway)s GROUP BY kind, currency
    """

    def __init__(self) -> None:
        super().__init__(gateway=settings.GATEWAY_NAME)
