"""How long people wait on Kubernetes: `python -m benchmarks.kubernetes`."""
