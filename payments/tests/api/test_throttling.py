"""The limit holds for a key, whichever of two workers answers, and refused requests cost nothing."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fintech.testing.processes import Platform, is_over
from payments.api_keys import create_api_key
from payments.models import IdempotencyKey, Merchant
from payments.tests.conftest import ALL_SCOPES, Client

pytestmark = pytest.mark.processes

PATH = "/v1/transactions"
RATE, BURST = 0.2, 10  # a slow machine, too, sends a second request before it is due


@pytest.fixture(scope="module")
def slow(tmp_path_factory, gateway) -> Iterator[Platform]:
    limits = {"THROTTLE_RATE": str(RATE), "THROTTLE_BURST": str(BURST), "BATCH_DEADLINE_SECONDS": "0.5"}
    with Platform(tmp_path_factory.mktemp("slow"), gateway=gateway, worker=False, env=limits) as platform:
        yield platform


@pytest.fixture
def shop(slow, merchant: Merchant) -> Client:
    return Client(slow, merchant, create_api_key(merchant=merchant, name="test", scopes=ALL_SCOPES)[1])


def use_up(shop: Client) -> None:
    while shop.get(PATH).status == 200:
        pass


def test_the_limit_is_exact_across_the_workers_of_a_host(shop):
    start = time.monotonic()
    with ThreadPoolExecutor(12) as threads:
        replies = list(threads.map(lambda _: shop.get(PATH), range(120)))
    seconds = time.monotonic() - start

    accepted = sum(reply.status == 200 for reply in replies)
    assert {reply.status for reply in replies} == {200, 429}
    assert BURST <= accepted <= BURST + RATE * seconds + 1


def test_a_client_above_the_limit_is_answered_with_the_time_to_wait(shop):
    before = shop.platform.scrape()["throttled_requests_total"]
    use_up(shop)  # whose last one was refused

    reply = shop.pay(key="k")

    assert (reply.status, reply.body["code"]) == (429, "too_many_requests")
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert 1 <= int(reply.headers["Retry-After"]) <= 5
    assert shop.platform.scrape()["throttled_requests_total"] == before + 2
    assert not IdempotencyKey.objects.filter(merchant_id=shop.merchant.pk).exists()
    time.sleep(int(reply.headers["Retry-After"]))
    assert shop.pay(key="k").status == 201


def test_another_key_of_the_same_merchant_has_a_limit_of_its_own(shop):
    use_up(shop)
    _, other = create_api_key(merchant=shop.merchant, name="other", scopes=ALL_SCOPES)

    assert Client(shop.platform, shop.merchant, other).get(PATH).status == 200


def test_strangers_are_refused_before_they_are_counted(slow):
    assert {slow.request("GET", PATH, api_key="fk_aaaaaaaa_x").status for _ in range(BURST * 3)} == {401}


def test_a_batch_counts_its_items(shop):
    items = [{"idempotency_key": str(number), "amount": 1, "currency": "EUR"} for number in range(30)]

    assert shop.post(f"{PATH}/batch", {"items": items}).status == 200
    reply = shop.get(PATH)

    assert reply.status == 429
    # 31 at one in five seconds, of which the burst is 10.
    assert 75 <= int(reply.headers["Retry-After"]) <= 105


def test_a_batch_that_comes_too_early_stores_nothing(shop):
    use_up(shop)
    item = {"idempotency_key": "a", "amount": 1, "currency": "EUR"}

    assert shop.post(f"{PATH}/batch", {"items": [item]}).status == 429
    assert not IdempotencyKey.objects.filter(merchant_id=shop.merchant.pk).exists()


def test_items_that_are_not_final_at_the_deadline_come_back_as_processing(shop, gateway):
    gateway.profile(latency_ms=1500)
    items = [{"idempotency_key": str(number), "amount": 1, "currency": "EUR"} for number in range(20)]

    start = time.monotonic()
    reply = shop.post(f"{PATH}/batch", {"items": items})

    assert not is_over(start, 1.4)
    assert [(result["status_code"], result["body"]["status"]) for result in reply.body["results"]] == [
        (202, "processing")
    ] * 20
