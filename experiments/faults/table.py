"""The faults by name."""

from collections.abc import Callable

from experiments.faults.damage import broken_checkpoint, hostile_file
from experiments.faults.fault import Fault, Options
from experiments.faults.hosts import lost_process
from experiments.faults.interruptions import same_bits, same_workdir, sigkill, sigterm
from experiments.faults.resources import bad_configs, disk_full, non_finite

# Functions with their default number of repetitions.
FAULTS: dict[str, tuple[Callable[[Options], Fault], int]] = {
    "sigkill": (sigkill, 40),
    "sigterm": (sigterm, 8),
    "broken_checkpoint": (broken_checkpoint, 200),
    "disk_full": (disk_full, 8),
    "non_finite": (non_finite, 1),
    "lost_process": (lost_process, 4),
    "bad_configs": (bad_configs, 500),
    "same_bits": (same_bits, 4),
    "same_workdir": (same_workdir, 1),
    "hostile_file": (hostile_file, 1),
}
