"""Optimisers by name, from parameter groups and a rate."""
