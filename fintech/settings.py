"""Settings. Everything that differs between machines comes from the environment (see `fintech/env.py`).

No secret has a default. `docs/settings.md` lists every name; a test compares it with this file.
"""

import tomllib
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.apps import apps
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.functional import lazy
from django.utils.text import capfirst
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from fintech import env

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = env.text("DJANGO_SECRET_KEY")
# Former keys: they still open sessions, and decrypt the secrets of webhook endpoints.
SECRET_KEY_FALLBACKS = env.words("DJANGO_SECRET_KEY_FALLBACKS", "")
DEBUG = env.boolean("DJANGO_DEBUG", False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS", "")

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    # fintech/urls.py loads the admin's pages: the worker and most commands need none of them.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_prometheus",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "fintech",
    "payments",
    "alerts_audit",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "fintech.telemetry.logging.RequestLogMiddleware",
    "fintech.http.middleware.AllowedHostMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "fintech.http.middleware.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "fintech.http.middleware.BrowserMetricsMiddleware",
]
# Middleware of API requests: see fintech/wsgi.py.
API_MIDDLEWARE = [
    "fintech.telemetry.logging.RequestLogMiddleware",
    "fintech.http.middleware.AllowedHostMiddleware",
    "fintech.http.middleware.ApiSecurityMiddleware",
    "fintech.http.middleware.ApiMetricsMiddleware",
]

ROOT_URLCONF = "fintech.urls"
WSGI_APPLICATION = "fintech.wsgi.application"
# A redirect turns Alertmanager's POST into a GET, and the alert is lost.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "fintech" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


# A host that disappears cannot close its connections: after ten seconds they count as lost (libpq's names).
VANISHED = {"keepalives_idle": 4, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}


# The limits of the application's statements. `manage.py migrate` also makes them defaults of its role, because a pooler
# in transaction mode passes no options on.
TIMEOUTS = {"statement_timeout": "5s", "idle_in_transaction_session_timeout": "10s"}


def database(name: str, url: str, **options: Any) -> dict[str, Any]:
    """Return Django's settings of one PostgreSQL connection, from a URL or libpq's key=value form."""
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError:  # its message may quote the password
        advice = "use postgresql://user:password@host:5432/database"
        raise env.SettingError(f"{name} is not a PostgreSQL address: {advice}.") from None
    if not parts.get("dbname"):
        raise env.SettingError(f"{name} does not name a database: postgresql://user:password@host:5432/database.")
    known = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    settings = {target: str(parts.pop(source, "") or "") for source, target in known.items()}
    timeouts = " ".join(f"-c {setting}={value}" for setting, value in TIMEOUTS.items())
    return {
        "ENGINE": "fintech.database.postgresql",
        **settings,
        # Of several hosts in the address, the one that takes writes: after a failover that is another one.
        "OPTIONS": {
            "connect_timeout": 3,
            "target_session_attrs": "read-write",
            **VANISHED,
            "options": timeouts,
            **parts,
            **options,
        },
    }


_DATABASE_URL = env.text("DATABASE_URL")
# An address without a pooler in transaction mode, for everything that needs a session: locks, temporary tables, plans.
_SESSION_URL = env.text("DATABASE_SESSION_URL", "")
_POOL = {
    "min_size": 0,
    "max_size": env.integer("DATABASE_POOL_SIZE", 8, least=1),
    "timeout": 3,
    # By default its pauses double for five minutes, so that it would retry for up to twice the duration of an outage.
    "reconnect_timeout": 2,
}
DATABASES = {
    # The role of web and worker, with only the grants that they need. The pool serves reads and the admin; payments are
    # written over one separate connection per process (payments/storage/group_commit.py).
    "default": database(
        "DATABASE_SESSION_URL" if _SESSION_URL else "DATABASE_URL", _SESSION_URL or _DATABASE_URL, pool=_POOL
    ),
    # The owner of the schema, used only by `manage.py migrate`.
    "owner": database(
        "DATABASE_OWNER_URL",
        env.text("DATABASE_OWNER_URL", _SESSION_URL or _DATABASE_URL),
        options="-c lock_timeout=30s",
    ),
}
# With a session address, web processes read over DATABASE_URL (fintech/wsgi.py). Its pooler refuses `options`, and each
# transaction gets another connection.
POOLED_DATABASE = (
    database("DATABASE_URL", _DATABASE_URL, pool=_POOL, options="") | {"DISABLE_SERVER_SIDE_CURSORS": True}
    if _SESSION_URL
    else None
)
# A streaming replica for lists, exports and statistics (fintech/database/replica.py). A read waits no longer than this
# for the replica, or for a connection to it; then the primary answers.
_REPLICA_URL = env.text("DATABASE_REPLICA_URL", "")
DATABASE_REPLICA_WAIT_SECONDS = env.number("DATABASE_REPLICA_WAIT_SECONDS", 0.2, least=0.001, most=10)
DATABASE_ROUTERS = []
if _REPLICA_URL:
    DATABASES["replica"] = database(
        "DATABASE_REPLICA_URL",
        _REPLICA_URL,
        pool={**_POOL, "timeout": DATABASE_REPLICA_WAIT_SECONDS},
        target_session_attrs="standby",
    )
    DATABASE_ROUTERS = ["fintech.database.replica.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "static/"
# The folder of collected static files, as in the container image. Without it (`make run`, tests) they are served from
# their packages.
STATIC_ROOT = env.text("STATIC_ROOT", "") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
_STATIC_FILES = (
    "django.contrib.staticfiles.storage.StaticFilesStorage"
    if STATIC_ROOT is None
    else "whitenoise.storage.CompressedManifestStaticFilesStorage"
)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": _STATIC_FILES},
}

# --- Closed by default -------------------------------------------------------------------------------------
# TLS ends at the proxy in front; it says so in X-Forwarded-Proto, and only with HTTPS=True do we believe it.
HTTPS = env.boolean("HTTPS", True)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
# The application never redirects to HTTPS: a 301 turns a POST into a GET. The proxy refuses plain HTTP.
SECURE_SSL_REDIRECT = False
SILENCED_SYSTEM_CHECKS = ["security.W008"]  # that is SECURE_SSL_REDIRECT
# After a sign-in at /admin/login/ itself, which names no page to return to.
LOGIN_REDIRECT_URL = "admin:index"
SESSION_ENGINE = "fintech.http.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 8 * 3600  # a working day
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [SELF],
        "frame-ancestors": [NONE],
    }
}
# Additional rights of some paths. The admin's Alpine.js evaluates expressions; both it and Swagger UI set styles.
CONTENT_SECURITY_POLICY_EXCEPTIONS = {
    "/admin/": {"style-src": [UNSAFE_INLINE], "script-src": [UNSAFE_EVAL]},
    "/v1/docs": {"style-src": [UNSAFE_INLINE]},
}

# --- Requests ----------------------------------------------------------------------------------------------
# A batch of 1,000 payments with every optional field filled fits in 4 MiB.
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024

REST_FRAMEWORK: dict[str, Any] = {
    "EXCEPTION_HANDLER": "fintech.http.problems.exception_handler",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "fintech.http.negotiation.ContentNegotiation",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Payments and alert trail",
    "VERSION": tomllib.loads((BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"],
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/v1",
    "SWAGGER_UI_SETTINGS": (BASE_DIR / "fintech" / "http" / "code_samples.js").read_text(encoding="utf-8"),
    "POSTPROCESSING_HOOKS": [
        "payments.api.openapi.add_shapes",
        "alerts_audit.api.openapi.add_shapes",
        "fintech.http.code_samples.add_code_samples",
    ],
}

# --- The gateway -------------------------------------------------------------------------------------------
# The name that each payment keeps of the gateway that charged it.
GATEWAY_NAME = env.text("GATEWAY_NAME", "simulator")
GATEWAY_URL = env.url("GATEWAY_URL", "http://127.0.0.1:5001")
GATEWAY_TOKEN = env.text("GATEWAY_TOKEN")
# Signs the gateway's events; without it all of them are refused.
GATEWAY_WEBHOOK_SECRET = env.webhook_secret("GATEWAY_WEBHOOK_SECRET")
# The second gateway, if its key is set. Its requests go to Stripe, or to a fake of it.
STRIPE_API_KEY = env.text("STRIPE_API_KEY", "")
STRIPE_URL = env.url("STRIPE_URL", "https://api.stripe.com")
STRIPE_WEBHOOK_SECRET = env.text("STRIPE_WEBHOOK_SECRET", "")
# The time that a customer has for a challenge (3-D Secure) there: Stripe sets none.
STRIPE_CHALLENGE_SECONDS = env.number("STRIPE_CHALLENGE_SECONDS", 900, least=1, most=86_400)
# Which gateway charges, by merchant and currency: `USD=stripe,7:EUR=stripe>simulator`. Empty: `GATEWAY_NAME` for all.
GATEWAY_ROUTES = env.routes("GATEWAY_ROUTES")
# Time limits of one attempt and of all attempts of one call. The lease on a payment must outlive the deadline, or the
# resolver could cancel a charge that is still being tried.
GATEWAY_TIMEOUT_SECONDS = env.number("GATEWAY_TIMEOUT_SECONDS", 3, least=0.05, most=30)
GATEWAY_DEADLINE_SECONDS = env.number("GATEWAY_DEADLINE_SECONDS", 5, least=0.1, most=60)
LEASE_SECONDS = env.number("LEASE_SECONDS", 8, least=0.2, most=120)
if LEASE_SECONDS <= GATEWAY_DEADLINE_SECONDS:
    raise env.SettingError(
        f"LEASE_SECONDS={LEASE_SECONDS:g} is wrong: it must be above GATEWAY_DEADLINE_SECONDS"
        f" ({GATEWAY_DEADLINE_SECONDS:g})."
    )

# How long an authorization can be captured; then the worker releases the rest.
AUTHORIZATION_HOLD_SECONDS = env.number("AUTHORIZATION_HOLD_SECONDS", 7 * 86_400, least=0.1, most=31 * 86_400)

# The pause before the worker asks for the first time whether a customer has completed a challenge (3-D Secure); the
# following ones grow.
CHALLENGE_POLL_SECONDS = env.number("CHALLENGE_POLL_SECONDS", 5, least=0.05, most=60)

# A batch answers after this time with the payments that are final. All batches of a process have at most this many
# calls of the gateway at once.
BATCH_DEADLINE_SECONDS = env.number("BATCH_DEADLINE_SECONDS", 10, least=0.1, most=60)
BATCH_CONCURRENCY = env.integer("BATCH_CONCURRENCY", 64, least=1, most=256)

# --- Webhooks to merchants ---------------------------------------------------------------------------------
# Allow endpoints on this machine, over HTTP and on every port: for `make run` and tests, never where strangers choose
# URLs.
WEBHOOKS_TO_LOOPBACK = env.boolean("WEBHOOKS_TO_LOOPBACK", False)

# --- Limits ------------------------------------------------------------------------------------------------
# Requests a second for one API key on one host, and how many it may be ahead of that; a batch counts its items.
THROTTLE_RATE = env.number("THROTTLE_RATE", 500, least=0.01)
THROTTLE_BURST = env.number("THROTTLE_BURST", 1000, least=1)
# The Valkey or Redis server that counts them for all hosts. Empty: each host counts by itself.
THROTTLE_URL = env.text("THROTTLE_URL", "")
if THROTTLE_URL and not THROTTLE_URL.startswith(("redis://", "rediss://", "unix://")):
    raise env.SettingError("THROTTLE_URL is wrong: use an address such as redis://:password@valkey:6379/0.")
# A request waits no longer than this for its answer; then its host counts by itself.
THROTTLE_TIMEOUT_SECONDS = env.number("THROTTLE_TIMEOUT_SECONDS", 0.1, least=0.001, most=10)
# Shared by the processes of this host: throttle counters and metrics files.
RUNTIME_DIR = env.runtime_dir()

# --- Metrics and alerts ------------------------------------------------------------------------------------
# Scraping port 5000 takes this token; "open" lets anyone who reaches the port read the metrics.
METRICS_TOKEN = env.text("METRICS_TOKEN")
ALERT_TOKEN = env.text("ALERT_TOKEN")
# The addresses that this host announces to the leading worker, which compares the counters there with the rows: the web
# processes announce their exporter, a worker its own metrics.
WEB_METRICS_URL = env.url("WEB_METRICS_URL", "http://127.0.0.1:9464/metrics")
WORKER_METRICS_URL = (
    env.url("WORKER_METRICS_URL", "") or f"http://{env.text('WORKER_METRICS_BIND', '127.0.0.1:9465')}/metrics"
)
# Further addresses, of hosts that do not announce themselves. Each epoch is compared once.
OTHER_METRICS_URLS = env.urls("OTHER_METRICS_URLS")
# Distinguishes the hosts on one database; no two hosts may have the same.
HOST_ID = env.text("HOST_ID", env.host_id())
# A host that was silent for this long, and whose exporter does not answer, has gone: its totals come from the rows.
RETIRE_SECONDS = env.number("RETIRE_SECONDS", 60, least=1, most=86_400)
# So many scrapes in a row must fail, one every 15 seconds: a busy exporter misses one.
RETIRE_SCRAPES = env.integer("RETIRE_SCRAPES", 3, least=1, most=1_000)
# The source "alertmanager": the addresses that the worker polls to find missing alerts. Empty: it does not poll.
ALERTMANAGER_URL = env.url("ALERTMANAGER_URL", "")
PROMETHEUS_URL = env.url("PROMETHEUS_URL", "")
# The pages of alerts link to dashboards and logs there. Empty: no links.
GRAFANA_URL = env.url("GRAFANA_URL", "").rstrip("/")
ALERT_POLL_SECONDS = env.number("ALERT_POLL_SECONDS", 15, least=0.1, most=600)
# How long an alert may take to arrive: group_wait, group_interval, the retries within it, and a margin.
ALERT_GRACE_SECONDS = env.number("ALERT_GRACE_SECONDS", 180, least=0.1, most=86_400)
# A gap about counted failures or refusals closes after this time without a new one.
ALERT_QUIET_SECONDS = env.number("ALERT_QUIET_SECONDS", 300, least=0.1, most=86_400)
# Direct messages when the heartbeat stops or is back; both empty: no messages.
AM_TELEGRAM_BOT_TOKEN = env.text("AM_TELEGRAM_BOT_TOKEN", "")
AM_TELEGRAM_CHAT_ID = env.text("AM_TELEGRAM_CHAT_ID", "")
TELEGRAM_API_URL = env.url("TELEGRAM_API_URL", "https://api.telegram.org")
if bool(AM_TELEGRAM_BOT_TOKEN) != bool(AM_TELEGRAM_CHAT_ID):
    raise env.SettingError("AM_TELEGRAM_BOT_TOKEN and AM_TELEGRAM_CHAT_ID belong together: set both, or neither.")
# Currencies whose counters start at 0, so that the first payment is seen by rate().
KPI_CURRENCIES = env.words("KPI_CURRENCIES", "EUR,USD,GBP,JPY,KWD")
PROMETHEUS_EXPORT_MIGRATIONS = False

# --- The alert trail's seal --------------------------------------------------------------------------------
# Checkpoints and public keys, outside the database; also the signing key, unless it has a file of its own.
AUDIT_DIR = Path(env.text("AUDIT_DIR", str(BASE_DIR / "var" / "audit")))
AUDIT_SIGNING_KEY_FILE = env.text("AUDIT_SIGNING_KEY_FILE", "")
# Well below what AuditSealStale and a verification allow (5 minutes), and AuditUnverified (3 hours).
AUDIT_SEAL_SECONDS = env.number("AUDIT_SEAL_SECONDS", 60, least=1, most=240)
AUDIT_VERIFY_SECONDS = env.number("AUDIT_VERIFY_SECONDS", 3600, least=1, most=9000)
# An episode without an update for this long is stale: twice Alertmanager's repeat_interval, and some minutes.
AUDIT_STALE_SECONDS = env.number("AUDIT_STALE_SECONDS", 2 * 4 * 3600 + 900, least=1)
# If an alert is missing from every Alertmanager for this long and no "resolved" arrived, its episode becomes `unknown`.
# Well above Alertmanager's group_interval, after which it reports an end.
AUDIT_UNKNOWN_SECONDS = env.number("AUDIT_UNKNOWN_SECONDS", 900, least=1)

# --- Logs --------------------------------------------------------------------------------------------------
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "fintech.telemetry.logging.JsonFormatter"}},
    "filters": {"without_request": {"()": "fintech.telemetry.logging.WithoutRequest"}},
    "handlers": {
        "stdout": {
            "class": "fintech.server.turn_handler.TurnHandler",
            "stream": "ext://sys.stdout",
            "formatter": "json",
            "filters": ["without_request"],
        }
    },
    "root": {"handlers": ["stdout"], "level": LOG_LEVEL},
    "loggers": {
        "django.request": {"level": "ERROR"},  # RequestLogMiddleware logs refused requests
        "urllib3": {"level": "INFO"},  # its debug lines contain addresses, and Telegram's contain the bot's token
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}


def _name_of(model: str) -> str:
    return capfirst(apps.get_model(model)._meta.verbose_name_plural)


def _page(icon: str, model: str) -> dict[str, Any]:
    """Return a link of the admin's menu, for users who may see the page. Its title is that of the page."""
    app, _, name = model.partition(".")
    return {
        "title": lazy(_name_of, str)(model),  # models are loaded after the settings
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{name}"),
    }


UNFOLD = {
    "SITE_TITLE": "Payments",
    "SITE_HEADER": "Payments",
    "SITE_SYMBOL": "account_balance",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("payments/icon.svg")}],
    "STYLES": [lambda request: static("payments/admin.css"), lambda request: static("alerts_audit/admin.css")],
    "DASHBOARD_CALLBACK": "fintech.adminsite.dashboard.add_sections",
    "SIDEBAR": {
        "show_search": False,
        "navigation": [
            {
                "title": "Money",
                "items": [
                    _page("receipt_long", "payments.transaction"),
                    _page("undo", "payments.refund"),
                    _page("gavel", "payments.dispute"),
                    _page("move_to_inbox", "payments.gatewayevent"),
                    _page("menu_book", "payments.ledgerleg"),
                    _page("inventory_2", "payments.archive"),
                ],
            },
            {
                "title": "Clients",
                "items": [
                    _page("storefront", "payments.merchant"),
                    _page("key", "payments.apikey"),
                    _page("rule", "payments.fraudlistentry"),
                    _page("speed", "payments.velocityrule"),
                    _page("history", "payments.fraudchange"),
                    _page("alt_route", "payments.gatewayroute"),
                    _page("history", "payments.gatewayroutechange"),
                    _page("webhook", "payments.webhookendpoint"),
                    _page("outbox", "payments.webhookdelivery"),
                ],
            },
            {
                "title": "Monitoring",
                "items": [
                    _page("notifications", "alerts_audit.episode"),
                    _page("report", "alerts_audit.gap"),
                    _page("inbox", "alerts_audit.delivery"),
                    _page("rate_review", "alerts_audit.review"),
                    _page("sensors", "alerts_audit.source"),
                    _page("vpn_key", "alerts_audit.sourcetoken"),
                ],
            },
            {
                "title": "Evidence",
                "items": [
                    _page("verified", "alerts_audit.checkpoint"),
                    _page("fact_check", "alerts_audit.verification"),
                    _page("inventory_2", "alerts_audit.archive"),
                    _page("visibility", "alerts_audit.view"),
                    _page("vpn_key", "alerts_audit.accesstoken"),
                ],
            },
            {"title": "People", "items": [_page("person", "auth.user"), _page("group", "auth.group")]},
        ],
    },
}
