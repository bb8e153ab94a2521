#!/usr/bin/env bash
# Everything that has to hold before a change goes in: lint, format, types, the docs as a site, all tests, the demo in short form.
# Runs every part even after a failure, so that one run tells all, and ends with one line of summary.
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
started=$SECONDS

scripts/setup.sh --dev || { echo "test: FAILED: setup"; exit 1; }
. scripts/env.sh

passed=()
failed=()
run() {
    local name="$1" begun=$SECONDS
    shift
    echo "=== $name"
    if "$@"; then
        passed+=("$name $((SECONDS - begun)) s")
    else
        failed+=("$name")
    fi
}

run lint ruff check .
run format ruff format --check .
run types mypy
run walls lint-imports --no-cache
run docs env NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
run tests pytest --numprocesses "$(nproc)" --dist loadfile
run demo scripts/demo.sh --short

summary="$(printf '%s, ' ${passed[@]+"${passed[@]}"})"
if ((${#failed[@]})); then
    echo "test: FAILED: $(printf '%s ' "${failed[@]}")(passed: ${summary%, }; $((SECONDS - started)) s)"
    exit 1
fi
echo "test: passed: ${summary%, } ($((SECONDS - started)) s)"
