"""Grids: a sweep trains and judges variants and seeds, a suite judges one bundle on several data sets."""
