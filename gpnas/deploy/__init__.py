"""Deployment: writes trained networks to files that run without gpnas; size and latency::

    small = compact_network(linen(module), variables, image_shape)
    to_onnx(small.apply, small.variables, image_shape, pathlib.Path("net.onnx"))
    run = load_exported(pathlib.Path("net.onnx"))
    assert max_difference(run, small.apply, small.variables, images) < 1e-4

`export` (files of a finished run), `front` (networks of a front) and `predict` (classification of
images) are namespaces. They and `slim` import `gpnas.train`, so they are loaded on demand:
exported networks need no training code.
"""

from gpnas.deploy._compact_network import Network, compact_network, dense_network
from gpnas.deploy._describe import Description, side_file
from gpnas.deploy._formats import (
    EXTRAS,
    OPSET,
    PLATFORMS,
    formats_of,
    inference,
    installed_formats,
    per_image,
    require_formats,
    to_onnx,
    to_stablehlo,
    to_tflite,
)
from gpnas.deploy._latency import measure_latency, run_in_process, serve, speedup
from gpnas.deploy._quantize import quantize
from gpnas.deploy._runtimes import load_exported, max_difference, mean_over_examples
from gpnas.deploy._saved import load_network, on_pixels, save_network

__all__ = [
    "EXTRAS", "OPSET", "PLATFORMS", "Description", "Network",
    "compact_network", "dense_network", "export", "formats_of", "front", "inference",
    "installed_formats", "load_exported", "load_network", "max_difference", "mean_over_examples",
    "measure_latency", "on_pixels", "per_image", "predict", "quantize", "require_formats",
    "run_in_process", "save_network", "serve", "side_file", "slim", "speedup", "to_onnx",
    "to_stablehlo", "to_tflite",
]  # fmt: skip  # noqa: F822
