"""Spaces of independent choices, and tables of them."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas.errors import UserError
from gpnas.search import STRATEGIES, choices, load_table, only, search

METRIC = {name: {"metric": "error"} for name in ("local", "evolution", "lanas")}
OPTIONS = st.lists(st.integers(2, 4), min_size=1, max_size=5).map(
    lambda sizes: [[f"o{i}" for i in range(size)] for size in sizes]
)


@given(OPTIONS, st.integers(0, 2**32 - 1))
def test_a_mutation_is_a_neighbour(options, seed):
    space, rng = choices(options), np.random.default_rng(seed)
    architecture = space.sample(rng)
    space.check(architecture)
    around = space.neighbours(architecture)
    assert len(set(around)) == len(around) == sum(len(row) - 1 for row in options)
    assert space.mutate(architecture, rng) in around
    for other in around:
        space.check(other)
        assert sum(a != b for a, b in zip(architecture, other, strict=True)) == 1


@given(OPTIONS)
def test_codes_tell_all_architectures_apart(options):
    space = choices(options)
    listed = list(space.enumerate_all())
    codes = np.stack([space.encode(architecture) for architecture in listed])
    assert codes.shape == (np.prod([len(row) for row in options]), sum(map(len, options)))
    assert (codes.sum(1) == len(options)).all()
    assert len({code.tobytes() for code in codes}) == len(listed)


def test_mutations_reach_every_option_alike():
    space, rng = choices([["a", "b", "c"]]), np.random.default_rng(0)
    found = [space.mutate(("a",), rng)[0] for _ in range(600)]
    assert found.count("b") + found.count("c") == 600 and 250 < found.count("b") < 350


@pytest.mark.parametrize("wrong", [("a",), ("a", "z"), ("a", "c", "a")])
def test_architectures_of_another_space(wrong):
    with pytest.raises(UserError, match="architecture"):
        choices([["a", "b"], ["c", "d"]]).check(wrong)


@pytest.mark.slow
def test_nas_bench_201():
    table = load_table("nas_bench_201")
    assert len(table.rows) == 5**6
    assert 100 - min(table.metrics["cifar10_test_200"]) == pytest.approx(94.37, abs=0.005)
    assert 100 - min(table.metrics["cifar100_test_200"]) == pytest.approx(73.51, abs=0.005)
    plain = ("none",) * 6
    assert table.look_up(plain)["params"] == min(table.metrics["params"])


def test_nas_bench_macro():
    table = load_table("nas_bench_macro")
    assert len(table.rows) == 3**8
    thinnest = table.look_up(("identity",) * 8)
    assert thinnest["cifar10_test"] == pytest.approx(54.6367, abs=1e-4)
    assert thinnest["flops"] == min(table.metrics["flops"])


def write(folder, text, name="own.csv"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["own.csv", "own.csv.gz"])
def test_a_table_of_the_users_own(tmp_path, name):
    path = write(tmp_path, "depth,width,error\n2,16,3.5\n4,16,2.5\n4,32,1e0\n", name)
    table = load_table(path, 2)
    assert table.look_up(("4", "32")) == {"error": 1.0}
    with pytest.raises(UserError, match="in the table"):
        table.look_up(("2", "32"))


@pytest.mark.parametrize("name", ["random", "local", "evolution", "lanas"])
def test_a_table_with_gaps(tmp_path, name):
    rows = [f"{a},{b},{(a - 3) ** 2 + (b - 2) ** 2}" for a in range(6) for b in range(6) if a != b]
    table = load_table(write(tmp_path, "\n".join(["a,b,error", *rows])), 2)
    assert len(list(table.space.enumerate_all())) == 30
    trials = search(STRATEGIES[name](table.space, **METRIC.get(name, {})), table.evaluate, 25, 0)
    assert len({t.architecture for t in trials}) == 25
    for trial in trials:
        assert trial.architecture[0] != trial.architecture[1]


@given(OPTIONS, st.integers(0, 2**32 - 1))
def test_a_space_with_holes(options, seed):
    whole, rng = choices(options), np.random.default_rng(seed)
    listed = list(whole.enumerate_all())
    kept = [a for i, a in enumerate(listed) if i in (0, len(listed) - 1) or rng.random() < 0.5]
    space = only(whole, kept)
    architecture = space.sample(rng)
    other = space.mutate(architecture, rng)
    assert other in kept and other != architecture
    assert set(space.neighbours(architecture)) == set(whole.neighbours(architecture)) & set(kept)
    for hole in set(listed) - set(kept):
        with pytest.raises(UserError, match="architecture"):
            space.check(hole)


def test_a_space_of_one_architecture():
    space = only(choices([("a", "b"), ("c", "d")]), [("a", "c")])
    assert space.mutate(("a", "c"), np.random.default_rng(0)) == ("a", "c")
    assert space.neighbours(("a", "c")) == []


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("depth,error\n", 1, "at least one row"),
        ("depth,error\n2,3\n", 2, "columns: got 2"),
        ("depth,error\n2,3\n", 0, "columns: got 0"),
        ("depth,error\n2,3\n4\n", 1, "line 3: got 1, allowed: 2 fields"),
        ("depth,error\n2,much\n", 1, "line 2, column error: got 'much', allowed: a finite number"),
        ("depth,error\n2,nan\n", 1, "line 2, column error: got 'nan'"),
        ("depth,error\n2,3\n2,4\n", 1, "each architecture in one row; lines 2 and 3"),
        ("depth,error,error\n2,3,4\n", 1, "line 1, column 3: got 'error'"),
    ],
)
def test_tables_with_mistakes(tmp_path, text, columns, message):
    with pytest.raises(UserError, match=message):
        load_table(write(tmp_path, text), columns)


def test_the_columns_of_a_table_by_name_are_known():
    with pytest.raises(UserError, match="columns: got 3, allowed: 0: the table nas_bench_201 has"):
        load_table("nas_bench_201", 3)


def test_no_such_table(tmp_path):
    with pytest.raises(UserError, match="nas_bench_201, nas_bench_macro, or a CSV file"):
        load_table(str(tmp_path / "none.csv"), 1)
