"""Contract data signed by the provisioning service: in the token, by the CPS leaf, verified before it leaves."""

from collections.abc import Callable, Sequence

from pki_core.issuance.pace import Pace
from pki_core.model.contracts import ContractMessage
from pki_core.model.cps import CpsSigner
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.cps_signers import CpsSigners
from pki_core.wire.contract_answers import signed_documents


class ContractSigning:
    """Signs answers that vehicles will install."""

    def __init__(self, signers: CpsSigners) -> None:
        self._signers = signers
        self._pace = Pace()

    def choose(self, algorithm: KeyAlgorithm, root_sha256: str = "") -> CpsSigner:
        """Return the signer of new contract data; errors as of ``CpsSigners.choose``."""
        return self._signers.choose(algorithm, root_sha256)

    def signs_below(self, algorithm: KeyAlgorithm, root_sha256: str) -> bool:
        """Tell whether somebody signs below a V2G root."""
        return self._signers.signs_below(algorithm, root_sha256)

    def check_ready(self, algorithm: KeyAlgorithm, root_sha256: str = "") -> None:
        """Bind the key of the newest signer; errors as of ``CpsSigners.choose`` and ``key_of``."""
        self._signers.key_of(self.choose(algorithm, root_sha256))

    def signed(
        self, messages: Sequence[ContractMessage], signer: CpsSigner, before_piece: Callable[[], None] | None = None
    ) -> list[bytes]:
        """Return messages signed and encoded; ``before_piece`` is called ahead of each piece the token is asked for.

        Raises:
            SignatureInvalidError: a signature does not verify; none leaves.
            HsmUnavailableError: the token is away.
        """
        if not messages:
            return []
        key = self._signers.key_of(signer)
        return self._pace.run(messages, lambda piece: signed_documents(piece, key), before_piece)
