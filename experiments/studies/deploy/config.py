"""Latency of compacted networks and of sparse matrices, on a CPU.

Half and three quarters of a network's neurons and channels are removed at random (latency does not
depend on weights), and both networks are exported. LeNet-300's layers with random zeros are timed
as sparse matrices. About ten minutes on an otherwise idle machine. Needs the extra `deploy`.

    python experiments/reproduce.py deploy
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the networks by name, and how each is measured."""
    config = ConfigDict()
    config.study = "deploy"
    config.seed = 0  # of weights and removed units
    config.shares = (0.5, 0.75)  # removed fractions of neurons and channels
    config.batches = (1, 64)
    config.threads = (1, 2)
    config.seconds = 6.0  # per network, fraction, batch and number of threads
    grey, colour = (28, 28, 1), (32, 32, 3)
    both = ("onnxruntime", "JAX", "JAX, im2col")  # in which im2col is the convolution for training
    config.networks = ConfigDict(
        {
            "LeNet-5": _network("lenet5", grey, both, widths=(20, 50, 500)),
            "LeNet-5, wide": _network("lenet5", grey, both, widths=(64, 128, 1024)),
            "ResNet-20": _network("resnet", colour, both[:2], blocks=3, width=16),
            "ResNet-8, wide": _network("resnet", colour, both[:2], blocks=1, width=64),
        }
    )
    config.sparse = ConfigDict()
    config.sparse.densities = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
    config.sparse.batches = (1, 8, 64, 128)
    config.sparse.rounds = 200  # calls of each implementation
    config.sparse.layers = ConfigDict(
        {
            "784 × 300": ((784, 300),),
            "300 × 100": ((300, 100),),
            "100 × 10": ((100, 10),),
            "LeNet-300-100": ((784, 300), (300, 100), (100, 10)),
        }
    )
    return config


def _network(
    model: str, image_shape: tuple[int, ...], runtimes: tuple[str, ...], **fields: object
) -> dict[str, object]:
    fields = {"num_classes": 10, **fields}
    return {"model": model, "image_shape": image_shape, "runtimes": runtimes, "fields": fields}
