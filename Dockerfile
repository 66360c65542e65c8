# An image that runs `midigpt serve` as a user without rights, on a root that may be read-only (docs/daw.md, "In a container"):
#
#   docker build -t midigpt .
#   docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:3456:3456 -v "$PWD/runs/001:/models:ro" midigpt

FROM python:3.12-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# A compiler of whatever version the release of Debian has.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
COPY constraints.txt /tmp/constraints.txt
# The build for processors: that of the package index brings gigabytes for GPUs.
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt torch --index-url https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /tmp/constraints.txt "midigpt-core[server] @ file://$(echo /wheels/*.whl)" \
    && rm /tmp/constraints.txt \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin midigpt
USER 10001
WORKDIR /tmp
# What is written goes where a container has room.
ENV HOME=/tmp MIDIGPT_CACHE=/tmp/midigpt HF_HOME=/tmp/huggingface PYTHONDONTWRITEBYTECODE=1
EXPOSE 3456
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3456/health', timeout=4)"]
ENTRYPOINT ["midigpt", "serve", "--host", "0.0.0.0", "--port", "3456"]
CMD ["--checkpoint", "/models/model_final.pt"]
