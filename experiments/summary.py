"""Prints a network layer by layer: shapes, parameters, MACs, units, and masked weights.

    gpnas summary --config=lenet5                         # a run's or a front's, before its start
    gpnas summary --workdir=runs/rigl                     # a finished run's
    gpnas summary --network=my_net:Net --inputs=28,28,1   # any class of Linen, NNX or Equinox

MACs are per example and count all weights; `active` counts nonzero weights. Units are removable
ones: neurons, channels, heads.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict, config_flags

from gpnas import train, units
from gpnas.commandline import check_kind, check_unused, no_arguments, start
from gpnas.errors import UserError
from gpnas.models import Model
from gpnas.plugins import call_user

_CONFIG = config_flags.DEFINE_config_file("config", None, "Of a run or a front.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
_NETWORK = flags.DEFINE_string("network", None, "Name of a network, or module:class of your own.")
_INPUTS = flags.DEFINE_list("inputs", ["28", "28", "1"], "Shape of one input of --network.")
_LARGEST = 10**8
_TAKEN = "the shape of an input that the network takes"
_CLASSES = flags.DEFINE_integer("classes", 10, "Number of outputs of --network.")


def main(argv: Sequence[str]) -> None:
    """Prints the table of the network."""
    no_arguments(argv)
    makers = ((_CONFIG, _of_config), (_WORKDIR, _of_run), (_NETWORK, _of_network))
    given = [(flag.name, make) for flag, make in makers if flag.value is not None]
    if len(given) != 1:
        names = [name for name, _ in given]
        raise UserError("summary", names, "one of --config, --workdir, --network")
    if _NETWORK.value is None:
        check_unused([_INPUTS, _CLASSES], "no value without --network, which it describes")
    model, variables, inputs = given[0][1]()
    shape = ",".join(map(str, inputs.shape[1:]))
    layers, others = call_user(
        "inputs", shape, _TAKEN, units.layer_summaries, model.infer, variables, inputs
    )
    rows = [_row(layer) for layer in layers]
    if others:
        rows.append(["products of activations", "", "", f"{others:,}", "", ""])
    sums = [
        sum(getattr(layer, field) for layer in layers) for field in units.LayerSummary._fields[2:]
    ]
    total = units.LayerSummary("total", {}, *sums)
    rows.append(_row(total._replace(macs=total.macs + others)))
    print(_table([["layer", "shapes", "parameters", "MACs", "units", "active weights"], *rows]))


def _of_config() -> tuple[Model, Any, Any]:
    config = _CONFIG.value
    if "front" in config:  # the network is that of its main run; masks are made later
        dense = train.base(name="dense")
        config = ConfigDict({field: config[field] for field in dense})
        config.method = dense.method
    check_kind(config, "train")
    plan = train.make_plan(config, train.load_data(config))
    one = jnp.zeros((1, *plan.inputs.shape), plan.inputs.dtype)
    key = jax.random.key(config.seed)
    state = train.init_state(plan.task, plan.method, plan.tx, one, key, gate_tx=plan.gate_tx)
    return plan.task.model, {"params": state.params, **state.model_state}, one


def _of_run() -> tuple[Model, Any, Any]:
    run = train.load_run(Path(str(_WORKDIR.value)))
    one = jax.ShapeDtypeStruct((1, *run.plan.inputs.shape), run.plan.inputs.dtype)
    return run.plan.task.model, run.variables, one


def _of_network() -> tuple[Model, Any, Any]:
    text = ",".join(_INPUTS.value)
    try:
        shape = tuple(int(size) for size in _INPUTS.value)
    except ValueError as error:
        raise UserError("inputs", text, "whole numbers") from error
    if min(shape, default=1) < 1:
        raise UserError("inputs", text, "sizes of 1 or more")
    if math.prod(shape) > _LARGEST:
        raise UserError("inputs", text, f"at most {_LARGEST:,} numbers")
    if _CLASSES.value < 1:
        raise UserError("classes", _CLASSES.value, "1 or more")
    config = train.base().model
    config.name = _NETWORK.value
    model = train.build_model(config, _CLASSES.value)
    one = jnp.zeros((1, *shape))
    variables = call_user("inputs", text, _TAKEN, model.init, jax.random.key(0), one)
    return model, variables, one


def _row(layer: units.LayerSummary) -> list[str]:
    shapes = ", ".join(f"{n} {'×'.join(map(str, s)) or '1'}" for n, s in layer.shapes.items())
    produced = f"{layer.active_units:,} of {layer.units:,}" if layer.units else "–"
    active = f"{layer.active:,} ({layer.active / layer.weights:.1%})" if layer.weights else "–"
    return [layer.name, shapes, f"{layer.params:,}", f"{layer.macs:,}", produced, active]


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Aligns rows as text; all columns but the first two are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


if __name__ == "__main__":
    start(main)
