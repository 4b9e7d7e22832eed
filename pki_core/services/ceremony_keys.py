"""Keys of ceremonies: made once, never overwritten, found again by the file that made them, and proved."""

import hashlib
from collections.abc import Callable

from pki_core.model.ceremonies import CeremonyPlan
from pki_core.model.errors import ConflictError, InvariantError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Profile
from pki_core.model.signer import KeyStore, Signer
from pki_core.services.ceremony_rules import subject_of
from pki_core.wire.certificate import name_der, signature_is_valid
from pki_core.wire.public_key import load_public_key

Say = Callable[[str], None]


class CeremonyKeys:
    """What a ceremony does with the key store; ``note`` writes a line of the transcript."""

    def __init__(self, key_store: KeyStore) -> None:
        self._key_store = key_store

    def is_taken(self, plan: CeremonyPlan) -> bool:
        """Tell whether there is a key of the plan's label."""
        return self._key_store.is_taken(plan.key_label)

    def make(self, plan: CeremonyPlan, note: Say) -> Signer:
        """Make the key of a plan."""
        signer = self._key_store.generate(plan.key_label, plan.algorithm)
        in_file = self._key_store.identity.kind == "file"
        place = "in a file, for development only" if in_file else "in the token: sensitive, never extractable"
        note(f"key {plan.key_label} {plan.algorithm} made {place}")
        note(f"public key sha256 {hashlib.sha256(signer.spki_der).hexdigest()}")
        return signer

    def take_up(self, plan: CeremonyPlan, profile: Profile, pending: IssuerRecord, note: Say) -> Signer:
        """Go on with a ceremony that was interrupted before its CA was put into service: same file, same key."""
        if pending.key_label != plan.key_label or pending.subject_der != name_der(subject_of(plan, profile)):
            raise ConflictError(f"an interrupted ceremony made {plan.label!r} with another name or key; use its file")
        signer = self.bind(plan, note)
        if signer.spki_der != pending.spki_der:
            raise ConflictError(f"an interrupted ceremony made {plan.label!r} with another key than {plan.key_label!r}")
        return signer

    def bind(self, plan: CeremonyPlan, note: Say) -> Signer:
        """Return the key an interrupted run has made; ConflictError when it is one of another kind."""
        signer = self._key_store.bind(plan.key_label)
        if signer.algorithm is not plan.algorithm:
            raise ConflictError(f"the key {plan.key_label!r} is {signer.algorithm}, not {plan.algorithm}")
        note(f"key {plan.key_label} is that of an interrupted run of this file")
        note(f"public key sha256 {hashlib.sha256(signer.spki_der).hexdigest()}")
        return signer


def prove(plan: CeremonyPlan, signer: Signer, note: Say) -> None:
    """Have a key sign for its own certificate; InvariantError when it does not."""
    challenge = b"pncpki ceremony proof of possession " + plan.sha256.encode()
    own_algorithm, own_key = load_public_key(signer.spki_der)
    if not signature_is_valid(own_key, own_algorithm, challenge, signer.sign([challenge])[0]):
        raise InvariantError(f"key {plan.key_label} does not sign for its own certificate")
    note(f"verified: the token signs with the key of {plan.label}")
