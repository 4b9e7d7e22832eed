"""What tests do with webhooks: a partner's client, events that happen, deliveries."""

import uuid

from sqlalchemy import insert

from pki_core.store.pool_tables import outbox_event
from tests.journeys.rest_acts import PartnerClient

PLACE = "/v1/webhook/endpoints"
PCID, EMAID = "WPNABCDEFGHJKLMN1", "DEPNCC00000001"


class HookClient(PartnerClient):
    """With a word for each call about endpoints."""

    def call(self, method, path=PLACE, **more):
        return super().call(method, path, **more)

    def add(self, url="https://hooks.example.com/payload", events=("mo.prov.cert.deleted",), **more):
        return self.call("POST", json={"url": url, "enabledEvents": list(events), **more})

    def added(self, *arguments, **more):
        answer = self.add(*arguments, **more)
        assert answer.status_code == 201, answer.data
        return answer.json


def happen(runtime, kind="mo.prov.cert.deleted", scope="", count=1, **changes):
    """Put events into the outbox, as the pools do."""
    event = {"type": kind, "scope": scope, "at": 1_770_000_000, "pcid": PCID, "emaid": EMAID, "root_id": "", **changes}
    with runtime.store.transaction() as work:
        connection = work.audit._connection
        connection.execute(insert(outbox_event), [{**event, "id": str(uuid.uuid4())} for _ in range(count)])


def deliver(runtime):
    report = runtime.access.webhook_deliveries.run(1000)
    return report.delivered, report.refused, report.failed, report.waiting
