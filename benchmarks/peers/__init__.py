"""Ways to search, each a function from a problem and a seed to the log of its evaluations."""
