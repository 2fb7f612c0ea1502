"""What the pages of docs/kubernetes tell people to type can be typed: files, charts, values, kinds and options exist."""

from __future__ import annotations

import ast
import re

import pytest
import yaml

from manta_operator.api.definitions import ALL
from tests.charts import documents
from tests.charts.rendering import ROOT, RefusedError, of_kind
from tools import chart_alerts

COMMANDS = documents.commands()
PAGES = {"README.md", "install.md", "upgrade.md", "uninstall.md", "security.md", "monitoring.md", "troubleshooting.md"}
#: Kinds of Kubernetes' own that the pages name.
KINDS = {
    "configmaps", "crd", "deployment", "endpointslices", "events", "job", "lease", "namespace", "poddisruptionbudgets", "pods",
    "pvc", "secret", "service",
}  # fmt: skip


def of(program):
    found = [command for command in COMMANDS if command.words[:1] == [program]]
    assert found, f"no page shows {program}"
    return pytest.mark.parametrize("command", found, ids=lambda command: f"{command.page}: {command.line[:60]}")


def test_there_are_the_pages_that_are_promised():
    assert {page.name for page in documents.pages()} >= PAGES


def test_every_command_is_of_a_program_that_these_tests_know():
    programs = {command.words[0] for command in COMMANDS if command.page != "jobs.md"}
    assert programs <= {"helm", "kubectl", "kind", "docker", "python"}


@of("helm")
def test_helm_takes_it(helm, command):
    """Rendered with the page's own options; a page that names a value which is not there is a page that misleads."""
    words = command.words
    action = words[1]
    known = helm.run(action, "--help").stdout
    for flag in (word.split("=")[0] for word in words[2:] if word.startswith("-")):
        assert re.search(rf"^\s*(-\w, )?{re.escape(flag)}\b|^\s*{re.escape(flag)},", known, re.MULTILINE), flag
    if action in ("install", "upgrade"):
        [chart] = [word.removeprefix("charts/") for word in words if word.startswith("charts/")]
        flags = [word for at, word in enumerate(words) if word.startswith("--set") or words[at - 1].startswith("--set")]
        assert helm.render(chart, *flags)


@pytest.mark.parametrize(("page", "setting"), documents.settings())
def test_a_setting_in_running_text_is_one(helm, page, setting):
    """Of one of the two charts."""
    words = []
    for chart in ("manta-operator", "manta-cluster"):
        try:
            helm.render(chart, "--set", setting)
        except RefusedError as refused:
            words.append(str(refused))
        else:
            return
    pytest.fail(f"{page}: {setting} is of neither chart: {words}")


@of("kubectl")
def test_what_kubectl_is_told_exists(command):
    words = command.words
    if words[1] == "-n":
        del words[1:3]
    kinds = KINDS | {name for one in ALL for name in (one.plural, one.kind.lower(), one.short_name)}
    for word in re.findall(r"examples/\S+|charts/\S+", command.line):
        assert (ROOT / word).exists(), word
    verb, rest = words[1], [word for word in words[2:] if not word.startswith("-")]
    if verb in ("get", "describe", "delete", "wait", "annotate", "patch", "label", "rollout", "logs", "port-forward"):
        target = rest[1] if verb == "rollout" else rest[0]
        for kind in target.split("/")[0].split(","):
            assert kind in kinds, kind


@of("kind")
def test_files_for_kind_are_there(command):
    if "--config" in command.words:
        assert (ROOT / command.words[command.words.index("--config") + 1]).exists()


@of("docker")
def test_targets_of_the_dockerfile_are_there(command):
    targets = re.findall(r"^FROM .* AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert command.words[command.words.index("--target") + 1] in targets


@of("python")
def test_programs_are_python(command):
    ast.parse(command.words[command.words.index("-c") + 1])


def test_images_in_documents_and_examples_are_those_of_the_charts(helm):
    """One tag everywhere, so that what a page builds is what its next command takes."""
    [cluster] = of_kind(helm.render("manta-cluster"), "MantaCluster")
    [deployment] = of_kind(helm.render("manta-operator"), "Deployment")
    images = {cluster["spec"]["image"], deployment["spec"]["template"]["spec"]["containers"][0]["image"]}
    texts = [page.read_text() for page in documents.pages()]
    texts += [path.read_text() for path in (ROOT / "examples/kubernetes").glob("*.yaml")]
    shown = {image for text in texts for image in re.findall(r"\bmanta(?:-operator)?:\d[\w.-]*", text)}
    assert shown == images


def test_the_table_of_alerts_is_up_to_date():
    """`python tools/chart_alerts.py` writes it anew."""
    text = chart_alerts.PAGE.read_text()
    assert chart_alerts.page(text) == text


@pytest.mark.parametrize("page", documents.pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", documents.pages(), ids=lambda page: page.name)
def test_yaml_in_pages_is_yaml(page):
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        assert yaml.safe_load(block)
