"""The trail's API in /v1/schema: each route is there, and what it says is what is answered."""

import re
import secrets
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator

from alerts_audit import urls
from alerts_audit.models import Gap
from alerts_audit.reviews.services import acknowledge, comment, mark_as_noise
from alerts_audit.selectors.criteria import PARAMETERS
from alerts_audit.tests.factories import (
    NOON,
    Api,
    archived_delivery,
    make_episode,
    make_identity,
    make_user,
    told_by,
)
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.webhook.services import record_delivery

pytestmark = pytest.mark.django_db

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)


def routes() -> set[tuple[str, str]]:
    """Method and path of every view of the trail's API, as the router has them."""
    found = set()
    for pattern in urls.urlpatterns:
        view = getattr(pattern.callback, "cls", None)
        path = "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern))
        found |= {(method, path) for method in METHODS if view is not None and hasattr(view, method)}
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    paths = {path: methods for path, methods in document["paths"].items() if path.startswith("/v1/alerts/")}
    return {(method, path): it for path, methods in paths.items() for method, it in methods.items()}


def assert_valid(document: dict[str, Any], schema: Any, instance: Any) -> None:
    whole = {"components": document["components"], "allOf": [schema]}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(instance)


def test_every_route_is_there_and_no_other(document):
    assert len(routes()) == 8
    assert operations(document).keys() == routes()


@pytest.mark.parametrize("place", sorted(routes()), ids="-".join)
def test_each_operation_documents_its_purpose_permission_and_errors(document, place):
    operation = operations(document)[place]

    assert operation["summary"]
    assert operation["tags"] == ["alerts"]
    assert operation["security"] == [{"trailToken": []}]
    assert {"401", "403", "503"} <= operation["responses"].keys()
    for status, answer in operation["responses"].items():
        assert answer["description"]
        if status >= "300":
            problem = {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
            assert answer["content"] == {"application/problem+json": problem}


def test_each_filter_of_the_list_and_of_a_copy_is_a_parameter(document):
    for path, others in (("", {"cursor", "limit"}), ("/export", {"format"})):
        parameters = operations(document)["get", f"/v1/alerts/episodes{path}"]["parameters"]
        assert {parameter["name"] for parameter in parameters} == {*PARAMETERS, *others}


def test_each_example_of_a_review_is_valid_and_is_taken(document):
    api, body = Api(make_user(group="responder")), operations(document)["post", "/v1/alerts/episodes/{key}/reviews"]
    content = body["requestBody"]["content"]["application/json"]

    assert len(content["examples"]) == 2
    for example in content["examples"].values():
        assert_valid(document, content["schema"], example["value"])
        made = api.post(f"episodes/{make_episode().key}/reviews", example["value"])
        assert made.status_code == 201
        assert_valid(document, body["responses"]["201"]["content"]["application/json"]["schema"], made.json())


def test_answers_match_the_document(document):
    api = Api(make_user(group="auditor"))
    key = make_story(api).key
    asked = {
        "episodes": {"limit": 200},
        "episodes/{key}": {},
        "episodes/{key}/reviews": {},
        "gaps": {"limit": 200},
        "statistics": {"days": 30},
        "checkpoints": {},
    }

    for path, query in asked.items():
        reply = api.get(path.replace("{key}", str(key)), **query)
        answers = operations(document)["get", f"/v1/alerts/{path}"]["responses"]
        assert reply.status_code == 200
        assert_valid(document, answers["200"]["content"]["application/json"]["schema"], reply.json())


def make_story(api: Api) -> Any:
    """An episode with all that one can have."""
    episode = make_episode(make_identity(f"Alert{secrets.token_hex(6)}"), state="firing")
    told_by(episode, record_delivery(source="alertmanager", body=alertmanager_body("A")).pk)
    told_by(episode, archived_delivery())
    told_by(episode, 10**16 + episode.pk)
    acknowledge(episode_key=episode.key, author=api.user)
    comment(episode_key=episode.key, author=api.user, text="Looking.")
    mark_as_noise(episode_key=episode.key, author=api.user, reason="Too low.")
    gap = Gap.objects.create(reason="outage", subject=secrets.token_hex(12), since=NOON, labels={"a": "b"})
    Gap.objects.create(reason="outage", subject=gap.subject, since=NOON, until=NOON, closes=gap)
    return episode
