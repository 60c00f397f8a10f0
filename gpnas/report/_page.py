"""The report as one self-contained HTML page."""

import dataclasses
import functools
import importlib.resources
import os
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from gpnas._files import PathLike
from gpnas.report import (
    _choice,
    _compare,
    _confusion,
    _details,
    _drawings,
    _first_layer,
    _front_figures,
    _front_results,
    _fronts,
    _results,
    _searches,
    _test_figures,
    _training_curves,
    formatting,
    style,
)
from gpnas.report._figures import FigureSpec
from gpnas.report._groups import Summary
from gpnas.report._read import Loaded, Run
from gpnas.report._summarise import summarise

MAX_WARNINGS = 20


def figures(summary: Summary) -> list[FigureSpec]:
    """Returns the figures that the records allow, in the order of the page.

    Args:
      summary: The summary of the report.

    Returns:
      The figures, without images of the first layer.
    """
    made = (
        *_by_problem(_test_figures.main_figure, summary),
        *_by_problem(_test_figures.cost_figure, summary),
        *_by_problem(_training_curves.validation_figure, summary),
        _confusion.confusion_figure(summary),
        _training_curves.density_figure(summary),
        _training_curves.rates_figure(summary),
        _training_curves.layers_figure(summary),
        _training_curves.unfinished_figure(summary),
        *_searches.search_curves(summary),
        *_fronts.front_figures(summary),
        *_drawings.drawing_figures(summary),
        *(spec for specs in _front_figures.figures_of_fronts(summary) for spec in specs),
    )
    named: dict[str, FigureSpec] = {}
    for spec in made:
        if spec is not None:
            name = formatting.unused(spec.name, named)
            named[name] = dataclasses.replace(spec, name=name)
    return list(named.values())


def _by_problem(
    figure: Callable[[Summary], FigureSpec | None], summary: Summary
) -> Iterator[FigureSpec]:
    """Yields a figure of each problem."""
    for problem, part in summary.by_problem():
        spec = figure(part)
        if spec is not None and problem:
            spec = spec.with_ending(f"_{formatting.slug(problem)}", f": {problem}")
        if spec is not None:
            yield spec


class PageBlock(NamedTuple):
    """A part of a section.

    Attributes:
      kind: How page.html displays it: "table", "boxed" (a table below a figure), "fold" (a
        collapsed table with a title), "figure", "cards" (images) or "compare" (curves and a table
        of selected runs).
      content: A `Table`, a title and a `Table`, a `FigureSpec`, cards, or a `Comparison`.
    """

    kind: str
    content: Any


class Section(NamedTuple):
    """A section of the page: id, heading, heading in the list of sections, and blocks."""

    name: str
    heading: str
    short: str
    blocks: Sequence[PageBlock]


def render(loaded: Loaded, title: str | None = None, folder: PathLike = ".") -> str:
    """Returns the report as one HTML page.

    Styles, images and figures are embedded. The output is deterministic.

    Args:
      loaded: What `read_runs` returned.
      title: Heading; by default the names of the studies.
      folder: Folder of the page, to which links to files are relative.

    Returns:
      HTML.
    """
    summary = summarise(loaded)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpnas", "report"), autoescape=True, keep_trailing_newline=True
    )
    environment.filters["relative"] = functools.partial(_relative, folder)
    return environment.get_template("page.html").render(
        title=title or _default_title(loaded),
        style=style.css_variables() + _dots() + _resource("page.css"),
        summary_text=_summary_text(summary),
        alerts=_alerts(summary),
        sections=_sections(summary),
        script=_resource("page.js"),
    )


def _sections(summary: Summary) -> list[Section]:
    """Returns the sections in order; empty ones are left out."""
    specs = {spec.name: spec for spec in figures(summary)}
    unfinished = specs.pop("unfinished", None)
    made: list[tuple[str, str, list[PageBlock]]] = []
    short = {_first_layer.HEADING: "First layer", "Unfinished runs": "Unfinished"}
    for fronts, own in zip(summary.fronts, _front_figures.figures_of_fronts(summary), strict=True):
        for spec in own:
            made.append((spec.name, spec.heading, [PageBlock("figure", specs.pop(spec.name))]))
            short[spec.heading] = spec.short
        heading = "Networks" + (f": {fronts[0].name}" if len(summary.fronts) > 1 else "")
        made.append(("networks", heading, [PageBlock("table", _front_results.front_table(fronts))]))
    parts = summary.by_problem()
    main = _test_figures.main_names(summary.metric) if len(parts) == 1 else ()
    for problem, part in parts:
        if part.groups:
            heading = f"Results: {problem}" if problem else "Results"
            blocks = [PageBlock("table", _results.result_table(part, problem))]
            made.append(("results", heading, blocks + (_differences(part) if problem else [])))
            heading = f"Which method: {problem}" if problem else "Which method"
            made.append(("choice", heading, _blocks("table", _choice.choice_table(part))))
    tables = _searches.search_tables(summary)
    for study, table in zip(_searches.studies(summary), tables, strict=True):
        heading = "Searches" if len(tables) == 1 else f"Searches: {study}"
        made.append((f"searches_{formatting.slug(study)}", heading, [PageBlock("table", table)]))
    for name, spec in specs.items():
        blocks = [PageBlock("figure", spec), *(_differences(summary) if name in main else [])]
        if name == "confusion":
            blocks += _blocks("boxed", _confusion.confused_table(summary))
            blocks += _blocks("cards", _confusion.mistake_cards(summary))
        made.append((name, spec.heading, blocks))
        short[spec.heading] = spec.short
    made.append(("receptive", _first_layer.HEADING, _cards(summary)))
    compared = _blocks("compare", _compare.comparison(summary))
    made.append(("runs", "Runs side by side", compared))
    made.append(("time", "Time", _blocks("boxed", _results.time_table(summary))))
    blocks = _blocks("boxed", _results.unfinished_table(summary))
    made.append(("unfinished", "Unfinished runs", blocks + _blocks("figure", unfinished)))
    made.append(("details", "Details", _folds(summary) if summary.groups else []))
    found: dict[str, Section] = {}
    for name, heading, blocks in made:
        if blocks:
            name = formatting.unused(name, found)
            found[name] = Section(name, heading, short.get(heading) or heading, blocks)
    return list(found.values())


def _blocks(kind: str, content: Any) -> list[PageBlock]:
    return [] if content is None else [PageBlock(kind, content)]


def _differences(summary: Summary) -> list[PageBlock]:
    return _blocks("boxed", _results.difference_table(summary))


def _resource(name: str) -> str:
    return importlib.resources.files("gpnas.report").joinpath(name).read_text("utf-8")


def _dots() -> str:
    return "".join(f".dot.{c}{{background:var(--{c})}}" for c in style.COLOURS if c[1:].isdigit())


def _relative(folder: PathLike, path: Path) -> str:
    """Returns the relative URL of a file in a page of a folder."""
    return urllib.parse.quote(Path(os.path.relpath(path, folder)).as_posix())


def _default_title(loaded: Loaded) -> str:
    names = [run.study for run in loaded.runs]
    names += [f"One run, a front of networks: {_front_results.title([f])}" for f in loaded.fronts]
    return formatting.shorten(", ".join(dict.fromkeys(names)), 80)


def _summary_text(summary: Summary) -> str:
    """Describes the runs in one or two sentences."""
    texts = (
        _trained(summary),
        _searched(summary),
        *map(_front_results.summary_text, summary.fronts),
    )
    return " ".join(text for text in texts if text)


def _searched(summary: Summary) -> str:
    runs = [run for group in summary.searches for run in group.runs]
    if not runs:
        return ""
    spaces = _distinct(str(run.config.get("space", "")) for run in runs)
    count = "1 search" if len(runs) == 1 else f"{len(runs):,} searches"
    arms = formatting.plural(len({run.arm for run in runs}), "arm")
    place = f" in {spaces}" if spaces else ""
    return f"{count} of {arms}{place}.{_days(runs)}"


def _trained(summary: Summary) -> str:
    runs = summary.finished or list(summary.unfinished)
    if not runs:
        return ""
    arms = len({run.arm for run in runs})
    per_group = sorted({len(group.runs) for group in summary.groups})
    seeds = ""
    if per_group:
        low, high = per_group[0], per_group[-1]
        seeds = f", {formatting.plural(low, 'seed') if low == high else f'{low} to {high} seeds'}"
        seeds += " each" if len(summary.groups) > 1 else ""
    settings = f", {len(summary.groups)} settings" if summary.is_sweep else ""
    text = f"{formatting.plural(len(summary.finished), 'finished run')} of "
    text += f"{formatting.plural(arms, 'arm')}{settings}{seeds}"
    model = _distinct(_model(run) for run in runs)
    data = _distinct(run.data[0] for run in runs)
    if model:
        text += f": {model}"
    if data:
        text += f"{' on' if model else ': data'} {data}"
    text += "."
    if summary.unfinished:
        text += f" {formatting.plural(len(summary.unfinished), 'more run')} did not finish."
    return text + _days(runs)


def _days(runs: Sequence[Run]) -> str:
    days = sorted({day for run in runs if (day := _day(run))})
    if not days:
        return ""
    return f" Run on {days[0]}." if len(days) == 1 else f" Run {days[0]} to {days[-1]}."


def _distinct(names: Iterable[str]) -> str:
    return formatting.shorten(", ".join(dict.fromkeys(name for name in names if name)), 120)


def _model(run: Run) -> str:
    model = run.config.get("model")
    name = formatting.dig(model, "name") or formatting.dig(model, "type")
    return str(name or (model if isinstance(model, str) else "") or run.config.get("network") or "")


def _day(run: Run) -> str:
    """Returns the day of a run, if its record has one."""
    for name in ("date", "finished_at", "started_at"):
        day = str(formatting.dig(run.record, name) or "")[:10]
        if len(day) == 10 and day[4] == day[7] == "-":
            return day
    return ""


def _alerts(summary: Summary) -> list[str]:
    shown = list(summary.warnings[:MAX_WARNINGS])
    more = len(summary.warnings) - len(shown)
    return [*shown, f"{more} more notes of this kind."] if more else shown


def _cards(summary: Summary) -> list[PageBlock]:
    cards = [
        {
            "name": layer.group.label,
            "colour": layer.series.colour,
            "images": [
                {
                    "light": _first_layer.data_uri(image, layer.series, 0, signed),
                    "dark": _first_layer.data_uri(image, layer.series, 1, signed),
                    "width": image.shape[1],
                    "height": image.shape[0],
                    "what": "filters" if signed else "active weights of each input pixel",
                    "caption": caption,
                }
                for image, signed, caption in layer.images
            ],
        }
        for layer in _first_layer.first_layers(summary)
    ]
    return [PageBlock("cards", {"caption": _first_layer.CAPTION, "cards": cards})] if cards else []


def _folds(summary: Summary) -> list[PageBlock]:
    folds = (
        ("Size and cost", _details.cost_table(summary)),
        ("Layers", _details.layer_table(summary)),
        ("Config fields that differ", _details.config_table(summary)),
        ("Provenance", _details.provenance_table(summary)),
    )
    return [PageBlock("fold", fold) for fold in folds if fold[1] is not None]
