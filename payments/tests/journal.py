"""The jobs that read the journal, within a test."""

from django.db import connection

from fintech.testing.processes import wait_until
from payments.models import Event
from payments.table_follower import JournalReader


def read_all(job: JournalReader) -> None:
    """Let a job read all that the journal holds now, in one call.

    The transactions of all databases of the server hold up what is settled, also those of other test processes.
    """
    newest = Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0

    def is_settled() -> bool:
        with connection.cursor() as cursor:
            job._follower.advance(cursor)
        return job._follower.settled >= newest

    wait_until(is_settled, what="the whole journal is settled")
    job.advance()
