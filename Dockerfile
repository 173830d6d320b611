# syntax=docker/dockerfile:1
# The server in a container. VARIANT=cpu (the embedded model) or gpu (torch and its CUDA libraries as well).
#   docker build --build-arg VARIANT=cpu --tag stream-server .
#   docker run --publish 8000:8000 --volume stream-server:/data --stop-timeout 40 stream-server
# /data holds the database, the secret, and the audio of unfinished jobs. On a CPU the server starts a worker of its own in the
# same container; several containers share a database and a bucket instead (docs/configuration.md, Jobs and workers):
#   docker run --env-file shared.env --no-healthcheck --stop-timeout 40 stream-server worker

ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG VARIANT=cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY stream_server stream_server
COPY protocol/stream_protocol protocol/stream_protocol
COPY clients/python/stream_client clients/python/stream_client
COPY clients/browser/stream_browser clients/browser/stream_browser
# Installed, not editable, into an environment that the next stage takes as a whole; pip stays behind.
RUN --mount=type=cache,target=/root/.cache/pip \
    case "$VARIANT" in \
        cpu) package=. ;; \
        gpu) package='.[gpu]' ;; \
        *) echo "VARIANT is cpu or gpu, not '$VARIANT'" >&2; exit 1 ;; \
    esac \
    && python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install "$package" \
    && /venv/bin/stream-server --version

FROM python:${PYTHON}-slim
ARG VARIANT=cpu
# On a card the first start compiles kernels, for which Triton needs a C compiler.
RUN [ "$VARIANT" != gpu ] || { apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*; }
RUN groupadd --gid 10001 stream-server \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin stream-server \
    && install --directory --owner=stream-server --group=stream-server /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/data/huggingface \
    TRITON_CACHE_DIR=/data/triton \
    STREAM_SERVER_PORT=8000 \
    STREAM_SERVER_DATA_DIR=/data
# Nothing but /data and /tmp is written to: the rest may be read-only, as in deploy/compose.yaml and deploy/kubernetes.yaml.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# Over TLS where STREAM_SERVER_TLS_CERTIFICATE is set, whatever name the certificate has. /readyz answers 503 while the server drains, which
# raises; a proxy of the environment is not for this machine.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; e = os.environ; c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE; r.build_opener(r.ProxyHandler({}), r.HTTPSHandler(context=c)).open(('https' if e.get('STREAM_SERVER_TLS_CERTIFICATE') else 'http') + '://127.0.0.1:' + e['STREAM_SERVER_PORT'] + '/readyz', timeout=4)"]
ENTRYPOINT ["stream-server"]
CMD ["serve", "--host", "0.0.0.0"]
