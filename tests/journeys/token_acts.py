"""A client of the token endpoint."""

from tests.journeys.est_acts import EstClient, station_csr
from webapp import create_app


class TokenClient:
    """One client of the token endpoint."""

    def __init__(self, runtime, partner="demo-cpo"):
        self.runtime = runtime
        self.app = create_app(runtime)
        self.partner = partner
        self.secret = runtime.credentials.make_secret(partner)

    def post(self, **changes):
        body = {"client_id": self.partner, "client_secret": self.secret, "grant_type": "client_credentials", **changes}
        body = {name: value for name, value in body.items() if value is not None}
        return self.app.test_client().post("/oauth/token", json=body)

    def token(self, **changes):
        answer = self.post(**changes)
        assert answer.status_code == 200, answer.data
        return answer.json["access_token"]

    def get(self, path):
        return self.app.test_client().get(path)

    def enroll(self, token, number="12345"):
        client = EstClient(self.runtime, self.app, headers={"Authorization": f"Bearer {token}"})
        return client.enroll(station_csr(f"DEPNCE{number}"))
