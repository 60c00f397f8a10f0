"""`gpnas summary` of a network of one's own, and its mistakes."""

import pytest

NET = """
import flax.linen as nn

class Net(nn.Module):
    num_classes: int = 10

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3), name="first")(x))
        return nn.Dense(self.num_classes, name="last")(x.mean((1, 2)))
"""

MEAN = """
class Mean(nn.Module):
    num_classes: int = 3

    @nn.compact
    def __call__(self, x):
        return x.mean((1, 2))[:, : self.num_classes]
"""


@pytest.mark.slow
def test_a_table_of_a_network_of_ones_own(python, tmp_path):
    (tmp_path / "my_net.py").write_text(NET + MEAN)
    call = ("-P", "-m", "gpnas", "summary")
    done = python(*call, "--network=my_net:Net", "--inputs=6,6,1", "--classes=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells = [
        [cell.strip() for cell in line.split("  ") if cell] for line in done.stdout.split("\n")
    ]
    assert cells[2] == ["first", "bias 8, kernel 3×3×1×8", "80", "2,592", "8 of 8", "72 (100.0%)"]
    assert cells[3] == ["last", "bias 3, kernel 8×3", "27", "24", "–", "24 (100.0%)"]
    assert cells[5] == ["total", "107", "2,616", "8 of 8", "96 (100.0%)"]
    done = python(*call, "--network=my_net:Mean", "--inputs=6,6,3", "--classes=3", cwd=tmp_path)
    assert done.returncode == 0 and "total" in done.stdout, done.stderr
    for flag, field in (
        ("--inputs=0,28,1", "inputs"), ("--inputs=2,2,1", "inputs"), ("--classes=0", "classes")
    ):  # fmt: skip
        done = python(*call, "--network=lenet5", flag, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.startswith(f"{field}: got ")
        assert done.stderr.count("\n") == 1
    done = python(*call, "--workdir=runs", "--classes=3", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("classes: got 3, allowed: no value")
    done = python(*call, "--network=lenet5", "--workdir=runs", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("summary: got ['workdir', 'network']")


@pytest.mark.slow
def test_a_front_is_described_by_the_network_with_which_it_starts(python, tmp_path):
    command = ("-m", "gpnas", "summary", "--config=front", "--config.data.name=digits")
    done = python(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split("  ")[0] == "total" and "conv3" in done.stdout
