"""What the published package iso15118 says; run with its own Python. Lines of JSON in, lines of JSON out.

{"encode": DOCUMENT, "namespace": URI} -> {"exi": HEX}
{"decode": HEX, "namespace": URI} -> {"document": DOCUMENT}
{"decrypt": HEX, "vehicle_key": PEM, "dh_public_key": HEX} -> {"key": HEX}
"""

import json
import sys


def main():
    codec = None
    for line in sys.stdin:
        question = json.loads(line)
        if "decrypt" in question:
            answer = {"key": decrypted(question).hex()}
        else:
            codec = codec or java_codec()
            answer = asked(codec, question)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def java_codec():
    from iso15118.shared.exificient_exi_codec import ExificientEXICodec

    return ExificientEXICodec()


def asked(codec, question):
    if "encode" in question:
        return {"exi": bytes(codec.encode(json.dumps(question["encode"]), question["namespace"])).hex()}
    return {"document": json.loads(codec.decode(bytes.fromhex(question["decode"]), question["namespace"]))}


def decrypted(question):
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from iso15118.shared.security import decrypt_priv_key, to_ec_pub_key

    return decrypt_priv_key(
        bytes.fromhex(question["decrypt"]),
        load_pem_private_key(question["vehicle_key"].encode(), None),
        to_ec_pub_key(bytes.fromhex(question["dh_public_key"])),
    )


if __name__ == "__main__":
    main()
