"""One method per file, and the contrast most of them are made of."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "BoxSet": "box_set",
        "Caption": "caption",
        "ClassPrototypeLoss": "class_prototypes",
        "Classify": "classify",
        "Clip": "clip",
        "Clippings": "clippings",
        "Convirt": "convirt",
        "CxrClip": "cxr_clip",
        "Cyclip": "cyclip",
        "DiceCe": "dice_ce",
        "Distill": "distill",
        "Focal": "focal",
        "HardNegatives": "hard_negatives",
        "Medslip": "medslip",
        "MedslipProtocl": "medslip_protocl",
        "Ordinal": "ordinal",
        "ProtoClip": "protoclip",
        "Reading": "_contrast",
        "Relation": "_targets",
        "Siglip": "siglip",
        "Similarity": "_contrast",
        "Simlap": "simlap",
        "SinkhornPrototypes": "sinkhorn_prototypes",
        "Unime": "unime",
        "UnimeDistill": "unime_distill",
        "contrast": "_contrast",
        "sigmoid_contrast": "_contrast",
        "sinkhorn": "_sinkhorn",
    },
)
