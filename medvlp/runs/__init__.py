"""What starts and finishes things: train, adapt, evaluate, index, split, the quick start, grids."""
