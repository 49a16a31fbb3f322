"""Which points deserve physics: samplers, acquisition rules, and the search methods made of them."""
