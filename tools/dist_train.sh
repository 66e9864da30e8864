#!/usr/bin/env bash
# Usage: tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# One process per GPU with nccl, or on a machine without one on the CPU with gloo.
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR (and PORT) on each.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
CONFIG=$1
PROCESSES=$2
shift 2
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
ENDPOINT=(--standalone)
if [ "${NNODES:-1}" -gt 1 ]; then
    ENDPOINT=(--node_rank "${NODE_RANK:?set NODE_RANK}"
        --master_addr "${MASTER_ADDR:?set MASTER_ADDR}" --master_port "${PORT:-29500}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${ENDPOINT[@]}" \
    --nnodes "${NNODES:-1}" --nproc_per_node "$PROCESSES" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "$@"
