"""Bytes to types and back. No clock, no key, no network, no SQL."""
