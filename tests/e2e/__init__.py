"""Tests of the whole on a real Kubernetes with real nodes: README.md."""
