"""Exports a trained run: the network without inactive units, and the dense one.

    gpnas export --workdir=runs/mine
    gpnas export --workdir=runs/mine --formats=onnx,tflite,stablehlo --int8

WORKDIR/export then contains one file per format and network, and export.json: class names, sizes,
largest difference from JAX, test metric, latency. TFLite needs the extra `tflite`, the others the
extra `deploy`; see docs/deploy.md.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from gpnas.commandline import no_arguments, start
from gpnas.deploy import OPSET, export
from gpnas.errors import UserError
from gpnas.records import append_line, check_writable
from gpnas.report import export_table

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
_FORMATS = flags.DEFINE_list(
    "formats",
    None,
    "Any of onnx, stablehlo, tflite, safetensors. By default stablehlo, and safetensors if the"
    " network is one of gpnas.",
)
_NETWORK = flags.DEFINE_string("network", "selected", "Network: selected (on validation), or last.")
_INT8 = flags.DEFINE_bool("int8", False, "Also ONNX files in int8.")
_OPSET = flags.DEFINE_integer(
    "opset", None, f"Opset of ONNX files; by default {OPSET}, for onnxruntime 1.20 and later."
)
_SECONDS = flags.DEFINE_float("seconds", 1.0, "Duration of each latency measurement; 0 for none.")
_RECORDS = flags.DEFINE_string("records", None, "File to which export.json is appended as a line.")
flags.mark_flags_as_required(["workdir"])


def main(argv: Sequence[str]) -> None:
    """Writes the files and prints their table."""
    no_arguments(argv)
    if not _SECONDS.value >= 0:
        raise UserError("seconds", _SECONDS.value, "0 or more")
    workdir = pathlib.Path(str(_WORKDIR.value))
    records = _RECORDS.value and pathlib.Path(_RECORDS.value)
    if records and records.suffix != ".jsonl":
        raise UserError("records", str(records), "a file of lines, NAME.jsonl")
    if records:
        check_writable(records.parent, "records")
    report = export.export_run(
        workdir, _FORMATS.value, _NETWORK.value, _INT8.value, _SECONDS.value, _OPSET.value
    )
    if records:
        records.parent.mkdir(parents=True, exist_ok=True)
        append_line(records, report)
    print(export_table(report).to_text())
    print(workdir / "export" / "export.json")


if __name__ == "__main__":
    start(main)
