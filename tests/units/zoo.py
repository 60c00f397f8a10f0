"""Networks of public libraries that nobody here wrote: units found, and removed exactly.

    python tests/units/zoo.py --sources=FOLDER [name …]

Libraries that are packages: flaxmodels, jax-models, jax-resnet, flaxdiff, equimo, vitax,
transformer-in-transformer-flax, transformers (below 4.50). FOLDER holds checkouts of
google-research/vision_transformer, google-research/big_vision, google-research/scenic and
google/flax by their last names. What cannot be imported is skipped, and said. Each network gets
random weights and small inputs; a line a network goes to results/units/zoo.jsonl, and a table of
the newest to docs/units.md.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from zoo_models import ZOO

from experiments.studies.study import fill
from gpnas import units
from gpnas.masks import apply
from gpnas.provenance import provenance
from gpnas.records import append_line, read_lines
from gpnas.report import Cell, Column, Table

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "results" / "units" / "zoo.jsonl"


def check(name: str, sources: Path) -> dict[str, Any]:
    """Finds the units of a network, removes some of all groups, and says how it went."""
    net = ZOO[name].make()
    begun = time.perf_counter()
    groups = units.discover(net.apply, net.variables, *net.inputs)
    found = time.perf_counter()
    arguments = (net.apply, net.variables, groups, *net.inputs)
    largest = units.verify(*arguments, key=jax.random.key(0), each=False)
    verified = time.perf_counter()
    model = units.cost_model(net.apply, net.variables, *net.inputs)
    reasons = Counter[str]()
    for refusal in groups.refused:
        reasons[re.sub(r" in \S+", "", refusal.reason)] += refusal.indices
    return {
        "model": name,
        "source": ZOO[name].source,
        "version": version(ZOO[name].source, sources),
        "params": sum(np.size(leaf) for leaf in jax.tree.leaves(net.variables)),
        "groups": len(groups.groups),
        "units": sum(group.size for group in groups.groups),
        "refused_indices": reasons.total(),
        "refused_because": dict(reasons.most_common()),
        "largest_difference": largest,
        **whole(net, groups, model),
        "discover_s": round(found - begun, 2),
        "verify_s": round(verified - found, 2),
        **provenance(),
    }


def whole(net: Any, groups: units.UnitGroups, model: units.CostModel) -> dict[str, float]:
    """How far the outputs move when half of all units die, and our FLOPs by XLA's."""
    lowered = jax.jit(net.apply).lower(net.variables, *net.inputs)
    program = lowered.compile({"xla_backend_optimization_level": 0})
    random = np.random.default_rng(0)
    half = {g.name: random.permutation(g.size) < (g.size + 1) // 2 for g in groups.groups}
    zeroed = apply(units.weight_masks(groups, half, net.variables), net.variables)
    moved = units.relative_difference(
        program(net.variables, *net.inputs), program(zeroed, *net.inputs)
    )
    ours = units.total_cost(model, {}, "flops")
    return {
        "moved_by_half": moved,
        "gflops": float(f"{ours / 1e9:.4g}"),
        "flops_by_xla": round(ours / program.cost_analysis()["flops"], 4),
    }


def zoo_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """The newest record of each network, by library."""
    newest = {record["model"]: record for record in records}.values()
    titles = ("networks", "groups", "units", "largest difference", "FLOPs ÷ XLA's", "longest, s")
    columns = [Column("library", numeric=False), Column("version", numeric=False)]
    rows = []
    for source in sorted({record["source"] for record in newest}):
        of = [record for record in newest if record["source"] == source]
        by_xla = [record["flops_by_xla"] for record in of]
        cells = (
            source, of[-1]["version"][:10], str(len(of)), str(sum(r["groups"] for r in of)),
            f"{sum(r['units'] for r in of):,}", f"{max(r['largest_difference'] for r in of):.0e}",
            f"{min(by_xla):.2f} to {max(by_xla):.2f}", f"{max(r['discover_s'] for r in of):.1f}",
        )  # fmt: skip
        rows.append([Cell(text) for text in cells])
    note = (
        "Largest difference between outputs, divided by the largest output, after random units of"
        " all groups are removed. FLOPs: our count for the whole network, divided by XLA's."
        " Longest: longest time to find the groups."
    )
    return Table(
        f"{len(newest)} networks of public libraries",
        [*columns, *(Column(title) for title in titles)], rows, [note],
    )  # fmt: skip


def version(source: str, sources: Path) -> str:
    """Of a package, or the commit of a checkout."""
    if (sources / source).exists():
        command = ["git", "-C", str(sources / source), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return metadata.version(source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("names", nargs="*", help="beginnings of names; all if there are none")
    arguments = parser.parse_args()
    sys.path += [str(path) for path in arguments.sources.iterdir()]
    for name in ZOO:
        if arguments.names and not name.startswith(tuple(arguments.names)):
            continue
        try:
            record = check(name, arguments.sources)
        except (ImportError, AttributeError) as error:  # of a library that is too old, or absent
            print(f"{name}: skipped, {error}", file=sys.stderr, flush=True)
            continue
        print(json.dumps(record, ensure_ascii=False), flush=True)
        append_line(RECORDS, record)
    page = ROOT / "docs" / "units.md"
    page.write_text(fill(page.read_text(), "zoo", [zoo_table(read_lines(RECORDS))]))


if __name__ == "__main__":
    main()
