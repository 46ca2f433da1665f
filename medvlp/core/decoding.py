"""How written words are chosen one after the other: greedily, by beams, or drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medvlp.core.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Decoding:
    """Options of writing; without any the most probable word is taken at each place.

    With `beams` the text w with the largest sum_l log p(w_l | w_<l) / L ** length_penalty of those that B beams find is
    written, L its words with the end. With a `temperature` words are drawn from softmax(logits / temperature), cut to
    the smallest set of words whose probabilities reach `top_p` (nucleus sampling). A draw is a function of the seed,
    the picture's id and the place in the text: neither the group that a picture is in nor its place there counts.

    Attributes:
        beams: B; 1 is greedy.
        length_penalty: 0 for the sum of log probabilities, which likes short texts; 1 for their mean.
        temperature: None: nothing is drawn.
        top_p: share of the probability that is drawn from.
        seed: of the draws.

    Raises:
        ConfigError: for a number outside its range, beams that are drawn, or a length penalty without beams.

    References:
        Holtzman et al. 2020, "The curious case of neural text degeneration"; Wu et al. 2016 (GNMT), section 7, whose
        penalty adds constants that are left out here.

    Note:
        A drawn report is one of many that the model holds possible: findings, sides and denials differ from draw to
        draw, so it is for looking at a model and not for a reader of pictures.

    Example:
        >>> Decoding.of("beams=4,length_penalty=1").beams, Decoding(temperature=0.7, top_p=0.9).drawn
        (4, True)
    """

    beams: int = 1
    length_penalty: float = 0.0
    temperature: float | None = None
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        warm = self.temperature is None or 0 < self.temperature < math.inf
        if self.beams < 1 or not math.isfinite(self.length_penalty) or not warm or not 0 < self.top_p <= 1:
            raise ConfigError(
                f"Decoding with beams {self.beams}, length_penalty {self.length_penalty}, temperature "
                f"{self.temperature} and top_p {self.top_p} is none: beams is 1 or more, length_penalty finite, "
                f"temperature above 0 and finite, top_p above 0 and at most 1."
            )
        if self.drawn and self.beams > 1:
            raise ConfigError("Decoding is by beams or drawn at a temperature, not both: leave one of them out.")
        if self.length_penalty and self.beams == 1:
            raise ConfigError("Decoding with length_penalty ranks the texts of beams: set beams too.")
        if not self.drawn and self.top_p < 1:
            raise ConfigError("Decoding with top_p draws words: set temperature too, 1 for the model's own.")

    @property
    def drawn(self) -> bool:
        """Whether words are drawn."""
        return self.temperature is not None

    @classmethod
    def of(cls, text: str) -> Decoding | None:
        """Read ``beams=4`` or ``temperature=0.7,top_p=0.9,seed=1``; None of the empty text.

        Raises:
            ConfigError: for an unknown option, or what is no number.
        """
        given: dict[str, float] = {}
        kinds = {"beams": int, "length_penalty": float, "temperature": float, "top_p": float, "seed": int}
        for option in filter(None, (each.strip() for each in text.split(","))):
            name, _, value = (part.strip() for part in option.partition("="))
            if name not in kinds:
                raise ConfigError(f"Decoding {text!r} has no option {name!r}: {did_you_mean(name, kinds)}.")
            try:
                given[name] = kinds[name](value)
            except ValueError:
                raise ConfigError(
                    f"Decoding {text!r} sets {name} to {value!r}, which is no number: write it as beams=4."
                ) from None
        return cls(**given) if given else None  # pyrefly: ignore
