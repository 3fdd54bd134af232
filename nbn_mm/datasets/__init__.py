"""Class counts, shot groups, long-tailed data sets, samplers and transforms."""
