#!/usr/bin/env bash
# Makes .venv (or uses a fitting active environment), then trains the demo on real digits and shows its table and plots.
#   bash tools/quickstart.sh [options of tools/demo.py]
# Settings by environment variables: see tools/setup/common.sh and docs/install.md.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup/common.sh"
prepare demo
exec "$PY" tools/demo.py "$@"
