# %% [markdown]
# # Eight devices
#
# A selection of the k best weights exchanges counts, not weights, and its result does not depend on
# how arrays are sharded. Here the devices are virtual ones of the processor; on accelerators the
# line that asks for them goes, and the one that waits for each step.

# %%
import jax

jax.config.update("jax_num_cpu_devices", 8)

import numpy as np  # noqa: E402
import optax  # noqa: E402
from jax.sharding import AxisType, NamedSharding, PartitionSpec  # noqa: E402

from gpnas import data  # noqa: E402
from gpnas import masks as gm  # noqa: E402

digits = data.load("digits")
rows = len(digits.train) // 8 * 8
x = data.standardize(digits.train.inputs, digits).reshape(-1, 64)[:rows]
y = digits.train.targets[:rows]
rigl = gm.plasticity(
    drop=gm.score.magnitude(),
    grow=gm.score.random(),
    every=10,
    density=gm.schedule.constant(0.1),
    churn=gm.schedule.constant(0.3),
)
tx = gm.sparsify(optax.sgd(0.1), rigl, jax.random.key(0))


def loss(params, x, y):
    logits = jax.nn.relu(x @ params["a"]) @ params["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


@jax.jit
def step(params, opt_state, x, y):
    grads = jax.grad(loss)(params, x, y)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


# %% [markdown]
# Examples are split over a mesh, and so are the columns of the first kernel; everything else is
# placed by the compiler.


# %%
def fit(devices):
    mesh = jax.make_mesh(
        (devices,), ("d",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    a, b = jax.random.split(jax.random.key(1))
    params = {
        "a": jax.random.normal(a, (64, 64)) * 0.2,
        "b": jax.random.normal(b, (64, 10)) * 0.2,
    }
    columns = NamedSharding(mesh, PartitionSpec(None, "d"))
    whole = NamedSharding(mesh, PartitionSpec())
    params = jax.device_put(params, {"a": columns, "b": whole})
    examples = jax.device_put((x, y), NamedSharding(mesh, PartitionSpec("d")))
    opt_state = tx.init(params)
    params = gm.sparse_params(params, opt_state)
    for _ in range(50):
        params, opt_state = step(params, opt_state, *examples)
        jax.block_until_ready(params)  # virtual devices that are given many steps may starve
    return gm.masks_of(opt_state), float(loss(params, *examples)), params["a"].sharding


one, eight = fit(1), fit(8)
same = [np.array_equal(a, b) for a, b in zip(one[0].values(), eight[0].values(), strict=True)]
print(f"loss on one device {one[1]:.4f}, on eight {eight[1]:.4f}; equal masks: {same}")
print(eight[2])
assert all(same) and abs(one[1] - eight[1]) < 1e-3
