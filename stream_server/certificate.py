"""The certificate that the server shows, read before anything is served, so that what is wrong with it is said in
words.

It knows files and TLS, and nothing of who connects.
"""

from __future__ import annotations

import ssl
from pathlib import Path


class CertificateError(Exception):
    """The certificate or its key cannot be used; the message says which, and why."""


def tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """TLS 1.2 and later with this certificate; None without one.

    Args:
        certificate: a PEM file with the server's certificate and those between it and the authority's.
        key: a PEM file with the key, not encrypted; None where the key is in the certificate's file.

    Raises:
        CertificateError: a file is missing or holds something else, or the two do not belong together.
    """
    if certificate is None:
        if key is not None:
            raise CertificateError("tls_key is set without tls_certificate; TLS needs both")
        return None
    _check(certificate, "certificate", "CERTIFICATE-----")
    _check(key or certificate, "key of the certificate", "PRIVATE KEY-----")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(f"the key in {key or certificate} is not that of {certificate}") from None
        raise CertificateError(f"cannot use {certificate} with {key or certificate}: {error}") from None
    return context


def _check(file: Path, what: str, begins: str) -> None:
    """OpenSSL's own words for these are riddles, and for an encrypted key it asks the terminal."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CertificateError(f"cannot read the {what}: {file}: {error.strerror}") from None
    if begins not in text:
        raise CertificateError(f"there is no {what} in {file}; it has to be a PEM file")
    if begins.startswith("PRIVATE") and "ENCRYPTED" in text:
        raise CertificateError(f"the key in {file} is encrypted; the server has nobody to ask for its password")
