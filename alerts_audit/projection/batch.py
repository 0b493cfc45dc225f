"""Several inputs applied together, in memory, until the result is written at once."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from alerts_audit.projection import state_machine
from alerts_audit.projection.decoding import DecodedAlert, Update
from alerts_audit.projection.rows import (
    Cause,
    EpisodeRow,
    Evidence,
    KnownIdentity,
    Numbers,
    Opening,
    TransitionRow,
    envelope,
    quarantined,
)


@dataclass
class Batch:
    """A batch. `known` contains every identity that the inputs mention; the rest is the data to write."""

    numbers: Numbers
    known: dict[bytes, KnownIdentity] = field(default_factory=dict)
    envelopes: list[dict[str, Any]] = field(default_factory=list)
    identities: list[tuple[int, str, DecodedAlert]] = field(default_factory=list)
    changed: dict[int, EpisodeRow] = field(default_factory=dict)
    transitions: list[TransitionRow] = field(default_factory=list)
    used: list[tuple[Evidence, Update | str]] = field(default_factory=list)
    inputs: int = 0

    # --- deliveries

    def apply_delivery(self, number: int, evidence: Evidence, content: Update | str) -> None:
        """Apply a delivery. `content` is its payload, or the reason why it cannot be parsed."""
        self.used.append((evidence, content))
        if isinstance(content, str):
            self.envelopes.append(quarantined(number, evidence.ref, content))
            return
        cause = Cause(number, evidence.at, evidence, content)
        self.envelopes.append(envelope(number, evidence.ref, content))
        for alert in content.alerts:
            known = self.known.get(alert.identity) or self.add_identity(alert, evidence.cluster)
            latest = known.latest
            steps = state_machine.on_alert(latest.episode if latest else None, alert.update)
            self.apply_steps(cause, known, steps, alert)

    def add_identity(self, alert: DecodedAlert, cluster: str) -> KnownIdentity:
        """Add an identity without any earlier report."""
        self.numbers.identity += 1
        known = self.known[alert.identity] = KnownIdentity(self.numbers.identity, alert.identity)
        self.identities.append((known.id, cluster, alert))
        return known

    # --- observations and ticks

    def apply_poll(self, cause: Cause, known: KnownIdentity, seen: state_machine.PollResult) -> None:
        if known.latest is not None:
            self.apply_steps(cause, known, state_machine.on_poll(known.latest.episode, seen))

    def apply_tick(self, cause: Cause, known: KnownIdentity, passed: state_machine.Tick) -> bool:
        """Apply a tick. Return True if the identity's open episode ends with it."""
        steps = state_machine.on_tick(known.latest.episode, passed) if known.latest is not None else []
        self.apply_steps(cause, known, steps)
        return bool(steps)

    # --- what follows

    def apply_steps(
        self, cause: Cause, known: KnownIdentity, steps: Iterable[state_machine.Step], alert: DecodedAlert | None = None
    ) -> None:
        for step in steps:
            if step.begins:
                known.latest = self.open_episode(cause, known, step.episode, alert)
            else:
                self.change_episode(cause, known.latest, step, alert)
            if step.to_state is not None:
                self.add_transition(cause, known.latest, step)

    def open_episode(
        self, cause: Cause, known: KnownIdentity, episode: state_machine.Episode, alert: DecodedAlert | None
    ) -> EpisodeRow:
        self.numbers.episode += 1
        opening = Opening(cause.number)
        if alert is not None:
            opening = Opening(cause.number, alert.summary, alert.annotations, alert.generator_url)
        row = EpisodeRow(
            id=self.numbers.episode,
            key=self.make_key(cause, known.sha256),
            identity_id=known.id,
            episode=episode,
            alertname=alert.alertname if alert else known.latest.alertname if known.latest else "",
            severity=alert.severity if alert else known.latest.severity if known.latest else "",
            last_input=cause.number,
            deliveries=1 if alert else 0,
            opening=opening,
        )
        self.changed[row.id] = row
        return row

    def change_episode(
        self, cause: Cause, row: EpisodeRow | None, step: state_machine.Step, alert: DecodedAlert | None
    ) -> None:
        assert row is not None, "only a new episode comes out of nothing"
        row.episode = step.episode
        is_counted = alert is not None and step.to_state != state_machine.SUPERSEDED
        if is_counted and row.last_input != cause.number:  # once, even if it occurs twice in one delivery
            row.deliveries += 1
        row.last_input = cause.number
        self.changed[row.id] = row

    def make_key(self, cause: Cause, identity: bytes) -> str:
        """Return the key of a new episode: its identity and first input determine it, also in a rebuild."""
        place = cause.openings.get(identity, 0)  # one delivery may open two, one after the other
        cause.openings[identity] = place + 1
        digest = hashlib.sha256(b"%b %d %d" % (identity, cause.number, place)).hexdigest()
        # RFC 9562, version 8: a custom format.
        return f"{digest[:12]}8{digest[13:16]}{'89ab'[int(digest[16], 16) & 3]}{digest[17:32]}"

    def add_transition(self, cause: Cause, row: EpisodeRow | None, step: state_machine.Step) -> None:
        assert row is not None
        assert step.to_state is not None
        self.numbers.transition += 1
        self.transitions.append(
            TransitionRow(self.numbers.transition, cause, row, step.from_state, step.to_state, step.note)
        )
