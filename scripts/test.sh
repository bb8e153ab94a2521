#!/usr/bin/env bash
# Everything that has to hold before a change goes in: lint, format, types, the docs as a site, all tests, the demo in short form.
# Runs every part even after a failure, so that one run tells all, and ends with one line of summary.
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
started=$SECONDS

scripts/setup.sh --dev || { echo "test: FAILED: setup"; exit 1; }
. scripts/env.sh
# Tests start dozens of processes: without its bytecode on disk, each would compile the package anew.
unset PYTHONDONTWRITEBYTECODE

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

# What mypy said in the background, and its exit code.
types() {
    wait "$mypy"
    local code=$?
    cat "$said"
    return "$code"
}

run lint ruff check .
run format ruff format --check .
run walls lint-imports --no-cache
run docs env NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
# Types take a minute of one core: they are checked beside the tests, which use all of them. Those that libraries other
# than the pinned ones declare are not what the code is written against: scripts/test_older_libraries.sh leaves them out.
if [[ -z "${SCAL3R_WITHOUT_TYPES:-}" ]]; then
    said="$(mktemp)"
    trap 'rm -f "$said"' EXIT
    mypy >"$said" 2>&1 &
    mypy=$!
fi
# Files in the order of test/conftest.py: the longest first.
run tests pytest --numprocesses "$(nproc)" --dist loadfile --no-loadscope-reorder
[[ -n "${SCAL3R_WITHOUT_TYPES:-}" ]] || run types types
run demo scripts/demo.sh --short

summary="$(printf '%s, ' ${passed[@]+"${passed[@]}"})"
if ((${#failed[@]})); then
    echo "test: FAILED: $(printf '%s ' "${failed[@]}")(passed: ${summary%, }; $((SECONDS - started)) s)"
    exit 1
fi
echo "test: passed: ${summary%, } ($((SECONDS - started)) s)"
