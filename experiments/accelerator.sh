#!/usr/bin/env bash
# What docs/performance.md says of accelerators, measured on this machine. No network is needed.
#
#     experiments/accelerator.sh           # minutes on a GPU
#     experiments/accelerator.sh --fast    # tiny sizes: whether it works
#
# Lines are appended to results/benchmark.jsonl and results/chaos.jsonl; each names the device and
# says whether its target holds. RESULTS=FOLDER takes another folder, PYTHON=… another interpreter.
# What matters most comes first, and each line is written at once: time on a device may be limited.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-.venv/bin/python}"
results="${RESULTS:-results}"
first=masked_step_ratio,loop_ratio
larger=,masked_step_ratio_resnet,top_k_ratio_25m,mask_update_ratio
rest=replicas_loop_ratio,segments_ratio,compilations,replicas_ratio,replicas_ratio_conv
rest+=,checkpoint_async
kills=4
if [[ ${1:-} == --fast ]]; then larger="" kills=2; fi

bench() {
    "$python" -m gpnas bench --output="$results/benchmark.jsonl" --only="$@"
}

export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export XLA_PYTHON_CLIENT_PREALLOCATE=false # the runs whose bits are compared have the device, too
bench "$first$larger" "$@"
"$python" experiments/chaos.py --only=same_bits --kills="$kills" --output="$results/chaos.jsonl"
bench "$rest" "$@"
