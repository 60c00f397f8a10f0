"""Sorts runs into groups that differ in the seed only, and groups into arms."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpnas.report import formatting
from gpnas.report._groups import Group, Key, Series, Summary, is_dense, key_of
from gpnas.report._problems import name_problems
from gpnas.report._read import Loaded, Problem, Run, own_config, series_key
from gpnas.report._read_front import by_series_key

MAX_NAME = 80  # maximum displayed characters of an arm or study


def summarise(loaded: Loaded) -> Summary:
    """Sorts runs into groups and arms.

    The dense arm comes first, then the others from best to worst final test metric. Groups of an
    arm are in descending order of non-zeros.

    Args:
      loaded: What `read_runs` returned.

    Returns:
      The summary, input of tables and figures.
    """
    runs = loaded.runs
    finished = [run for run in runs if run.finished]
    problem_names = name_problems(run for run in runs if not run.is_search)
    buckets: dict[tuple[Key, str], list[Run]] = {}
    for run in finished:
        buckets.setdefault((key_of(run, problem_names), series_key(run)[-1]), []).append(run)
    named = _name_series(key_of(run, problem_names) for run in runs)
    series = {(s.study, s.arm, s.problem): s for s in named}
    settings = _settings(buckets)
    groups = [
        Group(
            series[key[0]],
            settings[key],
            tuple(sorted(runs, key=lambda r: (r.seed is None, r.seed or 0, r.name))),
        )
        for key, runs in buckets.items()
    ]
    best: dict[Series, float] = {}
    for group in groups:
        last = group.mean("test_last")
        if last is not None:
            rank = group.runs[0].metric.rank(last)
            best[group.series] = min(rank, best.get(group.series, rank))

    def order(s: Series) -> tuple[object, ...]:
        return (s.study, s.problem, not s.is_dense, best.get(s, float("inf")), s.label)

    groups.sort(key=lambda g: (order(g.series), -(g.mean("nonzeros") or 0), g.setting))
    return Summary(
        groups=tuple(g for g in groups if not g.runs[0].is_search),
        searches=tuple(g for g in groups if g.runs[0].is_search),
        series=tuple(sorted(series.values(), key=order)),
        unfinished=tuple(run for run in runs if not run.finished),
        warnings=(
            *_several(problem_names),
            *_comparability(finished),
            *_empty_layers(finished),
            *loaded.warnings,
        ),
        problem_names=problem_names,
        fronts=by_series_key(loaded.fronts),
    )


def _name_series(keys: Iterable[Key]) -> list[Series]:
    """Assigns label and colour to every arm; both depend on names only."""
    arms = sorted(set(keys))
    several = len({study for study, _, _ in arms}) > 1
    problems = collections.Counter((study, arm) for study, arm, _ in arms)
    used: dict[int, int] = {}
    result = []
    others = sorted({arm for _, arm, _ in arms if not is_dense(arm) and not _is_development(arm)})
    for study, arm, problem in arms:
        if is_dense(arm):
            colour = 0
        elif _is_development(arm):
            colour = 1
        else:
            colour = 2 + others.index(arm) % 6
        turn = used.get(colour, 0)
        used[colour] = turn + 1
        label = formatting.shorten(arm, MAX_NAME)
        label = f"{formatting.shorten(study, MAX_NAME)}: {label}" if several else label
        label += f" on {problem}" if problem and problems[study, arm] > 1 else ""
        result.append(Series(study, arm, problem, label, colour, turn))
    return result


def _is_development(arm: str) -> bool:
    return arm.lower().startswith("develop")


def _settings(buckets: dict[tuple[Key, str], list[Run]]) -> dict[tuple[Key, str], str]:
    """Names each group by the config fields that differ within its arm."""
    arms: dict[tuple[Key, tuple[Any, ...]], list[tuple[Key, str]]] = {}
    for key, runs in buckets.items():
        arms.setdefault((key[0], runs[0].searched), []).append(key)
    named = {}
    for keys in arms.values():
        flats = {key: own_config(buckets[key][0]) for key in keys}
        differ = differing(list(flats.values()))
        # The number of weights comes first, since most sweeps vary it.
        differ.sort(key=lambda field: (not field.endswith(("density", "sparsity")), field))
        for key in keys:
            parts = [
                formatting.shorten(
                    f"{field.rsplit('.', 1)[-1]} {flats[key].get(field, 'none')}", 60
                )
                for field in differ[:3]
            ]
            named[key] = ", ".join(parts) + ("…" if len(differ) > 3 else "")
    return named


def differing(flats: Sequence[dict[str, str]]) -> list[str]:
    """Returns the keys whose values differ among flat configs."""
    keys = sorted({key for flat in flats for key in flat})
    return [key for key in keys if len({flat.get(key) for flat in flats}) > 1]


def config_differences(summary: Summary) -> dict[str, dict[Series, list[str]]]:
    """Returns the config fields that differ across arms, with each arm's values.

    Args:
      summary: The summary of a report.

    Returns:
      Field → arm → its distinct values. Seeds are left out.
    """
    flats = [(group.series, own_config(group.runs[0])) for group in summary.groups]
    table: dict[str, dict[Series, list[str]]] = {}
    for field in differing([flat for _, flat in flats]):
        row: dict[Series, list[str]] = {}
        for series, flat in flats:
            seen = row.setdefault(series, [])
            value = flat.get(field, formatting.MISSING)
            if value not in seen:
                seen.append(value)
        table[field] = row
    return table


def _comparability(runs: Sequence[Run]) -> list[str]:
    """Returns warnings if runs differ in code, data or machine."""
    warnings = []
    for field, plural, consequence in (
        ("git", "git revisions", "differences may come from the code"),
        ("machine", "machines", "wall times are not comparable across them"),
    ):
        seen = {formatting.leaf(run.record.get(field)) for run in runs if run.record is not None}
        seen.discard("none")
        if len(seen) > 1:
            warnings.append(f"The runs come from {len(seen)} {plural}: {consequence}.")
    return warnings


def _empty_layers(runs: Sequence[Run]) -> list[str]:
    """Returns warnings of layers without active weights, which are normal if units are pruned."""
    found = collections.Counter[tuple[str, str]]()
    for run in runs:
        if not any("units" in line for line in formatting.items(run.record, "curve")[-1:]):
            for layer in formatting.items(run.record, "layers"):
                if layer.get("nonzeros") == 0:
                    found[run.arm, str(layer.get("path"))] += 1
    return [
        f"{formatting.shorten(arm, MAX_NAME)}: {formatting.plural(count, 'run')} without an active"
        f" weight in {formatting.shorten(path, MAX_NAME)}."
        for (arm, path), count in sorted(found.items())
    ]


def _several(problem_names: Mapping[Problem, str]) -> list[str]:
    names = sorted({*problem_names.values()} - {""})
    if not names:
        return []
    metrics = {metric for (_, metric), name in problem_names.items() if name}
    shown = ", ".join(names[:6]) + (" and others" if len(names) > 6 else "")
    differ = (
        f"are on {len(names)} data sets" if len(metrics) == 1 else "differ in data set or metric"
    )
    return [
        f"The runs {differ} ({shown}): results are not comparable across them, so that each has "
        "its own tables and figures of results."
    ]
