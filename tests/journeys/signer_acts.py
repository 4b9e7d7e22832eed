"""Ceremonies that make signers of contract data."""

from pki_core.model.ceremonies import Act
from tests.journeys.acts import plan_for


def signer(label="cps-signer-2", **changes):
    """A ceremony that makes another signer."""
    fields = {"parent": "cps-sub2", "common_name": "CPS 2"}
    return plan_for(Act.CREATE_CPS_SIGNER, label, "cps_leaf", **{**fields, **changes})
