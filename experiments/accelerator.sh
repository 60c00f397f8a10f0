#!/usr/bin/env bash
# What docs/performance.md says of accelerators, measured on this machine. No network is needed.
#
#     experiments/accelerator.sh           # minutes on a GPU
#     experiments/accelerator.sh --fast    # tiny sizes: whether it works
#
# Lines are appended to results/benchmark.jsonl and results/chaos.jsonl; each names the device and
# says whether its target holds. RESULTS=FOLDER takes another folder, PYTHON=… another interpreter.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-.venv/bin/python}"
results="${RESULTS:-results}"
speed=compilations,masked_step_ratio,segments_ratio,loop_ratio,replicas_ratio,replicas_ratio_conv
speed+=,replicas_loop_ratio,checkpoint_async
larger=,top_k_ratio_25m,masked_step_ratio_resnet,mask_update_ratio
kills=4
if [[ ${1:-} == --fast ]]; then larger="" kills=2; fi

export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export XLA_PYTHON_CLIENT_PREALLOCATE=false # the runs whose bits are compared have the device, too
"$python" -m gpnas bench --only="$speed$larger" --output="$results/benchmark.jsonl" "$@"
"$python" experiments/chaos.py --only=same_bits --kills="$kills" --output="$results/chaos.jsonl"
