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

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from absl import flags, logging
from ml_collections import config_flags

from gpnas import train
from gpnas.commandline import EXIT_STOPPED, check_kind, no_arguments, one_line_on_abort, start
from gpnas.deploy import export
from gpnas.errors import UserError

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
_JOINING = ("distributed", "coordinator", "processes", "process", "lost_seconds")
flags.mark_flags_as_required(["config", "workdir"])
_HINT = (
    "Masks alone do not make the network smaller: `gpnas export --workdir={workdir}` removes its"
    " inactive units{more}."
)
_OF_UNITS = " (the config development_units prunes whole units)"


def main(argv: Sequence[str]) -> None:
    """Trains the config and prints the results."""
    fixed = getattr(getattr(_CONFIG.value, "train", None), "deterministic", False)
    joined = _join(flags.FLAGS.flag_values_dict(), bool(fixed))
    with _waiting_for_abort(_LOST.value):
        with train.distributed.together() if joined else contextlib.nullcontext():
            no_arguments(argv)
            check_kind(_CONFIG.value, "train")
        overrides = config_flags.get_override_values(flags.FLAGS["config"])
        logging.info("overrides: %s", overrides)
        record = train.train(_CONFIG.value, str(_WORKDIR.value))
    if train.distributed.is_first():
        _print(record)


def _raise_in_all_processes(argv: Sequence[str], error: UserError) -> None:
    """Raises a mistake in the command line in all processes, if the flags that join them are valid.

    The mistake has ended the parsing of all flags, so these are parsed alone.
    """
    alone = flags.FlagValues()
    alone.set_gnu_getopt()  # flags may follow other arguments
    for name in _JOINING:
        alone[name] = flags.FLAGS[name]
    try:
        alone(list(argv), known_only=True)
        values = alone.flag_values_dict()
        joined = _join(values)
    except (flags.Error, UserError):
        return
    if joined:
        with _waiting_for_abort(values["lost_seconds"]), train.distributed.together():
            raise error


def _join(values: Mapping[str, Any], deterministic: bool = False) -> bool:
    """Joins the other processes if a flag asks for it, and returns whether one does."""
    distributed, coordinator, processes, process, lost = (values[name] for name in _JOINING)
    if not distributed and coordinator is processes is process is None:
        return False
    one_line_on_abort(train.distributed.explain_abort, EXIT_STOPPED)
    try:
        train.distributed.initialize(coordinator, processes, process, lost, deterministic)
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr, flush=True)
        os._exit(EXIT_STOPPED)  # JAX would first wait for the others to leave
    return True


@contextlib.contextmanager
def _waiting_for_abort(lost_seconds: int) -> Iterator[None]:
    """Lets JAX end the process if a collective in the block fails since a process was lost."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        train.distributed.wait_for_abort(error, lost_seconds)
        raise


def _print(record: Mapping[str, Any]) -> None:
    metrics, cost = record["metrics"], record["cost"]
    metric = train.Metric(**record["task"]["metric"])
    last, selected = (metrics[f"test_{metric.name}_{which}"] for which in ("last", "selected"))
    print(
        f"{record['arm']}: test {metric.text(last)} at the last step,"
        f" {metric.text(selected, named=False)} at the step selected on validation;"
        f" {cost['nonzeros']:,} of {cost['weights']:,} weights,"
        f" training FLOPs {cost['train_flops'] / cost['train_flops_dense']:.3f} of dense,"
        f" {record['wall_s']:.1f} s"
    )
    if "stopped_step" in record:
        print(f"stopped early, at step {record['stopped_step']} of {record['total_steps']}")
    exported = all(record["kinds"][part] in kinds for part, kinds in export.KINDS.items())
    if exported and cost["nonzeros"] < cost["weights"]:
        more = "" if "units" in record["curve"][-1] else _OF_UNITS
        print(_HINT.format(workdir=_WORKDIR.value, more=more))


if __name__ == "__main__":
    start(main, _raise_in_all_processes, "--config.resume=True resumes it")
