"""A network of any library as two pure functions."""

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from gpnas.models import call

_STATE = "state"  # the collection of an NNX or Equinox network's state besides parameters


class Model(NamedTuple):
    """A network: pure functions of its variables, a dict of "params" and other collections.

    Attributes:
      init: `(key, inputs) → variables`; only shape and dtype of the inputs, (batch, …), are used.
      apply: `(variables, inputs, key) → (outputs, collections)`: outputs (batch, …), and all
        collections except "params". With a key, the network is in training mode and may change
        them; with None, it is in evaluation mode.
      module: The Flax Linen module, if any. Methods that intercept layers require it.
    """

    init: Callable[[jax.Array, Any], dict[str, Any]]
    apply: Callable[[Any, Any, jax.Array | None], tuple[Any, dict[str, Any]]]
    module: nn.Module | None = None

    def infer(self, variables: Any, inputs: Any) -> Any:
        """Returns the outputs in evaluation mode."""
        return self.apply(variables, inputs, None)[0]


def linen(module: nn.Module) -> Model:
    """Converts a Flax Linen module to a `Model`.

    Args:
      module: A module with the calling convention of `gpnas.models.call`.
    """

    def apply_fn(variables: Any, inputs: Any, key: jax.Array | None) -> tuple[Any, dict[str, Any]]:
        if key is None:
            return call.infer(module, variables, inputs), _collections(variables)
        return call.forward(module, variables, inputs, key)

    return Model(functools.partial(call.init, module), apply_fn, module)


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Model:
    """Converts a Flax NNX module to a `Model`.

    Variables of type `nnx.Param` are the parameters; all others (batch statistics) form the
    collection "state". States of random streams (dropout) are not stored; each step uses its own
    key.

    Args:
      make: Constructs the module, `rngs → module`.
    """

    def split(module: Any) -> Any:
        return nnx.split(module, nnx.Param, nnx.RngState, ...)

    shapes = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    graph, *like = split(shapes)

    def filled(state: Any, values: Any) -> Any:
        state = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(state, values)
        return state

    def init_fn(key: jax.Array, inputs: Any) -> dict[str, Any]:
        del inputs
        _, params, _, state = split(make(nnx.Rngs(key)))
        return _variables(nnx.to_pure_dict(params), nnx.to_pure_dict(state))

    def apply_fn(variables: Any, inputs: Any, key: jax.Array | None) -> tuple[Any, dict[str, Any]]:
        params, streams, state = like
        start = jax.random.key(0) if key is None else key
        numbers = itertools.count()
        streams = jax.tree.map(lambda leaf: _stream(leaf, start, next(numbers)), streams)
        state = filled(state, variables.get(_STATE, {}))
        module = nnx.merge(graph, filled(params, variables["params"]), streams, state)
        if key is None:
            module.eval()
        else:
            module.train()
        outputs = module(inputs)
        new = nnx.to_pure_dict(split(module)[3])
        return outputs, _collections(_variables({}, new))

    return Model(init_fn, apply_fn)


def from_equinox(make: Callable[[jax.Array], Any]) -> Model:
    """Converts an Equinox module to a `Model`; it is mapped over the batch axis "batch".

    Floating-point arrays are the parameters; other arrays and the layers' state form the collection
    "state".

    Args:
      make: Constructs the module, `key → module`, or `(module, state)` as
        `equinox.nn.make_with_state` does. The module is called with one example, with `key` if its
        signature has it, and with the state if there is one.

    Raises:
      ImportError: If Equinox is not installed.
    """
    import equinox as eqx

    def is_shape(leaf: Any) -> bool:
        return isinstance(leaf, jax.ShapeDtypeStruct)

    made = eqx.filter_eval_shape(make, jax.random.key(0))
    stateful = isinstance(made, tuple)
    static = eqx.partition(made, is_shape)[1]
    module = made[0] if stateful else made
    takes_key = "key" in inspect.signature(type(module).__call__).parameters

    def init_fn(key: jax.Array, inputs: Any) -> dict[str, Any]:
        del inputs
        arrays = eqx.filter(make(key), eqx.is_array)
        module, layers = arrays if stateful else (arrays, None)
        params, others = eqx.partition(module, eqx.is_inexact_array)
        return {"params": params, _STATE: (others, layers)}

    def apply_fn(variables: Any, inputs: Any, key: jax.Array | None) -> tuple[Any, dict[str, Any]]:
        others, layers = variables[_STATE]
        arrays = eqx.combine(variables["params"], others)
        whole = eqx.combine((arrays, layers) if stateful else arrays, static)
        module, state = whole if stateful else (whole, None)
        module = eqx.nn.inference_mode(module, key is None)
        keys = None if key is None else jax.random.split(key, len(inputs))

        def one(x: Any, state: Any, key: jax.Array | None) -> Any:
            own = {"key": key} if takes_key else {}
            return module(x, state, **own) if stateful else (module(x, **own), None)

        axes = (0, None, None if keys is None else 0)
        mapped = jax.vmap(one, axes, (0, None), axis_name="batch")
        outputs, new = mapped(inputs, state, keys)
        return outputs, {_STATE: (others, eqx.filter(new, eqx.is_array))}

    return Model(init_fn, apply_fn)


def _stream(leaf: Any, key: jax.Array, number: int) -> jax.Array:
    """Returns the initial state of an NNX random stream: its key, or the number of draws."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.fold_in(key, number)
    return jnp.zeros(leaf.shape, leaf.dtype)


def _variables(params: Any, state: Any) -> dict[str, Any]:
    return {"params": params} | ({_STATE: state} if jax.tree.leaves(state) else {})


def _collections(variables: Any) -> dict[str, Any]:
    return {name: tree for name, tree in variables.items() if name != "params"}
