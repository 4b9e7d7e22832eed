"""Wires one environment together, once a process, and founds new ones."""

from pki_core.runtime.wiring import Runtime, open_runtime

__all__ = ["Runtime", "open_runtime"]
