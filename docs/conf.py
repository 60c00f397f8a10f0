"""Sphinx configuration; `./run.sh docs` builds the site, without network, into build/docs."""

import inspect
import os
import pathlib
import re
import sys
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]

import _api  # noqa: E402

import gpnas  # noqa: E402

project = "gpnas"
author = "The gpnas authors"
copyright = f"2026, {author}"
version = release = gpnas.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_*", "conf.py", "search.md"]
nitpicky = True
default_role = "py:obj"
nitpick_ignore_regex = [
    ("py:obj", r".*"),  # what is in backticks is code, and a link where it names something
    ("py:class", r"(?!gpnas\.).*"),  # other libraries' pages are not looked up: no network
    ("py:class", r"gpnas\.(\w+\.)*_.*"),  # types that have no public name
]

# Pages
myst_heading_anchors = 4
highlight_language = "none"  # most blocks are commands; those of Python say so
html_theme = "sphinx_book_theme"
html_title = "gpnas"
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "navbar_persistent": [],
    "logo": {"text": "gpnas"},
}
html_static_path, html_css_files = ["_static"], ["site.css"]
html_copy_source = html_show_sourcelink = False

# Notebooks
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}  # docs/examples
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

# As in the tests, whose cache this is: small programs that compile fast.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gpnas"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE / "compiled"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# API pages
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autosummary_generate = False
napoleon_custom_sections = [("Attributes", "params_style"), ("References", "notes_style")]
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

# Links that lead to another page of the site than of the repository: that which includes it.
PAGES = {
    "](../README.md#masks-in-your-own-loop": "](loop.md",
    "](../README.md": "](index.md",
    "](../CHANGELOG.md": "](changelog.md",
    "](../CONTRIBUTING.md": "](contributing.md",
    "](search.md": "](searches.md",  # search.html is the page of the site's own search
}


SETTINGS = _api.settings()
PAPER = re.compile(r"\b(arXiv:\d{4}\.\d{4,5}(?:v\d)?)")


def lead_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links lead to pages of the site where these have other names than in the repository."""
    for old, new in PAGES.items():
        source[0] = source[0].replace(old, new)


def prepare_docstring(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Makes code of what is in backticks, unless it may be the name of something public.

    Names of arguments and fields are code, too: functions of the same name are something else.
    """
    if what == "data":  # autodoc would take the docstring of the value's class
        module, _, own = name.rpartition(".")
        lines[:] = _api.documentation(module, own).splitlines()
    try:
        names = set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        names = set()
    names |= set(getattr(value, "__annotations__", ()))

    def code(found: re.Match) -> str:
        linked = re.fullmatch(r"\w+(\.\w+)*", found[1]) and found[1] not in names
        return found[0] if linked else f"`{found[0]}`"

    text = "\n".join(lines)
    lines[:] = re.sub(r"(?<!`)`([^`]+)`(?!`)", code, text).split("\n")


def short_signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, given: str, returns: str
) -> tuple[str, str | None] | None:
    """Signatures as the source has them: with names of types, not with what these stand for."""
    return _api.signature(value) if what in ("function", "class", "method") else None


def link_code(app: Sphinx, doctree: nodes.document) -> None:
    """Links code such as `gpnas.masks.score` and `gm.sparsify(…)` in pages to the reference."""
    for node in list(doctree.findall(nodes.literal)):
        name = re.fullmatch(r"([a-zA-Z]\w+(?:\.\w+)*)(?:\([^|]*\))?", node.astext())
        if name and not isinstance(node.parent, nodes.reference | pending_xref):
            target = re.sub(r"^gm\.", "gpnas.masks.", name[1])
            link = pending_xref(refdomain="py", reftype="obj", reftarget=target, refexplicit=True)
            link["refdoc"] = app.env.docname
            node.replace_self(link)
            link += node


def link_papers(app: Sphinx, doctree: nodes.document) -> None:
    """Links numbers of papers in prose to arXiv."""
    code = nodes.literal | nodes.literal_block | nodes.reference | nodes.title
    for text in list(doctree.findall(nodes.Text)):
        if isinstance(text.parent, code) or not PAPER.search(text):
            continue
        parts = [
            nodes.reference("", part, refuri=f"https://arxiv.org/abs/{part[6:]}")
            if PAPER.fullmatch(part)
            else nodes.Text(part)
            for part in PAPER.split(text)
        ]
        text.parent.replace(text, parts)


def resolve(app: Sphinx, env: BuildEnvironment, node: Any, content: nodes.Element) -> Any:
    """Names of another package: `masks.every`, `Metric`, `masks_from_gates`, if there is only one.

    A word in lower case, or a setting of methods, may mean anything and is left alone.
    """
    if node.get("refdomain") != "py" or not re.fullmatch(r"\w+(\.\w+)*", node["reftarget"]):
        return None
    domain, target = env.domains["py"], node["reftarget"]
    if target.rpartition(".")[2][0].isupper():
        target = target.rpartition(".")[2]
    if re.fullmatch("[a-z]+", target) or target in SETTINGS:
        return None
    members = ("method", "property", "attribute")
    objects = [(n, x) for n, x in domain.objects.items() if n.endswith(f".{target}")]
    found = [n for n, x in objects if not x.aliased and x.objtype not in members]
    found = [n for n in found if f"{n}.{target}" not in found]  # a function before its module
    if len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, content)


def check_coverage(app: Sphinx, env: BuildEnvironment) -> None:
    """Every public name has a docstring, and an entry in the reference."""
    there = env.domains["py"].objects
    expected = {f"{m}.{name}" for m, names in _api.reference().items() for name in names}
    for name in sorted(expected - set(there)) + _api.undocumented():
        logging.getLogger(__name__).warning("public name without documentation: %s", name)


def setup(app: Sphinx) -> None:
    """Writes the pages that are made of code, and connects the above."""
    _api.write(DOCS / "api", _api.pages())
    app.connect("source-read", lead_links)
    app.connect("include-read", lambda app, path, docname, text: lead_links(app, docname, text))
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", short_signature)
    app.connect("doctree-read", link_code)
    app.connect("doctree-read", link_papers)
    app.connect("missing-reference", resolve)
    app.connect("env-check-consistency", check_coverage)
