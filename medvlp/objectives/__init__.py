"""One method per file, and the contrast most of them are made of."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AffinityMimicking": "affinity_mimicking",
        "Alip": "alip",
        "Caption": "caption",
        "ClassPrototypeLoss": "class_prototypes",
        "Classify": "classify",
        "Clip": "clip",
        "ClipRefine": "clip_refine",
        "Clippings": "clippings",
        "Convirt": "convirt",
        "CxrClip": "cxr_clip",
        "Cyclip": "cyclip",
        "Distill": "distill",
        "HardNegatives": "hard_negatives",
        "Medclip": "medclip",
        "ProtoClip": "protoclip",
        "Siglip": "siglip",
        "Similarity": "_similarity",
        "Simlap": "simlap",
        "SinkhornPrototypes": "sinkhorn_prototypes",
        "Unime": "unime",
        "UnimeDistill": "unime_distill",
        "contrast": "_contrast",
        "sigmoid_contrast": "_sigmoid_contrast",
        "sinkhorn": "_sinkhorn",
    },
)
