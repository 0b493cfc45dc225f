"""(c) FastAPI with raw asyncpg: the same two statements, the same metrics, the same gateway; no keys, fraud or logs.

(d) With BENCH_GROUPED=1 it also groups the rows of all payments in hand into one statement, as ours does.
"""

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import aiohttp
import asyncpg
from fastapi import FastAPI, Header, Response
from prometheus_client import Counter, Gauge, Histogram, Summary
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel, Field

from payments.storage.payment_sql import CREATE_PAYMENTS, SETTLE_PAYMENTS

STATUS = Counter("transactions_total", "Payments.", ["status"])
AMOUNT = Summary("transaction_amount", "Amounts.", ["currency"])
LATENCY = Histogram("transaction_latency_seconds", "Latency.")
OWN = Histogram("transaction_own_seconds", "Own latency.")
IN_PROGRESS = Gauge("transactions_in_progress", "In hand.", multiprocess_mode="livesum")
GATEWAY = Counter("gateway_requests_total", "Gateway.", ["outcome"])
FRAUD = Histogram("fraud_score", "Fraud.")
IDEMPOTENCY = Counter("idempotency_requests_total", "Keys.", ["result"])

GROUPED = os.environ.get("BENCH_GROUPED") == "1"
NULL_GATEWAY = os.environ.get("BENCH_GATEWAY") == "null"
MERCHANT = int(os.environ["BENCH_MERCHANT"])


class PaymentMethod(BaseModel):
    type: str
    token: str | None = None
    country: str | None = None


class PaymentInput(BaseModel):
    amount: int = Field(ge=1)
    currency: str = Field(pattern="^[A-Z]{3}$")
    customer: str | None = None
    reference: str | None = None
    description: str | None = None
    payment_method: PaymentMethod | None = None
    metadata: dict[str, str] = {}


class Groups:
    """All rows that wait go into one execution of a statement; one execution at a time."""

    def __init__(self, statement: str) -> None:
        self._statement = statement
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[datetime]]] = []
        self._running = False

    async def store(self, row: dict[str, Any]) -> datetime:
        future: asyncio.Future[datetime] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, future))
        if not self._running:
            self._running = True
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        await asyncio.sleep(0)  # what the clients of this turn of the loop have sent joins the group
        while self._waiting:
            group, self._waiting = self._waiting, []
            at = await execute(self._statement, [row for row, _ in group])
            for _, future in group:
                future.set_result(at)
        self._running = False


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts = conninfo_to_dict(os.environ["DATABASE_URL"])
    app.state.database = await asyncpg.create_pool(
        database=parts["dbname"],
        user=parts["user"],
        password=parts["password"],
        host=parts["host"],
        min_size=8,
        max_size=16,
    )
    headers = {"Authorization": f"Bearer {os.environ['GATEWAY_TOKEN']}"}
    connector = aiohttp.TCPConnector(limit=256)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as app.state.gateway:
        yield
    await app.state.database.close()


app = FastAPI(lifespan=lifespan)
_t1, _t2 = (
    statement.replace(f"%({name})s", "$1").replace("%(writer)s", "NULL")
    for name, statement in (("created", CREATE_PAYMENTS), ("settled", SETTLE_PAYMENTS))
)
_groups = {statement: Groups(statement) for statement in (_t1, _t2)}


async def execute(statement: str, rows: list[dict[str, Any]]) -> datetime:
    """Store the rows and return the time; the keys of the benchmark are new."""
    result = await app.state.database.fetchrow(statement, json.dumps(rows))
    assert not result["missing"]
    return result["at"]


async def store(statement: str, row: dict[str, Any]) -> datetime:
    return await (_groups[statement].store(row) if GROUPED else execute(statement, [row]))


async def charge(key: uuid.UUID, body: PaymentInput) -> dict[str, Any]:
    if NULL_GATEWAY:
        return {"outcome": "approved", "reference": "null"}
    async with app.state.gateway.post(
        f"{os.environ['GATEWAY_URL']}/v1/charges",
        json={"amount": body.amount, "currency": body.currency},
        headers={"Idempotency-Key": str(key)},
    ) as response:
        return await response.json()


@app.post("/v1/transactions", status_code=201)
async def create(body: PaymentInput, response: Response, idempotency_key: str = Header()) -> dict[str, Any]:
    start = time.perf_counter()
    IN_PROGRESS.inc()
    payment_id, lease = uuid.uuid4(), uuid.uuid4()
    content = body.model_dump()
    row = {
        **content,
        "id": str(payment_id),
        "merchant_id": MERCHANT,
        "key": idempotency_key,
        "status": "processing",
        "fraud_score": 0.0,
        "fraud_reasons": [],
        "fee_basis_points": 150,
        "gateway": "simulator",
        "gateway_key": str(payment_id),
        "lease_token": str(lease),
        "lease_seconds": 8,
    }
    stored = await store(_t1, row)
    FRAUD.observe(0.0)
    IDEMPOTENCY.labels("new").inc()
    sent = time.perf_counter()
    answer = await charge(payment_id, body)
    received = time.perf_counter()
    GATEWAY.labels(answer["outcome"]).inc()
    row = {
        "id": str(payment_id),
        "lease_token": str(lease),
        "status": "succeeded",
        "gateway_reference": answer["reference"],
        "actor": "api",
        "data": {"gateway": [answer]},
    }
    settled = await store(_t2, row)
    STATUS.labels("succeeded").inc()
    AMOUNT.labels(body.currency).observe(body.amount / 100)
    IN_PROGRESS.dec()
    LATENCY.observe(time.perf_counter() - start)
    OWN.observe(time.perf_counter() - start - (received - sent))
    return {**content, "id": payment_id, "status": "succeeded", "created_at": stored, "settled_at": settled}
