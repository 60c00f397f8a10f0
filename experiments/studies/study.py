"""A study: what it runs, and the tables and figures that it writes to a page of docs/."""

import dataclasses
import importlib
import os
import pathlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from absl import logging
from ml_collections import ConfigDict

from experiments import studies
from experiments.studies.generations import check_equal, outdated
from gpnas.commandline import interruptible
from gpnas.errors import UserError
from gpnas.records import read_lines, write_bytes
from gpnas.report import FigureSpec, Table
from gpnas.train import run_study

#: Folder, and end of the markers, of records with the papers' epochs.
PAPER = "paper"
_SEEDS = 5  # with the papers' epochs


class Section(NamedTuple):
    """The content between two markers of a page.

    Attributes:
      tables: Tables in order.
      figures: Figures below the tables; their files are next to the records.
    """

    tables: Sequence[Table] = ()
    figures: Sequence[FigureSpec] = ()


class Options(NamedTuple):
    """Folders and settings of a study's run.

    Attributes:
      results: Folder of all studies' records; a study appends to results/STUDY/records.jsonl.
      workdir: Folder of the runs' own folders.
      raw_dir: Folder with MNIST's official files; empty: they are downloaded.
      stopped: `() → whether a stop was requested`.
    """

    results: pathlib.Path
    workdir: pathlib.Path
    raw_dir: str
    stopped: Callable[[], bool]


class Study(NamedTuple):
    """The object that a folder of `experiments.studies` exports as `STUDY`.

    Attributes:
      get_config: Returns the config, whose `study` names the folder of the records.
      run: Makes missing records; None: the records come from elsewhere.
      sections: `(results, config) → sections by the name of their markers`.
      page: File of docs/ with the markers; may be empty.
      rows: Arms of a sweep that can be selected by name; empty: only the whole study.
      shorten: Shortens the config for `--fast`, of each arm of a sweep or else of the study; None:
        the study has no fast version.
      readme: Names of sections that are written to README.md instead.
      paper_epochs: Epochs of the papers, by arm of a sweep; for `--budget=paper`.
      needs: Studies whose records `run` reads.
      data: Folder of images that `run` reads, in the current folder; may be empty.
    """

    get_config: Callable[[], ConfigDict]
    run: Callable[[ConfigDict, Options], object] | None
    sections: Callable[[pathlib.Path, ConfigDict], Mapping[str, Section]] | None = None
    page: str = ""
    rows: Sequence[str] = ()
    shorten: Callable[[ConfigDict], None] | None = None
    readme: Sequence[str] = ()
    paper_epochs: Mapping[str, int] = MappingProxyType({})
    needs: Sequence[str] = ()
    data: str = ""


def load() -> dict[str, Study]:
    """Imports every study, by the name of its folder."""
    names = sorted(info.name for info in pkgutil.iter_modules(studies.__path__) if info.ispkg)
    return {name: importlib.import_module(f"{studies.__name__}.{name}").STUDY for name in names}


def sweep(config: ConfigDict, options: Options) -> None:
    """Trains the missing runs of a config made by `gpnas.train.study`."""
    for arm in config.arms.values():
        if arm.data.name == "mnist":
            arm.data.raw_dir = options.raw_dir
    run_study(config, str(options.workdir), str(options.results), options.stopped)


def to_results(run: Callable[[ConfigDict, pathlib.Path], object]) -> Callable:
    """Makes the `run` of a study that needs only the folder of its records.

    It does not look whether a stop was requested, so a signal interrupts it at once.
    """

    def call(config: ConfigDict, options: Options) -> None:
        with interruptible():
            run(config, options.results)

    return call


def epochs(number: int) -> Callable[[ConfigDict], None]:
    """Makes the `shorten` of a sweep: the given number of epochs, and no patience."""

    def shorten(config: ConfigDict) -> None:
        config.train.epochs = number
        if "patience" in config.method:
            config.method.patience = 1

    return shorten


def lengthen(config: ConfigDict, epochs: Mapping[str, int]) -> None:
    """Gives arms of a sweep the epochs of their papers, and five seeds; leaves out the other arms.

    Args:
      config: Config of the sweep.
      epochs: Epochs by arm.

    Raises:
      UserError: If `config.only` names another arm.
    """
    only = [arm for arm in config.only.split(",") if arm]
    for arm in only:
        if arm not in epochs:
            raise UserError("row, at the paper's budget", arm, "; ".join(epochs))
    config.seeds, config.only = tuple(range(_SEEDS)), ",".join(only or epochs)
    arms = {arm: config.arms[arm] for arm in epochs}
    for arm, own in arms.items():
        own.train.epochs = epochs[arm]
    config.arms = ConfigDict(arms, allow_dotted_keys=True)


def other_epochs(study: Study) -> dict[str, int]:
    """Returns the epochs of the papers by arm, of arms that have others in the study."""
    arms = study.get_config().arms if study.paper_epochs else {}
    return {arm: n for arm, n in study.paper_epochs.items() if arms[arm].train.epochs != n}


def records(results: pathlib.Path, config: ConfigDict, name: str = "records") -> list[dict]:
    """Reads results/STUDY/NAME.jsonl; returns an empty list if it does not exist.

    Warns if records of a sweep have other settings than the config.

    Raises:
      UserError: If an arm has records of several settings, see `generations`.
    """
    found = read_lines(results / config.study / f"{name}.jsonl")
    if name != "records":
        return found
    if "densities" not in config:
        check_equal(found, config.study)
        return found
    for arm, text in outdated(found, config).items():
        logging.warning("%s, %s: %s", config.study, arm, text)
    return found


def matching(
    found: Iterable[Mapping[str, Any]], config: ConfigDict, same: Sequence[str]
) -> list[Mapping[str, Any]]:
    """Selects the records that were made with a config's settings.

    Args:
      found: Records of a study.
      config: Its config.
      same: Dotted paths of the settings that must be equal, without the number of seeds.
    """
    wanted = _settings(config.to_dict(), same)
    return [record for record in found if _settings(record["config"], same) == wanted]


def _settings(config: Mapping[str, Any], paths: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    for path in paths:
        value: Any = config
        for part in path.split("."):
            value = value[part]
        found.append(list(value) if isinstance(value, list | tuple) else value)
    return found


def write_pages(
    study: Study,
    config: ConfigDict,
    results: pathlib.Path,
    docs: pathlib.Path,
    write_page: bool = True,
) -> list[pathlib.Path]:
    """Writes a study's sections to its page and to README.md, see `write`; returns these pages.

    If arms have other epochs in their papers (`other_epochs`), sections of the records in
    results/paper are written between the markers "NAME paper"; without records they are empty.

    Args:
      study: The study.
      config: Its config.
      results: Folder of all studies' records.
      docs: Folder of the pages; README.md is in its parent.
      write_page: As for `write`.
    """
    if study.sections is None:
        return []
    made = dict(study.sections(results, config)) | _of_papers(study, results)
    readme = {name: made.pop(name) for name in study.readme if name in made}
    both = {docs / study.page: made, docs.parent / "README.md": readme}
    pages = {page: sections for page, sections in both.items() if sections}
    for page, sections in pages.items():
        write(sections, page, results / config.study, write_page)
    return list(pages)


def _of_papers(study: Study, results: pathlib.Path) -> dict[str, Section]:
    """Returns the sections of records with the papers' epochs; without records, empty ones."""
    epochs = other_epochs(study)
    if not study.sections or not epochs:
        return {}
    config, folder, found = study.get_config(), results / PAPER, {}
    lengthen(config, epochs)
    run = bool(read_lines(folder / config.study / "records.jsonl"))
    for name, (tables, figures) in study.sections(folder, config).items():
        titled = [
            dataclasses.replace(one, caption=f"{one.caption}, with the papers' epochs")
            for one in tables
        ]
        found[f"{name} {PAPER}"] = Section(titled, figures) if run else Section()
    return found


def write(
    made: Mapping[str, Section], page: pathlib.Path, folder: pathlib.Path, write_page: bool = True
) -> None:
    """Prints a study's tables, writes its figures, and fills its page.

    Args:
      made: Sections by name of their markers.
      page: The page with the markers.
      folder: Folder of the figures' files.
      write_page: Whether to write figures and page; otherwise the tables are only printed.

    Raises:
      UserError: If the page cannot be read or has no such markers; nothing is written then.
    """
    for section in made.values():
        for table in section.tables:
            print(f"{table.caption}\n{table.to_text()}\n", flush=True)
    if not write_page:
        return
    try:
        text = page.read_text()
    except OSError as error:
        raise UserError("docs", str(page), f"a page ({error.strerror})") from error
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, section in made.items():
        links = []
        for spec in section.figures:
            path = folder / f"{spec.name}.svg"
            files[path] = spec.file("svg")
            link = os.path.relpath(path.resolve(), page.parent.resolve())
            links.append(f"![{spec.heading}]({link})\n\n{spec.caption}\n")
        text = fill(text, name, section.tables, "\n".join(links))
    for path, content in files.items():
        write_bytes(path, content)
    write_bytes(page, text.encode())


def fill(text: str, name: str, tables: Sequence[Table], figures: str = "") -> str:
    """Replaces the text between `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Args:
      text: The page, Markdown.
      name: Name of the markers.
      tables: Tables, each written below its caption.
      figures: Markdown that follows the tables.

    Returns:
      The page.

    Raises:
      UserError: If the page has no such markers.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError("page", name, f"a page with the lines {begin} and {end}")
    parts = [f"**{table.caption}**\n\n{table.to_markdown()}" for table in tables]
    shown = "\n".join([*parts, figures] if figures else parts)
    return f"{before}{begin}\n{shown}{end}{after}"
