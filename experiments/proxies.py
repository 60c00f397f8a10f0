"""Scores networks that are not trained, and tells how well the scores rank them.

    python experiments/proxies.py --config=configs/searches/proxies.py

Records are appended to results/STUDY/records.jsonl as they come; architectures that are there are
skipped. Printed are Spearman's ρ between score and accuracy, and a 95 % interval.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from gpnas._files import read_lines
from gpnas.commandline import check_kind, no_arguments, start
from gpnas.search.proxy_study import correlations, matching, score_sample

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to score.", lock_config=True)
_RESULTS = flags.DEFINE_string("results", "results", "Folder for the study's records.")
flags.mark_flags_as_required(["config"])


def main(argv: Sequence[str]) -> None:
    """Scores what is missing and prints the correlations."""
    no_arguments(argv)
    check_kind(_CONFIG.value, "proxies")
    path = score_sample(_CONFIG.value, str(_RESULTS.value))
    records = matching(read_lines(path), _CONFIG.value)
    seconds = sum(record["wall_s"] for record in records) / len(records)
    print(f"{len(records)} architectures, {seconds:.2f} s each; ρ with {_CONFIG.value.against}:")
    for name, found in correlations(records, _CONFIG.value.against).items():
        print(f"  {name:15} {found.rho:6.3f}  ({found.low:.3f} to {found.high:.3f})")
    print(path)


if __name__ == "__main__":
    start(main)
