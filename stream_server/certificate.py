"""The certificate that the server shows, read before anything is served, so that what is wrong with it is said in
words.

It knows files and TLS, and nothing of who connects.
"""

from __future__ import annotations

import logging
import ssl
import time
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

SOON_DAYS: Final = 14
"""A certificate that is good for less is worth a warning: those that are renewed by themselves have more left."""

_EXPIRED: Final = 10  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED
_EARLY: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID


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
    _warn_of_time(context, certificate)
    return context


def _warn_of_time(context: ssl.SSLContext, certificate: Path) -> None:
    """Say so where the certificate is not good today, or not for much longer. Clients will refuse it, the server works.

    Python reads a certificate only for who shakes hands with it, so that is done, in memory.
    """
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server, client = context.wrap_bio(there, back, server_side=True), trusting.wrap_bio(back, there)
    try:
        for side in (client, server, client, server, client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        known = client.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            logger.warning("the certificate in %s has expired: clients refuse it", certificate)
        elif error.verify_code == _EARLY:
            logger.warning("the certificate in %s is not valid yet, by the clock of this machine", certificate)
        return
    except (ssl.SSLError, ValueError):  # what else there may be is between the certificate and those who connect
        return
    if ends := known.get("notAfter"):
        left = (ssl.cert_time_to_seconds(str(ends)) - time.time()) / 86_400
        if left < SOON_DAYS:
            logger.warning("the certificate in %s expires in %.1f days (%s)", certificate, left, ends)


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
