# The two images. In the root of the checkout:
#
#   docker build --target runtime  --tag manta:0.1.0-py3.12 .
#   docker build --target operator --tag manta-operator:0.1.0 .
#
# BASE is any image whose `python3` is 3.11 or newer with a pip; drivers need the same minor version, so tags carry it:
#
#   docker build --target runtime --build-arg BASE=python:3.13-slim --tag manta:0.1.0-py3.13 .
#
# Packages of yours go on top (with the base's pip, as the image has none): FROM manta:..., USER 0,
# RUN python3 -m pip --python /opt/manta/bin/python install ..., USER 65532:65532.

ARG BASE=python:3.12-slim

# --- an environment on the base's own interpreter, and a pip beside it ---
FROM ${BASE} AS build
# Where no index answers: a folder `wheelhouse` in the context, and PIP_FIND_LINKS=/wheelhouse PIP_NO_INDEX=1. Its pip serves a base without.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ENV PIP_NO_INDEX=${PIP_NO_INDEX} PIP_FIND_LINKS=${PIP_FIND_LINKS} \
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY LICENSE wheelhous[e] /wheelhouse/
RUN python3 -m venv --without-pip /opt/manta \
 && echo 'manta:x:65532:65532:manta:/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'manta:x:65532:' >> /etc/group \
 && for wheel in /wheelhouse/pip-*.whl; do [ ! -e "$wheel" ] || python3 -m zipfile -e "$wheel" /usr/local/lib/pip-of-build; done \
 && printf '#!/bin/sh\nPYTHONPATH=/usr/local/lib/pip-of-build exec python3 -m pip "$@"\n' > /usr/local/bin/pip-of-build \
 && printf '%s\n' \
    'import sys, tomllib' \
    'project = tomllib.load(open(sys.argv[1], "rb"))["project"]' \
    'wanted = project["dependencies"] + sum((project["optional-dependencies"][name] for name in sys.argv[2:]), [])' \
    'print("\n".join(one for one in wanted if not one.startswith("manta-")))' > /usr/local/lib/requirements.py \
 && chmod 755 /usr/local/bin/pip-of-build && pip-of-build --version
WORKDIR /src

# --- what others publish, in layers that stay the same as long as the lists do, whatever else the project files say ---
FROM build AS requirements
COPY pyproject.toml ./
COPY operator/pyproject.toml operator/
RUN python3 /usr/local/lib/requirements.py pyproject.toml numpy > /runtime.txt \
 && python3 /usr/local/lib/requirements.py pyproject.toml > /operator.txt \
 && python3 /usr/local/lib/requirements.py operator/pyproject.toml >> /operator.txt

FROM build AS runtime-packages
COPY --from=requirements /runtime.txt ./
RUN pip-of-build --python /opt/manta/bin/python install --requirement runtime.txt

FROM build AS operator-packages
COPY --from=requirements /operator.txt ./
RUN pip-of-build --python /opt/manta/bin/python install --requirement operator.txt

# --- our wheels, with the protobuf code that the build generates ---
FROM build AS wheels
COPY LICENSE README.md pyproject.toml hatch_build.py ./
COPY proto proto
COPY runtime runtime
COPY operator operator
RUN pip-of-build wheel --no-deps --wheel-dir /wheels . ./operator

FROM runtime-packages AS runtime-environment
COPY --from=wheels /wheels /wheels
RUN pip-of-build --python /opt/manta/bin/python install --no-deps --no-index /wheels/manta_executor-*.whl

FROM operator-packages AS operator-environment
COPY --from=wheels /wheels /wheels
RUN pip-of-build --python /opt/manta/bin/python install --no-deps --no-index /wheels/*.whl

# --- the images: the base, two lines in its lists of users and groups, the environment, and bytecode that the base may lack ---
FROM ${BASE} AS runtime
COPY --from=build /etc/passwd /etc/group /etc/
COPY --from=runtime-environment /opt/manta /opt/manta
ENV PATH=/opt/manta/bin:${PATH} HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# python:X-slim has no bytecode of the standard library, and a pod's root is read-only: each process would compile it anew,
# half a second of CPU. What our processes import of it is compiled here; of packages pip has done it.
RUN PYTHONDONTWRITEBYTECODE= python -P -c "import manta.pod.container, manta.pod.jobs, manta.control.server, manta.raylet.server, \
    manta.raylet.far, manta.raylet.metrics, manta.gateway.server, manta.dashboard.server, manta.worker.factory, manta.jobs.supervisor, \
    manta.metrics.port, manta.client.direct, manta.api.init, manta.api.driver, prometheus_client, numpy"
LABEL org.opencontainers.image.title="manta" \
      org.opencontainers.image.description="Tasks, actors and shared-memory objects: control, gateway, dashboard, raylets and jobs" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT []
CMD ["python"]

FROM ${BASE} AS operator
COPY --from=build /etc/passwd /etc/group /etc/
COPY --from=operator-environment /opt/manta /opt/manta
ENV PATH=/opt/manta/bin:${PATH} HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN PYTHONDONTWRITEBYTECODE= python -P -c "import manta_operator.app"
LABEL org.opencontainers.image.title="manta-operator" \
      org.opencontainers.image.description="Manta's Kubernetes operator" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["python", "-m", "manta_operator"]
