"""The configuration of a run: all fields with their defaults."""

import functools
import types
from collections.abc import ItemsView, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from gpnas._files import lists, tuples
from gpnas._no_effect import NO_EFFECT, OF_A_PROCESS
from gpnas.methods import duration
from gpnas.sections import check_section


def base(**method: Any) -> ConfigDict:
    """Returns the default configuration of a run; config files and flags override its fields.

    Args:
      **method: The method's `name` and its own fields (see `gpnas.methods`).

    Returns:
      A `ConfigDict` with fixed keys; types are checked on assignment.
    """
    config = ConfigDict()
    config.study = "train"  # records of the same study are compared
    config.arm = ""  # the run's name in the study; the method's name if empty
    config.seed = 0  # of initial weights, masks and batch order; not of the validation split
    config.analysis = ()  # of the finished network: module:function, docs/tutorial.md
    config.elastic = False  # resize arrays to the active units (methods that develop units)
    config.elastic_round_to = 8  # array widths are multiples of this
    config.elastic_min_flops = 1e12  # saved by a resize; its compilation takes as long on 2 cores
    config.resume = False  # resume from the last checkpoint in the workdir, if any

    config.data = ConfigDict()
    config.data.name = "fashion_mnist"  # or mnist, cifar10, digits, folder:PATH, csv:PATH, …
    config.data.raw_dir = ""  # folder with the official files; needs no TFDS
    config.data.data_dir = ""  # TFDS's folder; its default if empty
    config.data.cache_dir = ""  # decoded data; the user's cache folder if empty
    config.data.validation = 0.1  # fraction of the training examples held out
    config.data.seed = 0  # of that split
    config.data.image_size = 0  # height and width in pixels to resize to; 0: the stored size
    config.data.download = True
    config.data.augment = ""  # of training batches: pad_crop(4)|flip_lr, docs/data.md; or none
    config.data.target = ""  # of csv:PATH: comma-separated columns to predict; the last if empty
    config.data.target_kind = ""  # of csv:PATH: class, value, labels (0 and 1); the task's if empty
    config.data.length = 128  # of text:PATH: characters per sequence

    config.model = ConfigDict()
    config.model.name = "lenet300"  # or lenet5, convnet, cellnet, resnet, module:function
    config.model.dtype = "float32"  # of the computation; bfloat16 on TPU and GPU
    config.model.axes = ConfigDict()  # {glob: in_axis, out_axis, batch_axis}, see docs/tutorial.md
    config.model.conv = "auto"  # im2col or xla; auto: im2col on a CPU, xla elsewhere

    config.task = ConfigDict()
    config.task.name = "classification"  # or regression, multilabel, language, module:function

    config.train = ConfigDict()
    config.train.epochs = 10
    config.train.init_from = ""  # a run's folder, .safetensors, Orbax's folder, module:function
    config.train.init_names = ConfigDict()  # {path: path in the source}; "": not loaded
    config.train.batch_size = 128  # over all devices; smaller for fewer training examples
    config.train.parallel = "jit"  # jit with sharded batches, or pmap
    config.train.shard_min_size = 0  # elements of the smallest array that is sharded; 0: none
    config.train.matmul_precision = ""  # highest, tensorfloat32, bfloat16; JAX's default if empty
    config.train.deterministic = False  # XLA's deterministic operations on GPUs, which are slower
    config.train.loop = "auto"  # scan, steps, segments; auto: the fastest (docs/performance.md)
    config.train.feed = "auto"  # device, stream (needs Grain); auto: by size, see docs/data.md
    config.train.log_every = 100  # steps between lines in metrics.jsonl
    config.train.eval_every = 1  # epochs between evaluations on the validation examples
    config.train.patience = 0  # stop after this many evaluations without a better metric; 0: never
    config.train.tensorboard = True
    config.train.profile = ()  # (start, stop): steps traced by jax's profiler into WORKDIR/profile
    config.train.keep = 2  # number of latest checkpoints to keep
    config.train.keep_epochs = ()  # epochs after which a checkpoint is saved and never removed
    config.train.keep_best = False  # save one when a network is selected; keep the last of these
    config.train.checkpoint_seconds = 15.0  # least between two, also 20 × saving time; 0: no limit

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # of optax or optax.contrib, or module:function
    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "cosine"  # or linear (both to zero), constant, module:function
    config.optimizer.decay_at = 0.0  # fraction of the run before the rate decays
    config.optimizer.warmup_at = 0.0  # fraction of the run with linear warm-up
    config.optimizer.weight_decay = 0.0  # of the weights, not of biases and scales
    config.optimizer.ema = 0.0  # decay of an average of the weights, for evaluation; 0: none
    config.optimizer.clip_norm = 0.0  # global norm of the masked gradient; 0 for none
    config.optimizer.arguments = ConfigDict({"momentum": 0.9})  # of the optimizer's function

    config.gates = ConfigDict()  # for methods that have gates
    config.gates.name = ""  # of optax; if empty, the optimizer of the weights
    config.gates.learning_rate = 1e-3  # constant

    config.method = ConfigDict(
        {
            name: _steps_or_text(value) if name in duration.DURATIONS else value
            for name, value in (method or {"name": "dense"}).items()
        }
    )
    return config


def _steps_or_text(value: Any) -> config_dict.FieldReference:
    """A field that takes a number of steps, a percentage or "auto"."""
    return config_dict.FieldReference(value, field_type=object)


def config_key(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that identify a run; equal keys mean the same run.

    Args:
      config: A config as a dict, possibly read from JSON; missing fields have their defaults.

    Returns:
      JSON values (lists for tuples) by dotted path, except for fields that do not affect results,
      such as paths and checkpoints.
    """
    return {path: value for path, value in _with_defaults(config) if path not in NO_EFFECT}


def shared_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that must be equal in all processes of a run.

    These are the fields of `config_key`, and those that steer the loop, such as
    `train.keep_epochs`: processes that differ in them would wait for each other forever.

    Args:
      config: As for `config_key`.
    """
    return {path: value for path, value in _with_defaults(config) if path not in OF_A_PROCESS}


def config_from_json(known: Mapping[str, Any]) -> ConfigDict:
    """Returns the config of a run read from JSON; missing fields have their defaults.

    Args:
      known: Nested dicts, as in config.json or a record.
    """
    known = tuples(known)
    config = base(**known["method"])
    config.update(known)
    config.optimizer.arguments = ConfigDict(known["optimizer"]["arguments"])
    return config


_OPEN = ("model", "model.axes", "task", "train.init_names", "method", "optimizer.arguments")
# sections whose fields depend on their `name`


def check_config(config: Any, section: str = "") -> None:
    """Checks that a config has the fields of `base`, each of its default's type.

    Args:
      config: The config of a run.
      section: Its section in a larger config, for messages.

    Raises:
      UserError: For the first field that is missing, of another type, or unknown.
    """
    default = base()
    default.optimizer.arguments = ConfigDict()  # no argument is required
    prefix = f"{section}." if section else ""
    unchecked = {f"{prefix}{name}" for name in _OPEN}
    # A user's config may replace the whole section by a dict.
    check_section(
        config, default, section, unchecked, {f"{prefix}model.axes", f"{prefix}train.init_names"}
    )


def _with_defaults(config: Mapping[str, Any]) -> ItemsView[str, Any]:
    return (_defaults() | _flat(config)).items()


@functools.cache  # building a ConfigDict takes a millisecond; a table reads thousands of records
def _defaults() -> types.MappingProxyType[str, Any]:
    defaults = base().to_dict()
    defaults["optimizer"]["arguments"] = {}  # arguments have no defaults here
    return types.MappingProxyType(_flat(defaults))


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{path}": inner for path, inner in _flat(value).items()}
        else:
            flat[name] = lists(value)
    return flat
