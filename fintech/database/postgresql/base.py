"""Django's backend for PostgreSQL, with a pool whose idle connections are checked without a statement.

Django's own check costs a request a round trip. On a busy machine that is milliseconds.
"""

from typing import Any

from django_prometheus.db.backends.postgresql import base

from fintech.database.connections import is_closed


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        while self.pool and is_closed(connection):
            connection.close()
            self.pool.putconn(connection)  # which replaces it
            connection = super().get_new_connection(conn_params)
        return connection
