"""Image classifiers on mmpretrain; imported by :mod:`nbn_mm.utils.hosts` when mmpretrain is there."""
__all__: list[str] = []
