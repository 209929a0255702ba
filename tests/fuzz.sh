#!/usr/bin/env bash
# Fuzzes each target for FUZZ_SECONDS (60 where it is not set). A crash ends it and leaves its input below fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
# cargo-fuzz asks the compiler for coverage, which a stable one gives only under this name.
export RUSTC_BOOTSTRAP=1
for target in $(cargo fuzz list); do
    echo "fuzzing $target"
    cargo fuzz run --sanitizer none "$target" -- -max_total_time="${FUZZ_SECONDS:-60}" -rss_limit_mb=2048 -timeout=30
done
