"""Secrets of webhook endpoints: each follows from the endpoint's id and one key in the home directory.

So the store holds none, and whoever reads a copy of it can forge no event. The key is made when it is first needed;
every machine that delivers, or tells partners their secret, has the same file.
"""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from pki_core.model.errors import SettingsError, UnavailableError

_OCTETS = 32


class WebhookSecrets:
    """Derives secrets."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = b""

    def of(self, endpoint_id: str) -> str:
        """Return the secret of an endpoint: 64 hexadecimal digits, the same every time.

        Raises:
            UnavailableError, SettingsError: the key cannot be read or made, or is none.
        """
        return hmac.new(self._load(), f"webhook {endpoint_id}".encode(), hashlib.sha256).hexdigest()

    def signature(self, endpoint_id: str, body: bytes) -> str:
        """Return the HMAC-SHA256 of a body, in hexadecimal; its key is the secret's text, as partners hold it."""
        return hmac.new(self.of(endpoint_id).encode(), body, hashlib.sha256).hexdigest()

    def _load(self) -> bytes:
        if not self._key:
            try:
                text = self._path.read_text(encoding="ascii") if self._path.exists() else self._make()
                key = bytes.fromhex(text)
            except OSError as error:
                raise UnavailableError(f"the key of webhook secrets cannot be read: {type(error).__name__}") from error
            except ValueError:
                key = b""
            if len(key) != _OCTETS:
                raise SettingsError(f"{self._path} holds no key of webhook secrets")
            self._key = key
        return self._key

    def _make(self) -> str:
        """Make the key: whole or not at all, and the first of several processes wins."""
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_OCTETS))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(draft, self._path)
        finally:
            draft.unlink()
        return self._path.read_text(encoding="ascii")
