"""torchxrayvision's classifiers of chest films: DenseNet-121 and ResNet-50, one channel, up to 18 findings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from medvlp.core.errors import DataError
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.zoo._keys import without
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported

# Pixels of [0, 1] -> [-1024, 1024].
MEAN, STD = 0.5, 1 / 2048
_LABELS = (
    "atelectasis", "consolidation", "infiltration", "pneumothorax", "edema", "emphysema", "fibrosis", "effusion",
    "pneumonia", "pleural_thickening", "cardiomegaly", "nodule", "mass", "hernia", "lung_lesion", "fracture",
    "lung_opacity", "enlarged_cardiomediastinum",
)  # fmt: skip
# Outputs that were trained, by their place among these; the others mean nothing.
_TRAINED = {
    "all": range(18),
    "nih": range(14),
    "pc": (*range(14), 15),
    "chex": (0, 1, 3, 4, 7, 8, 10, 14, 15, 16, 17),
    "rsna": (8, 16),
    "mimic_nb": (0, 1, 3, 4, 7, 8, 10, 14, 15, 16, 17),
    "mimic_ch": (0, 1, 3, 4, 7, 8, 10, 14, 15, 16, 17),
    "resnet50": (*range(14), 15, 16),
}
_RELEASE = Release(
    title="torchxrayvision",
    licence="Apache-2.0",
    citation="Cohen et al., MIDL 2022, arXiv 2111.00595.",
    about="Trained to tell findings on chest films of one or several public sets; it reads no text.",
)
_LIMITS = (
    "Scores are the sigmoids of the network. The package rescales them afterwards, so that a threshold found on its "
    "training films becomes 0.5: choose thresholds on cases of your own instead."
)


def torchxrayvision(
    *,
    source: Annotated[Path, FromModel("source")],
    weights: Literal["all", "nih", "pc", "chex", "rsna", "mimic_nb", "mimic_ch", "resnet50"] = "all",
    preset: str = "dicom_voi_v1",
) -> Bundle:
    """Import a classifier of torchxrayvision.

    The released DenseNets are whole pickled modules, which are code and not read: save their state dict first,
    ``torch.save(torchxrayvision.models.DenseNet(weights="densenet121-res224-all").state_dict(), "all.pt")``.

    Args:
        source: a state dict.
        weights: which release: it tells the findings that were trained, and ``resnet50`` the other architecture.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if the file cannot be read.
        DataError: if the weights are not those of the architecture, or of another release by what they say of outputs.
    """
    held, chosen = read_checkpoint(source), list(_TRAINED[weights])
    thresholds = held.get("op_threshs")  # NaN for an output that was not trained
    if thresholds is not None and (~thresholds.isnan()).nonzero().flatten().tolist() != chosen:
        raise DataError(
            f"{source} says of its outputs (op_threshs) that others were trained than weights={weights} trained: give "
            f"the release that it is, one of {', '.join(_TRAINED)}."
        )
    held, left = without(held, {"op_threshs": None})
    held = {name.removeprefix("model."): tensor for name, tensor in held.items()}  # so its ResNet has them
    architecture, size, last = ("resnet50", 512, "fc") if weights == "resnet50" else ("densenet121", 224, "classifier")
    for part in ("weight", "bias"):
        whole = held.get(f"{last}.{part}")
        if whole is None or len(whole) != len(_LABELS):
            raise DataError(f"{source} has no {last}.{part} of {len(_LABELS)} findings: it is another model.")
        held[f"{last}.{part}"] = whole[chosen]
    labels = [_LABELS[i] for i in chosen]
    tower = {"name": "timm", "architecture": architecture, "image_size": size, "channels": 1, "mean": [MEAN]}
    head = {"name": "linear", "classes": len(labels)}
    spec = {"name": "vision", "vision": {**tower, "std": [STD]}, "heads": {"image/findings": head}}
    own = "heads.image/findings.output."
    rules = [(rf"{last}\.(.*)", rf"{own}\1"), ("(.*)", r"towers.image.backbone.\1")]
    return imported(
        spec,
        held,
        rules,
        importer="torchxrayvision",
        source=source,
        release=_RELEASE,
        read=[view(size, preset)],
        answers=[StoredAnswer("findings", "findings", {"labels": labels, "part": "findings"}, labels)],
        facts={"weights": weights, "left_out": left},
        limits=_LIMITS,
    )


def view(size: int, preset: str) -> dict[str, object]:
    """Return the view that makes its pixels: the middle square of the file, scaled as scikit-image does."""
    return {"name": "read", "size": size, "preset": preset, "fit": "square_crop", "resample": "gaussian", "bits": 32}
