#!/usr/bin/env bash
# Builds the images of the Dockerfile on a machine without docker, and tries what is in them. For root on Debian:
#
#   apt-get install --no-install-recommends buildah crun mmdebstrap && scripts/try_images.sh FOLDER
#
# Where no registry of images can be reached, FOLDER gets base images made of Debian's packages: of the same Python and
# Java, and not the ones that the Dockerfile names. Each check runs as the image's user, without any capability, on a
# read-only root with a /tmp, and with no network but its own loopback.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:?a folder for the base images and what is built, some 8 GB}")
mkdir -p "$folder"
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} BUILDAH_ISOLATION=chroot
authorities=/etc/ssl/certs/ca-certificates.crt

store() { buildah --root "$folder/store" --runroot "$folder/run" "$@"; }

stand_in() { # IMAGE PACKAGES
    local archive="$folder/$(tr -c '[:alnum:]\n' _ <<<"$1").tar" container
    store inspect --type image "$1" >/dev/null 2>&1 && return
    [ -f "$archive" ] || mmdebstrap --quiet --variant=minbase --include="$2" trixie "$archive" \
        "$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources | head -1)"
    container=$(store from scratch)
    store add -q "$container" "$archive" / >/dev/null
    store run "$container" -- rm -f /usr/lib/python3.13/EXTERNALLY-MANAGED
    # The certificates that this machine trusts: it may reach the packages through a proxy of its own.
    store copy -q "$container" "$authorities" "$authorities" >/dev/null
    store config --env SSL_CERT_FILE="$authorities" --env PIP_CERT="$authorities" "$container"
    store commit -q --rm "$container" "docker.io/library/$1" >/dev/null
}

inside() { # ROOT COMMAND...: as ECS starts it
    unshare --mount --pid --fork --ipc --uts --net -- bash -c '
        root=$1; shift
        ip link set lo up
        mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev"
        exec chroot "$root" setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --bounding-set=-all \
            --inh-caps=-all env -i PATH=/app/.venv/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
            FRAUDFLOW_LOCAL__HOME=/tmp/fraudflow PREFECT_HOME=/tmp/prefect "$@"' - "$@"
}

stand_in python:3.13-slim-bookworm python3,python3-venv,python3-pip,python-is-python3,ca-certificates
stand_in eclipse-temurin:25-jre-noble openjdk-25-jre-headless
for target in app member; do
    store bud --quiet --format=docker --layers --pull=never --network=host --target "$target" --tag "fraudflow:$target-try" . >/dev/null
done
store images --format '{{.Name}}:{{.Tag}} {{.Size}}' | grep fraudflow

app=$(store mount "$(store from --pull=never localhost/fraudflow:app-try)")
member=$(store mount "$(store from --pull=never localhost/fraudflow:member-try)")
trap 'store rm --all >/dev/null' EXIT

# shellcheck disable=SC2016 - these are for the shell inside
inside "$app" sh -euc '
    cd /app
    [ "$(id -u):$(id -g)" = 10001:10001 ] && grep -q "CapEff:.0000000000000000" /proc/self/status
    ! touch /app/x 2>/dev/null && touch /tmp/x && echo "ok: nobody without capabilities, on a read-only root"
    ! command -v java && ! ls /app/tests /app/.env /app/.git 2>/dev/null && echo "ok: no Java, nothing that .dockerignore keeps out"
    python -c "import scoring.worker, infra.aws.plan, infra.s3, prefect_aws, streamlit, flows.load_features, \
        flows.seed_transactions, flows.provision_ecs, flows.teardown_ecs" && echo "ok: scorer, flows, dashboard are importable"
    python -m scoring.worker --projection --heartbeat /tmp/heartbeat 2>&1 | grep -q "no Kafka" && echo "ok: a scorer without Kafka says so"
    ! python -m scoring.heartbeat /tmp/heartbeat && touch /tmp/heartbeat && python -m scoring.heartbeat /tmp/heartbeat \
        && echo "ok: the health check of the scorer"
    python -m prefect worker start --help >/dev/null && python -m prefect flow-run execute --help >/dev/null && echo "ok: prefect"
    python -m infra.aws.serve_dashboard 8501 >/tmp/log 2>&1 & pid=$!
    for _ in $(seq 60); do
        python -c "import urllib.request as u; u.urlopen(\"http://127.0.0.1:8501/_stcore/health\", timeout=4)" 2>/dev/null \
            && kill $pid && wait $pid; [ -d /proc/$pid ] || break; sleep 1
    done
    [ ! -d /proc/$pid ] && ! grep -q Traceback /tmp/log && echo "ok: the dashboard serves, and ends on SIGTERM"'

command=$(.venv/bin/python -c '
import shlex
from infra.aws.containers import MEMBERS, command
from infra.aws.stack import Stack
from infra.settings import Settings
print(shlex.join(command(Stack.of(Settings()), MEMBERS, "127.0.0.1")).replace("aws.enabled=true", "aws.enabled=false"))')
inside "$member" bash -euc '
    '"$command"' >/tmp/log 2>&1 & pid=$!
    for _ in $(seq 60); do grep -q "is STARTED" /tmp/log && break; [ -d /proc/$pid ] || break; sleep 1; done
    grep -q "is STARTED" /tmp/log || { cat /tmp/log; exit 1; }
    (exec 3<>/dev/tcp/127.0.0.1/5701) && echo "ok: a member starts with the command of its task definition"
    kill $pid; wait $pid || true
    grep -q "Running shutdown hook" /tmp/log && echo "ok: and leaves the cluster on SIGTERM"'
