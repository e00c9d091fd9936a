# SPDX-License-Identifier: Apache-2.0
"""What is around the images: versions, health, schemas, links, the form of every answer."""
import email.utils
import json
import time

import pytest

from harness import A, ADMIN, Client, Raw, exchange, message_of

glint_only = pytest.mark.glint_only


# -- versions ------------------------------------------------------------------------------------------

def test_root_lists_versions(server):
    r = server.client(None).get('/')
    assert r.status_code == 300
    assert r.json() == server.client(None).get('/versions').json()


def test_versions(server):
    r = server.client(None).get('/versions')
    assert r.status_code == 200
    versions = r.json()['versions']
    current = [v for v in versions if v['status'] == 'CURRENT']
    assert len(current) == 1 and versions[0] == current[0]
    for v in versions:
        assert set(v) == {'id', 'status', 'links'}
        assert v['links'] == [{'rel': 'self', 'href': f'{server.url}/v2/'}]
    assert {'v2.0', 'v2.1', 'v2.2', 'v2.3', 'v2.4', 'v2.5', 'v2.7'} <= {v['id'] for v in versions}


@glint_only
def test_versions_promise_nothing_that_is_missing(server):
    """Clients take the list for a list of features: 2.8 and 2.10-13 several stores and imports, 2.12 tasks of
    an image, 2.14 and 2.16 the cache."""
    ids = {v['id'] for v in server.client(None).get('/versions').json()['versions']}
    assert not ids & {'v2.8', 'v2.10', 'v2.11', 'v2.12', 'v2.13', 'v2.14', 'v2.16', 'v2.18'}


def test_unknown_versions_get_the_list(server):
    r = server.client(A).get('/v7/images')
    assert r.status_code == 300 and r.json()['versions']


@glint_only
def test_public_endpoint(servers):
    server = servers({'DEFAULT': {'public_endpoint': 'https://images.example.org/image/'}})
    client = server.client(A)
    for v in client.get('/versions').json()['versions']:
        assert v['links'][0]['href'] == 'https://images.example.org/image/v2/'
    r = client.create()
    assert r.headers['Location'] == f"https://images.example.org/image/v2/images/{r.json()['id']}"


@glint_only
@pytest.mark.parametrize('believed', [False, True])
def test_forwarded_headers(servers, believed):
    """Only behind a proxy that the operator has said is there."""
    server = servers({'oslo_middleware': {'enable_proxy_headers_parsing': str(believed).lower()}})
    client = server.client(A)
    headers = {'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'images.example.org', 'X-Forwarded-For': '192.0.2.7'}
    base = 'https://images.example.org' if believed else server.url
    assert client.get('/versions', headers=headers).json()['versions'][0]['links'][0]['href'] == base + '/v2/'
    image = client.new(b'x')['id']
    assert client.download(image, headers=headers).status_code == 200
    uploaded = ['image.create', 'image.update(saving)', 'image.prepare', 'image.upload', 'image.activate',
                'image.update(active)']
    event = server.wait_events(uploaded + ['image.send'], image)[-1]
    assert event.payload['destination_ip'] == ('192.0.2.7' if believed else '127.0.0.1')


@glint_only
def test_a_hostile_host_header_makes_no_link(server, a):
    for host in ('x"><script>', 'a b', 'x\\r\\ny'):
        answer = exchange(server, f'GET /versions HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode())
        assert answer.status == 400 or '<script>' not in answer.body.decode()
        if answer.status == 200:
            json.loads(answer.body)


# -- health --------------------------------------------------------------------------------------------

def test_healthcheck(server):
    r = server.client(None).get('/healthcheck')
    assert r.status_code == 200 and r.text.strip() == 'OK'


# -- schemas -------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['image', 'images', 'member', 'members'])
def test_schemas(server, a, name):
    r = a.get(f'/v2/schemas/{name}')
    assert r.status_code == 200 and r.headers['Content-Type'].split(';')[0] == 'application/json'
    assert r.json()['name'] == name


def test_schema_knows_every_attribute(server, a):
    schema = a.get('/v2/schemas/image').json()
    assert set(a.new(b'x')) <= set(schema['properties'])
    assert schema['additionalProperties'] == {'type': 'string'}
    read_only = {k for k, v in schema['properties'].items() if v.get('readOnly')}
    assert {'status', 'size', 'virtual_size', 'checksum', 'created_at', 'updated_at', 'self', 'file',
            'schema'} <= read_only
    assert not {'name', 'visibility', 'protected', 'tags', 'min_disk', 'min_ram', 'owner', 'disk_format'} & read_only


@glint_only
def test_schema_follows_the_configuration(servers):
    server = servers({'image_format': {'disk_formats': 'raw,special', 'container_formats': 'bare'}})
    client = server.client(A)
    schema = client.get('/v2/schemas/image').json()['properties']
    assert set(schema['disk_format']['enum']) == {None, 'raw', 'special'}
    assert set(schema['container_format']['enum']) == {None, 'bare'}
    assert client.create(disk_format='special').status_code == 201
    assert client.create(disk_format='qcow2').status_code == 400


# -- answers -------------------------------------------------------------------------------------------

@glint_only
def test_errors_have_the_form_that_clients_parse(server, a):
    for r, code, title in ((a.get('/v2/images/x'), 404, 'Not Found'), (a.create(name=1), 400, 'Bad Request'),
                           (a.create(visibility='public'), 403, 'Forbidden'),
                           (a.call('PATCH', '/v2/images'), 405, 'Method Not Allowed')):
        assert r.status_code == code
        assert r.json() == {'error': {'code': code, 'title': title, 'message': message_of(r)}}


def test_date_and_length(server, a):
    r = a.get('/v2/images')
    assert int(r.headers['Content-Length']) == len(r.content)
    assert abs(email.utils.parsedate_to_datetime(r.headers['Date']).timestamp() - time.time()) < 10


def test_head(server, a):
    """No route of the API has a HEAD; and no answer to one has a body."""
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('HEAD', f'/v2/images/{image}', who=A, Connection='close')
        answer = raw.answer('HEAD')
        assert answer.status in (200, 404, 405)
        assert raw.ended() and raw.rest == b''


def test_keep_alive(server):
    with Raw(server) as raw:
        for _ in range(3):
            raw.head('GET', '/v2/images', who=A)
            assert raw.answer().status == 200
        raw.head('GET', '/v2/images', who=A, Connection='close')
        assert raw.answer().headers.get('connection', '').lower() == 'close'
        assert raw.ended()


def test_ids_of_requests_differ(server, a):
    assert len({a.get('/v2/images').headers['X-Openstack-Request-Id'] for _ in range(10)}) == 10


@pytest.mark.parametrize('path', ['/v2/info/stores', '/v2/stores/x/%s'])
@glint_only
def test_what_is_not_there_yet_says_so(server, admin, path):
    """No half of a feature: 404, as Glance says of what is not enabled."""
    image = admin.new()['id']
    for method in ('GET', 'POST', 'PUT', 'DELETE'):
        r = admin.call(method, path % image if '%s' in path else path)
        assert r.status_code in (404, 405)


def test_image_is_ready_when_the_answer_says_so(server, admin):
    """What was written is read by the next request, whichever connection it comes on."""
    for n in range(20):
        image = admin.new(b'x')['id']
        assert Client(server, ADMIN).show(image)['status'] == 'active'
        assert Client(server, ADMIN).remove(image).status_code == 204
        assert Client(server, ADMIN).get(f'/v2/images/{image}').status_code == 404
