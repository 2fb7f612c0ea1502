"""The API server, with the definitions that charts ship, accepts what is right and refuses what is wrong, in words."""

from __future__ import annotations

import pytest

from manta_operator.api.cluster_status import ClusterStatus, Endpoints, GroupStatus, HeadStatus, Totals
from manta_operator.api.job import JobPhase, JobStatus
from manta_operator.api.names import GROUP_VERSION
from manta_operator.api.parse import parse_cluster, parse_job
from manta_operator.api.pods import Condition, ConditionStatus
from manta_operator.api.render import render
from tests.kube import cases

pytestmark = pytest.mark.usefixtures("definitions")

FIELDS = [(kind, path) for kind in cases.DEFINITIONS for path in cases.paths(cases.DEFINITIONS[kind])]
RULES = [rule.message for definition in cases.DEFINITIONS.values() for rule in cases.own_rules(definition)]
PARSERS = {"MantaCluster": parse_cluster, "MantaJob": parse_job}
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def folder_of(kind, namespace="default"):
    return f"/apis/{GROUP_VERSION}/namespaces/{namespace}/{cases.DEFINITIONS[kind].plural}"


def tried(api, case):
    """What the API server says; nothing of it is kept."""
    folder = folder_of(case.raw["kind"])
    if case.before is None:
        return api.create(folder, case.raw, dryRun="All", fieldValidation="Strict")
    made = api.create(folder, case.before, fieldValidation="Strict")
    assert made.ok, made.message
    path = f"{folder}/{case.before['metadata']['name']}"
    try:
        raw = {
            **case.raw,
            "metadata": {**case.raw["metadata"], "resourceVersion": made.body["metadata"]["resourceVersion"]},
        }
        return api.replace(path, raw, dryRun="All", fieldValidation="Strict")
    finally:
        assert api.delete(path).ok


def compare(case, answer):
    """Nothing, or what is not as the case says."""
    if not case.refused:
        if not answer.ok:
            return f"{case.name}: refused: {answer.message}"
        if case.kept and cases.found(answer.body, case.kept[0]) != case.kept[1]:
            # An object may have got defaults of its own fields; what was said is in it.
            kept = cases.found(answer.body, case.kept[0])
            if not (isinstance(kept, (dict, list)) and contains(kept, case.kept[1])):
                return f"{case.name}: became {kept!r}"
        PARSERS[case.raw["kind"]](answer.body)
    elif answer.ok:
        return f"{case.name}: accepted"
    elif case.refused not in answer.message:
        return f"{case.name}: refused with other words: {answer.message}"
    return None


def contains(whole, part):
    """Whether everything that was said is there."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and contains(whole[name], part[name]) for name in part)
    if isinstance(part, list):
        return len(whole) == len(part) and all(contains(*pair) for pair in zip(whole, part, strict=True))
    return whole == part


@pytest.mark.parametrize(("kind", "path"), FIELDS)
def test_a_field_is_accepted_or_refused_in_words(api, kind, path):
    """Missing, null, of a wrong type, too small, too large, too long, twice the same, changed: each as documented."""
    wrong = [compare(case, tried(api, case)) for case in cases.field_cases(kind, path)]
    assert [text for text in wrong if text] == []


@pytest.mark.parametrize("message", dict.fromkeys(RULES))
def test_a_broken_rule_is_said_in_its_words(api, message):
    """What must hold between fields."""
    wrong = [compare(case, tried(api, case)) for case in cases.rule_cases(message)]
    assert [text for text in wrong if text] == []


@pytest.mark.parametrize("kind", cases.DEFINITIONS)
def test_a_misspelt_field_is_refused_by_name(api, kind):
    """As kubectl asks by default; without that, it would be dropped in silence."""
    for path in ("spec.sizze", "spec.workerGroups[0].replicass" if kind == "MantaCluster" else "spec.clusterRef.names"):
        raw = cases.changed(cases.minimal(kind), (path.removeprefix("spec.").replace("[0]", "[]"), 1))
        answer = api.create(folder_of(kind), raw, dryRun="All", fieldValidation="Strict")
        assert f'unknown field "{path}"' in answer.message


@pytest.mark.parametrize("kind", cases.DEFINITIONS)
def test_an_object_without_a_spec_is_refused(api, kind):
    """And one with an empty spec is told everything that it must say."""
    without = {name: value for name, value in cases.minimal(kind).items() if name != "spec"}
    assert "spec: Required value" in api.create(folder_of(kind), without, dryRun="All").message
    empty = api.create(folder_of(kind), {**without, "spec": {}}, dryRun="All").message
    for one in cases.paths(cases.DEFINITIONS[kind]).items():
        if "." not in one[0] and one[1].required:
            assert f"spec.{one[0]}: Required value" in empty


STATUS = {
    "MantaCluster": ClusterStatus(
        observed_generation=1,
        conditions=(
            Condition(
                type="Ready",
                status=ConditionStatus.FALSE,
                reason="Unschedulable",
                message="1 of 2 workers has no node",
                last_transition_time="2026-01-01T00:00:00Z",
                observed_generation=1,
            ),
        ),
        workers="1/2",
        groups=(GroupStatus(name="w", desired=2, ready=1, pending=1, reason="Unschedulable", message="no node"),),
        head=HeadStatus(
            pod_name="demo-head", ready=True, restarts=1, last_failure="OOMKilled", reason="OOMKilled", message="m"
        ),
        resources=Totals(cpu="4", memory="8Gi", gpu="1", object_store="2Gi"),
        endpoints=Endpoints(gateway="manta://demo:7620", dashboard="https://demo-dashboard:8265"),
    ),
    "MantaJob": JobStatus(
        observed_generation=1,
        phase=JobPhase.FAILED,
        submission_id="raysubmit_x",
        attempts=2,
        start_time="2026-01-01T00:00:00Z",
        completion_time="2026-01-01T00:01:00Z",
        exit_code=3,
        message="the driver ended with status 3",
        log_tail="Traceback ...",
    ),
}
COLUMNS = {
    "MantaCluster": {
        "Name": "demo",
        "Ready": "False",
        "Workers": "1/2",
        "CPU": "4",
        "Memory": "8Gi",
        "ObjectStore": "2Gi",
    },
    "MantaJob": {"Name": "demo", "Status": "Failed", "Cluster": "demo", "Attempts": 2, "Exit": 3},
}


@pytest.mark.parametrize("kind", cases.DEFINITIONS)
def test_a_whole_status_is_kept_and_printed(api, namespace, kind):
    """What the operator renders is what a definition has fields for, and `kubectl get` shows it; the spec stays as it was."""
    raw = {**cases.minimal(kind), "metadata": {"name": "demo"}}
    assert api.create(folder_of(kind, namespace), raw).ok
    status = render(STATUS[kind])
    path = f"{folder_of(kind, namespace)}/demo"
    body = {"apiVersion": GROUP_VERSION, "kind": kind, "metadata": {"name": "demo"}, "status": status}

    answer = api.call(
        "PATCH",
        f"{path}/status",
        body,
        content_type="application/apply-patch+yaml",
        fieldManager="tests",
        fieldValidation="Strict",
    )

    assert answer.ok, answer.message
    assert answer.body["status"] == status
    assert answer.body["metadata"]["generation"] == 1
    table = api.call("GET", folder_of(kind, namespace), accept=TABLE).body
    names = [column["name"] for column in table["columnDefinitions"]]
    shown = dict(zip(names, table["rows"][0]["cells"], strict=True))
    assert {name: shown[name] for name in COLUMNS[kind]} == COLUMNS[kind]


def test_they_have_short_names_and_a_category(api):
    """`kubectl get mc`, `kubectl get mj`, `kubectl get manta`."""
    served = {one["name"]: one for one in api.get(f"/apis/{GROUP_VERSION}").body["resources"]}
    assert served["mantaclusters"]["shortNames"] == ["mc"]
    assert served["mantajobs"]["shortNames"] == ["mj"]
    assert served["mantaclusters"]["categories"] == served["mantajobs"]["categories"] == ["manta"]
