"""Cost of masks: time of a step with masks, including mask updates, over a dense step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gpnas.data import Dataset
from gpnas.masks import MaskContext
from gpnas.train import make_plan, make_program

from .measure import Measurement, Options, by_backend, interleave, ratio, summary
from .subjects import config_of, every, fashion_mnist, plain_steps, random_data, trained

_METHODS = ("rigl", "development")
_ALLOCATIONS = ("erk", "global")
_TARGET = 1.1
_CONVOLUTIONS = 1.03  # limit on an accelerator


def segments_ratio(options: Options) -> Measurement:
    """Time of steps of development in segments over the same steps in one loop, LeNet-300."""
    steps, rounds = (5, 2) if options.fast else (100, 30)
    data, subjects = fashion_mnist(options), {}
    for loop in ("segments", "scan"):
        config = config_of(options, "development", "lenet300")
        every(config, steps)
        config.train.loop, config.train.log_every = loop, steps
        subjects[loop] = trained(config, data, steps)
    taken = interleave(subjects, rounds)
    value = ratio(taken, "segments", "scan")
    lowest = min(taken["segments"]) / min(taken["scan"])
    return Measurement(
        "segments_ratio", value, "step in segments / in a scan", f"≤ {_TARGET}", value <= _TARGET,
        {"ratio_of_minima": lowest, "images": data.name, "steps": steps} | summary(taken, steps),
    )  # fmt: skip


def masked_step_ratio(options: Options, model: str) -> Measurement:
    """The larger ratio of RigL and development; a timed call has 100 steps and one mask update."""
    steps, rounds = (5, 2) if options.fast else (100, 30 if model == "lenet300" else 3)
    data = fashion_mnist(options) if model == "lenet300" else random_data((32, 32, 3), 1024)
    subjects = {}
    for method in _METHODS:
        config = config_of(options, method, model)
        every(config, steps)
        subjects[method] = trained(config, data, steps)
    subjects["dense"] = plain_steps(config_of(options, "development", model), data, steps)
    taken = interleave(subjects, rounds)
    ratios = {method: ratio(taken, method, "dense") for method in _METHODS}
    lowest = {method: min(taken[method]) / min(taken["dense"]) for method in _METHODS}
    value = max(ratios.values())
    name = "masked_step_ratio" + ("" if model == "lenet300" else f"_{model}")
    target = _TARGET if model == "lenet300" else by_backend(_TARGET, _CONVOLUTIONS)
    return Measurement(
        name, value, "masked step / dense step", f"≤ {target}", value <= target,
        {"ratios": ratios, "ratios_of_minima": lowest, "images": data.name, "steps": steps}
        | summary(taken, steps),
    )  # fmt: skip


def mask_update_ratio(options: Options) -> Measurement:
    """Time of one mask update of RigL over a dense step, ResNet; the larger of two allocations."""
    steps, rounds = (1, 2) if options.fast else (5, 10)
    data = random_data((32, 32, 3), 1024)
    subjects = {}
    for allocation in _ALLOCATIONS:
        config = config_of(options, "rigl", "resnet")
        every(config, 100)
        config.method.allocation = allocation
        subjects[allocation] = _mask_updates(config, data, steps)
    subjects["dense"] = plain_steps(config_of(options, "rigl", "resnet"), data, steps)
    taken = interleave(subjects, rounds)
    ratios = {allocation: ratio(taken, allocation, "dense") for allocation in _ALLOCATIONS}
    value = max(ratios.values())
    return Measurement(
        "mask_update_ratio", value, "mask update / dense step", "≤ 1", value <= 1,
        {"ratios": ratios, "images": data.name, "updates": steps} | summary(taken, steps),
    )  # fmt: skip


def _mask_updates(config: ConfigDict, data: Dataset, updates: int) -> Callable[[], Any]:
    """Returns a function that updates the masks of a new network several times."""
    plan = make_plan(config, data)
    key, step = jax.random.key(0), jnp.int32(config.method.every)
    (state,) = make_program(plan, data).init([key])
    grads = jax.tree.map(lambda p: jax.random.normal(key, p.shape), state.params)

    @jax.jit
    def update(masks: Any, mask_state: Any, context: MaskContext) -> Any:
        return plan.method.transform.update(masks, mask_state, context)

    context = MaskContext(step, state.params, grads, key, jnp.bool_(True))

    def run() -> Any:
        found = state.masks, state.mask_state
        for _ in range(updates):
            found = update(*found, context)
        return found

    return run
