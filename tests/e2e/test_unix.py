# SPDX-License-Identifier: Apache-2.0
"""Several addresses at once, UNIX sockets among them."""
import socket
import stat
import subprocess

import pytest

from harness import A, Glint, Raw, at_once, pattern, wait_for
from tls import make_authority, make_pair

pytestmark = pytest.mark.glint_only
MIB = 1 << 20


class Several(Glint):
    """Listens where its configuration says, and first on some free port."""

    def command(self, *words):
        return [w for w in super().command(*words) if w not in ('--listen', '127.0.0.1:0')]


class RawUnix(Raw):
    def __init__(self, path, timeout=30):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(str(path))
        self.rest = b''


def make(root, listen=None, config=None):
    config = {**(config or {})}
    config['glint'] = {'listen': listen or f'127.0.0.1:0, unix:{root}/socket', **config.get('glint', {})}
    return Several(root, config)


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    s = make(tmp_path_factory.mktemp('unix') / 's').start()
    yield s
    s.stop()


@pytest.fixture
def path(server):
    return server.root / 'socket'


def status_at(path, target='/healthcheck'):
    with RawUnix(path) as raw:
        raw.head('GET', target)
        return raw.answer().status


def test_both_answer(server, path, a):
    assert f'listening on unix:{path}\n' in server.said()
    assert a.get('/v2/images').status_code == 200
    assert status_at(path, '/v2/images') == 200
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_there_and_back(server, path, a):
    """The event says that it was this machine, and how much was sent."""
    data, image = pattern(8 * MIB), a.new()['id']
    r = subprocess.run(['curl', '-sS', '--fail', '--unix-socket', str(path), '-T', '-', '-H',
        'Content-Type: application/octet-stream',
                        *(w for k, v in A.headers().items() for w in ('-H', f'{k}: {v}')), f'http://x/v2/images/{image}/file'],
                       input=data, capture_output=True, timeout=60)
    assert r.returncode == 0, r.stderr
    with RawUnix(path) as raw:
        raw.head('GET', f'/v2/images/{image}/file', who=A)
        assert raw.answer().body == data
    with RawUnix(path) as raw:
        raw.head('GET', f'/v2/images/{image}/file', who=A)
        assert raw.read_head()[0] == 200
        assert raw.rest or raw.more()  # some of the body, and leave
    sent = wait_for(lambda: (lambda e: len(e) == 2 and e)([e for e in server.events(image) if e.type == 'image.send']),
        server.root, 'image.send')
    assert [(e.priority, e.payload['destination_ip']) for e in sent] == [('INFO', '127.0.0.1'), ('ERROR', '127.0.0.1')]
    assert sent[0].payload['bytes_sent'] == 8 * MIB and 0 < sent[1].payload['bytes_sent'] < 8 * MIB


def test_metrics_are_for_this_machine(path):
    assert status_at(path, '/metrics') == 200


def test_comes_and_goes(tmp_path):
    s = make(tmp_path / 's', config={'glint': {'unix_socket_mode': '600'}}).start()
    path = s.root / 'socket'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    s.kill9()
    assert path.exists()  # and nobody answers
    s.start()
    assert status_at(path) == 200
    s.stop()
    assert not path.exists()


def test_what_stands_there_stays(tmp_path):
    """A file, or somebody else's socket, is not ours to remove."""
    s = make(tmp_path / 's')
    path = s.root / 'socket'
    path.write_text('precious')
    s.spawn()
    assert s.wait_exit() != 0 and 'File exists' in s.said() and path.read_text() == 'precious'
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        s.spawn()
        assert s.wait_exit() != 0 and 'Address already in use' in s.said()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    s.start()  # left behind, and nobody answers
    assert status_at(path) == 200
    s.stop()


def test_two_starts(tmp_path):
    """Of several that want a socket that was left behind, one gets it, and keeps it."""
    path = tmp_path / 'socket'
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    servers = [make(tmp_path / f's{n}', listen=f'unix:{path}') for n in range(4)]
    at_once(*(s.spawn for s in servers))

    def settled():
        ended = [s for s in servers if s.process.poll() is not None]
        up = [s for s in servers if 'listening on' in s.said()]
        return len(ended) + len(up) == len(servers) and (ended, up)
    ended, up = wait_for(settled, tmp_path, 'ends')
    assert len(up) == 1 and status_at(path) == 200
    assert all('Address already in use' in s.said() for s in ended)
    up[0].stop()
    for s in ended:
        s.process = None


def test_tls_is_for_tcp(tmp_path):
    cert, key = make_pair(tmp_path, make_authority(tmp_path), 'server', 1)
    s = make(tmp_path / 's', config={'DEFAULT': {'log_file': tmp_path / 'log', 'cert_file': cert, 'key_file': key}}).start()
    assert s.url.startswith('https://') and status_at(s.root / 'socket') == 200
    s.stop()


@pytest.mark.parametrize('listen, said', [
    ('127.0.0.1:0, 0.0.0.0:0', 'refusing to listen on 0.0.0.0:0'), ('unix:relative', 'unix:/absolute/path'),
    ('unix:/' + 'x' * 120, 'at most 107'), ('127.0.0.1', 'is not HOST:PORT'), ('127.0.0.1:0, [::1]:x', 'is not HOST:PORT')])
def test_config_check(tmp_path, listen, said):
    r = make(tmp_path / 's', listen).run('config', 'check', check=False)
    assert r.returncode != 0 and said in r.stderr


def test_config_check_of_others(tmp_path):
    s = make(tmp_path / 'good', f'unix:{tmp_path}/a, [::1]:0, 127.0.0.1:0')
    assert s.run('config', 'check').stdout.count('  listen  ') == 3
    for options, said in ({'metrics_listen': 'nowhere'}, 'metrics_listen'), ({'unix_socket_mode': '680'}, 'unix_socket_mode'):
        r = make(tmp_path / said, config={'glint': options}).run('config', 'check', check=False)
        assert r.returncode != 0 and said in r.stderr
