"""Measure the trail's pages at ten million episodes, through the real views. `make bench-trail`, or `--help`.

The rows are created in SQL, in a separate database: a year of alerts of 200,000 identities. Two of five are
acknowledged, and so are all of the newest 20,000, so that a search for unacknowledged ones has to go far. Then each
page is requested repeatedly; the measured time is that of the whole rendered answer. It fails if a page is over its
bound. "Busy" is the CPU time of Python and PostgreSQL together: on a shared machine, the rest was waiting.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fintech.run.postgres import EmbeddedPostgres
from loadtests.argument_types import count
from loadtests.bench.filled_database import administrator, connect, database, drop_indexes, measure, page, say

IDENTITIES = 200_000
FIRING = 2_000
LIST_BOUND, SEARCH_BOUND = 150, 100  # milliseconds

IDENTITY = """
INSERT INTO alerts_audit_identity (id, sha256, cluster, labels, alertname, severity, fingerprint)
SELECT n, sha256(n::text::bytea), cluster, jsonb_build_object('alertname', alertname, 'severity', severity, 'job',
    'job-' || n % 40, 'instance', 'host-' || n % 20000 || ':9100', 'team', 'team-' || n % 12, 'pod', 'pod-' || n),
    alertname, severity, to_hex(n)
FROM (
    SELECT n, 'Alert' || lpad((120 * power(random(), 2))::int::text, 3, '0') AS alertname,
        (ARRAY['critical', 'warning', 'warning', 'warning', 'info'])[1 + n % 5] AS severity,
        (ARRAY['eu', 'us', 'asia'])[1 + n % 3] AS cluster
    FROM generate_series(1, %(identities)s) AS n
) AS made
"""
# Some identities fire far more often than others; the newest episodes, of one identity each, are firing.
EPISODE = """
INSERT INTO alerts_audit_episode (id, key, identity_id, state, alertname, severity, summary, annotations, generator_url,
    starts_at, ends_at, opened_at, closed_at, last_seen_at, opened_input, last_input, deliveries, memory)
SELECT n, gen_random_uuid(), identity.id, state, alertname, severity, 'More than 5 %% of it: ' || alertname,
    '{"summary": "More than 5 %% of it."}', 'http://prometheus:9090/graph?g0.expr=up', start,
    CASE WHEN state = 'resolved' THEN start + length END, start,
    CASE WHEN state <> 'firing' THEN start + length END, start + length, n, n, 2, '{}'
FROM (
    SELECT n, now() - interval '365 days' * ((%(episodes)s - n)::float8 / %(episodes)s) AS start,
        make_interval(secs => 30 + 3000 * random()) AS length,
        CASE WHEN n > %(episodes)s - %(firing)s THEN 'firing' WHEN random() < 0.975 THEN 'resolved'
            ELSE (ARRAY['superseded', 'stale', 'unknown'])[1 + n %% 3] END AS state,
        CASE WHEN n > %(episodes)s - %(firing)s THEN n - %(episodes)s + %(firing)s
            ELSE 1 + floor(%(identities)s * power(random(), 3)) END::bigint AS identity
    FROM generate_series(%(first)s, %(last)s) AS n OFFSET 0
) AS made JOIN alerts_audit_identity AS identity ON identity.id = made.identity
"""
REVIEW = """
INSERT INTO alerts_audit_review (episode_key, kind, text, author, author_id, at)
SELECT key, kind, 'Known.', 'maria', 1, opened_at + make_interval(secs => 600 * random())
FROM (
    SELECT key, opened_at, CASE WHEN state = 'resolved' AND random() < 0.05 THEN 'noise' ELSE 'acknowledge' END AS kind
    FROM alerts_audit_episode WHERE id > %(episodes)s - 20000 OR random() < 0.4
) AS made
"""
NEWEST = """
INSERT INTO alerts_audit_review (episode_key, kind, text, author, author_id, at)
SELECT key, 'acknowledge', '', 'maria', 1, now() FROM alerts_audit_episode WHERE id > %(episodes)s - 20000
ON CONFLICT DO NOTHING
"""
LEAF = """
INSERT INTO alerts_audit_leaf (number, kind, ref, hash)
SELECT n, 'input', n, sha256(n::text::bytea) FROM generate_series(%(episodes)s - 1000000, %(episodes)s - 100) AS n
WHERE n >= 0
"""
CHECKPOINT = """
INSERT INTO alerts_audit_checkpoint (size, root, at, key_id, note, frontier, settled)
SELECT %(episodes)s - 99, sha256(''), now(), '00000000', 'none', '{}', '{}'
"""
TRANSITION = """
INSERT INTO alerts_audit_transition (id, episode_id, input_number, to_state, at)
SELECT id, id, opened_input, 'firing', opened_at FROM alerts_audit_episode WHERE id > %(episodes)s - 100000
"""
TABLES = ["identity", "episode", "review", "leaf", "transition"]
CHUNK = 1_000_000


def fill(server: EmbeddedPostgres, directory: Path, episodes: int) -> None:
    values = {"episodes": episodes, "identities": IDENTITIES, "firing": FIRING}
    start = time.monotonic()
    with connect(server) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'; SET synchronous_commit = off")
        indexes = drop_indexes(connection, ["alerts_audit_episode"])
        connection.execute(IDENTITY.replace("%(identities)s", str(IDENTITIES)))
        for first in range(1, episodes + 1, CHUNK):
            connection.execute(EPISODE, {**values, "first": first, "last": min(first + CHUNK - 1, episodes)})
            say(f"{min(first + CHUNK - 1, episodes):,} episodes, {time.monotonic() - start:.0f} s")
        for index in indexes:
            connection.execute(index)
        say(f"indexes, {time.monotonic() - start:.0f} s")
        indexes = drop_indexes(connection, ["alerts_audit_review"], keep="review_acknowledged_once")
        for statement in (REVIEW, NEWEST, LEAF, CHECKPOINT, TRANSITION):
            connection.execute(statement, values)
        for index in indexes:
            connection.execute(index)
        for table in TABLES:
            connection.execute(f"VACUUM ANALYZE alerts_audit_{table}")
    say(f"filled in {time.monotonic() - start:.0f} s")
    (directory / "filled").touch()


def pages(episodes: int) -> list[tuple[str, str, int]]:
    """Return each page's name, its address in the admin, and its bound in milliseconds."""
    from alerts_audit.models import Episode

    middle = Episode.objects.get(pk=episodes // 2)
    lists = {
        "newest": "",
        "five million deep": f"before={episodes // 2}",
        "state: firing": "state=firing",
        "state: stale": "state=stale",
        "state: stale, five million deep": f"state=stale&before={episodes // 2}",
        "severity: critical": "severity=critical",
        "alert, frequent": "alertname=Alert001",
        "alert, rare": "alertname=Alert120",
        "firing and critical": "state=firing&severity=critical",
        "stale and critical": "state=stale&severity=critical",
        "not acknowledged (the newest 20,000 all are)": "acknowledged=false",
        "firing and not acknowledged": "state=firing&acknowledged=false",
        "acknowledged": "acknowledged=true",
        "marked as noise": "noise=true",
        "of the last 24 hours": "opened=24h",
        "of the last 30 days, critical, not noise": "opened=30d&severity=critical&noise=false",
    }
    searches = {
        "search: alert": "q=Alert077",
        "search: label, 10 identities": "q=instance=host-77:9100",
        "search: label, one identity": f"q=pod=pod-{IDENTITIES - 5}",
        "search: label, a twelfth of all": "q=team=team-3",
        "search: two labels": "q=team=team-3,job=job-27",
        "search: label without a match": "q=team=none",
        "search: key": f"q={middle.key}",
    }
    return [(name, query, LIST_BOUND) for name, query in lists.items()] + [
        (name, query, SEARCH_BOUND) for name, query in searches.items()
    ]


def run(server: EmbeddedPostgres, episodes: int, rounds: int) -> bool:
    """Run everything. Return True if every page was within its bound."""
    client = administrator()
    is_within = True
    print("| page | median ms | slowest ms | busy ms |\n|---|---|---|---|")
    for name, query, bound in pages(episodes):
        times = measure(page(client, f"/admin/alerts_audit/episode/?{query}"), rounds, server)
        is_within &= times.median <= bound
        print(times.row(name, bound), flush=True)
    others = {
        "one alert": f"/admin/alerts_audit/episode/{episodes - 50}/change/",
        "statistics, 7 days": "/admin/alerts_audit/episode/statistics/?days=7",
        "statistics, 30 days": "/admin/alerts_audit/episode/statistics/?days=30",
        "API, newest 50": "/v1/alerts/episodes",
        "API, 200 firing and critical": "/v1/alerts/episodes?limit=200&state=firing&severity=critical",
        "API, label": "/v1/alerts/episodes?label=instance=host-77:9100",
    }
    for name, address in others.items():
        print(measure(page(client, address), rounds, server).row(name), flush=True)
    export(client)
    return is_within


def export(client: Any) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    reply = client.get("/v1/alerts/episodes/export?format=csv&state=stale")
    rows = sum(part.count(b"\n") for part in reply.streaming_content) - 1
    seconds = time.perf_counter() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\nCopy of {rows:,} episodes as CSV: {rows / seconds:,.0f} a second, {more:.0f} MiB more memory.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=count, default=10_000_000)
    parser.add_argument("--rounds", type=count, default=15)
    parser.add_argument("--keep", type=Path, help="keep the database in this folder, and use it again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fintech-trail-") as place:
        directory = options.keep or Path(place)
        directory.mkdir(parents=True, exist_ok=True)
        with database(directory) as server:
            if not (directory / "filled").exists():
                fill(server, directory, options.episodes)
            return 0 if run(server, options.episodes, options.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
