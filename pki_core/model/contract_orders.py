"""What an operator orders of the MO CA: a contract for a vehicle, with a key that we make (OPCP, CPS: generate)."""

from datetime import datetime
from typing import NamedTuple

LONGEST_RENEWAL = 730  # days: no contract certificate lives longer (ISO 15118-2 Annex F)


class ContractOrder(NamedTuple):
    """One contract asked for."""

    reference: str
    emaid: str
    pcid: str
    begins: datetime
    ends: datetime
    renew_days: int = 0  # renewed for so long when it ends; 0 = not at all


class RenewalReport(NamedTuple):
    """What a run of renewals did."""

    renewed: int
    refused: int  # vehicles or operators that are gone; the reason is in the audit log
    unfinished: bool  # it stopped at a dependency that is away; the next run goes on
