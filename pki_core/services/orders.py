"""Orders: for whom certificates are made, and by which stored version of a profile."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pki_core.model.partners import Partner
from pki_core.model.profiles import Profile
from pki_core.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """For whom and by which profile version certificates are made."""

    profile: Profile
    profile_id: int  # the stored version's number
    profile_hash: str
    partner: Partner | None  # None = the operator's own ceremony
    actor: str
    runner: str

    @classmethod
    def pinned(
        cls,
        work: UnitOfWork,
        profile: Profile,
        now: datetime,
        *,
        runner: str,
        actor: str,
        partner: Partner | None = None,
    ) -> Self:
        """Return an order by this version of a profile, which is stored for good where it was not."""
        return cls(
            profile=profile,
            profile_id=work.issuers.pin_profile(profile, now),
            profile_hash=profile.hash,
            partner=partner,
            actor=actor,
            runner=runner,
        )
