"""BERT as a text tower: its sizes read off the weights, and what files of it hold beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.text.tokenizers import TransformersTokenizer
from medvlp.zoo._folder import tokenizer_beside
from medvlp.zoo._keys import count, is_range

# Buffers of older versions of transformers; the pooler and the word head, where a tower has no such part.
BERT_EXTRAS = {
    r".*\bembeddings\.position_ids": is_range,
    r".*\bembeddings\.token_type_ids": lambda tensor: not bool(tensor.any()),
}


def bert_config(weights: Mapping[str, Tensor], prefix: str, *, beside: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Return the configuration of the BERT under a prefix.

    Weights tell neither heads nor activation nor epsilon: `beside`, the configuration beside them, does; where there is
    none, heads are 64 wide and the rest is BERT's own, as of every BERT of these projects.

    Raises:
        DataError: if it is RoBERTa or another one that counts places otherwise.
    """
    vocabulary, width = weights[f"{prefix}embeddings.word_embeddings.weight"].shape
    hidden = weights[f"{prefix}encoder.layer.0.intermediate.dense.weight"].shape[0]
    positions = weights[f"{prefix}embeddings.position_embeddings.weight"].shape[0]
    kinds = weights[f"{prefix}embeddings.token_type_embeddings.weight"].shape[0]
    kind = beside.get("model_type", "bert")
    if kind not in ("bert", "cxr-bert"):
        raise DataError(f"The text tower is of the type {kind!r}, which shares names with BERT: BERT is read.")
    pattern = prefix.replace(".", r"\.") + r"encoder\.layer\.(\d+)\..*"
    return {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": count(weights, pattern),
        "num_attention_heads": beside.get("num_attention_heads", max(1, width // 64)),
        "intermediate_size": hidden,
        "max_position_embeddings": positions,
        "type_vocab_size": kinds,
        **{key: beside[key] for key in ("hidden_act", "layer_norm_eps") if key in beside},
    }


def config_of(name: str | None) -> dict[str, Any]:
    """Return the configuration of a BERT by hub name or folder; empty where it is not on this machine."""
    from transformers import AutoConfig

    if not name:
        return {}
    try:
        found = AutoConfig.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return {}
    return dict(found.to_dict())


def bert_and_words(
    weights: Mapping[str, Tensor], prefix: str, tokenizer: str | None, *, title: str, hub: str, length: int
) -> tuple[dict[str, Any], TransformersTokenizer]:
    """Return the configuration of the BERT under a prefix, and its tokenizer, which the user names.

    Raises:
        UserError: if no tokenizer is named.
        DataError: if BERT knows fewer words.
    """
    config = bert_config(weights, prefix)
    return config, tokenizer_beside(tokenizer, title=title, hub=hub, length=length, vocabulary=config["vocab_size"])
