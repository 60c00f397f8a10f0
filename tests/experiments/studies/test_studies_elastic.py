"""The table of elastic training says what the records say."""

from experiments.studies.elastic.tables import elastic_table


def record(arm, seed, wall, error, units, programs):
    return {
        "arm": arm, "seed": seed, "wall_s": wall, "compilations": programs,
        "cost": {"inference_macs": 10.0, "inference_macs_dense": 40.0,
                 "train_flops": 3.0, "train_flops_dense": 12.0},
        "metrics": {"test_error_last": error},
        "layers": [{"shape": [5, 20], "dead_out": 20 - units}, {"shape": [20, 3], "dead_out": 0}],
    }  # fmt: skip


def test_times_are_over_the_same_seeds_dense_run():
    records = [
        record("dense", 0, 100.0, 9.0, 20, 1), record("dense", 1, 200.0, 9.5, 20, 1),
        record("elastic", 0, 50.0, 10.0, 5, 4), record("elastic", 1, 120.0, 10.0, 5, 6),
        record("other", 0, 1.0, 1.0, 1, 1),
    ]  # fmt: skip
    table = elastic_table("caption", records, ("dense", "elastic", "missing"))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["dense", "2", "20", "0.250", "0.250", "9.25 ± 3.18", "1.00 (all equal)", "1"],
        ["elastic", "2", "5", "0.250", "0.250", "10.00 (all equal)", "0.55 ± 0.64", "6"],
    ]
