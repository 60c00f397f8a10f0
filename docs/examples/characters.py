# %% [markdown]
# # A small character transformer, pruned by units and by 2:4
#
# The text is Python's own help on its language, which every Python has. The network learns to
# predict the next character; then it is pruned in two ways and trained as long again.

# %%
import pathlib
import pydoc_data.topics

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gpnas import data, models, units
from gpnas import masks as gm
from gpnas.train import task as tasks

pathlib.Path("help.txt").write_text("\n".join(pydoc_data.topics.topics.values())[:200_000])
text = data.load("text:help.txt", length=32)
STEPS, BATCH = 150, 32


class Transformer(nn.Module):
    num_classes: int
    size: int = 48

    @nn.compact
    def __call__(self, tokens):
        place = self.param("place", nn.initializers.normal(0.02), (tokens.shape[1], self.size))
        x = nn.Embed(self.num_classes, self.size)(tokens) + place
        mask = nn.make_causal_mask(tokens)
        for _ in range(2):
            x += nn.MultiHeadAttention(num_heads=4)(nn.LayerNorm()(x), mask=mask)
            x += nn.Dense(self.size)(nn.gelu(nn.Dense(4 * self.size)(nn.LayerNorm()(x))))
        return nn.Dense(self.num_classes)(nn.LayerNorm()(x))


model = models.linen(Transformer(text.num_classes))


def fit(model, tx, variables, seed):
    """Trains with an optimizer of optax; returns the variables and its state."""
    task = tasks.language(model)
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


def report(name, model, variables):
    inputs, targets = text.test.inputs[:256], text.test.targets[:256]
    logits = jax.jit(model.infer)(variables, inputs)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    macs = units.macs(model.infer, variables, inputs[:1]).total(variables)
    print(f"{name}: perplexity {jnp.exp(losses.mean()):.2f}, {macs:,} MACs")


# %%
dense = model.init(jax.random.key(0), text.train.inputs[:1])
schedule = optax.cosine_decay_schedule(3e-3, STEPS)
dense, _ = fit(model, optax.adam(schedule), dense, seed=0)
report("dense", model, dense)

# %% [markdown]
# ## 2:4
#
# Two of four neighbouring inputs keep their weight, chosen once by magnitude; then the network is
# trained further. Processors that know this pattern compute such products faster; the count of
# multiply-accumulates here includes the zeros.

# %%
two_of_four = gm.ranking(
    gm.score.magnitude(), gm.schedule.constant(0.5), select=gm.select.n_of_m(2, 4), stop=1
)
tx = gm.sparsify(optax.adam(schedule), two_of_four, jax.random.key(1), where="Dense*/kernel")
half, opt_state = fit(model, tx, dense, seed=1)
report("2:4", model, half)
assert gm.density_of(opt_state) == 0.5
kernel = np.asarray(half["params"]["Dense_0"]["kernel"])
assert ((kernel.reshape(-1, 4, kernel.shape[1]) != 0).sum(1) <= 2).all()

# %% [markdown]
# ## Units
#
# Neurons, heads and the channels inside of heads are found in the traced function. The half that
# matters least to the loss is taken out of each group, and the smaller network is trained further.

# %%
groups = units.discover(model.infer, dense, text.train.inputs[:1])
batch = text.train.inputs[:256], text.train.targets[:256]
grads = jax.grad(lambda v: tasks.language(model).loss(v, batch, jax.random.key(0))[0])(dense)
context = gm.MaskContext(0, dense, grads, jax.random.key(0))
scores = units.score.taylor(groups).value({}, context)
masks = {name: np.asarray(score >= jnp.median(score)) for name, score in scores.items()}
for group in groups.groups:
    print(f"{group.name}: {masks[group.name].sum()} of {group.size}")
small_apply, small = units.compact(model.infer, dense, groups, masks, batch[0][:1])
small_model = models.Model(model.init, lambda variables, x, key: (small_apply(variables, x), {}))
small, _ = fit(small_model, optax.adam(schedule), small, seed=1)
report("units", small_model, small)
sizes = [sum(leaf.size for leaf in jax.tree.leaves(one)) for one in (dense, small)]
print(f"{sizes[1]:,} of {sizes[0]:,} parameters")
assert sizes[1] < 0.7 * sizes[0]
