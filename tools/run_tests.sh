#!/usr/bin/env bash
# Makes .venv (or uses a fitting active environment), then runs the tests and prints each skip with its reason.
#   bash tools/run_tests.sh [options of pytest]
# Settings by environment variables: see tools/setup/common.sh and docs/install.md.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup/common.sh"
prepare tests
# The tests' tensors are tiny: threads would only wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Two files at a time; pytest's own -n 0 runs one after the other.
if "$PY" -c 'import xdist' 2>/dev/null; then
  set -- -n "${NBN_MM_TEST_WORKERS:-2}" --dist loadfile "$@"
else
  echo 'pytest-xdist is not installed: the tests run one after the other.'
fi
exec "$PY" -m pytest -ra "$@"
