# The runtime's image with packages on top, as the head of the project's Dockerfile says; pip comes out of the wheelhouse where there is one.
ARG RUNTIME
FROM ${RUNTIME}
ARG PACKAGES
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
COPY Dockerfile wheelhous[e] /wheelhouse/
USER 0
RUN for wheel in /wheelhouse/pip-*.whl; do [ ! -e "$wheel" ] || python3 -m zipfile -e "$wheel" /tmp/pip; done \
 && PYTHONPATH=/tmp/pip python3 -m pip --python /opt/manta/bin/python install --no-cache-dir ${PACKAGES} \
 && rm -rf /tmp/pip
USER 65532:65532
