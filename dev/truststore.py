"""Write the certificates of a PEM file as the truststore of a JDK: dev/truststore.py PEM OUTPUT."""

import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12


def main(pem: str, output: str) -> None:
    """Read every certificate of `pem` and write a PKCS#12 truststore (password `changeit`, Java's own default)."""
    certificates = x509.load_pem_x509_certificates(Path(pem).read_bytes())
    entries = [pkcs12.PKCS12Certificate(cert, str(i).encode()) for i, cert in enumerate(certificates)]
    Path(output).write_bytes(pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(b"changeit")))


if __name__ == "__main__":
    main(*sys.argv[1:])
