"""Zero-shot recipes: a component's name is its file, ``pair-softmax`` is ``pair_softmax.py``."""
