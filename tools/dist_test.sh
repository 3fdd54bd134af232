#!/usr/bin/env bash
# Test with N processes on this machine: dist_test.sh CONFIG CHECKPOINT N [options of test.py]
# Several machines: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT.
# Without a GPU the processes run on the CPU over gloo.
source "$(dirname "${BASH_SOURCE[0]}")/dist_common.sh"
(($# >= 3)) || fail "usage: [NNODES= NODE_RANK= MASTER_ADDR= PORT=] $0 CONFIG CHECKPOINT N [options of test.py]"
start_processes test.py "$3" "$1" "$2" "${@:4}"
