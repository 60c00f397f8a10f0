"""Division of many steps into calls of few compiled programs.

`scan`: one program, a loop over any number of steps; each step decides on mask updates on the
device. `steps`: one program for one step. `segments`: the host knows the schedule of mask updates
and divides the steps into stretches of one kind. Steps between mask updates then have no control
flow, and most loops have a static length. On a GPU, each data-dependent decision and each iteration
of a loop of data-dependent length synchronises with the host.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gpnas.masks import cond_inplace, finite, init_masks
from gpnas.methods import Method
from gpnas.train._build import conv_kind
from gpnas.train._in_blocks import Between, in_blocks
from gpnas.train._state import TrainState
from gpnas.train._step import ANY, OBSERVING, PLAIN, Metrics

_KINDS = (PLAIN, OBSERVING, ANY)
_CALL, _TURN = 3.0, 0.3  # cost, in steps, of a call and of an iteration of a dynamic loop

Body = Callable[..., tuple[TrainState, Metrics]]
RunRows = Callable[..., tuple[TrainState, Metrics]]


class Segments(NamedTuple):
    """Properties of a run's steps that are known on the host.

    Attributes:
      kinds: Evaluates the steps' kinds, int8, positions in (PLAIN, OBSERVING, ANY).
      lengths: `{PLAIN: steps, OBSERVING: steps}`, lengths of the static programs; 0 for none.
      programs: `(kind, static)` of the programs that the run needs.
      unsure: First step after which a mask update may be deferred; None: never.
    """

    kinds: Between
    lengths: dict[str, int]
    programs: frozenset[tuple[str, bool]]
    unsure: int | None


class Stretch(NamedTuple):
    """One call: kind and number of its steps, and whether its program has that static length."""

    kind: str
    steps: int
    static: bool


def loop_kind(config: ConfigDict, shapes: Mapping[str, Sequence[int]]) -> str:
    """Returns `train.loop`; for "auto" the fastest kind.

    This is "segments", except on a CPU, where decisions cost nothing and one program compiles
    faster than four. XLA's convolutions are slow in loops on CPUs.

    Args:
      config: Config of the run.
      shapes: Shapes of the weights by path.
    """
    if config.train.loop != "auto":
        return str(config.train.loop)
    if jax.default_backend() != "cpu":
        return "segments" if config.train.parallel == "jit" else "scan"
    convolves = any(len(s) > 2 for s in shapes.values()) and conv_kind(config.model) == "xla"
    return "steps" if convolves else "scan"


def plan_segments(
    loop: str, method: Method, params: Any, total_steps: int, ends: Sequence[int]
) -> Segments | None:
    """Returns the kinds of all steps, and the program lengths of the lowest total cost.

    Args:
      loop: "segments"; for any other loop None is returned.
      method: The method.
      params: Parameters of the network or their shapes.
      total_steps: Steps of the run.
      ends: Stretches end at multiples of these numbers of steps: epochs, metrics lines.
    """
    if loop != "segments":
        return None
    observes, updates = map(jax.vmap, (method.transform.may_observe, method.transform.may_change))

    def kinds_at(steps: jax.Array) -> jax.Array:
        return jnp.where(updates(steps), 2, jnp.where(observes(steps), 1, 0)).astype(jnp.int8)

    kinds = in_blocks(kinds_at, total_steps)
    of_kind = count_runs(kinds(0, total_steps), total_steps, ends)
    lengths = {kind: _static_length(of_kind[kind]) for kind in (PLAIN, OBSERVING)}
    programs = {(kind, True) for kind, length in lengths.items() if length}
    if any(run % length for kind, length in lengths.items() for run in of_kind[kind]):
        programs.add((OBSERVING, False))
    if of_kind[ANY]:
        programs.add((ANY, False))
    key = jax.random.key(0)
    init = method.transform.init
    _, mask_state = jax.eval_shape(lambda p: init(init_masks(p), p, key), params)
    parts = kinds(0, total_steps if finite.may_defer(mask_state) else 0)
    unsure = next((at + int(np.argmax(part)) for at, part in parts if part.max() == 2), None)
    return Segments(kinds, lengths, frozenset(programs), unsure)


def count_runs(
    parts: Iterable[tuple[int, np.ndarray]], total_steps: int, ends: Sequence[int]
) -> dict[str, dict[int, int]]:
    """Returns `{kind: {length: number}}` of the runs of steps of one kind between ends."""
    found: dict[str, dict[int, int]] = {kind: {} for kind in _KINDS}
    kind, start = np.int8(-1), 0  # of the run that the next part continues
    for first, kinds in parts:
        at = np.arange(first, first + len(kinds))
        cuts = (np.diff(kinds, prepend=kind) != 0) | np.any([at % n == 0 for n in ends], axis=0)
        starts, of = np.append(start, at[cuts]), np.append(kind, kinds[cuts])
        if first + len(kinds) == total_steps:
            starts, of = np.append(starts, total_steps), np.append(of, -1)
        for i, name in enumerate(_KINDS):
            lengths, often = np.unique(np.diff(starts)[of[:-1] == i], return_counts=True)
            for length, number in zip(lengths.tolist(), often.tolist(), strict=True):
                found[name][length] = found[name].get(length, 0) + number
        kind, start = of[-1], starts[-1]
    return found


def _static_length(runs: Mapping[int, int]) -> int:
    """Returns the program length of the lowest cost for runs of equal steps; 0 for no runs.

    Args:
      runs: `{length: number}`.
    """
    found = np.array(sorted(runs), int)
    often = np.array([runs[n] for n in sorted(runs)], int)

    def cost(n: int) -> float:
        calls = found // n + (found % n > 0)
        return float(np.sum(often * (_CALL * calls + _TURN * (found % n))))

    return int(min(found, key=cost, default=0))


def next_stretch(segments: Segments, step: int, most: int) -> Stretch:
    """Returns the steps of one call from `step` on, at most `most`.

    Steps that do not fill a program of static length run as OBSERVING steps in a program of any
    length, which skips statistics that are not due.
    """
    parts = [part for _, part in segments.kinds(step, step + most)]
    if not parts:  # beyond the end of the run
        return Stretch(ANY, most, False)
    kinds = np.concatenate(parts)
    other = np.flatnonzero(kinds != kinds[0])
    kind, steps = _KINDS[kinds[0]], int(other[0]) if len(other) else len(kinds)
    length = segments.lengths.get(kind, 0)
    if kind != ANY and 0 < length <= steps:
        return Stretch(kind, length, True)
    return Stretch(ANY if kind == ANY else OBSERVING, steps, False)


def many_steps(
    bodies: dict[str, Body],
    loop: str,
    replicas: int,
    wrap: Callable,
    zero: Metrics,
    axes: Any,
    segments: Segments | None = None,
) -> tuple[RunRows, Callable[[], int]]:
    """Returns a function that runs rows `0 … steps − 1` in calls of compiled programs.

    Args:
      bodies: `(i, state, sums, inputs, targets, index) → (state, sums)`, one step with row i of
        `index` (an array or a pytree of arrays), by kind.
      loop: "scan", "steps" or "segments".
      replicas: Number of networks under `vmap`; 1: no `vmap`.
      wrap: `jit` or `pmap`, for functions of `(state, sums, inputs, targets, index, first,
        steps)`.
      zero: Sums before the first step, with the sharding that `wrap` returns.
      axes: Axes of a `TrainState`, for `vmap`.
      segments: The plan of the loop "segments".

    Returns:
      `(state, inputs, targets, index, steps, step) → (state, sums)`, where `step` is the number of
      steps before, and `() → int`, the number of programs compiled so far.
    """
    traces: list[None] = []  # one entry per compiled program

    def compiled(f: Callable, guard: Callable[[Callable], Callable] = lambda f: f) -> Callable:
        if replicas > 1:
            f = jax.vmap(f, (axes, 0, None, None, 0, None, None), (axes, 0))
        f = guard(f)

        @functools.wraps(f)
        def counted(*args: Any) -> Any:
            traces.append(None)
            return f(*args)

        return wrap(counted)

    if loop == "segments":
        assert segments is not None
        return _in_segments(bodies, segments, compiled, zero), traces.__len__
    program = compiled(one_step(bodies[ANY]) if loop == "steps" else any_length(bodies[ANY]))

    def run(state: TrainState, inputs: Any, targets: Any, index: Any, steps: int, step: int) -> Any:
        del step
        sums, first, count = zero, np.int32(0), np.int32(steps)
        if loop == "scan":
            return program(state, sums, inputs, targets, index, first, count)
        for i in range(steps):
            state, sums = program(state, sums, inputs, targets, index, np.int32(i), np.int32(1))
        return state, sums

    return run, traces.__len__


def one_step(body: Body) -> Body:
    """Returns the step of row `first`."""

    def once(
        state: TrainState, sums: Any, inputs: Any, targets: Any, index: Any, first: Any, steps: Any
    ) -> tuple:
        del steps
        return body(first, state, sums, inputs, targets, index)

    return once


def any_length(body: Body, length: int | None = None) -> Body:
    """Returns a loop over rows from `first` on, of static `length`; None: of traced `steps`."""

    def loop(
        state: TrainState, sums: Any, inputs: Any, targets: Any, index: Any, first: Any, steps: Any
    ) -> tuple:
        def turn(i: Any, carry: tuple) -> tuple:
            return body(first + i, *carry, inputs, targets, index)

        return jax.lax.fori_loop(0, steps if length is None else length, turn, (state, sums))

    return loop


def up_to(body: Body) -> Body:
    """Returns a loop over the rows that are left before `end`; row 0 is that of step `first`.

    The number of rows is data-dependent, so a GPU synchronises with the host once per row plus
    once. It is one, the row of a mask update, unless previous steps were skipped.
    """

    steps = any_length(body)

    def loop(
        state: TrainState, sums: Any, inputs: Any, targets: Any, index: Any, first: Any, end: Any
    ) -> tuple:
        at = state.step - first
        return steps(state, sums, inputs, targets, index, at, end - at)

    return loop


def unless_pending(f: Body) -> Body:
    """Skips steps while a mask update is deferred: only steps of kind ANY perform it."""

    def guarded(state: TrainState, sums: Any, *args: Any) -> tuple:
        ready = ~finite.pending(state.mask_state)
        return cond_inplace(ready, lambda carry: f(*carry, *args), (state, sums))

    return guarded


def _in_segments(
    bodies: dict[str, Body], segments: Segments, compiled: Callable, zero: Metrics
) -> RunRows:
    guard = (lambda f: f) if segments.unsure is None else unless_pending
    programs = {
        (OBSERVING, False): compiled(any_length(bodies[OBSERVING]), guard),
        (ANY, False): compiled(up_to(bodies[ANY])),
    }
    for kind, length in segments.lengths.items():
        if length:
            programs[kind, True] = compiled(any_length(bodies[kind], length), guard)
    compiled_before: list[None] = []

    def compile_all(*args: Any) -> None:
        """Compiles all programs of the run, so that no mask update waits for compilation."""
        if not compiled_before:
            compiled_before.append(None)
            for name in segments.programs:
                programs[name].lower(*args, np.int32(0), np.int32(0)).compile()

    def run(state: TrainState, inputs: Any, targets: Any, index: Any, steps: int, step: int) -> Any:
        sums, at, rows = zero, 0, (inputs, targets, index)
        compile_all(state, sums, *rows)
        while at < steps:
            kind, count, static = next_stretch(segments, step + at, steps - at)
            span = (step, at + count) if kind == ANY else (at, count)
            state, sums = programs[kind, static](state, sums, *rows, *map(np.int32, span))
            at += count
        if kind != ANY and segments.unsure is not None and segments.unsure < step + steps:
            state, sums = programs[ANY, False](state, sums, *rows, np.int32(step), np.int32(steps))
        return state, sums

    return run
