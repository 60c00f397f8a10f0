"""Networks of a run with other widths: finds the constructor arguments that set widths."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gpnas import models
from gpnas.data import Dataset
from gpnas.errors import UserError
from gpnas.masks import apply, tree
from gpnas.models import Model, Width
from gpnas.train._build import (
    build_model,
    build_task,
    constructor_arguments,
    discover_units,
    shapes_of,
)
from gpnas.train._plan import Plan
from gpnas.units import relative_difference, resize, weight_masks

_TOLERANCE = 1e-3  # of float32; reordered sums differ by less


class Rebuild(NamedTuple):
    """How to build a network with other widths.

    Attributes:
      name: Name of the network in the config.
      fields: JSON-compatible arguments of its constructor.
      widths: `{group: number in the fields}` that sets its size; None for a network of
        `gpnas.models`, whose widths are inferred from shapes.
      sizes: `{group: units}` of the network with these fields.
    """

    name: str
    fields: Mapping[str, Any]
    widths: Mapping[str, Width] | None
    sizes: Mapping[str, int]

    def architecture(self, model: Model, params: Any, sizes: Mapping[str, int]) -> dict[str, Any]:
        """Returns the architecture with other widths, for `gpnas.models.from_architecture`.

        Args:
          model: The network, with any widths.
          params: Its parameters or their shapes, with the new widths.
          sizes: `{group: units}` with the new widths.
        """
        if self.widths is None:
            return models.architecture(model.module, params)
        values = {
            width: width.value + sizes[group] - self.sizes[group]
            for group, width in self.widths.items()
        }
        fields = models.with_widths(self.fields, values)
        return {"model": self.name, "fields": json.loads(json.dumps(fields))}


def find_rebuild(config: ConfigDict, data: Dataset, plan: Plan) -> Rebuild:
    """Finds how to build the network of a run that develops units with other widths.

    Raises:
      UserError: If no field sets the size of a group of units, or the plan is for another network
        than the config's.
    """
    sizes = plan.groups.sizes
    if models.is_known(plan.task.model.module):
        return Rebuild(config.model.name, {}, None, sizes)
    fields = constructor_arguments(config.model, data.num_classes)

    def shapes(fields: Mapping[str, Any]) -> Any:
        return _build(config, data, plan, fields)[1]

    own, named = (tree.leaves_by_path(x) for x in (plan.variables, shapes(fields)))
    if {p: x.shape for p, x in own.items()} != {p: x.shape for p, x in named.items()}:
        allowed = f"the network that the config names; {config.model.name} is another one"
        raise UserError("elastic", True, allowed)
    widths = models.find_widths("elastic", shapes, fields, plan.groups)
    return Rebuild(config.model.name, fields, widths, sizes)


def check_rebuilt(config: ConfigDict, data: Dataset, plan: Plan, rebuild: Rebuild) -> None:
    """Checks that the network computes the same at half of its widths and after resizing back.

    Raises:
      UserError: If it does not, for example because it divides by its width.
    """
    if rebuild.widths is None:
        return
    groups, random = plan.groups, np.random.default_rng(0)
    masks = {  # units that are summed over, as by LayerNorm, stay active in training
        group.name: random.permutation(group.size) < max(-(-group.size // 2), 2)
        for group in groups.groups
        if not group.summed
    }
    exact = config.copy_and_resolve_references()
    exact.model.dtype = "float32"
    model, shapes = _build(exact, data, plan, rebuild.fields)
    variables = jax.tree.map(lambda x: _random(x, random), shapes)
    x = _random(jax.ShapeDtypeStruct((2, *plan.inputs.shape), plan.inputs.dtype), random)
    expected = model.infer(apply(weight_masks(groups, masks, variables), variables), x)
    sizes = {**rebuild.sizes, **{name: int(mask.sum()) for name, mask in masks.items()}}
    network = rebuild.architecture(model, None, sizes)
    narrow, small_shapes = _build(exact, data, plan, network["fields"])
    small = with_structure_of(small_shapes, resize(variables, shapes, groups, masks))
    found = discover_units(narrow, small_shapes, plan.inputs)
    back = with_structure_of(shapes, resize(small, small_shapes, found, {}, rebuild.sizes))
    pairs = (expected, narrow.infer(small, x)), (expected, model.infer(back, x))
    worst = max(relative_difference(*pair) for pair in pairs)
    if worst > _TOLERANCE:
        allowed = f"a network that computes the same in other widths; {rebuild.name} does not"
        differ = f"(its outputs differ by {worst:.2g}); or elastic=False"
        raise UserError("elastic", True, f"{allowed} {differ}")


def with_structure_of(like: Any, values: Any) -> Any:
    """Returns the leaves of a tree in another tree's structure, which may hold widths (Equinox)."""
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(values))


def _build(
    config: ConfigDict, data: Dataset, plan: Plan, fields: Mapping[str, Any]
) -> tuple[Model, Any]:
    """Returns `(network with these fields, shapes of its variables)`."""
    own = {"model": config.model.name, "fields": fields}
    model = build_model(config.model, data.num_classes, None, own)
    return model, shapes_of(build_task(config.task, model), config.model, plan.inputs)


def _random(like: jax.ShapeDtypeStruct, random: np.random.Generator) -> jax.Array:
    """Draws random numbers: around 0 for kernels and inputs, around 1 for scales and variances."""
    if not jnp.issubdtype(like.dtype, jnp.floating):
        return jnp.zeros(like.shape, like.dtype)
    if len(like.shape) < 2:
        return jnp.asarray(random.uniform(0.5, 1.5, like.shape), like.dtype)
    scale = np.sqrt(like.shape[-1] / np.prod(like.shape))
    return jnp.asarray(scale * random.normal(size=like.shape), like.dtype)
