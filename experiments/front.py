"""Trains a front in one run (a network per cost level), exports it, and writes a page about it.

    gpnas front --config=front --workdir=runs/front
    gpnas front --config=front --config.data.name=folder:images --workdir=runs/mine
    gpnas front --config=front --config.front='(0.5, 0.25)' --workdir=runs/two

The folder then contains front.html, front.json, and the folders of the runs: `main`, `level-0.5`, …
and, with `--config.baselines=True`, `uniform-0.5`, …; each of these has a folder `export` with the
files of the network. `--config.resume=True` resumes an interrupted front.
"""

import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from gpnas import deploy, report, train
from gpnas.commandline import check_kind, no_arguments, start
from gpnas.deploy import front
from gpnas.errors import UserError, how_to_install

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for all output.")
_FORMATS = flags.DEFINE_list(
    "formats",
    None,
    "Any of onnx, stablehlo, tflite, safetensors; latency is that of the first. By default onnx, or"
    " else stablehlo, and safetensors (of a network of gpnas), as far as they are installed.",
)
_SECONDS = flags.DEFINE_float("seconds", 0.3, "Duration of each latency measurement; 0 for none.")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: Sequence[str]) -> None:
    """Trains, exports and reports the front, and prints its table."""
    no_arguments(argv)
    check_kind(_CONFIG.value, "front")
    if not _SECONDS.value >= 0:
        raise UserError("seconds", _SECONDS.value, "0 or more")
    formats = deploy.formats_of(_CONFIG.value.model.name, _FORMATS.value)
    workdir = pathlib.Path(str(_WORKDIR.value))
    train.train_front(_CONFIG.value, workdir)
    unexported = _export(workdir, formats)
    loaded = report.read_runs([workdir])
    page = report.write(loaded, workdir / "front.html")
    print(report.text_table(loaded))
    print(f"not exported: {unexported}\n{page}" if unexported else page)


def _export(workdir: pathlib.Path, formats: Sequence[str]) -> str:
    """Exports the networks; returns the reason if that is impossible, else an empty text."""
    if not formats:
        return f"no format is installed: {how_to_install('deploy')}"
    try:
        front.export_front(workdir, formats, _SECONDS.value)
    except UserError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    start(main, after_stop="--config.resume=True resumes it")
