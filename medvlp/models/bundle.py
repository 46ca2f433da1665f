"""The bundle: a release of a model, with everything that scoring needs and nothing that could run code.

``model.safetensors``, ``banks.safetensors`` (constant vectors of banks), ``gate.safetensors`` (arrays of its gate),
``scores.safetensors`` (what scores of answers have learnt), ``seen.safetensors`` (keyed hashes of the patients and
files of its training), ``int8/`` (towers in 8 bits), each where there are some, ``bundle.yaml`` (architecture, banks,
preprocessing, answers, provenance), ``tokenizer/``, ``card.md`` and ``MANIFEST.sha256`` (in the form of ``sha256sum``),
against which all that loading reads is checked first. The views that made its training images are stored here and run
again at scoring.

`save_patches` saves only what a run added to a bundle whose towers it held still: the same files without tokenizer and
without the weights that are the bundle's, and in ``bundle.yaml`` the hash of the bundle that they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor, inference_mode

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import folder_whole, plain_yaml, sha256_of
from medvlp.core.protocols import Model
from medvlp.core.provenance import hash_of
from medvlp.core.registry import fill
from medvlp.data.leakage import Seen
from medvlp.models._bundle_schema_1 import upgraded
from medvlp.models._manifest import check_closed, check_manifest
from medvlp.models.backends.int8 import Int8
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.card import card_of_fitted
from medvlp.models.gate import Gate
from medvlp.models.pretrained_head import hash_of_tensors, misfits
from medvlp.text.saved_tokenizers import load_tokenizer
from medvlp.text.tokenizers import Tokenizer

SCHEMA = "medvlp.bundle/2"
# Keys that later versions fill and other programs may look for.
RESERVED = ("text_cache",)
_JUDGED = ("evidence", "maps", "measured")  # of an answer, left out where nobody measured them


@dataclass(frozen=True)
class StoredAnswer:
    """One thing that the model can be asked, as plain data; `medvlp.answers` makes it work.

    Attributes:
        name: under which it is asked.
        component: of `medvlp.answers`.
        options: of its constructor.
        labels: findings that it names.
        score: component of `medvlp.models.scores` and its options, where it compares.
        weights: of that score, where it learns something.
        operating_points: thresholds and conformal rules of each finding, chosen on validation pictures.
        calibration: maps of its scores to probabilities, likewise.
        evidence: how good its scores were found, for each finding, and on what.
        maps: how often its maps were found to hit each finding, by method, and which is the best.
        measured: how good its words, boxes, masks or relations were found, beside controls, and on what.
    """

    name: str
    component: str
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[str] = ()
    score: Mapping[str, Any] | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    operating_points: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    evidence: Mapping[str, Any] | None = None
    maps: Mapping[str, Any] | None = None
    measured: Mapping[str, Any] | None = None

    def described(self) -> dict[str, Any]:
        """Return all but the weights, for ``bundle.yaml``."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "weights"}
        plain |= {"options": dict(self.options), "labels": list(self.labels), "score": self.score and dict(self.score)}
        return {name: value for name, value in plain.items() if name not in _JUDGED or value is not None}

    def unjudged(self) -> StoredAnswer:
        """Return the answer without thresholds, calibration and evidence measured on one kind of image."""
        return replace(self, operating_points=None, calibration=None, **dict.fromkeys(_JUDGED))


def head_findings(answers: Sequence[StoredAnswer]) -> dict[str, list[str]]:
    """Return the findings, or the listed answers to questions, of each head that one reads, in its outputs' order."""
    found = {}
    for each in answers:
        options: Any = fill("answers", {"name": each.component, **each.options}, where=f"answers.{each.name}")
        if "part" in options and each.labels:
            found[str(options["part"])] = list(each.labels)
        if options.get("answers"):
            found[str(options["head"])] = list(options["answers"])
    return found


@dataclass(frozen=True)
class Bundle:
    """A released model read from a bundle folder, with everything the folder stores.

    Attributes:
        model: in evaluation mode.
        tokenizer: None for a model without text.
        preprocessing: specs of the views that make an image of a file.
        answers: what it can be asked, the first first.
        provenance: recipe, code and data hashes, samples seen, whether the training data was synthetic.
        card: model card in Markdown; of thresholds it is written as the answers have them.
        gate: what pictures it was trained on; None where nobody learnt it. Under ``ood`` in ``bundle.yaml``.
        seen: keyed hashes of the patients and files that it was trained and chosen on; None where it does not know.
        sentences: what checks sentences of reports, and how good it was found; None where nobody judged it.
        int8: towers in 8 bits; None where nobody made them.
        hash: of weights, banks and preprocessing: what its embeddings depend on; empty of one that is in the making.
    """

    model: Model
    tokenizer: Tokenizer | None
    preprocessing: Sequence[Mapping[str, object]]
    answers: Sequence[StoredAnswer] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)
    card: str = ""
    gate: Gate | None = None
    seen: Seen | None = None
    sentences: Mapping[str, Any] | None = None
    int8: Int8 | None = None
    hash: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Findings that any answer names."""
        return tuple(dict.fromkeys(label for answer in self.answers for label in answer.labels))


def save_bundle(folder: Path, bundle: Bundle) -> None:
    """Write a bundle whole; training-only heads, and modules that only they share, are left out.

    So are towers in 8 bits that were made of a model with other weights.

    Raises:
        UserError: when the disk is full; an older bundle of the same name stays then.
    """
    _save(folder, bundle, _released(bundle.model))


def save_patches(folder: Path, bundle: Bundle, *, base: str | Path) -> bool:
    """Write only the tensors that differ from a base bundle; `load_bundle` combines both again.

    Returns:
        Whether it was written: not where another tokenizer, or more than half of the weights, are its own.
    """
    (described, before), weights = _read(Path(base)), _released(bundle.model)
    same = [n for n, t in before.items() if n in weights and t.dtype == weights[n].dtype and t.equal(weights[n])]
    own = {name: tensor for name, tensor in weights.items() if name not in same}
    words = [None if each is None else each.identity for each in (load_words(base), bundle.tokenizer)]
    if words[0] != words[1] or 2 * sum(t.nbytes for t in own.values()) > sum(t.nbytes for t in weights.values()):
        return False
    _save(folder, replace(bundle, tokenizer=None), own, base=_hash(described, Path(base)))
    return True


def _released(model: Any) -> dict[str, Tensor]:  # noqa: ANN401
    dropped = model.left_out()
    own = {n: t for n, t in model.state_dict().items() if not (dropped and n.startswith(dropped))}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in own.items()}


def _save(folder: Path, bundle: Bundle, weights: Mapping[str, Tensor], *, base: str = "") -> None:
    model: Any = bundle.model
    int8 = bundle.int8
    if int8 is not None and int8.facts["weights"] != hash_of_tensors(model.state_dict()):
        int8 = None
    described = {
        "schema": SCHEMA,
        **({"base": base} if base else {}),
        "model": dict(model.spec),
        "banks": {name: _described(bank) for name, bank in model.banks.items()},
        "preprocessing": [dict(spec) for spec in bundle.preprocessing],
        "answers": [answer.described() for answer in bundle.answers],
        "provenance": dict(bundle.provenance),
        "ood": None if bundle.gate is None else bundle.gate.to_plain(),
        "seen": None if bundle.seen is None else bundle.seen.to_plain(),
        **({} if bundle.sentences is None else {"sentences": dict(bundle.sentences)}),
        **({} if int8 is None else {"int8": dict(int8.facts)}),
        **dict.fromkeys(RESERVED),
    }
    with folder_whole(folder) as temporary:
        arrays = {
            "model": weights,
            "banks": {name: bank.vectors for name, bank in model.banks.items() if bank.vectors is not None},
            "scores": {f"{a.name}.{name}": tensor for a in bundle.answers for name, tensor in a.weights.items()},
            "gate": {} if bundle.gate is None else bundle.gate.to_arrays(),
        }
        for name, own in arrays.items():
            if own or name == "model":
                plain = {key: tensor.detach().cpu().contiguous() for key, tensor in own.items()}
                save_file(plain, temporary / f"{name}.safetensors")
        if bundle.seen is not None:
            save_arrays(bundle.seen.to_arrays(), temporary / "seen.safetensors")
        for name, graph in ({} if int8 is None else int8.graphs).items():
            (temporary / "int8").mkdir(exist_ok=True)
            (temporary / "int8" / f"{name}.onnx").write_bytes(graph)
        whole = yaml.safe_dump(described, sort_keys=False, allow_unicode=True)
        (temporary / "bundle.yaml").write_text(whole, encoding="utf-8")
        card = card_of_fitted(bundle.card, fitted=any(each.calibration for each in bundle.answers))
        (temporary / "card.md").write_text(card, encoding="utf-8")
        if bundle.tokenizer is not None:
            bundle.tokenizer.save(temporary / "tokenizer")
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        lines = [f"{sha256_of(path)}  {path.relative_to(temporary).as_posix()}\n" for path in files]
        (temporary / "MANIFEST.sha256").write_text("".join(lines), encoding="utf-8")
        for path in files:  # safetensors writes for its owner alone; who may read the folder may read the weights
            path.chmod((temporary / "MANIFEST.sha256").stat().st_mode)


@inference_mode(False)  # maps need gradients, and weights their versions
def load_bundle(folder: str | Path, *, patches: str | Path | None = None) -> Bundle:
    """Read a bundle after checking it.

    Args:
        folder: of the bundle.
        patches: folder of what `save_patches` wrote of a model that was made of it: that model is returned.

    Raises:
        UserError: if it is damaged, of a later schema, its weights do not fit its architecture, or the patches belong
            to another bundle.
    """
    folder = Path(folder)
    described, weights = _read(folder)
    tokenizer = load_words(folder)
    if "base" in described:
        raise UserError(f"{folder} holds the patches of a bundle and no model: load that bundle with patches={folder}.")
    first = _hash(described, folder)
    if patches is not None:
        folder = Path(patches)
        described, own = _read(folder, "patches")
        if "base" not in described:
            raise UserError(f"{folder} is a whole bundle: name it alone, or the folder `patches` of the run it is of.")
        if described["base"] != first:
            whose = f"belong to the bundle {described['base']}, and this one is {first}"
            raise UserError(f"The patches in {folder} {whose}: load them with their own.")
        weights |= own
    with _refused(folder):
        spec, read, facts = dict(described["model"]), list(described["preprocessing"]), dict(described["provenance"])
        banks, answers = _banks(described, folder), _answers(described, folder)
    model = build_model(spec, tokenizer=tokenizer, banks=banks, where="model")
    if patches is not None:  # heads of the first bundle that the patched model went without stay behind
        there = model.state_dict().keys()
        weights = {name: tensor for name, tensor in weights.items() if name in there}
    if faults := misfits(model.state_dict(), weights):
        raise UserError(
            f"The weights in {folder} do not fit the architecture in its bundle.yaml ({len(faults)} differ, the first "
            f"is {faults[0]!r}): get the bundle again."
        )
    model.load_state_dict(weights)
    model.eval()
    return Bundle(
        model=model,
        tokenizer=tokenizer,
        preprocessing=read,
        answers=answers,
        provenance=facts,
        card=(folder / "card.md").read_text(encoding="utf-8"),
        gate=_gate(described, folder),
        seen=_seen(described, folder),
        sentences=described.get("sentences"),
        int8=None if patches is not None else _int8(described, folder),
        hash=first if patches is None else hash_of([first, _hash(described, folder)]),
    )


def _read(folder: Path, within: str = "bundle") -> tuple[dict[str, Any], dict[str, Tensor]]:
    described = _checked(folder, within)
    if described.get("schema") != SCHEMA:
        raise UserError(
            f"{folder} has the schema {described.get('schema')!r}, this version reads {SCHEMA!r}: update medvlp."
        )
    check_closed(described.get("model"), folder)
    return described, load_file(folder / "model.safetensors")


def _hash(described: Mapping[str, Any], folder: Path) -> str:
    lines = (folder / "MANIFEST.sha256").read_text(encoding="utf-8").splitlines()
    files = sorted(line for line in lines if line.partition("  ")[2].startswith(("model.", "banks.", "tokenizer/")))
    return hash_of([files, described.get("model"), described.get("preprocessing")])


def load_seen(folder: str | Path) -> Seen | None:
    """Return what a bundle knows of its training data without building its model; None where it does not know."""
    return _seen(_checked(Path(folder)), Path(folder))


def load_described(folder: str | Path) -> dict[str, Any]:
    """Return what ``bundle.yaml`` says, its model's specification, answers and provenance, without building a model."""
    return _checked(Path(folder))


def load_words(folder: str | Path) -> Tokenizer | None:
    """Return the tokenizer of a bundle that was checked, without building its model; None where it reads no texts."""
    place = Path(folder) / "tokenizer"
    return load_tokenizer(place) if place.is_dir() else None


def _checked(folder: Path, within: str = "bundle") -> dict[str, Any]:
    check_manifest(folder, within)
    return upgraded(_described_in(folder / "bundle.yaml"))


def _described_in(path: Path) -> dict[str, Any]:
    found = plain_yaml(path, refused=UserError, mend="get the bundle again")
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no mapping at its top: get the bundle again.")
    return found


def load_model(folder: str | Path) -> Model:
    """Return a bundle's model alone, for teachers."""
    return load_bundle(folder).model


def _described(bank: Bank) -> dict[str, object]:
    plain: dict[str, object] = {"texts": list(bank.texts), "sha256": bank.sha256}
    if bank.names:
        plain["names"] = list(bank.names)
    return plain if bank.vectors is None else {**plain, "encoder": bank.encoder}


def _banks(described: Mapping[str, Any], folder: Path) -> dict[str, Bank]:
    vectors = _arrays(folder, "banks")
    constant = {name for name, bank in described["banks"].items() if "encoder" in bank}
    if constant != vectors.keys():
        raise UserError(
            f"{folder} has vectors of the banks {sorted(vectors)} and needs those of {sorted(constant)}: get the "
            "bundle again."
        )
    return {
        name: Bank(
            name, tuple(bank["texts"]), vectors.get(name), bank.get("encoder", "text"), tuple(bank.get("names", ()))
        )
        for name, bank in described["banks"].items()
    }


def _arrays(folder: Path, name: str) -> dict[str, Tensor]:
    path = folder / f"{name}.safetensors"
    return load_file(path) if path.exists() else {}


def _answers(described: Mapping[str, Any], folder: Path) -> tuple[StoredAnswer, ...]:
    weights: dict[str, dict[str, Tensor]] = {}
    for key, tensor in _arrays(folder, "scores").items():
        name, _, own = key.partition(".")
        weights.setdefault(name, {})[own] = tensor
    return tuple(StoredAnswer(**plain, weights=weights.get(plain["name"], {})) for plain in described["answers"])


def _gate(described: Mapping[str, Any], folder: Path) -> Gate | None:
    if described.get("ood") is None:
        return None
    with _refused(folder):
        return Gate.of(described["ood"], _arrays(folder, "gate"))


def _seen(described: Mapping[str, Any], folder: Path) -> Seen | None:
    if described.get("seen") is None:
        return None
    arrays = load_arrays(folder / "seen.safetensors") if (folder / "seen.safetensors").exists() else {}
    with _refused(folder):
        return Seen.of(described["seen"], arrays)


def _int8(described: Mapping[str, Any], folder: Path) -> Int8 | None:
    graphs = {path.stem: path.read_bytes() for path in sorted((folder / "int8").glob("*.onnx"))}
    return Int8(graphs, described["int8"]) if graphs and "int8" in described else None


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """Say of which bundle it is that a part cannot be read."""
    try:
        yield
    except (DataError, LookupError, TypeError, ValueError, AttributeError) as error:  # any value in any place
        why = f"bundle.yaml lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise UserError(f"The bundle {folder} cannot be read: {why}. Get the bundle again, or update medvlp.") from None
