"""The rules of the state machine for the gateway's events: late, twice, in any order, and with workers that die.

The gateway sends each event at least once. So an event stays in the outbox after it was sent, and may be sent again.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from payments.gateway_events import inbox
from payments.gateway_events.errors import NotYet
from payments.models import GatewayEvent
from payments.tests.gateway_events.conftest import Sender
from payments.tests.services.acquirers import AtSimulator

PLACES = st.lists(st.integers(0, 7), min_size=1, max_size=4)
RIGHT = {None, "applied", "ignored"}


class GatewayEventRules:
    """A part of the machine `Payments`. The other parts announce what the gateway has decided."""

    acquirer: AtSimulator
    sender: Sender
    outbox: list[tuple[str, dict[str, Any]]]

    def announce(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        """Put events before the earlier ones, so that the rules draw recent ones most often."""
        for event in events:
            if event not in self.outbox:
                self.outbox.insert(0, event)

    @rule(places=PLACES)
    def events_arrive(self, places: list[int]) -> None:
        self._receive(places)
        self.process_events()

    @rule(places=PLACES)
    def events_arrive_and_the_worker_dies_before_it_marks_them(self, places: list[int]) -> None:
        self._receive(places)
        for event in GatewayEvent.objects.filter(identifier__in=self.sender.ids, processed_at=None).order_by("id"):
            try:
                outcome, detail = inbox._apply(event)
            except NotYet:
                continue
            assert outcome in RIGHT, detail

    def all_events_arrive(self) -> None:
        self.announce(self.acquirer.news())
        self._receive(range(len(self.outbox) - 1, -1, -1))
        self.process_events()

    def _receive(self, places: Any) -> None:
        self.announce(self.acquirer.news())
        if not self.outbox:
            return
        for place in places:
            assert self.sender.send(*self.outbox[place % len(self.outbox)]).status_code == 200

    def process_events(self) -> None:
        """Process what has arrived. The gateway is right, so no event contradicts our rows."""
        outcomes = self.sender.process()
        assert set(outcomes) <= RIGHT, self.sender.stored()

    def waiting_events(self) -> int:
        return GatewayEvent.objects.filter(identifier__in=self.sender.ids, processed_at=None).count()
