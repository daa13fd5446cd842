# Two images. `app` is the scorer, the flows, Prefect's worker and the dashboard: no compiler, no Java, no model
# training. `member` is Hazelcast with the jars of infra/local/jars.lock and no other: each further connector would be
# a way to read files and call machines for whoever reaches its port.
#
#   docker build --target app --tag fraudflow:app-0.1.0 .
#   docker build --target member --tag fraudflow:member-0.1.0 .
#
# Both run as a number that is nobody, on a read-only root with /tmp to write to:
#
#   docker run --read-only --tmpfs /tmp --cap-drop ALL fraudflow:app-0.1.0

FROM python:3.13-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
# The dependencies alone first: they change less often than the code.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --no-install-project --extra dashboard --extra explain --extra aws
COPY . .
RUN uv sync --frozen --no-dev --extra dashboard --extra explain --extra aws

FROM build AS jars
# Fetched and checked against their sha256; a changed byte ends the build here.
RUN [".venv/bin/python", "-m", "infra.aws.member_image", "/opt/hazelcast"]

FROM eclipse-temurin:25-jre-noble AS member
COPY --from=jars /opt/hazelcast /opt/hazelcast
# ECS makes the volume that it mounts there writable as it is here.
VOLUME /tmp
USER 10001:10001
WORKDIR /opt/hazelcast
EXPOSE 5701
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/$(hostname -i | cut -d' ' -f1)/5701"]
# The options are the task definition's: infra/aws/containers.py.
CMD ["java", "-version"]

FROM python:3.13-slim-bookworm AS app
# LightGBM, which explains alerts, is linked with it. Of a Debian release there is one version at a time.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    FRAUDFLOW_LOCAL__HOME=/tmp/fraudflow \
    PREFECT_HOME=/tmp/prefect
VOLUME /tmp
USER 10001:10001
WORKDIR /app
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-m", "scoring.heartbeat", "/tmp/heartbeat"]
CMD ["python", "-m", "scoring.worker", "--heartbeat", "/tmp/heartbeat"]
