#!/usr/bin/env bash
# Train under slurm: slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
# Environment: GPUS (all, 8), GPUS_PER_NODE (8; 0 asks for none and runs over gloo), CPUS_PER_TASK (5), SRUN_ARGS.
if (($# < 4)); then
    echo "usage: [GPUS= GPUS_PER_NODE= CPUS_PER_TASK= SRUN_ARGS=] $0 PARTITION JOB_NAME CONFIG WORK_DIR [options]" >&2
    exit 2
fi
set -x
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
GRES=(--gres="gpu:$GPUS_PER_NODE" --ntasks-per-node="$GPUS_PER_NODE")
((GPUS_PER_NODE > 0)) || GRES=()

# SRUN_ARGS is split into words on purpose
PYTHONPATH="$HERE/..${PYTHONPATH:+:$PYTHONPATH}" \
    srun -p "$1" --job-name="$2" "${GRES[@]}" --ntasks="$GPUS" --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$HERE/train.py" "$3" --work-dir="$4" --launcher=slurm "${@:5}"
