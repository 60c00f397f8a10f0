"""The study of a front's rivals: its space of widths, its slimmable network, runs and tables."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.studies.front_rivals import (
    STUDY,
    get_config,
    slimmable,
    space,
    tables,
    targets,
    weight_sharing,
)
from experiments.studies.front_rivals.growing import costs_on_the_way
from experiments.studies.front_rivals.networks import development
from experiments.studies.front_rivals.run import run
from experiments.studies.front_rivals.searches import (
    BULK_AND_CUT,
    SINGLE,
    bulk_and_cut_by_flops,
)
from experiments.studies.study import Options
from gpnas.errors import UserError
from gpnas.models import ConvNet, linen
from gpnas.records import append_line, read_lines
from gpnas.search import Trial, choices
from gpnas.search.spaces import cost_of
from gpnas.units import resize

IMAGE = (8, 8, 1)
SPACE = space.widths(IMAGE, 10)
LEVELS = (0.25,)
X = np.random.default_rng(0).normal(size=(4, *IMAGE)).astype(np.float32)


def model(widths):
    return linen(ConvNet(10, widths, conv="im2col"))


def begun(widths, seed=0):
    return jax.jit(model(widths).init)(jax.random.key(seed), X)


@pytest.fixture(scope="module")
def costs():
    return space.width_costs(model(ConvNet.widths), begun(ConvNet.widths), IMAGE)


@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.12, 0.5]))
def test_no_unit_fits_beside_random_widths(costs, seed, level):
    limit = level * costs.macs(costs.whole)
    found = space.random_widths(costs, limit, np.random.default_rng(seed))
    assert costs.macs(found) <= limit
    for i, (width, most) in enumerate(zip(found, costs.whole, strict=True)):
        assert 2 <= width <= most
        wider = (*found[:i], width + 1, *found[i + 1 :])
        assert width == most or costs.macs(wider) > limit


@given(st.integers(0, 10**6))
def test_the_space_stays_within_its_bounds(costs, seed):
    rng, whole = np.random.default_rng(seed), costs.macs(costs.whole)
    first = SPACE.sample(rng)
    child = SPACE.mutate(first, rng)
    assert child != first and SPACE.cost(child)["macs"] == costs.macs(child)
    assert 0.03 * whole <= costs.macs(child) <= 0.5 * whole
    assert {sum(np.not_equal(first, near)) for near in SPACE.neighbours(first)} == {1}


def test_macs_are_those_of_the_network(costs):
    for widths in (costs.whole, (5, 7, 6, 11)):
        module = ConvNet(10, widths)
        assert costs.macs(widths) == cost_of(module, IMAGE)["macs"]


@pytest.mark.exhaustive
def test_a_wider_child_computes_what_its_parent_does():
    parent, child = (4, 5, 6, 7), (6, 5, 8, 9)
    variables, fresh = begun(parent), begun(child, 1)
    found, free = SPACE.inherit(parent, child, variables, fresh, X)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, fresh)
    before, after = model(parent).infer(variables, X), model(child).infer(found, X)
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert free["conv1"]["kernel"] and not free["classifier"]["bias"]


def test_a_narrower_child_keeps_the_largest_units():
    parent, child = (4, 5, 6, 7), (4, 5, 6, 3)
    variables = begun(parent)
    found, _ = SPACE.inherit(parent, child, variables, begun(child, 1), X)
    kernel = np.asarray(variables["params"]["hidden"]["kernel"])
    largest = np.sort(np.argsort(-np.square(kernel).sum(0))[:3])
    np.testing.assert_array_equal(found["params"]["hidden"]["kernel"], kernel[:, largest])


@pytest.mark.exhaustive
@pytest.mark.parametrize("fraction", [0.5, 0.75])
def test_a_fraction_of_a_slimmable_network_is_a_network_of_its_own(fraction):
    whole = (4, 8, 8, 12)
    variables = begun(whole)
    groups = space.discover(model(whole), variables, IMAGE)
    masks = {g.name: np.arange(g.size) < round(fraction * g.size) for g in groups.groups}
    small = resize(variables, variables, groups, masks)
    key = jax.random.key(2)
    first = slimmable.fraction_of_units(jnp.float32(fraction))
    with nn.intercept_methods(slimmable.narrow(first)):
        masked = model(whole).apply(variables, X, key)[0]
    own = model(space.scaled(whole, fraction)).apply(small, X, key)[0]
    np.testing.assert_allclose(masked, own, atol=1e-4)


def test_the_hypervolume_is_in_points_times_halvings():
    found = tables.Found(
        {0.5: 10.0, 0.25: 11.0, 0.06: 13.0}, {0.5: 0.5, 0.25: 0.25, 0.06: 0.06}, 1, 0
    )
    assert found.hypervolume(12.0) == pytest.approx(2 * 1 + 1 * 1)  # the last one counts nothing
    other = found._replace(errors={0.5: 11.0}, macs={0.5: 0.5})  # nothing at 25 %
    rows = {"front": {0: found, 1: found}, "other": {1: other}}
    table = tables.difference_table(rows, "front", (0.5, 0.25), 12.0)
    pilot = "pilot (1 seed)"
    assert [cell.text for cell in table.rows[0]] == [
        "other", "1", f"1.00 {pilot}", "–", f"2.00 {pilot}"
    ]  # fmt: skip
    searches = {f"{arm}, {n} ×": {0: found} for arm, n in (("a", 1), ("a", 10), ("b", 3))}
    drawn = tables.baselines_figure(rows | searches, (0.5, 0.25)).file("svg").decode()
    assert [f"{name} ×" in drawn for name in ("a, 1", "a, 10", "b, 3")] == [False, True, True]


def test_cells_name_the_seeds_that_found_a_network():
    found = tables.Found({0.5: 10.0, 0.06: 13.0}, {0.5: 0.5, 0.06: 0.06}, 1, 0)
    other = found._replace(errors={0.5: 11.0, 0.06: 14.0})
    without = found._replace(errors={0.5: 12.0}, macs={0.5: 0.5})
    seeds = {0: found, 1: other, 2: without}
    (row,) = tables.error_table({"front": seeds}, (0.5, 0.06), 15.0).rows
    assert row[1].text == "3" and "seeds" not in row[2].text
    assert row[3].text.startswith("13.50 ±") and row[3].text.endswith(" (2 seeds)")


def test_steps_of_searches_are_counted_in_those_of_a_front():
    config = get_config()  # 8 + 4 × 2 epochs; 4 for a candidate
    searches = [
        {"arm": arm, "budget": 10.0, "evaluations": n}
        for arm, n in (("random search", 8), ("random search", 12), ("LEMONADE", 9))
    ]
    searches.append({"arm": "ASHA", "budget": 1.0, "evaluations": 9, "epochs": 24.0})
    table = tables.steps_table([{"budget": 0.0}, *searches], config)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["random search, 10 ×", "2", "8 to 12", "2.0 to 3.0"],
        ["LEMONADE, 10 ×", "1", "9 to 9", "–"],
        ["ASHA, 1 ×", "1", "9 to 9", "1.5 to 1.5"],
    ]
    assert tables.steps_table([{"budget": 0.0}], config) is None


def test_the_most_frequent_widths_are_shown():
    front = {"networks": [{"level": 0.5, "units": {"a": 3, "b": 4}}]}
    grown = [
        {"arm": "growing only", "networks": [{"level": 0.5, "widths": widths}]}
        for widths in ([1, 2], [2, 3], [2, 3])
    ]
    other = {"arm": "slimmable", "networks": []}
    table = tables.widths_table({0: front}, [*grown, other], (0.5, 0.25))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["front", "3-4 (1 of 1)", "–"], ["growing only", "2-3 (2 of 3)", "–"]
    ]  # fmt: skip


def arm_of(errors, macs=1.0):
    return {seed: tables.Found({0.25: e}, {0.25: 0.25}, macs, 0) for seed, e in enumerate(errors)}


def judged(rows, target, **fields):
    """Returns result and verdict of the first target that begins with a text."""
    errors = {n: {s: {**f.errors, "flops": 1} for s, f in own.items()} for n, own in rows.items()}
    config = get_config()
    config.front.front = LEVELS
    network = {"level": 0.25, "relative_macs": 0.24, "step": 1}
    fronts = {"front": {0: {"networks": [network]}}}
    known = targets.Known(config, rows, errors, fronts, [], [], [], [], {}, 13.0)._replace(**fields)
    lines = [[cell.text for cell in row] for row in targets.targets_table(known).rows]
    return next(line[1:] for line in lines if line[0].startswith(target))


@pytest.mark.parametrize(
    ("uniform", "verdict"),
    [
        ((10.5, 10.6, 10.7, 10.6, 10.6), "met"),
        ((10.1, 10.2, 10.3, 10.2, 10.2), "missed"),
        ((8.0, 14.0, 9.0, 13.0, 12.0), "not shown"),
        ((10.5, 10.6, 10.7, 10.6), "met with 4 seeds"),
    ],
)
def test_a_target_is_met_if_its_interval_excludes_zero(uniform, verdict):
    rows = {"front": arm_of([10.0] * 5), "uniform widths": arm_of(uniform)}
    # Errors at 12 and 6 % are not known.
    assert (
        judged(rows, "front better than uniform")[1]
        == f"{verdict} at 25 %; no records yet at 12, 6 %"
    )


def test_a_difference_of_two_fixed_networks_shows_nothing():
    rows = {"growing only": arm_of([10.0, 10.1, 10.2]), "random growth": arm_of([11.0, 11.2, 11.1])}

    def records(*widths):
        return [
            {"arm": arm, "seed": seed, "networks": [{"level": 0.25, "widths": [1, width]}]}
            for arm in rows
            for seed, width in enumerate(widths)
        ]

    assert judged(rows, "growth by V")[1] == "better with 3 seeds"
    assert judged(rows, "growth by V", records=records(2, 2, 2))[1] == "two fixed networks"
    assert judged(rows, "growth by V", records=records(2, 2, 3))[1] == "better with 3 seeds"


def test_targets_without_records():
    assert judged({}, "overshoot") == ["no records yet", "no records yet"]
    assert judged({}, "wall time of a front") == ["no records yet", "no records yet"]
    walls = {"front_wall_ratio": 1.3, "front_wall_ratio_long": 0.9}
    assert judged({}, "wall time of a front", walls=walls) == ["1.30", "missed"]
    longer = "wall time of a front (configs/front.py, 3 times the epochs)"
    assert judged({}, longer, walls=walls) == ["0.90", "met"]
    rounds = [{"seconds": {"front": 6.0, "pruning": own}} for own in (9.0, 12.0, 20.0)]
    assert judged({}, "wall time of front, 14", rounds=rounds) == ["0.50 (median of 3)", "met"]
    newborns = [
        {"arm": arm, "incoming": {"0": 0.9, "10": norm, "199": 0.3}, "outgoing": {"10": 0.2}}
        for arm, norm in (("growing only", 0.4), ("growing only", 0.6), ("drawn", 2.0))
    ]
    got, verdict = judged({}, "gradient of incoming", newborns=newborns)
    assert got.startswith("0.50") and verdict == "met with 2 seeds"
    assert judged({}, "gradient of outgoing", newborns=newborns)[1] == "missed with 2 seeds"
    assert judged({}, "gradient of incoming") == ["no records yet", "no records yet"]
    assert judged({}, "cost") == ["96.0 to 96.0 % of the level", "met"]


def front_records(costs, levels, seeds):
    """What the study needs to know of fronts."""
    widths = {level: space.scaled(costs.whole, 0.9 * level**0.5) for level in levels}
    for seed in seeds:
        networks = [
            {
                "level": level,
                "units": dict(zip("abcd", own, strict=True)),
                "macs": costs.macs(own),
                "step": 10 * (1 + [*levels].index(level)) // len(levels),
                "relative_macs": level,
                "train_flops": 6.0 * costs.macs(own) * 1280,
                "wall_s": 1.0,
                "test_error": 50.0,
                "val_error": 50.0,
            }
            for level, own in widths.items()
        ]
        flops = 6.0 * 1280 * costs.macs(costs.whole)
        for arm in ("front", "random units"):
            yield {
                "study": "front", "arm": arm, "rate": 0.1, "seed": seed, "networks": networks,
                "uniform": networks, "retrained": networks, "train_flops": flops,
                "train_flops_dense": flops, "wall_s": 1.0,
            }  # fmt: skip


@pytest.fixture
def study(tmp_path, costs):
    """`arms → (config, options)` of a small study on the digits, with records of fronts."""

    def make(*arms, stopped=lambda: False):
        config = get_config()
        config.front.data.name, config.front.data.image_size = "digits", 0
        config.front.front, config.front.elastic = LEVELS, False
        config.front.train.epochs, config.front.branch_epochs = 1, 1
        config.front.method.update({"every": 3, "window": 2})
        config.rates, config.seeds, config.largest = (0.1,), (0,), (0.5,)
        config.only, config.draws, config.budgets = ",".join(arms), 2, (0.5, 1.0)
        config.candidate_epochs = config.child_epochs = 1
        return config, Options(tmp_path / "results", tmp_path / "runs", "", stopped)

    path = tmp_path / "results" / "front" / "records.jsonl"
    path.parent.mkdir(parents=True)
    for record in front_records(costs, LEVELS, (100, 0)):
        append_line(path, record)
    return make


def told(options):
    return read_lines(options.results / "front_rivals" / "records.jsonl")


ARMS = (
    "front's widths", "uniform as long", "pruning only", "growing only", "random growth",
    "growing with exchange", "overshoot", "uniform as overshoot", "widths of growing only",
    "widths of random units", "random widths",
)  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "arms",
    [
        pytest.param(ARMS, id="all"),
        pytest.param(("growing only", "random widths"), id="some"),
    ],
)
def test_rivals_that_are_trained_once(study, costs, arms):
    config, options = study(*arms)
    run(config, options)
    found = told(options)
    tuned = [arm for arm in ("pruning only", "growing only") if arm in arms]
    assert [(r["seed"], r["arm"]) for r in found] == [
        *((100, arm) for arm in tuned), *((0, arm) for arm in arms)
    ]  # fmt: skip
    for record in found:
        assert record["train_flops"] == sum(one["train_flops"] for one in record["networks"])
        for one in record["networks"]:
            assert costs.macs(tuple(one["widths"])) == one["macs"]
            assert one["relative_macs"] <= one["level"] * (1 + 1e-6)
    tried = found[-1]["networks"][0]["tried"]
    assert len(tried) == 2
    assert found[-1]["networks"][0]["val_error"] == min(one["val_error"] for one in tried)
    run(config, options)
    assert told(options) == found  # nothing is done twice
    section = STUDY.sections(options.results, config)["front_rivals"]
    assert [row[0].text for row in section.tables[0].rows] == ["front", "uniform widths", *arms]
    assert section.figures[0].file("svg").startswith(b"<?xml")


@pytest.mark.exhaustive
def test_a_slimmable_network_is_evaluated_at_each_level(study):
    config, options = study("slimmable")
    run(config, options)
    record = told(options)[-1]
    assert record["seed"] == 0 and record["largest"] == 0.5
    assert [one["level"] for one in record["networks"]] == [*LEVELS]
    assert all(one["relative_macs"] <= one["level"] for one in record["networks"])
    assert record["train_flops"] == pytest.approx(record["train_flops_front"], rel=0.5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("arm", ["Torch-Pruning", "Torch-Pruning layerwise"])
def test_torch_pruning_reaches_each_level(study, costs, arm):
    pytest.importorskip("torch_pruning")
    config, options = study(arm)
    run(config, options)
    record = told(options)[-1]
    for level, one in zip(LEVELS, record["networks"], strict=True):
        assert one["level"] == level and one["macs"] == costs.macs(tuple(one["widths"]))
        assert one["relative_macs"] <= level
    assert record["train_flops"] > sum(one["train_flops"] for one in record["networks"])


@pytest.mark.exhaustive
def test_oto_reaches_each_level(study, costs):
    """With `bench`, there is a PyTorch with which OTO cannot be imported."""
    pytest.importorskip("only_train_once")
    config, options = study("OTO")
    run(config, options)
    record = told(options)[-1]
    for level, one in zip(LEVELS, record["networks"], strict=True):
        assert one["level"] == level and one["macs"] == costs.macs(tuple(one["widths"]))
        within = [own["macs"] for own in one["tried"] if own["relative_macs"] <= level]
        assert one["macs"] == max(within)
        chosen = [one[field] for field in ("target_group_sparsity", "widths")]
        assert chosen in [[own["target_group_sparsity"], own["widths"]] for own in one["tried"]]
    assert record["train_flops"] == sum(one["train_flops"] for one in record["networks"])
    assert record["train_flops"] > record["train_flops_dense"]


@given(st.floats(1.0, 3.0), st.sampled_from([0.06, 0.12, 0.5]))
def test_numbers_of_channels_are_tried_until_one_meets_the_limit(power, level):
    known, limit = {144: 144**power}, level * 144**power
    while (kept := space.next_kept(known, limit)) is not None:
        assert 0 < kept < 144 and kept not in known
        known[kept] = kept**power
    best = max(kept for kept in known if known[kept] <= limit)
    assert known[best] >= 0.95 * limit or best + 1 in known
    assert len(known) <= 6


def test_parts_of_bulk_and_cut_are_fractions_of_the_flops():
    space = choices([[1, 2, 3, 4, 5]] * 3, cost=lambda a: {"macs": float(sum(a))})
    turned = {
        "grow": lambda a, rng: (min(a[0] + 1, 5), *a[1:]),
        "cut": lambda a, rng: (max(a[0] - 1, 1), *a[1:]),
    }
    propose = bulk_and_cut_by_flops(space._replace(moves=turned), ("error", "macs"), 6 * 8 * 100, 8)

    def kind(spent):
        """What is proposed after two networks that took a fraction of the FLOPs."""
        macs = 100 * spent / 2
        history = [
            Trial(i, (3, i + 1, 3), {"error": 1.0 - i, "macs": macs, "steps": 1}) for i in range(2)
        ]
        found = propose(history, np.random.default_rng(0))
        if found.parent is None:
            return "random"
        return "grow" if found.architecture[0] > 3 else "cut"

    assert [kind(x) for x in (0.3, 0.4, 0.74, 0.76)] == ["random", "grow", "grow", "cut"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("arm", ["random search", "LEMONADE", "BULK & CUT", "ASHA", "LaNAS"])
def test_a_search_goes_on_from_budget_to_budget(study, arm):
    config, options = study(arm)
    if arm in SINGLE:  # each level has a share of the budget
        config.candidate_epochs, config.budgets = 2, (3.0, 6.0)
    if arm == BULK_AND_CUT:  # a search of its own for each budget
        config.budgets = (2.0, 6.0)
    run(config, options)
    small, large = told(options)
    assert (small["budget"], large["budget"]) == (*config.budgets,)
    for record in (small, large):
        assert 0 < record["train_flops"] <= record["budget"] * record["train_flops_front"]
        assert record["retrain_flops"] > 0 and record["epochs"] >= record["evaluations"]
        assert [one["level"] for one in record["networks"]] == [*LEVELS]
    assert large["evaluations"] > small["evaluations"]
    for before, after in zip(small["networks"], large["networks"], strict=True):
        assert after["searched_error"] <= before["searched_error"] or arm == BULK_AND_CUT


@pytest.mark.exhaustive
def test_a_budget_of_less_than_one_candidate_finds_no_network(study):
    config, options = study("LaNAS")
    config.candidate_epochs, config.budgets = 2, (0.1,)
    run(config, options)
    record = told(options)[-1]
    assert (record["evaluations"], record["train_flops"], record["networks"]) == (0, 0, [])


@given(st.integers(0, 10**6), st.sampled_from([("grow", 1), ("cut", -1)]))
def test_moves_grow_or_cut_within_the_bounds(costs, seed, move):
    (kind, sign), whole = move, costs.macs(costs.whole)
    rng, own = np.random.default_rng(seed), space.widths(IMAGE, 10, sampled=(0.12,))
    first = own.sample(rng)
    assert 0.1 * whole <= costs.macs(first) <= 0.12 * whole
    child = own.moves[kind](first, rng)
    changes = np.subtract(child, first)
    assert 1 <= sum(changes != 0) <= 2 and all(sign * changes >= 0)
    assert 0.03 * whole <= costs.macs(child) <= 0.5 * whole


@pytest.mark.exhaustive
def test_networks_that_share_weights(study, costs):
    config, options = study("weight sharing")
    config.shared = 3
    run(config, options)
    for record, budget in zip(told(options), config.budgets, strict=True):
        assert record["budget"] == budget and record["evaluations"] == 3 * len(LEVELS)
        assert record["epochs"] > 1 and record["retrain_flops"] > 0
        assert 0.5 < record["train_flops"] / (budget * record["train_flops_front"]) <= 1
        for level, one in zip(LEVELS, record["networks"], strict=True):
            assert one["level"] == level and one["relative_macs"] <= level
            assert 0 < one["searched_error"] < 90


def test_one_of_several_networks_is_trained(costs):
    networks = ((2, 3, 4, 5), (3, 2, 5, 4))
    whole = model((4, 5, 6, 7))
    variables, batch = begun((4, 5, 6, 7)), (X, np.zeros(len(X), np.int32))
    task = weight_sharing.one_of(whole, networks)
    grads = jax.grad(lambda v, key: task.loss(v, batch, key)[0], allow_int=True)
    seen = set()
    for seed in range(8):
        params = grads(variables, jax.random.key(seed))["params"]
        norms = [np.asarray(params[name]["scale"]) for name in ("norm1", "norm2", "norm3", "norm4")]
        used = tuple(int(np.flatnonzero(norm).max(initial=-1)) + 1 for norm in norms)
        seen.add(min(networks, key=lambda own: sum(np.abs(np.subtract(own, used)))))
        assert any(all(a <= b for a, b in zip(used, own, strict=True)) for own in networks)
    assert seen == {*networks}


def test_a_study_without_fronts_says_so(study, tmp_path):
    config, options = study("random widths")
    config.seeds = (0, 3)
    with pytest.raises(UserError, match=r"fronts with the seeds \[3\]: reproduce front"):
        run(config, options)
    assert not (tmp_path / "results" / "front_rivals").exists()


def test_widths_of_an_arm_without_records_cannot_be_trained(study):
    config, options = study("widths of pruning only")
    with pytest.raises(UserError, match="a record of pruning only with the seed 0"):
        run(config, options)
    assert told(options) == []


@pytest.mark.parametrize(
    ("arm", "costs"),
    [
        ("pruning only", (1.0, 0.2)),
        ("growing only", (0.05, 0.2)),
        ("overshoot", (0.05, 0.4, 0.2)),
    ],
)
def test_costs_on_the_way_to_a_level(arm, costs):
    config = get_config()
    assert costs_on_the_way(config, arm, 0.2) == pytest.approx(costs)
    settings = development(config, costs, {}, 0, 0.1)
    times, found = zip(*settings.method.curve, strict=True)
    assert found == (costs[0], *costs) and max(np.abs(np.diff(times[1:], 2)), default=0) < 1e-9
    assert times[0] == 0 and times[1] == pytest.approx(0.1 * 8 / 10)


def test_an_overshoot_does_not_exceed_the_whole_network():
    assert costs_on_the_way(get_config(), "overshoot", 0.7)[1] == 1.0


def test_a_study_that_is_asked_to_end_records_nothing_more(study):
    config, options = study("random widths", stopped=lambda: True)
    run(config, options)
    assert told(options) == []
