"""Shipped settings: one TOML per environment."""
