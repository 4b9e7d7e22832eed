"""Partners: who may ask for what, as data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """An authenticated MO, CPO, OEM, CPS or operator; an identifier outside the prefixes is not theirs."""

    id: str
    roles: frozenset[str]
    provider_prefixes: frozenset[str]  # 5 characters: country and provider, for EMAIDs
    operator_prefixes: frozenset[str]  # 5 characters: country and operator, for EVSEIDs and SECCIDs
    wmis: frozenset[str]  # 3 characters, for PCIDs
    is_suspended: bool = False  # nothing it shows counts, until it is resumed
