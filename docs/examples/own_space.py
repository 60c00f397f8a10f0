# %% [markdown]
# # A search space of your own
#
# A space is a few functions of architectures; `choices` makes them for independent choices. Here an
# architecture is the width of a hidden layer, a number of layers and an activation.

# %%
import pathlib

import flax.linen as nn

from gpnas import data
from gpnas.search import (
    STRATEGIES,
    Space,
    build,
    choices,
    pareto,
    search_together,
    spaces,
    training,
)


class Net(nn.Module):
    width: int
    depth: int
    activation: str

    @nn.compact
    def __call__(self, images, train=False):
        x = images.reshape(images.shape[0], -1)
        for _ in range(self.depth):
            x = getattr(nn, self.activation)(nn.Dense(self.width)(x))
        return nn.Dense(10)(x)


def mine(image, classes, widest=64) -> Space:
    def net(architecture):
        width, depth, activation = architecture
        return Net(int(width), int(depth), activation)

    widths = [str(width) for width in range(8, widest + 1, 8)]
    options = [widths, ["1", "2", "3"], ["relu", "tanh"]]
    return choices(options, lambda one: spaces.cost_of(net(one), image), net)


# %% [markdown]
# A strategy is a function of the trials so far. This one searches for small errors and few
# multiply-accumulates. On the command line, `--config.space=own_space:mine` is the space of a
# search.

# %%
digits = data.load("digits")
space = mine(digits.input_shape, digits.num_classes)
objectives = ("val_error", "macs")
propose = STRATEGIES["nsga2"](space, objectives=objectives, population=6)
recipe, folder = build.Recipe(steps=100), pathlib.Path("weights")
evaluate = training.trained(space, digits, recipe, folder, objectives)
history = search_together(propose, evaluate, evaluations=12)

for trial in pareto.archive(history, objectives):
    error, macs = (trial.metrics[name] for name in objectives)
    print(f"{macs:6,.0f} MACs, {error:4.1f} % wrong: {' '.join(trial.architecture)}")
assert error < 50
