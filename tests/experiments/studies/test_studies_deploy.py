"""Tables of exported networks say what the records say."""

import pytest

from experiments.studies.deploy import tables as deployed


def sparse_record(gains, arm="LeNet-300-100"):
    """Dense products take 1 ms; CSR by density and batch as given, BCSR ten times as long."""
    rows = [
        {
            "density": density,
            "batch": batch,
            "ms": {"dense, NumPy": 1.0, "dense, JAX": 2.0, "CSR, SciPy": ms, "BCSR, JAX": 10 * ms},
        }
        for (density, batch), ms in gains.items()
    ]
    return {"part": "sparse", "arm": arm, "rows": rows}


def test_from_where_on_sparse_pays():
    record = sparse_record(
        {
            (0.5, 1): 2.0,
            (0.1, 1): 0.5,
            (0.01, 1): 0.05,
            (0.5, 8): 0.5,
            (0.1, 8): 2.0,
            (0.01, 8): 0.2,
        }
    )
    gains, thresholds = deployed.sparse_tables([record])
    texts = [[cell.text for cell in row] for row in gains.rows]
    assert texts[1] == ["10 %", "2.00", "0.50", "0.20", "0.05"]
    texts = [[cell.text for cell in row] for row in thresholds.rows]
    # at 50 % and batch 8 it is faster, but not all the way down from there
    assert texts == [
        ["LeNet-300-100", "CSR, SciPy", "10 %", "1 %"],
        ["LeNet-300-100", "BCSR, JAX", "1 %", "–"],
    ]
    figure = deployed.sparse_figure([record])
    assert len(figure.panels) == 2 and b"</svg>" in figure.file("svg")


@pytest.mark.parametrize(
    ("dense", "text"), [(59.8, "undecided"), (60.2, "undecided"), (59.0, "no"), (61.0, "yes")]
)
def test_ratios_that_round_to_the_target_are_undecided(dense, text):
    ms = {"dense": dense, "compact": 25.0}  # the speed-up of 2.4 is 0.6 of 4
    rows = [{"runtime": "JAX", "batch": b, "threads": 1, "ms": ms} for b in (1, 64)]
    record = {"part": "units", "arm": "net", "share": 0.5, "macs": {"dense": 400, "compact": 100},
              "onnx_bytes": {"dense": 4000, "compact": 1000}, "rows": rows}  # fmt: skip
    ((*_, shown),) = deployed.unit_table([record]).rows
    assert shown.text == text


def test_speed_up_against_macs():
    def row(runtime, batch, dense, compact):
        ms = {"dense": dense, "compact": compact}
        return {"runtime": runtime, "batch": batch, "threads": 1, "ms": ms}

    record = {
        "part": "units",
        "arm": "net",
        "share": 0.5,
        "macs": {"dense": 400, "compact": 100},
        "onnx_bytes": {"dense": 4000, "compact": 1000},
        "rows": [
            row("onnxruntime", 1, 3.0, 2.0),
            row("onnxruntime", 64, 30.0, 10.0),
            row("JAX", 1, 2.0, 2.0),
            row("JAX", 64, 20.0, 15.0),
            row("JAX, im2col", 1, 3.0, 1.0),
            row("JAX, im2col", 64, 25.0, 8.0),
        ],
    }
    texts = [[cell.text for cell in row] for row in deployed.unit_table([record]).rows]
    assert texts == [
        ["net", "50%", "onnxruntime", "1", "4.00", "4 → 1", "1.50", "3.00", "0.75", "yes"],
        ["net", "50%", "JAX", "1", "4.00", "4 → 1", "1.00", "1.33", "0.33", "no"],
        ["net", "50%", "JAX, either convolution", "1", "4.00", "4 → 1", "2.00", "2.50", "0.62",
         "yes"],
    ]  # fmt: skip
