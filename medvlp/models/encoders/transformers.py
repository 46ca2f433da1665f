"""Any text encoder of transformers as a text tower."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.protocols import Site
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import TrunkOutput
from medvlp.models.encoders._sites import TokenSite, sites_of, without_added
from medvlp.models.encoders._text import TextEncoder, pool_tokens, refuse_too_long
from medvlp.text.tokenizers import Tokenizer

Value = bool | int | float | str | list[Any] | dict[str, Any] | None


class TransformersEncoder(TextEncoder):
    """A transformers model over token ids: its last hidden states are the tokens.

    Weights are read as safetensors only, and code that comes with a model is never run.

    Args:
        path: folder, or name on the Hugging Face hub or in its local cache; with the tokenizer of its training.
        config: instead of `path`: ``{model_type: bert, hidden_size: 128, ...}`` for random weights; the vocabulary and
            the number of positions follow the tokenizer unless given.
        pool: ``cls`` the first token, ``mean`` over real tokens, ``last`` the last real token, ``pooler`` the model's
            own pooler.
        fill: pad every text to the tokenizer's longest and let words see the padding, as SigLIP was trained; the tokens
            given out are the text's own.
        states: hidden states, 0 the embeddings, -1 the last, whose mean stands for the last one.
        tokenizer: name of the tokenizer, for the reader of the configuration; whoever builds the model builds it.

    Raises:
        ConfigError: if not exactly one of `path` and `config` is given, the model type is unknown, or vocabulary or
            positions are fewer than the tokenizer's.
        UserError: if the model cannot be read.
    """

    def __init__(
        self,
        *,
        words: Annotated[Tokenizer, FromModel("tokenizer")],
        path: str | None = None,
        config: Mapping[str, Value] | None = None,
        pool: Literal["cls", "mean", "last", "pooler"] = "cls",
        fill: bool = False,
        states: Sequence[int] | None = None,
        tokenizer: str | None = None,
    ) -> None:
        super().__init__(words=words)
        if (path is None) == (config is None):
            raise ConfigError("The text tower 'transformers' needs path or config, one of the two: set one.")
        self.pool = pool
        self.fill = fill
        self.states = None if states is None else tuple(states)
        spare = () if pool == "pooler" else ("pooler.",)
        self.backbone: Any = (
            _from_config(config or {}, words) if path is None else fetched(path, what="text tower", spare=spare)
        )
        settings = self.backbone.config
        _check_fit(self.backbone, words)
        has_pooler = isinstance(dict(self.backbone.named_children()).get("pooler"), nn.Module)
        if pool == "pooler" and not (has_pooler or settings.model_type in _OWN_POOL):
            raise ConfigError(f"The text tower of type {settings.model_type!r} has no pooler: set pool to cls or mean.")
        if fill and self.words.max_length != settings.max_position_embeddings:
            raise ConfigError(
                f"fill pads texts to the tokenizer's max_length {words.max_length}, and the text tower has "
                f"{settings.max_position_embeddings} positions: make the two the same."
            )
        if pool != "pooler" and has_pooler:
            self.backbone.pooler = None  # unused parameters would wait for gradients that never come
        self.width = self.token_width = int(settings.hidden_size)
        self.offers = frozenset({"pooled", "tokens", "mask", "layers", "ids"})
        takes_vectors = "inputs_embeds" in inspect.signature(self.backbone.forward).parameters
        self._takes_words = takes_vectors or settings.model_type in _BY_IDS

    def _encoded(self, ids: Tensor, mask: Tensor | None, rows: Encoded, parts: frozenset[str]) -> Encoded:
        real, length = rows.part("mask"), ids.shape[1]
        filled = self._filled(ids, ids=True)
        passed = self._changed_words(filled)
        seen = self._added.mask(self._filled(real, ids=False))
        inner = "layers" in parts or self.states is not None
        out = self._read(filled, passed, attention_mask=seen.long(), output_hidden_states=inner)
        layers = torch.stack(out.hidden_states[1:], dim=1) if "layers" in parts else None
        tokens = out.last_hidden_state
        if self.states is not None:
            tokens = torch.stack([out.hidden_states[i] for i in self.states]).mean(dim=0)
        own = without_added(TrunkOutput(tokens, layers, None), self._added)
        pooled = None
        if "pooled" in parts:
            # The mean counts added words as words; the first and the last token are the text's own.
            if self.pool == "pooler":
                pooled = out.pooler_output
            elif self.pool == "mean":
                pooled = pool_tokens(tokens, seen, "mean")
            else:
                pooled = pool_tokens(own.tokens, self._filled(real, ids=False), self.pool)
        return replace(
            rows,
            pooled=None if pooled is None else self.pooled_output(pooled),
            tokens=own.tokens[:, :length] if "tokens" in parts else None,
            layers=None if own.layers is None else own.layers[:, :, :length],
        )

    def _filled(self, values: Tensor, *, ids: bool) -> Tensor:
        """Return ids, or their mask, as long as the longest text may be, where the tower was trained so."""
        if not self.fill:
            return values
        more = (0, self.words.max_length - values.shape[1])
        padded = nn.functional.pad(values, more, value=self.words.pad_id)
        return padded if ids else torch.ones_like(padded)

    def vectors(self, ids: Tensor) -> Tensor:
        """See `TextEncoder`."""
        return self.backbone.get_input_embeddings()(ids)

    def _changed_words(self, ids: Tensor) -> Tensor | None:
        """Return word vectors (R, L', W) where a patch changed those of ids (R, L)."""
        if not self._takes_words:
            return None
        vectors = self.vectors(ids)
        passed = self.words_input(vectors)
        if passed is vectors:
            return None
        refuse_too_long(passed.shape[1], ids.shape[1], limit=self.words.max_length)
        return passed

    def _read(self, ids: Tensor, passed: Tensor | None, **options: Any) -> Any:  # noqa: ANN401
        """Call the model on ids, or on word vectors in their place."""
        if passed is None:
            return self.backbone(input_ids=ids, **options)
        if self.backbone.config.model_type not in _BY_IDS:
            return self.backbone(inputs_embeds=passed, **options)
        # Where it looks for the last token's id, a word that was put in has another, which is no largest one.
        own = int(self.backbone.config.eos_token_id == 0)
        where = self._added.where
        spread = ids if where is None else torch.full_like(where, own, dtype=ids.dtype).masked_scatter(~where, ids)
        hook = self.backbone.get_input_embeddings().register_forward_hook(lambda *_: passed)
        try:
            return self.backbone(input_ids=spread, **options)
        finally:
            hook.remove()

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`."""
        several = [list(m) for m in self.backbone.modules() if isinstance(m, nn.ModuleList)]
        alike = [modules for modules in several if len({type(module) for module in modules}) == 1]
        blocks = max(alike, key=len, default=[])  # the transformer layers are the longest list of one class
        embeddings = dict(self.backbone.named_children()).get("embeddings")
        words = TokenSite(self.words_input, "after", added=self._added)
        return {
            **({"words.input": words} if self._takes_words else {}),
            **({} if embeddings is None else {"tokens.input": TokenSite(embeddings, "after")}),
            **sites_of(blocks, self.backbone, self.pooled_output),
        }

    def released(self) -> Mapping[str, object]:
        """See `Encoder`: the configuration in full, so that a bundle needs neither folder nor hub."""
        settings, other = self.backbone.config.to_dict(), self.backbone.config.to_diff_dict()
        # Of lists and mappings (bases of rotary places, windows of attention) those that are not the type's own.
        plain = {k: v for k, v in settings.items() if k in other or not isinstance(v, (list, tuple, dict))}
        return {"path": None, "config": {k: v for k, v in plain.items() if k not in NOT_ARCHITECTURE}}


# Towers of pairs, which transformers makes by their own class, or which pool without a module of that name.
_OWN_CLASS = {"siglip_text_model": "SiglipTextModel"}
_OWN_POOL = ("siglip_text_model", "clip_text_model")
_BY_IDS = ("clip_text_model",)  # takes ids only, among which it looks for the last token
NOT_ARCHITECTURE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures", "auto_map")
NOT_ARCHITECTURE += ("id2label", "label2id", "task_specific_params")


def _from_config(config: Mapping[str, Value], words: Tokenizer) -> Any:  # noqa: ANN401  (known at run time only)
    options = dict(config)
    kind = options.pop("model_type", None)
    if kind not in transformers.CONFIG_MAPPING:
        raise ConfigError(
            f"config.model_type of the text tower is {kind!r}: use a type that transformers knows, such as 'bert'."
        )
    options.setdefault("vocab_size", words.vocab_size)
    options.setdefault("pad_token_id", words.pad_id)
    # RoBERTa-like models count positions from the padding's id on.
    options.setdefault("max_position_embeddings", words.max_length + words.pad_id + 1)
    try:
        settings = transformers.AutoConfig.for_model(str(kind), **options)
        if kind in _OWN_CLASS:
            return getattr(transformers, _OWN_CLASS[str(kind)])(settings)
        return transformers.AutoModel.from_config(settings, trust_remote_code=False)
    except (TypeError, ValueError, KeyError, ArithmeticError, RuntimeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"transformers cannot build a text tower from {dict(config)} ({reason}): mend config."
        ) from error


def fetched(path: str, *, what: str, loader: Any = transformers.AutoModel, spare: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    """Return the model of a folder or hub name, by safetensors alone and without code of its own.

    Args:
        path: folder with ``config.json`` and ``model.safetensors``, or a hub name.
        what: it is, for the error sentence.
        loader: one of transformers' ``AutoModel`` classes.
        spare: how names of weights begin that need not be there; transformers draws those that are missing.

    Raises:
        UserError: if it cannot be read, or lacks weights.
    """
    options = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
    try:
        model, found = loader.from_pretrained(path, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"The {what} {path!r} cannot be read ({type(error).__name__}): give a folder with config.json and "
            f"model.safetensors, or run once with a network."
        ) from error
    if missing := sorted(name for name in found["missing_keys"] if not name.startswith(spare)):
        raise UserError(
            f"The {what} {path!r} lacks {len(missing)} weights, such as {missing[0]!r}, which would be drawn at "
            f"random: give the whole model."
        )
    return model


def _check_fit(backbone: Any, words: Tokenizer) -> None:  # noqa: ANN401
    sizes = backbone.config.to_dict()
    if "hidden_size" not in sizes:
        raise ConfigError(f"transformers' {sizes['model_type']!r} is no plain text encoder: choose one such as 'bert'.")
    if words.vocab_size > sizes["vocab_size"]:
        raise ConfigError(
            f"The tokenizer has {words.vocab_size} ids and the text tower {sizes['vocab_size']}: use the tokenizer "
            f"that belongs to the tower."
        )
    positions = sizes.get("max_position_embeddings")
    for name, places in backbone.named_modules():
        if positions is not None and name.endswith("position_embeddings") and isinstance(places, nn.Embedding):
            # RoBERTa-like models count positions from the padding's id on.
            positions -= 0 if places.padding_idx is None else places.padding_idx + 1
    if positions is not None and words.max_length > positions:
        raise ConfigError(
            f"The tokenizer's max_length is {words.max_length} and the text tower has {positions} positions: set "
            f"tokenizer.max_length to {positions} or less."
        )
