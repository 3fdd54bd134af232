# Sourced by tools/quickstart.sh and tools/run_tests.sh. `prepare JOB` leaves the interpreter to use in $PY.
#
# NBN_MM_ENV=venv       ignore an active environment, use .venv
# NBN_MM_PYTHON=FILE    use the environment of this interpreter as it is
# NBN_MM_OPS=cpu|cuda   ops of mmcv for the CPU alone, or for CUDA on a machine that shows no GPU; default: what is there
NBN_MM_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

fail() { printf '\n%s\n' "$*" >&2; exit 1; }

# The first interpreter on PATH that can make .venv; 3.11 first, because the set is tested most with it.
find_base_python() {
  local candidate found version seen=''
  for candidate in python3.11 python3.12 python3.10 python3 python; do
    found=$(command -v "$candidate") || continue
    version=$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case $version in
      3.10|3.11|3.12) "$found" -c 'import venv, ensurepip' 2>/dev/null && { BASE_PYTHON=$found; return; }
                      seen="$seen
  $found is $version, without the modules venv and ensurepip (Debian, Ubuntu: apt install python$version-venv)";;
      *) seen="$seen
  $found is $version";;
    esac
  done
  fail "Python 3.10, 3.11 or 3.12 is needed to make .venv and none was found on PATH.${seen:-
  No python3 on PATH.}
Install one of them with its venv module and its headers (Debian, Ubuntu: apt install python3.11 python3.11-venv
python3.11-dev; conda: conda create -n py311 python=3.11), put it on PATH and run this command again."
}

prepare() {
  local job=$1 active=''
  cd "$NBN_MM_ROOT" || fail "Cannot enter $NBN_MM_ROOT"
  if [ -n "${NBN_MM_PYTHON:-}" ]; then
    PY=$NBN_MM_PYTHON; active="NBN_MM_PYTHON=$PY"
    command -v "$PY" >/dev/null || fail "NBN_MM_PYTHON=$PY is no interpreter."
  elif [ "${NBN_MM_ENV:-}" = venv ]; then :
  elif [ -n "${NBN_MM_ENV:-}" ]; then fail "NBN_MM_ENV=$NBN_MM_ENV is unknown; the only value is venv."
  elif [ -n "${VIRTUAL_ENV:-}" ] && ! [ "$VIRTUAL_ENV" -ef "$NBN_MM_ROOT/.venv" ]; then
    PY=$VIRTUAL_ENV/bin/python; active="VIRTUAL_ENV=$VIRTUAL_ENV"
  elif [ -n "${CONDA_PREFIX:-}" ] && [ -z "${VIRTUAL_ENV:-}" ]; then
    PY=$CONDA_PREFIX/bin/python; active="CONDA_PREFIX=$CONDA_PREFIX"
  elif [ -d .venv ] && [ ! -e .venv/.nbn_mm ] && [ -n "$(ls -A .venv)" ]; then
    PY=$NBN_MM_ROOT/.venv/bin/python; active=".venv, which this script did not make"
  fi
  if [ -n "$active" ]; then
    [ -x "$(command -v "$PY")" ] || fail "$active: there is no interpreter $PY. Leave that environment (deactivate) and try again."
    export PYTHONPATH="$NBN_MM_ROOT${PYTHONPATH:+:$PYTHONPATH}"
    "$PY" tools/setup/check_environment.py "$job" "$active" || exit 1
    return
  fi
  [ -z "${PYTHONPATH:-}${PYTHONHOME:-}" ] || echo 'PYTHONPATH and PYTHONHOME are left out of account in .venv.'
  unset PYTHONHOME VIRTUAL_ENV CONDA_PREFIX
  export PYTHONPATH="$NBN_MM_ROOT" PYTHONNOUSERSITE=1
  PATH=${PATH//"$NBN_MM_ROOT/.venv/bin:"/}  # an active .venv must not be the one that mends it
  find_base_python
  "$BASE_PYTHON" tools/setup/prepare.py || exit $?
  PY=$NBN_MM_ROOT/.venv/bin/python
}
