"""Detection heads on mmdet; imported by :mod:`nbn_mm.utils.hosts` when mmdet is there."""
