"""The figure of error by density: what stands where, and what is too high for a panel."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.studies.learners.panels import density_panels


def record(arm, seed, error, reached, **method):
    """A record as far as the figure looks at it."""
    return {
        "arm": arm,
        "seed": seed,
        "config": {"method": method},
        "cost": {"density": reached},
        "metrics": {"test_error_last": error},
    }


RECORDS = [
    record(arm, seed, error + seed, reached, price=price)
    for arm, price, error, reached in (
        ("cut", 1, 11.0, 0.1), ("cut", 2, 12.0, 0.01), ("gates", 1, 50.0, 0.02),
        ("gates", 2, 12.0, 0.5), ("better", 1, 9.0, 0.05),
    )
    for seed in (0, 2)
]  # fmt: skip


@pytest.fixture(scope="module")
def spec():
    return density_panels("errors", RECORDS, ("cut", "absent"), top=20.0)


def drawn(panel):
    """The axes of a panel."""
    figure = Figure(figsize=(4, 3), dpi=72)
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0.2, 0.2, 0.7, 0.7))
    panel.draw(ax)
    return ax


def marks(ax, shape):
    """Where marks of a shape stand, in order."""
    lines = [line for line in ax.lines if line.get_marker() == shape]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def test_a_panel_an_arm_the_best_first(spec):
    titles = [drawn(panel).get_title(loc="left") for panel in spec.panels]
    assert titles == ["for comparison", "better", "gates"]
    assert "cut" in spec.caption and "absent" not in spec.caption


def test_marks_stand_at_the_density_that_came_out(spec):
    gates = drawn(spec.panels[2])
    assert marks(gates, "o") == [(50.0, 13.0)]
    assert marks(drawn(spec.panels[1]), "o") == [(5.0, 10.0)]
    assert "13.00 % at a density of 50 %" in spec.panels[2].label
    bar = [line for line in gates.lines if list(line.get_xdata()) == [50.0, 50.0]]
    low, high = bar[0].get_ydata()
    assert (low + high) / 2 == pytest.approx(13.0)
    assert high - low == pytest.approx(2 * 12.7062)  # Student's t, two seeds, deviation √2


def test_what_is_too_high_is_written_at_the_edge(spec):
    gates = drawn(spec.panels[2])
    assert marks(gates, "^") == [(2.0, 20.0)]
    assert [text.get_text() for text in gates.texts] == ["51 %"]
    assert gates.get_ylim()[1] == 20.0


def test_axes_are_named_and_sparse_is_on_the_right(spec):
    for panel in spec.panels:
        ax = drawn(panel)
        assert ax.get_xlabel().endswith("(log scale)") and ax.get_ylabel()
        left, right = ax.get_xlim()
        assert left > right and ax.get_xscale() == "log"
        assert (left, right) == (pytest.approx(1.3 * 50), pytest.approx(1 / 1.4))  # of all arms


@pytest.mark.slow
def test_the_file_is_the_same_twice(spec):
    assert spec.file("svg") == spec.file("svg")
