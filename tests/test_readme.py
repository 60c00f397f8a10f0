"""The README tells the truth: its code runs, its table is that of the records."""

import operator
import pathlib
import re
import runpy
import textwrap

import jax
import jax.numpy as jnp
import optax
import pytest

from gpnas import masks, report
from gpnas.methods import METHODS
from gpnas.models import LeNet300
from tests import traces

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_loop_of_your_own_runs_and_is_short(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    lines = [line for line in code.splitlines() if line.strip() and "import" not in line]
    assert (
        len(lines) <= 10
        and sum("gm.sparse" in line or "gm.sparsify" in line for line in lines) == 2
    )
    module = LeNet300(widths=(16, 8))
    images = jax.random.normal(jax.random.key(1), (32, 6, 6, 1))
    labels = jnp.arange(32) % 10

    def loss(params, batch):
        logits = module.apply({"params": params}, batch[0])
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(32), batch[1]])

    params = module.init(jax.random.key(0), images)["params"]
    (tmp_path / "loop.py").write_text(code)
    names = runpy.run_path(
        str(tmp_path / "loop.py"), {"params": params, "loss": traces.at_most(1, loss)}
    )
    params, opt_state = names["params"], names["opt_state"]
    first = masks.masked_leaves(masks.masks_of(opt_state))
    for _ in range(201):
        params, opt_state = names["step"](params, opt_state, (images, labels))
    kept = masks.masked_leaves(masks.masks_of(opt_state))
    sizes = sum(mask.size for mask in kept.values())
    assert sum(int(mask.sum()) for mask in kept.values()) == round(0.1 * sizes)
    assert any(bool((kept[path] != mask).any()) for path, mask in first.items())
    for path, weights in masks.masked_leaves(masks.masks_of(opt_state), params).items():
        assert not jnp.any(jnp.where(kept[path], 0, weights))


@pytest.mark.parametrize("name", ["fashion"])
def test_the_table_is_that_of_the_records(name):
    folder = ROOT / "results" / name
    table = report.markdown_table(report.read_runs([str(folder / "records.jsonl")])).strip()
    assert (folder / "table.md").read_text().strip() == f"<!-- gpnas.report -->\n{table}"
    marks = f"<!-- begin results/{name}/table.md -->\n(.*?)<!-- end"
    assert re.search(marks, README, re.DOTALL)[1].strip() == table


def test_links_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
            assert target.startswith("http") or (page.parent / target).exists(), (page, target)


@pytest.mark.parametrize("page", ["README.md", "docs/coming-from.md", "docs/from-jaxpruner.md"])
def test_names_of_masks_in_documents_exist(page):
    names = set(re.findall(r"\bgm((?:\.\w+)+)", (ROOT / page).read_text()))
    assert len(names) > 8
    for name in names:
        operator.attrgetter(name[1:])(masks)


def test_the_method_that_the_page_for_users_of_jaxpruner_names(tmp_path):
    page = (ROOT / "docs" / "from-jaxpruner.md").read_text()
    (tmp_path / "block.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    names = runpy.run_path(str(tmp_path / "block.py"))
    assert isinstance(names["transform"], masks.MaskTransform)


@pytest.mark.slow
def test_the_axes_of_stacked_layers_are_said_by_a_table():
    page = (ROOT / "docs" / "adding-a-method.md").read_text()
    code = textwrap.dedent(re.search(r"```\n(  axes = .*?)```", page, re.DOTALL)[1])
    params = {
        "layers": {"kernel": jnp.ones((3, 8, 10)), "bias": jnp.ones((3, 10))},
        "in_proj": {"kernel": jnp.ones((8, 2, 5))},
    }
    rigl = METHODS["rigl"](density=0.2, total_steps=20, every=2).transform
    names = {"gm": masks, "rigl": rigl, "optax": optax, "jax": jax}
    exec(code, names)  # two lines of the page
    found = masks.masks_of(names["tx"].init(params))
    each = found["layers"]["kernel"].sum((1, 2))
    assert 0 < int(each.max()) < 80 and int(each.max() - each.min()) <= 1  # the total is exact
    assert masks.summary.active_counts(found).keys() == {"layers/kernel", "in_proj/kernel"}


@pytest.mark.slow
def test_gates_and_sensitivity_in_a_loop_of_your_own(tmp_path):
    page = (ROOT / "docs" / "adding-a-method.md").read_text()
    page = page.partition("## Gates and sensitivity in a loop of your own")[2]
    names = {
        "module": LeNet300(widths=(16, 8)),
        "images": jax.random.normal(jax.random.key(1), (32, 6, 6, 1)),
        "labels": jnp.arange(32) % 10,
    }
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for block in blocks:
        (tmp_path / "block.py").write_text(block)
        names |= runpy.run_path(str(tmp_path / "block.py"), names)
        assert names["state"].step == 1 and jnp.isfinite(names["metrics"]["loss"])
    assert len(blocks) == 3
    kernel = names["network"]["Dense_0"]["kernel"]
    assert kernel.shape == (36, 16)
