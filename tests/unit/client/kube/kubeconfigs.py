"""Kubeconfigs as the tools that people use write them, shortened: names and shapes are theirs."""

from __future__ import annotations

import base64

CA = b"-----BEGIN CERTIFICATE-----\nauthority\n-----END CERTIFICATE-----\n"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nuser\n-----END CERTIFICATE-----\n"
KEY = b"-----BEGIN EC PRIVATE KEY-----\nuser\n-----END EC PRIVATE KEY-----\n"


def b64(content: bytes) -> str:
    """As kubeconfigs hold files."""
    return base64.b64encode(content).decode()


KIND = f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {b64(CA)}
    server: https://127.0.0.1:41235
  name: kind-kind
contexts:
- context:
    cluster: kind-kind
    user: kind-kind
  name: kind-kind
current-context: kind-kind
kind: Config
preferences: {{}}
users:
- name: kind-kind
  user:
    client-certificate-data: {b64(CERTIFICATE)}
    client-key-data: {b64(KEY)}
"""

MINIKUBE = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority: .minikube/ca.crt
    extensions:
    - extension:
        last-update: Fri, 14 Nov 2025 09:12:01 CET
        provider: minikube.sigs.k8s.io
        version: v1.37.0
      name: cluster_info
    server: https://192.168.49.2:8443
  name: minikube
contexts:
- context:
    cluster: minikube
    namespace: research
    user: minikube
  name: minikube
current-context: minikube
kind: Config
users:
- name: minikube
  user:
    client-certificate: .minikube/profiles/minikube/client.crt
    client-key: .minikube/profiles/minikube/client.key
"""

K3S = f"""\
apiVersion: v1
clusters:
- cluster: {{certificate-authority-data: {b64(CA)}, server: 'https://[::1]:6443/'}}
  name: default
contexts:
- context: {{cluster: default, user: default}}
  name: default
current-context: default
kind: Config
users:
- name: default
  user: {{client-certificate-data: {b64(CERTIFICATE)}, client-key-data: {b64(KEY)}}}
"""

EKS = f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {b64(CA)}
    server: https://0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com
  name: arn:aws:eks:eu-west-1:111122223333:cluster/prod
contexts:
- context:
    cluster: arn:aws:eks:eu-west-1:111122223333:cluster/prod
    user: arn:aws:eks:eu-west-1:111122223333:cluster/prod
  name: arn:aws:eks:eu-west-1:111122223333:cluster/prod
current-context: arn:aws:eks:eu-west-1:111122223333:cluster/prod
kind: Config
users:
- name: arn:aws:eks:eu-west-1:111122223333:cluster/prod
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      args: [--region, eu-west-1, eks, get-token, --cluster-name, prod, --output, json]
      command: aws
      env:
      - name: AWS_PROFILE
        value: work
"""

GKE = f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {b64(CA)}
    server: https://34.76.1.2
  name: gke_my-project_europe-west1_prod
contexts:
- context:
    cluster: gke_my-project_europe-west1_prod
    user: gke_my-project_europe-west1_prod
  name: gke_my-project_europe-west1_prod
current-context: gke_my-project_europe-west1_prod
kind: Config
users:
- name: gke_my-project_europe-west1_prod
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      command: gke-gcloud-auth-plugin
      installHint: Install gke-gcloud-auth-plugin for use with kubectl by following
        https://cloud.google.com/kubernetes-engine/docs/how-to/cluster-access-for-kubectl#install_plugin
      provideClusterInfo: true
"""

OPENSHIFT = """\
apiVersion: v1
clusters:
- cluster:
    insecure-skip-tls-verify: true
    server: https://api.crc.testing:6443
  name: api-crc-testing:6443
contexts:
- context:
    cluster: api-crc-testing:6443
    namespace: team-a
    user: developer/api-crc-testing:6443
  name: team-a/api-crc-testing:6443/developer
current-context: team-a/api-crc-testing:6443/developer
kind: Config
users:
- name: developer/api-crc-testing:6443
  user:
    token: sha256~abcDEF
"""

RANCHER = """\
apiVersion: v1
kind: Config
clusters:
- name: "prod"
  cluster:
    server: "https://rancher.example.com/k8s/clusters/c-m-abc123"
users:
- name: "prod"
  user:
    token: "kubeconfig-u-x:secret"
contexts:
- name: "prod"
  context:
    user: "prod"
    cluster: "prod"
current-context: "prod"
"""

TELEPORT = f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {b64(CA)}
    server: https://teleport.example.com:443
    tls-server-name: kube-teleport-proxy-alpn.teleport.example.com
    proxy-url: http://proxy.example.com:3128
  name: teleport.example.com
contexts:
- context: {{cluster: teleport.example.com, user: teleport.example.com-prod}}
  name: teleport.example.com-prod
current-context: teleport.example.com-prod
kind: Config
users:
- name: teleport.example.com-prod
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      args: [kube, credentials, --kube-cluster=prod]
      command: ./bin/tsh
      env: null
      interactiveMode: Never
"""

KUBECTL_PROXY = """\
apiVersion: v1
kind: Config
clusters:
- {name: proxy, cluster: {server: 'localhost:8001'}}
contexts:
- {name: proxy, context: {cluster: proxy, user: ''}}
current-context: proxy
users: null
"""
