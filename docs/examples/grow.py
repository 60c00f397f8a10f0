# %% [markdown]
# # A network that grows from a seed
#
# A network of four units a layer is trained, gets four more units, is trained, and so on. New units
# are initialized so that the function stays as it is; the state of the optimizer grows with them.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gpnas import data, units

digits = data.load("digits")
x = jnp.asarray(data.standardize(digits.train.inputs, digits).reshape(len(digits.train), -1))
y = jnp.asarray(digits.train.targets)
SHAPES = ((64, 4), (4, 4), (4, 10))
keys = jax.random.split(jax.random.key(0), len(SHAPES))


def net(params, x):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def loss(params):
    return optax.softmax_cross_entropy_with_integer_labels(net(params, x), y).mean()


params = [
    {"w": jax.random.normal(key, shape) * (2 / shape[0]) ** 0.5, "b": jnp.zeros(shape[1])}
    for key, shape in zip(keys, SHAPES, strict=True)
]
tx = optax.adam(3e-3)
opt_state = tx.init(params)


@jax.jit
def step(params, opt_state):
    value, grads = jax.value_and_grad(loss)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, value


# %% [markdown]
# `discover` finds the units of any function. `resize` appends units to everything of their shapes:
# parameters and moments. `zero_outgoing` gives new units incoming weights, and outgoing ones of
# zero; `gradmax`, `net2net` and others are beside it in `units.grow`.


# %%
def grow(params, opt_state, key, more=4):
    groups = units.discover(net, params, x)
    widths = {group.name: group.size + more for group in groups.groups}
    masks = units.full_masks(groups)
    # One tree, so that the paths of moments end in those of the parameters.
    params, opt_state = units.resize((params, opt_state), params, groups, masks, widths)
    groups = units.discover(net, params, x)
    before = {name: np.arange(widths[name]) < widths[name] - more for name in widths}
    init = units.grow.zero_outgoing()
    return init(params, groups, before, units.full_masks(groups), key), opt_state


key = jax.random.key(1)
for growth in range(4):
    if growth:
        key, own = jax.random.split(key)
        before = net(params, x)
        params, opt_state = grow(params, opt_state, own)
        assert jnp.allclose(net(params, x), before, atol=1e-4)
    for _ in range(100):
        params, opt_state, value = step(params, opt_state)
    widths = [layer["w"].shape[1] for layer in params]
    wrong = 100 * (net(params, x).argmax(-1) != y).mean()
    print(f"widths {widths}: loss {value:.3f}, {wrong:.1f} % wrong")
assert widths == [16, 16, 10] and wrong < 10
