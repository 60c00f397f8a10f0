"""Writes one HTML page from the records of runs, finished or interrupted.

    gpnas report --inputs=results/mnist_lenet --output=report.html

Inputs are work directories, parents of work directories (one or two levels up), study directories
or `records.jsonl` files, given with `--inputs` or as arguments. It reads JSON only, so it does not
need JAX and takes seconds. Results are in the metric of the task: error, RMSE, perplexity, or a
user's metric. Each data set and metric has its own tables and figures. Unreadable records are
skipped, and the page lists them. With `--figures_dir` every figure is also written as SVG and PNG,
and the result table as `table.md`.
"""

from collections.abc import Sequence

from absl import flags

from gpnas import report
from gpnas.commandline import start

_INPUTS = flags.DEFINE_list("inputs", [], "Comma-separated paths of runs, studies or records.")
_OUTPUT = flags.DEFINE_string("output", "report.html", "The page to write.")
_TITLE = flags.DEFINE_string("title", None, "Heading of the page; the studies' names by default.")
_FIGURES = flags.DEFINE_string("figures_dir", None, "Where to write figures and table.md.")


def main(argv: Sequence[str]) -> None:
    """Reads the records, writes the report, and prints the table and the report's path."""
    loaded = report.read_runs([*_INPUTS.value, *argv[1:]])
    path = report.write(loaded, _OUTPUT.value, _TITLE.value, _FIGURES.value)
    print(report.text_table(loaded))
    print(path)


if __name__ == "__main__":
    start(main)
