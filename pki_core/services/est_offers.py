"""Offers: what an EST label issues right now, for an ISO 15118 edition and a key algorithm, looked up once a while."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pki_core.model.clock import Clock
from pki_core.model.errors import NotFoundError
from pki_core.model.est import EstLabel, Linking
from pki_core.model.profiles import Edition, Level, Profile
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.uploads import issuer_in_service
from pki_core.store.unit_of_work import Store
from pki_core.wire.cms import certs_only
from pki_core.wire.csr_attributes import csr_attributes

_KEPT = timedelta(seconds=30)  # a new CA is offered this much later
_DEFAULT = {Edition.ISO_2: KeyAlgorithm.SECP256R1, Edition.ISO_20: KeyAlgorithm.SECP521R1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a caller asks of a label; None = it is left to the label, or to the key of the request."""

    label: str
    edition: Edition | None = None
    algorithm: KeyAlgorithm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One certificate kind under one CA."""

    label: str
    policy: EstLabel
    profile: Profile
    profile_id: int
    profile_hash: str
    issuer_label: str
    chain: tuple[bytes, ...]  # from the issuing CA to the root: the order clients rely on
    ca_certificates_der: bytes  # the same as a certs-only message
    csr_attributes_der: bytes


class Offers:
    """Finds offers."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        profiles: Mapping[str, Profile],
        labels: Mapping[str, EstLabel],
        default_label: str,
    ) -> None:
        self._store = store
        self._clock = clock
        self._profiles = profiles
        self._labels = labels
        self._default = default_label
        self._known: dict[tuple[str, str], tuple[datetime, Offer]] = {}

    def label(self, name: str) -> tuple[str, EstLabel]:
        """Return a label by name, the default one for ""; NotFoundError when there is none."""
        name = name or self._default
        if name not in self._labels:
            raise NotFoundError("there is no EST service under this label")
        return name, self._labels[name]

    def find(self, choice: Choice) -> Offer:
        """Return what a label offers.

        Raises:
            NotFoundError: no such label, or it issues nothing of this edition and algorithm.
        """
        name, policy = self.label(choice.label)
        edition = choice.edition or policy.edition
        algorithm = choice.algorithm or _DEFAULT.get(edition)
        for profile in self._profiles.values():
            if (
                (profile.level, profile.branch, profile.edition) == (Level.LEAF, policy.branch, edition)
                and algorithm in profile.key_algorithms
                and not profile.extensions.ocsp_no_check
            ):
                return self._offer(name, policy, profile)
        raise NotFoundError(f"this service issues no certificates of {edition} with {algorithm} keys")

    def for_profile(self, label: str, profile_name: str) -> Offer:
        """Return what a label offers to renew a certificate of a profile; NotFoundError when it does not."""
        name, policy = self.label(label)
        profile = self._profiles.get(profile_name)
        if profile is None or profile.level is not Level.LEAF or profile.branch != policy.branch:
            raise NotFoundError(f"this service does not renew {profile_name} certificates")
        return self._offer(name, policy, profile)

    def _offer(self, name: str, policy: EstLabel, profile: Profile) -> Offer:
        now = self._clock.now()
        known = self._known.get((name, profile.id))
        if known is not None and now < known[0]:
            return known[1]
        with self._store.transaction() as work:
            issuers = work.issuers.all()
            profile_id = work.issuers.pin_profile(profile, now)
            issuer = issuer_in_service(work, profile, policy.issuer)
        by_id = {one.id: one for one in issuers}
        chain = [issuer]
        while (parent := chain[-1].parent_id) is not None:
            chain.append(by_id[parent])
        certificates = tuple(one.certificate_der for one in chain)
        offer = Offer(
            label=name,
            policy=policy,
            profile=profile,
            profile_id=profile_id,
            profile_hash=profile.hash,
            issuer_label=issuer.label,
            chain=certificates,
            ca_certificates_der=certs_only(certificates),
            csr_attributes_der=csr_attributes(
                profile, profile.key_algorithms[0], linking_required=policy.linking is Linking.REQUIRED
            ),
        )
        self._known[name, profile.id] = (now + _KEPT, offer)
        return offer
