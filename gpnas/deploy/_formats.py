"""Writes networks to files that run without gpnas: StableHLO, ONNX, TFLite.

Each function takes `apply(variables, images)`, images (batch, height, width, channels) float32, and
writes the variables into the file. Convolutions must be XLA's (`conv="xla"`).
"""

import collections
import contextlib
import importlib
import inspect
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export
from jax.extend.core import jaxpr_as_fun

from gpnas._files import PathLike
from gpnas.errors import UserError, check_choice, explained, how_to_install
from gpnas.masks import tree
from gpnas.models import MODELS, call

Apply = Callable[[Any, jax.Array], jax.Array]
#: Platforms supported by a StableHLO file.
PLATFORMS = ("cpu", "cuda", "tpu")
#: The newest ONNX opset supported by the oldest onnxruntime of the extra (1.20).
OPSET = 21
OPSETS = (17, 23)  # supported by jax2onnx; onnxruntime 1.20 rejects 22 and later
SAFETENSORS_NETWORKS = "a network of gpnas.models for safetensors; else onnx, stablehlo, tflite"
#: `{format: (extra, its modules)}`, what must be installed for each format.
EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "onnx": ("deploy", ("jax2onnx", "onnx", "onnxruntime")),
    "stablehlo": ("deploy", ("flatbuffers",)),
    "tflite": ("tflite", ("litert_converter", "ai_edge_litert")),
    "safetensors": ("deploy", ("safetensors",)),
}


def require_formats(formats: Sequence[str]) -> None:
    """Checks that the packages of formats are installed.

    Args:
      formats: Names of formats.

    Raises:
      UserError: For an unknown format, or a missing package.
    """
    for name in formats:
        check_choice("formats", name, EXTRAS)
        extra, packages = EXTRAS[name]
        require_packages("formats", name, extra, packages)


def installed_formats() -> list[str]:
    """Returns the installed formats: one portable format (ONNX preferred) and safetensors."""
    usable = [name for name in EXTRAS if _is_installed(name)]
    return [*[name for name in usable if name != "safetensors"][:1], *{"safetensors"} & {*usable}]


def formats_of(model: str, asked: Sequence[str] | None) -> list[str]:
    """Returns the formats to which a network is exported, before it is trained.

    Args:
      model: Name of the network in a config. Safetensors files need one of `gpnas.models`.
      asked: Names of formats; None: those of `installed_formats` that can express the network.

    Raises:
      UserError: If a format is unknown or not installed, or cannot express the network.
    """
    if asked is None:
        return [name for name in installed_formats() if name != "safetensors" or model in MODELS]
    require_formats(asked)
    if "safetensors" in asked and model not in MODELS:
        raise UserError("formats", "safetensors", SAFETENSORS_NETWORKS)
    return list(asked)


def _is_installed(name: str) -> bool:
    try:
        require_formats([name])
    except UserError:
        return False
    return True


def require_packages(field: str, got: str, extra: str, packages: Sequence[str]) -> None:
    """Checks that packages can be imported.

    Args:
      field, got: The flag or argument that needs them, and its value.
      extra: The extra of gpnas that installs them.
      packages: Their names.

    Raises:
      UserError: For a missing package.
    """
    for package in packages:
        allowed = f"it with {package} installed: {how_to_install(extra)}"
        with explained(field, got, allowed, ImportError):
            importlib.import_module(package)


def check_opset(opset: object) -> None:
    """Checks that ONNX files of this opset can be written.

    Raises:
      UserError: If not.
    """
    import onnx

    last = min(OPSETS[1], onnx.defs.onnx_opset_version())
    integral = isinstance(opset, int) and not isinstance(opset, bool)
    if not integral or not OPSETS[0] <= opset <= last:  # type: ignore[operator]
        raise UserError("opset", opset, f"a whole number from {OPSETS[0]} to {last}")


def inference(module: nn.Module) -> Apply:
    """Returns a module as a function `(variables, images) → logits`."""
    return lambda variables, images: jnp.asarray(call.infer(module, variables, images))


def per_image(apply: Apply, variables: Any, image_shape: Sequence[int]) -> Apply:
    """Maps the program of one image over the batch, so that the batch size can be symbolic.

    Functions from `units.compact` are traced for concrete batch sizes; ONNX and StableHLO files
    with any batch size need this.

    Args:
      apply: A function that treats each image independently.
      variables: Its variables or shapes.
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
    path: PathLike,
    platforms: Sequence[str] = PLATFORMS,
) -> None:
    """Writes a StableHLO file for any batch size and several platforms (`jax.export`).

    Args:
      apply: The network.
      variables: Its variables.
      image_shape: (height, width, channels).
      path: File to write; `jax.export.deserialize(bytes).call(images)` runs it.
      platforms: JAX platforms.
    """
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
    exported = export.export(jax.jit(_bound(apply, variables)), platforms=platforms)(images)
    pathlib.Path(path).write_bytes(bytes(exported.serialize()))


def to_onnx(
    apply: Apply,
    variables: Any,
    image_shape: Sequence[int],
    path: PathLike,
    opset: int = OPSET,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes an ONNX file for any batch size; needs the extra `deploy`.

    Args:
      apply: The network; no bfloat16.
      variables: Its variables.
      image_shape: (height, width, channels).
      path: File to write. The input is named "images", the output "logits". Weights are named like
        the variables ("params/Conv_0/kernel") unless another array has the same values.
      opset: ONNX opset, 17 to 23, with the lowest IR version that supports it. onnxruntime 1.20
        reads 21 and below.
      metadata: Texts by name, for `metadata_props`.

    Raises:
      UserError: For another opset.
    """
    import jax2onnx
    import onnx

    check_opset(opset)
    with _quiet("onnx_ir"):
        model = jax2onnx.to_onnx(
            _by_keywords(_bound(apply, variables)),
            [("batch", *image_shape)],
            model_name="gpnas",
            input_names=["images"],
            output_names=["logits"],
            opset=opset,
        )
    del model.graph.value_info[:]  # some are wrong and break the checker and quantization
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    _name_by_variables(model.graph, variables)
    onnx.helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _name_by_variables(graph: Any, variables: Any) -> None:
    """Names the weights of an ONNX graph by the variables' paths, and nodes by layers.

    Weights are identified by their values, since the converter renames and transposes them. Names
    of equal arrays are kept, and so are those whose path already names another value of the graph.
    """
    from onnx import numpy_helper

    leaves = {tree.path_name(p): x for p, x in jax.tree.leaves_with_path(variables)}
    arrays = {
        path: np.asarray(x)
        for path, x in leaves.items()
        if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    }
    outside = {x.name for x in (*graph.input, *graph.output)}
    weights = {x.name: numpy_helper.to_array(x) for x in graph.initializer if x.name not in outside}
    taken = outside | {*weights} | {name for node in _nodes(graph) for name in node.output}
    paths = {
        name: [path for path, leaf in arrays.items() if _holds(value, leaf)]
        for name, value in weights.items()
    }
    times = collections.Counter(path for own in paths.values() for path in own)
    names = {
        name: own[0]
        for name, own in paths.items()
        if len(own) == 1 == times[own[0]] and own[0] not in taken
    }
    for weight in graph.initializer:
        weight.name = names.get(weight.name, weight.name)
    layers: set[str] = set()
    for node in _nodes(graph):
        own = [names[name] for name in node.input if name in names]
        node.input[:] = [names.get(name, name) for name in node.input]
        *parts, _ = own[0].split("/") if own else [""]
        layer = "/".join(parts[1:] if parts[:1] in (["params"], ["batch_stats"]) else parts)
        if layer and layer not in layers:  # names are unique
            layers.add(layer)
            node.name = layer


def _nodes(graph: Any) -> Iterator[Any]:
    """Yields the nodes of an ONNX graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _holds(value: np.ndarray, leaf: np.ndarray) -> bool:
    """Returns whether an array is a leaf, or its transpose for ONNX (OIHW for HWIO)."""
    axes = (*range(leaf.ndim - 1, leaf.ndim - 3, -1), *range(leaf.ndim - 2))
    return value.dtype == leaf.dtype and any(
        np.array_equal(value, form) for form in (leaf, leaf.transpose(axes[: leaf.ndim]))
    )


def to_tflite(
    apply: Apply, variables: Any, image_shape: Sequence[int], path: PathLike, batch: int = 1
) -> None:
    """Writes a TFLite file for one batch size, from StableHLO; needs the extra `tflite`.

    Args:
      apply: The network.
      variables: Its variables.
      image_shape: (height, width, channels).
      path: File to write.
      batch: Batch size.
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
        content = bytes(converter.export_flatbuffer_to_bytes(module.operation))
    pathlib.Path(path).write_bytes(content)


WRITERS: Mapping[str, Callable[..., None]] = {
    "onnx": to_onnx,
    "stablehlo": to_stablehlo,
    "tflite": to_tflite,
}


def _bound(apply: Apply, variables: Any) -> Callable[[jax.Array], jax.Array]:
    return lambda images: apply(variables, images)


def _by_keywords(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Passes arguments of Flax's pooling by name.

    jax2onnx replaces poolings while tracing; its versions take no positional arguments.
    """

    def named(pool: Callable, signature: inspect.Signature) -> Callable:
        def call_pool(x: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
            _, *names = signature.parameters
            return pool(x, **dict(zip(names, args, strict=False)), **kwargs)

        return call_pool

    def traced(images: jax.Array) -> jax.Array:
        with contextlib.ExitStack() as stack:
            for (module, name), signature in _POOLINGS.items():
                replaced = named(getattr(module, name), signature)
                stack.enter_context(mock.patch.object(module, name, replaced))
            return function(images)

    return traced


_POOLINGS = {
    (module, name): inspect.signature(getattr(module, name))
    for module in (nn, nnx)
    for name in ("avg_pool", "max_pool")
}


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Restricts a logger to errors."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
