# SPDX-License-Identifier: Apache-2.0
"""flavor = keystone: whose a token is, by Keystone's word alone, at its best and at its worst."""
import re
import subprocess
import threading
import time

import pytest

from broker import Certificates
from harness import DEADLINE, REPO, Raw, at_once
from keystone import FakeKeystone, RealKeystone, free_port, settings, token_body, when
from test_cli import run

pytestmark = pytest.mark.glint_only
ALICE, RITA, ROOT = 'token-of-alice', 'token-of-rita', 'token-of-root'


@pytest.fixture
def fake():
    keystone = FakeKeystone()
    keystone.tokens[ALICE] = token_body()
    yield keystone
    keystone.close()


def ask(server, token, path='/v2/images', service=None, **kwargs):
    headers = {'X-Auth-Token': token} if token else {}
    if service:
        headers['X-Service-Token'] = service
    return server.client(None).call('GET', path, headers=headers, **kwargs)


def status(server, token, **kwargs):
    return ask(server, token, **kwargs).status_code


def cloud(servers, fake, glint=None, **authtoken):
    return servers({**settings(fake.url, **authtoken), 'glint': glint or {}})


def number(server, name):
    """A metric without labels, or the sum of all of that name."""
    text = server.client(None).get('/metrics').text
    return sum(int(float(value)) for value in re.findall(rf'^{name}(?:{{.*}})? (\S+)$', text, re.M))


def until(condition, what):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


# -- who ---------------------------------------------------------------------------------------------------

def test_who(servers, fake):
    fake.tokens[RITA] = token_body(user='r' * 32, roles=['Reader'])
    fake.tokens[ROOT] = token_body(user='0' * 32, project='0' * 32, roles=['ADMIN'])
    server = cloud(servers, fake)
    client = server.client(None)
    made = client.call('POST', '/v2/images', json={'name': 'x'}, headers={'X-Auth-Token': ALICE})
    assert made.status_code == 201 and made.json()['owner'] == 'p' * 32
    path = f'/v2/images/{made.json()["id"]}'
    assert status(server, RITA, path=path) == 200
    assert client.call('DELETE', path, headers={'X-Auth-Token': RITA}).status_code == 403
    assert client.call('DELETE', path, headers={'X-Auth-Token': ROOT}).status_code == 204
    assert [len(fake.logins), fake.count(ALICE), fake.count(RITA), fake.count(ROOT)] == [1, 1, 1, 1]


def test_open_to_anybody(servers, fake):
    server = cloud(servers, fake)
    for path, expected in ('/', 300), ('/versions', 200), ('/v2/', 300), ('/healthcheck', 200), ('/metrics', 200):
        assert status(server, 'nonsense', path=path) == expected
    assert fake.lookups == []
    for path in '/v2/images', '/v2/schemas/image', '/v2/info/stores':
        answer = ask(server, None, path)
        assert answer.status_code == 401 and answer.headers['WWW-Authenticate'] == f'Keystone uri="{fake.url}"'


@pytest.mark.parametrize('more, expected', [
    ({'project': None}, 403),
    ({'project': None, 'domain': {'id': 'default', 'name': 'Default'}}, 403),
    ({'project': None, 'system': {'all': True}}, 403),
    ({'is_domain': True}, 403),
    ({'application_credential': {'id': 'a', 'access_rules': [{'path': '/v2/images', 'method': 'GET'}]}}, 401),
    ({'application_credential': {'id': 'a', 'restricted': True}}, 200),
])
def test_scopes(servers, fake, more, expected):
    fake.tokens['t'] = token_body(**more)
    server = cloud(servers, fake)
    assert [status(server, 't'), status(server, 't')] == [expected] * 2
    assert fake.count('t') == 1


def test_before_the_body(servers, fake):
    """Not an octet of it is awaited."""
    server = cloud(servers, fake)
    for method, path in ('POST', '/v2/images'), ('PUT', '/v2/images/11111111-1111-4111-8111-111111111111/file'):
        for token in 'nonsense', 'nonsense', 'other':
            with Raw(server) as raw:
                raw.send(f'{method} {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nContent-Length: 9\r\n\r\n'
                         .encode())
                assert raw.answer().status == 401
                assert raw.ended()


# -- how long ----------------------------------------------------------------------------------------------

def test_revoked(servers, fake):
    server = cloud(servers, fake, token_cache_time=1)
    assert status(server, ALICE) == 200
    del fake.tokens[ALICE]
    until(lambda: status(server, ALICE) == 401, 'the token is still good')


def test_no_cache(servers, fake):
    server = cloud(servers, fake, token_cache_time=-1)
    assert [status(server, ALICE) for _ in range(3)] == [200] * 3
    del fake.tokens[ALICE]
    assert status(server, ALICE) == 401
    fake.tokens[ALICE] = token_body()
    assert status(server, ALICE) == 200
    assert fake.count(ALICE) == 5


def test_expired(servers, fake):
    fake.tokens['short'] = token_body(expires=3)
    fake.tokens['over'] = token_body(expires=-3)
    fake.answer = lambda handler, token: token == 'over' and (
        handler.reply(200, fake.tokens['over'], [('X-Subject-Token', token)]) or True)
    server = cloud(servers, fake)
    assert status(server, 'over') == 401
    assert status(server, 'short') == 200
    until(lambda: status(server, 'short') == 401, 'the token is still good')


def test_bounded_cache(servers, fake):
    server = cloud(servers, fake, glint={'keystone_cache_tokens': 2})
    for i in range(3):
        fake.tokens[f't{i}'] = token_body()
    for token in 't0', 't1', 't0', 't2', 't0', 't1':
        assert status(server, token) == 200
    assert [fake.count(f't{i}') for i in range(3)] == [1, 2, 1]


# -- services ----------------------------------------------------------------------------------------------

def test_bad_service_token_harms_nobody(servers, fake):
    server = cloud(servers, fake)
    for _ in range(3):
        assert status(server, ALICE, service='nonsense') == 200
        assert status(server, 'unknown', service='nonsense') == 401
    assert status(server, ALICE) == 200


def test_expired_with_a_service(servers, fake):
    fake.tokens['old'] = token_body(expires=-60)
    fake.tokens['nova'] = token_body(user='n' * 32, roles=['service'])
    server = cloud(servers, fake)
    for _ in range(2):
        assert status(server, 'old') == 401
        assert status(server, 'old', service=ALICE) == 401
        assert status(server, 'old', service='nova') == 200
        assert status(server, 'unknown', service='nova') == 401
    assert status(server, 'old') == 401
    lax = cloud(servers, fake, service_token_roles_required='false')
    assert status(lax, 'old', service=ALICE) == 200


# -- one lookup for many -----------------------------------------------------------------------------------

def hold(fake, *held):
    """Lookups of these tokens wait until the event is set."""
    gate = threading.Event()

    def answer(handler, token):
        if token in held:
            gate.wait(DEADLINE)
        return False
    fake.answer = answer
    return gate


def test_one_lookup_for_many(servers, fake):
    server = cloud(servers, fake)
    fake.tokens[RITA] = token_body()
    gate = hold(fake, ALICE, 'unknown')

    def release():
        until(lambda: number(server, 'glint_keystone_waiting') == 30, 'they do not wait')
        assert [status(server, RITA) for _ in range(3)] == [200] * 3  # nobody else does
        gate.set()
    found = []
    at_once(release, *[lambda: found.append(status(server, ALICE)) for _ in range(20)],
            *[lambda: found.append(status(server, 'unknown')) for _ in range(10)])
    assert sorted(found) == [200] * 20 + [401] * 10
    assert [fake.count(ALICE), fake.count('unknown'), len(fake.logins)] == [1, 1, 1]
    assert number(server, 'glint_keystone_waiting') == 0
    assert number(server, 'glint_keystone_lookups_total') == 3


def test_too_many(servers, fake):
    """A further token hears 503 at once; who comes with one that is asked for already waits with the others."""
    server = cloud(servers, fake, glint={'keystone_max_waiting': 2})
    gate = hold(fake, ALICE, 'other')

    def look():
        until(lambda: number(server, 'glint_keystone_waiting') == 3, 'they do not wait')
        answer = ask(server, 'third')
        assert answer.status_code == 503 and answer.headers['Retry-After']
        gate.set()
    found = []
    at_once(look, *[lambda t=t: found.append(status(server, t)) for t in (ALICE, ALICE, 'other')])
    assert sorted(found) == [200, 200, 401]


# -- trouble -----------------------------------------------------------------------------------------------

def test_away(servers, fake):
    server = cloud(servers, fake, glint={'keystone_timeout': 3})
    assert status(server, ALICE) == 200
    fake.close()
    for _ in range(2):
        answer = ask(server, 'unknown')
        assert answer.status_code == 503 and answer.headers['Retry-After']
        assert status(server, ALICE) == 200
    assert len(re.findall(r'WARNING glint.keystone .*cannot be asked', server.log.read_text())) == 1


def test_hangs(servers, fake):
    server = cloud(servers, fake, glint={'keystone_timeout': 1})
    assert status(server, ALICE) == 200
    gate = hold(fake, 'slow')
    assert status(server, 'slow') == 503
    gate.set()
    fake.answer = None
    assert status(server, 'slow') == 401
    assert 'Keystone answers again' in server.log.read_text()


@pytest.mark.parametrize('timeout, expected', [(2, 503), (30, 200)])
def test_one_time_for_all_questions(servers, fake, timeout, expected):
    """An expired token with that of a service is asked for in three steps, which have one deadline together."""
    fake.tokens['old'] = token_body(expires=-60)
    fake.tokens['nova'] = token_body(user='n' * 32, roles=['service'])
    server = cloud(servers, fake, glint={'keystone_timeout': timeout})

    def answer(handler, token):
        time.sleep(1.2)
        return False
    fake.answer = answer
    assert status(server, 'old', service='nova') == expected


def reply(code, body=b'', headers=()):
    return lambda handler, token: handler.reply(code, body, headers) or True


def broken_off(handler, token):
    handler.send_response(200)
    handler.send_header('Content-Length', '1000')
    handler.end_headers()
    handler.wfile.write(b'{"token": ')
    handler.close_connection = True
    return True


@pytest.mark.parametrize('answer', [
    reply(200, b'<html>fine</html>'), reply(200, b''), reply(200, b'{}'), reply(200, {'token': {'roles': []}}),
    reply(200, b'[' * 100000), reply(200, b' ' * 3000000), reply(200, token_body(), [('X-Subject-Token', 'of another')]),
    reply(201, token_body()), reply(204), reply(302, b'', [('Location', 'http://127.0.0.1:1/')]), reply(403), reply(500),
    reply(503), broken_off,
], ids=range(14))
def test_rubbish(servers, fake, answer):
    server = cloud(servers, fake, glint={'keystone_timeout': 5})
    fake.answer = answer
    assert status(server, ALICE) == 503
    fake.answer = None
    assert status(server, ALICE) == 200


def test_wrong_password(servers, fake):
    server = cloud(servers, fake)
    fake.login_status = 401
    assert [status(server, f't{i}') for i in range(5)] == [503] * 5
    assert len(fake.logins) == 1, 'asked again and again, the account would be locked'
    log = server.log.read_text()
    assert 'refuses the credentials' in log


def test_own_token_is_refused(servers, fake):
    server = cloud(servers, fake)
    assert status(server, ALICE) == 200
    fake.own.clear()  # a Keystone with new keys
    assert status(server, 'unknown') == 401 and len(fake.logins) == 2
    fake.answer = reply(401)
    assert status(server, 'another') == 503 and len(fake.logins) == 3
    fake.answer = None
    assert status(server, 'another') == 401 and len(fake.logins) == 4, 'a token refused twice was kept'


def test_stop_while_it_hangs(servers, fake):
    server = cloud(servers, fake, glint={'keystone_timeout': 600, 'shutdown_timeout': 1})
    gate = hold(fake, 'slow')
    with Raw(server) as raw:
        raw.send(b'GET /v2/images HTTP/1.1\r\nHost: x\r\nX-Auth-Token: slow\r\n\r\n')
        until(lambda: number(server, 'glint_keystone_waiting') == 1, 'it does not wait')
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 9, 'the guard had to end it'
    gate.set()


# -- TLS ---------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp('tls'))


@pytest.mark.parametrize('host, authority, insecure, expected', [
    ('localhost', 'ca', 'false', 200),
    ('localhost', 'other_ca', 'false', 503),
    ('localhost', None, 'false', 503),
    ('127.0.0.1', 'ca', 'false', 503),  # the certificate is of localhost
    ('127.0.0.1', 'other_ca', 'true', 200),
])
def test_tls(servers, certificates, host, authority, insecure, expected):
    fake = FakeKeystone(certificates.server)
    fake.tokens[ALICE] = token_body()
    try:
        more = {'cafile': getattr(certificates, authority)} if authority else {}
        server = servers({**settings(f'https://{host}:{fake.port}', insecure=insecure, **more),
                          'glint': {'keystone_timeout': 5}})
        assert status(server, ALICE) == expected
        assert len(fake.logins) == (expected == 200), 'the password went to somebody whom nobody vouches for'
    finally:
        fake.close()


# -- configuration -----------------------------------------------------------------------------------------

@pytest.mark.parametrize('change, words', [
    ({'auth_url': None}, 'auth_url'),
    ({'auth_url': 'ftp://x'}, 'auth_url'),
    ({'auth_url': 'http://x/"'}, 'no URL'),
    ({'username': None}, 'username'),
    ({'password': None}, 'password'),
    ({'user_domain_name': None}, 'user_domain_name'),
    ({'project_name': None}, 'project_name'),
    ({'project_domain_name': None}, 'project_domain_name'),
    ({'auth_type': 'v3applicationcredential'}, 'application_credential_id'),
    ({'auth_type': 'v3kerberos'}, 'auth_type'),
    ({'auth_version': 'v2.0'}, 'auth_version'),
    ({'cafile': '/nonexistent'}, '/nonexistent'),
    ({'keyfile': '/dev/null'}, 'certfile'),
])
def test_what_is_wrong(servers, change, words):
    server = servers(settings('http://127.0.0.1:5000', **change), start=False)
    said = run('config', 'check', '--config-file', server.config_file)
    assert said.returncode == 1 and words in said.stderr and 'S3CR3T' not in said.stderr


@pytest.mark.parametrize('flavor', ['keystone', 'keystone+caching', 'keystone+cachemanagement'])
def test_flavors(servers, flavor):
    """On any address: nobody is believed."""
    config = settings('http://127.0.0.1:5000/v3/', memcached_servers='localhost:11211')
    config['paste_deploy']['flavor'] = flavor
    config['DEFAULT'] = {'bind_host': '0.0.0.0'}
    said = run('config', 'check', '--config-file', servers(config, start=False).config_file)
    assert said.returncode == 0
    assert ('no cache of images' in said.stderr) == (flavor != 'keystone') and 'memcached_servers' in said.stderr


def test_metrics_are_documented(servers, fake):
    server = cloud(servers, fake)
    documented = re.findall(r'^\| `(glint_keystone_\w+)` \| (\w+) \|', (REPO / 'docs' / 'metrics.md').read_text(), re.M)
    found = re.findall(r'^# TYPE (glint_keystone_\w+) (\w+)$', server.client(None).get('/metrics').text, re.M)
    assert sorted(documented) == sorted(found) and found


# -- the real one ------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def real(tmp_path_factory):
    """Keystone, and a port for the image service that its catalogue knows."""
    port = free_port()
    keystone = RealKeystone(tmp_path_factory.mktemp('real') / 'keystone', f'http://127.0.0.1:{port}')
    keystone.image_port = port
    yield keystone
    keystone.stop()


def with_real(servers, keystone, **authtoken):
    return servers(settings(keystone.url, token_cache_time=1, **authtoken),
                   arguments=['--listen', f'127.0.0.1:{keystone.image_port}'])


def openstack(keystone, user, project, *words, check=True):
    done = subprocess.run(['openstack', *words], env=keystone.environment(user, project), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=DEADLINE)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def test_openstack_client(servers, real, tmp_path):
    server = with_real(servers, real)
    (tmp_path / 'data').write_bytes(b'x' * 100000)
    made = openstack(real, 'alice', 'demo', 'image', 'create', 'mine', '--file', str(tmp_path / 'data'), '-f', 'value',
                     '-c', 'id', '-c', 'owner')
    image, owner = sorted(made.stdout.split(), key=len, reverse=True)
    assert owner == real.projects['demo']
    denied = openstack(real, 'rita', 'demo', 'image', 'delete', image, check=False)
    assert denied.returncode == 1 and '403' in denied.stderr
    bob, root = real.log_in('bob', 'other'), real.log_in('admin', 'admin')
    path = f'/v2/images/{image}'
    assert status(server, bob, path=path) == 404
    assert ask(server, root, path).json()['status'] == 'active'
    assert server.client(None).call('DELETE', path, headers={'X-Auth-Token': root}).status_code == 204


def test_real_tokens(servers, real):
    server = with_real(servers, real)
    token = real.log_in('alice', 'demo')
    assert status(server, token) == 200
    assert status(server, token[:-1]) == 401
    assert status(server, real.log_in('alice')) == 403
    assert status(server, real.log_in('admin', scope={'system': {'all': True}})) == 403
    assert status(server, real.token) == 200
    real.revoke(token)
    until(lambda: status(server, token) == 401, 'a revoked token is still good')


def test_real_restart(servers, real):
    server = with_real(servers, real)
    assert status(server, real.token) == 200
    token = real.log_in('alice', 'demo')
    real.stop()
    assert status(server, token) == 503
    real.start()
    until(lambda: status(server, token) == 200, 'it does not ask again')


def test_real_application_credential(servers, real):
    keep, real.token = real.token, real.log_in('glance', 'service', 'S3CR3T-of-glance')
    try:
        made = real.call('POST', f'/users/{real.users["glance"]}/application_credentials',
                         {'application_credential': {'name': when(0)}})[1]['application_credential']
    finally:
        real.token = keep
    server = with_real(servers, real, auth_type='v3applicationcredential', application_credential_id=made['id'],
                       application_credential_secret=made['secret'], username=None, password=None)
    assert status(server, real.log_in('bob', 'other')) == 200
