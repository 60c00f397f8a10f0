#!/usr/bin/env bash
# One command for everything; `./run.sh help` lists what there is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

VENV="${GPNAS_VENV:-.venv}"
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/gpnas"
# Compiled programs are kept between runs: most of a short run's start is compilation.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$CACHE/xla}"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-0}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

help() {
    cat <<'TEXT'
./run.sh              set up, train five arms on Fashion-MNIST (three seeds), write the report
./run.sh setup        make .venv and install, nothing else
./run.sh test         set up, then lint, types and tests (arguments go to pytest)
./run.sh train …      one run:     --config=configs/development.py --workdir=runs/mine
./run.sh sweep …      a study:     --config=configs/studies/fashion.py
./run.sh report …     a page:      --inputs=runs/mine,runs/other --output=report.html
./run.sh reproduce …  papers' rows:  reproduce "sparse VD", or --fast for a quick look at all
./run.sh search …     architectures: --config=configs/searches/nas_bench_201.py --workdir=runs/search
./run.sh compare …    strategies:  --config=configs/searches/comparisons/nas_bench_201.py
./run.sh proxies …    scores of untrained networks: --config=configs/searches/proxies.py
./run.sh nas …        docs/nas.md from the records: --page writes it and searches nothing
./run.sh sharing …    shared weights: --config=configs/searches/sharing.py
./run.sh gradmax …    neurons born: --config=configs/studies/gradmax.py
./run.sh export …     files:       --workdir=runs/mine --formats=onnx,stablehlo,tflite,safetensors
./run.sh deploy …     docs/deploy.md from the records: --page writes it and measures nothing
./run.sh worker …     helps a search: --storage=sqlite:///runs/search/search.db
./run.sh bench …      measurements, one JSON line each: --only=masked_step_ratio
./run.sh help         this text

`train`, `sweep`, `report`, `reproduce`, `search`, `compare`, `proxies`, `sharing`, `nas`,
`gradmax`, `export`, `deploy`, `worker` and `bench` take --help.
Python 3.11 to 3.13; PYTHON=… chooses one.
TEXT
}

die() {
    echo "run.sh: $*" >&2
    exit 2
}

suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if suitable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    die "PYTHON: got ${PYTHON:-$(python3 --version 2>&1)}, allowed: Python 3.11, 3.12 or 3.13"
}

setup() {
    local stamp
    stamp="$(cat requirements.txt pyproject.toml | cksum)"
    if [[ -x $VENV/bin/python && -f $VENV/installed && $(<"$VENV/installed") == "$stamp" ]]; then
        return
    fi
    local python
    python="$(find_python)"
    echo "run.sh: installing into $VENV, a minute or two" >&2
    suitable "$VENV/bin/python" || "$python" -m venv --clear "$VENV" ||
        die "$python -m venv failed: on Debian, install python3-venv"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .
    echo "$stamp" >"$VENV/installed"
}

run() {
    "$VENV/bin/python" "$@"
}

main() {
    setup
    run experiments/sweep.py --config=configs/studies/fashion.py --config.seeds="(0, 1, 2)" \
        --workdir=runs --results=runs
    run experiments/report.py --inputs=runs/fashion --output=runs/report.html \
        --title="Fashion-MNIST, LeNet-300-100, 2 % of the weights"
}

test() {
    setup
    run -m ruff check gpnas experiments configs tests
    run -m ruff format --check gpnas experiments configs tests
    run -m mypy
    run -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile "$@"
}

command="${1:-main}"
[[ $# -eq 0 ]] || shift
case "$command" in
help | -h | --help) help ;;
main | setup) "$command" ;;
test) test "$@" ;;
train | sweep | report | reproduce | search | compare | proxies | sharing | nas | gradmax | export | \
    deploy)
    setup
    run "experiments/$command.py" "$@"
    ;;
bench)
    setup
    run experiments/benchmark.py "$@"
    ;;
worker)
    setup
    run experiments/search.py --worker "$@"
    ;;
*) die "command: got $command, allowed: setup, test, train, sweep, report, reproduce, search, compare, proxies, sharing, nas, gradmax, export, deploy, worker, bench, help" ;;
esac
