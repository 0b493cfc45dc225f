"""The jobs that read the journal, within a test."""

from fintech.database.sql import fetch_one
from fintech.testing.processes import wait_until
from payments.models import Event
from payments.table_follower import JournalReader


def read_all(job: JournalReader) -> None:
    """Let a job read all that the journal holds now.

    One call may not do: the transactions of all databases of the server hold it up, also those of other test processes.
    """
    newest = Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0

    def has_read() -> bool:
        job.advance()
        return bool(fetch_one(f"SELECT event_id FROM {job.watermark}")[0] >= newest)

    wait_until(has_read, what="the whole journal is read")
