"""From settings to a method: what is right is built, what is wrong is told in one line."""

import inspect
import sys
import types
from typing import Annotated

import jax
import jax.numpy as jnp
import pytest

from gpnas.errors import UserError
from gpnas.masks import init_masks, masked_leaves
from gpnas.masks.allocate import Allocation
from gpnas.methods import METHODS, In, Method, build, find_method, step_at

SHAPES = {"Dense_0/kernel": (16, 12), "Dense_1/kernel": (12, 8)}


def made(**settings):
    """A method of a run of 1000 steps."""
    return build(settings, total_steps=1000, batch_size=32, shapes=SHAPES)


@pytest.mark.slow
@pytest.mark.parametrize("allocation", ["erk", "uniform", "global", "macs"])
@pytest.mark.parametrize(
    "name", [name for name, f in METHODS.items() if "allocation" in inspect.signature(f).parameters]
)
def test_every_method_takes_every_allocation(name, allocation):
    more = {"peak": 4.0} if name in ("development", "pipeline") else {}
    assert isinstance(made(name=name, density=0.1, allocation=allocation, **more), Method)


@pytest.mark.parametrize("selection", ["exact_top_k", "2:4", "1:4", "4x4"])
@pytest.mark.parametrize("name", ["one_shot", "ste"])
def test_selections_by_name(name, selection):
    density = {"2:4": 0.5, "1:4": 0.25}.get(selection, 0.3)
    assert isinstance(made(name=name, density=density, select=selection), Method)


def test_a_method_of_ones_own():
    assert find_method("gpnas.methods.set:set_") is METHODS["set"]
    assert isinstance(made(name="gpnas.methods.set:set_", density=1), Method)


def named(*, density: float, allocation: str = "", select: int = 0, only: Allocation) -> Method:
    return METHODS["static"](density=density, allocation=only)._replace(trainings=len(allocation))


def test_names_are_resolved_by_annotation_and_not_by_the_name_of_an_argument():
    own = {"name": f"{__name__}:named", "density": 0.5, "only": "uniform"}
    found = made(**own, allocation="erk", select=2)
    assert found.trainings == 3
    with pytest.raises(UserError, match="method.only"):
        made(**own | {"only": "none"})


def nothing() -> Method:
    return None


def broken() -> Method:
    raise RuntimeError("no\nway")


@pytest.mark.parametrize(("name", "said"), [("nothing", "not NoneType"), ("broken", "no way")])
def test_a_method_of_ones_own_that_is_none(name, said):
    with pytest.raises(UserError, match=said) as caught:
        made(name=f"{__name__}:{name}")
    assert caught.value.field.startswith("method") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("name", {"name": "nothing"}),
        ("name", {"name": "no.such.module:f"}),
        ("name", {"name": "gpnas.methods.set:nothing"}),
        ("density", {"name": "rigl"}),
        ("density", {"name": "rigl", "density": 0.0}),
        ("density", {"name": "rigl", "density": 1.5}),
        ("density", {"name": "rigl", "density": "much"}),
        ("density", {"name": "rigl", "density": 0.001}),
        ("density", {"name": "ste", "density": 0.3, "select": "2:4"}),
        ("colour", {"name": "rigl", "density": 0.1, "colour": 1}),
        ("total_steps", {"name": "rigl", "density": 0.1, "total_steps": 5}),
        ("every", {"name": "set", "density": 0.1, "every": 0}),
        ("every", {"name": "gmp", "density": 0.1, "every": 751}),
        ("allocation", {"name": "set", "density": 0.1, "allocation": "none"}),
        ("select", {"name": "ste", "density": 0.5, "select": "3:4"}),
        ("stop_at", {"name": "gmp", "density": 0.1, "stop_at": 1.2}),
        ("start_at", {"name": "gmp", "density": 0.1, "start_at": 0.8}),
        ("warmup_at", {"name": "acdc", "density": 0.1, "warmup_at": 0.8}),
        ("phases", {"name": "acdc", "density": 0.1, "warmup_at": 0.7, "phases": 26}),
        ("extra", {"name": "topkast", "density": 0.95}),
        ("drop", {"name": "development", "density": 0.1, "peak": 2.0, "drop": "size"}),
        ("peak", {"name": "development", "density": 0.1}),
        ("peak", {"name": "development", "density": 0.1, "peak": 0.5}),
        ("peak", {"name": "development", "density": 0.1, "peak": float("nan")}),
        ("churn", {"name": "development", "density": 0.05, "churn": float("inf")}),
        ("peak_at", {"name": "development", "density": 0.01, "peak_at": 0.8}),
        ("decay", {"name": "development", "density": 0.01, "decay": 1.0}),
        ("stop_at", {"name": "gmp", "density": 0.1, "stop_at": 0.0}),
    ],
)
def test_mistakes_are_reported_by_field(field, settings):
    with pytest.raises(UserError) as error:
        made(**settings)
    assert str(error.value).startswith(f"method.{field}: got ") and "\n" not in str(error.value)


def test_only_an_allocation_by_cost_needs_positive_costs():
    costs = {"Dense_0/kernel": 0.0, "Dense_1/kernel": 1.0}
    run = {"total_steps": 1000, "batch_size": 32, "shapes": SHAPES, "macs": costs}
    settings = {"name": "rigl", "density": 0.1}
    assert isinstance(build(settings, **run), Method)
    with pytest.raises(UserError, match="^method.allocation: got 'macs'.*positive finite costs"):
        build(settings | {"allocation": "macs"}, **run)


def test_gates_of_npn_expand_are_on_hidden_layers_by_the_given_outputs():
    params = {name: {"kernel": jnp.ones((6, 6))} for name in ("classifier", "hidden", "second")}
    masks = init_masks(params)
    shapes = {p: x.shape for p, x in masked_leaves(masks, params).items()}
    method = build(
        {"name": "npn_expand", "every": 10}, total_steps=1000, batch_size=32, shapes=shapes,
        output_layers=["classifier/kernel"],
    )  # fmt: skip
    gates = method.gates.init(masks, params, jax.random.key(0))
    assert set(gates) == {"hidden/kernel", "second/kernel"}


def test_moments_are_steps_of_the_run():
    assert step_at(0.75, 1000, 100) == 700
    assert step_at(1.0, 1000) == 999
    assert step_at(1.0, 1000, 100) == 900
    assert step_at(0.0, 1000, 100) == 0


def mine(*, threshold: float = 1.0, stop_at: float = 1.0, decay: float = 0.0) -> Method:
    """A method whose arguments have the names of ours, but other ranges."""
    assert (threshold, stop_at, decay) == (20.0, 3.0, 2.0)
    return METHODS["dense"]()


def bounded(*, share: Annotated[float, In(0, 1)], sizes_of: tuple[float, ...] = ()) -> Method:
    return METHODS["dense"]()


def test_names_of_ones_own_arguments_bind_no_range(monkeypatch):
    own = types.ModuleType("mine")
    own.mine, own.bounded = mine, bounded
    monkeypatch.setitem(sys.modules, "mine", own)
    made(name="mine:mine", threshold=20.0, stop_at=3.0, decay=2.0)
    made(name="mine:bounded", share=1)
    with pytest.raises(UserError, match=r"method.share: got 1.5, allowed: a number in \[0, 1\]"):
        made(name="mine:bounded", share=1.5)


def test_postponed_annotations_are_evaluated(monkeypatch, tmp_path):
    (tmp_path / "postponed.py").write_text(
        "from __future__ import annotations\n"
        "from typing import Annotated\n"
        "from gpnas.methods import METHODS, In, Method\n"
        "def share(*, part: Annotated[float, In(0, 1)], every: Annotated[int, In(1)]) -> Method:\n"
        "    assert every == 20\n"
        "    return METHODS['dense']()\n"
    )
    (tmp_path / "quoted.py").write_text(
        "from gpnas.methods import METHODS, Method\n"
        "def absent(*, part: 'Absent' = None, every: int = 5) -> Method:\n"
        "    return METHODS['dense']()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made(name="postponed:share", part=0.5, every="2%")
    with pytest.raises(UserError, match=r"method.part: got 1.5, allowed: a number in \[0, 1\]"):
        made(name="postponed:share", part=1.5)
    made(name="quoted:absent", part="anything", every="auto")


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "text"),
    [
        (In(0, 1), (0, 1, 0.5), (-0.1, 1.1), "in [0, 1]"),
        (In(0, 1, open="low"), (1, 1e-9), (0, 2), "in (0, 1]"),
        (In(0, 1, open="high"), (0, 0.99), (1, -1), "in [0, 1)"),
        (In(-8, 8, open="both"), (0, 7.9), (-8, 8), "in (-8, 8)"),
        (In(1), (1, 1e9), (0, 0.9), "1 or more"),
        (In(-1, open="low"), (0, -0.9), (-1, -2), "above -1"),
        (In(0, 1), ((), (0.1, 0.9)), ((0.5, 2.0),), "in [0, 1]"),
    ],
)
def test_ranges(limits, inside, outside, text):
    assert all(limits.holds(x) for x in inside) and not any(limits.holds(x) for x in outside)
    assert str(limits) == text
