# Sourced by dist_train.sh and dist_test.sh: start N processes of a tool through torchrun.
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT (several machines), OMP_NUM_THREADS, PYTHON.

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 2
}

# Usage: start_processes TOOL N ARGS...
start_processes() {
    local tool=$1 processes=$2 here port visible cores
    shift 2
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    PYTHON=${PYTHON:-python}
    NNODES=${NNODES:-1}
    NODE_RANK=${NODE_RANK:-0}
    MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}
    [[ $processes =~ ^[1-9][0-9]*$ ]] || fail "the number of processes is '$processes', not a positive number"
    [[ $NNODES =~ ^[1-9][0-9]*$ && $NODE_RANK =~ ^[0-9]+$ && $NODE_RANK -lt $NNODES ]] ||
        fail "NODE_RANK=$NODE_RANK must lie in 0 .. NNODES-1 with NNODES=$NNODES"

    # Visible GPUs, cores, and a port: 29500 as in the hosts' scripts, or a free one if it is taken on a single machine.
    read -r visible cores port < <("$PYTHON" - <<'PY'
import os
import socket

import torch


def bindable(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(('', port))
        except OSError:
            return None
        return s.getsockname()[1]


cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
print(torch.cuda.device_count() if torch.cuda.is_available() else 0, cores, bindable(29500) or bindable(0))
PY
) || fail "$PYTHON cannot import torch"
    if ((visible > 0 && processes > visible)); then
        fail "$processes processes need $processes GPUs, but $visible are visible (CUDA_VISIBLE_DEVICES=\
${CUDA_VISIBLE_DEVICES-unset}). Start at most $visible, or set CUDA_VISIBLE_DEVICES=-1 to run on the CPU."
    fi
    if ((NNODES > 1)); then
        PORT=${PORT:-29500}
    else
        PORT=${PORT:-$port}
    fi
    if ((visible == 0)); then
        echo "No GPU is visible: $processes process(es) on the CPU over gloo." >&2
        export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}
    else
        export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    fi
    PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" exec "$PYTHON" -m torch.distributed.run \
        --nnodes="$NNODES" --node_rank="$NODE_RANK" --nproc_per_node="$processes" \
        --master_addr="$MASTER_ADDR" --master_port="$PORT" \
        "$here/$tool" "$@" --launcher pytorch
}
