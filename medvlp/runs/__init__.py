"""What starts and finishes things: training, evaluation, adapting, indexing, splitting, grids of runs."""
