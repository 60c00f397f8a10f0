"""The table of an export says why a network did not become smaller."""

import pytest

from gpnas.report import export_table


@pytest.mark.parametrize("compact, told", [(100, True), (60, False)])
def test_masks_that_stay_are_reported(compact, told):
    row = {"file": "a", "network": "compact", "format": "onnx", "bytes": 1, "max_difference": 0.0}
    report = {
        "arm": "gmp", "dataset": "digits", "network": "selected",
        "files": [row | {"test_error": 1.0}],
        "networks": {
            name: {"params": params, "macs": 9}
            for name, params in (("compact", compact), ("dense", 100))
        },
    }  # fmt: skip
    text = export_table(report).to_text()
    assert ("No unit is inactive" in text) == told
    assert ("configs/development_units.py" in text) == told
