"""Development on Fashion-MNIST."""

from gpnas.train.config import base


def get_config():
    return base(name="development", density=0.02)
