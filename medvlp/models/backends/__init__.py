"""Towers computed by another engine than torch: the weights are the same, the arithmetic is a compiled graph's.

On a processor OpenVINO takes a fraction of torch's time. With ``int8`` weights and activations are of 8 bits, and what
that changes was measured when the graphs were made. What needs gradients (heat maps, training) or the inside of a
tower (levels, layers, attention) is still computed by torch.
"""
