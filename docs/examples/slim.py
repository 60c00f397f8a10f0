# %% [markdown]
# # A trained network, pruned, fine-tuned and exported
#
# `gpnas.slim` prunes the units of a trained network to a fraction of its cost while it is trained
# further, and removes them. Units of all layers compete by their effect on the loss per cost. Here
# the network is one of scikit-learn, with its weights in a Linen module.

# %%
import pathlib

import flax.linen as nn
import jax.numpy as jnp
from sklearn.neural_network import MLPClassifier

import gpnas
from gpnas import data, deploy, models, train

digits = data.load("digits")
inputs = data.standardize(digits.train.inputs, digits).reshape(len(digits.train), -1)
theirs = MLPClassifier((128, 64), random_state=0).fit(inputs, digits.train.targets)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        for i, width in enumerate((128, 64)):
            x = nn.relu(nn.Dense(width, name=f"layer{i}")(x))
        return nn.Dense(10, name="layer2")(x)


layers = enumerate(zip(theirs.coefs_, theirs.intercepts_, strict=True))
params = {f"layer{i}": {"kernel": kernel, "bias": bias} for i, (kernel, bias) in layers}

# %% [markdown]
# A task is a network with its loss and its metric. A quarter of the multiply-accumulates is left.

# %%
task = train.classification(models.linen(Net()))
small = gpnas.slim(task, {"params": params}, digits, target=0.25, epochs=4)

whole = deploy.dense_network(task.model, {"params": params}, digits.input_shape)
tested = data.standardize(digits.test.inputs, digits)
for name, network in (("whole", whole), ("small", small.network)):
    wrong = network.apply(network.variables, tested).argmax(-1) != digits.test.targets
    macs = network.macs(digits.input_shape)
    print(f"{name}: {macs:,} MACs, {network.params:,} parameters, {100 * wrong.mean():.1f} % wrong")
assert small.network.macs(digits.input_shape) <= 0.25 * whole.macs(digits.input_shape)

# %% [markdown]
# `small.record` is the record of the run; `small.network` is a function and its variables. A file
# of it runs without its code: StableHLO wherever JAX is, ONNX (`deploy.to_onnx`) in other runtimes.

# %%
path = pathlib.Path("small.stablehlo")
deploy.to_stablehlo(small.network.apply, small.network.variables, digits.input_shape, path)
run = deploy.load_exported(path)
difference = jnp.abs(run(tested) - small.network.apply(small.network.variables, tested)).max()
print(f"{path}: {path.stat().st_size / 1000:.0f} kB, largest difference {difference:.0e}")
assert difference < 1e-4
