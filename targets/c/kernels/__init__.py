"""How the loops of a kernel are laid out for a processor: blocks of sums, packed weights, rounding."""
