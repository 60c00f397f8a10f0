# %% [markdown]
# # A small character transformer, pruned by units and by 2:4
#
# The text is Python's own help on its language, which every Python has. The network learns to
# predict the next character; then half of its cost is removed in two ways.

# %%
import pathlib
import pydoc_data.topics

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import gpnas
from gpnas import data, deploy, models, train
from gpnas import masks as gm

pathlib.Path("help.txt").write_text("\n".join(pydoc_data.topics.topics.values())[:200_000])
text = data.load("text:help.txt", length=64)
STEPS, BATCH = 300, 32


class Transformer(nn.Module):
    num_classes: int
    size: int = 64

    @nn.compact
    def __call__(self, tokens):
        place = self.param("place", nn.initializers.normal(0.02), (tokens.shape[1], self.size))
        x = nn.Embed(self.num_classes, self.size)(tokens) + place
        mask = nn.make_causal_mask(tokens)
        for _ in range(2):
            x += nn.MultiHeadAttention(num_heads=4)(nn.LayerNorm()(x), mask=mask)
            x += nn.Dense(self.size)(nn.gelu(nn.Dense(4 * self.size)(nn.LayerNorm()(x))))
        return nn.Dense(self.num_classes)(nn.LayerNorm()(x))


task = train.task.language(models.linen(Transformer(text.num_classes)))


def fit(tx, variables, seed):
    """Trains with an optimizer of optax; returns the variables and its state."""
    params = variables["params"]
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state, batch, key):
        grads = jax.grad(lambda p: task.loss({"params": p}, batch, key)[0])(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    rows = np.random.default_rng(seed).integers(len(text.train), size=(STEPS, BATCH))
    for i, chosen in enumerate(rows):
        batch = (text.train.inputs[chosen], text.train.targets[chosen])
        params, opt_state = step(params, opt_state, batch, jax.random.key(i))
    return {"params": params}, opt_state


def perplexity(apply, variables):
    logits = apply(variables, text.test.inputs[:128])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, text.test.targets[:128])
    return float(jnp.exp(losses.mean()))


# %%
first = dict(task.init(jax.random.key(0), text.train.inputs[:1]))
schedule = optax.cosine_decay_schedule(3e-3, STEPS)
dense, _ = fit(optax.adam(schedule), first, seed=0)
infer = jax.jit(task.model.infer)
print(f"dense: perplexity {perplexity(infer, dense):.2f}")

# %% [markdown]
# ## 2:4
#
# Two of four neighbouring inputs keep their weight, chosen once by magnitude; then the network is
# trained further. Processors with sparse units compute such products faster.

# %%
two_of_four = gm.ranking(
    gm.score.magnitude(), gm.schedule.constant(0.5), select=gm.select.n_of_m(2, 4), stop=1
)
kernels = "*Dense*/kernel"
tx = gm.sparsify(optax.adam(schedule), two_of_four, jax.random.key(1), where=kernels)
half, opt_state = fit(tx, dense, seed=1)
print(
    f"2:4: perplexity {perplexity(infer, half):.2f}, {gm.density_of(opt_state):.2f} of the kernels"
)
kernel = np.asarray(half["params"]["Dense_0"]["kernel"])
assert ((kernel.reshape(-1, 4, kernel.shape[1]) != 0).sum(1) <= 2).all()

# %% [markdown]
# ## Units
#
# Neurons of the feed-forward layers, heads and their channels are found in the traced function. The
# network that is left has smaller arrays, so it is faster anywhere.

# %%
small = gpnas.slim(task, dense, text, target=0.5, epochs=2, batch_size=BATCH, learning_rate=0.05)
whole = deploy.dense_network(task.model, dense, text.input_shape)
for name, network in (("whole", whole), ("units", small.network)):
    macs = network.macs(text.input_shape)
    found = perplexity(network.apply, network.variables)
    print(f"{name}: perplexity {found:.2f}, {network.params:,} parameters, {macs:,} MACs")
