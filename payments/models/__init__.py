"""The data of payments.

Merchant -> ApiKey          the clients of the API
Merchant -> FraudListEntry  values that its block list or allow list contains
Merchant -> VelocityRule    limits on payments in sliding windows, with their VelocityCounters
GatewayRoute                the gateway of a merchant's new payments in a currency; GatewayRouteChange is its history
RefusedRetry                declined payments that are refused for a time if they come again
FraudChange                 append-only: each change of a merchant's fraud settings and lists, made by triggers
Transaction -> Refund       requests and their outcomes; amounts are integers in minor units
Transaction -> Dispute      a cardholder's objection, and the merchant's DisputeResponses
Transaction -> Review       an operator's decision about a payment that is held as possible fraud
Transaction -> Authentication   the customer's 3-D Secure: its challenge, and its result
Transaction -> Capture, Void, and Authorization, the money that is still held, if it is captured later
IdempotencyKey              one row per merchant and key, for all operations
Unresolved                  operations that are not final, each with the lease of the process that works on it
Event                       append-only journal: one row for every change of state
LedgerLeg                   append-only double-entry ledger: the legs of one event sum to zero per currency
Writer, KpiRollup           the process that committed each event, so that its counters can be set from the rows;
                            KpiRetired has the totals of hosts that have gone
GatewayEvent                an event from the gateway, as it came, and what became of it
WebhookEndpoint             a merchant's address for events, with its WebhookSecrets
WebhookEvent                append-only: one announcement for each event of the journal, made by the worker
Archive                     a file that holds events, legs and webhooks of old payments, with its ArchivedParts; the
                            ArchivedTotals are what the books carry forward
WebhookDelivery             an announcement on its way to one endpoint; WebhookAttempt notes each try

The database refuses invalid data: see the constraints here and the triggers in `migrations/`. Writes are in
`services/` and `storage/`; this package holds data and reads.
"""

from payments.models.archives import Archive, ArchivedPart, ArchivedTotal
from payments.models.authentications import Authentication
from payments.models.authorizations import Authorization, Capture, Void
from payments.models.disputes import Dispute, DisputeResponse
from payments.models.fraud import FraudChange, FraudListEntry
from payments.models.gateway_events import GatewayEvent
from payments.models.idempotency import IdempotencyKey
from payments.models.journal import Event, Writer
from payments.models.kpis import KpiRetired, KpiRollup, KpiWatermark
from payments.models.ledger import LedgerLeg
from payments.models.merchants import ApiKey, Merchant
from payments.models.operations import FollowingOperation
from payments.models.refunds import Refund
from payments.models.refused_retries import RefusedRetry
from payments.models.reviews import Review
from payments.models.routes import GatewayRoute, GatewayRouteChange
from payments.models.transactions import APPROVED, Transaction, TransactionQuerySet, load_authentications
from payments.models.unresolved import Unresolved, UnresolvedQuerySet
from payments.models.velocity import VelocityCounter, VelocityRule
from payments.models.webhooks import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    WebhookSecret,
    WebhookWatermark,
)
