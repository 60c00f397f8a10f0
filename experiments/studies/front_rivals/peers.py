"""The peers in PyTorch: which are installed, and their runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.benchmarks.measure import Missing, require
from experiments.studies.front_rivals.networks import Context

_OTO, _LAYERWISE = "OTO", "Torch-Pruning layerwise"
#: The extra and packages of each arm. OTO imports a module that later versions of PyTorch do not
#: have.
PEERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Torch-Pruning", _LAYERWISE), ("bench", "torch", "torch_pruning")),
    _OTO: ("oto", "torch", "torch.onnx._globals", "only_train_once"),
}


def installed(arms: Sequence[str]) -> list[str]:
    """Returns the arms that can be run; prints why others cannot."""
    found = []
    for arm in arms:
        try:
            _require(arm)
        except Missing as error:
            print(f"without {arm}: {error}", flush=True)
        else:
            found.append(arm)
    return found


def train_peer(context: Context, arm: str, seed: int, rate: float) -> dict[str, Any]:
    """Trains the networks of a peer.

    Args:
      context: Context of the study.
      arm: One of `PEERS`.
      seed, rate: Seed and learning rate of the runs.

    Raises:
      Missing: If its packages are not installed.
    """
    _require(arm)
    if arm == _OTO:
        from experiments.studies.front_rivals.torch_oto import train_oto

        return train_oto(context, seed, rate)
    from experiments.studies.front_rivals.torch_front import train_torch_front

    return train_torch_front(context, seed, rate, arm == _LAYERWISE)


def _require(arm: str) -> None:
    if arm in PEERS:
        require(*PEERS[arm])
