"""int8 and int4 weights by qwix: the page says what the records say."""

import pathlib

import jax.numpy as jnp
import numpy as np

from experiments.studies import quant
from experiments.studies.quant import table
from experiments.studies.study import fill
from gpnas.records import read_lines

ROOT = pathlib.Path(__file__).parents[3]


def test_the_page_is_that_of_the_records():
    found = read_lines(ROOT / "results" / "quant" / "records.jsonl")
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert fill(page, "quant", [table(found)]) == page
    assert len(found) == 5
    for record in found:
        before, after = record["float32"], record["int8"]
        assert after["bytes"] < 0.4 * before["bytes"]
        assert abs(after["test_error"] - before["test_error"]) < 1.5 * 100 / 359
        assert record["int4"]["bytes"] < after["bytes"]
        assert record["int4"]["test_error"] - before["test_error"] < 3.5 * 100 / 359


def test_two_numbers_of_int4_are_a_byte():
    numbers = np.array([[-8, 7, -1], [0, 3, -4], [5, 1, 2]])
    stored = quant.bytes_of(numbers.astype(jnp.int4))
    assert stored.dtype == np.uint8 and stored.shape == (5,)
    both = np.stack([stored & 15, stored >> 4], axis=1).ravel()[:9]
    np.testing.assert_array_equal(np.where(both > 7, both.astype(int) - 16, both), numbers.ravel())
