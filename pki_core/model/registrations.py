"""End entities registered before they enrol: the registration authority's list of charging stations (VRA)."""

from dataclasses import dataclass

from pki_core.model.errors import MalformedError

ISO_VERSIONS = ("15118-2", "15118-20")
MAX_TEXT = 100  # characters
MAX_EVSE_IDS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEntity:
    """One device a partner announced."""

    common_name: str
    evse_ids: tuple[str, ...] = ()
    manufacturer: str = ""
    device_name: str = ""
    software_version: str = ""
    evse_serial_number: str = ""
    charge_box_serial_number: str = ""
    ocpp_version: str = ""
    iso_version: str = ISO_VERSIONS[0]

    def __post_init__(self) -> None:
        texts = [value for value in self._values() if isinstance(value, str)] + list(self.evse_ids)
        if any(len(text) > MAX_TEXT or not text.isprintable() for text in texts):
            raise MalformedError(f"each text of an end entity has at most {MAX_TEXT} printable characters")
        if len(self.evse_ids) > MAX_EVSE_IDS:
            raise MalformedError(f"an end entity has at most {MAX_EVSE_IDS} EVSE IDs")
        if not canonical_name(self.common_name):
            raise MalformedError("the common name of an end entity has no letter or digit")

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    @property
    def canonical(self) -> str:
        """What it is compared by."""
        return canonical_name(self.common_name)


def canonical_name(common_name: str) -> str:
    """Return the ASCII letters and digits of a name, upper case: requests leave the separators out."""
    return "".join(character for character in common_name if character.isascii() and character.isalnum()).upper()
