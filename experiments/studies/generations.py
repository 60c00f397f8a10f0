"""Checks whether records were made with the current settings of their study."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.train import config_key, settings

Record = Mapping[str, Any]
#: Names of fields that select runs or that records of one arm are tuned over, and those without an
#: effect on results.
_VARYING = frozenset((
    "seed", "seeds", "arms", "budgets", "only", "learning_rate", "baselines", "retrain",
    "elastic_min_flops",
))  # fmt: skip


def outdated(found: Iterable[Record], config: ConfigDict) -> dict[str, str]:
    """Describes the records of a sweep whose settings differ from its config.

    Args:
      found: Records of the study.
      config: Config from `gpnas.train.study`; `only` and `seeds` are ignored.

    Returns:
      A text by arm ("3 of 6 records: method.peak 16, now 15"); arms not in the config are left out.

    Raises:
      UserError: If an arm has records with its current settings and others with older ones, or with
        several older ones.
    """
    every = config.copy_and_resolve_references()
    every.only, every.seeds = "", (0,)
    current: dict[str, list[dict[str, Any]]] = {}
    for _, (one, *_rest) in settings(every):
        current.setdefault(one.arm, []).append(_key(one.to_dict()))
    own: dict[str, list[dict[str, Any]]] = {}
    for record in found:
        if record["arm"] in current:
            own.setdefault(record["arm"], []).append(_key(record["config"]))
    described = {}
    for arm, keys in own.items():
        known = {json.dumps(key, sort_keys=True) for key in current[arm]}
        old = [key for key in keys if json.dumps(key, sort_keys=True) not in known]
        if not old:
            continue
        nearest = {_nearest(one, current[arm]) for one in old}
        text = f"{len(old)} of {len(keys)} records: {'; '.join(sorted(nearest))}"
        if len(old) < len(keys) or len(nearest) > 1:
            raise UserError("records", f"{config.study}, {arm}, {text}", "one config per arm")
        described[arm] = text
    return described


def check_equal(found: Iterable[Record], study: str) -> None:
    """Checks that the records of each arm have equal settings, but for seeds and tuned fields.

    Args:
      found: Records of a study that is not a sweep; a field that an older record lacks is ignored.
      study: Its name.

    Raises:
      UserError: If the records of an arm differ in another field.
    """
    settings: dict[str, dict[str, str]] = {}
    for record in found:
        known = settings.setdefault(record.get("arm", ""), {})
        for path, value in flatten_dict(record.get("config", {}), sep=".").items():
            text = json.dumps(value)
            if path.rpartition(".")[2] not in _VARYING and known.setdefault(path, text) != text:
                got = f"{study}, {record.get('arm')}, {path} {known[path]} and {text}"
                raise UserError("records", got, "one config per arm")


def _key(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what identifies a setting: all fields but the seed, as in JSON."""
    key = json.loads(json.dumps(config_key(config)))
    return {path: value for path, value in key.items() if path != "seed"}


def _nearest(old: Mapping[str, Any], current: Iterable[Mapping[str, Any]]) -> str:
    """Describes what changed from an old setting to the most similar current one."""
    fewest = min((_changes(old, key) for key in current), key=len)
    return ", ".join(fewest)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    paths = sorted(p for p in old.keys() | new.keys() if old.get(p) != new.get(p))
    return [f"{p} {old.get(p, 'absent')}, now {new.get(p, 'absent')}" for p in paths]
