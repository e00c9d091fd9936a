# SPDX-License-Identifier: Apache-2.0
"""C13: whose address an event tells, behind Debian's nginx and haproxy. A client may send what it likes; what counts is what
our own proxies have seen. (D1 behind them: test_server.)"""
import itertools
import socket

import pytest

from harness import A, Raw, wait_for, write_config
from proxies import Proxy

CLIENT, OTHER = '127.0.0.9', '127.0.0.10'  # they are no proxies of ours
CONFIG = {'oslo_middleware': {'enable_proxy_headers_parsing': 'true'}, 'glint': {'trusted_proxies': '127.0.0.1, unix'}}
LIES = [{}, {'X-Forwarded-For': '6.6.6.6'}, {'X-Forwarded-For': '6.6.6.6, 127.0.0.1'}, {'x_forwarded_for': '6.6.6.6'},
        {'X-Forwarded-For': f'{OTHER}, 127.0.0.1, 127.0.0.1'}, {'X-Real-IP': '6.6.6.6'}, {'X-Forwarded-For': '"'},
        {'X-Forwarded-For': '6.6.6.6, ::ffff:127.0.0.1'}, {'X-Client-IP': '6.6.6.6'}]
# A proxy hands this on, and we cannot know that it is not its own: then nobody is believed but the proxy's address.
OTHER_KIND = [{'Forwarded': 'for=6.6.6.6'}, {'Forwarded': 'for="'}, {'Forwarded': f'for={OTHER};host=evil'}]


class From(Raw):
    """A connection from another address of this machine."""

    def __init__(self, where, source):
        self.sock = socket.create_connection(('127.0.0.1', where.port), timeout=30, source_address=(source, 0))
        self.rest = b''


@pytest.fixture(scope='module', params=['nginx', 'haproxy'])
def proxy(request, server, tmp_path_factory):
    p = Proxy(tmp_path_factory.mktemp('proxy') / request.param, request.param, server, forwards=True)
    yield p
    p.close()


counter = itertools.count()


def told(server, a, where, headers, source=CLIENT):
    """The destination_ip of a download from there."""
    image = a.new(b'octets', name=f'{next(counter)}')['id']
    with From(where, source) as raw:
        lines = ''.join(f'{k}: {v}\r\n' for k, v in {**A.headers(), **headers}.items())
        raw.send(f'GET /v2/images/{image}/file HTTP/1.1\r\nHost: x\r\n{lines}\r\n'.encode())
        assert raw.answer().body == b'octets'
    sent = wait_for(lambda: [e for e in server.events(image) if e.type == 'image.send'], server.root, 'image.send')[0]
    assert '6.6.6.6' not in sent.line
    return sent.payload['destination_ip']


def test_c13_behind_a_proxy(server, a, proxy):
    for lie in LIES:
        assert told(server, a, proxy, lie) == CLIENT, lie
    for lie in OTHER_KIND:
        assert told(server, a, proxy, lie) == '127.0.0.1', lie
    assert told(server, a, proxy, {}, OTHER) == OTHER  # the twin: each has his own


def test_c13_two_lines(server, a, proxy):
    """The lie in one line, or in two; what the proxy adds is behind both."""
    image = a.new(b'octets')['id']
    with From(proxy, CLIENT) as raw:
        lines = ''.join(f'{k}: {v}\r\n' for k, v in A.headers().items())
        raw.send(f'GET /v2/images/{image}/file HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\n{lines}'
                 'X-Forwarded-For: 127.0.0.1\r\n\r\n'.encode())
        assert raw.answer().body == b'octets'
    sent = wait_for(lambda: [e for e in server.events(image) if e.type == 'image.send'], server.root, 'image.send')[0]
    assert sent.payload['destination_ip'] == CLIENT


def test_c13_two_proxies(server, a, proxy, tmp_path):
    outer = Proxy(tmp_path / 'outer', 'nginx', server, forwards=True, behind=f'127.0.0.1:{proxy.port}')
    try:
        for lie in LIES:
            assert told(server, a, outer, lie) == CLIENT, lie
    finally:
        outer.close()


@pytest.mark.parametrize('lie', [{'X-Forwarded-For': '6.6.6.6'}, {'Forwarded': 'for=6.6.6.6;host=evil'},
                                 {'X-Forwarded-For': '6.6.6.6', 'Forwarded': 'for=6.6.6.6'}])
def test_c13_who_is_no_proxy(server, a, lie):
    """Straight to the service, from an address that is not trusted: nothing of it counts. The twin is."""
    assert told(server, a, server, lie) == CLIENT
    true = {k: v.replace('6.6.6.6', '192.0.2.7') for k, v in lie.items()}
    assert told(server, a, server, true, '127.0.0.1') == '192.0.2.7'


def test_c13_links(server):
    def link(source, headers):
        with From(server, source) as raw:
            raw.head('GET', '/versions', who=None, **headers)
            return raw.answer().body.decode()
    for headers in ({'X-Forwarded-Host': 'evil', 'X-Forwarded-Proto': 'https', 'X-Forwarded-Prefix': '/evil'},
                    {'Forwarded': 'host=evil;proto=https'}):
        assert 'evil' not in link(CLIENT, headers) and 'https' not in link(CLIENT, headers)
        assert '"https://evil' in link('127.0.0.1', headers)
    assert '"https://good/images/v2/"' in link('127.0.0.1', {'X-Forwarded-Host': 'good', 'X-Forwarded-Proto': 'https',
                                                             'X-Forwarded-Prefix': '/images'})
    for host in ('a/b', 'a"b', '<script>', 'a@b'):
        assert f'//{host}' not in link('127.0.0.1', {'X-Forwarded-Host': host})


def test_c13_by_a_socket(servers, a, tmp_path):
    """A proxy that comes by a UNIX socket is trusted as long as `unix` is."""
    for trusted, expected in (('unix', CLIENT), ('127.0.0.1', '127.0.0.1')):
        path = tmp_path / f'{trusted}.socket'
        config = {**CONFIG, 'glint': {'trusted_proxies': trusted, 'listen': f'unix:{path}'}}
        s = servers(config, start=False)
        s.command = lambda *words, s=s: [w for w in type(s).command(s, *words) if w not in ('--listen', '127.0.0.1:0')]
        s.config['glint']['listen'] = f'127.0.0.1:0, unix:{path}'
        write_config(s.config_file, s.config)
        s.start()
        p = Proxy(tmp_path / f'nginx-{trusted}', 'nginx', s, forwards=True, behind=f'unix:{path}')
        try:
            assert told(s, s.client(A), p, {'X-Forwarded-For': '6.6.6.6'}) == expected
        finally:
            p.close()
