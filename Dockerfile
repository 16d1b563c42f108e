# The signaling server; the peer agent `visavis` is in it as well:
#
#   docker build -t visavis .
#   docker run --rm --network host visavis
#   docker run --rm --network host --entrypoint visavis visavis discover --server http://127.0.0.1:8080
#
# BASE_IMAGE needs no more than python3 >= 3.11 with venv, and sh.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /src
RUN ["python3", "-m", "venv", "/opt/visavis"]
RUN ["python3", "-m", "venv", "/opt/build"]
# nothing but what the lock files name, by its hash; scripts/lock writes them anew
COPY deploy/requirements.lock deploy/requirements-build.lock deploy/
RUN ["/opt/build/bin/pip", "install", "--no-cache-dir", "--disable-pip-version-check", "--require-hashes", "-r", "deploy/requirements-build.lock"]
RUN ["/opt/visavis/bin/pip", "install", "--no-cache-dir", "--disable-pip-version-check", "--require-hashes", "-r", "deploy/requirements.lock"]
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY server server
COPY peer peer
RUN ["/opt/build/bin/pip", "wheel", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", "/src/wheel", "."]
RUN ["/opt/visavis/bin/pip", "install", "--no-cache-dir", "--disable-pip-version-check", "--no-deps", "--no-index", "--find-links", "/src/wheel", "visavis"]

FROM ${BASE_IMAGE}
COPY --from=build /opt/visavis /opt/visavis
ENV PATH=/opt/visavis/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1
# A number needs no entry in /etc/passwd. The server writes nothing but the key in /data and needs no privileged port.
RUN ["python3", "-c", "import os; os.mkdir('/data', 0o700); os.chown('/data', 10001, 10001)"]
USER 10001:10001
EXPOSE 8080/tcp 3478/udp 3479/udp
# Asks where the server listens by default or by VISAVIS_PORT: set that rather than --port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:%s/health' % os.environ.get('VISAVIS_PORT', 8080), timeout=4)"]
ENTRYPOINT ["visavis-server"]
