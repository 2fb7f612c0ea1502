"""Tests of the operator against a real Kubernetes API server; `harness` starts it. README.md says how they run."""
