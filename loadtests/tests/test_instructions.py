"""A payment takes a bounded number of Python instructions, which no other load changes."""

import secrets
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loadtests.bench.instructions import MOST, count_instructions
from loadtests.bench.servers import World
from payments.api_keys import create_api_key
from payments.models import Merchant

pytestmark = pytest.mark.processes


def test_a_payment_takes_a_bounded_number_of_instructions(tmp_path):
    merchant = Merchant.objects.create(name=f"Counted {secrets.token_hex(6)}")
    _, key = create_api_key(merchant=merchant, name="counted", scopes=["payments:write"])
    nowhere = SimpleNamespace(url="http://127.0.0.1:9", token="unused")
    world = World(tmp_path, cast(Any, None), cast(Any, nowhere), key, merchant.pk)

    counts = count_instructions(world, payments=100)

    assert counts.payments >= 90
    assert 0 < counts.instructions <= MOST
    assert counts.calls < counts.instructions
    calls = {place.rpartition(" ")[2]: calls for _, calls, place in counts.functions}
    assert calls["create_payment"] == pytest.approx(1, rel=0.2)  # the last requests may not end
