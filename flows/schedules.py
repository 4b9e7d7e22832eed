"""When each flow runs, on which hosts, and how many at once: for one machine; deployments/prefect.yaml says the same.

A test holds this list, that file and ``pncpki run`` against each other.
"""

from typing import NamedTuple

SIGNING, MAINTENANCE = "signing", "maintenance"  # hosts with the token, and any others


class Scheduled(NamedTuple):
    """One flow; without ``cron`` it runs when it is asked for."""

    flow: str
    zone: str
    cron: str
    at_once: int = 1
    parameter: str = ""  # what a run must be given


SCHEDULES = (
    Scheduled("sign_batches", SIGNING, "", 4, "batch_id"),
    Scheduled("issue_contracts", SIGNING, "", 4, "file"),
    Scheduled("dispatch", SIGNING, "* * * * *"),
    Scheduled("sweep_stuck", SIGNING, "*/2 * * * *"),
    Scheduled("publish_crls", SIGNING, "*/5 * * * *"),
    Scheduled("refresh_ocsp", SIGNING, "7,37 * * * *"),
    Scheduled("renew_contracts", SIGNING, "20 4 * * *"),
    Scheduled("resign_contracts", SIGNING, "33 * * * *"),
    Scheduled("rotate_responders", SIGNING, "17 * * * *"),
    Scheduled("rotate_token_keys", SIGNING, "*/10 * * * *"),
    Scheduled("seal_audit", SIGNING, "*/10 * * * *"),
    Scheduled("deliver_webhooks", MAINTENANCE, "* * * * *"),
    Scheduled("check_pools", MAINTENANCE, "11,26,41,56 * * * *"),
    Scheduled("sweep_expired", MAINTENANCE, "27 * * * *"),
    Scheduled("clean_ccp", MAINTENANCE, "42 * * * *"),
    Scheduled("remind_renewals", MAINTENANCE, "50 5 * * *"),
    Scheduled("watch_ages", MAINTENANCE, "*/10 * * * *"),
)
FLOWS = tuple(sorted(one.flow for one in SCHEDULES if not one.parameter))  # what `pncpki run` knows
