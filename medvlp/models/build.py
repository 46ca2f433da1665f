"""From a specification to a model."""

from __future__ import annotations

from collections.abc import Mapping

from medvlp.core.protocols import Model
from medvlp.core.registry import build
from medvlp.models.bank import Bank
from medvlp.text.tokenizers import Tokenizer


def build_model(
    spec: Mapping[str, object],
    *,
    tokenizer: Tokenizer | None,
    banks: Mapping[str, Bank] | None = None,
    seed: int = 0,
    where: str = "model",
) -> Model:
    """Build a model from ``{name: dual, vision: {...}, text: {...}, ...}``, surgery that was done to it included.

    The same specification and seed give the same first weights, bit for bit, and the global random state is left alone.

    Args:
        spec: component of `models/architectures` and its options.
        tokenizer: of the text tower.
        banks: by name.
        seed: of the first weights.
        where: path in the configuration, for error sentences.

    Raises:
        ConfigError: for a faulty specification.

    Example:
        >>> from medvlp.text.wordpiece import train_wordpiece
        >>> words = train_wordpiece(["left effusion"] * 2, vocab_size=100, max_length=16)
        >>> sorted(build_model({"name": "single", "width": 16, "layers": 1}, tokenizer=words).heads)
        ['image/raw', 'text/raw']
    """
    given: dict[str, object] = {"banks": dict(banks or {}), "seed": seed, "where": where}
    if tokenizer is not None:
        given["tokenizer"] = tokenizer
    done = spec.get("surgery")
    if not done:
        return build("models/architectures", spec, where=where, given=given)
    from medvlp.models.patches._patch import apply_patches
    from medvlp.models.surgery._surgery import operate

    # Patches stand at the sites of the model as surgery left it.
    plain = {**{key: value for key, value in spec.items() if key != "surgery"}, "patches": []}
    model: Model = build("models/architectures", plain, where=where, given=given)
    operate(model, _specs(done), seed=seed, where=f"{where}.surgery")
    apply_patches(model, _specs(spec.get("patches", [])), seed=seed, where=f"{where}.patches")
    return model


def _specs(value: object) -> list[Mapping[str, object]]:
    return value if isinstance(value, list) else []
