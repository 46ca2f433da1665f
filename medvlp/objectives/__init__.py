"""One method per file, and the contrast most of them are made of."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AffinityMimicking": "affinity_mimicking",
        "Alip": "alip",
        "BoxSet": "box_set",
        "Caption": "caption",
        "ClassPrototypeLoss": "class_prototypes",
        "Classify": "classify",
        "Clip": "clip",
        "ClipRefine": "clip_refine",
        "DiceCe": "dice_ce",
        "Distill": "distill",
        "Focal": "focal",
        "HardNegatives": "hard_negatives",
        "Medclip": "medclip",
        "Medslip": "medslip",
        "MedslipProtocl": "medslip_protocl",
        "Ordinal": "ordinal",
        "ProtoClip": "protoclip",
        "Reading": "_contrast",
        "Relation": "_targets",
        "Siglip": "siglip",
        "Similarity": "_contrast",
        "SinkhornPrototypes": "sinkhorn_prototypes",
        "contrast": "_contrast",
        "sigmoid_contrast": "_contrast",
        "sinkhorn": "_sinkhorn",
    },
)
