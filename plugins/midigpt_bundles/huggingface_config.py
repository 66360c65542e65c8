"""The ``config.json`` of a Hugging Face folder: the sizes of a bundle in transformers' words, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from midigpt_core.config.wording import spell
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ROPE = "rope_parameters"


@frozen(kw_only=True)
class ModelType:
    """How transformers describes the models of an architecture."""

    #: The class that reads the folder.
    model_class: str
    #: Fields of a bundle's ``config`` and their names in ``config.json``.
    sizes: Mapping[str, str]
    #: Fixed properties of our models.
    fixed: Mapping[str, Any]
    #: What a fixed property is where ``config.json`` does not state it, if that is another value.
    unstated: Mapping[str, Any] = field(factory=dict)
    #: Further properties, which may differ in a file: dropout is for training, a tied head is untied on reading.
    written: Mapping[str, Any]
    #: Whether ``rope_theta`` is one of the sizes; transformers keeps it in a mapping.
    is_rotary: bool = False


_WRITTEN: Mapping[str, Any] = {
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    # transformers' defaults are outside the vocabulary, or notes and bars in it.
    "bos_token_id": 0,
    "eos_token_id": 0,
}

#: By ``model_type``, which is the component name of the architecture.
MODEL_TYPES: Mapping[str, ModelType] = {
    "gpt2": ModelType(
        model_class="GPT2LMHeadModel",
        sizes={name: name for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")},
        fixed={
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "n_inner": None,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        written={"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, **_WRITTEN},
    ),
    "llama": ModelType(
        model_class="LlamaForCausalLM",
        sizes={
            "vocab_size": "vocab_size",
            "n_positions": "max_position_embeddings",
            "n_embd": "hidden_size",
            "n_layer": "num_hidden_layers",
            "n_head": "num_attention_heads",
            "n_kv_head": "num_key_value_heads",
            "n_inner": "intermediate_size",
        },
        fixed={"hidden_act": "silu", "rms_norm_eps": 1e-5, "attention_bias": False, "mlp_bias": False},
        unstated={"rms_norm_eps": 1e-6},
        written={"attention_dropout": 0.0, "pad_token_id": None, **_WRITTEN},
        is_rotary=True,
    ),
}


def config_of(architecture: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` for a model of :data:`MODEL_TYPES` with the sizes of a bundle's ``config``."""
    kind = MODEL_TYPES[architecture]
    rotary = {"rope_theta": sizes["rope_theta"], "rope_type": "default"} if kind.is_rotary else None
    return {
        "model_type": architecture,
        **kind.fixed,
        "architectures": [kind.model_class],
        **kind.written,
        **{theirs: sizes[ours] for ours, theirs in kind.sizes.items()},
        # The second spelling is that of transformers before 5.
        **({} if rotary is None else {_ROPE: rotary, "rope_theta": sizes["rope_theta"]}),
    }


def sizes_from(config: Mapping[str, Any], path: Path) -> tuple[str, dict[str, Any]]:
    """The architecture and the sizes that ``config.json`` at ``path`` states; whether they fit is for the layout to
    say. Raises :class:`midigpt_core.errors.CheckpointError` for a property that no model of ours has."""
    model_type = config.get("model_type", "gpt2")
    kind = MODEL_TYPES.get(model_type) if isinstance(model_type, str) else None
    if kind is None:
        raise _refused(path, "model_type", model_type, " or ".join(repr(name) for name in MODEL_TYPES))
    for name, value in kind.fixed.items():
        found = config.get(name, kind.unstated.get(name, value))
        if found != value:
            raise _refused(path, name, found, repr(value))
    sizes = {ours: config[theirs] for ours, theirs in kind.sizes.items() if theirs in config}
    if kind.is_rotary:
        sizes["rope_theta"] = _theta(config, path)
        width, heads = sizes.get("n_embd"), sizes.get("n_head")
        size = config.get("head_dim")
        if size is not None and isinstance(heads, int) and size * heads != width:
            raise _refused(path, "head_dim", size, "hidden_size / num_attention_heads")
    return model_type, sizes


def _theta(config: Mapping[str, Any], path: Path) -> Any:
    """The base of rotary positions, in the spelling of transformers 5 or an older one."""
    rotary = config.get(_ROPE)
    if isinstance(rotary, dict):
        if rotary.get("rope_type", "default") != "default":
            raise _refused(path, f"{_ROPE}.rope_type", rotary["rope_type"], "'default'")
        return rotary.get("rope_theta", config.get("rope_theta", 10000.0))
    if config.get("rope_scaling") is not None:
        raise _refused(path, "rope_scaling", config["rope_scaling"], "None")
    return config.get("rope_theta", 10000.0)


def _refused(path: Path, name: str, value: object, ours: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: {name} is {spell(value)}, a midigpt model has {ours}. Choose a folder that midigpt wrote."
    )
