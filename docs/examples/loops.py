# %% [markdown]
# # Masks in a loop of Linen, NNX and Equinox
#
# `sparsify` wraps any optimizer of optax. Its state carries the masks, so a training loop changes
# by two lines, whatever library the network is written in. Here RigL keeps a tenth of the weights.

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from gpnas import data
from gpnas import masks as gm

digits = data.load("digits")
x = data.standardize(digits.train.inputs, digits).reshape(len(digits.train), -1)
y = jnp.asarray(digits.train.targets)
STEPS = 200

rigl = gm.plasticity(
    drop=gm.score.magnitude(),
    grow=gm.score.gradient(),
    every=20,
    density=gm.schedule.constant(0.1),
    churn=gm.schedule.cosine(0.6, STEPS),
)
tx = gm.sparsify(optax.adam(3e-3), rigl, jax.random.key(0))  # the first line


def cross_entropy(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def report(name, logits, opt_state):
    accuracy = 100 * (logits.argmax(-1) == y).mean()
    density = gm.density_of(opt_state)
    print(f"{name}: {100 * density:.1f} % of the weights, {accuracy:.1f} % of the digits right")
    assert accuracy > 90 and abs(density - 0.1) < 0.001


# %% [markdown]
# ## Linen

# %%
net = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)])
params = net.init(jax.random.key(1), x)
opt_state = tx.init(params)
params = gm.sparse_params(params, opt_state)  # the second line


@jax.jit
def step(params, opt_state):
    grads = jax.grad(lambda p: cross_entropy(net.apply(p, x)))(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


for _ in range(STEPS):
    params, opt_state = step(params, opt_state)
report("Linen", net.apply(params, x), opt_state)


# %% [markdown]
# ## NNX
#
# `nnx.Optimizer` takes the wrapped optimizer as it takes any other.


# %%
class Net(nnx.Module):
    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(64, 64, rngs=rngs), nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.first(x)))


model = Net(nnx.Rngs(1))
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
nnx.update(model, gm.sparse_params(nnx.state(model, nnx.Param), optimizer.opt_state))


@nnx.jit
def nnx_step(model, optimizer):
    optimizer.update(model, nnx.grad(lambda m: cross_entropy(m(x)))(model))


for _ in range(STEPS):
    nnx_step(model, optimizer)
report("NNX", model(x), optimizer.opt_state)

# %% [markdown]
# ## Equinox

# %%
try:
    import equinox as eqx
except ModuleNotFoundError:
    print("Equinox is not installed")
else:
    mlp = eqx.nn.MLP(64, 10, 64, 1, key=jax.random.key(1))
    opt_state = tx.init(eqx.filter(mlp, eqx.is_array))
    mlp = gm.sparse_params(mlp, opt_state)

    @eqx.filter_jit
    def eqx_step(mlp, opt_state):
        grads = eqx.filter_grad(lambda m: cross_entropy(jax.vmap(m)(x)))(mlp)
        updates, opt_state = tx.update(grads, opt_state, eqx.filter(mlp, eqx.is_array))
        return eqx.apply_updates(mlp, updates), opt_state

    for _ in range(STEPS):
        mlp, opt_state = eqx_step(mlp, opt_state)
    report("Equinox", jax.vmap(mlp)(x), opt_state)
