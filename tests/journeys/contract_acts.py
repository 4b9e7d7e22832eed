"""What tests do with contract data: vehicles that our OEM CA certified, orders of operators, and their makings."""

from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448

from pki_core.model.contract_orders import ContractOrder
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.uploads import issuer_for
from pki_core.wire.contract_key import scalar_of
from tests.builders import new_key
from tests.contract_chains import Entity
from tests.journeys.acts import order_for
from tests.journeys.pool_acts import issue
from tests.vehicle import Vehicle

P256, P521, ED448 = KeyAlgorithm.SECP256R1, KeyAlgorithm.SECP521R1, KeyAlgorithm.ED448
SUFFIX = {P256: "", P521: "_20", ED448: "_20_ed448"}
LABEL = {P256: "", P521: "-20", ED448: "-20-ed448"}
PCID, OTHER_PCID = "WPNTESTVEHCLE0001", "WPNTESTVEHCLE0002"
EMAID, OTHER_EMAID = "DEPNC000000101", "DEPNC000000102"
YEAR = timedelta(days=365)


@dataclass
class Garage:
    """An environment's vehicles."""

    runtime: object

    def build(self, pcid=PCID, algorithm=P256, key=None):
        """A vehicle whose provisioning certificate we issued; it is in the PCP."""
        return self.build_many([pcid], algorithm, [key or new_key(algorithm)])[0]

    def build_many(self, pcids, algorithm=P256, keys=None):
        keys = keys or [new_key(algorithm) for _ in pcids]
        outcomes = issue(self.runtime, "oem_provisioning_leaf" + SUFFIX[algorithm], *pcids, keys=keys)
        above = self._above(f"oem-sub2{LABEL[algorithm]}")
        root = self._above(f"cps-sub2{LABEL[algorithm]}").above.above
        return [self._vehicle(key, one, above, (algorithm, root)) for key, one in zip(keys, outcomes, strict=True)]

    @staticmethod
    def _vehicle(key, outcome, above, kind):
        entity = Entity(certificate=x509.load_der_x509_certificate(outcome.certificate_der), key=key, above=above)
        agreement = scalar_of(key) if isinstance(key, ed448.Ed448PrivateKey) else None
        return Vehicle(entity, kind[0], [kind[1]], agreement_key=agreement)

    def _above(self, label):
        with self.runtime.store.reading() as work:
            by_id = {one.id: one for one in work.issuers.all()}
        record = next(one for one in by_id.values() if one.label == label)
        chain = [record]
        while chain[-1].parent_id is not None:
            chain.append(by_id[chain[-1].parent_id])
        entity = None
        for one in reversed(chain):
            certificate = x509.load_der_x509_certificate(one.certificate_der)
            entity = Entity(certificate=certificate, key=None, above=entity)
        return entity


def wanted(runtime, emaid=EMAID, pcid=PCID, **changes):
    """An order of a contract for a year."""
    now = runtime.clock.now()
    fields = {"reference": emaid, "emaid": emaid, "pcid": pcid, "begins": now, "ends": now + YEAR}
    return ContractOrder(**{**fields, **changes})


def demo_mo(runtime):
    with runtime.store.reading() as work:
        return work.partners.get("demo-mo")


def make(runtime, *orders, algorithm=P256, partner=None, hooks=None, root=""):
    """Make contracts for the demo operator; returns the outcomes."""
    profile = runtime.profiles["contract_leaf" + SUFFIX[algorithm]]
    record = issuer_for(profile, runtime.certificates.issuers())
    order = order_for(runtime, profile, partner or demo_mo(runtime))
    return runtime.contracts.making.issue(runtime.issuers.get(record.label), order, orders, hooks, root)


def signed_data(runtime, emaid=EMAID):
    with runtime.store.reading() as work:
        return work.contract_pool.signed_data(emaid[:14])


def contract(runtime, emaid=EMAID):
    with runtime.store.reading() as work:
        return work.contract_pool.get(emaid[:14])


def ending_ca(runtime, label, after):
    """Let a CA end soon, as one does that is not renewed in time; returns its end."""
    end = (runtime.clock.now() + after).replace(microsecond=0)
    with runtime.store.transaction() as work:
        statement = f"UPDATE issuer SET not_after = {int(end.timestamp())} WHERE label = '{label}'"  # noqa: S608  # ours
        assert work.audit._connection.exec_driver_sql(statement).rowcount == 1
    return end
