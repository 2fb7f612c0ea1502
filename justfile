# Shorthand for ./dev, which works without just.

# List the commands.
default:
    @./dev help

# Set up and run the example.
quickstart *args:
    ./dev quickstart {{args}}

# Install everything that checks and tests need.
setup:
    ./dev setup

# Format, lint, types, layers, protos and the fast tests.
check *args:
    ./dev check {{args}}

# Everything; arguments go to pytest.
test *args:
    ./dev test {{args}}

# Compare with Ray, Dask and a process pool.
bench *args:
    ./dev bench {{args}}

# Build Kubernetes' control plane for tests/kube; with `up`, start one.
kube *args:
    ./dev kube {{args}}

# Build what tests/e2e needs; with `up`, have a kind cluster with the images on it.
kind *args:
    ./dev kind {{args}}

# Ten minutes of mixed work with random kills.
soak *args:
    ./dev soak {{args}}
