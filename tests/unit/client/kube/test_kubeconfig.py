"""A kubeconfig means here what it means to kubectl."""

from __future__ import annotations

import builtins
import dataclasses
import json

import pytest
import yaml

from manta.client.kube import kubeconfig
from manta.client.kube.access import Access, Exec, User
from manta.core.errors import KubeconfigError, MissingPackageError
from tests.unit.client.kube import kubeconfigs


def access(text, context="", path="/users/u/.kube/config"):
    return kubeconfig.access([(path, yaml.safe_load(text))], context)


def changed(text, kind, **fields):
    """A kubeconfig with other fields of its only cluster, user or context."""
    config = yaml.safe_load(text)
    entry = config[f"{kind}s"][0][kind]
    for name, value in fields.items():
        if value is None:
            del entry[name.replace("_", "-")]
        else:
            entry[name.replace("_", "-") if name != "tokenFile" else name] = value
    return yaml.safe_dump(config)


def test_kinds():
    assert access(kubeconfigs.KIND) == Access(
        source="context 'kind-kind' of /users/u/.kube/config",
        server="https://127.0.0.1:41235",
        kubectl=" --context kind-kind",
        authority=kubeconfigs.CA,
        user=User(name="kind-kind", certificate=kubeconfigs.CERTIFICATE, key=kubeconfigs.KEY),
    )


def test_k3ss_with_an_address_of_ipv6():
    assert access(kubeconfigs.K3S).server == "https://[::1]:6443"


def test_minikubes_paths_are_relative_to_its_folder(tmp_path):
    folder = tmp_path / ".minikube" / "profiles" / "minikube"
    folder.mkdir(parents=True)
    (tmp_path / ".minikube" / "ca.crt").write_bytes(kubeconfigs.CA)
    (folder / "client.crt").write_bytes(kubeconfigs.CERTIFICATE)
    (folder / "client.key").write_bytes(kubeconfigs.KEY)

    found = access(kubeconfigs.MINIKUBE, path=str(tmp_path / "config"))

    assert (found.authority, found.namespace) == (kubeconfigs.CA, "research")
    assert (found.user.certificate, found.user.key) == (kubeconfigs.CERTIFICATE, kubeconfigs.KEY)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(
        KubeconfigError, match=r"cluster 'minikube' of /nowhere/config: /nowhere/.minikube/ca.crt cannot"
    ):
        access(kubeconfigs.MINIKUBE, path="/nowhere/config")


def test_ekss():
    found = access(kubeconfigs.EKS)

    assert found.user.plugin == Exec(
        command="aws",
        args=("--region", "eu-west-1", "eks", "get-token", "--cluster-name", "prod", "--output", "json"),
        env=(("AWS_PROFILE", "work"),),
        api_version="client.authentication.k8s.io/v1beta1",
        install_hint="",
        cluster=None,
        interactive="IfAvailable",
    )


def test_gkes_plugin_is_told_of_the_cluster():
    plugin = access(kubeconfigs.GKE).user.plugin

    assert plugin.cluster == {
        "server": "https://34.76.1.2",
        "certificate-authority-data": kubeconfigs.b64(kubeconfigs.CA),
        "config": None,
    }
    assert plugin.install_hint.startswith("Install gke-gcloud-auth-plugin for use with kubectl by following https://")


def test_openshifts():
    found = access(kubeconfigs.OPENSHIFT)

    assert (found.insecure, found.authority, found.namespace) == (True, b"", "team-a")
    assert found.user.token == "sha256~abcDEF"
    assert "sha256~abcDEF" not in repr(found)


def test_ranchers_has_a_path():
    assert access(kubeconfigs.RANCHER).server == "https://rancher.example.com/k8s/clusters/c-m-abc123"


def test_teleports_has_another_name_and_a_proxy_and_a_plugin_beside_it():
    found = access(kubeconfigs.TELEPORT)

    assert found.server_name == "kube-teleport-proxy-alpn.teleport.example.com"
    assert found.proxy == "http://proxy.example.com:3128"
    assert (found.user.plugin.command, found.user.plugin.interactive) == ("/users/u/.kube/./bin/tsh", "Never")


def test_kubectls_proxy_is_asked_anonymously():
    assert access(kubeconfigs.KUBECTL_PROXY) == Access(
        source="context 'proxy' of /users/u/.kube/config", server="http://localhost:8001", kubectl=" --context proxy"
    )


def test_another_context_than_the_current_one():
    both = yaml.safe_load(kubeconfigs.KIND)
    for kind in ("clusters", "contexts", "users"):
        both[kind] += yaml.safe_load(kubeconfigs.RANCHER)[kind]

    assert access(yaml.safe_dump(both), "prod").user.token == "kubeconfig-u-x:secret"
    with pytest.raises(KubeconfigError, match=r"no context 'staging'; its contexts: kind-kind, prod"):
        access(yaml.safe_dump(both), "staging")


def test_of_several_files_the_first_that_says_something_wins():
    first = {"current-context": "prod", "clusters": [{"name": "kind-kind", "cluster": {"server": "https://other:1"}}]}
    files = [
        ("/a", first),
        ("/b", yaml.safe_load(kubeconfigs.KIND)),
        ("/c", yaml.safe_load(kubeconfigs.RANCHER)),
    ]

    assert kubeconfig.access(files).server.startswith("https://rancher")
    kind = kubeconfig.access(files, "kind-kind")
    assert (kind.server, kind.authority, kind.user.key) == ("https://other:1", b"", kubeconfigs.KEY)


def test_files_that_kubectl_takes(tmp_path):
    here, absent = tmp_path / "here", tmp_path / "absent"
    here.write_text(kubeconfigs.KIND)
    home = tmp_path / "home" / ".kube"
    home.mkdir(parents=True)
    (home / "config").write_text(kubeconfigs.RANCHER)

    both = kubeconfig.find(environ={"KUBECONFIG": f"{absent}::{here}", "HOME": str(home.parent)})
    default = kubeconfig.find(environ={"HOME": str(home.parent)})

    assert both.source == f"context 'kind-kind' of {here}"
    assert default.source == f"context 'prod' of {home / 'config'}"


def test_without_any_it_says_where_it_looked(tmp_path):
    with pytest.raises(
        KubeconfigError, match=f"there is no kubeconfig: looked for {tmp_path}/.kube/config. Set KUBECONFIG"
    ):
        kubeconfig.find(environ={"HOME": str(tmp_path)})
    with pytest.raises(KubeconfigError, match="looked for /no/where"):
        kubeconfig.find(path="/no/where", environ={"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.96.0.1"})


def test_a_pods_service_account(tmp_path):
    for name, text in (("token", "t0ken\n"), ("ca.crt", kubeconfigs.CA.decode()), ("namespace", "team-a")):
        (tmp_path / name).write_text(text)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}

    found = kubeconfig.in_cluster(environ, str(tmp_path))

    assert (found.server, found.namespace, found.authority) == ("https://[fd00::1]:443", "team-a", kubeconfigs.CA)
    assert found.user.token_file == str(tmp_path / "token")
    with pytest.raises(KubeconfigError, match="service account has no token"):
        kubeconfig.in_cluster(environ, str(tmp_path / "none"))


def test_a_kubeconfig_in_json_needs_no_yaml(tmp_path, monkeypatch):
    plain, needs = tmp_path / "json", tmp_path / "yaml"
    plain.write_text(json.dumps(yaml.safe_load(kubeconfigs.KIND)))
    needs.write_text(kubeconfigs.KIND)
    monkeypatch.setattr(builtins, "__import__", without_yaml(builtins.__import__))

    assert kubeconfig.find(path=str(plain)).server == "https://127.0.0.1:41235"
    with pytest.raises(
        MissingPackageError, match=r"PyYAML, which is not installed: pip install 'manta-executor\[kubernetes\]'"
    ):
        kubeconfig.find(path=str(needs))


def without_yaml(original):
    def fake(name, *args, **kwargs):
        if name == "yaml":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    return fake


def test_acting_as_somebody_else():
    text = changed(
        kubeconfigs.RANCHER, "user", **{"as": "jane", "as-groups": ["a", "b"], "as-user-extra": {"scopes": ["x"]}}
    )

    assert access(text).user.headers == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-scopes", "x"),
    )


def test_a_file_of_a_token_goes_before_a_token():
    user = access(changed(kubeconfigs.RANCHER, "user", tokenFile="token")).user

    assert (user.token, user.token_file) == ("", "/users/u/.kube/token")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            changed(kubeconfigs.RANCHER, "user", token=None, username="a", password="b"),
            "a name and a password.*since Kubernetes 1.19",
        ),
        (changed(kubeconfigs.RANCHER, "user", **{"auth-provider": {"name": "gcp"}}), "auth-provider.*gave up in 1.26"),
        (changed(kubeconfigs.KIND, "user", client_key_data=None), "no client-key to the other one"),
        (changed(kubeconfigs.KIND, "user", client_certificate_data=None), "no client-certificate to the other one"),
        (
            changed(kubeconfigs.KIND, "cluster", certificate_authority_data="%%"),
            "certificate-authority-data is no base64",
        ),
        (changed(kubeconfigs.KIND, "cluster", insecure_skip_tls_verify=True), "one of them has to go"),
        (changed(kubeconfigs.KIND, "cluster", server=None), "no server with a URL"),
        (changed(kubeconfigs.KIND, "cluster", server="ftp://x"), "no server with a URL of http or https: 'ftp://x'"),
        (changed(kubeconfigs.KIND, "cluster", server="https://x:port"), "no server with a URL"),
        (changed(kubeconfigs.KIND, "cluster", proxy_url="socks5://x:1"), "proxies of http and https are supported"),
        (changed(kubeconfigs.KIND, "context", cluster="other"), "a cluster 'other' that the kubeconfig does not have"),
        (changed(kubeconfigs.KIND, "context", user="other"), "a user 'other' that the kubeconfig does not have"),
        (changed(kubeconfigs.KIND, "context", namespace=["a"]), "namespace is no text"),
        (changed(kubeconfigs.EKS, "user", exec={"command": ""}), "an exec plugin without a command"),
        (
            changed(
                kubeconfigs.EKS, "user", exec={"command": "x", "apiVersion": "client.authentication.k8s.io/v1alpha1"}
            ),
            "v1 and v1beta1 are supported",
        ),
        ("clusters: 3", "clusters are no list"),
        ("users: [3]", "one of its users has no name"),
        ("{}", "no current context.*its contexts: none"),
    ],
)
def test_what_cannot_be_used_is_named(text, says):
    with pytest.raises(KubeconfigError, match=says) as refused:
        access(text)
    assert "/users/u/.kube/config" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [("a: [", "no kubeconfig: while parsing"), ("- a", "no kubeconfig: it holds list"), ("{", "no kubeconfig")],
)
def test_what_is_no_kubeconfig(text, says, tmp_path):
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(KubeconfigError, match=says) as refused:
        kubeconfig.find(path=str(file))
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_secret_is_shown():
    for text in (kubeconfigs.KIND, kubeconfigs.RANCHER):
        found = access(text)
        assert "secret" not in repr(found)
        assert "PRIVATE KEY" not in repr(found)
        assert dataclasses.fields(found)
