#!/usr/bin/env bash
# Collects the repository, wheels and data for a machine without network.
#
#     experiments/bundle.sh FOLDER 'jax[cuda13]'    # with network, same system and Python version
#     FOLDER/setup.sh                               # without; then FOLDER/gpnas/run.sh reproduce …
#
# The repository is that of the last commit. Arguments after the folder are packages besides those of
# requirements.txt. DATA="fashion_mnist mnist" lists data sets that are known by name; RAW_DIR=PATH is
# a folder with MNIST's official files, which are otherwise downloaded. setup.sh copies the data to
# the cache of the user.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="${1:-}"
if [[ -z $folder || $folder == -* || $folder == *[[:space:]]* || -e $folder ]]; then
    echo "bundle.sh: folder: got ${folder:-none}, allowed: a path without spaces that does not exist" >&2
    exit 2
fi
shift
"$root/run.sh" setup
python="${GPNAS_VENV:-$root/.venv}/bin/python"

trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/wheels"
git clone --quiet --depth=1 "file://$root" "$folder/gpnas"
XDG_CACHE_HOME="$(cd "$folder" && pwd)/cache" PYTHONPATH="$root" "$python" - "${RAW_DIR:-}" \
    ${DATA-fashion_mnist} <<'PYTHON'
import sys

from gpnas import data, errors

raw_dir, *names = sys.argv[1:]
try:
    for name in names:
        data.load(name, raw_dir=raw_dir if raw_dir and name == "mnist" else None)
except errors.UserError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
PYTHON
"$python" -m pip wheel --quiet --disable-pip-version-check --wheel-dir="$folder/wheels" \
    -r "$root/requirements.txt" "$@"

cat >"$folder/setup.sh" <<SETUP
#!/usr/bin/env bash
set -euo pipefail
cd "\$(dirname "\${BASH_SOURCE[0]}")"
if [[ \$PWD == *[[:space:]]* ]]; then
    echo "setup.sh: folder: got \$PWD, allowed: a path without spaces" >&2
    exit 2
fi
export PIP_NO_INDEX=1 PIP_FIND_LINKS="\$PWD/wheels" GPNAS_VENV="\$PWD/gpnas/.venv"
gpnas/run.sh setup
packages=(${*@Q})
[[ \${#packages[@]} -eq 0 ]] || "\$GPNAS_VENV/bin/python" -m pip install --quiet "\${packages[@]}"
cache="\${XDG_CACHE_HOME:-\$HOME/.cache}"
mkdir -p "\$cache"
[[ ! -d cache ]] || tar -C cache -c . | tar -C "\$cache" -x --skip-old-files
SETUP
chmod +x "$folder/setup.sh"
trap - EXIT
du -sh "$folder"
