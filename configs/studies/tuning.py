"""The tuning behind the defaults: sixteen settings of each method, three seeds, judged on validation.

Equal budgets for GMP, RigL, the pipeline and development. Its seeds (100 to 102) are not those of any
other study, and its test errors are not looked at. About 30 minutes on 2 CPU cores.

    python experiments/sweep.py --config=configs/studies/tuning.py
"""

from typing import Any

from ml_collections import ConfigDict

from configs import development, gmp, pipeline, rigl
from gpnas.train.study import study

_VARIANTS: dict[Any, list[dict[str, Any]]] = {
    gmp: [
        {},
        {"allocation": "erk"},
        {"allocation": "uniform"},
        {"stop_at": 0.5},
        {"stop_at": 0.9},
        {"start_at": 0.1},
        {"start_at": 0.25},
        {"every": 50},
        {"every": 200},
        {"stop_at": 0.6},
        {"first": 0.5},
        {"first": 0.27},
        {"allocation": "erk", "first": 0.5},
        {"allocation": "erk", "stop_at": 0.5},
        {"start_at": 0.05, "stop_at": 0.6},
        {"first": 0.5, "stop_at": 0.5},
    ],
    rigl: [
        {},
        {"fraction": 0.1},
        {"fraction": 0.5},
        {"every": 50},
        {"every": 200},
        {"stop_at": 0.9},
        {"allocation": "uniform"},
        {"allocation": "global"},
        {"every": 25},
        {"every": 50, "fraction": 0.5},
        {"every": 50, "stop_at": 0.9},
        {"every": 25, "fraction": 0.5},
        {"fraction": 0.5, "stop_at": 0.9},
        {"allocation": "global", "every": 50},
        {"allocation": "global", "fraction": 0.5},
        {"allocation": "global", "stop_at": 0.9},
    ],
    pipeline: [
        {},
        {"peak_at": 0.05},
        {"peak_at": 0.25},
        {"stop_at": 0.5},
        {"stop_at": 0.9},
        {"every": 50},
        {"allocation": "erk"},
        {"peak_at": 0.05, "stop_at": 0.9},
        {"peak_at": 0.02},
        {"peak_at": 0.05, "stop_at": 0.5},
        {"peak_at": 0.05, "allocation": "erk"},
        {"every": 25},
        {"every": 50, "allocation": "erk"},
        {"every": 200},
        {"peak_at": 0.05, "every": 50},
        {"peak": 6.0},
    ],
    development: [
        {},
        {"drop": "magnitude"},
        {"drop": "magnitude", "decay": 0.99, "window": 100},
        {"decay": 0.99, "window": 100},
        {"churn": 0.6},
        {"churn": 0.15},
        {"peak_at": 0.05},
        {"drop": "magnitude", "peak_at": 0.05, "protect": 100, "survival_age": 200},
        {"drop": "magnitude", "peak_at": 0.05},
        {"drop": "magnitude", "peak_at": 0.05, "decay": 0.99},
        {"drop": "magnitude", "peak_at": 0.05, "decay": 0.95},
        {"peak_at": 0.05, "decay": 0.99},
        {"drop": "magnitude", "peak_at": 0.05, "decay": 0.99, "window": 50},
        {"drop": "magnitude", "peak_at": 0.05, "decay": 0.99, "churn": 0.6},
        {"drop": "magnitude", "peak_at": 0.05, "decay": 0.99, "stop_at": 0.9},
        {"drop": "magnitude", "peak_at": 0.02, "decay": 0.99},
    ],
}


def get_config() -> ConfigDict:
    """Every variant as an arm of its own, named by what it changes."""
    arms = {}
    for module, variants in _VARIANTS.items():
        for variant in variants:
            config = module.get_config()
            for field, value in variant.items():
                config.method[field] = value
            changes = " ".join(f"{field}={value}" for field, value in variant.items())
            arms[f"{config.method.name} {changes}".strip()] = config
    return study("tuning", arms, densities=(0.02,), seeds=(100, 101, 102))
