"""Predicts the classes of images with a finished run or an exported file.

    gpnas predict --workdir=runs/mine --images=a.png,b.jpg
    gpnas predict --file=runs/mine/export/compact.onnx --images=images/test

Output is one line per image: its path, the most probable class names and their probabilities; with
--json one JSON object per line. Images are decoded, resized and standardized as in training.
"""

import json
import pathlib
from collections.abc import Sequence

from absl import flags

from gpnas.commandline import check_unused, no_arguments, start
from gpnas.deploy import predict
from gpnas.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
_FILE = flags.DEFINE_string("file", None, "Exported file (.onnx, .stablehlo, .tflite, .json).")
_IMAGES = flags.DEFINE_list("images", None, "Image files, or folders of them.")
_TOP = flags.DEFINE_integer("top", 3, "Number of classes per image.")
_JSON = flags.DEFINE_bool("json", False, "JSON lines.")
_NETWORK = flags.DEFINE_string(
    "network", "selected", "Network of a run: selected (on validation), or last."
)
flags.mark_flags_as_required(["images"])


def main(argv: Sequence[str]) -> None:
    """Prints one line per image."""
    no_arguments(argv)
    if bool(_WORKDIR.value) == bool(_FILE.value):
        raise UserError("workdir", _WORKDIR.value, "either --workdir=RUN or --file=EXPORTED")
    if _TOP.value < 1:
        raise UserError("top", _TOP.value, "a whole number of 1 or more")
    paths = predict.find_images([pathlib.Path(path) for path in _IMAGES.value or ()])
    if _FILE.value:
        check_unused([_NETWORK], "no value beside --file, which has one network")
        predictor = predict.from_file(pathlib.Path(_FILE.value))
    else:
        predictor = predict.from_run(pathlib.Path(str(_WORKDIR.value)), _NETWORK.value)
    for found in predict.predict(predictor, paths, _TOP.value):
        if _JSON.value:
            classes = [{"name": name, "probability": share} for name, share in found.classes]
            print(json.dumps({"image": str(found.image), "classes": classes}), flush=True)
        else:
            print(predict.to_line(found), flush=True)


if __name__ == "__main__":
    start(main)
