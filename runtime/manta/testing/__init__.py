"""What users and we test with: conformance checks, an in-process cluster, clocks that stand still. Shipped."""
