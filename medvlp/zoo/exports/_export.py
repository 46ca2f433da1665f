"""What exporters have in common: the way back along an importer, and the account of what stays behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from medvlp.core.errors import UserError
from medvlp.core.files import folder_whole, write_json
from medvlp.core.registry import build
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.models.patches._patch import acting
from medvlp.text.tokenizers import SpeakingTokenizer
from medvlp.text.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer
from medvlp.zoo._pixels import IMAGENET

# What importers of transformers say of the towers that they make, by timm's names; exporters read it there.
SIZES = frozenset({"embed_dim", "depth", "num_heads", "mlp_ratio", "patch_size", "act_layer"})
_FILTERS = {"lanczos": 1, "bilinear": 2, "bicubic": 3}  # Pillow's numbers


def export(bundle: Bundle, *, to: str, out: Path) -> list[str]:
    """Write a bundle in the form of another library, whole or not at all; return what the form cannot hold.

    Raises:
        ConfigError: if there is no such form.
        UserError: if the form has no place for the model, its library is not installed, or the disk is full.
    """
    with folder_whole(out) as temporary:
        behind: list[str] = build(
            "zoo/exports", {"name": to}, where="--to", given={"bundle": bundle, "folder": temporary}
        )
        (temporary / "README.md").write_text(bundle.card, encoding="utf-8")
    return behind


def turned_back(
    ours: Mapping[str, Tensor],
    like: Mapping[str, Tensor],
    there: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Return our weights under foreign names: an importer that only moves numbers is its own way back.

    Args:
        ours: by our names.
        like: foreign names and shapes.
        there: what the importer does with foreign weights.

    Raises:
        UserError: if a foreign number comes from nowhere, or one of ours finds no place.
    """
    # Numbers of all places take several times the model's memory: a number for each tensor, of no size, tells first
    # which of theirs meet in one of ours, and such groups move one by one.
    marks = there({n: torch.tensor(i, dtype=torch.int16).expand(t.shape) for i, (n, t) in enumerate(like.items())})
    for name, mark in marks.items():
        if name not in ours or ours[name].numel() != mark.numel():
            raise UserError(f"The form has {name}, which the bundle's model has not, or in another shape.")
    with_next = {i for mark in marks.values() for i in range(int(mark.min()), int(mark.max()))}
    back: dict[str, Tensor] = {}
    for first, last in pairwise([0, *(i + 1 for i in range(len(like)) if i not in with_next)]):
        group = dict(list(like.items())[first:last])
        sizes = [tensor.numel() for tensor in group.values()]
        places, flat = torch.arange(sum(sizes), dtype=torch.int32), torch.full((sum(sizes),), float("nan"))
        for name, came in there(_cut(places, group, sizes)).items():
            flat[came.reshape(-1)] = ours[name].detach().float().cpu().reshape(-1)
        back |= _cut(flat, group, sizes)
    homeless = sorted(ours.keys() - marks.keys())[:3]
    if homeless or any(bool(tensor.isnan().any()) for tensor in back.values()):
        raise UserError(f"The form has no place for {', '.join(homeless) or 'weights that are not numbers'}.")
    return back


def _cut(flat: Tensor, group: Mapping[str, Tensor], sizes: list[int]) -> dict[str, Tensor]:
    return {n: part.reshape(group[n].shape) for n, part in zip(group, flat.split(sizes), strict=True)}


def write_pair(
    bundle: Bundle,
    file: Path,
    like: Mapping[str, Tensor],
    there: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    *,
    more: Mapping[str, Tensor] = {},
) -> None:
    """Write towers, projections and scale under foreign names (see `turned_back`), and the tokenizer beside them."""
    model: Any = bundle.model
    words = ("towers.text.", "heads.image/raw.", "heads.text/raw.", "logit_scale.") if model.reads_text else ()
    ours = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(("towers.image.", *words))}
    save_file({**turned_back(ours, like, there), **more}, file, metadata={"format": "pt"})
    if bundle.tokenizer is not None:
        bundle.tokenizer.save(file.parent)
        (file.parent / "tokenizer.yaml").unlink()
    if isinstance(bundle.tokenizer, WordPieceTokenizer):  # by itself AutoTokenizer takes it for the other towers' own
        marks = {f"{each[1:-1].lower()}_token": each for each in SPECIAL_TOKENS}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": bundle.tokenizer.max_length}
        write_json(file.parent / "tokenizer_config.json", {**settings, **marks})


def plain_tower(bundle: Bundle, form: str) -> dict[str, Any]:
    """Return the specification of the image tower, if it is timm's as timm makes it.

    Raises:
        UserError: if it is another one, or was changed.
    """
    model: Any = bundle.model
    tower: dict[str, Any] = dict(model.spec.get("vision", {}))
    changes = [n for n, plain in (("norm", "keep"), ("columns", 1), ("coordinates", False), ("unshuffle", 1))
               if tower.get(n, plain) != plain]  # fmt: skip
    if tower.get("name") != "timm" or changes or acting(model) or model.spec.get("surgery"):
        what = ", ".join(changes) or f"{tower.get('name')}, patches or surgery"
        raise UserError(f"{form} has no place for this image tower ({what}): only a plain tower of timm goes there.")
    return tower


def refuse_pooling(bundle: Bundle, form: str, *, pool: str, fill: bool = False) -> None:
    """Refuse a text tower that makes the vector of a text otherwise than a form does.

    Args:
        bundle: with texts.
        form: its name, for the sentence.
        pool: how it makes that vector, by our name.
        fill: whether texts filled up to the longest belong there.

    Raises:
        UserError: if the tower pools otherwise, reads other states than the last, or fills texts up and `fill` is not.
    """
    model: Any = bundle.model
    text: dict[str, Any] = dict(model.spec["text"])
    other = [f"pool: {text.get('pool', 'cls')}"] if text.get("pool", "cls") != pool else []
    other += [f"states: {list(text['states'])}"] if text.get("states") is not None else []
    other += ["fill: true"] if text.get("fill") and not fill else []
    if other:
        raise UserError(
            f"{form} has no place for a text tower with {', '.join(other)}: it makes a text's vector by pool: {pool} "
            "of the last state. Such a tower goes to onnx."
        )


def ends_of(bundle: Bundle, form: str) -> tuple[int, int]:
    """Return the ids of the first and of the last token of every text.

    Raises:
        UserError: if texts do not end in a token that stands nowhere else: by it a form finds their last state.
    """
    words = bundle.tokenizer
    if isinstance(words, SpeakingTokenizer):
        made = words(["effusion"])
        *before, last = made.ids[made.mask].tolist()
        if last == words.stop_id and last not in before:
            return words.start_id, words.stop_id
    raise UserError(
        f"{form} finds the end of a text by a token that stands there alone, and this tokenizer puts none there: such "
        "a model goes to onnx."
    )


def created_by_timm(tower: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with which timm makes the image tower again."""
    from medvlp.models.encoders._timm import has_fixed_size

    pool = {"global_pool": tower["pool"]} if tower.get("pool") else {}
    fixed = {"img_size": tower["image_size"]} if has_fixed_size(tower["architecture"]) else {}
    return {**(tower.get("options") or {}), **pool, **fixed, "in_chans": tower["channels"]}


def with_channels(tower: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Return mean and std, one number for each of three channels, in as many digits as single precision has."""
    mean, std = ([round(float(each), 7) for each in values] for values in (
        tower.get("mean") or IMAGENET[0], tower.get("std") or IMAGENET[1]))  # fmt: skip
    return (mean * 3, std * 3) if len(mean) == 1 else (mean, std)


def only_read(bundle: Bundle) -> Mapping[str, Any]:
    """Return the view ``read`` where it alone makes the pixels, with 8 bits, as other libraries do; else nothing."""
    views = [view for view in bundle.preprocessing if view.get("name") in ("read", "resample")]
    return views[0] if len(views) == 1 and views[0].get("bits", 8) == 8 else {}


def processor_of(bundle: Bundle, kind: str, tower: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the ``preprocessor_config.json`` that makes the bundle's pixels; None where there is none such."""
    view = only_read(bundle)
    fits = ("crop_floor", "squeeze") if view.get("resize") in (None, view.get("size")) else ("crop_floor",)
    if view.get("fit") not in fits or view.get("resample") not in _FILTERS:
        return None
    mean, std = with_channels(tower)
    side, common = view["size"], {"image_mean": mean, "image_std": std, "resample": _FILTERS[view["resample"]]}
    square = {"height": side, "width": side}
    if view["fit"] == "squeeze":
        return {"image_processor_type": f"{kind}ImageProcessor", **common, "size": square, "do_center_crop": False}
    short = {"shortest_edge": view.get("resize") or side}
    return {"image_processor_type": f"{kind}ImageProcessor", **common, "size": short, "crop_size": square}


def not_held(
    bundle: Bundle,
    *,
    held: Callable[[str], bool] = lambda head: False,
    pixels: bool = True,
    answers: Sequence[StoredAnswer] | None = None,
) -> list[str]:
    """Return what a form does not hold of a bundle: heads that are not `held`, sizes of `pixels`, answers, the rest."""
    model: Any = bundle.model
    presets = sorted({str(view["preset"]) for view in bundle.preprocessing if "preset" in view})
    behind = [f"the preset from file to display values ({', '.join(presets)})"] if presets else []
    views = [v for v in bundle.preprocessing if not str(v.get("field", "")).startswith("text")] if pixels else []
    steps = (
        f"{v['name']} ({', '.join(f'{k} {x}' for k, x in v.items() if k != 'name' and x is not None)})" for v in views
    )
    behind += [f"how a picture is brought to its size: {', '.join(steps)}"] if views else []
    behind += [f"the tower of {kind}s" for kind in model.kinds if kind != model.vision_kind]
    lost = [name for name in model.spec.get("heads", {}) if not held(name)]
    behind += [f"heads ({', '.join(lost)})"] if lost else []
    behind += [
        f"the answer {each.name} with its labels, recipe and prompts"
        for each in (bundle.answers if answers is None else answers)
    ]
    if any(each.operating_points or each.calibration for each in bundle.answers):
        behind.append("operating points and calibration")
    more = {"gate": bundle.gate, "hashes of what it has seen": bundle.seen, "judge of sentences": bundle.sentences}
    return behind + [f"the {name}" for name, value in more.items() if value is not None]
