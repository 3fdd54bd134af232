#!/usr/bin/env bash
# Train with N processes on this machine: dist_train.sh CONFIG N [options of train.py]
# Several machines: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT.
# Without a GPU the processes run on the CPU over gloo.
source "$(dirname "${BASH_SOURCE[0]}")/dist_common.sh"
(($# >= 2)) || fail "usage: [NNODES= NODE_RANK= MASTER_ADDR= PORT=] $0 CONFIG N [options of train.py]"
start_processes train.py "$2" "$1" "${@:3}"
