# SPDX-License-Identifier: Apache-2.0
"""Whatever a client may send that is wrong: one clear sentence, nothing changed, no ERROR in the log.
(That the log has none is checked when the server stops.)"""
import json
import time
from urllib.parse import unquote

import pytest

from harness import A, TARGET, Raw, exchange, message_of

glint_only = pytest.mark.glint_only


def who_lines(who=A):
    return ''.join(f'{k}: {v}\r\n' for k, v in who.headers().items())


@pytest.fixture(autouse=True)
def nothing_is_made(server, a, request):
    """No refused request creates an image."""
    before = a.list('limit=1000&visibility=all')[0]
    yield
    if not request.node.get_closest_marker('makes'):
        assert a.list('limit=1000&visibility=all')[0] == before


def post(client, body):
    return client.call('POST', '/v2/images', data=body, headers={'Content-Type': 'application/json'})


# -- bodies --------------------------------------------------------------------------------------------

@pytest.mark.parametrize('body', [
    '', ' ', '{', '{"name"', 'nonsense', '[]', '[{}]', '"name"', '7', 'null', 'true',
    pytest.param('{"name": "x"} {}', id='two values'), pytest.param('{"name": "x"}x', id='trailing'),
    "{'name': 'x'}", '{"name": x}', '{name: "x"}', '{"name": "x",}', '{"min_ram": 01}',
    pytest.param(b'{"name": "\xff"}', id='not UTF-8'), pytest.param(b'{"name": "\xc0\xaf"}', id='overlong UTF-8'),
    pytest.param(b'{"name": "\xed\xa0\x80"}', id='surrogate in UTF-8'),
    pytest.param('{"name": "\\ud800"}', id='lone surrogate', marks=glint_only),
    pytest.param('\ufeff{"name": "x"}'.encode(), id='BOM'),
    pytest.param('{"name": "a\x00b"}', id='raw NUL'), pytest.param('{"name": "a\nb"}', id='raw newline'),
    pytest.param('{"name": "a\\u0000b"}', id='escaped NUL', marks=glint_only),
    pytest.param('{"name": "a", "name": "b"}', id='a key twice', marks=glint_only),
    pytest.param('{"min_ram": NaN}', id='NaN'), pytest.param('{"min_ram": Infinity}', id='Infinity'),
    pytest.param('[' * 100_000, id='deep'), pytest.param('[' * 100_000 + ']' * 100_000, id='deep and closed'),
    pytest.param('{"a":' * 50_000 + '1' + '}' * 50_000, id='deep objects'),
    pytest.param('{"min_ram": 1e999}', id='1e999'), pytest.param('{"min_ram": %s}' % ('9' * 400), id='400 digits'),
])
def test_body_of_create(a, body):
    if TARGET == 'glance' and (body[:1] == '[' or body[:6] == '{"a":{'):
        pytest.skip('Glance answers 500')
    r = post(a, body)
    assert r.status_code == 400, r.text[:500]
    message_of(r)


@pytest.mark.parametrize('attribute, value', [
    ('name', 1), ('name', True), ('name', []), ('name', {}), ('name', 'n' * 256),
    ('visibility', 'secret'), ('visibility', None), ('visibility', 1),
    ('protected', 'true'), ('protected', None), ('protected', 1), ('os_hidden', 'no'),
    ('min_ram', -1), ('min_ram', '1'), ('min_ram', None), ('min_ram', 1.5), ('min_ram', 2147483648), ('min_ram', True),
    ('min_disk', -1), ('min_disk', []), ('min_disk', 2147483648),
    ('disk_format', 'floppy'), ('disk_format', ''), ('disk_format', 1), ('container_format', 'box'),
    ('tags', 'x'), ('tags', {}), ('tags', [1]), ('tags', [None]), ('tags', ['t' * 256]),
    ('id', 'x'), ('id', ''), ('id', 1), ('id', None), ('id', '../../etc/passwd'), ('id', 'c0ffee00000040008000000000000001'),
    ('owner', 1), ('colour', 1), ('colour', True), ('colour', None), ('colour', []), ('colour', {}),
    ('k' * 256, 'v'),
], ids=lambda v: json.dumps(v)[:30])
def test_attribute_of_create(a, attribute, value):
    r = a.create(**{attribute: value})
    assert r.status_code == 400, r.text[:500]
    message_of(r)


@glint_only
def test_lax_ids(a):
    """An id is a UUID in its usual form; another spelling of it would be another file name."""
    for image in ('{c0ffee00-0000-4000-8000-000000000001}',
                  'urn:uuid:c0ffee00-0000-4000-8000-000000000001', 'c0ffee00-0000-4000-8000-000000000001\n'):
        assert a.create(id=image).status_code == 400, image


@glint_only
@pytest.mark.makes
def test_capitals_in_an_id(a):
    """Refused, or one and the same as without them."""
    image = 'c0ffee00-cccc-4000-8000-000000000001'
    r = a.create(id=image.upper())
    if r.status_code == 201:
        assert r.json()['id'] == image
        assert a.create(id=image).status_code == 409
    else:
        assert r.status_code == 400


@pytest.mark.parametrize('attribute', ['status', 'checksum', pytest.param('os_hash_algo', marks=glint_only),
                                       pytest.param('os_hash_value', marks=glint_only), 'size', 'virtual_size',
                                       'created_at', 'updated_at', 'file', 'schema', 'self', 'direct_url', 'stores',
                                       'location', 'deleted', 'deleted_at', 'os_glance_stage_host',
                                       'os_glance_import_task', 'os_glance_anything'])
@pytest.mark.parametrize('client', ['a', 'admin'])
def test_reserved_attribute_of_create(request, attribute, client):
    value = {'size': 1, 'virtual_size': 1, 'created_at': '2020-01-01T00:00:00Z', 'updated_at': '2020-01-01T00:00:00Z',
             'status': 'active', 'checksum': 'c' * 32}.get(attribute, 'x')
    r = request.getfixturevalue(client).post('/v2/images', {attribute: value})
    assert r.status_code == 403, r.text[:500]
    message_of(r)


@pytest.mark.makes
def test_headers_that_once_meant_something(a):
    """x-image-meta-* of the first API changes nothing."""
    r = a.post('/v2/images', {'name': 'x'}, headers={'X-Image-Meta-Status': 'active', 'X-Image-Meta-Name': 'y',
                                                     'X-Image-Meta-Property-Colour': 'red'})
    assert (r.json()['status'], r.json()['name'], 'colour' in r.json()) == ('queued', 'x', False)


@glint_only
def test_body_too_large(a):
    r = post(a, '{"name": "%s"}' % ('x' * (2 << 20)))
    assert r.status_code == 413
    message_of(r)


@glint_only
@pytest.mark.parametrize('body', [
    pytest.param('{' + ','.join('"k%d": "v"' % i for i in range(50_000)) + '}', id='50000 keys'),
    pytest.param('{"tags": [' + ','.join('"t%d"' % i for i in range(50_000)) + ']}', id='50000 tags'),
])
def test_too_many(a, body):
    began = time.monotonic()
    assert post(a, body).status_code in (400, 413)
    assert time.monotonic() - began < 20


def test_body_where_none_belongs(a):
    for method, path in (('GET', '/v2/images'), ('DELETE', '/v2/images/00000000-0000-4000-8000-000000000000')):
        r = a.call(method, path, data='{"x": 1}', headers={'Content-Type': 'application/json'})
        assert r.status_code in (200, 400, 404, 415)


# -- tags ----------------------------------------------------------------------------------------------

@pytest.mark.makes
@pytest.mark.parametrize('tag', ['a', 'with%20blank', pytest.param('%C3%A4', marks=glint_only), 'a%2Fb',
                                 '%3Cb%3E', "'--", 't' * 255, '%25'])
def test_odd_tags(a, tag):
    image = a.new()['id']
    r = a.put(f'/v2/images/{image}/tags/{tag}')
    if TARGET == 'glance' and '%2F' in tag:
        return
    if r.status_code == 404 and '%2F' in tag:
        return  # a slash is a slash to some
    assert r.status_code == 204, r.text[:500]
    assert a.show(image)['tags'] == [unquote(tag)]
    assert a.delete(f'/v2/images/{image}/tags/{tag}').status_code == 204
    assert a.show(image)['tags'] == []


@pytest.mark.makes
@pytest.mark.parametrize('tag', ['t' * 256, pytest.param('%FF', marks=glint_only), pytest.param('a%00b', marks=glint_only)])
def test_bad_tags(a, tag):
    image = a.new()['id']
    r = a.put(f'/v2/images/{image}/tags/{tag}')
    assert r.status_code == 400, r.text[:500]
    message_of(r)
    assert a.show(image)['tags'] == []


@glint_only
@pytest.mark.makes
def test_no_header_is_split(server, a):
    """A tag, an id, a request id with a line break in it never becomes a header."""
    image = a.new()['id']
    for path in (f'/v2/images/{image}/tags/x%0d%0aSet-Cookie:%20a=b', '/v2/images/x%0d%0aSet-Cookie:%20a=b',
                 '/v2/images?marker=x%0d%0aSet-Cookie:%20a=b'):
        for method in ('GET', 'PUT'):
            r = a.call(method, path)
            assert 'Set-Cookie' not in r.headers


# -- paths ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize('path, statuses', [
    ('/v2/images/nosuch', {404}),
    ('/v2/images/' + 'x' * 255, {404}),
    ('/v2/images/00000000-0000-4000-8000-000000000000', {404}),
    ('/v2/nothing', {404}),
    ('/v2/images/../images', {400, 404}),
    ('/v2/images/..%2f..%2fetc%2fpasswd', {400, 404}),
    ('/v2/images/%2e%2e/file', {400, 404}),
    ('/v2/images/%00', {400, 404}),
    ('/v2/images/%zz', {400, 404}),
    ('/v2/images/%', {400, 404}),
    ('/v2//images', {400, 404}),
    ('/v2/images//file', {400, 404}),
    ('/v2/images/%ff', {400, 404}),
    ('/v2/images/x/members/..', {400, 404}),
    ('/v2/schemas/nothing', {404}),
    ('/etc/passwd', {300, 404}),
])
@glint_only
def test_paths(server, path, statuses):
    answer = exchange(server, f'GET {path} HTTP/1.1\r\nHost: x\r\n{who_lines()}\r\n'.encode())
    assert answer.status in statuses
    if answer.status >= 400:
        assert json.loads(answer.body)['error']['code'] == answer.status


@glint_only
@pytest.mark.makes
def test_an_id_in_another_spelling_is_another_id(a):
    image = a.new(b'x', id='c0ffee00-aaaa-4000-8000-00000000abcd')['id']
    assert a.get(f'/v2/images/{image.upper()}').status_code == 404
    assert a.get(f'/v2/images/{image}/').status_code in (200, 404)
    assert a.get('/v2/images/' + image.replace('-', '')).status_code == 404


@pytest.mark.parametrize('method, path, allowed', [
    ('POST', '/v2/images/{id}', {'DELETE', 'GET', 'PATCH'}),
    ('PUT', '/v2/images/{id}', {'DELETE', 'GET', 'PATCH'}),
    ('DELETE', '/v2/images', {'GET', 'POST'}),
    ('PUT', '/v2/images', {'GET', 'POST'}),
    ('DELETE', '/v2/images/{id}/file', {'GET', 'PUT'}),
    ('POST', '/v2/images/{id}/file', {'GET', 'PUT'}),
    ('GET', '/v2/images/{id}/tags/x', {'DELETE', 'PUT'}),
    ('GET', '/v2/images/{id}/actions/deactivate', {'POST'}),
    ('PATCH', '/v2/images/{id}/members', {'GET', 'POST'}),
    ('POST', '/v2/images/{id}/members/x', {'DELETE', 'GET', 'PUT'}),
    ('POST', '/v2/schemas/image', {'GET'}),
])
@pytest.mark.makes
def test_wrong_verb(a, method, path, allowed):
    image = a.new(b'x')['id']
    r = a.call(method, path.format(id=image))
    assert r.status_code == 405
    assert {m.strip() for m in r.headers['Allow'].split(',')} - {'HEAD', 'OPTIONS'} == allowed
    assert a.show(image)['status'] == 'active'


@glint_only
@pytest.mark.parametrize('method', ['TRACE', 'CONNECT', 'FOO', 'get', 'OPTIONS'])
def test_unheard_of_verbs(server, method):
    answer = exchange(server, f'{method} /v2/images HTTP/1.1\r\nHost: x\r\n{who_lines()}\r\n'.encode())
    assert answer.status in (400, 405, 501)


@pytest.mark.makes
def test_method_override_is_ignored(server, a):
    image = a.new()['id']
    r = a.get(f'/v2/images/{image}', headers={'X-HTTP-Method-Override': 'DELETE', 'X-Method': 'DELETE'})
    assert r.status_code == 200
    assert a.show(image)['id'] == image


# -- HTTP itself ---------------------------------------------------------------------------------------

REQUEST = 'POST /v2/images HTTP/1.1\r\nHost: x\r\n' + who_lines() + 'Content-Type: application/json\r\n'


@glint_only
@pytest.mark.parametrize('headers, body', [
    ('Content-Length: 2\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
    ('Transfer-Encoding: chunked\r\nContent-Length: 2\r\n', '0\r\n\r\n'),
    ('Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'),
    ('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'),
    ('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\r\n\r\n'),
    ('Transfer-Encoding : chunked\r\n', '2\r\n{}\r\n0\r\n\r\n'),
    ('Transfer-Encoding: \x0bchunked\r\n', '2\r\n{}\r\n0\r\n\r\n'),
    ('Content-Length: 2\r\nContent-Length: 3\r\n', '{} '),
    ('Content-Length: +2\r\n', '{}'),
    ('Content-Length: -2\r\n', '{}'),
    ('Content-Length: 2 2\r\n', '{}'),
    ('Content-Length: 0x2\r\n', '{}'),
    ('Content-Length: 99999999999999999999999999\r\n', '{}'),
    ('Content-Length: \r\n', '{}'),
    ('Content-Length : 2\r\n', '{}'),
    ('X-Folded: a\r\n b\r\nContent-Length: 2\r\n', '{}'),
    ('X-Nul: a\x00b\r\nContent-Length: 2\r\n', '{}'),
    ('X Blank: a\r\nContent-Length: 2\r\n', '{}'),
    (': nameless\r\nContent-Length: 2\r\n', '{}'),
    ('nocolon\r\nContent-Length: 2\r\n', '{}'),
    ('Host: y\r\nContent-Length: 2\r\n', '{}'),
])
def test_smuggling(server, headers, body):
    """What two servers could read in two ways is refused, and the connection ends."""
    with Raw(server) as raw:
        raw.send((REQUEST + headers + '\r\n' + body).encode('latin-1'))
        answer = raw.answer()
        assert answer.status in (400, 413, 501)
        assert raw.ended()


@glint_only
@pytest.mark.parametrize('head', [
    'GET\r\n\r\n', 'GET /v2/images\r\n\r\n', 'GET  /v2/images HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /v2/images HTTP/1.1 x\r\nHost: x\r\n\r\n', 'GET /v2/images HTTP/2.0\r\nHost: x\r\n\r\n',
    'GET v2/images HTTP/1.1\r\nHost: x\r\n\r\n', 'GET /v2/im ages HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /v2/images\x00 HTTP/1.1\r\nHost: x\r\n\r\n', 'GET /v2/images HTTP/1.1\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 'GET /v2/images HTTP/1.1\nHost: x\n\n',
])
def test_request_lines(server, head):
    with Raw(server) as raw:
        raw.send(head.encode('latin-1'))
        answer = raw.answer()
        assert answer is None or answer.status in (400, 404, 505)
        assert raw.ended()


@glint_only
def test_headers_too_large(server):
    for extra in ('X-Big: ' + 'x' * 100_000 + '\r\n', ''.join(f'X-{i}: y\r\n' for i in range(2000))):
        with Raw(server) as raw:
            try:
                raw.send(f'GET /v2/images HTTP/1.1\r\nHost: x\r\n{extra}\r\n'.encode())
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert raw.answer().status == 431
    with Raw(server) as raw:
        raw.send(('GET /' + 'x' * 100_000 + ' HTTP/1.1\r\nHost: x\r\n\r\n').encode())
        assert raw.answer().status in (414, 431)


def test_old_http(server):
    answer = exchange(server, b'GET /healthcheck HTTP/1.0\r\n\r\n')
    assert answer.status == 200


@glint_only
@pytest.mark.makes
def test_the_second_request_after_an_error_is_not_a_body(server, a):
    """An answer that comes before the body was read never lets that body pass for a request."""
    image = a.new(b'x')['id']
    smuggled = f'DELETE /v2/images/{image} HTTP/1.1\r\nHost: x\r\n{who_lines()}\r\n'
    with Raw(server) as raw:
        raw.send((f'PUT /v2/images/{image}/file HTTP/1.1\r\nHost: x\r\n{who_lines()}'
                  f'Content-Type: application/octet-stream\r\nContent-Length: {len(smuggled)}\r\n\r\n'
                  + smuggled).encode())
        assert raw.answer().status == 409
        rest = raw.answer()
        assert rest is None or rest.status != 204
    assert a.show(image)['id'] == image


# -- what is said back ---------------------------------------------------------------------------------

@pytest.mark.parametrize('path', ['/v2/images?limit=<script>alert(1)</script>', '/v2/images?sort_key=<script>',
                                  '/v2/images/<script>', '/v2/images?visibility=%3Cscript%3E'])
@glint_only
def test_nothing_is_echoed_as_html(a, path):
    r = a.get(path)
    assert r.status_code in (400, 404)
    assert r.headers['Content-Type'].split(';')[0] == 'application/json'
    assert r.headers.get('X-Content-Type-Options') == 'nosniff' or '<script' not in r.text


@glint_only
def test_sentences_say_nothing_of_the_inside(server, a):
    for r in (a.get('/v2/images?marker=nosuch'), a.create(id='x'), a.get('/v2/images/nosuch'), a.create(name=1)):
        text = message_of(r)
        assert str(server.root) not in text and 'sqlite' not in text.lower() and '.c:' not in text


# -- slow clients --------------------------------------------------------------------------------------

@glint_only
def test_slow_clients_stop_nobody(servers):
    """Hundreds of half-said requests: a healthy one is answered at once, and the slow ones end."""
    server = servers({'glint': {'header_timeout': 8}})
    raws = [Raw(server) for _ in range(300)]
    for raw in raws:
        raw.send(b'GET /v2/images HTTP/1.1\r\nX-Slow: ')
    began = time.monotonic()
    assert server.client().get('/healthcheck').status_code == 200
    assert time.monotonic() - began < 6
    answer = raws[0].answer()
    assert answer is None or answer.status == 408
    for raw in raws:
        raw.sock.close()


@glint_only
def test_idle_connections_end(servers):
    server = servers({'glint': {'idle_timeout': 1}})
    with Raw(server) as raw:
        raw.head('GET', '/healthcheck', who=None)
        assert raw.answer().status == 200
        assert raw.ended()


@glint_only
def test_stalled_upload_ends(servers):
    server = servers({'glint': {'body_timeout': 1}})
    client = server.client(A)
    image = client.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream',
                 Content_Length='1000')
        raw.send(b'x' * 10)
        answer = raw.answer()
        assert answer is None or answer.status == 408
    server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'ERROR image.upload',
                        'image.update(queued)'], image)
    assert client.show(image)['status'] == 'queued'
