module manta/tests/e2e/localpath

go 1.24.0

tool github.com/rancher/local-path-provisioner

// With the client library of the nodes' Kubernetes: its own older one would be compiled for it alone, which takes longer than all else.
require (
	github.com/rancher/local-path-provisioner v0.0.30
	k8s.io/api v0.34.4
	k8s.io/apimachinery v0.34.4
	k8s.io/client-go v0.34.4
)
