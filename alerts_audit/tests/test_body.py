import io

import pytest

from alerts_audit import body
from alerts_audit.body import LIMIT, BodyIncomplete, BodyTooLarge, read_body


def environ(content: bytes, *, declared: int | None = None, **more):
    length = {} if declared is None else {"CONTENT_LENGTH": str(declared)}
    return {"wsgi.input": io.BytesIO(content), **length, **more}


class Endless:
    def __init__(self):
        self.given = 0

    def read(self, size):
        self.given += size
        return b"x" * size


class Broken:
    def read(self, size):
        raise TimeoutError("timed out")


def test_a_body_above_the_limit_is_refused_unread():
    stream = Endless()
    with pytest.raises(BodyTooLarge) as refusal:
        read_body({"wsgi.input": stream, "CONTENT_LENGTH": str(LIMIT + 1)})

    assert refusal.value.size == LIMIT + 1
    assert stream.given == 0


def test_chunks_without_end_are_read_up_to_the_limit():
    stream = Endless()
    with pytest.raises(BodyTooLarge):
        read_body({"wsgi.input": stream, "wsgi.input_terminated": True})

    assert stream.given <= LIMIT + body.STEP


def test_a_body_that_ends_early_is_incomplete():
    with pytest.raises(BodyIncomplete):
        read_body(environ(b"half", declared=8))


def test_a_stream_that_breaks_is_incomplete():
    with pytest.raises(BodyIncomplete):
        read_body({"wsgi.input": Broken(), "CONTENT_LENGTH": "8"})


def test_a_body_that_drips_for_too_long_is_incomplete(monkeypatch):
    monkeypatch.setattr(body, "DEADLINE_SECONDS", -1)
    with pytest.raises(BodyIncomplete):
        read_body(environ(b"x" * 100, declared=100))


def test_the_sender_may_not_stall(monkeypatch):
    class Connection:
        def settimeout(self, seconds):
            self.seconds = seconds

    connection = Connection()
    read_body(environ(b"x", declared=1, **{"gunicorn.socket": connection}))

    assert connection.seconds == body.STALL_SECONDS


def test_nothing_beyond_the_declared_length_is_read():
    assert read_body(environ(b"body and the next request", declared=4)) == b"body"


def test_without_a_length_nothing_is_read_unless_the_server_marks_the_end():
    assert read_body(environ(b"anything")) == b""
    assert read_body(environ(b"chunks", **{"wsgi.input_terminated": True})) == b"chunks"


def test_a_body_of_exactly_the_limit_is_read():
    content = b"x" * LIMIT
    assert read_body(environ(content, declared=LIMIT)) == content
