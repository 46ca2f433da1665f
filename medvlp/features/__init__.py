"""One feature pass, and what needs only its tables or one forward: k-means, heat maps.

Functions are imported from their modules, whose names they have.
"""
