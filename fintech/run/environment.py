"""Filter the caller's environment: the one list of variables that our programs accept.

Shells hold variables for other programs: PG*, GUNICORN_CMD_ARGS, LOCUST_*, PIP_*, PYTHON*, an API_KEY. Some of them
take precedence over our configuration, so every entry (`make run`, `make audit`, the virtual environment, tests,
benchmarks) drops all variables that are not listed here. Uses the standard library alone: the virtual environment is
made before anything is installed.
"""

import os
from collections.abc import MutableMapping


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# How to find programs, files and the network, and how to write for people.
SYSTEM = _names("""
ALL_PROXY CI COLUMNS HOME HTTPS_PROXY HTTP_PROXY LANG LANGUAGE LC_ALL LC_CTYPE LC_MESSAGES LD_LIBRARY_PATH LINES
LOGNAME NO_COLOR NO_PROXY PATH SHELL SSL_CERT_DIR SSL_CERT_FILE TEMP TERM TMP TMPDIR TZ USER XDG_CACHE_HOME
all_proxy http_proxy https_proxy no_proxy
""")
# Read by `make run` itself.
RUN = _names("""
BASE_PORT NO_LOAD SECOND_GATEWAY
""")
# docs/settings.md explains each of them. Missing on purpose: API_KEY, whose name many programs share. The load of
# `make run` uses the key that `make run` created.
SETTINGS = _names("""
ALERTMANAGER_URL ALERT_GRACE_SECONDS ALERT_POLL_SECONDS ALERT_QUIET_SECONDS ALERT_TOKEN ALLOWED_HOSTS
AM_TELEGRAM_BOT_TOKEN AM_TELEGRAM_CHAT_ID AUDIT_DIR AUDIT_SEAL_SECONDS AUDIT_SIGNING_KEY_FILE AUDIT_STALE_SECONDS
AUDIT_UNKNOWN_SECONDS AUDIT_VERIFY_SECONDS AUTHORIZATION_HOLD_SECONDS BATCH_CONCURRENCY BATCH_DEADLINE_SECONDS BIND
CHALLENGE_POLL_SECONDS CSRF_TRUSTED_ORIGINS
DATABASE_OWNER_URL DATABASE_POOL_SIZE DATABASE_REPLICA_URL DATABASE_REPLICA_WAIT_SECONDS DATABASE_SESSION_URL
DATABASE_URL DJANGO_DEBUG DJANGO_SECRET_KEY DJANGO_SECRET_KEY_FALLBACKS GATEWAY_CONTROL_TOKEN
GATEWAY_DEADLINE_SECONDS GATEWAY_EVENTS_URL GATEWAY_NAME GATEWAY_ROUTES GATEWAY_TIMEOUT_SECONDS
GATEWAY_TOKEN GATEWAY_URL
GATEWAY_WEBHOOK_SECRET GRAFANA_URL HOST_ID HTTPS KPI_CURRENCIES LEASE_SECONDS LOAD_RATE LOAD_USERS LOG_LEVEL
METRICS_BIND METRICS_TOKEN OTEL_EXPORTER_OTLP_ENDPOINT OTHER_METRICS_URLS PROMETHEUS_URL RETIRE_SCRAPES RETIRE_SECONDS
RUNTIME_DIR
STATIC_ROOT STRIPE_API_KEY STRIPE_CHALLENGE_SECONDS STRIPE_EVENTS_URL STRIPE_URL STRIPE_WEBHOOK_SECRET
TELEGRAM_API_URL THROTTLE_BURST THROTTLE_RATE THROTTLE_TIMEOUT_SECONDS
THROTTLE_URL
TRACE_SAMPLE_RATIO TRACE_SLOW_SECONDS WEB_CAPACITY WEB_CONCURRENCY WEB_METRICS_URL WEB_THREADS WEBHOOKS_TO_LOOPBACK
WORKER_METRICS_BIND WORKER_METRICS_URL
""")
# Where pip finds packages. Its other variables decide where it puts them, which is not the choice of the caller.
PIP = _names("""
PIP_CACHE_DIR PIP_CERT PIP_CONFIG_FILE PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_INDEX_URL PIP_NO_INDEX PIP_PROXY
PIP_TRUSTED_HOST
""")


def is_setting(name: str) -> bool:
    return name in SETTINGS or name.removesuffix("_FILE") in SETTINGS


def is_accepted(name: str, also: frozenset[str] = frozenset()) -> bool:
    """Return True for a variable that our programs read."""
    return name in SYSTEM | RUN | also or is_setting(name)


def drop_unknown(environ: MutableMapping[str, str] = os.environ, *, also: frozenset[str] = frozenset()) -> list[str]:
    """Remove all variables that are not accepted, also from this process; return their names.

    An empty setting is not set (`fintech.env`), so that `"DATABASE_URL" in environ` is the same question everywhere.
    """
    dropped = sorted(
        name for name, value in environ.items() if not is_accepted(name, also) or (is_setting(name) and not value)
    )
    for name in dropped:
        del environ[name]
    return dropped
