"""The programs of tests/process/programs on Kubernetes, with the same facts: each module here is one of there."""
