"""Durations: steps, percentages of the run, or "auto"; whole numbers for any run."""

import inspect

import hypothesis
import pytest
from hypothesis import strategies as st

from gpnas.errors import UserError
from gpnas.methods import METHODS, duration

DEVELOPMENT = inspect.signature(METHODS["development"]).parameters


@hypothesis.given(st.integers(1, 10**7))
def test_auto_fits_a_run_of_any_length(steps):
    found = duration.resolve({}, DEVELOPMENT, steps, 1)
    every = found["every"]
    assert 1 <= found["window"] <= every
    assert steps < 42 or 28 <= steps / every <= 84


@hypothesis.given(st.integers(1, 10**6), st.integers(1, 100))
def test_a_percentage_is_that_of_the_run(steps, percent):
    found = duration.resolve({"every": f"{percent}%"}, DEVELOPMENT, steps, 1)["every"]
    assert found >= 1 and abs(found - steps * percent / 100) <= 1


def test_what_is_set_decides_what_is_automatic():
    found = duration.resolve({"every": 8, "window": "auto"}, DEVELOPMENT, 4210, 1)
    assert found == {"every": 8, "window": 1}


def test_patience_is_in_evaluations():
    lobster = inspect.signature(METHODS["lobster"]).parameters
    assert duration.resolve({}, lobster, 10**6, 300) == {"patience": 20}
    assert duration.resolve({"patience": "10%"}, lobster, 10**6, 300) == {"patience": 30}
    assert duration.resolve({}, lobster, 30, 3) == {"patience": 1}


@pytest.mark.parametrize("value", ["much", "0%", "101%", "-1%", "%", 2.5, True, None, 2**31, "50"])
@pytest.mark.parametrize("name", ["every", "window"])
def test_what_is_no_duration_is_refused_in_one_line(name, value):
    with pytest.raises(UserError, match=f"^method.{name}: got .*percentage of the run") as error:
        duration.resolve({name: value}, DEVELOPMENT, 1000, 1)
    assert "\n" not in str(error.value)


def test_other_things_of_such_a_name_are_left_alone():
    def mine(*, window: tuple[int, ...], every: int = 7):
        del window, every

    assert duration.resolve({"window": (3, 3)}, inspect.signature(mine).parameters, 1000, 1) == {}
