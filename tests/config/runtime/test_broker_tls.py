"""A broker asked for over TLS shows a certificate that is trusted and its own, or gets no message."""

import datetime
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).resolve().parents[3]
HERE = x509.IPAddress(ip_address("127.0.0.1"))
ELSEWHERE = x509.DNSName("elsewhere.example")
PUBLISH = "from tests.config.probe import note; note.apply_async(args=('/dev/null', 'word'), retry=False)"


@pytest.mark.parametrize("address", ["rediss://127.0.0.1:{}/0", "amqps://127.0.0.1:{}//"])
@pytest.mark.parametrize(
    ("name", "is_trusted", "is_talked_to"),
    [(HERE, True, True), (HERE, False, False), (ELSEWHERE, True, False)],
    ids=["right", "untrusted", "of another"],
)
def test_only_a_trusted_certificate_of_its_own_is_talked_to(
    address: str, name: x509.GeneralName, is_trusted: bool, is_talked_to: bool, tmp_path: Path
) -> None:
    certificate = write_certificate(tmp_path / "broker.pem", name)
    with listening(certificate) as (port, heard):
        trusted = certificate if is_trusted else Path(os.devnull)
        output = publish(address.format(port), trusted)
    assert bool(heard) == is_talked_to
    assert ("CERTIFICATE_VERIFY_FAILED" in output) != is_talked_to


def write_certificate(path: Path, name: x509.GeneralName) -> Path:
    """Write a key and a certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def listening(certificate: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Listen over TLS, and gather what is said first on each connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    heard: list[bytes] = []

    def answer(listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError), context.wrap_socket(near, server_side=True) as connection:
                if said := connection.recv(1024):
                    heard.append(said)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=[listener], daemon=True).start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)


def publish(address: str, trusted: Path) -> str:
    """Publish to a broker that will not take it; return what that ends with."""
    environment = {
        **os.environ,
        "CELERY_BROKER_URL": address,
        "SSL_CERT_FILE": str(trusted),
        "HEADRACE_WEB": "1",
    }
    command = [sys.executable, "-c", PUBLISH]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    return done.stderr
