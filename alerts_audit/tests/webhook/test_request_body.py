import hashlib
import io

import pytest

from alerts_audit.webhook import request_body
from alerts_audit.webhook.request_body import LIMIT, BodyIncomplete, read_body


def environ(content: bytes, *, declared: int | None = None, **more):
    length = {} if declared is None else {"CONTENT_LENGTH": str(declared)}
    return {"wsgi.input": io.BytesIO(content), **length, **more}


class Broken:
    def read(self, size):
        raise TimeoutError("timed out")


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("more", [1, request_body.STEP, 3 * request_body.STEP + 7])
def test_above_the_limit_the_beginning_is_kept_and_all_of_it_is_hashed(more, in_chunks):
    content = bytes(LIMIT) + b"x" * more
    end = {"wsgi.input_terminated": True} if in_chunks else {"declared": len(content)}
    read = read_body(environ(content, **end))

    assert read.kept == content[:LIMIT]
    assert read.size == len(content)
    assert read.sha256 == hashlib.sha256(content).digest()


def test_a_body_above_the_limit_that_ends_early_is_incomplete():
    with pytest.raises(BodyIncomplete):
        read_body(environ(bytes(LIMIT + 1), declared=LIMIT + 2))


def test_a_body_that_ends_early_is_incomplete():
    with pytest.raises(BodyIncomplete):
        read_body(environ(b"half", declared=8))


def test_a_stream_that_breaks_is_incomplete():
    with pytest.raises(BodyIncomplete):
        read_body({"wsgi.input": Broken(), "CONTENT_LENGTH": "8"})


def test_nothing_beyond_the_declared_length_is_read():
    assert read_body(environ(b"body and the next request", declared=4)).kept == b"body"


def test_without_a_length_nothing_is_read_unless_the_server_marks_the_end():
    assert read_body(environ(b"anything")).kept == b""
    assert read_body(environ(b"chunks", **{"wsgi.input_terminated": True})).kept == b"chunks"


def test_a_body_of_exactly_the_limit_is_kept_as_a_whole():
    content = b"x" * LIMIT
    read = read_body(environ(content, declared=LIMIT))

    assert (read.kept, read.size) == (content, LIMIT)
