"""The data of the alert trail. Evidence only grows (`fintech/database/append_only.py`);
the projection can be rebuilt.

Source, SourceToken          who may send
Delivery                     evidence: what came, byte for byte
Observation, Input           evidence: what was seen elsewhere, and the numbered order in which all of it was used
Pending                      what waits for its number
Envelope, Identity, Episode, Transition   the projection: what the inputs mean
Review, View, Gap            evidence: what people did, and what never arrived
OpenGap, Poll, Notice        how far the search for gaps has come
Leaf, Checkpoint, Archive, Verification   evidence: the signed Merkle log over all of that
AccessToken                  who may use the trail's API without a browser
"""

from alerts_audit.models.access import AccessToken
from alerts_audit.models.deliveries import READABLE_IN_LISTS, Delivery, DeliveryQuerySet, OctetLength
from alerts_audit.models.gaps import Gap, Notice, OpenGap, Poll
from alerts_audit.models.inputs import Input, Observation, Pending
from alerts_audit.models.projection import Envelope, Episode, Identity, Transition
from alerts_audit.models.reviews import Review, View
from alerts_audit.models.seal import Archive, Checkpoint, Leaf, Verification
from alerts_audit.models.sources import Source, SourceToken

__all__ = [
    "READABLE_IN_LISTS",
    "AccessToken",
    "Archive",
    "Checkpoint",
    "Delivery",
    "DeliveryQuerySet",
    "Envelope",
    "Episode",
    "Gap",
    "Identity",
    "Input",
    "Leaf",
    "Notice",
    "Observation",
    "OctetLength",
    "OpenGap",
    "Pending",
    "Poll",
    "Review",
    "Source",
    "SourceToken",
    "Transition",
    "Verification",
    "View",
]
