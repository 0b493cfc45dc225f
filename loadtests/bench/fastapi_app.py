"""(c) FastAPI with raw asyncpg: the same two statements, the same metrics, the same gateway; no keys, fraud or logs."""

import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
from fastapi import FastAPI, Header, Response
from prometheus_client import Counter, Gauge, Histogram, Summary
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel, Field

from payments.settlement.statements import CREATE_PAYMENTS, SETTLE_PAYMENTS

STATUS = Counter("transactions_total", "Payments.", ["status"])
AMOUNT = Summary("transaction_amount", "Amounts.", ["currency"])
LATENCY = Histogram("transaction_latency_seconds", "Latency.")
OWN = Histogram("transaction_own_seconds", "Own latency.")
IN_PROGRESS = Gauge("transactions_in_progress", "In hand.", multiprocess_mode="livesum")
GATEWAY = Counter("gateway_requests_total", "Gateway.", ["outcome"])
FRAUD = Histogram("fraud_score", "Fraud.")
IDEMPOTENCY = Counter("idempotency_requests_total", "Keys.", ["result"])

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
_t1, _t2 = (statement.replace("%s::json", "$1::json") for statement in (CREATE_PAYMENTS, SETTLE_PAYMENTS))


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
    stored = await app.state.database.fetch(_t1, json.dumps([row]))
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
    settled = await app.state.database.fetch(_t2, json.dumps([row]))
    STATUS.labels("succeeded").inc()
    AMOUNT.labels(body.currency).observe(body.amount / 100)
    IN_PROGRESS.dec()
    LATENCY.observe(time.perf_counter() - start)
    OWN.observe(time.perf_counter() - start - (received - sent))
    return {
        **content,
        "id": payment_id,
        "status": "succeeded",
        "created_at": stored[0]["created_at"],
        "settled_at": settled[0]["settled_at"],
    }
