"""Augmentation: what is drawn, that it is drawn per image, and which texts are refused."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gpnas.data import augment
from gpnas.errors import UserError

pytestmark = pytest.mark.usefixtures("strict")

SHAPE, CLASSES, MANY = (8, 6, 3), 5, 4000
PER_IMAGE = ("pad_crop(2)", "flip_lr", "cutout(3)")


def batch(count, shape=SHAPE):
    """Images without zeros whose pixels differ from each other, and labels."""
    images = np.arange(1, 1 + np.prod(shape)).reshape(shape)
    scale = 1 + np.arange(count) / count
    images = images * scale[:, None, None, None]
    return jnp.asarray(images, jnp.float32), jnp.arange(count) % CLASSES


BATCH = batch(4)


def augmented(text, count=MANY, shape=SHAPE, seed=0):
    images, labels = batch(count, shape)
    keys = augment.image_keys(jax.random.key(seed), count)
    return jax.jit(augment.parse(text, (images, labels), CLASSES))(keys, images, labels)


def uniform(counts):
    """Whether counts could be those of a uniform distribution."""
    return scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("text", ["", "none"])
def test_none_changes_nothing(text):
    images, labels = batch(4)
    keys = augment.image_keys(jax.random.key(0), 4)
    found = augment.parse(text, BATCH, CLASSES)(keys, images, labels)
    assert found[0] is images
    assert found[1] is labels


@pytest.fixture(scope="module")
def per_image():
    """Augments all 16 images of a batch, or 5 of them from `first` on."""
    f = augment.parse("|".join(PER_IMAGE), BATCH, CLASSES)
    images, labels = batch(16)

    def part(seed, first, count):
        keys = augment.image_keys(jax.random.key(seed), count, first)
        rows = [jax.lax.dynamic_slice_in_dim(x, first, count) for x in (images, labels)]
        return f(keys, *rows)

    return jax.jit(part, static_argnums=2)


@given(st.integers(0, 11), st.integers(0, 2**31 - 1))
def test_an_image_is_augmented_by_its_key_alone(per_image, first, seed):
    """A batch in parts, as devices have it, is augmented as the whole."""
    for a, b in zip(per_image(seed, 0, 16), per_image(seed, first, 5), strict=True):
        np.testing.assert_array_equal(a[first : first + 5], b)


def test_each_augmentation_of_a_text_draws_for_itself():
    images, _ = batch(MANY)
    twice, _ = augmented("flip_lr|flip_lr")
    same = np.all(np.array(twice == images), (1, 2, 3)).sum()
    assert scipy.stats.binomtest(int(same), MANY).pvalue > 1e-3


def test_pad_crop():
    """Every place is as likely; what lies outside is zero."""
    pixels, (height, width, _) = 2, SHAPE
    images, labels = map(np.array, batch(MANY))
    found, targets = map(np.array, augmented(f"pad_crop({pixels})"))
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    counts, left = np.zeros((2 * pixels + 1,) * 2), np.ones(MANY, bool)
    for row, column in np.ndindex(counts.shape):
        crop = padded[:, row : row + height, column : column + width]
        here = np.all(found == crop, (1, 2, 3))
        counts[row, column] = here.sum()
        left &= ~here
    assert not left.any()
    assert uniform(counts.ravel())
    np.testing.assert_array_equal(targets, labels)


def test_flip_lr():
    images, labels = map(np.array, batch(MANY))
    found, targets = map(np.array, augmented("flip_lr"))
    plain = np.all(found == images, (1, 2, 3))
    mirrored = np.all(found == images[:, :, ::-1], (1, 2, 3))
    assert np.all(plain ^ mirrored)
    assert scipy.stats.binomtest(int(mirrored.sum()), MANY).pvalue > 1e-3
    np.testing.assert_array_equal(targets, labels)


@pytest.mark.parametrize("size", [1, 3, 4, 6])
def test_cutout(size):
    """A rectangle is zero; each pixel as often as centres are near it."""
    images, labels = map(np.array, batch(MANY))
    found, targets = map(np.array, augmented(f"cutout({size})"))
    cut = np.all(found == 0, -1)
    np.testing.assert_array_equal(found, np.where(cut[..., None], 0, images))
    rows, columns = cut.any(2), cut.any(1)
    np.testing.assert_array_equal(cut, rows[:, :, None] & columns[:, None, :])
    for lines in (rows, columns):
        edges = np.abs(np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(int), axis=1)).sum(1)
        assert np.all(edges == 2)  # one interval
        assert np.all(lines.sum(1) <= size)
    near = [
        np.mean([
            (centre - size // 2 <= np.arange(side)) & (np.arange(side) < centre - size // 2 + size)
            for centre in range(side)
        ], 0)
        for side in SHAPE[:2]
    ]  # fmt: skip
    share = near[0][:, None] * near[1]
    deviation = np.sqrt(share * (1 - share) / MANY)
    assert np.all(np.abs(cut.mean(0) - share) < 4.5 * deviation + 1e-9)
    np.testing.assert_array_equal(targets, labels)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup(alpha):
    """Images and targets are mixed by the same weight: of a Beta distribution, folded."""
    images, labels = map(np.array, batch(MANY, (2, 2, 1)))
    found, targets = map(np.array, augmented(f"mixup({alpha})", shape=(2, 2, 1)))
    assert targets.shape == (MANY, CLASSES)
    assert targets.dtype == np.float32
    weight = targets[np.arange(MANY), labels]
    other = np.roll(labels, 1)
    assert np.all(weight >= 0.5)
    np.testing.assert_array_equal(np.argmax(targets, 1), labels)
    np.testing.assert_allclose(targets[np.arange(MANY), other], 1 - weight, atol=1e-6)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    w = weight[:, None, None, None]
    np.testing.assert_allclose(found, w * images + (1 - w) * np.roll(images, 1, 0), rtol=1e-5)

    beta, grid = scipy.stats.beta(alpha, alpha), np.linspace(0.5, 0.999, 50)
    share = np.mean(weight[:, None] <= grid, 0)
    assert np.max(np.abs(share - beta.cdf(grid) + beta.cdf(1 - grid))) < 1.95 / np.sqrt(MANY)


def test_soft_targets_are_mixed_as_they_are():
    images, labels = batch(50)
    soft = jax.nn.one_hot(labels, CLASSES) * 0.75 + 0.05
    keys = augment.image_keys(jax.random.key(0), 50)
    mixup = jax.jit(augment.parse("mixup(1.0)", (images, soft), CLASSES))
    _, targets = mixup(keys, images, soft)
    _, hard = augmented("mixup(1.0)", 50)
    np.testing.assert_allclose(targets, 0.75 * hard + 0.05, atol=1e-6)


def test_targets_of_a_regression_are_mixed():
    images, values = jnp.ones((4, 3)), jnp.arange(8.0).reshape(4, 2)
    keys = augment.image_keys(jax.random.key(0), 4)
    mixup = jax.jit(augment.parse("mixup(1.0)", (images, values), 0))
    found, targets = mixup(keys, images, values)
    np.testing.assert_allclose(found, 1, atol=1e-6)
    shares = (targets - values) / (jnp.roll(values, 1, 0) - values)
    np.testing.assert_allclose(shares[:, 0], shares[:, 1], atol=1e-6)
    assert np.all((shares >= 0) & (shares <= 0.5))


def test_targets_that_cannot_be_mixed():
    tokens = jax.ShapeDtypeStruct((4, 3), jnp.int32)
    with pytest.raises(UserError, match=r"can be mixed; not \(4, 3\) int32"):
        augment.parse("mixup(0.2)", (jax.ShapeDtypeStruct((4, 3), jnp.float32), tokens), 5)


def test_labels_of_several_classes_are_mixed():
    images, labels = jnp.ones((4, 3)), jnp.eye(4, 2, dtype=bool)
    f = augment.parse("mixup(1.0)", (images, labels), 2)
    mixed = augment.output_shapes(f, (images, labels))[1]
    assert (mixed.shape, mixed.dtype) == ((4, 2), jnp.float32)


@pytest.mark.parametrize("text", ["pad_crop(1)", "flip_lr", "cutout(1)"])
def test_inputs_that_are_no_images(text):
    with pytest.raises(UserError, match=r"for images only; inputs are \(4, 3\) float32"):
        augment.parse(text, (jnp.ones((4, 3)), jnp.ones((4, 2))), 2)


@pytest.mark.slow
@pytest.mark.parametrize("spread", ["sharded", "pmap"])
def test_devices_augment_as_one_does(spread):
    """`mixup` included, whose partner may be on another device."""
    devices, count = jax.local_device_count(), 3 * jax.local_device_count()
    text, key = "pad_crop(2)|flip_lr|cutout(3)|mixup(0.5)", jax.random.key(1)
    images, labels = batch(count)
    f = augment.parse(text, BATCH, CLASSES)
    whole = jax.jit(lambda *xs: f(augment.image_keys(key, count), *xs))(images, labels)
    if spread == "pmap":
        g = augment.parse(text, BATCH, CLASSES, "data")

        def part(images, labels):
            first = 3 * jax.lax.axis_index("data")
            return g(augment.image_keys(key, 3, first), images, labels)

        xs = [x.reshape(devices, 3, *x.shape[1:]) for x in (images, labels)]
        found = [x.reshape(count, *x.shape[2:]) for x in jax.pmap(part, "data")(*xs)]
    else:
        mesh = jax.make_mesh((devices,), ("data",), (jax.sharding.AxisType.Auto,))
        layout = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        xs = jax.device_put((images, labels), layout)
        found = jax.jit(lambda *xs: f(augment.image_keys(key, count), *xs))(*xs)
    for a, b in zip(whole, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


OWN = '''
import jax
from typing import Annotated
from gpnas.plugins import In

def shift(keys, images, targets, by: Annotated[float, In(0, 1)] = 0.5):
    return images + by * jax.vmap(jax.random.normal)(keys)[:, None, None, None], targets

def larger(keys, images, targets):
    return images.repeat(2, 1), targets

def rounded(keys, images, targets):
    return images.astype("int8"), targets

def fewer(keys, images, targets):
    return images, jax.nn.one_hot(targets, 3)

def alone(keys, images, targets):
    return images

def broken(keys, images, targets):
    return images @ targets, targets

def sides(images):
    return images

number = 3
'''  # fmt: skip


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own."""
    (tmp_path / "own_augment.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_augment", raising=False)


@pytest.mark.usefixtures("own")
def test_one_s_own():
    images, labels = batch(MANY)
    found, targets = augmented("own_augment:shift(by=0.25)")
    moved = np.array(found - images)[:, 0, 0, 0]
    assert scipy.stats.kstest(moved, scipy.stats.norm(0, 0.25).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(targets, labels)
    half, _ = augmented("own_augment:shift")
    np.testing.assert_allclose(half - images, 2 * (found - images), atol=1e-4)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flip_lr|pad_corp(4)", "did you mean pad_crop?"),
        ("flip", "module:name of your own"),
        (" ", "as in pad_crop"),
        ("flip_lr|", "as in pad_crop"),
        ("flip_lr|none", "pad_crop, flip_lr, cutout, mixup, or"),
        ("flip_lr||flip_lr", "as in pad_crop"),
        ("pad_crop(4", "as in pad_crop"),
        ("pad_crop(4))", "literals"),
        ("pad_crop(4)(4)", "literals"),
        ("pad_crop(4) flip_lr", "as in pad_crop"),
        ("pad_crop(4)+flip_lr(1)", "literals"),
        ("pad_crop", "pixels"),
        ("pad_crop()", "pixels"),
        ("pad_crop(0)", "1 or more"),
        ("pad_crop(-1)", "1 or more"),
        ("pad_crop(1.5)", "type int"),
        ("pad_crop('4')", "type int"),
        ("pad_crop(True)", "type int"),
        ("pad_crop(1e400)", "finite"),
        ("pad_crop(2**3)", "literals"),
        ("pad_crop(x)", "literals"),
        ("pad_crop({[1]})", "literals"),
        ("pad_crop(*(4,))", "literals"),
        ("pad_crop(**{'pixels': 4})", "literals"),
        ("pad_crop(__import__('os').abort())", "literals"),
        ("pad_crop(4, 5)", "at most 1 settings: pixels"),
        ("pad_crop(4, pixels=5)", "pixels once"),
        ("pad_crop(width=4)", "pixels"),
        ("pad_crop(6)", "fewer pixels than 6"),
        ("flip_lr(2)", "no settings"),
        ("cutout(7)", "at most 6"),
        ("mixup(0)", "above 0"),
        ("mixup(0.2, num_classes=3)", "alpha"),
        ("own_augment:shift(2)", "in [0, 1]"),
        ("own_augment:shfit", "shfit"),
        ("own_agument:shift", "own_agument"),
        ("own_augment:larger", "(4, 16, 6, 3) float32"),
        ("own_augment:rounded", "int8"),
        ("own_augment:fewer", "(4, 3) float32"),
        ("own_augment:alone", "not (4, 8, 6, 3) float32"),
        ("own_augment:broken", "can be traced"),
        ("own_augment:sides", "keys, images, targets"),
        ("own_augment:number", "a function"),
    ],
)
def test_what_is_refused(text, said):
    with pytest.raises(UserError) as caught:
        augment.parse(text, BATCH, CLASSES)
    assert caught.value.field == "data.augment"
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="pad_cropflip_lr()|:,=4.'\" \n\0", max_size=30))
def test_no_text_ends_in_a_traceback(text):
    try:
        augment.parse(text, BATCH, CLASSES)
    except UserError as error:
        assert error.field == "data.augment"
