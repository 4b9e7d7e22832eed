"""What tests do with batches over HTTP: a partner's client, signing, and what answers and the spool say."""

from pki_core.services.runners import running
from tests.journeys.acts import upload_of
from tests.journeys.rest_acts import PartnerClient


def emaid(number):
    return f"DEPNCC{number:08d}"


class ApiClient(PartnerClient):
    """With a word for each call about batches."""

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, **more):
        return self.call("POST", path, **more)

    def upload(self, octets, query="?name=batch.csv", content_type="text/csv"):
        return self.post(f"/v1/batches{query}", data=octets, content_type=content_type)

    def batch(self, octets):
        """A batch without the way through a process of its own, which other tests go."""
        path = self.runtime.home / "batch.csv"
        path.write_bytes(octets)
        return self.runtime.uploads.submit(upload_of(path))[0].id


def sign(runtime, batch_id, chunks=None):
    """Sign a batch, or some chunks of it."""
    with running() as runner:
        while chunks is None or chunks > 0:
            if runtime.batches.sign_next_chunk(batch_id, runner) is None:
                return
            chunks = None if chunks is None else chunks - 1


def errors_of(answer):
    assert set(answer.json) == {"errorMessages", "traceId"}
    return answer.status_code, [message.partition(": ")[2] or message for message in answer.json["errorMessages"]]


def uploads_of(runtime):
    return list((runtime.home / "uploads").iterdir())
