"""Copies of a list: complete, harmless in a spreadsheet, made page by page, and recorded."""

import csv
import io
import json
import secrets
import tracemalloc

import pytest

from alerts_audit.models import View
from alerts_audit.reviews.services import acknowledge, mark_as_noise
from alerts_audit.selectors import exports
from alerts_audit.selectors.criteria import Criteria
from alerts_audit.selectors.exports import COLUMNS, csv_lines, get_episodes, harmless
from alerts_audit.tests.factories import Api, make_episode, make_identity, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def auditor() -> Api:
    return Api(make_user(group="auditor"))


def name() -> str:
    return f"Alert{secrets.token_hex(6)}"


def copy(api: Api, **query) -> str:
    reply = api.get("episodes/export", **query)
    assert reply.status_code == 200
    assert reply["Content-Disposition"].startswith("attachment")
    return b"".join(reply.streaming_content).decode("utf-8-sig")


def test_csv_has_a_line_for_each_episode_newest_first(auditor, monkeypatch):
    monkeypatch.setattr(exports, "CHUNK", 2)
    alert = name()
    made = [str(make_episode(make_identity(alert)).key) for _ in range(5)]
    rows = list(csv.DictReader(io.StringIO(copy(auditor, format="csv", alertname=alert))))

    assert [row["key"] for row in rows] == made[::-1]
    assert list(rows[0]) == COLUMNS


def test_json_lines_are_what_the_api_shows(auditor):
    episode = make_episode(make_identity(name(), shop="x"))
    acknowledge(episode_key=episode.key, author=auditor.user)
    (line,) = copy(auditor, format="json", alertname=episode.alertname).splitlines()

    (shown,) = auditor.get("episodes", alertname=episode.alertname).json()["data"]
    assert json.loads(line) == shown


def test_the_filters_of_the_list_hold(auditor):
    alert = name()
    make_episode(make_identity(alert))
    firing = make_episode(make_identity(alert, shop="x"), state="firing")
    rows = list(csv.DictReader(io.StringIO(copy(auditor, alertname=alert, state="firing", label="shop=x"))))

    assert [row["key"] for row in rows] == [str(firing.key)]


def test_a_spreadsheet_runs_nothing(auditor):
    formula = '=HYPERLINK("http://evil.example","click")'
    episode = make_episode(make_identity(f"+{name()}", cluster="@cluster"), summary=formula, generator_url="-1+1")
    mark_as_noise(episode_key=episode.key, author=auditor.user, reason=f" {formula}")
    (row,) = csv.DictReader(io.StringIO(copy(auditor, alertname=episode.alertname)))

    assert row["summary"] == f"'{formula}"
    for column in ("alertname", "cluster", "summary", "generator_url", "noise_reason"):
        assert row[column].startswith("'")


FOREIGN = [
    "Disk full;=1+1;x",
    "Disk full; \u00a0-1+1",
    'Disk full;"=1+1"',
    "Disk\t=1+1\tx",
    "Two lines\n=1+1",
    "Two lines\r\n+1+1",
    "Two lines\u2028@x",
    "wide;＝1+1",  # noqa: RUF001
    "\t=1",
    "\u00a0=1",
]


@pytest.mark.parametrize("text", FOREIGN)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_no_cell_of_any_reader_begins_a_formula(auditor, text, separator):
    """Excel splits at the list separator of its locale, LibreOffice also at tabs."""
    episode = make_episode(make_identity(name(), shop=text, x="a"), summary=text)
    mark_as_noise(episode_key=episode.key, author=auditor.user, reason=text)
    lines = copy(auditor, format="csv", alertname=episode.alertname)

    cells = [cell for row in csv.reader(io.StringIO(lines, newline=""), delimiter=separator) for cell in row]
    cells += [cell for line in lines.splitlines() for cell in line.split(separator)]
    assert len(cells) > 2
    begins = [cell.strip(' \u00a0"') for cell in cells]
    assert [cell for cell in begins if cell.startswith(("=", "+", "-", "@", "＝"))] == []  # noqa: RUF001


def test_a_spreadsheet_recognises_utf_8(auditor):
    episode = make_episode(make_identity(name()), summary="Größe überschritten")
    reply = auditor.get("episodes/export", format="csv", alertname=episode.alertname)
    content = b"".join(reply.streaming_content)

    assert content.startswith(b"\xef\xbb\xbf")
    assert content.count(b"\xef\xbb\xbf") == 1
    assert "Größe überschritten" in content.decode()


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "  =1"])
def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["a=1", "x@y", "", "1-2", "'quoted"])
def test_other_texts_stay_as_they_are(text):
    assert harmless(text) == text


def test_memory_does_not_grow_with_the_number_of_episodes(monkeypatch):
    monkeypatch.setattr(exports, "CHUNK", 5)
    identity = make_identity(name())
    for _ in range(100):
        make_episode(identity, summary="x" * 10_000)
    lines = csv_lines(Criteria(alertname=identity.alertname), with_reviews=True)
    next(lines)
    tracemalloc.start()
    sizes = []
    for _ in lines:
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    assert len(sizes) == 100
    assert max(sizes[50:]) < max(sizes[:20]) + 100_000  # 50 more would hold half a megabyte


def test_rows_that_arrive_during_the_export_are_left_out(monkeypatch):
    monkeypatch.setattr(exports, "CHUNK", 1)
    identity = make_identity(name())
    old = [make_episode(identity), make_episode(identity)]
    rows = get_episodes(Criteria(alertname=identity.alertname), with_reviews=True)
    found = [next(rows)["key"]]
    make_episode(identity)
    found += [row["key"] for row in rows]

    assert found == [old[1].key, old[0].key]


def test_a_copy_is_recorded_before_it_begins(auditor):
    alert = name()
    auditor.get("episodes/export", alertname=alert)

    (seen,) = View.objects.filter(user_id=auditor.user.pk)
    assert (seen.what, seen.key) == ("export", f"alertname={alert}")


def test_head_reads_no_episode(auditor, monkeypatch):
    def refuse(criteria: Criteria) -> None:
        raise AssertionError("a whole export would be read, and dropped")

    monkeypatch.setitem(exports.FORMATS, "csv", (refuse, "text/csv"))
    reply = auditor.client.head("/v1/alerts/episodes/export")

    assert (reply.status_code, reply["Content-Type"]) == (200, "text/csv")


@pytest.mark.parametrize("query", [{"format": "xml"}, {"limit": "5"}, {"state": "open"}, {"cursor": "x"}])
def test_a_copy_that_makes_no_sense_is_refused_and_not_recorded(auditor, query):
    assert auditor.get("episodes/export", **query).status_code == 422
    assert not View.objects.filter(user_id=auditor.user.pk).exists()
