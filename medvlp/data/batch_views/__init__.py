"""Views of a whole batch, in training, on the model's device; a component's name is its file."""
