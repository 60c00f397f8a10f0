# %% [markdown]
# # A method of your own, and its comparison
#
# A method is a function with keyword arguments that returns a `Method`. Its config names it as
# `module:function`; here the module is this program. This one prunes the smallest weights and grows
# those whose gradient was largest on average.

# %%
from gpnas.masks import plasticity, schedule, score
from gpnas.methods import Forecast, Method
from gpnas.report import read_runs, text_table
from gpnas.train import base, run_study, study


def mine(*, density: float, total_steps: int, every: int = 20) -> Method:
    curve = schedule.constant(density)
    churn = schedule.cosine(0.4, total_steps)
    grow = score.ema(score.gradient(), 0.99)
    transform = plasticity(
        drop=score.magnitude(), grow=grow, density=curve, churn=churn, every=every
    )
    return Method(transform, Forecast(curve, dense_gradient=schedule.constant(1.0)))


# %% [markdown]
# ## Beside others, by the same protocol
#
# A study is arms × densities × seeds. All arms have the same network, data, batches and learning
# rate, and the test set is read once, at the end of each run. A claim needs more than three seeds
# and a setting of every arm that was chosen on the validation data of other seeds.


# %%
def arm(name, **settings):
    config = base(name=name, density=0.1, every=20, **settings)
    config.data.name = "digits"
    config.model.widths = (64, 32)
    config.train.epochs, config.train.batch_size = 10, 64
    config.train.tensorboard = False
    return config


arms = {"mine": arm("__main__:mine"), "rigl": arm("rigl")}
config = study("comparison", arms, densities=(0.1,), seeds=(0, 1, 2))
records = run_study(config, "runs", "results")
print(text_table(read_runs([records])))
assert len(records.read_text().splitlines()) == 6

# %% [markdown]
# What is there is skipped when the program is run again, and `gpnas report --inputs=results` makes
# a page of it. In a config file, `get_config` returns the study, for `gpnas sweep`.
