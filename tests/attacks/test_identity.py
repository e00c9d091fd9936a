# SPDX-License-Identifier: Apache-2.0
"""Who asks, with flavor = keystone: only tokens say it, each for itself, and they are told to nobody."""
import itertools
import json
import sqlite3

import pytest

from harness import Raw, make_server
from keystone import FakeKeystone, settings, token_body

TOKEN = 'S3CR3T-user-token-' + 'x' * 180
SERVICE = 'S3CR3T-service-token'
CLAIMS = {'X-Identity-Status': 'Confirmed', 'X-User-Id': 'evil', 'X-Project-Id': 'evil', 'X-Tenant-Id': 'evil',
          'X-Roles': 'admin', 'X-Role': 'admin', 'X-Is-Admin-Project': 'True', 'X-Domain-Id': 'evil',
          'X-User-Domain-Id': 'evil', 'X-Project-Domain-Id': 'evil', 'X-Tenant-Name': 'evil', 'X-User-Name': 'evil',
          'X-Service-Identity-Status': 'Confirmed', 'X-Service-Roles': 'admin,service', 'X-Service-User-Id': 'evil',
          'X-Service-Catalog': '[]', 'X-System-Scope': 'all', 'OpenStack-System-Scope': 'all'}
SPELLINGS = {
    'as they are': lambda name: [name],
    'lower case': lambda name: [name.lower()],
    'upper case': lambda name: [name.upper()],
    'underscores': lambda name: [name.replace('-', '_')],
    'WSGI': lambda name: ['HTTP_' + name.upper().replace('-', '_'), 'HTTP-' + name],
    'twice': lambda name: [name, name],
    'all of them': lambda name: [name, name.lower(), name.replace('-', '_'), 'HTTP_' + name.replace('-', '_')],
}


@pytest.fixture(scope='module')
def fake():
    keystone = FakeKeystone()
    keystone.tokens[TOKEN] = token_body()
    keystone.tokens[SERVICE] = token_body(roles=['service'])
    keystone.tokens['root'] = token_body(user='0' * 32, project='0' * 32, roles=['admin'])
    yield keystone
    keystone.close()


@pytest.fixture(scope='module')
def config(fake):
    return {**settings(fake.url), 'DEFAULT': {'debug': True}, 'glint': {'keystone_timeout': 5}}


@pytest.fixture(scope='module')
def cloud(tmp_path_factory, config):
    server = make_server(tmp_path_factory.mktemp('cloud'), config).start()
    yield server
    server.stop()


def call(server, method, path, token, **kwargs):
    return server.client(None).call(method, path, headers={'X-Auth-Token': token} if token else {}, **kwargs)


def ask(server, lines, method='GET', path='/v2/images', body=b''):
    """The answer to a request with these header lines, as they are."""
    with Raw(server) as raw:
        head = f'{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n' if body else \
            f'{method} {path} HTTP/1.1\r\nHost: x\r\n'
        raw.send((head + ''.join(f'{name}: {value}\r\n' for name, value in lines) + '\r\n').encode() + body)
        return raw.answer()


def claims(spelling):
    names = ((SPELLINGS[spelling](name), value) for name, value in CLAIMS.items())
    return list(itertools.chain.from_iterable([(name, value) for name in some] for some, value in names))


@pytest.mark.parametrize('spelling', SPELLINGS)
def test_a27_headers_are_nobody(cloud, spelling):
    for lines in (claims(spelling), claims(spelling) + [('X-Auth-Token', 'unknown')],
                  claims(spelling) + [('X-Service-Token', SERVICE)]):
        answer = ask(cloud, lines)
        assert answer.status == 401


@pytest.mark.parametrize('spelling', SPELLINGS)
def test_a27_headers_add_nothing_to_a_token(cloud, spelling):
    """The twin: with a token it is as if they were not there."""
    lines = claims(spelling) + [('X-Auth-Token', TOKEN), ('Content-Type', 'application/json')]
    made = ask(cloud, lines, 'POST', body=json.dumps({'name': 'x'}).encode())
    assert made.status == 201 and json.loads(made.body)['owner'] == 'p' * 32
    public = json.dumps({'name': 'x', 'visibility': 'public'}).encode()
    assert ask(cloud, lines, 'POST', body=public).status == 403  # that takes an admin
    root = [('X-Auth-Token', 'root'), ('Content-Type', 'application/json')]
    assert ask(cloud, root, 'POST', body=public).status == 201


def test_a27_two_tokens(cloud):
    for one, two in (TOKEN, 'root'), ('root', TOKEN), (TOKEN, TOKEN):
        assert ask(cloud, [('X-Auth-Token', one), ('x-auth-token', two)]).status == 400
    assert ask(cloud, [('X-Auth_Token', TOKEN)]).status == 401
    assert ask(cloud, [('X-Auth-Token', TOKEN)]).status == 200


@pytest.mark.parametrize('token', [
    TOKEN[:-1], TOKEN + 'x', TOKEN[1:], TOKEN.lower(), TOKEN.upper(), f'{TOKEN},{TOKEN}', f'"{TOKEN}"', f'Bearer {TOKEN}',
    'x' * 8000, '\xff\xfe', 'a b', ''])
def test_d10_nearly_a_token(cloud, token):
    """Known is the whole of it, while the right one is in the cache."""
    assert call(cloud, 'GET', '/v2/images', TOKEN).status_code == 200
    for _ in range(2):
        assert ask(cloud, [('X-Auth-Token', token)]).status == 401
    assert call(cloud, 'GET', '/v2/images', TOKEN).status_code == 200


def test_d10_a_flood_of_tokens(cloud, fake):
    """They cost Keystone a lookup each and push nobody out who is known."""
    assert call(cloud, 'GET', '/v2/images', TOKEN).status_code == 200
    before = fake.count(TOKEN)
    client = cloud.client(None)
    for i in range(300):
        assert client.call('GET', '/v2/images', headers={'X-Auth-Token': f'flood-{i}'}).status_code == 401
    assert call(cloud, 'GET', '/v2/images', TOKEN).status_code == 200
    assert fake.count(TOKEN) == before


def test_c1_tokens_are_nowhere(servers, fake, config):
    server = servers(config)
    client = server.client(None)
    headers = {'X-Auth-Token': TOKEN, 'X-Service-Token': SERVICE}
    answers = []

    def said(method, path, status, **kwargs):
        r = client.call(method, path, headers={**headers, **kwargs.pop('headers', {})}, **kwargs)
        assert r.status_code == status
        answers.append(str(r.headers) + r.text)
        return r

    image = said('POST', '/v2/images', 201, json={'name': 'x', 'disk_format': 'raw', 'container_format': 'bare'}).json()
    path = f'/v2/images/{image["id"]}'
    said('PUT', f'{path}/file', 204, data=b'x', headers={'Content-Type': 'application/octet-stream'})
    said('GET', f'{path}/file', 200)
    said('POST', '/v2/images', 400, data=b'{')
    said('GET', '/v2/images', 401, headers={'X-Auth-Token': 'S3CR3T-unknown'})
    fake.answer = lambda handler, token: handler.reply(500, {'token': token}) or True
    said('GET', '/v2/images', 503, headers={'X-Auth-Token': 'S3CR3T-other'})
    fake.answer = None
    said('GET', '/v2/images', 401, headers={'X-Auth-Token': 'S3CR3T-other'})
    answers.append(client.call('GET', '/metrics').text)
    said('DELETE', path, 204)
    journal = json.dumps(server.journal())
    server.stop()
    database = '\n'.join(sqlite3.connect(server.database).iterdump())
    everywhere = [*answers, journal, database, server.log.read_text(), server.stderr.read_text()]
    for text in everywhere:
        assert 'S3CR3T' not in text and 'own-token' not in text
    assert image['id'] in journal and image['id'] in database
