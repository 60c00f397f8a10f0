"""Networks as files that run without gpnas: StableHLO, ONNX, TFLite.

Each function takes `apply(variables, images)`, images (batch, height, width, channels) float32, and
writes the variables into the file. Convolutions are to be plain ones (`conv="xla"`).
"""

import contextlib
import importlib
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import export
from jax.extend.core import jaxpr_as_fun

from gpnas.errors import UserError
from gpnas.models import call

Apply = Callable[[Any, jax.Array], jax.Array]
PLATFORMS = ("cpu", "cuda", "tpu")
EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "onnx": ("gpnas[deploy]", ("jax2onnx", "onnx", "onnxruntime")),
    "stablehlo": ("gpnas[deploy]", ("flatbuffers",)),
    "tflite": ("gpnas[tflite]", ("litert_converter", "ai_edge_litert")),
    "safetensors": ("gpnas[deploy]", ("safetensors",)),
}


def require(formats: Sequence[str], known: Mapping[str, Any] = EXTRAS) -> None:
    """Makes sure that what formats need is installed.

    Raises:
      UserError: For a format that there is not, or a package that is missing.
    """
    for name in formats:
        if name not in known:
            raise UserError("formats", name, ", ".join(known))
        extra, packages = EXTRAS[name]
        for package in packages:
            try:
                importlib.import_module(package)
            except ImportError as error:
                allowed = f"it with {package} installed: pip install '{extra}' ({error})"
                raise UserError("formats", name, allowed) from error


def inference(module: nn.Module) -> Apply:
    """A module as a function `(variables, images) → logits`."""
    return lambda variables, images: jnp.asarray(call.infer(module, variables, images))


def each_image(apply: Apply, variables: Any, image_shape: Sequence[int]) -> Apply:
    """The same function, made of its program for one image: it can be traced with any batch.

    What `units.compact` gives is tied to batch sizes that are known; ONNX and StableHLO files with
    a free batch need this.

    Args:
      apply: Treats each image by itself.
      variables: Its variables, or their shapes.
      image_shape: (height, width, channels).
    """
    image = jax.ShapeDtypeStruct(tuple(image_shape), jnp.float32)
    program = jaxpr_as_fun(jax.make_jaxpr(lambda v, x: apply(v, x[None])[0])(variables, image))

    def apply_each(variables: Any, images: jax.Array) -> jax.Array:
        leaves = jax.tree.leaves(variables)
        return jax.vmap(lambda image: program(*leaves, image)[0])(images)

    return apply_each


def to_stablehlo(
    apply: Apply,
    variables: Any,
    image_shape: Sequence[int],
    path: pathlib.Path,
    platforms: Sequence[str] = PLATFORMS,
) -> None:
    """Writes one StableHLO file for any batch and several platforms (`jax.export`).

    Args:
      apply: The network.
      variables: Its variables.
      image_shape: (height, width, channels).
      path: File to write; `jax.export.deserialize(bytes).call(images)` runs it.
      platforms: Of JAX.
    """
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
    exported = export.export(jax.jit(_bound(apply, variables)), platforms=platforms)(images)
    path.write_bytes(bytes(exported.serialize()))


def to_onnx(apply: Apply, variables: Any, image_shape: Sequence[int], path: pathlib.Path) -> None:
    """Writes an ONNX file for any batch; needs gpnas[deploy].

    Args:
      apply: The network; max_pool and avg_pool of Flax with keyword arguments, no bfloat16.
      variables: Its variables.
      image_shape: (height, width, channels).
      path: File to write. Its input is called "images", its output "logits".
    """
    import jax2onnx
    import onnx

    with _quiet("onnx_ir"):
        model = jax2onnx.to_onnx(
            _bound(apply, variables),
            [("batch", *image_shape)],
            model_name="gpnas",
            input_names=["images"],
            output_names=["logits"],
        )
    del model.graph.value_info[:]  # some are wrong, and the checker and quantisation look at them
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def to_tflite(
    apply: Apply,
    variables: Any,
    image_shape: Sequence[int],
    path: pathlib.Path,
    batch: int = 1,
) -> None:
    """Writes a TFLite file for one batch size, by way of StableHLO's text; needs gpnas[tflite].

    Args:
      apply: The network.
      variables: Its variables.
      image_shape: (height, width, channels).
      path: File to write.
      batch: Images a call.
    """
    from litert_converter import converter_api_ext as converter
    from litert_converter.mlir import ir, passmanager

    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
    text = export.export(jax.jit(_bound(apply, variables)))(images).mlir_module()
    with ir.Context() as context:
        converter.prepare_mlir_context(context)
        module = ir.Module.parse(text)
        converter.set_signature(module.operation, "serving_default", ["images"], ["logits"])
        passes = passmanager.PassManager("builtin.module", context)
        converter.run_convert_to_tfl_passes(module, passes, converter.ConvertToTFLConfig())
        path.write_bytes(bytes(converter.export_flatbuffer_to_bytes(module.operation)))


WRITERS: Mapping[str, Callable[..., None]] = {
    "onnx": to_onnx,
    "stablehlo": to_stablehlo,
    "tflite": to_tflite,
}


def _bound(apply: Apply, variables: Any) -> Callable[[jax.Array], jax.Array]:
    return lambda images: apply(variables, images)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Only a logger's errors, while it lasts."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
