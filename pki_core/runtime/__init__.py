"""Wires one environment together, once a process, and founds new ones."""

from pki_core.runtime.key_stores import softhsm_is_installed
from pki_core.runtime.wiring import Runtime, migrate_home, open_runtime

__all__ = ["Runtime", "migrate_home", "open_runtime", "softhsm_is_installed"]
