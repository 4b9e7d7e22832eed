"""JSON schemas of contract data: what the provisioning service and the CCP take and give (JSON Schema 2020-12)."""

from typing import Any, Final

from pki_core.model.contract_orders import LONGEST_RENEWAL
from pki_core.model.limits import NOTE_LIMIT
from pki_core.services.own_contracts import MOST_AT_ONCE
from webapp.api_routes import TEXT, Schema
from webapp.pool_schemas import BASE64, CERTIFICATE, CHAIN, EMAID, HEX_256, MOMENT, NAMESPACE, PCID, list_of, named

_VERDICT: Final[Schema] = {"type": "string", "enum": ["issued", "refused"]}
META: Final[Schema] = {"type": "string", "maxLength": NOTE_LIMIT}
_ROOT: dict[str, Any] = {"cpsV2GRootCertificateFingerprint": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}}
_ORDER = {
    "emaid": EMAID,
    "pcid": PCID,
    "contractBegins": MOMENT,
    "contractEnds": MOMENT,
    "renewDays": {"type": "integer", "minimum": 0, "maximum": LONGEST_RENEWAL},
}
_MO_ROOT = {"moRootCertificateFingerprint": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}}
_EXTRAS = {"xsdMsgDefNamespace": NAMESPACE, **_ROOT, "metaData": META}
_NEEDED = ("emaid", "pcid", "contractBegins", "contractEnds")
ORDER: Final = named("ContractOrder", {**_ORDER, **_EXTRAS, **_MO_ROOT}, needed=_NEEDED, is_open=True)
_ONE_OF_MANY = {**_ORDER, "xsdMsgDefNamespace": NAMESPACE, "metaData": META}
ORDERS: Final = named(
    "ContractOrders",
    {
        "contracts": list_of(named("ContractOrderOfMany", _ONE_OF_MANY, needed=_NEEDED, is_open=True), MOST_AT_ONCE),
        **_EXTRAS,
        **_MO_ROOT,
    },
    needed=("contracts",),
    is_open=True,
)
VERDICTS: Final = named(
    "ContractVerdicts",
    {
        "verdicts": list_of(
            named(
                "ContractVerdict",
                {"emaid": TEXT, "pcid": TEXT, "verdict": _VERDICT, "code": TEXT, "message": TEXT},
                needed=("emaid", "pcid", "verdict", "code", "message"),
            )
        )
    },
    needed=("verdicts",),
)
_KEYS = {"contractSignatureEncryptedPrivateKey": BASE64, "dHpublickey": BASE64}
TO_SIGN: Final = named(
    "ContractDataToSign",
    {
        "contractData": named(
            "ContractData",
            {
                "contractCertificate": CERTIFICATE,
                "contractSubCa1Certificate": CERTIFICATE,
                "contractSubCa2Certificate": CERTIFICATE,
                **_KEYS,
            },
            needed=("contractCertificate", "contractSubCa1Certificate", *_KEYS),
            is_open=True,
        ),
        "pcid": PCID,
        **_EXTRAS,
    },
    needed=("contractData",),
    is_open=True,
)
TO_SIGN_OLD: Final = named(
    "ContractDataToSignDeprecated",
    {
        "contractSignatureCertChain": named(
            "ContractSignatureCertChain",
            {
                "contractSignatureCertChainCertificate": CERTIFICATE,
                "contractSignatureCertChainSubCertificates": list_of(CERTIFICATE, 2),
            },
            needed=("contractSignatureCertChainCertificate", "contractSignatureCertChainSubCertificates"),
            is_open=True,
        ),
        **_KEYS,
        "pcid": PCID,
        **_EXTRAS,
    },
    needed=("contractSignatureCertChain", *_KEYS),
    is_open=True,
)
TO_SIGN_OPNC: Final = named(
    "ContractDataToSignOpnc",
    {
        "contractCertificateBundle": named(
            "ContractCertificateBundle",
            {"pcid": PCID, "emaid": EMAID, "contractCertificateChain": CHAIN, **_KEYS},
            needed=("contractCertificateChain", *_KEYS),
            is_open=True,
        ),
        **_EXTRAS,
    },
    needed=("contractCertificateBundle",),
    is_open=True,
)
_SIGNED_FACTS = {
    "pcid": TEXT,
    "emaid": EMAID,
    "xsdMsgDefNamespace": NAMESPACE,
    "cpsV2GRootCertificateFingerprint": HEX_256,
    "cpsRootDistinguishedName": TEXT,
    "metaData": META,
}
SIGNED: Final = named(
    "SignedContract",
    {"signedData": BASE64, **_SIGNED_FACTS},
    needed=("pcid", "emaid", "xsdMsgDefNamespace", "signedData"),
)
SIGNED_OPNC: Final = named(
    "SignedContractOpnc",
    {"certificateInstallationRes": BASE64, **_SIGNED_FACTS},
    needed=("certificateInstallationRes",),
)
SIGNED_DATA: Final = named(
    "SignedContractDataUpload",
    {"emaid": EMAID, "pcid": PCID, "signedContractDataXML": BASE64, **_EXTRAS},
    needed=("emaid", "pcid", "signedContractDataXML"),
    is_open=True,
)
SIGNED_DATA_OPNC: Final = named(
    "SignedContractDataUploadOpnc",
    {"emaid": EMAID, "pcid": PCID, "certificateInstallationRes": BASE64, **_EXTRAS},
    needed=("emaid", "pcid", "certificateInstallationRes"),
    is_open=True,
)
INSTALLATION: Final = named(
    "InstallationRequest",
    {"certificateInstallationReq": BASE64, "xsdMsgDefNamespace": NAMESPACE, "metadata": META},
    needed=("certificateInstallationReq",),
    is_open=True,
)
CCP_RESPONSE: Final = named(
    "CcpResponse",
    {
        "emaidContent": list_of(
            named(
                "EmaidContent",
                {
                    "messageDef": named(
                        "MessageDef",
                        {
                            "certificateInstallationRes": BASE64,
                            "emaid": TEXT,
                            "metaData": META,
                            "cpsV2GRootCertificateFingerprint": HEX_256,
                        },
                        needed=("certificateInstallationRes",),
                    )
                },
                needed=("messageDef",),
            )
        )
    },
    needed=("emaidContent",),
)
PROVIDED: Final = named(
    "ProvidedContract",
    {"certificateInstallationRes": BASE64, "xsdMsgDefNamespace": NAMESPACE},
    needed=("certificateInstallationRes", "xsdMsgDefNamespace"),
)
_SIGNER_FACTS = {
    "cpsDistinguishedName": TEXT,
    "validFrom": MOMENT,
    "validTo": MOMENT,
    "organizationName": TEXT,
    "cpsV2GRootCertificateFingerprint": HEX_256,
    "xsdMsgDefNamespace": NAMESPACE,
}
SIGNER: Final = named(
    "CpsSigner",
    {
        **_SIGNER_FACTS,
        "cpsRootDistinguishedName": TEXT,
        "cpsCertificate": CERTIFICATE,
        "cpsSubCa1Certificate": CERTIFICATE,
        "cpsSubCa2Certificate": CERTIFICATE,
    },
    needed=("cpsDistinguishedName", "cpsCertificate", "validFrom", "validTo"),
)
SIGNER_OPNC: Final = named(
    "CpsSignerOpnc",
    {**_SIGNER_FACTS, "cpsV2GRootDistinguishedName": TEXT, "cpsCertificateChain": CHAIN},
    needed=("cpsDistinguishedName", "cpsCertificateChain", "validFrom"),
)
