"""The data of the alert trail. Evidence is append-only (`fintech/database/append_only.py`); the projection can be
rebuilt.

Source, SourceToken          who may send
Delivery                     evidence: the received bodies, byte for byte
Observation, Input           evidence: poll results, and the numbered order in which all inputs were used
Pending                      inputs without a number
Envelope, Identity, Episode, Transition   the projection of the inputs
Review, View, Gap            evidence: actions of people, and missing alerts
OpenGap, Poll, Notice        the state of the search for gaps
Leaf, Checkpoint, Archive, Verification   evidence: the signed Merkle log over all of that
AccessToken                  access to the trail's API without a browser
"""

from alerts_audit.models.access import AccessToken
from alerts_audit.models.deliveries import READABLE_IN_LISTS, Delivery, DeliveryQuerySet, OctetLength
from alerts_audit.models.gaps import Gap, Notice, OpenGap, Poll
from alerts_audit.models.inputs import Input, Observation, Pending
from alerts_audit.models.projection import Envelope, Episode, Identity, Transition
from alerts_audit.models.reviews import Review, View
from alerts_audit.models.seal import Archive, Checkpoint, Leaf, Verification
from alerts_audit.models.sources import Source, SourceToken
