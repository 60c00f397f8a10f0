"""Deployment: trained networks as files that run without gpnas, and what they are worth there.

small = smaller(module, variables, image_shape)
to_onnx(small.apply, small.variables, image_shape, pathlib.Path("net.onnx"))
assert parity(load(pathlib.Path("net.onnx")), small.apply, small.variables, images) < 1e-4
"""

from gpnas.deploy.formats import each_image, to_onnx, to_stablehlo, to_tflite
from gpnas.deploy.latency import latency, speedup
from gpnas.deploy.quantise import quantise
from gpnas.deploy.runtimes import error_percent, load, parity
from gpnas.deploy.saved import load_network, of_pixels, save_network
from gpnas.deploy.smaller import Network, smaller, whole

__all__ = [
    "Network", "each_image", "error_percent", "latency", "load", "load_network",
    "of_pixels", "parity", "quantise", "save_network", "smaller", "speedup", "to_onnx",
    "to_stablehlo", "to_tflite", "whole",
]  # fmt: skip
