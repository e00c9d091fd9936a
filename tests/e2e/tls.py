# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by openssl, and a server that shows one."""
import ssl
import subprocess

from harness import Glint, Raw


def openssl(*words):
    subprocess.run(['openssl', *map(str, words)], check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)


def make_authority(directory, name='authority'):
    """(certificate, key) of somebody who signs."""
    cert, key = directory / f'{name}.pem', directory / f'{name}.key'
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', 2, '-subj', f'/CN={name}',
            '-keyout', key, '-out', cert)
    return cert, key


def make_pair(directory, authority, name, serial):
    """(certificate, key) for 127.0.0.1 and localhost."""
    cert, key = directory / f'{name}.pem', directory / f'{name}.key'
    request, names = directory / f'{name}.csr', directory / f'{name}.ext'
    names.write_text('subjectAltName=DNS:localhost,IP:127.0.0.1\n')
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}', '-keyout', key,
            '-out', request)
    openssl('x509', '-req', '-in', request, '-CA', authority[0], '-CAkey', authority[1], '-days', 2, '-set_serial', serial,
            '-extfile', names, '-out', cert)
    return cert, key


class TlsGlint(Glint):
    """Its clients trust `authority`."""
    authority = None

    def client(self, *args):
        c = super().client(*args)
        c.http.verify = str(self.authority)
        return c

    def context(self):
        context = ssl.create_default_context(cafile=str(self.authority))
        context.set_alpn_protocols(['http/1.1'])
        return context


class RawTls(Raw):
    """Says exactly what it is told, encrypted."""

    def __init__(self, server, timeout=30, context=None):
        super().__init__(server, timeout)
        self.sock = (context or server.context()).wrap_socket(self.sock, server_hostname='localhost')

    def more(self):
        try:
            return super().more()
        except ssl.SSLEOFError:  # without a goodbye
            return b''
