# Two images of one repository:
#   docker build --target api .
#   docker build --target worker [--build-arg DEVICE=cuda] .
# What builds them stays behind: a final image is the base, one layer of dependencies, one of this package.
ARG PYTHON_IMAGE=python:3.12.15-slim-bookworm@sha256:34386ef0cb081344d7ec1c103ba398e6e9f64e9ab3a1509accc92a4e24a07258

FROM ${PYTHON_IMAGE} AS base
# tini reaps what a killed worker leaves, and passes signals on: process 1 of a container ignores them otherwise.
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini=0.19.* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --no-create-home --home-dir /data --uid 10001 --user-group --shell /usr/sbin/nologin dfad \
    && install -d -o 10001 -g 10001 -m 0700 /data
# The root file system may be read-only: all that is written goes to /data (scratch space) and /tmp.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/dfad \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib \
    DFAD_HOME=/data

FROM base AS build
# Wheels alone, of the versions and hashes in deploy/lock (`make lock`): nothing runs while it is installed.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv /opt/venv
COPY deploy/lock lock

FROM build AS package
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --only-binary :all: -r lock/build.txt
COPY pyproject.toml ./
COPY app app
COPY worker worker
COPY dfad_core dfad_core
COPY dfad_client dfad_client
RUN pip install --no-cache-dir --no-build-isolation --no-deps --target /opt/dfad .

FROM build AS api-dependencies
# Without torch: the API never imports it.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --only-binary :all: -r lock/api.txt \
    && pip check

FROM build AS worker-dependencies
ARG DEVICE=cpu
# Where torch comes from, if not from pip's own index: its Linux builds there are those for CUDA, which run on
# processors as well. PyTorch has an index of smaller ones for processors alone. Such builds have hashes of their
# own: `make lock TORCH=cpu=ADDRESS` (or cuda=) writes them, before the image is built.
ARG TORCH_CPU_INDEX
ARG TORCH_CUDA_INDEX
RUN --mount=type=cache,target=/root/.cache/pip \
    case "$DEVICE" in \
        cpu) index=$TORCH_CPU_INDEX ;; \
        cuda) index=$TORCH_CUDA_INDEX ;; \
        *) echo "DEVICE is cpu or cuda, not '$DEVICE'" >&2; exit 1 ;; \
    esac \
    && torch=lock/torch${index:+-$DEVICE}.txt \
    && if ! [ -e "$torch" ]; then echo "deploy/$torch is missing: make lock TORCH=$DEVICE=$index" >&2; exit 1; fi \
    && pip install --no-deps --require-hashes --only-binary :all: ${index:+--index-url "$index"} -r "$torch" \
    && pip install --require-hashes --only-binary :all: -r lock/worker.txt \
    && pip check

FROM base AS api
COPY --from=api-dependencies /opt/venv /opt/venv
COPY --from=package /opt/dfad /opt/dfad
USER 10001:10001
WORKDIR /data
ENV DFAD_HOST=0.0.0.0 DFAD_PORT=8000
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "-m", "app.healthy"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "app"]
ARG REVISION
ENV DFAD_REVISION=$REVISION
LABEL org.opencontainers.image.title="dfad api" \
      org.opencontainers.image.description="Data-free distillation as a service: the HTTP API, and the migrations" \
      org.opencontainers.image.revision=$REVISION

FROM base AS worker
COPY --from=worker-dependencies /opt/venv /opt/venv
COPY --from=package /opt/dfad /opt/dfad
USER 10001:10001
WORKDIR /data
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
# A worker that is asked to end saves its job; give it longer than DFAD_STOP_GRACE_SECONDS before SIGKILL.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=60s --timeout=30s --start-period=120s CMD ["python", "-m", "worker.healthy"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "worker"]
ARG REVISION
ENV DFAD_REVISION=$REVISION
LABEL org.opencontainers.image.title="dfad worker" \
      org.opencontainers.image.description="Data-free distillation as a service: what trains" \
      org.opencontainers.image.revision=$REVISION
