"""Surrogates: networks that predict from parameter points what the physics would say."""
