"""The typed tree of a run: frozen, unknown keys are errors, all errors at once with their path and the nearest name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from medvlp.config.components import component_faults, named, named_model
from medvlp.config.yaml import at_home, load_tree, refuse_other_kind
from medvlp.core.decoding import Decoding
from medvlp.core.errors import ConfigError
from medvlp.core.registry import readable, truth_values, validation_sentences
from medvlp.data.splits import split_spec
from medvlp.statistics.operating_points import DEFAULT_PREVALENCES, parse_rule
from medvlp.training.optimisation import OptimiserOptions
from medvlp.training.options import OTHER_NAMES, TrainingOptions
from medvlp.training.phases import Refresh

Config = TypeVar("Config", bound=BaseModel)


class Node(BaseModel):
    """A frozen part of a tree; unknown keys are errors."""

    # Constants: the end of a ramp may be .inf, and would else be written as null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


Component = dict[str, Any]
Named = Annotated[Component, BeforeValidator(named)]


class GroupConfig(Node):
    """What becomes of rows that are one study, see `medvlp.data.grouping`.

    Attributes:
        keep: ``one`` of several reconstructions, a ``stack`` of all pictures, each picture as a ``pair`` with
            another of its study, ``image.other``, that `where` may leave out as a row, or each picture in a stack with
            the patient's ``prior`` (`medvlp.data.priors`), among the selected rows and within the part of the split.
        by: what the rows have in common; of ``prior`` always ``id.patient``.
        prefer: for ``one``: values of `column`, best first; the first row where none is named.
        column: attribute that tells reconstructions apart.
    """

    keep: Literal["one", "stack", "pair", "prior"]
    by: str = "id.study"
    prefer: list[str] = Field(default_factory=list)
    column: str = "kernel"


class SubsetConfig(Node):
    """A part of the training patients, see `medvlp.data.splits.subset`.

    Attributes:
        share: of the training patients: 0.01, 0.1 ...
        per_class: instead, patients of each class.
        labels: findings for `per_class`; all where none is named.
        seed: another seed, another choice.
    """

    share: float | None = Field(default=None, gt=0, le=1)
    per_class: int | None = Field(default=None, ge=1)
    labels: list[str] = Field(default_factory=list)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_of_both(self) -> SubsetConfig:
        if (self.share is None) == (self.per_class is None):
            raise ValueError("give share or per_class, one of them")
        if self.labels and self.per_class is None:
            raise ValueError("labels are the classes of per_class, and a share has none: leave labels out")
        return self


class DataConfig(Node):
    """Where the samples come from and how they are prepared.

    Attributes:
        root: folder of the data set; it may be left out with a manifest, which says where its images lie.
        sets: instead of one data set several, by name, each with its own root, layout, selection, split or part: train
            here, test there. Their records are joined (`medvlp.data.joined`); `where` and `having` then choose among
            all, also by the column ``set``. What concerns the whole run (sampler, views, leaks ...) is said once.
        part: the part in which all records stand, of these data or one of `sets`, in place of a split.
        layout: component of `medvlp.data.layouts` that indexes it; not needed where a manifest is given.
        manifest: Parquet manifest made by `medvlp data index` or by a training; its images lie under `root`.
        columns: short for the layout ``csv``: manifest field -> column of the table.
        table: with `columns`: the CSV file, under `root`.
        where: keep records whose column has one of the values, e.g. ``{view_position: [PA, AP]}``.
        having: keep records that miss none of these columns, e.g. ``[text]`` where many images have no words.
        patient: column whose equal values are one patient, where a release names none: ``id`` makes each image one.
        namespace: name of the numbering of its patients: 17 is another patient in another numbering. By default a
            public layout's name, or of the set whose images these are; tables and folders of anybody's own are taken
            for one numbering.
        group: what becomes of rows that are one study; by default each stays a sample.
        split: component of `medvlp.data.splits`: ``{name: patient, seed: 3}``, ``{name: official}``, or a published
            one's name with its ``card``. Fractions alone, ``{train: 0.8, test: 0.2}``, are drawn by patient where the
            manifest has no split column. Its seed is its own: another seed of the run is another run on one split.
        sampler: component of `medvlp.data.samplers`: which training record stands at which place of the run.
        one_of: short for the sampler ``one_of`` with this column, ``id.patient``.
        subset: a smaller training set, inside the next larger one.
        prefix: deterministic views, cached on disk, stored in the bundle as the model's preprocessing.
        suffix: random views, training only.
        replays: augmentations of each sample: with n, what the random views draw for a sample is one of n draws of its
            own, the same in every run whatever its seed, so that what a teacher made of each can be kept (state
            ``stored``); batches then have ``id.replay``. 0: always new ones.
        quarantine: largest fraction of unreadable records; more stop the run. Of a small cohort up to three may be, and
            at most a tenth.
        allow_leaks: train although a patient, study or image is in two splits, or judge a model on what it was trained
            on; results are then marked.
        near_images: whether copies of images (resized, compressed, inverted, cropped) are looked for across splits,
            which decodes every image once; by default where a survey has seen them all (``medvlp data index`` or
            ``check``) and there are 20,000 at most. Data.json says whether it was done.
        hashes: whether the bundle carries keyed hashes of the patients and files that it was trained and chosen on, so
            that it is not judged on them by mistake. Who holds the bundle can test with them whether a file, or a
            number that can be guessed, was in training (`medvlp.data.leakage.seen`). Without them it says that it does
            not know.
        cache: folder of the cache; null for the user's default.
    """

    root: str = ""
    sets: dict[str, DataConfig] = Field(default_factory=dict)
    part: Literal["train", "validate", "test"] | None = None
    layout: Named | None = None
    manifest: str | None = None
    columns: dict[str, str] | None = None
    table: str | None = None
    where: dict[str, Any] = Field(default_factory=dict)
    having: list[str] = Field(default_factory=list)
    patient: str | None = None
    namespace: str | None = Field(default=None, pattern=r"^[\w./-]+$")
    split: Annotated[Component, BeforeValidator(split_spec)] = Field(
        default_factory=lambda: {"name": "own", "fractions": {"train": 0.7, "validate": 0.12, "test": 0.18}}
    )
    group: GroupConfig | None = None
    sampler: Named = Field(default_factory=lambda: {"name": "uniform"})
    one_of: str | None = None
    subset: SubsetConfig | None = None
    prefix: list[Named] = Field(default_factory=list)
    suffix: list[Named] = Field(default_factory=list)
    replays: int = Field(default=0, ge=0)
    quarantine: float = Field(default=0.02, ge=0, le=1)
    allow_leaks: bool = False
    near_images: bool | None = None
    hashes: bool = True
    cache: str | None = None

    @model_validator(mode="after")
    def _one_or_several(self) -> DataConfig:
        if not self.sets and not self.root and self.manifest is None:
            raise ValueError("give root, the folder of the data set, or several data sets under sets")
        own = self._named(_OF_A_SET)
        if self.sets and own:
            mending = "put it into each of sets, and take back what a base says: root: '', layout: null"
            raise ValueError(f"{own[0]} is said of one data set, and there are several: {mending}")
        for name, each in self.sets.items():
            odd = each._named(_OF_A_RUN)
            if odd or not re.fullmatch(r"[\w.-]+", name):
                fault = f"{odd[0]} is said once for all" if odd else "a set's name has letters, digits, '.', '-', '_'"
                raise ValueError(f"sets.{name}: {fault}: {'take it out of the set' if odd else 'rename it'}")
            if each.part and each._named(("split",)):
                raise ValueError(f"sets.{name}: part says where all records stand: leave split out")
        return self

    def _named(self, keys: Sequence[str]) -> list[str]:
        """Those of some keys that are not at their default: a tree with every default names them all."""
        plain = DataConfig.model_construct()
        return [key for key in keys if getattr(self, key) != getattr(plain, key)]

    @model_validator(mode="before")
    @classmethod
    def _one_of_is_a_sampler(cls, value: object) -> object:
        if isinstance(value, Mapping):  # a split of null is none, whatever a base says
            value = {key: each for key, each in value.items() if key != "split" or each is not None}
        if not isinstance(value, Mapping) or value.get("one_of") is None:
            return value
        if value.get("sampler") is not None:
            raise ValueError("data has one_of and a sampler: give one of the two")
        return {**value, "one_of": None, "sampler": {"name": "one_of", "column": value["one_of"]}}


_OF_A_SET = ("root", "layout", "manifest", "columns", "table", "part", "patient", "namespace", "group", "split")
_OF_A_RUN = ("sets", "sampler", "subset", "prefix", "suffix", "replays", "quarantine", "allow_leaks")
_OF_A_RUN += ("near_images", "hashes")


class TokenizerConfig(Node):
    """Words to numbers.

    Attributes:
        name: ``clinical_wordpiece`` (trained on the training reports) or ``transformers`` (by path or name).
        vocab_size: of a trained vocabulary.
        max_length: tokens; longer reports are cut, counted and announced.
        path: folder or name, for ``transformers``.
    """

    name: Literal["clinical_wordpiece", "transformers"] = "clinical_wordpiece"
    vocab_size: int = Field(default=4096, ge=64)
    max_length: int = Field(default=256, ge=8, le=131072)
    path: str | None = None


class BankConfig(Node):
    """An ordered list of texts that belong to no sample.

    Attributes:
        file: text file with one entry a line, blank and ``#`` lines left out; or a book, YAML with ``texts: {name:
            sentence}``. From the working folder, else one in ``configs/``.
        encoder: component of `medvlp.models.text_vectors` that gives the texts constant vectors, once; null: the
            model's text tower encodes them in each step that asks for them.
    """

    file: str
    encoder: Named | None = None


class PhaseConfig(Node):
    """One phase of a recipe; `until` counts samples seen by the whole run.

    With a `sampler` of its own, or `where`, a phase begins an epoch of its own, always the same first one; without, it
    goes on in the stream of the data, at the place of the samples seen.
    """

    until: int = Field(gt=0)
    objectives: list[Named] = Field(min_length=1)
    trainable: list[str] = Field(default_factory=lambda: ["*"])
    patches: list[Named] = Field(default_factory=list)
    surgery: list[Named] = Field(default_factory=list)
    batch_views: list[Named] = Field(default_factory=list)
    refresh: list[Refresh] = Field(default_factory=list)
    optimiser: OptimiserOptions | None = None
    where: dict[str, Any] = Field(default_factory=dict)
    sampler: Named | None = None


class EvaluationConfig(Node):
    """How a model is judged.

    Attributes:
        choose: validation metric that picks the best checkpoint, ``ANSWER/METRIC[/LABEL]``: ``zero_shot/auroc/macro``,
            ``retrieval/recall@5``, ``findings/auroc/effusion``; null: the first that an answer of the model has.
        measures: name -> options of a component of `medvlp.measures`: an entry changes one that is made unasked, or
            adds one that is not; null leaves one out.
        resamples: of the patient bootstrap.
        split: what the final evaluation uses.
        where: keep records, as in `DataConfig`.
        min_positives: positive records that a finding needs to take part in a macro average.
        groups: columns of the groups that are compared, and by which controls are printed; those that the data lacks
            are left out.
        labels: findings of the probes, where not those of the model's answers; all of a model without any.
        features: folder in which feature tables are kept and found again; null to make them anew each time.
        decoding: how the words of reports and of written answers are chosen, see `medvlp.core.decoding.Decoding`:
            ``beams=4``; empty: as the model's answer does.
        gallery: pictures with boxes and heat maps on the page.
        fit: split on which thresholds, calibrations and conformal sets are chosen, where the data has it; null: none.
        calibration: map to probabilities that a bundle keeps.
        points: further rules of thresholds beside the usual ones: ``sensitivity_0.95``, ``cost_5``.
        prevalences: at which predictive values are given.
        into_bundle: whether `medvlp evaluate` writes into the bundle what it chose on `fit`, so that a hospital
            calibrates a model on patients of its own, and how good it found each answer; the quick start does.
    """

    choose: str | None = Field(default=None, pattern=r"^[\w-]+/[^/\s]+(/.+)?$")
    measures: dict[str, dict[str, Any] | None] = Field(default_factory=dict)
    resamples: int = Field(default=1000, ge=100)
    split: str = "test"
    where: dict[str, Any] = Field(default_factory=dict)
    min_positives: int = Field(default=30, ge=1)
    groups: list[str] = Field(default=["sex", "age", "view_position", "site", "scanner", "source"])
    labels: list[str] = Field(default_factory=list)
    features: str | None = None
    decoding: Annotated[str, readable(Decoding.of)] = ""
    gallery: int = Field(default=12, ge=0)
    fit: str | None = "validate"
    calibration: Literal["temperature", "platt", "dirichlet", "isotonic"] = "platt"
    points: list[Annotated[str, readable(parse_rule)]] = Field(default_factory=list)
    prevalences: list[Annotated[float, Field(gt=0, lt=1)]] = Field(default=list(DEFAULT_PREVALENCES))
    into_bundle: bool = False


class GateConfig(Node):
    """By what a released model of images tells pictures unlike its own, see `medvlp.models.gate`.

    Attributes:
        rate: share of pictures of its own kind that it flags, by the validation pictures; 0 for no gate.
        pictures: at most so many of training, and of validation, are looked at.
    """

    rate: float = Field(default=0.02, ge=0, le=0.5)
    pictures: int = Field(default=1000, ge=100)


class RunConfig(Node):
    """A run.

    Attributes:
        run: folder that everything is written to.
        seed: of every draw.
        data: samples.
        tokenizer: words to numbers.
        model: component of `medvlp.models.architectures`.
        banks: by name.
        states: by name, components of `medvlp.state`.
        phases: the recipe.
        answers: name -> further options of an answer that the objectives teach, null to leave it out; another name adds
            an answer: the component of `medvlp.answers` of that name, or of its option ``name``.
        optimiser: of all phases without their own.
        training: how the loop is carried out.
        evaluation: how the model is judged.
        gate: by what the released model abstains.
        init_from: bundle whose weights the model starts from; surgery that was done to it is done first.
    """

    other_names: ClassVar[dict[str, str]] = OTHER_NAMES

    run: str
    seed: int = Field(default=0, ge=0)
    data: DataConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: Annotated[Component, BeforeValidator(named_model)]
    banks: dict[str, BankConfig] = Field(default_factory=dict)
    states: dict[str, Named] = Field(default_factory=dict)
    phases: list[PhaseConfig] = Field(min_length=1)
    answers: dict[str, dict[str, Any] | None] = Field(default_factory=dict)
    optimiser: OptimiserOptions = OptimiserOptions()
    training: TrainingOptions = TrainingOptions()
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    init_from: str | None = None

    @field_validator("training")
    @classmethod
    def _average_is_no_state(cls, training: TrainingOptions, info: ValidationInfo) -> TrainingOptions:
        if training.average is not None and "average" in info.data.get("states", {}):
            raise ValueError("average is kept as a state of that name, and states has one: give that another name")
        return training

    @field_validator("phases")
    @classmethod
    def _phases_go_on(cls, phases: list[PhaseConfig]) -> list[PhaseConfig]:
        if (ends := [phase.until for phase in phases]) != sorted(set(ends)):
            raise ValueError(f"phases must end at growing numbers of samples, not {ends}")
        return phases


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, merge and check a configuration.

    Raises:
        ConfigError: with one sentence a fault, all at once.
    """
    return check_config(load_tree(path, overrides), source=str(path))


def check_config(tree: Mapping[str, object], *, source: str) -> RunConfig:
    """Check a plain tree."""
    return checked(RunConfig, tree, source=source)


def checked(model: type[Config], tree: Mapping[str, object], *, source: str | Path) -> Config:
    """Return a plain tree as a typed one, paths that begin with ``~`` written out.

    Raises:
        ConfigError: with one sentence a fault, those of its components included, after the name of its source if any.
    """
    tree = at_home(tree)
    try:
        made = model.model_validate(tree)
    except ValidationError as error:
        refuse_other_kind(tree, model.model_fields, source=source)
        sentences = " ".join([*validation_sentences(error, where="", model=model), *component_faults(tree, error)])
        raise ConfigError(f"{source}: {sentences}" if source else sentences) from None
    if faults := truth_values(tree, made.model_dump(), where=""):
        raise ConfigError(" ".join([f"{source}:", *faults] if source else faults))
    return made
