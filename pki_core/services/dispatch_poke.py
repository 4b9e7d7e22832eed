"""Asks Prefect to run the dispatch flow now instead of within a minute. Whatever comes of it, the batch is queued.

Prefect's REST API is told; nothing of Prefect is imported. A run that is under way already makes this one superfluous:
the deployment's concurrency limit cancels it.
"""

import base64
import json
import logging
from collections.abc import Mapping
from urllib.parse import quote

from pki_core.model.errors import OutboundUnavailableError, RequestError
from pki_core.model.outbound import OutboundAnswer, OutboundRequest
from pki_core.outbound.client import OutboundClient

_FLOW = "dispatch"  # its deployments are named after the environments, as in deployments/prefect.yaml
_MOST_OCTETS = 1_000_000
_OK = frozenset({200, 201})

_log = logging.getLogger("pncpki.batches")


class DispatchPoke:
    """Pokes one Prefect server; without an address it does nothing."""

    def __init__(self, client: OutboundClient, environ: Mapping[str, str], environment: str) -> None:
        self._client = client
        self._deployment = f"{_FLOW}/{environment}"
        self._url = environ.get("PREFECT_API_URL", "").rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if key := environ.get("PREFECT_API_KEY", ""):
            self._headers["Authorization"] = f"Bearer {key}"
        elif user := environ.get("PREFECT_API_AUTH_STRING", ""):
            self._headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        self._deployment_id = ""

    def poke(self, batch_id: str) -> bool:
        """Ask for a run, once for each batch; return whether Prefect took it. Never raises."""
        if not self._url:
            return False
        try:
            self._deployment_id = self._deployment_id or self._find()
            body = json.dumps({"state": {"type": "SCHEDULED"}, "idempotency_key": f"batch {batch_id}"})
            answer = self._call("POST", f"/deployments/{self._deployment_id}/create_flow_run", body.encode())
            taken = answer.status in _OK
            if not taken:
                self._deployment_id = ""  # deployed anew, perhaps: look again next time
                _log.warning("Prefect answered %s to the poke for batch %s", answer.status, batch_id)
        except (OutboundUnavailableError, RequestError, ValueError, KeyError, TypeError) as error:
            _log.warning("Prefect was not poked for batch %s: %s", batch_id, type(error).__name__)
            return False
        return taken

    def _find(self) -> str:
        found = json.loads(self._call("GET", f"/deployments/name/{self._deployment}").body)
        return quote(str(found["id"]), safe="")

    def _call(self, method: str, path: str, body: bytes = b"") -> OutboundAnswer:
        request = OutboundRequest(
            url=self._url + path, method=method, body=body, headers=self._headers, max_octets=_MOST_OCTETS
        )
        return self._client.call(request)
