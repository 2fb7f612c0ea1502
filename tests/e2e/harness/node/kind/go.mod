module manta/tests/e2e/kind

go 1.24.0

tool sigs.k8s.io/kind

require sigs.k8s.io/kind v0.30.0
