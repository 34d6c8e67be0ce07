"""Routing policies side by side in virtual time: the product's own objects against baselines."""
