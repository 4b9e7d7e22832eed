"""Flow: publish the CRLs that are due. A list that may not be published stays away alone, and the flow fails loudly."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime
from pki_core.services.crls import PublishReport, raise_failures


@flow(name="publish-crls", persist_result=False, retries=2, retry_delay_seconds=60)
def publish_crls(*, everything: bool = False, dry_run: bool = False) -> dict[str, Any]:
    """Publish what is due, or with ``everything`` every list; returns the file names, dry: of what is due.

    Raises:
        CrlGuardError, LintError: a list may not be published; the one before is still served.
        UnavailableError: the store or the token is away.
    """
    crls = environment_runtime().crls
    report = PublishReport(published=(), failures=()) if dry_run else crls.publish_due(everything=everything)
    names = crls.due(everything=everything) if dry_run else report.published
    found: dict[str, Any] = {"dry_run": dry_run, "published": list(names)}
    failed = [f"{one.issuer_label} {one.scope}: {one.error.code}" for one in report.failures]
    create_table_artifact(table=[{**found, "failed": failed}], key="publish-crls", description="CRLs published")
    raise_failures(report.failures)
    return found
