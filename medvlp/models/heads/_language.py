"""Causal language models of transformers, as heads go on with them from vectors of their own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.models.encoders.transformers import NOT_ARCHITECTURE, fetched


class Language(nn.Module):
    """A language model without dropout: vectors of words (R, L, E) -> logits (R, L, V) of the word after each.

    Weights are read as safetensors only, and code that comes with a model is never run.

    Args:
        path: folder, or name on the Hugging Face hub or in its local cache.
        config: instead of `path`: ``{model_type: gpt2, n_embd: 64, ...}``, for random weights.
        vocab_size: of the tokenizer.

    Raises:
        ConfigError: if not exactly one of path and config is given, the vocabulary is smaller than the tokenizer's, or
            logits are no linear map of the last states.
        UserError: if the model cannot be read.
    """

    def __init__(self, *, path: str | None, config: Mapping[str, Any] | None, vocab_size: int) -> None:
        super().__init__()
        if (path is None) == (config is None):
            raise ConfigError("The head 'limber' needs path or config of a language model, one of the two: set one.")
        whole = (
            _made(config or {}, vocab_size)
            if path is None
            else fetched(path, what="language model", loader=transformers.AutoModelForCausalLM)
        )
        self.body, self.settings = whole.base_model, whole.config
        takes = inspect.signature(self.body.forward).parameters
        self._past = "cache" if "cache" in takes else "past_key_values"  # its name before transformers 5
        self._takes_places = "position_ids" in takes
        last = whole.get_output_embeddings()
        self.output = None if last.weight is self.words.weight else last  # weights that are one are saved once
        self._check(whole, vocab_size)

    @property
    def words(self) -> nn.Embedding:
        """The embedding of its words."""
        return self.body.get_input_embeddings()

    @property
    def positions(self) -> int | None:
        """How many tokens it can read; None: it has no limit."""
        sizes = self.settings.to_dict()
        return sizes.get("max_position_embeddings") or sizes.get("n_positions")

    def train(self, mode: bool = True) -> Language:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, vectors: Tensor, mask: Tensor | None, past: Any = None) -> Tensor:  # noqa: ANN401
        """Return logits; `mask` (R, P + L) is True on what is real, `past` holds the P tokens before these."""
        if not len(vectors):  # transformers shapes no texts: one of zeros stands in
            return self(nn.functional.pad(vectors, (0, 0, 0, 0, 0, 1)), None, past)[:0]
        length = vectors.shape[1] + (0 if past is None else past.get_seq_length())
        if self.positions is not None and length > self.positions:
            raise ConfigError(
                f"Prompt and text have {length} tokens and the language model {self.positions} positions: lower "
                f"tokenizer.max_length, or let the prompt read a pooler."
            )
        seen = None if mask is None else mask.long()
        more: dict[str, Any] = {"use_cache": past is not None} | ({} if past is None else {self._past: past})
        if seen is not None and self._takes_places:  # words stand behind what is real, however far it was padded
            more["position_ids"] = (seen.cumsum(dim=1) - 1).clamp(min=0)[:, -vectors.shape[1] :]
        out = self.body(inputs_embeds=vectors, attention_mask=seen, **more).last_hidden_state
        return out @ self.words.weight.T if self.output is None else self.output(out)

    def released(self) -> dict[str, Any]:
        """Return its configuration as plain values, without where it was read from."""
        sizes = self.settings.to_diff_dict()
        return {"model_type": self.settings.model_type} | {k: v for k, v in sizes.items() if k not in NOT_ARCHITECTURE}

    def _check(self, whole: Any, vocab_size: int) -> None:  # noqa: ANN401
        if vocab_size > self.words.weight.shape[0]:
            raise ConfigError(
                f"The tokenizer has {vocab_size} ids and the language model {self.words.weight.shape[0]}: use the "
                f"tokenizer that belongs to it."
            )
        with torch.no_grad():
            self.eval()
            given = self.words.weight[None, :2]
            if not torch.allclose(whole.eval()(inputs_embeds=given).logits, self(given, None), rtol=1e-3, atol=1e-4):
                raise ConfigError(f"The logits of {self.settings.model_type!r} are no linear map: use one like gpt2.")


def _made(config: Mapping[str, Any], vocab_size: int) -> Any:  # noqa: ANN401
    # Ends of texts are the tokenizer's; a configuration's own may lie outside its vocabulary.
    options = {"vocab_size": vocab_size, "bos_token_id": None, "eos_token_id": None, **config}
    kind = str(options.pop("model_type", None))
    if kind not in transformers.CONFIG_MAPPING:
        raise ConfigError(
            f"config.model_type of 'limber' is {kind!r}: use one that transformers knows, such as 'gpt2'."
        )
    settings = transformers.AutoConfig.for_model(kind, **options)
    return transformers.AutoModelForCausalLM.from_config(settings, trust_remote_code=False)
