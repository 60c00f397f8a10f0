"""Networks of public libraries that nobody here wrote, small or on small inputs; see `zoo.py`."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from nets import Net, filled, images, linen, normal


class Model(NamedTuple):
    """A network of somebody's library: the package or checkout it is from, and how it is made."""

    source: str
    make: Callable[[], Net]


def get(path: str) -> Any:
    """`package.module:name`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def call(module: nn.Module, *inputs: Any, static: tuple = (), **how: Any) -> Net:
    """A Linen module that is called with static arguments and keywords, too."""
    shapes = jax.eval_shape(lambda *x: module.init(keys(), *x, *static, **how), *inputs)
    variables = filled({k: v for k, v in shapes.items() if k != "intermediates"})
    return Net(
        lambda v, *x: first(module.apply(v, *x, *static, **how, rngs=keys())), variables, inputs
    )


def keys() -> dict[str, jax.Array]:
    return {name: jax.random.key(i) for i, name in enumerate(("params", "dropout", "drop_path"))}


def first(out: Any) -> Any:
    """Arrays of a result that holds more: big_vision returns logits and all between."""
    return out[0] if isinstance(out, tuple) else out


def of_nnx(make: Callable[[], Any], *inputs: Any) -> Net:
    model = nnx.eval_shape(make)
    model.eval()
    graph, state = nnx.split(model)
    return Net(lambda state, *x: nnx.merge(graph, state)(*x), filled(state), inputs)


def hugging(name: str, config: dict, *inputs: Any, **how: Any) -> Net:
    """A model of transformers by the prefix of its classes."""
    library = importlib.import_module("transformers")
    model = getattr(library, f"Flax{name}")
    made = model(model.config_class(**config), _do_init=False)
    shapes = jax.eval_shape(lambda: made.init_weights(jax.random.key(0), made.input_shape))
    variables = shapes if "params" in shapes else {"params": shapes}

    def apply(v: Any, *x: Any) -> Any:
        return made.module.apply(v, *x, **how)[0]

    return Net(apply, filled(jax.tree.map(lambda x: x, variables)), inputs)


def tokens(length: int = 8, below: int = 50) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).integers(1, below, (2, length)), jnp.int32)


def ones(*shape: int) -> jax.Array:
    return jnp.ones(shape, jnp.int32)


def positions(length: int = 8) -> jax.Array:
    return jnp.broadcast_to(jnp.arange(length), (2, length))


def equinox(make: Callable[[Any], Any], x: jax.Array, *more: Any) -> Net:
    eqx = importlib.import_module("equinox")
    model = eqx.nn.inference_mode(eqx.filter_eval_shape(make, jax.random.key(0)))
    model = filled(model)
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def apply(params: Any, x: jax.Array) -> Any:
        one = eqx.combine(params, static)
        return jax.vmap(lambda x: one(x, key=jax.random.key(0)))(x)

    return Net(apply, params, (x, *more))


def example(name: str) -> Any:
    """`models.py` of one of Flax's examples."""
    return importlib.import_module(f"examples.{name}.models")


def jax_model(name: str, side: int) -> Net:
    module = get("jax_models:load_model")(name, attach_head=True, num_classes=10)
    return call(module, images(side), static=(True,))


def config(**fields: Any) -> Any:
    return importlib.import_module("ml_collections").ConfigDict(fields)


def of_example_lm() -> Net:
    models = example("lm1b")
    return linen(
        models.TransformerLM(
            models.TransformerConfig(
                vocab_size=50,
                output_vocab_size=50,
                emb_dim=24,
                num_heads=3,
                num_layers=2,
                qkv_dim=24,
                mlp_dim=40,
                max_len=16,
                deterministic=True,
            )
        ),
        tokens(),
    )


def of_example_wmt() -> Net:
    models = example("wmt")
    return linen(
        models.Transformer(
            models.TransformerConfig(
                vocab_size=50,
                output_vocab_size=50,
                emb_dim=24,
                num_heads=3,
                num_layers=2,
                qkv_dim=24,
                mlp_dim=40,
                max_len=16,
                deterministic=True,
            )
        ),
        tokens(),
        tokens(6),
    )


BERT = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
    "vocab_size": 50, "max_position_embeddings": 16,
}  # fmt: skip
VIT = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
    "image_size": 16, "patch_size": 4,
}  # fmt: skip

ZOO: dict[str, Model] = {
    "flaxmodels resnet18": Model(
        "flaxmodels",
        lambda: call(
            get("flaxmodels:ResNet18")(output="logits", pretrained=None, num_classes=10),
            images(32),
            train=False,
        ),
    ),
    "flaxmodels resnet50": Model(
        "flaxmodels",
        lambda: call(
            get("flaxmodels:ResNet50")(output="logits", pretrained=None, num_classes=10),
            images(32),
            train=False,
        ),
    ),
    "flaxmodels vgg16": Model(
        "flaxmodels",
        lambda: call(
            get("flaxmodels:VGG16")(output="logits", pretrained=None, include_head=False),
            images(32),
            train=False,
        ),
    ),
    "jax_resnet resnet18": Model(
        "jax-resnet", lambda: linen(get("jax_resnet:ResNet18")(n_classes=10), images(32))
    ),
    "jax_resnet resnet50d": Model(
        "jax-resnet", lambda: linen(get("jax_resnet:ResNetD50")(n_classes=10), images(32))
    ),
    "jax_resnet resnest50": Model(
        "jax-resnet", lambda: linen(get("jax_resnet:ResNeSt50Fast")(n_classes=10), images(32))
    ),
    "tnt": Model(
        "transformer-in-transformer-flax",
        lambda: call(
            get("transformer_in_transformer_flax.tnt:TransformerInTransformer")(
                get("transformer_in_transformer_flax.tnt:TNTConfig")(
                    10, 2, 32, 16, 4, 8, 2, 4, 4, 24, 3, 8, 4
                )
            ),
            images(32),
        ),
    ),
    "vitax vit": Model(
        "vitax",
        lambda: of_nnx(
            lambda: get("vitax.models.vit:VisionTransformer")(
                10, 3, 16, 4, 2, 3, 40, 24, fsdp=False, rngs=nnx.Rngs(0)
            ),
            images(16),
        ),
    ),
    "hf bert": Model(
        "transformers",
        lambda: hugging(
            "BertForSequenceClassification",
            BERT,
            tokens(),
            ones(2, 8),
            0 * ones(2, 8),
            positions(),
            None,
        ),
    ),
    "hf roberta": Model(
        "transformers",
        lambda: hugging(
            "RobertaForMaskedLM", BERT, tokens(), ones(2, 8), 0 * ones(2, 8), positions(), None
        ),
    ),
    "hf distilbert": Model(
        "transformers",
        lambda: hugging(
            "DistilBertForSequenceClassification",
            {
                "dim": 24,
                "n_layers": 2,
                "n_heads": 3,
                "hidden_dim": 40,
                "vocab_size": 50,
                "max_position_embeddings": 16,
            },
            tokens(),
            ones(2, 8),
        ),
    ),
    "hf gpt2": Model(
        "transformers",
        lambda: hugging(
            "GPT2LMHeadModel",
            {
                "n_embd": 24,
                "n_layer": 2,
                "n_head": 3,
                "n_inner": 40,
                "vocab_size": 50,
                "n_positions": 16,
            },
            tokens(),
            ones(2, 8),
            positions(),
        ),
    ),
    "hf gpt neo": Model(
        "transformers",
        lambda: hugging(
            "GPTNeoForCausalLM",
            {
                "hidden_size": 24,
                "num_layers": 2,
                "attention_types": [[["global", "local"], 1]],
                "num_heads": 3,
                "intermediate_size": 40,
                "vocab_size": 50,
                "max_position_embeddings": 16,
            },
            tokens(),
            ones(2, 8),
            positions(),
        ),
    ),
    "hf gptj": Model(
        "transformers",
        lambda: hugging(
            "GPTJForCausalLM",
            {
                "n_embd": 24,
                "n_layer": 2,
                "n_head": 3,
                "n_inner": 40,
                "rotary_dim": 4,
                "vocab_size": 50,
                "n_positions": 16,
            },
            tokens(),
            ones(2, 8),
            positions(),
        ),
    ),
    "hf llama": Model(
        "transformers",
        lambda: hugging(
            "LlamaForCausalLM",
            {**BERT, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32},
            tokens(),
            ones(2, 8),
            positions(),
        ),
    ),
    "hf opt": Model(
        "transformers",
        lambda: hugging(
            "OPTForCausalLM",
            {
                "hidden_size": 24,
                "num_hidden_layers": 2,
                "num_attention_heads": 3,
                "ffn_dim": 40,
                "vocab_size": 50,
                "max_position_embeddings": 16,
                "word_embed_proj_dim": 24,
            },
            tokens(),
            ones(2, 8),
            positions(),
        ),
    ),
    "hf albert": Model(
        "transformers",
        lambda: hugging(
            "AlbertForSequenceClassification",
            {**BERT, "embedding_size": 12},
            tokens(),
            ones(2, 8),
            0 * ones(2, 8),
            positions(),
        ),
    ),
    "hf electra": Model(
        "transformers",
        lambda: hugging(
            "ElectraForMaskedLM",
            {**BERT, "embedding_size": 12},
            tokens(),
            ones(2, 8),
            0 * ones(2, 8),
            positions(),
            None,
        ),
    ),
    "hf big bird": Model(
        "transformers",
        lambda: hugging(
            "BigBirdForSequenceClassification",
            {**BERT, "attention_type": "original_full"},
            tokens(),
            ones(2, 8),
            0 * ones(2, 8),
            positions(),
            None,
        ),
    ),
    "hf whisper": Model(
        "transformers",
        lambda: hugging(
            "WhisperForConditionalGeneration",
            {
                "d_model": 24,
                "encoder_layers": 2,
                "decoder_layers": 2,
                "encoder_attention_heads": 3,
                "decoder_attention_heads": 3,
                "encoder_ffn_dim": 40,
                "decoder_ffn_dim": 40,
                "num_mel_bins": 8,
                "max_source_positions": 12,
                "max_target_positions": 16,
                "vocab_size": 60,
                "pad_token_id": 0,
                "decoder_start_token_id": 1,
            },
            jnp.ones((2, 8, 24)) * jnp.sin(jnp.arange(24.0)),
            tokens(6),
            ones(2, 6),
            positions(6),
        ),
    ),
    "hf wav2vec2": Model(
        "transformers",
        lambda: hugging(
            "Wav2Vec2ForCTC",
            {
                "hidden_size": 24,
                "num_hidden_layers": 2,
                "num_attention_heads": 3,
                "intermediate_size": 40,
                "conv_dim": [8, 8],
                "conv_stride": [5, 2],
                "conv_kernel": [10, 3],
                "num_conv_pos_embeddings": 4,
                "num_conv_pos_embedding_groups": 2,
                "vocab_size": 20,
                "feat_extract_norm": "layer",
                "do_stable_layer_norm": True,
            },
            jnp.sin(jnp.arange(800.0)).reshape(2, 400),
            ones(2, 400),
        ),
    ),
    "hf vit": Model("transformers", lambda: hugging("ViTForImageClassification", VIT, images(16))),
    "hf beit": Model(
        "transformers", lambda: hugging("BeitForImageClassification", VIT, images(16))
    ),
    "hf dinov2": Model(
        "transformers",
        lambda: hugging("Dinov2ForImageClassification", {**VIT, "mlp_ratio": 2}, images(16)),
    ),
    "hf clip": Model(
        "transformers",
        lambda: hugging(
            "CLIPModel",
            {
                "text_config": {**BERT, "eos_token_id": 2},
                "vision_config": VIT,
                "projection_dim": 12,
            },
            tokens(),
            images(16),
            ones(2, 8),
            positions(),
        ),
    ),
    "hf resnet": Model(
        "transformers",
        lambda: hugging(
            "ResNetForImageClassification",
            {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [2, 2]},
            images(32),
        ),
    ),
    "hf regnet": Model(
        "transformers",
        lambda: hugging(
            "RegNetForImageClassification",
            {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [2, 2], "groups_width": 8},
            images(32),
        ),
    ),
    "jax_models convmixer-512-12": Model("jax-models", lambda: jax_model("convmixer-512-12", 32)),
    "jax_models mlpmixer-s32": Model("jax-models", lambda: jax_model("mlpmixer-s32", 224)),
    "jax_models poolformer-s12": Model("jax-models", lambda: jax_model("poolformer-s12", 64)),
    "jax_models mpvit-tiny": Model("jax-models", lambda: jax_model("mpvit-tiny", 64)),
    "jax_models patchconvnet-s60": Model("jax-models", lambda: jax_model("patchconvnet-s60", 32)),
    "jax_models mae-base": Model("jax-models", lambda: jax_model("mae-base", 224)),
    "equimo vit": Model(
        "equimo",
        lambda: equinox(
            lambda k: get("equimo.models:VisionTransformer")(
                img_size=16,
                in_channels=3,
                dim=24,
                patch_size=4,
                num_heads=[3],
                depths=[2],
                num_classes=10,
                key=k,
            ),
            jnp.moveaxis(images(16), 3, 1),
        ),
    ),
    "equimo convnext": Model(
        "equimo",
        lambda: equinox(
            lambda k: get("equimo.models:ConvNeXt")(3, num_classes=10, key=k),
            jnp.moveaxis(images(64), 3, 1),
        ),
    ),
    "flaxdiff unet": Model(
        "flaxdiff",
        lambda: linen(
            get("flaxdiff.models.simple_unet:Unet")(
                emb_features=16,
                feature_depths=[8, 16],
                attention_configs=[{"heads": 2}, {"heads": 2}],
                num_res_blocks=1,
                norm_groups=4,
            ),
            images(16),
            jnp.ones(2),
            normal(3, 2, 5, 12),
        ),
    ),
    "flaxdiff dit": Model(
        "flaxdiff",
        lambda: linen(
            get("flaxdiff.models.simple_dit:SimpleDiT")(
                patch_size=4, emb_features=24, num_layers=2, num_heads=3
            ),
            images(16),
            jnp.ones(2),
            normal(3, 2, 5, 12),
        ),
    ),
    "vit_jax vit": Model(
        "vision_transformer",
        lambda: call(
            get("vit_jax.models_vit:VisionTransformer")(
                num_classes=10,
                patches=config(size=(4, 4)),
                transformer={
                    "num_layers": 2,
                    "mlp_dim": 40,
                    "num_heads": 3,
                    "dropout_rate": 0.0,
                    "attention_dropout_rate": 0.0,
                },
                hidden_size=24,
            ),
            images(16),
            train=False,
        ),
    ),
    "vit_jax hybrid": Model(
        "vision_transformer",
        lambda: call(
            get("vit_jax.models_vit:VisionTransformer")(
                num_classes=10,
                patches=config(size=(1, 1)),
                resnet=config(num_layers=(1, 1), width_factor=0.5),
                transformer={"num_layers": 2, "mlp_dim": 40, "num_heads": 3},
                hidden_size=24,
            ),
            images(32),
            train=False,
        ),
    ),
    "vit_jax mixer": Model(
        "vision_transformer",
        lambda: call(
            get("vit_jax.models_mixer:MlpMixer")(
                patches=config(size=(4, 4)),
                num_classes=10,
                num_blocks=2,
                hidden_dim=24,
                tokens_mlp_dim=12,
                channels_mlp_dim=40,
            ),
            images(16),
            train=False,
        ),
    ),
    "big_vision vit": Model(
        "big_vision",
        lambda: call(
            get("big_vision.models.vit:Model")(10, variant="mu/4", pool_type="map"), images(16)
        ),
    ),
    "big_vision vit gap": Model(
        "big_vision",
        lambda: call(
            get("big_vision.models.vit:Model")(
                10, variant="mu/4", pool_type="gap", posemb="sincos2d", scan=True
            ),
            images(16),
        ),
    ),
    "big_vision bit": Model(
        "big_vision",
        lambda: call(
            get("big_vision.models.bit:Model")(num_classes=10, width=1, depth=(1, 1)), images(32)
        ),
    ),
    "big_vision mixer": Model(
        "big_vision",
        lambda: call(
            get("big_vision.models.mlp_mixer:Model")(num_classes=10, variant="S/16"), images(32)
        ),
    ),
    "scenic unet": Model(
        "scenic",
        lambda: call(
            get("scenic.projects.baselines.unet:UNet")(num_classes=3, block_size=(8, 12)),
            images(32),
            train=False,
        ),
    ),
    "scenic bit": Model(
        "scenic",
        lambda: call(
            get("scenic.projects.baselines.bit_resnet:BitResNet")(
                num_outputs=10, width_factor=1, num_layers=50
            ),
            images(32),
            train=False,
        ),
    ),
    "scenic resnet": Model(
        "scenic",
        lambda: call(
            get("scenic.projects.baselines.resnet:ResNet")(
                num_outputs=10, num_filters=16, num_layers=18
            ),
            images(32),
            train=False,
        ),
    ),
    "flax imagenet": Model(
        "flax",
        lambda: call(
            example("imagenet").ResNet18(num_classes=10, dtype=jnp.float32), images(32), train=False
        ),
    ),
    "flax lm1b": Model("flax", lambda: of_example_lm()),
    "flax wmt": Model("flax", lambda: of_example_wmt()),
    "flax ppo": Model(
        "flax",
        lambda: call(
            example("ppo").ActorCritic(num_outputs=6),
            jnp.round(255 * jax.nn.sigmoid(images(84, 4))),
        ),
    ),
}
