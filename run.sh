#!/usr/bin/env bash
# One command for everything; `./run.sh help` lists what there is.
set -euo pipefail

# Commands run in the caller's folder: relative paths and `my_net:Net` mean what they mean there.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
VENV="${GPNAS_VENV:-$ROOT/.venv}"
[[ $VENV == /* ]] || VENV="$PWD/$VENV"
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/gpnas"
# Compiled programs are kept between runs: most of a short run's start is compilation.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$CACHE/xla}"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-0}"
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

help() {
    cat <<'TEXT'
./run.sh              set up; a front of networks and five arms of weight masks on Fashion-MNIST; the report
./run.sh setup        make .venv and install, nothing else
./run.sh test         lint, types, tests; --fast takes two minutes; the rest goes to pytest

./run.sh front …      small networks  --config=configs/front.py --config.data.name=folder:pictures
                      from one run    --workdir=runs/front
./run.sh train …      one run         --config=configs/development.py --workdir=runs/mine
                      on many hosts   --coordinator=HOST:PORT --processes=N --process=I; --distributed
./run.sh sweep …      a study         --config=experiments/studies/fashion/config.py
./run.sh search …     architectures   --config=configs/searches/nas_bench_201.py --workdir=runs/search
                      to help one     --storage=sqlite:///runs/search/search.db
                      strategies      --config=experiments/studies/searches_201/config.py
./run.sh report …     a page          --inputs=runs/mine,runs/other --output=report.html
./run.sh export …     files           --workdir=runs/mine --formats=onnx,stablehlo,tflite,safetensors
./run.sh predict …    class names     --workdir=runs/mine --pictures=a.png,folder

./run.sh reproduce …  the documents' numbers   "sparse VD"; gradmax; --fast; --page
./run.sh bench …      speed, a JSON line each  --only=masked_step_ratio

Commands take --help. Relative paths are those of the folder that a command is called in; a --config
that is not there is taken from gpnas' own configs/ and experiments/. Python 3.11 to 3.13, the newest
that is found; PYTHON=… chooses.
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
    local candidate candidates=(python3.13 python3.12 python3.11 python3)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        # An interpreter without its venv module (Debian packages it apart) cannot be used.
        if suitable "$candidate" && "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "PYTHON: got ${PYTHON:-$(python3 --version 2>&1)}, allowed: Python 3.11, 3.12 or 3.13" \
        "with its venv module (Debian: apt-get install python3-venv)"
}

make_venv() {
    if [[ -n $(ls -A "$VENV" 2>/dev/null) && ! -f $VENV/pyvenv.cfg ]]; then
        die "GPNAS_VENV: got $VENV, allowed: a virtual environment or an empty folder"
    fi
    "$1" -m venv --clear "$VENV"
}

install() {
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

setup() {
    local stamp
    stamp="$(cat "$ROOT/requirements.txt" "$ROOT/pyproject.toml" | cksum)"
    if [[ -x $VENV/bin/python && -f $VENV/installed && $(<"$VENV/installed") == "$stamp" ]]; then
        return
    fi
    local python
    python="$(find_python)"
    echo "run.sh: installing into $VENV, a minute or two" >&2
    suitable "$VENV/bin/python" || make_venv "$python"
    install -r "$ROOT/requirements.txt"
    install --no-deps --editable "$ROOT"
    echo "$stamp" >"$VENV/installed"
}

experiment() {
    ${RUN:-} "$VENV/bin/python" "$ROOT/experiments/$1.py" "${@:2}"
}

# Runs an experiment; a config file that is not in the caller's folder is one of gpnas.
configured() {
    local arguments=() argument path previous=""
    for argument in "${@:2}"; do
        path="${argument#--config=}"
        if [[ $path == @(configs|experiments)/* && ($path != "$argument" || $previous == --config) &&
            ! -e ${path%%:*} && -e $ROOT/${path%%:*} ]]; then
            argument="${argument%"$path"}$ROOT/$path"
        fi
        arguments+=("$argument")
        previous="$argument"
    done
    experiment "$1" ${arguments[@]+"${arguments[@]}"}
}

main() {
    setup
    configured front --config=configs/front.py --config.data.image_size=14 --config.baselines=True \
        --config.resume=True --seconds=0 --workdir=runs/front
    configured sweep --config=experiments/studies/fashion/config.py --config.seeds="(0, 1, 2)" \
        --workdir=runs --results=runs
    experiment report --inputs=runs/front,runs/fashion --output=runs/report.html \
        --title="Fashion-MNIST: a front of small networks, and 2 % of the weights"
}

test() {
    setup
    cd "$ROOT"
    local python="$VENV/bin/python"
    "$python" -m ruff check gpnas experiments configs tests
    "$python" -m ruff format --check gpnas experiments configs tests
    "$python" -m mypy
    # --fast leaves out slow tests: seconds to compile and train, or other processes.
    [[ ${1:-} != --fast ]] || set -- -m "not slow" "${@:2}"
    "$python" -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile "$@"
}

command="${1:-main}"
[[ $# -eq 0 ]] || shift
case "$command" in
help | -h | --help) help ;;
main | setup) "$command" ;;
test) test "$@" ;;
train | front | sweep | report | reproduce | search | export | predict)
    setup
    RUN=exec configured "$command" "$@"  # signals reach it, also where bash is process 1
    ;;
bench)
    setup
    experiment benchmark "$@"
    ;;
*) die "command: got $command, allowed: setup, test, front, train, sweep, report, reproduce, search, export, predict, bench, help" ;;
esac
