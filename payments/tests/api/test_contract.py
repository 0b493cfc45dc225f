"""Surprises for a client that only knows the design."""

import pytest

from fintech.testing.processes import request
from payments.tests.factories import sign_in

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_a_post_to_a_page_for_probes_is_refused(platform, path):
    reply = platform.request("POST", path, {})

    assert reply.status == 405
    assert reply.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["/alert/", "/transaction/", "/v1/transactions/", "/v1/transactions/batch/", "/admin", "/"]
)
def test_no_post_is_redirected(client, path):
    assert client.post(path, {}, key="k").status in (404, 405)


def test_the_next_page_is_a_whole_address(client, platform):
    for _ in range(2):
        client.pay()

    following = client.get("/v1/transactions?limit=1").body["next"]

    assert following.startswith(f"{platform.url}/v1/transactions?")
    assert client.get(following).body["next"] is None


def test_a_repeated_parameter_is_refused(client):
    reply = client.get("/v1/transactions?status=failed&status=declined")

    assert reply.status == 422
    assert reply.body["param"] == "status"


def test_a_head_request_has_no_body_and_leaves_no_warning(client, platform):
    reply = request(platform.port, "HEAD", "/v1/transactions", headers={"Authorization": f"Bearer {client.api_key}"})

    assert reply.status == 200
    assert "no-body response" not in platform.web.output()


def test_the_worker_has_no_latency_of_its_own(platform):
    names = platform.scrape(platform.worker_port)

    assert not [name for name in names if name.startswith(("transaction_latency", "transaction_own"))]


def test_a_list_of_the_admin_without_a_search_box_takes_no_term_for_a_fault():
    reply = sign_in(superuser=True).get("/admin/alerts_audit/delivery/?q=abc")

    assert reply.status_code == 200
