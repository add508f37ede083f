# swiftfs in a container: `load` and every other command as a user who is not root; `mount` with the rights that FUSE
# needs (see docs/CONTAINERS.md). Any Debian or Ubuntu base with Python 3.11 or later will do:
#
#   docker build -t swiftfs .
#   docker build -t swiftfs --build-arg BASE=localhost/debian:bookworm .
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libfuse3-dev pkg-config python3-dev python3-venv
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY swiftfs swiftfs
RUN python3 -m venv /opt/swiftfs \
    && /opt/swiftfs/bin/pip install --no-cache-dir '.[mount,clouds]' \
    && /opt/swiftfs/bin/pip uninstall -y --quiet setuptools pip

FROM ${BASE}
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates fuse3 python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && echo user_allow_other >> /etc/fuse.conf \
    && useradd --uid 1000 --create-home swiftfs
COPY --from=build /opt/swiftfs /opt/swiftfs
ENV PATH=/opt/swiftfs/bin:$PATH
USER swiftfs
WORKDIR /home/swiftfs
ENTRYPOINT ["swiftfs"]
CMD ["--help"]
