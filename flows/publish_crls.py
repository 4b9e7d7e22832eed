"""Flow: publish the CRLs that are due. A list that may not be published stays away alone, and the flow fails loudly."""

import os
from typing import Any

from prefect import flow

from flows.chunk_worker import process_runtime
from pki_core.services.crls import raise_failures


@flow(name="publish-crls", persist_result=False, retries=2, retry_delay_seconds=60)
def publish_crls(*, everything: bool = False) -> dict[str, Any]:
    """Publish what is due, or with ``everything`` every list; returns the file names.

    Raises:
        CrlGuardError, LintError: a list may not be published; the one before is still served.
        UnavailableError: the store or the token is away.
    """
    report = process_runtime(os.environ["PNCPKI_HOME"]).crls.publish_due(everything=everything)
    raise_failures(report.failures)
    return {"published": list(report.published)}
