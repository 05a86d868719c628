# Two images of one repository: `--target api` (no torch) and `--target worker`.
FROM python:3.12-slim AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 dfad && mkdir /data && chown dfad /data
ENV DFAD_HOME=/data
WORKDIR /src
COPY pyproject.toml constraints.txt ./

FROM base AS api
# The package itself depends on torch, which the API never imports: take the list of the `api` extra alone.
RUN python -c "import tomllib; print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['api']))" > api.txt \
    && pip install -c constraints.txt -r api.txt
COPY . .
RUN pip install --no-deps .
USER dfad
WORKDIR /data
ENV DFAD_HOST=0.0.0.0 DFAD_PORT=8000
EXPOSE 8000
HEALTHCHECK CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"
CMD ["python", "-m", "app"]

FROM base AS worker
COPY . .
RUN pip install -c constraints.txt '.[worker]'
USER dfad
WORKDIR /data
# SIGTERM makes a worker save its job; give it longer than DFAD_STOP_GRACE_SECONDS before SIGKILL.
STOPSIGNAL SIGTERM
CMD ["python", "-m", "worker"]
