"""Made-up studies with the shape of real ones."""

import json
import math
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

LAYERS = {"Dense_0/kernel": (784, 300), "Dense_1/kernel": (300, 100), "Dense_2/kernel": (100, 10)}
WEIGHTS = sum(a * b for a, b in LAYERS.values())
STEPS = 4210
ARMS = ("dense", "gmp", "rigl", "pipeline", "development")
_ERROR = {"dense": 1.62, "gmp": 1.78, "rigl": 2.05, "pipeline": 1.93, "development": 1.72}


def density_at(arm: str, t: float, final: float) -> float:
    """Returns the density of an arm after a share t of training."""
    if arm == "gmp":
        return final + (1 - final) * (1 - min(max((t - 0.1) / 0.65, 0), 1)) ** 3
    if arm == "development":
        if t < 0.1:
            return final + 0.22 * math.sin(math.pi / 2 * t / 0.1)
        return final + 0.22 * (1 - min((t - 0.1) / 0.65, 1)) ** 3
    if arm == "pipeline":
        return 1.0 if t < 0.5 else 0.2 + (final - 0.2) * min((t - 0.5) / 0.4, 1)
    return 1.0 if arm == "dense" else final


def make_record(arm="gmp", seed=0, final=0.02, every=100, study="mnist_lenet", **changes) -> dict:
    """Returns the record of one finished run."""
    rng = random.Random(f"{arm}{seed}{final}")
    final = 1.0 if arm == "dense" else final
    curve, before = [], density_at(arm, 0, final)
    for step in [*range(every, STEPS, every), STEPS]:
        now = density_at(arm, step / STEPS, final)
        change = round((now - before) * WEIGHTS)
        swap = round(0.3 * final * WEIGHTS * (1 - step / STEPS)) if arm == "rigl" else 0
        if arm == "development":
            swap = round(0.002 * WEIGHTS * (1 - step / STEPS))
        grown, pruned = max(change, 0) + swap, max(-change, 0) + swap
        shares = [min(1.0, now * k) for k in (0.85, 2.1, 6.0)] if arm != "dense" else [1.0] * 3
        curve.append(
            {
                "step": step,
                "density": now,
                "grown": grown,
                "pruned": pruned,
                "layers": {
                    path: {"density": share, "grown": grown // 3, "pruned": pruned // 3}
                    for path, share in zip(LAYERS, shares, strict=True)
                },
            }
        )
        before = now
    error = _ERROR.get(arm, 2.0) + rng.gauss(0, 0.05)
    if arm != "dense":
        error += 0.12 * max(0.0, math.log(0.02 / final) / math.log(2)) ** 1.6
        error -= 0.05 * max(0.0, math.log(final / 0.02) / math.log(2)) ** 0.6
    nonzeros = round(final * WEIGHTS)
    mean = sum(point["density"] for point in curve) / len(curve)
    record = {
        "study": study,
        "arm": arm,
        "seed": seed,
        "config": {
            "seed": seed,
            "model": "lenet_300_100",
            "epochs": 10,
            "method": {"name": arm, "density": final},
        },
        "git": "3f2a91c",
        "versions": {"jax": "0.10.2", "flax": "0.12.8", "numpy": "2.3.1"},
        "machine": {"platform": "cpu", "cores": 2},
        "dataset": "mnist",
        "dataset_sha256": "ab" * 32,
        "metrics": {
            "test_error_last": error,
            "test_error_selected": error + rng.gauss(0.01, 0.03),
            "val_error_last": error + 0.2,
            "val_error_selected": error + 0.12,
        },
        "cost": {
            "params": WEIGHTS + 410,
            "nonzeros": nonzeros,
            "nonzeros_with_bias": nonzeros + 410,
            "density": final,
            "mean_training_density": mean,
            "inference_macs": nonzeros,
            "inference_macs_dense": WEIGHTS,
            "train_flops": mean * 4.09e12,
            "train_flops_dense": 4.09e12,
        },
        "layers": [
            {
                "path": path,
                "shape": list(shape),
                "nonzeros": round(shape[0] * shape[1] * curve[-1]["layers"][path]["density"]),
                "dead_in": 0 if arm == "dense" else (214 if i == 0 else rng.randrange(4)),
                "dead_out": 0 if arm == "dense" else rng.randrange(8),
            }
            for i, (path, shape) in enumerate(LAYERS.items())
        ],
        "curve": curve,
        "wall_s": 31 + rng.random() * 6,
    }
    return {**record, **changes}


def make_metrics(record: dict, until: int = STEPS) -> list[dict]:
    """Returns the lines that the run of a record logged up to a step."""
    rng = random.Random(record["seed"])
    lines = []
    final = record["metrics"]["val_error_last"]
    for point in record["curve"]:
        if point["step"] <= until:
            lines.append({**point, "split": "train", "loss": 0.1, "error": 2.0, "wall_s": 1.0})
    for epoch in range(1, 11):
        step = 421 * epoch
        if step <= until:
            error = final + 6 * math.exp(-0.75 * epoch) + abs(rng.gauss(0, 0.06))
            lines.append({"step": step, "split": "validation", "loss": 0.1, "error": error})
    return sorted(lines, key=lambda line: line["step"])


def make_receptive(arm: str, seed: int) -> dict[str, np.ndarray]:
    """Returns a receptive field that looks at the middle of an image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:28, :28]
    middle = np.exp(-((y - 13.5) ** 2 + (x - 13.5) ** 2) / 90)
    share = 1.0 if arm == "dense" else 0.05
    where = np.ones((28, 28)) if arm == "dense" else middle
    live = rng.binomial(300, np.clip(share * where, 0, 1)).astype(np.float32)
    filters = rng.normal(size=(16, 28, 28)).astype(np.float32) * middle
    filters *= rng.random((16, 28, 28)) < (1 if arm == "dense" else 0.12 * middle + 0.01)
    return {"live": live, "filters": filters.astype(np.float32)}


def make_mistakes() -> dict[str, np.ndarray]:
    """Returns images of two pairs of classes: three of 2 taken for 1, one of 0 taken for 2."""
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
    return {
        "images": images,
        "classes": np.array([2, 2, 2, 0]),
        "predicted": np.array([1, 1, 1, 2]),
    }


def write_workdir(root: Path, record: dict, until: int | None = None, torn: bool = False) -> Path:
    """Writes the work directory of a run: finished, or killed after step `until`."""
    path = root / f"{record['arm']}_{record['config']['method']['density']}_{record['seed']}"
    path.mkdir(parents=True)
    start = {key: record[key] for key in ("study", "arm", "seed", "config")}
    start |= {"total_steps": STEPS, "dense": {"params": WEIGHTS + 410}}
    (path / "config.json").write_text(json.dumps(start))
    text = "".join(json.dumps(x) + "\n" for x in make_metrics(record, until or STEPS))
    (path / "metrics.jsonl").write_text(text + ('{"step": 99' if torn else ""))
    if until is None:
        (path / "record.json").write_text(json.dumps(record))
        np.savez(path / "receptive.npz", **make_receptive(record["arm"], record["seed"]))
        np.savez(path / "mistakes.npz", **make_mistakes())
    return path


def write_records(path: Path, records: list[dict], tail: str = "") -> Path:
    """Writes a file of records, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Everything above, for tests."""
    return SimpleNamespace(
        record=make_record,
        metrics=make_metrics,
        receptive=make_receptive,
        workdir=write_workdir,
        records=write_records,
        arms=ARMS,
        weights=WEIGHTS,
    )


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of five arms and three seeds, two runs of which were killed."""
    root = tmp_path_factory.mktemp("work") / "mnist_lenet"
    for arm in ARMS:
        for seed in range(3):
            write_workdir(root, make_record(arm, seed))
    write_workdir(root, make_record("gmp", 3), until=1700, torn=True)
    write_workdir(root, make_record("development", 3), until=900)
    return root
