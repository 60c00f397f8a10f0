"""Slim records: fewer points of a curve, the same totals."""

from hypothesis import given
from hypothesis import strategies as st

from experiments.studies.slim import MAX_POINTS, slim, thin
from gpnas._files import digest_matches, sealed

counts = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=200)


def curve_of(counts):
    return [
        {"step": step, "density": 1 / step, "grown": grown, "pruned": pruned,
         "layers": {"kernel": {"density": 1 / step}}}
        for step, (grown, pruned) in enumerate(counts, start=1)
    ]  # fmt: skip


@given(counts)
def test_totals_and_the_last_point_stay(counts):
    curve = curve_of(counts)
    thinned = thin(curve)
    assert len(thinned) == min(len(curve), MAX_POINTS)
    assert [sum(p["grown"] for p in c) for c in (thinned, curve)] == [sum(a for a, _ in counts)] * 2
    assert sum(point["pruned"] for point in thinned) == sum(b for _, b in counts)
    assert [point["step"] for point in thinned] == sorted({point["step"] for point in thinned})
    assert thinned[-1]["layers"] == curve[-1]["layers"]
    assert not any("layers" in point for point in thinned[:-1])
    assert thin(thinned) == thinned


def test_a_sealed_record_stays_whole_and_others_stay_as_they_are():
    record = sealed({"arm": "a", "curve": curve_of([(1, 2)] * 150)})
    assert digest_matches(slim(record)) and slim(slim(record)) == slim(record)
    assert slim({"arm": "a", "course": [1]}) == {"arm": "a", "course": [1]}


def test_older_names_become_current_ones():
    assert slim({"arm": "a", "looks": [1]}) == {"arm": "a", "evaluations": [1]}
