"""The money that gateways other than the one of `gateway_drift` moved: summed once, while the ledger is written."""

from collections import Counter
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper

from fintech.database.connections import snapshot
from payments.table_follower import TableFollower

BATCH_SIZE = 200_000

SUM = """
SELECT event.kind, leg.currency, abs(sum(leg.amount))::bigint
FROM payments_ledgerleg AS leg
JOIN payments_event AS event ON event.id = leg.event_id
JOIN payments_transaction AS payment ON payment.id = leg.transaction_id
WHERE leg.id > %s AND leg.id <= %s AND leg.account = 'gateway_clearing' AND payment.gateway <> %s
GROUP BY 1, 2
"""
ARCHIVED = """
SELECT kind, currency, abs(sum(amount))::bigint FROM payments_archivedtotal
WHERE account = 'gateway_clearing' AND gateway <> %s GROUP BY 1, 2
"""

Amounts = Counter[tuple[str, str]]  # by kind of event and currency, in minor units


class OtherGateways:
    """The running sums."""

    def __init__(self) -> None:
        self._follower = TableFollower("payments_ledgerleg")
        self._settled: Amounts = Counter()  # of the legs up to `_upto`, and of archived ones
        self._upto = 0

    def measure(self) -> Amounts:
        with connection.cursor() as cursor:
            if not self._follower.advance(cursor):
                self._settled, self._upto = Counter(), 0
            with snapshot(connection):
                if self._upto == 0:  # legs that are archived later are in the sums by then
                    self._settled = self._read(cursor, ARCHIVED, [settings.GATEWAY_NAME])
                while self._upto < self._follower.settled:
                    part = min(self._follower.settled, self._upto + BATCH_SIZE)
                    self._settled.update(self._sum(cursor, self._upto, part))
                    self._upto = part
                return self._settled + self._sum(cursor, self._upto, 2**63 - 1)

    def _sum(self, cursor: CursorWrapper, after: int, upto: int) -> Amounts:
        return self._read(cursor, SUM, [after, upto, settings.GATEWAY_NAME])

    @staticmethod
    def _read(cursor: CursorWrapper, statement: str, values: list[Any]) -> Amounts:
        cursor.execute(statement, values)
        return Counter({(kind, currency): amount for kind, currency, amount in cursor.fetchall()})
