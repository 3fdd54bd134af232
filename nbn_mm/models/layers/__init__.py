"""Host-neutral layers: norms, logit rectification, predictors."""
