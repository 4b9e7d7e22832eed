"""A key ceremony as a value: one reviewable file, one act."""

from dataclasses import dataclass
from enum import StrEnum

from pki_core.model.errors import CeremonyError
from pki_core.model.signer import KeyAlgorithm


class Act(StrEnum):
    """What a ceremony does."""

    CREATE_ROOT = "create-root"
    CREATE_SUB_CA = "create-sub-ca"
    CREATE_RESPONDER = "create-responder"
    CREATE_CPS_SIGNER = "create-cps-signer"

    @property
    def makes_ca(self) -> bool:
        """Whether what it makes issues certificates."""
        return self in {Act.CREATE_ROOT, Act.CREATE_SUB_CA}


@dataclass(frozen=True, slots=True)
class BegunCeremony:
    """A ceremony that may have made its key, and has made its certificate when that has a number."""

    file_sha256: str
    certificate_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CeremonyPlan:
    """The content of a ceremony file."""

    act: Act
    environment: str
    label: str
    profile: str
    parent: str  # "" for a root
    key_label: str
    algorithm: KeyAlgorithm
    common_name: str
    organization: str
    country: str
    witnesses: tuple[str, ...]
    sha256: str  # of the file, as reviewed
    same_name_as: str = ""  # the label of a CA that has this name already: said on purpose, or not at all

    @classmethod
    def from_document(cls, document: dict[str, object], sha256: str) -> "CeremonyPlan":
        """Read a parsed ceremony file; every key but ``same_name_as`` is required and no other is allowed.

        Raises:
            CeremonyError: says which key is missing, unknown or wrong.
        """
        wanted, optional = set(cls.__slots__) - {"sha256", "same_name_as"}, {"same_name_as"} & set(document)
        missing, unknown = sorted(wanted - set(document)), sorted(set(document) - wanted - optional)
        if missing or unknown:
            fault = f"does not say {missing[0]!r}" if missing else f"says {unknown[0]!r}, which means nothing here"
            raise CeremonyError(f"the ceremony file {fault}")
        witnesses = document["witnesses"]
        texts = {key: document[key] for key in (wanted | optional) - {"witnesses"}}
        if not isinstance(witnesses, list) or not all(isinstance(text, str) for text in [*texts.values(), *witnesses]):
            raise CeremonyError("every value of a ceremony file is a text, and witnesses is a list of names")
        try:
            return cls(
                **{
                    **texts,
                    "act": Act(str(texts["act"])),
                    "algorithm": KeyAlgorithm(str(texts["algorithm"])),
                },  # type: ignore[arg-type]
                witnesses=tuple(witnesses),
                sha256=sha256,
            )
        except ValueError as error:
            raise CeremonyError(f"the ceremony file says {error}") from error
