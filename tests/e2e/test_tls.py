# SPDX-License-Identifier: Apache-2.0
"""TLS, with the clients that people have."""
import hashlib
import io
import json
import os
import shutil
import socket
import ssl
import subprocess

import pytest
from keystoneauth1 import noauth, session

from harness import A, Raw, pattern, wait_for
from tls import RawTls, TlsGlint, make_authority, make_pair

MIB = 1 << 20
pytestmark = pytest.mark.glint_only


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp('certificates')
    authority = make_authority(directory)
    return {'authority': authority, 'pairs': [make_pair(directory, authority, f'server{n}', n + 1) for n in range(2)],
            'client': make_pair(directory, authority, 'client', 9), 'stranger': make_authority(directory, 'stranger')}


def start(root, files, config=None):
    root.mkdir()
    cert, key = root / 'cert.pem', root / 'key.pem'
    shutil.copy(files['pairs'][0][0], cert)
    shutil.copy(files['pairs'][0][1], key)
    config = {**(config or {})}
    config['DEFAULT'] = {'log_file': root / 'api.log', 'cert_file': cert, 'key_file': key, **config.get('DEFAULT', {})}
    server = TlsGlint(root, config)
    server.authority = files['authority'][0]
    return server.start()


@pytest.fixture(scope='module')
def server(files, tmp_path_factory):
    s = start(tmp_path_factory.mktemp('tls') / 'server', files, {'glint': {'header_timeout': 2}})
    yield s
    s.stop()


def run(*words, check=True, **kwargs):
    kwargs.setdefault('stdin', subprocess.DEVNULL)
    r = subprocess.run([str(w) for w in words], capture_output=True, timeout=120, **kwargs)
    if check:
        assert r.returncode == 0, r.stdout + r.stderr
    return r


def test_it_says_https(server, a):
    assert server.url.startswith('https://127.0.0.1:')
    image = a.new(b'x' * 100)['id']
    assert a.download(image).content == b'x' * 100


def test_curl(server, a, tmp_path):
    """64 MiB there and back. What the client is told of itself is right with what it sent."""
    data = tmp_path / 'data'
    data.write_bytes(pattern(64 * MIB))
    image = a.new()['id']
    headers = [w for k, v in A.headers().items() for w in ('-H', f'{k}: {v}')]
    common = ['curl', '-sS', '--fail', '--cacert', server.authority, *headers]
    run(*common, '-T', data, '-H', 'Content-Type: application/octet-stream', f'{server.url}/v2/images/{image}/file')
    run(*common, '-o', tmp_path / 'back', f'{server.url}/v2/images/{image}/file')
    assert hashlib.sha256((tmp_path / 'back').read_bytes()).digest() == hashlib.sha256(data.read_bytes()).digest()
    assert a.show(image)['os_hash_value'] == hashlib.sha512(data.read_bytes()).hexdigest()
    sent = server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'image.upload', 'image.activate',
                               'image.update(active)', 'image.send'], image)[-1]
    assert sent.payload['bytes_sent'] == 64 * MIB and sent.priority == 'INFO'
    r = run('curl', '-sS', f'{server.url}/v2/images', check=False)
    assert r.returncode == 60  # a certificate that it does not know


def test_a_download_that_is_cut(server, a):
    image = a.new(pattern(16 * MIB))['id']
    with RawTls(server) as raw:
        raw.head('GET', f'/v2/images/{image}/file', who=A)
        got = 0
        while got < MIB:
            got += len(raw.more())
        raw.rest = b''
    sent = wait_for(lambda: [e for e in server.events(image) if e.type == 'image.send'], server.root, 'image.send')[0]
    assert sent.priority == 'ERROR' and MIB // 2 < sent.payload['bytes_sent'] < 16 * MIB


@pytest.mark.parametrize('version', ['tls1_2', 'tls1_3'])
def test_s_client(server, version):
    r = run('openssl', 's_client', '-connect', f'127.0.0.1:{server.port}', f'-{version}', '-CAfile', server.authority,
        '-verify_return_error',
            '-alpn', 'h2,http/1.1', input=None)
    said = r.stdout.decode()
    assert 'Verify return code: 0 (ok)' in said and 'ALPN protocol: http/1.1' in said and 'Compression: NONE' in said
    assert {'tls1_2': 'TLSv1.2', 'tls1_3': 'TLSv1.3'}[version] in said


WEAK = 'AES128-SHA256:AES256-GCM-SHA384:ECDHE-ECDSA-AES128-SHA'
ANY = ['-cipher', 'ALL:@SECLEVEL=0']


@pytest.mark.parametrize('weakness', [['-tls1', *ANY], ['-tls1_1', *ANY], ['-tls1_2', '-cipher', WEAK], ['-alpn', 'h2']])
def test_what_is_refused(server, weakness):
    """Old versions, ciphers without forward secrecy or authentication, a client that wants to talk something else."""
    r = run('openssl', 's_client', '-connect', f'127.0.0.1:{server.port}', *weakness, check=False)
    assert r.returncode != 0 and b'alert' in r.stderr, r.stderr


def test_openstack_command(server, files, tmp_path_factory):
    s = start(tmp_path_factory.mktemp('open') / 'server', files, {'paste_deploy': {'flavor': ''}})
    try:
        r = run('/usr/bin/openstack', '--os-cacert', s.authority, '--os-auth-type', 'none', '--os-endpoint', s.url,
            'image', 'create',
                '--disk-format', 'raw', '--container-format', 'bare', '--file', s.authority, '-f', 'json', 'x')
        assert json.loads(r.stdout)['name'] == 'x'
        assert s.client().list()[1]['images'][0]['status'] == 'active'
    finally:
        s.stop()


def test_glanceclient(server):
    from glanceclient import Client as Library
    made = Library('2', session=session.Session(auth=noauth.NoAuth(endpoint=server.url), verify=str(server.authority),
                                                additional_headers=A.headers()))
    image = made.images.create(name='x', disk_format='raw', container_format='bare')
    made.images.upload(image.id, io.BytesIO(b'octets'))
    assert b''.join(made.images.data(image.id)) == b'octets'


def test_links(server, a):
    assert server.client(None).get('/versions').json()['versions'][0]['links'][0]['href'] == f'{server.url}/v2/'


# -- raw -----------------------------------------------------------------------------------------------

def upload(image, *more):
    return (f'PUT /v2/images/{image}/file HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n'
            + ''.join(f'{k}: {v}\r\n' for k, v in A.headers().items()) + ''.join(f'{m}\r\n' for m in more) + '\r\n').encode()


def test_continue(server, a):
    image = a.new()['id']
    with RawTls(server) as raw:
        raw.send(upload(image, 'Expect: 100-continue', 'Content-Length: 3'))
        assert raw.read_head()[0] == 100
        raw.send(b'abc')
        assert raw.answer().status == 204
        raw.head('GET', f'/v2/images/{image}/file', who=A)
        assert raw.answer().body == b'abc'


def test_half_closed(server, a):
    """Who has asked and says no more gets his answer."""
    image = a.new(b'abc')['id']
    with RawTls(server) as raw:
        raw.head('GET', f'/v2/images/{image}/file', who=A, Connection='close')
        socket.socket.shutdown(raw.sock, socket.SHUT_WR)
        assert raw.answer().body == b'abc'
        assert raw.ended()


def test_an_upload_that_ends_early(server, a):
    image = a.new()['id']
    with RawTls(server) as raw:
        raw.send(upload(image, 'Content-Length: 30') + b'abc')
        socket.socket.shutdown(raw.sock, socket.SHUT_WR)
        assert raw.answer().status == 400
    server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'ERROR image.upload',
        'image.update(queued)'], image)


@pytest.mark.parametrize('framing', ['Content-Length: 4\r\nTransfer-Encoding: chunked', 'Content-Length: 4\r\nContent-Length: 4',
                                     'Transfer-Encoding: xchunked', 'Content-Length : 4', 'X: y\nContent-Length: 4'])
def test_smuggling(server, a, framing):
    image = a.new()['id']
    second = f'DELETE /v2/images/{image} HTTP/1.1\r\nHost: x\r\n' + ''.join(f'{k}: {v}\r\n' for k, v in A.headers().items())
    with RawTls(server) as raw:
        raw.send(f'POST /v2/images HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n0\r\n\r\n{second}\r\n'.encode())
        assert raw.answer().status in (400, 501)
        assert raw.ended()
    assert a.show(image)['id'] == image


def test_no_handshake(server, a):
    """Silent, half way, in clear: all are cut off, and harm nobody."""
    silent, half, clear = Raw(server), Raw(server), Raw(server)
    half.send(b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03')
    clear.send(b'GET /v2/images HTTP/1.1\r\nHost: x\r\n\r\n')
    assert a.get('/v2/images').status_code == 200
    for raw in silent, half, clear:
        with raw:
            assert raw.ended() and b'HTTP' not in raw.rest


# -- certificates --------------------------------------------------------------------------------------

def shown_by(server):
    with RawTls(server) as raw:
        return raw.sock.getpeercert()['serialNumber']


def test_reload(files, tmp_path):
    s = start(tmp_path / 'server', files)
    s.errors_expected = True
    cert, key = s.config['DEFAULT']['cert_file'], s.config['DEFAULT']['key_file']
    said = lambda text, n=1: wait_for(lambda: s.log.read_text().count(text) >= n, s.root, text)  # noqa: E731
    try:
        with RawTls(s) as before:
            assert shown_by(s) == '01'
            shutil.copy(files['pairs'][1][0], cert)  # not its key yet
            s.hangup()
            said('the certificate is not taken, the one from before stays: key_file')
            assert shown_by(s) == '01'
            shutil.copy(files['pairs'][1][1], key)
            s.hangup()
            said(f'the certificate was read anew from {cert}')
            assert shown_by(s) == '02'
            os.unlink(cert)
            s.hangup()
            said('No such file or directory')
            assert shown_by(s) == '02'
            before.head('GET', '/v2/images', who=A)
            assert before.answer().status == 200
        assert len(s.service_errors()) == 2
    finally:
        s.stop()


def test_client_certificates(files, tmp_path):
    s = start(tmp_path / 'server', files, {'DEFAULT': {'ca_file': files['authority'][0]}})
    try:
        for pair, good in ((None, False), (files['stranger'], False), (files['client'], True)):
            context = s.context()
            if pair:
                context.load_cert_chain(*map(str, pair))
            try:
                with RawTls(s, context=context) as raw:
                    raw.head('GET', '/v2/images', who=A)
                    answer = raw.answer()
            except (ssl.SSLError, ConnectionError):
                answer = None
            assert (answer is not None and answer.status == 200) == good
    finally:
        s.stop()


@pytest.mark.parametrize('option, value, said', [
    ('cert_file', '/nonexistent', 'cert_file /nonexistent: No such file'), ('cert_file', None, 'without cert_file'),
    ('key_file', '/dev/null', 'key_file /dev/null'), ('ca_file', '/nonexistent', 'ca_file /nonexistent')])
def test_config_check(files, tmp_path, option, value, said):
    cert, key = files['pairs'][0]
    s = TlsGlint(tmp_path / 's', {'DEFAULT': {'cert_file': cert, 'key_file': key, option: value}})
    r = s.run('config', 'check', check=False)
    assert r.returncode != 0 and said in r.stderr, r.stderr
