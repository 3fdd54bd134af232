"""Which BN layers become NBN, who owns the magnitude, and the way back (fold)."""
