"""Augmentations with the operations of Pillow that the long-tail recipes used."""
