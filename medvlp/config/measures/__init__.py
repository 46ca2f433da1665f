"""The measures of an evaluation, one a file: each takes a `Judge` and yields the results that the data allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from medvlp.config.judge import Judge
from medvlp.config.measures.attributes import attributes
from medvlp.config.measures.doubt import doubt
from medvlp.config.measures.existence import existence
from medvlp.config.measures.few_shot import few_shot
from medvlp.config.measures.grounding import grounding
from medvlp.config.measures.image_retrieval import image_retrieval
from medvlp.config.measures.laterality import laterality
from medvlp.config.measures.probes import probes
from medvlp.config.measures.prompts import prompts
from medvlp.config.measures.recipes import recipes
from medvlp.config.measures.retrieval import retrieval
from medvlp.config.measures.sentences import sentences
from medvlp.config.measures.weighted_prompts import weighted_prompts
from medvlp.config.measures.zero_shot import zero_shot
from medvlp.evaluation.results import Result

__all__ = ["MEASURES"]

#: in the order in which they are made
MEASURES: tuple[Callable[[Judge], Iterator[Result]], ...] = (
    zero_shot,
    weighted_prompts,
    laterality,
    recipes,
    doubt,
    prompts,
    image_retrieval,
    existence,
    retrieval,
    sentences,
    probes,
    few_shot,
    attributes,
    grounding,
)
