"""Trains a front of networks: one run that shrinks a network, and a branch at each level of cost.

    python experiments/front.py --config=configs/front.py --workdir=runs/front
    python experiments/front.py --config=configs/front.py --config.data.name=folder:pictures \
        --config.front='(0.5, 0.25)' --workdir=runs/mine

The folder then holds front.json, and the folders of the runs: `main`, and one per network.
`--config.resume=True` goes on with a front that was interrupted.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from gpnas import train
from gpnas.commandline import EXIT_STOPPED, no_arguments, start, stop

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for everything that is written.")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: Sequence[str]) -> None:
    """Trains the front and prints its networks."""
    no_arguments(argv)
    try:
        record = train.train_front(_CONFIG.value, str(_WORKDIR.value))
    except train.Stopped as error:
        stop(f"{error}; --config.resume=True goes on from there", EXIT_STOPPED)
    metric = train.Metric(**record["task"]["metric"])
    for one in record["networks"] + record["uniform"]:
        text = metric.text(one[f"test_{metric.name}"])
        print(
            f"{one['folder']}: {one['relative_macs']:.4f} of the MACs, test {text}, {one['model']}"
        )
    relative = record["train_flops"] / record["train_flops_dense"]
    print(f"training FLOPs {relative:.3f} of the dense main run, {record['wall_s']:.1f} s")


if __name__ == "__main__":
    start(main)
