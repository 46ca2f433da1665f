"""Encoders: values of one kind to `Encoded`; a component's name is its file."""
