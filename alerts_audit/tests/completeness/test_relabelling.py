"""Relabelling as Prometheus does it: the cases of its own test, and the refusals."""

import re

import pytest

from alerts_audit.completeness.relabelling import ACTIONS, UNKNOWN, Step, relabel

LABELS = {"a": "foo", "b": "bar", "c": "baz"}


@pytest.mark.parametrize(
    ("step", "changed"),
    [
        (
            {"source_labels": ["a"], "regex": "f(.*)", "target_label": "d", "replacement": "ch${1}-ch${1}"},
            {"d": "choo-choo"},
        ),
        (
            {"source_labels": ["a", "b"], "regex": "f(.*);(.*)r", "target_label": "a", "replacement": "b${1}${2}m"},
            {"a": "boobam"},
        ),
        ({"source_labels": ["a"], "regex": "no", "target_label": "d", "replacement": "x"}, {}),
        ({"source_labels": ["a"], "regex": "oo", "target_label": "d", "replacement": "x"}, {}),  # anchored
        ({"source_labels": ["b"], "target_label": "a", "replacement": ""}, {"a": None}),
        ({"source_labels": ["a"], "target_label": "d", "replacement": "$1x"}, {}),  # a group called 1x
        ({"source_labels": ["a"], "target_label": "k8s.cluster", "replacement": "$1"}, {"k8s.cluster": "foo"}),
        ({"source_labels": ["a"], "target_label": "$1.b", "replacement": "x"}, {"foo.b": UNKNOWN}),  # by the version
        ({"source_labels": ["a"], "regex": "foo(x?)", "target_label": "$1", "replacement": "x"}, {}),
        ({"source_labels": ["a"], "target_label": "d", "replacement": "$$1"}, {"d": "$1"}),
        ({"source_labels": ["c"], "target_label": "d", "action": "hashmod", "modulus": 1000}, {"d": "976"}),
        ({"source_labels": ["a"], "target_label": "a", "action": "uppercase"}, {"a": "FOO"}),
        ({"source_labels": ["a"], "target_label": "d", "action": "Lowercase"}, {"d": "foo"}),
        ({"regex": "(b)", "replacement": "my_${1}", "action": "labelmap"}, {"my_b": "bar"}),
        ({"regex": "a|b", "action": "labeldrop"}, {"a": None, "b": None}),
        ({"regex": "a|b", "action": "labelkeep"}, {"c": None}),
        ({"source_labels": ["a"], "regex": "foo", "action": "keep"}, {}),
        ({"source_labels": ["a"], "regex": "bar", "action": "drop"}, {}),
        ({"source_labels": ["a"], "target_label": "a", "action": "keepequal"}, {}),
        ({"source_labels": ["a"], "target_label": "b", "action": "dropequal"}, {}),
    ],
)
def test_a_step_changes_what_it_says(step, changed):
    expected = {name: value for name, value in (LABELS | changed).items() if value is not None}

    assert relabel(LABELS, [Step.read(step)]) == expected


@pytest.mark.parametrize(
    "step",
    [
        {"source_labels": ["a"], "regex": "fo", "action": "keep"},
        {"source_labels": ["a"], "regex": "foo", "action": "drop"},
        {"source_labels": ["a"], "target_label": "b", "action": "keepequal"},
        {"source_labels": ["a"], "target_label": "a", "action": "dropequal"},
    ],
)
def test_an_alert_that_is_dropped_is_not_sent_whatever_follows(step):
    assert relabel(LABELS, [Step.read(step), Step.read({"target_label": "d", "replacement": "x"})]) is None


def test_an_alert_without_labels_is_not_sent():
    assert relabel(LABELS, [Step.read({"regex": ".*", "action": "labeldrop"})]) is None


def test_an_expression_that_only_go_understands_is_refused():
    with pytest.raises(re.error):
        Step.read({"regex": r"\pL+", "action": "labeldrop"})


def test_each_action_of_prometheus_is_known():
    names = "replace keep drop keepequal dropequal hashmod labelmap labeldrop labelkeep lowercase uppercase"
    assert set(ACTIONS) == set(names.split())
