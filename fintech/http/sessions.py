"""Sessions in the database, for keys in the form that Django makes."""

import re

from django.contrib.sessions.backends import db

_KEY = re.compile(r"[a-z0-9]{8,40}")


class SessionStore(db.SessionStore):
    """Django's own. Its name is a part of each session's signature, and stays the same."""

    def _validate_session_key(self, key: str | None) -> bool:
        """Return False for any other value of a cookie. It can contain NUL, which PostgreSQL's text refuses."""
        return bool(key and _KEY.fullmatch(key))
