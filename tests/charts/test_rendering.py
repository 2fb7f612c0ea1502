"""What helm makes of the charts."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml

from tests.charts import snapshots
from tests.charts.rendering import CASES, CHARTS, ROOT, RefusedError, ci_values, name_of, of_kind


@pytest.mark.parametrize(("chart", "values"), CASES, ids=name_of)
def test_helm_finds_nothing_wrong(helm, chart, values):
    flags = ["-f", str(values)] if values else []
    done = helm.run("lint", "--strict", "--kube-version", "1.30.0", str(CHARTS[chart]), *flags)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("chart", CHARTS)
def test_without_values_it_is_what_it_was(helm, chart):
    """`python -m tests.charts.snapshots` writes it anew; what then differs in the commit is what users will see."""
    assert snapshots.file_of(chart).read_text() == snapshots.taken(helm, chart)


@pytest.mark.parametrize("chart", CHARTS)
def test_there_are_values_for_ci(chart):
    assert ci_values(chart)


@pytest.mark.parametrize("chart", CHARTS)
def test_the_charts_own_suites_pass(helm_unittest, chart):
    done = subprocess.run([helm_unittest, str(CHARTS[chart])], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("chart", "path", "wrong"),
    [
        ("manta-operator", "replicaCount=2", "replicaCount"),
        ("manta-operator", "image.tags=1", "tags"),
        ("manta-operator", "metrics.serviceMonitor.enable=true", "enable"),
        ("manta-operator", "crds.enabled=yes", "enabled"),
        ("manta-operator", "watchNamespaces={Upper}", "watchNamespaces"),
        ("manta-operator", "prometheusRule.enabled=true,prometheusRule.disabled={MantaNope}", "MantaNope"),
        ("manta-operator", "replicas=many", "replicas"),
        ("manta-cluster", "worker.replicas=2", "worker"),
        ("manta-cluster", "workerGroups.workers.replica=2", "replica"),
        ("manta-cluster", "workerGroups.Gpu.replicas=2", "Gpu"),
        ("manta-cluster", "workerGroups.workers.resources.limit.cpu=2", "limit"),
        ("manta-cluster", "workerGroups.workers.replicas=-1", "replicas"),
        ("manta-cluster", "head.storage.type=disk", "type"),
        ("manta-cluster", "head.storage.sise=2Gi", "sise"),
        ("manta-cluster", "auth.mode=nobody", "mode"),
        ("manta-cluster", "image.python=3", "python"),
        ("manta-cluster", f"name={'a' * 51}", "name"),
    ],
)
def test_a_value_that_is_wrong_is_named(helm, chart, path, wrong):
    with pytest.raises(RefusedError) as refused:
        helm.render(chart, "--set", path)
    assert wrong in str(refused.value)


def test_the_definitions_are_rendered_as_they_are(helm):
    """Nothing in them means something to helm by accident."""
    rendered = {
        one["metadata"]["name"]: one for one in of_kind(helm.render("manta-operator"), "CustomResourceDefinition")
    }
    files = sorted((CHARTS["manta-operator"] / "charts/manta-crds/templates").glob("*.yaml"))

    for file in files:
        manifest = yaml.safe_load(file.read_text())
        assert rendered[manifest["metadata"]["name"]] == manifest
        assert manifest["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert len(rendered) == len(files)
    without = helm.render("manta-operator", "--set", "crds.enabled=false")
    assert of_kind(without, "CustomResourceDefinition") == []


def test_dashboards_arrive_as_they_are(helm):
    """As ConfigMaps with the label by which Grafana's sidecar looks for them."""
    maps = of_kind(helm.render("manta-operator"), "ConfigMap")
    files = sorted((CHARTS["manta-operator"] / "dashboards").glob("*.json"))

    arrived = {name: json.loads(text) for one in maps for name, text in one["data"].items()}
    assert arrived == {f"manta-{file.name}": json.loads(file.read_text()) for file in files}
    assert all(one["metadata"]["labels"]["grafana_dashboard"] == "1" for one in maps)


def test_every_alert_arrives_but_for_those_that_are_left_out(helm):
    flags = ["--set", "prometheusRule.enabled=true,prometheusRule.alertLabels.team=data"]
    file = yaml.safe_load((CHARTS["manta-operator"] / "alerts.yaml").read_text())
    names = [rule["alert"] for group in file["groups"] for rule in group["rules"]]

    [whole] = of_kind(helm.render("manta-operator", *flags), "PrometheusRule")
    arrived = [rule for group in whole["spec"]["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in arrived] == names
    assert [
        {**rule, "labels": {**rule["labels"], "team": "data"}} for group in file["groups"] for rule in group["rules"]
    ] == arrived

    [fewer] = of_kind(
        helm.render("manta-operator", *flags, "--set", f"prometheusRule.disabled={{{names[0]}}}"), "PrometheusRule"
    )
    assert [rule["alert"] for group in fewer["spec"]["groups"] for rule in group["rules"]] == names[1:]


def test_archives_have_what_the_charts_need_and_no_tests(helm, tmp_path):
    import tarfile

    for chart, folder in CHARTS.items():
        done = helm.run("package", str(folder), "-d", str(tmp_path))
        assert done.returncode == 0, done.stderr
        [archive] = tmp_path.glob(f"{chart}-*.tgz")
        with tarfile.open(archive) as packed:
            names = {name.split("/", 1)[1] for name in packed.getnames()}
        assert {"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "templates/NOTES.txt"} <= names
        assert not [name for name in names if name.startswith(("tests/", "ci/"))]
        kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert names <= kept, f"{chart}: {names - kept} are not in {folder.relative_to(ROOT)}"


@pytest.mark.parametrize("chart", CHARTS)
def test_a_typo_is_refused_by_its_name_wherever_it_stands(helm, chart):
    """In every object of the values that has keys of ours, made from the schema; helm names all of them at once."""
    schema = json.loads((CHARTS[chart] / "values.schema.json").read_text())
    values, wanted = {}, []

    def misspell(found, inner, path):
        if inner.get("type") != "object":
            return
        if inner.get("additionalProperties") is False:
            found["no-such-value"] = 1
            wanted.append(path)
        elif isinstance(inner.get("additionalProperties"), dict):
            misspell(found.setdefault("one", {}), inner["additionalProperties"], (*path, "one"))
        for name, one in inner.get("properties", {}).items():
            if one.get("type") == "object":
                misspell(found.setdefault(name, {}), one, (*path, name))

    misspell(values, schema, ())
    with pytest.raises(RefusedError) as refused:
        helm.render(chart, values=values)
    said = str(refused.value)
    missing = [path for path in wanted if not re.search(rf"{_pointer(path)}\W.*no-such-value", said)]
    assert missing == [], said
    assert len(wanted) > 5


def _pointer(path):
    """As helm writes where something stands."""
    return re.escape("/".join(path)) if path else ""
