#!/usr/bin/env bash
# One command for everything; `./run.sh help` lists what there is.
set -euo pipefail

# Commands run in the caller's folder: relative paths and `my_net:Net` mean what they mean there.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
VENV="${GPNAS_VENV:-$ROOT/.venv}"
[[ $VENV == /* ]] || VENV="$PWD/$VENV"
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

help() {
    cat <<'TEXT'
./run.sh           install; a front of networks and five arms of masks; the report
./run.sh setup     make .venv and install
./run.sh test      lint, types, tests; --fast: two minutes; --all: every case
./run.sh docs      the documentation as a site, build/docs/index.html

./run.sh front     small networks  --config=front --workdir=runs/front
./run.sh train     one run         --config=development --workdir=runs/mine
./run.sh sweep     a study         --config=experiments/studies/fashion/config.py
./run.sh search    architectures   --config=searches/nas_bench_201
./run.sh worker    another worker  --storage=sqlite:///runs/search/search.db
./run.sh summary   layers, costs   --config=lenet5; --workdir=runs/mine
./run.sh report    a page          --inputs=runs/mine --output=report.html
./run.sh export    files           --workdir=runs/mine --formats=onnx,stablehlo
./run.sh predict   class names     --workdir=runs/mine --images=a.png,folder
./run.sh reproduce our numbers     "sparse VD"; gradmax; --fast; --budget=paper
./run.sh bench     speed           --only=masked_step_ratio

The commands are those of `gpnas`, from .venv/bin. Each takes --help, which also
describes runs on many hosts. Relative paths are those of the caller's folder; a
--config that is not there is one of configs/ or experiments/. Python 3.11 to
3.13, the newest that is found; PYTHON=… chooses.
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

gpnas() {
    "$VENV/bin/python" -P -m gpnas "$@" # -P: the caller's modules come last, as `gpnas` has it
}

main() {
    setup
    gpnas front --config=front --config.data.image_size=14 --config.baselines=True \
        --config.resume=True --seconds=0 --workdir=runs/front
    gpnas sweep --config=experiments/studies/fashion/config.py --config.seeds="(0, 1, 2)" \
        --config.only="dense,gmp,rigl,pipeline,development" --workdir=runs --results=runs
    gpnas report --inputs=runs/front,runs/fashion --output=runs/report.html \
        --title="Fashion-MNIST: a front of small networks, and 2 % of the weights"
}

test() {
    setup
    cd "$ROOT"
    local python="$VENV/bin/python"
    "$python" -m ruff check gpnas experiments configs tests docs/*.py docs/examples
    "$python" -m ruff format --check gpnas experiments configs tests docs/*.py docs/examples
    "$python" -m mypy
    # Slow tests take seconds to compile and train, or start processes; exhaustive ones are further
    # cases of what others test, or the same with replicas, other loops or a resumed run.
    local without="exhaustive"
    case "${1:-}" in
    --fast) without="slow or exhaustive" && shift ;;
    --all) without="" && shift ;;
    esac
    "$python" -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile \
        ${without:+-m "not ($without)"} "$@"
}

# Warnings (a link that leads nowhere, a public name without a docstring) are errors, and so is code
# of a page or notebook that fails. Sphinx cuts the pages into as many parts as it is given jobs, and
# runs the notebooks of a part one after another: 24 jobs have them in two or three parts.
docs() {
    setup
    cd "$ROOT"
    local python="$VENV/bin/python"
    "$python" -m pytest tests/test_docs.py tests/test_readme.py &
    "$python" -m sphinx -b html -j 24 --fail-on-warning --quiet docs build/docs "$@" || {
        kill $!
        return 1
    }
    wait $!
    echo "build/docs/index.html"
}

command="${1:-main}"
[[ $# -eq 0 ]] || shift
case "$command" in
help | -h | --help) help ;;
main | setup) "$command" ;;
test | docs) "$command" "$@" ;;
reproduce)
    setup
    exec "$VENV/bin/python" "$ROOT/experiments/reproduce.py" "$@"
    ;;
train | front | sweep | search | worker | summary | report | export | predict | bench)
    setup
    exec "$VENV/bin/python" -P -m gpnas "$command" "$@" # signals reach it, also where bash is process 1
    ;;
*) die "command: got $command, allowed: setup, test, docs, front, train, sweep, search, worker, summary, report, export, predict, reproduce, bench, help" ;;
esac
