"""The part of a request's body that is stored."""

import io

from django.conf import settings
from gunicorn.http.errors import NoMoreData

from fintech.server.connections import IN_MEMORY, MOST_STORED, receive


def test_a_whole_body_is_stored_up_to_the_limit():
    file, content = io.BytesIO(), bytes(range(256)) * (IN_MEMORY // 64)

    assert receive(io.BytesIO(content), file, len(content)) is None
    assert file.getvalue() == content


def test_the_rest_is_received_and_not_stored():
    body, file = io.BytesIO(bytes(5 * IN_MEMORY)), io.BytesIO()

    assert isinstance(receive(body, file, 2 * IN_MEMORY), NoMoreData)
    assert (body.tell(), file.tell()) == (5 * IN_MEMORY, 2 * IN_MEMORY)


def test_all_that_a_form_needs_to_be_refused_is_stored():
    assert MOST_STORED > settings.DATA_UPLOAD_MAX_MEMORY_SIZE + IN_MEMORY
