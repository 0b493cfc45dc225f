"""The result of one POST to an endpoint. Not in transport.py, so that readers of results do not load aiohttp."""

from dataclasses import dataclass
from typing import Any

from payments.models import WebhookAttempt

TIMEOUT_SECONDS = 15.0  # of one POST

Outcome = WebhookAttempt.Outcome


@dataclass(frozen=True)
class Result:
    outcome: str
    milliseconds: int
    status_code: int | None = None
    answer: str = ""
    retry_after: float | None = None  # seconds

    @property
    def is_delivered(self) -> bool:
        return self.outcome == Outcome.DELIVERED

    def stored_fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("outcome", "status_code", "milliseconds", "answer")}
