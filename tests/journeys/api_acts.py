"""What tests do with the whole API: things of partners that no other may see, and values that lead to them."""

import base64
import json
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from pki_core.model.contract_orders import ContractOrder
from pki_core.model.pools import Namespace
from pki_core.model.registrations import EndEntity
from pki_core.services.runners import running
from pki_core.services.webhooks import EndpointWish
from tests.builders import make_csr, name, new_key
from tests.journeys.acts import in_base64, upload_of, write_rows
from tests.journeys.contract_acts import contract
from tests.journeys.contract_rest_acts import contract_bodies
from tests.journeys.est_acts import certificates_of
from tests.journeys.pool_acts import ForeignCa, foreign_ca, kept_ca, vehicle_of
from tests.journeys.rest_acts import b64, pem, root_body, vehicle_body

NOBODY = "nobody"
# Those whose things are looked for come last: what they remove, others have asked for before.
CALLERS = (NOBODY, "oem-mo", "other-oem", "other-mo", "other-cpo", "cps", "alice", "cpo", "oem", "mo")
PCID, OTHER_PCID = "WPNFOREGN00000001", "VWXFOREGN00000001"
EMAID, OTHER_EMAID = "DEPNCC00000001", "FRXYZC00000001"
STATION, OTHER_STATION = "DEPNCE1", "FRXYZE1"
_numbers = count(100)


@dataclass(repr=False)  # hypothesis would print all of it
class World:
    """An application with callers, and what a test may put into its requests and look for in its answers."""

    api: object
    values: dict = field(default_factory=dict)  # by the name of a parameter in path or query
    recipes: dict = field(default_factory=dict)  # by the operation: whole requests, good ones most of them
    marks: dict = field(default_factory=dict)  # a text in things -> the callers who may read it

    @property
    def runtime(self):
        return self.api.runtime

    def offer(self, parameter, *values):
        self.values.setdefault(parameter, []).extend(values)

    def partner(self, partner_id):
        return next(one for one in self.runtime.partners.all() if one.id == partner_id)

    def recipe(self, operation, parameters=None, body=None, media_type="application/json"):
        """Keep a request; a body that is no octets is JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.recipes.setdefault(operation, []).append((parameters or {}, body, media_type))

    def mark(self, text, *allowed):
        self.marks[text] = frozenset(allowed)
        return text


def world_of(api):
    """Fill an environment."""
    world = World(api)
    _offer_public_words(world)
    for owner in ("mo", "other-mo", "cpo", "oem", "cps", "alice"):
        _add_webhooks(world, owner)
    world.offer("batch_id", _batch(world, "mo", is_signed=True), _batch(world, "mo"), _batch(world, "other-mo"))
    _fill_pools(world)
    _register_stations(world)
    _add_certificates(world)
    _add_bodies(world)
    return world


def _offer_public_words(world):
    runtime = world.runtime
    labels = ("cpo", "mo", "oem", "cps", "none")
    editions, algorithms = ("ISO15118-2", "ISO15118-20"), ("secp256r1", "secp521r1", "ed448")
    issuers = [record.label for record in runtime.certificates.issuers()]
    world.offer("label", *labels)
    world.offer("edition", *editions)
    world.offer("algorithm", *algorithms)
    world.offer("signatureAlgorithm", algorithms[0])
    world.offer("xsdMsgDefNamespace", "urn:iso:15118:2:2013:MsgDef")
    world.offer("caDomain", *labels, "emsp")
    world.offer("iso15118Version", *editions)
    for label in issuers[:2]:
        runtime.crls.publish(label)
        world.offer("name", label)
        for operation in ("certificate_der", "certificate_in_pem"):
            world.recipe(f"repository.{operation}", {"label": label})
    world.offer("rootType", "mo", "v2g", "oem", "PE", "none")
    world.offer("pkiType", "emsp", "v2g")


def _add_webhooks(world, owner):
    mark = world.mark(f"only-for-{owner}", owner)
    for _ in range(2):
        wish = EndpointWish(
            url=f"https://{owner}.example.com/hook", events=("root.cert.added",), description=mark, details={mark: 1}
        )
        endpoint = world.runtime.access.webhooks.add(world.partner(owner), wish)
        world.mark(world.runtime.access.webhooks.secret_of(endpoint), owner)
        world.offer("endpoint_id", endpoint.id)


def _batch(world, owner, *, is_signed=False):
    mark = world.mark(f"batch-of-{owner}-{next(_numbers)}", owner)
    path = world.runtime.home / f"{mark}.csv"
    write_rows(path, [[f"{mark}-row", in_base64(csr_of(owner)), ""], [f"{mark}-bad", "AAAA", ""]])
    batch, _ = world.runtime.uploads.submit(upload_of(path, owner))
    if is_signed:
        with running() as runner:
            while world.runtime.batches.sign_next_chunk(batch.id, runner) is not None:
                pass
    return batch.id


def _fill_pools(world):
    runtime = world.runtime
    world.api.ca = ca = foreign_ca(runtime)
    now = runtime.clock.now()
    oems, readers = ("oem", "other-oem"), ("mo", "other-mo", "cps", "alice", "oem-mo")
    for pcid, emaid, oem, mo in (
        (PCID, EMAID, oems[0], "mo"),
        (OTHER_PCID, OTHER_EMAID, oems[1], "other-mo"),
    ):
        vehicle = vehicle_of(ca, pcid)
        runtime.pools.provisioning.publish(world.partner(oem), vehicle)
        world.mark(b64(vehicle.leaf_der), oem, *readers)
        order = ContractOrder(emaid, emaid, pcid, now, now + timedelta(days=300))
        runtime.contracts.generation.generate_one(world.partner(mo), order, Namespace.ISO_2_2013)
        world.mark(b64(contract(runtime, emaid).leaf_der), oem, mo)
        world.offer("pcid", pcid)
        world.offer("emaid", emaid)
        world.offer("identifier", pcid, emaid)
    world.offer("root_id", *(root.id for root in runtime.pools.roots.all()[:2]))


def _register_stations(world):
    for owner, common_name in (("cpo", STATION), ("other-cpo", OTHER_STATION)):
        mark = world.mark(f"station-of-{owner}", owner)
        stations = [EndEntity(common_name=common_name, device_name=mark)]
        world.runtime.pools.registrations.put(world.partner(owner), stations)
        world.offer("common_name", common_name)


def _add_certificates(world):
    """Certificates of stations, for the calls that are about one."""
    for owner in ("cpo", "other-cpo"):
        for _ in range(2):
            answer = world.api.call(
                owner,
                "POST",
                "/.well-known/est/cpo/simpleenroll",
                {"Content-Type": "application/pkcs10"},
                data=base64.encodebytes(csr_of(owner)),
            )
            (certificate_der,) = certificates_of(base64.b64decode(answer.data))
            wish = {"certificate": b64(certificate_der), "revocationReason": "superseded"}
            world.recipe("opnc_revocation.revoke_certificate", body=wish)


def _add_bodies(world):
    for owner, label in (("cpo", "cpo"), ("mo", "mo"), ("oem", "oem"), ("other-cpo", "cpo")):
        body = base64.encodebytes(csr_of(owner))
        for operation in ("simpleenroll", "simplereenroll", "serverkeygen"):
            world.recipe(f"est.{operation}", {"label": label}, body, "application/pkcs10")
            world.recipe(f"est.{operation}_opnc", {"caDomain": label}, body, "application/pkcs10")
    grant = {"grant_type": "client_credentials", "client_id": "mo", "client_secret": world.api.secrets["mo"]}
    world.recipe("oauth.token", body=grant)
    world.recipe("oauth.token", body={**grant, "client_secret": "wrong"})
    world.recipe("webhooks.add", body={"url": "https://new.example.com/hook", "enabledEvents": ["root.cert.added"]})
    ca = kept_ca("foreign", world.runtime.clock.now())
    world.recipe("pools.pcp_publish", body=vehicle_body(ca, PCID))
    world.recipe("pools.pcp_publish", body=vehicle_body(ca, "WPNFOREGN00000009", pem))
    stranger = ForeignCa("stranger", world.runtime.clock.now())
    world.recipe("pools.pcp_publish", body=vehicle_body(stranger, OTHER_PCID))
    sent = vehicle_body(ca, "WPNFOREGN00000008")
    chain = dict(zip(("certificate", "subCa1Certificate", "subCa2Certificate"), sent.values(), strict=True))
    world.recipe("pools.pcp_publish_opnc", body={"provisioningCertificateChain": chain})
    for operation in ("rcp_add", "rcp_add_opnc"):
        world.recipe(f"pools.{operation}", body=root_body(ForeignCa(operation, world.runtime.clock.now())))
    for operation, emaid in (("ccp_delete", EMAID), ("ccp_delete_opnc", OTHER_EMAID)):
        world.recipe(f"pools.{operation}", {"identifier": emaid})
    _add_contract_bodies(world)
    world.recipe("pools.vra_put", body={"commonName": "DEPNCE9", "evseISOversion": "15118-20"})
    several = [{"commonName": "DEPNCE10"}, {"commonName": "FRXYZE10"}]
    world.recipe("pools.vra_put", body={"endEntities": several})


def _add_contract_bodies(world):
    kinds = {"generate": "order", "sign": "to-sign"}
    for suffix in ("", "_opnc"):
        bodies = contract_bodies(world.api, is_opnc=bool(suffix))
        for operation, kind in kinds.items():
            world.recipe(f"pools.cps_{operation}{suffix}", body=bodies[kind])
        world.recipe(f"pools.ccp_install{suffix}", body=bodies["request"])
        world.recipe(f"pools.ccp_add{suffix}", body=bodies["signed"])
        for pcid, emaid in ((PCID, EMAID), (OTHER_PCID, OTHER_EMAID)):
            world.recipe(f"pools.ccp_provide{suffix}", {"pcid": pcid, "emaid": emaid})
            world.recipe(f"pools.ccp_default{suffix}", {"pcid": pcid, "emaid": emaid})
    world.recipe("pools.cps_generate_many", body=bodies["orders"])
    for operation in ("forward", "sign_only"):
        world.recipe(f"pools.cps_{operation}", body=bodies["old"])


def csr_of(owner):
    """A request that becomes a certificate for this partner."""
    prefix = "FRXYZ" if owner.startswith("other") else "DEPNC"
    number = next(_numbers)
    common_name = {
        "mo": f"{prefix}C{number:08d}",
        "cpo": f"{prefix}E{number:06d}",
        "oem": f"WPN{number:014d}",
    }[owner.removeprefix("other-")]
    return make_csr(key=new_key(), subject=name(("C", "DE"), ("O", "Test Ltd"), ("CN", common_name)))
