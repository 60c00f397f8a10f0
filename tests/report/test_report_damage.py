"""Whatever a run's files hold, the report is made, and says what it left out."""

import json
import random
import xml.etree.ElementTree

import numpy as np
import pytest

from gpnas import report
from gpnas.errors import UserError
from gpnas.report import figures, read_runs, summarise
from gpnas.report._page import MAX_WARNINGS
from tests.cases import some

FILES = ("record.json", "config.json", "metrics.jsonl", "receptive.npz", "mistakes.npz")
SEARCH = {
    "study": "s", "arm": "a", "seed": 0, "evaluations": 12, "wall_s": 1.0,
    "config": {"space": "nas_bench_201", "objectives": ["error", "size"], "reports": []},
    "course": [{"evaluation": i, "metrics": {"error": 9.0 - i, "size": i}} for i in (1, 4)],
    "front": [{"architecture": ["skip"] * 6, "metrics": {"error": 5.0, "size": 4}}],
}  # fmt: skip
JUNK = (
    *([], None, 5, -1, 0, True, {}, [[]], "x", "<b>&\"'", "\ud800\x00\uffff", "n" * 5000),
    *(
        float("nan"),
        float("inf"),
        1e308,
        1e99,
        -1e99,
        5e-324,
        10**400,
        [1, "a", None],
        {"a": {"b": []}},
    ),
)


def _damaged(data: bytes, rng: random.Random) -> bytes:
    """Some bits flipped, the end or the middle cut off."""
    changed = bytearray(data)
    kind = rng.randrange(3)
    if kind == 0:
        for _ in range(rng.choice((1, 1, 20))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del changed[rng.randrange(len(changed)) :]
    else:
        at = rng.randrange(len(changed))
        del changed[at : at + 200]
    return bytes(changed)


def _replaced(record: dict, rng: random.Random) -> dict:
    """The record with something else in place of one, two or three values."""
    record = json.loads(json.dumps(record))
    for _ in range(rng.randint(1, 3)):
        spots: list[tuple] = []
        level = [record]
        for _ in range(rng.randint(1, 5)):
            pairs = [
                (holder, key)
                for holder in level
                for key in (holder if isinstance(holder, dict) else range(len(holder)))
            ]
            spots = pairs or spots
            level = [h[k] for h, k in pairs if isinstance(h[k], (dict, list))]
        holder, key = rng.choice(spots)
        holder[key] = rng.choice(JUNK)
    return record


def _shown(inputs) -> str:
    loaded = read_runs(inputs)
    page = report.render(loaded)
    page.encode()
    report.text_table(loaded).encode()
    report.markdown_table(loaded).encode()
    assert len(loaded.warnings) > MAX_WARNINGS or page.count("left out") >= len(
        [w for w in loaded.warnings if "left out" in w]
    )
    return page


@pytest.fixture(scope="module")
def small(make):
    """A record with a short curve: pages are quick."""
    return make.record("gmp", 0, every=2000)


@pytest.mark.slow
@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_damaged_files_of_a_run(make, small, tmp_path, name, finished):
    folder = make.workdir(tmp_path / "s", small)
    if not finished:
        (folder / "record.json").unlink()
    if not (folder / name).exists():
        return
    whole, rng = (folder / name).read_bytes(), random.Random(name)
    for _ in range(2):
        (folder / name).write_bytes(_damaged(whole, rng))
        assert "gmp" in _shown([folder]) or not name.endswith(".npz")


@pytest.mark.slow
def test_what_cannot_be_read_is_in_the_page(make, small, tmp_path):
    folder = make.workdir(tmp_path / "s", small)
    for name in FILES:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        assert f"{name}" in _shown([folder]).partition("</header>")[0]
        (folder / name).write_bytes(whole)
    np.savez(folder / "receptive.npz", live=np.ones((4, 4)))
    assert "receptive.npz" in _shown([folder])
    np.savez(folder / "receptive.npz", live=-np.ones((4, 4)), filters=np.ones((1, 4, 4)))
    assert "is not an image" in _shown([folder])
    for images in (
        np.ones((2, 4, 4, 3)),
        np.ones((2, 4, 4, 2), np.uint8),
        np.ones((1, 4, 4, 3), np.uint8),
        np.ones((2, 0, 4, 3), np.uint8),
    ):
        np.savez(folder / "mistakes.npz", images=images, classes=[0, 1], predicted=[1, 0])
        assert "no images of classes" in _shown([folder])
    np.savez(folder / "mistakes.npz", images=["a"], classes=[0], predicted=[1])
    assert "mistakes.npz: not readable" in _shown([folder])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["training", "search"])
def test_records_with_something_else_in_place_of_values(make, small, tmp_path, kind):
    path, rng = tmp_path / "records.jsonl", random.Random(kind)
    record = small if kind == "training" else SEARCH
    for _ in range(6):
        lines = [_replaced(record, rng), record | {"seed": 1}, record | {"arm": "dense"}]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert "dense" in _shown([path])


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        *("[]", "null", "5", '"x"', "{}", '{"arm": "a"}', "\x00", "[" * 100_000, "{" * 10),
        *('{"a":' * 100_000, "[" * 500 + "]" * 500, '{"a":' * 150 + "1" + "}" * 150),
        '{"arm": "a", "course": [{}]}',
        '{"arm": "a", "course": [{}], "config": {"objectives": 5}}',
    ],
)
def test_a_line_that_is_no_record_is_reported_by_its_number(make, small, tmp_path, line):
    path = make.records(tmp_path / "s" / "records.jsonl", [small], line + "\n")
    assert "records.jsonl, line 2: not a" in _shown([path])
    path.write_text(line + "\n")
    with pytest.raises(UserError, match="line 1: not a"):
        read_runs([path])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["record.json", "config.json"])
@pytest.mark.parametrize(
    "content",
    some(
        ["[]", "null", "[" * 100_000, '{"a":' * 100_000, "", "\ud800"], ["null", "[" * 100_000, ""]
    ),
)
def test_a_file_that_is_no_object_is_reported(make, small, tmp_path, name, content):
    folder = make.workdir(tmp_path / "s", small)
    (folder / name).write_bytes(content.encode("utf-8", "surrogatepass"))
    page = _shown([folder])
    assert f"{name}: not a whole JSON object" in page
    assert ("shown as unfinished" in page) == (name == "record.json")


NAMES = (
    """<script>alert(1)</script>"><img src=x onerror=alert(1)>#{}%s$x^2$""",
    "../../up", "/up", "n" * 5000, "\ud800\x00\x1b[31m\uffffa\nbé中😀", " ",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", some(NAMES, NAMES[:1]))
def test_names_are_text_and_lead_nowhere(make, small, tmp_path, name):
    search = SEARCH | {"study": name, "arm": name, "wall_s": name}
    search["config"] = {**SEARCH["config"], "objectives": [name, "size"], "reports": [name]}
    search["course"] = [{"evaluation": 1, "metrics": {name: 1.0, "size": 2.0}}]
    search["front"] = [{"architecture": [name] * 6, "metrics": {name: 1.0, "size": 2.0}}]
    train = small | {"study": name, "arm": name, "dataset": name, "git": name}
    other = small | {"dataset": "other"}
    path = make.records(tmp_path / "in" / "records.jsonl", [search, train, other])
    loaded = read_runs([path])
    (tmp_path / "out" / "inner").mkdir(parents=True)
    folder = tmp_path / "out" / "inner" / "figures"
    page = report.write(loaded, folder.parent / "page.html", figures_dir=folder).read_text()
    assert "<script>alert" not in page and "<img src=x" not in page and "n" * 200 not in page
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.parent for path in made} == {folder, folder.parent}
    for path in folder.glob("*.svg"):
        xml.etree.ElementTree.parse(path)
    assert report.text_table(loaded).isprintable() or "\x1b" not in report.text_table(loaded)


def test_figures_have_names_of_their_own(tmp_path):
    records = [SEARCH | {"study": study} for study in ("a/b", "a_b", "a b")]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    names = [spec.name for spec in figures(summarise(read_runs([path])))]
    assert len(set(names)) == len(names) == 9


@pytest.mark.slow
@pytest.mark.parametrize("count", some([1e99, -1e99, 1e-99, 10**99, 0], [1e99, 0]))
@pytest.mark.parametrize("field", ["evaluations", "steps"])
def test_a_search_of_any_length(tmp_path, field, count):
    path = tmp_path / "records.jsonl"
    course = [{"evaluation": count, "metrics": {"error": 1.0, "size": 2.0}}]
    for changed in ({field: count}, {"course": course}):
        path.write_text(json.dumps(SEARCH | changed) + "\n")
        assert "hypervolume by number of" in _shown([path])


def test_faults_of_many_lines_are_one_note(make, small, tmp_path):
    path = make.records(tmp_path / "s" / "records.jsonl", [small], "[]\n" * 30 + "{}\n")
    assert read_runs([path]).warnings == (
        "s/records.jsonl, 30 lines from 2 to 31: not a whole JSON object; left out.",
        "s/records.jsonl, line 32: not a record of a run; left out.",
    )
