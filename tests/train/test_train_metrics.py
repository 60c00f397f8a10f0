"""Lines of metrics, where the disk is full."""

import pytest

from gpnas.records import read_lines
from gpnas.train._metrics import writer

LINE = {"split": "validation", "step": 1, "loss": 0.5, "layers": {"a": {"density": 0.1}}}


def test_tensorboard_on_a_full_disk_is_an_error_that_names_it(tmp_path, no_room):
    with (
        no_room(2000),
        pytest.raises(OSError, match="File too large: '.*tensorboard'"),
        writer(tmp_path, tensorboard=True) as write,
    ):
        (tmp_path / "metrics.jsonl").symlink_to("/dev/null")
        for step in range(1000):  # a thread that died would let its queue fill, and this wait
            write(LINE | {"step": step})


def test_metrics_on_a_full_disk(tmp_path, no_room):
    with (
        no_room(100),
        pytest.raises(OSError, match=r"File too large: '.*metrics\.jsonl'"),
        writer(tmp_path, tensorboard=False) as write,
    ):
        write(LINE)
        write(LINE | {"step": 2})
    assert read_lines(tmp_path / "metrics.jsonl") == [LINE]
