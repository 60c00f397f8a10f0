"""The code of docs/units.md runs and says what the text says."""

import pathlib
import re
import runpy

import jax.numpy as jnp
import pytest
from zoo import RECORDS, zoo_table

from experiments.studies.study import fill
from gpnas.records import read_lines

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "units.md"


@pytest.mark.exhaustive
def test_the_example_runs_as_it_is_reported(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "page.py").write_text("\n".join(blocks))
    names = runpy.run_path(str(tmp_path / "page.py"))
    (group,) = names["groups"].groups
    assert group.name == "params/Conv_0/kernel:3" and group.size == 8
    assert len(next(m for m in group.members if m.path == "params/Dense_0/kernel").at) == 8 * 64
    assert ("params/Dense_0/kernel", 1) in {(r.path, r.axis) for r in names["groups"].refused}
    assert names["logits"].shape == (4, 10)
    assert names["importance"][group.name].shape == (8,) and not jnp.array_equal(
        names["grown"]["params"]["Conv_0"]["kernel"], names["pruned"]["params"]["Conv_0"]["kernel"]
    )


def test_the_table_of_public_networks_is_that_of_the_records():
    records = read_lines(RECORDS)
    page = PAGE.read_text()
    assert fill(page, "zoo", [zoo_table(records)]) == page
    assert all(record["largest_difference"] <= 1e-5 for record in records)
