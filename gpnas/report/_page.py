"""The report as one HTML page that needs nothing but itself."""

import dataclasses
import html
import importlib.resources
from collections.abc import Callable, Iterable, Iterator, Sequence

from gpnas.report import (
    _drawings,
    _errors,
    _fronts,
    _pictures,
    _results,
    _searches,
    _training_curves,
    formatting,
    style,
)
from gpnas.report._figures import FigureSpec
from gpnas.report._groups import Series, Summary, summarise
from gpnas.report._read import Loaded, Run
from gpnas.report._table import Table

MAX_WARNINGS = 20


def figures(summary: Summary) -> list[FigureSpec]:
    """Returns the figures that the records suffice for, in the order of the page.

    Args:
      summary: The summary of the report.

    Returns:
      The figures; pictures of the first layer are not among them.
    """
    made = (
        *_by_data(_errors.error_figure, summary),
        *_by_data(_errors.cost_figure, summary),
        _training_curves.density_figure(summary),
        _training_curves.rates_figure(summary),
        _training_curves.layers_figure(summary),
        *_by_data(_training_curves.validation_figure, summary),
        _training_curves.unfinished_figure(summary),
        *_searches.course_figures(summary),
        *_fronts.front_figures(summary),
        *_drawings.drawing_figures(summary),
    )
    named: dict[str, FigureSpec] = {}
    for spec in made:
        if spec is not None:
            name = formatting.unused(spec.name, named)
            named[name] = dataclasses.replace(spec, name=name)
    return list(named.values())


def _by_data(
    figure: Callable[[Summary], FigureSpec | None], summary: Summary
) -> Iterator[FigureSpec]:
    """Yields a figure of errors for each data set."""
    for data, part in summary.by_data():
        spec = figure(part)
        if spec is not None and data:
            name, heading = f"{spec.name}_{formatting.slug(data)}", f"{spec.heading}: {data}"
            spec = dataclasses.replace(spec, name=name, heading=heading)
        if spec is not None:
            yield spec


def render(loaded: Loaded, title: str | None = None) -> str:
    """Returns the report as one HTML page.

    The page loads nothing: styles, pictures and figures are inside. The same runs give the same
    bytes.

    Args:
      loaded: What `read_runs` returned.
      title: The heading; by default the names of the studies.

    Returns:
      HTML.
    """
    summary = summarise(loaded)
    title = title or _default_title(loaded.runs)
    specs = {spec.name: spec for spec in figures(summary)}
    late = ("unfinished",)
    sections: list[tuple[str, str, str]] = []
    for data, part in summary.by_data():
        if part.groups:
            heading = f"Results: {data}" if data else "Results"
            body = _results.result_table(part, data).to_html()
            if data:
                body += _table(_results.difference_table(part))
            sections.append(("results", heading, body))
    tables = _searches.search_tables(summary)
    for study, table in zip(_searches.studies(summary), tables, strict=True):
        heading = "Searches" if len(tables) == 1 else f"Searches: {study}"
        sections.append((f"searches_{formatting.slug(study)}", heading, table.to_html()))
    for name, spec in specs.items():
        if name in late:
            continue
        body = _figure(spec)
        if name in ("error_by_arm", "error_nonzeros"):
            body += _table(_results.difference_table(summary))
        sections.append((name, spec.heading, body))
    sections.append(("receptive", _pictures.HEADING, _first_layers(summary)))
    if summary.unfinished:
        body = _table(_results.unfinished_table(summary))
        if "unfinished" in specs:
            body += _figure(specs["unfinished"])
        sections.append(("unfinished", "Unfinished runs", body))
    if summary.groups:
        sections.append(("details", "Details", _details(summary)))
    sections = _with_ids(section for section in sections if section[2])
    return _PAGE.format(
        title=html.escape(title),
        style=style.css_variables() + _dots() + _resource("page.css"),
        lede=html.escape(_lede(summary)),
        alert=_alert(summary),
        nav="".join(
            f'<li><a href="#{name}">{html.escape(_short(heading))}</a></li>'
            for name, heading, _ in sections
        ),
        main="\n".join(
            f'<section id="{name}"><h2>{html.escape(heading)}</h2>\n{body}</section>'
            for name, heading, body in sections
        ),
        script=_resource("page.js"),
    )


def _with_ids(sections: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Returns sections whose names can be ids: no two are the same."""
    found: dict[str, tuple[str, str, str]] = {}
    for name, heading, body in sections:
        name = formatting.unused(name, found)
        found[name] = (name, heading, body)
    return list(found.values())


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="gpnas.report">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="lede">{lede}</p>
{alert}<nav aria-label="Sections"><ul>{nav}</ul></nav>
</header>
<main>
{main}
</main>
<footer><p>Made by gpnas.report from records alone. Every number and figure comes from them.</p>
</footer>
<script>
{script}</script>
</body>
</html>
"""


def _resource(name: str) -> str:
    return importlib.resources.files("gpnas.report").joinpath(name).read_text("utf-8")


def _dots() -> str:
    return "".join(f".dot.{c}{{background:var(--{c})}}" for c in style.COLOURS if c[1:].isdigit())


def _default_title(runs: Sequence[Run]) -> str:
    return formatting.shorten(", ".join(dict.fromkeys(run.study for run in runs)), 80)


def _short(heading: str) -> str:
    """Returns a heading for the list of sections; one of a data set ends with its name."""
    title, colon, data = heading.partition(": ")
    short = {
        "Test error against non-zero weights": "Error and size",
        "Test error by arm": "Error",
        "Test error against the cost of training": "Error and cost",
        "Density over training": "Density",
        "Growth and pruning over training": "Growth and pruning",
        "Density of each layer over training": "Layers",
        "Validation error over training": "Validation",
        _pictures.HEADING: "First layer",
        "Unfinished runs": "Unfinished",
    }.get(title, title)
    return short + colon + data


def _lede(summary: Summary) -> str:
    """Returns what was run, in a sentence or two."""
    return " ".join(text for text in (_trained(summary), _searched(summary)) if text)


def _searched(summary: Summary) -> str:
    runs = [run for group in (*summary.searches, *summary.parts) for run in group.runs]
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
    """Returns the day of a run, where its record tells one."""
    for name in ("date", "finished_at", "started_at"):
        day = str(formatting.dig(run.record, name) or "")[:10]
        if len(day) == 10 and day[4] == day[7] == "-":
            return day
    return ""


def _alert(summary: Summary) -> str:
    shown = list(summary.warnings[:MAX_WARNINGS])
    more = len(summary.warnings) - len(shown)
    if more:
        shown.append(f"{more} more notes of this kind.")
    if not shown:
        return ""
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in shown)
    return (
        f'<div class="alert" role="note"><p><b>Before you read on</b></p><ul>{lines}</ul></div>\n'
    )


def _figure(spec: FigureSpec) -> str:
    caption = f"<figcaption>{html.escape(spec.caption)}</figcaption>"
    if spec.narrow:
        wide, narrow = (
            "".join(panel.inline(f"{spec.name}-{kind}{i}-") for i, panel in enumerate(panels))
            for kind, panels in (("w", spec.panels), ("n", spec.narrow))
        )
        body = f'<div class="one wide">{wide}</div>\n<div class="one narrow">{narrow}</div>'
    else:
        cells = []
        for i, panel in enumerate(spec.panels):
            first = i == 0 or spec.panels[i - 1].row != panel.row
            own = ' style="grid-column-start:1"' if first and panel.row else ""
            cells.append(f"<div{own}>{panel.inline(f'{spec.name}-{i}-')}</div>")
        body = f'<div class="grid" style="--n:{spec.columns}">' + "\n".join(cells) + "</div>"
    return f"<figure>{caption}\n{body}</figure>\n"


def _first_layers(summary: Summary) -> str:
    cards = []
    for picture in _pictures.pictures(summary):
        name = html.escape(picture.group.label)
        series: Series = picture.series
        body = f'<div class="card"><h3 style="color:var(--c{series.colour})">{name}</h3>'
        for image, signed, caption in (
            (picture.live, False, picture.caption),
            (picture.filters, True, picture.filters_caption),
        ):
            if image is None:
                continue
            light, dark = (_pictures.data_uri(image, series, mode, signed) for mode in (0, 1))
            what = "filters" if signed else "live weights of each input pixel"
            body += (
                '<picture><source media="screen and (prefers-color-scheme: dark)" '
                f'srcset="{dark}"><img src="{light}" width="{image.shape[1]}" '
                f'height="{image.shape[0]}" alt="{name}, {what}: {html.escape(caption)}"></picture>'
                f"<p>{html.escape(caption)}</p>"
            )
        cards.append(body + "</div>")
    if not cards:
        return ""
    return (
        f"<figure><figcaption>{html.escape(_pictures.CAPTION)}</figcaption>"
        f'<div class="cards">{"".join(cards)}</div></figure>'
    )


def _details(summary: Summary) -> str:
    folds = (
        ("Size and cost", _results.cost_table(summary)),
        ("Layers", _results.layer_table(summary)),
        ("Config fields that differ", _results.config_table(summary)),
        ("Provenance", _results.provenance_table(summary)),
    )
    return "\n".join(
        f"<details><summary>{name}</summary><div>{table.to_html()}</div></details>"
        for name, table in folds
        if table is not None
    )


def _table(table: Table | None) -> str:
    return "" if table is None else f'<div class="table">{table.to_html()}</div>'
