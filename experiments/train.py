"""Trains one network from a config.

    gpnas train --config=development --workdir=runs/development
    gpnas train --config=gmp --config.method.every=50 --workdir=runs/gmp

The folder then contains record.json (results), metrics.jsonl and TensorBoard event files (training
curves), and checkpoints (`--config.resume=True` resumes from the last one).

Errors are reported in one line. Exit codes: 2, an invalid argument or config; 3, a non-finite loss
or metric; 74, the disk is full or a file cannot be written; 75, interrupted by SIGTERM or Ctrl-C,
or another process was lost. After code 75, `--config.resume=True` resumes the run.

To train one network on several hosts, run the same command on each (docs/clusters.md):

    gpnas train … --distributed  # a TPU pod, or tasks of Slurm's srun
    gpnas train … --coordinator=host:1234 --processes=2 --process=0
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags, logging
from ml_collections import config_flags

from gpnas import train
from gpnas.commandline import EXIT_STOPPED, check_kind, no_arguments, one_line_on_abort, start, stop
from gpnas.deploy import export

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for all output of the run.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the processes of the environment: TPU pod, Slurm, MPI."
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, of several.")
_PROCESSES = flags.DEFINE_integer("processes", None, "Their number.")
_PROCESS = flags.DEFINE_integer("process", None, "Index of this process, from 0.")
_LOST = flags.DEFINE_integer(
    "lost_seconds",
    train.distributed.LOST_SECONDS,
    "Seconds without a heartbeat until a process is lost.",
)
flags.mark_flags_as_required(["config", "workdir"])
_HINT = (
    "Masks alone do not make the network smaller: `export --workdir={workdir}` removes its inactive"
    " units (the config development_units prunes whole units)."
)


def main(argv: Sequence[str]) -> None:
    """Trains the config and prints the results."""
    no_arguments(argv)
    check_kind(_CONFIG.value, "train")
    joined = (_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    if _DISTRIBUTED.value or any(value is not None for value in joined):
        one_line_on_abort(train.distributed.explain_abort, EXIT_STOPPED)
        fixed = _CONFIG.value.get("train", {}).get("deterministic", False)
        train.distributed.initialize(*joined, lost_seconds=_LOST.value, deterministic=fixed)
    logging.info("overrides: %s", config_flags.get_override_values(flags.FLAGS["config"]))
    try:
        record = train.train(_CONFIG.value, str(_WORKDIR.value))
    except train.Stopped as error:
        stop(f"{error}; --config.resume=True resumes it", EXIT_STOPPED)
    except jax.errors.JaxRuntimeError as error:
        train.distributed.wait_for_abort(error, _LOST.value)
        raise
    if train.distributed.is_first():
        _print(record)


def _print(record: Mapping[str, Any]) -> None:
    metrics, cost = record["metrics"], record["cost"]
    metric = train.Metric(**record["task"]["metric"])
    last, selected = (metrics[f"test_{metric.name}_{which}"] for which in ("last", "selected"))
    print(
        f"{record['arm']}: test {metric.text(last)}"
        f" (selected on validation: {metric.text(selected, named=False)}),"
        f" {cost['nonzeros']} of {cost['weights']} weights,"
        f" training FLOPs {cost['train_flops'] / cost['train_flops_dense']:.3f} of dense,"
        f" {record['wall_s']:.1f} s"
    )
    if "stopped_step" in record:
        print(f"stopped early, at step {record['stopped_step']} of {record['total_steps']}")
    exported = all(record["kinds"][part] in kinds for part, kinds in export.KINDS.items())
    if exported and cost["nonzeros"] < cost["weights"]:
        print(_HINT.format(workdir=_WORKDIR.value))


if __name__ == "__main__":
    start(main)
