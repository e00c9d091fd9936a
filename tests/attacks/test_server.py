# SPDX-License-Identifier: Apache-2.0
"""What an HTTP server written in C adds: requests that two readers read in two ways, JSON that costs, paths out of the
store, SQL, ranges, verbs, many hands, no descriptors, privileges.

What other tests prove besides: D1 unit http_head and http_chunk, test_badinput::test_smuggling; D2 unit http_limits; D3
test_badinput::test_body_of_create; D4 test_badinput::test_paths; D9 test_upload_download::test_no_continue_...; D11
test_badinput::test_unheard_of_verbs; D12 test_robustness.
"""
import json
import os
import re
import resource
import select
import stat
import threading
import time

import pytest
import requests

from attack import (MIB, NO_IMAGE, SANITIZED, TIMES, chunked, cpu_of, descriptors_of, least_cost, lines_of,
                    many_descriptors, memory_of, seconds_of_health)
from harness import A, ADMIN, B, PATCH_V21, Client, Raw, at_once, exchange, pattern, wait_for
from proxies import Proxy


FRAMINGS = [
    'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', 'Transfer-Encoding: chunked\r\nContent-Length: 4\r\n',
    'Content-Length: 4\r\nContent-Length: 4\r\n', 'Content-Length: 4, 4\r\n', 'Content-Length: +4\r\n',
    'Content-Length: -1\r\n', 'Content-Length: 4 4\r\n', 'Content-Length: 0x4\r\n', 'Content-Length:\r\n',
    'Content-Length: 18446744073709551620\r\n', 'Content-Length : 4\r\n', 'Content-Length\t: 4\r\n',
    'Transfer-Encoding: xchunked\r\n', 'Transfer-Encoding: chunked, identity\r\n', 'Transfer-Encoding: identity\r\n',
    'Transfer-Encoding: \x0bchunked\r\n', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n',
    'Transfer-Encoding:\r\n chunked\r\n', ' Transfer-Encoding: chunked\r\n', 'X: y\nTransfer-Encoding: chunked\r\n',
    'X: y\rTransfer-Encoding: chunked\r\n', 'X: \x00\r\nContent-Length: 4\r\n', 'Content-Length: 4\r\nHost: other\r\n',
    'Content-Length: 4;\r\n', 'Content-Length: "4"\r\n', 'Content-Length: \uff14\r\n', 'Content_Length: 4\r\n\r\n0\r\n\x00']


@pytest.mark.parametrize('framing', FRAMINGS)
def test_d1_two_ways_to_read_a_request(server, a, framing):
    """Whatever is behind it, it is never a second request."""
    image = a.new()['id']
    second = f'DELETE /v2/images/{image} HTTP/1.1\r\nHost: x\r\n{lines_of(A)}\r\n'
    with Raw(server) as raw:
        raw.send((f'POST /v2/images HTTP/1.1\r\nHost: x\r\n{lines_of(A)}{framing}\r\n0\r\n\r\n{second}'
                  ).encode('utf-8', 'surrogateescape'))
        answer = raw.answer()
        assert answer is None or answer.status in (400, 413, 501), answer
        assert raw.ended()
    assert a.show(image)['id'] == image


@pytest.mark.parametrize('chunk', ['FFFFFFFFFFFFFFFF1', 'FFFFFFFFFFFFFFFF', '8000000000000000', '-1', '0x1', '1 ', ' 1', '1;ext=1',
                                   '', '+1', 'g', '1\t', '1\n', '1\r', '\uff11'])
def test_d1_sizes_of_chunks(server, a, chunk):
    image = a.new()['id']
    with Raw(server) as raw:
        raw.send((f'PUT /v2/images/{image}/file HTTP/1.1\r\nHost: x\r\n{lines_of(A)}Content-Type: application/octet-stream\r\n'
                  f'Transfer-Encoding: chunked\r\n\r\n{chunk}\r\nx\r\n0\r\n\r\n').encode())
        raw.half_close()
        assert raw.answer().status == 400
        assert raw.ended()
    server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'ERROR image.upload',
                        'image.update(queued)'], image)
    assert a.upload(image, chunked(b'x')).status_code == 204


def test_d1_pipelined_twin(server, a):
    """The same two requests, well framed, are two requests."""
    image = a.new()['id']
    body = '{"name": "x"}'
    with Raw(server) as raw:
        raw.send((f'POST /v2/images HTTP/1.1\r\nHost: x\r\n{lines_of(A)}Content-Length: {len(body)}\r\n\r\n{body}'
                  f'DELETE /v2/images/{image} HTTP/1.1\r\nHost: x\r\n{lines_of(A)}\r\n').encode())
        assert [raw.answer().status, raw.answer().status] == [201, 204]


@pytest.fixture(scope='module', params=['nginx', 'haproxy'])
def proxy(request, server, tmp_path_factory):
    p = Proxy(tmp_path_factory.mktemp('proxy') / request.param, request.param, server)
    yield p
    p.close()


def bodies(second):
    """What may stand behind a head: read by its length, by its chunks, or not at all, it ends elsewhere."""
    chunk = f'{len(second):x}\r\n{second}\r\n0\r\n\r\n'
    return [f'0\r\n\r\n{second}', second, chunk, f'1\r\nZ\r\nQ\r\n\r\n{second}', f'0\r\nX: y\r\n\r\n{second}',
            f'FFFFFFFFFFFFFFFF1\r\n{second}', f'1;x="\n\r\nz\r\n0\r\n\r\n{second}']


def test_d1_behind_a_proxy(server, proxy, a):
    """Somebody tries everything to leave half a request in the connection that the proxy shares; whoever comes next
    through it gets his own answer."""
    mine, theirs = a.new(name='mine')['id'], server.client(B).new(name='theirs')['id']
    victim = Client(proxy, B)
    second = f'GET /v2/images/{mine} HTTP/1.1\r\nHost: x\r\n{lines_of(A)}X-Rest: '
    whole = f'DELETE /v2/images/{mine} HTTP/1.1\r\nHost: x\r\n{lines_of(B)}\r\n'
    framings = [*FRAMINGS, 'Transfer-Encoding: chunked\r\n', f'Content-Length: {len(second)}\r\n',
                'Content-Length: 4\r\nTransfer_Encoding: chunked\r\n', 'Expect: 100-continue\r\nContent-Length: 4\r\n',
                'Connection: Content-Length\r\nContent-Length: 4\r\n']
    n = 0
    for framing in framings:
        for method, path in (('POST', '/v2/images'), ('GET', f'/v2/images/{mine}'), ('PUT', f'/v2/images/{mine}/file')):
            for body in bodies(second if n % 2 else whole):
                n += 1
                with Raw(proxy, timeout=30) as raw:
                    head = f'{method} {path} HTTP/1.1\r\nHost: x\r\n{lines_of(A)}{framing}\r\n'
                    raw.send((head + body).encode('utf-8', 'surrogateescape'))
                    r = victim.get(f'/v2/images/{theirs}')
                    assert r.status_code == 200 and r.json()['id'] == theirs, (framing, method, r.text)
    assert n > 500 and a.show(mine)['name'] == 'mine'
    with Raw(proxy) as raw:  # two that are well framed are two
        for _ in range(2):
            raw.head('GET', f'/v2/images/{mine}', who=A)
        assert [raw.answer().status, raw.answer().status] == [200, 200]


# -- slow clients --------------------------------------------------------------------------------------

def slow(server, request):
    raw = Raw(server)
    raw.send(request.encode())
    return raw


@pytest.mark.quiet
def test_d2_thousands_that_are_slow(servers):
    """Heads, bodies, uploads and reads, an octet every ten seconds: five thousand of them, and the service answers."""
    with many_descriptors() as most:
        server = servers({'glint': {'max_uploads': 64, 'crowded_timeout': 2}})
        a = server.client(A)
        file = a.new(pattern(8 * MIB))['id']
        n = min(5000, most - 1000) // 10
        queued = [a.new()['id'] for _ in range(min(n, 100))]
        upload = (f'/file HTTP/1.1\r\nHost: x\r\n{lines_of(A)}Content-Type: application/octet-stream\r\n'
                  'Content-Length: 9999\r\n\r\n')
        raws = [slow(server, 'GET /v2/images HTTP/1.1\r\nX-Slow: ') for _ in range(4 * n)]
        raws += [slow(server, f'POST /v2/images HTTP/1.1\r\nHost: x\r\n{lines_of(A)}Content-Length: 999\r\n\r\n{{')
                 for _ in range(4 * n)]
        raws += [slow(server, f'PUT /v2/images/{image}{upload}') for image in queued]
        raws += [slow(server, f'GET /v2/images/{file}/file HTTP/1.1\r\nHost: x\r\n{lines_of(A)}\r\n') for _ in range(n)]
        for step in range(2):
            for raw in raws:
                try:
                    raw.send(b'x')
                except OSError:
                    pass  # an upload that has given way
            assert sorted(seconds_of_health(server, 20))[10] < 0.5, step
        assert a.new(b'an upload that is not slow')['id']
        assert a.download(file, headers={'Range': 'bytes=0-9'}).status_code == 206
        for raw in raws:
            raw.reset()


def at_rate(raw, image, who, octets_a_second, seconds):
    """An upload in pieces of a tenth of a second; its answer."""
    piece = b'x' * (octets_a_second // 10)
    raw.head('PUT', f'/v2/images/{image}/file', who=who, Content_Type='application/octet-stream', Transfer_Encoding='chunked')
    for _ in range(seconds * 10):
        raw.send(b'%x\r\n' % len(piece) + piece + b'\r\n')
        if select.select([raw.sock], [], [], 0.1)[0]:
            return raw.answer()
    raw.send(b'0\r\n\r\n')
    return raw.answer()


@pytest.mark.quiet
def test_d2_least_rate(servers):
    """Below it an upload ends, though it never quite stalls; 64 kbit/s is slow, but honest."""
    server = servers({'glint': {'body_timeout': 1, 'min_rate': 4000}})
    a = server.client(A)
    for rate, status in ((100, 408), (8000, 204)):
        with Raw(server) as raw:
            assert at_rate(raw, a.new()['id'], A, rate, 5).status == status


@pytest.mark.quiet
def test_d2_stalled_uploads_hold_no_place(servers):
    """All places are taken by uploads of one client that send nothing, but one by an honest one at 64 kbit/s: others get
    theirs, and so does that one to its end. Without others, nothing happens to those that stall."""
    server = servers({'glint': {'max_uploads': 4, 'crowded_timeout': 1}})
    a = server.client(A)
    with Raw(server) as honest:
        done = []
        slow_one = threading.Thread(target=lambda: done.append(at_rate(honest, a.new()['id'], A, 8000, 6)))
        slow_one.start()
        stalled = []
        for image in [server.client(B).new()['id'] for _ in range(3)]:
            stalled.append(Raw(server))
            stalled[-1].head('PUT', f'/v2/images/{image}/file', who=B, Content_Type='application/octet-stream',
                             Content_Length='1000')
            server.wait_events(['image.create', 'image.update(saving)', 'image.prepare'], image)
        began = time.monotonic()
        assert not select.select([raw.sock for raw in stalled], [], [], 1.5)[0]
        assert server.client(A).new(b'data')['id'] and time.monotonic() - began < 20
        gone = select.select([raw.sock for raw in stalled], [], [], 20)[0]
        assert len(gone) == 1
        for raw in stalled:
            if raw.sock in gone:
                assert raw.answer().status == 408
            else:
                raw.send(b'x' * 1000)
                assert raw.answer().status == 204
            raw.sock.close()
        slow_one.join()
    assert done[0].status == 204


@pytest.mark.parametrize('body', [
    pytest.param('{' + ','.join(f'"k{i}": 1' for i in range(70_000)) + '}', id='keys'),
    pytest.param('[' + '{"a":1},' * 100_000 + '{}]', id='many objects'),
    pytest.param('{"name": "' + '\\u0041' * 150_000 + '"}', id='escapes'),
    pytest.param('[' * 1_000_000, id='depth'), pytest.param('{"a":' * 200_000, id='objects'),
    pytest.param('{"tags": [' + ','.join('"t"' for _ in range(200_000)) + ']}', id='tags'),
    pytest.param('{"tags": [' + ','.join(f'"t{i}"' for i in range(90_000)) + ']}', id='different tags'),
    pytest.param('{"min_ram": ' + '9' * 1_000_000 + '}', id='digits')])
def test_d3_json_that_costs(server, a, body):
    r, spent = least_cost(server, lambda: a.call('POST', '/v2/images', data=body))
    assert r.status_code in (400, 413), r.text[:200]
    assert spent < (1 if SANITIZED else 0.05)
    assert len(r.content) < 2000


@pytest.mark.parametrize('body', [
    '{"name": "a", "name": "b"}', '{"min_ram": 1e999}', '{"min_ram": -1e999}', '{"name": "\\ud800"}',
    '{"name": "\\udc00\\ud800"}',
    '{"min_ram": NaN}', '{"min_ram": -Infinity}', '{"min_ram": %s}' % ('9' * 400), '{"min_ram": 18446744073709551616}',
    '\ufeff{"name": "x"}', '{"name": "x"} x', '{"name": "x"}{}', '{"min_ram": 0x1}', '[' * 100_000,
    '{"a":[' * 50_000, '{"k": ' + '[' * 2000 + ']' * 2000 + '}', '[' + '{"a":1},' * 100_000 + '{}]',
    '[' + '{"op":"add"},' * 10_000 + '{}]'],
    ids=lambda text: text[:24] + f' ({len(text)})')
@pytest.mark.parametrize('way', ['create', 'patch', 'members', 'import'])
def test_d3_json_that_is_none(server, a, way, body):
    """Refused within 50 ms of processor time, wherever JSON is read; the twin is the same request with an object."""
    image = a.new()['id']
    method, path, media, good, status = {
        'create': ('POST', '/v2/images', 'application/json', '{"min_ram": -0}', 201),
        'patch': ('PATCH', f'/v2/images/{image}', PATCH_V21, '[{"op": "add", "path": "/k", "value": "v"}]', 200),
        'members': ('POST', f'/v2/images/{image}/members', 'application/json', '{"member": "%s"}' % B.project, 200),
        'import': ('POST', f'/v2/images/{image}/import', 'application/json',
                   '{"method": {"name": "glance-direct"}}', 409)}[way]
    octets = body.encode('utf-8', 'surrogatepass')
    r, spent = least_cost(server, lambda: a.call(method, path, data=octets, headers={'Content-Type': media}))
    assert r.status_code in (400, 413, 415), r.text[:200]
    assert spent < (1 if SANITIZED else 0.05) and len(r.content) < 2000
    assert a.call(method, path, data=good, headers={'Content-Type': media}).status_code == status


def test_d3_patches_that_cost(server, a):
    """Steps within the limits of a body; each might copy what the ones before it have made."""
    image = a.new()['id']
    before = cpu_of(server)
    for steps in ([{'op': 'add', 'path': '/k', 'value': 'v'}] * 15_000,
                  [{'op': 'add', 'path': '/k', 'value': 'v' * 900}] * 1000,
                  [{'op': 'replace', 'path': '/tags', 'value': [f't{i}' for i in range(120)]}] * 900):
        assert a.patch(image, *steps).status_code in (200, 400, 413)
    assert cpu_of(server) - before < (10 if SANITIZED else 1.5)


def test_d3_100_mib(server, a):
    began, before = time.monotonic(), memory_of(server)
    with Raw(server) as raw:
        raw.head('POST', '/v2/images', who=A, Content_Length=str(100 * MIB))
        assert raw.answer().status == 413
    with Raw(server) as raw:
        raw.head('POST', '/v2/images', who=A, Transfer_Encoding='chunked')
        try:
            for _ in range(100):
                raw.send(b'100000\r\n' + b' ' * MIB + b'\r\n')
        except OSError:
            pass
        assert raw.answer().status == 413
    assert time.monotonic() - began < 60 and memory_of(server) - before < 32 * MIB


@pytest.mark.parametrize('path', [
    '/v2/images/../../etc/passwd', '/v2/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd', '/v2/images/..%2f..%2fglint.sqlite/file',
    '/v2/images/%00', '/v2//images', '/v2/images//file', f'/v2/images/{NO_IMAGE}%00/file', '/v2/images/.glint-x.part/file',
    '/v2/images/.', '/v2/images/..', '/v2/images/' + 'a' * 255, f'/v2/images/{NO_IMAGE}%2ffile', f'/v2/images/{NO_IMAGE}/file/',
    f'/v2/images/{NO_IMAGE.replace("-", "")}/file', '/v2/images/%c0%ae%c0%ae/file', '/v2/images/%/file', '/v2/images/%zz/file',
    '/v2/images/victim/file', '/v2/images/%2e%2e%2fvictim/file'])
def test_d4_paths_out_of_the_store(server, a, path):
    (server.images / 'victim').write_bytes(b'secret')
    (server.root / 'victim').write_bytes(b'secret')
    for method in ('GET', 'PUT', 'DELETE', 'PATCH'):
        with Raw(server) as raw:
            raw.head(method, path, who=A, Content_Type='application/octet-stream', Content_Length='1', Connection='close')
            raw.send(b'x')
            answer = raw.answer()
            assert answer.status in (400, 404, 405, 415) and b'secret' not in answer.body, (method, answer)
    assert (server.images / 'victim').read_bytes() == b'secret' == (server.root / 'victim').read_bytes()
    (server.images / 'victim').unlink()


STORES = {'DEFAULT': {'enabled_backends': 'fs:file'}, 'glance_store': {'default_backend': 'fs', 'filesystem_store_datadir': None}}


@pytest.fixture
def stores(servers, tmp_path):
    """A server whose store has a name."""
    return servers({**STORES, 'fs': {'filesystem_store_datadir': tmp_path / 'stores' / 'images'}}, name='stores')


@pytest.mark.parametrize('store', ['../x', '..', '.', 'fs/../fs', '/', 'fs/', '%2e%2e', 'fs\t', 'FS', 'fs%00',
                                   'os_glance_staging_store', "fs' OR 1=1", 'f' * 5000, '\xff'])
def test_d4_stores_that_are_none(stores, store):
    a, admin = stores.client(A), stores.client(ADMIN)
    image = a.new()['id']
    r = a.upload(image, b'x', headers={'X-Image-Meta-Store': store.encode('latin-1')})
    assert r.status_code in (400, 404, 431) or store.strip() == 'fs', r.text
    r = a.post(f'/v2/images/{image}/import', {'method': {'name': 'glance-direct'}, 'stores': [store]})
    assert r.status_code in (400, 404, 409)
    r = admin.delete(f"/v2/stores/{requests.utils.quote(store, safe='')}/{image}")
    assert r.status_code in (400, 403, 404, 409, 414, 431)
    twin = a.new()['id']
    assert a.upload(twin, b'y', headers={'X-Image-Meta-Store': 'fs'}).status_code == 204
    assert [p for p in (stores.root / 'images').rglob('*') if p.is_file() and p.name not in (image, twin)] == []


@pytest.mark.parametrize('kind', ['directory', 'full directory', 'pipe', 'link', 'dangling link', 'socket', 'device'])
def test_d4_something_else_in_place_of_an_image(servers, kind):
    """Whoever may write into the directory makes no request hang, follow, or remove what it should not."""
    server = servers()
    server.errors_expected = True
    a = server.client(A)
    image, empty = a.new(b'x' * 6)['id'], a.new()['id']
    victim = server.root / 'victim'
    victim.write_bytes(b'secret')
    (server.images / image).unlink()
    for name in (image, empty):
        path = server.images / name
        if 'directory' in kind:
            path.mkdir()
            if 'full' in kind:
                (path / 'file').write_bytes(b'secret')
        elif kind == 'pipe':
            os.mkfifo(path)
        elif kind == 'socket':
            os.mknod(path, 0o600 | stat.S_IFSOCK)
        elif kind == 'device':
            try:
                os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
            except PermissionError:
                pytest.skip('making devices needs root')
        else:
            path.symlink_to(victim if kind == 'link' else server.root / 'nowhere')
    r = a.get(f'/v2/images/{image}/file', timeout=30)
    assert r.status_code in (204, 404, 500, 503) and b'secret' not in r.content
    r = a.upload(empty, b'new')
    assert r.status_code in (409, 500, 503) and a.show(empty)['status'] == 'queued'
    assert a.remove(image).status_code == 204 == a.remove(empty).status_code
    assert victim.read_bytes() == b'secret' and not (server.root / 'nowhere').exists()
    assert a.new(b'y')


SPLIT = 'x\r\nSet-Cookie: a=b\r\n\r\n<html>'
BROKEN = ('x\rSet-Cookie: a=b', 'x\nSet-Cookie: a=b')


def raw_answers(server, request):
    """Every octet that comes back."""
    with Raw(server, timeout=10) as raw:
        raw.send(request)
        raw.half_close()
        raw.ended()
        return raw.rest


@pytest.mark.parametrize('place', ['name', 'tag in a body', 'tag in a path', 'id', 'Host', 'X-Forwarded-Host',
                                   'request id', 'store', 'store in a path', 'query', 'member', 'property', 'content type'])
def test_d5_no_header_is_split(servers, place):
    """A line break in whatever comes back in a header, or might."""
    server = servers({'glint': {'allow_insecure': 'false'}, 'oslo_middleware': {'enable_proxy_headers_parsing': 'true'}})
    a = server.client(A)
    image = a.new()['id']
    escaped = requests.utils.quote(SPLIT, safe='')
    post = 'POST /v2/images HTTP/1.1\r\n'

    def request(line, *headers, body='', host='x'):
        return (line + f'Host: {host}\r\n' + lines_of(A) + ''.join(f'{h}\r\n' for h in headers)
                + f'Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}').encode()
    sent = {
        'name': [request(post, body=json.dumps({'name': SPLIT}))],
        'property': [request(post, body=json.dumps({SPLIT: SPLIT}))],
        'id': [request(post, body=json.dumps({'id': SPLIT})), request(f'GET /v2/images/{escaped} HTTP/1.1\r\n')],
        'tag in a body': [request(post, body=json.dumps({'tags': [SPLIT]}))],
        'tag in a path': [request(f'{m} /v2/images/{image}/tags/{escaped} HTTP/1.1\r\n') for m in ('PUT', 'DELETE', 'GET')],
        'Host': [request(post, body='{}', host=h) for h in (*BROKEN, escaped, 'a b', '"x"')],
        'X-Forwarded-Host': [request(post, f'X-Forwarded-Host: {h}', body='{}') for h in (*BROKEN, escaped)],
        'request id': [request(post, f'X-OpenStack-Request-ID: {h}', body='{}')
                       for h in (*BROKEN, 'x%0d%0aSet-Cookie:a=b', 'a b', '\x85Set-Cookie: a=b')],
        'store': [request(f'PUT /v2/images/{image}/file HTTP/1.1\r\n', 'Content-Type: application/octet-stream',
                          f'X-Image-Meta-Store: {h}', body='x') for h in (*BROKEN, escaped)],
        'store in a path': [request(f'DELETE /v2/stores/{escaped}/{image} HTTP/1.1\r\n')],
        'query': [request(f'GET /v2/images?{k}={escaped} HTTP/1.1\r\n') for k in ('name', 'marker', 'sort', 'limit', escaped)],
        'member': [request(f'GET /v2/images/{image}/members/{escaped} HTTP/1.1\r\n'),
                   request(f'POST /v2/images/{image}/members HTTP/1.1\r\n', body=json.dumps({'member': SPLIT}))],
        'content type': [request(post, 'Content-Type: x\rSet-Cookie: a=b', body='{}')],
    }[place]
    for data in sent:
        answer = raw_answers(server, data)
        assert answer.startswith(b'HTTP/1.1 ') and answer.count(b'HTTP/1.1 ') == 1, data
        head = answer.split(b'\r\n\r\n', 1)[0]
        lines = head.split(b'\r\n')
        assert not re.search(rb'[\r\n\x00-\x08]', b''.join(lines)) and b'<html>' not in head
        assert not [line for line in lines if line.lower().startswith(b'set-cookie')], data
    twin = raw_answers(server, request(post, body='{"name": "x"}'))
    assert twin.startswith(b'HTTP/1.1 201 ') and b'\r\nLocation: http://x/v2/images/' in twin


HOSTILE = ["'", "''", '"', "' OR '1'='1", "'; DROP TABLE images; --", '%', '_', '\\', '\\%', '%%', '*', '?', ')', "x' UNION SELECT",
           'a/**/b', '\u02bc', "' || (SELECT 1) || '", ':1', '@x', '$1', '`', '\x01']


def test_d6_sql_in_every_place(server, a):
    twins = {}
    for n, text in enumerate(HOSTILE):
        twins[a.new(name=text, tags=[text], **{f'k{text}': text})['id']] = text
    other = a.new(name='harmless')['id']
    for image, text in twins.items():
        def found(**params):
            r = a.get('/v2/images', params={'limit': 1000, **params})
            assert r.status_code == 200, (params, r.text)
            return [i['id'] for i in r.json()['images']]
        if ':' not in text:  # which parts an operator from a value
            assert found(name=text) == [image] == found(**{f'k{text}': text}), text
        assert found(tag=text) == [image] == found(name=f'eq:{text}'), text
        for key in ('status', 'owner', 'id', 'checksum', 'disk_format', 'visibility', 'sort_key', 'sort_dir', 'sort', 'marker',
                    'limit', 'member_status', 'created_at', 'size_min', 'protected', 'os_hidden', 'name', 'container_format'):
            for value in (text, f'in:{text}', f'eq:{text}', f'in:"{text}', f'in:{text},{text}'):
                r = a.get('/v2/images', params={key: value})
                assert r.status_code in (200, 400, 404), (key, value, r.status_code)
        assert a.put(f'/v2/images/{other}/tags/' + requests.utils.quote(text, safe='')).status_code in (204, 400, 404)
        assert a.get(f"/v2/images/{requests.utils.quote(text, safe='')}").status_code in (400, 404, 405)
        assert a.get(f"/v2/images/{other}/members/{requests.utils.quote(text, safe='')}").status_code in (400, 404)
    assert a.show(other)['name'] == 'harmless'


@pytest.mark.parametrize('value, status', [
    ('bytes=' + ','.join(f'{i}-{i}' for i in range(1000)), (200, 416)), ('bytes=-99999999999999999999999', (200, 206, 416)),
    ('bytes=-11', (206, 416)), ('bytes=5-4', (200, 416)), ('bytes=9223372036854775807-', (416,)),
    ('bytes=0-18446744073709551616', (200, 206)),
    ('bytes=18446744073709551616-18446744073709551617', (200, 416)), ('bytes=--1', (200, 416)), ('bytes=0-0x9', (200, 416)),
    ('bytes=', (200, 416)), ('bytes=-0', (200, 416)), ('bytes=-', (200, 416)), ('BYTES=1-2', (200, 206)), ('items=1-2', (200, 416)),
    ('bytes=1-2', (206,))])
def test_d8_ranges(server, a, value, status):
    data = b'0123456789'
    image = a.new(data)['id']
    r = a.download(image, headers={'Range': value})
    assert r.status_code in status and len(r.content) <= 10 or r.status_code == 416
    if r.status_code in (200, 206):
        assert r.content in data and (r.status_code == 206 or r.content == data)


@pytest.mark.parametrize('method, path, media', [
    ('PUT', '/v2/images/{}/file', 'application/octet-stream'), ('POST', '/v2/images', 'application/json'),
    ('PATCH', '/v2/images/{}', 'application/openstack-images-v2.1-json-patch'),
    ('POST', '/v2/images/{}/members', 'application/json')])
def test_d9_no_body_from_a_stranger(server, a, method, path, media):
    """Whoever is nobody is told so before he sends anything."""
    image = a.new()['id']
    with Raw(server, timeout=30) as raw:
        raw.head(method, path.format(image), who=None, Content_Type=media, Content_Length='20', Expect='100-continue')
        assert raw.answer().status == 401
    with Raw(server, timeout=30) as raw:
        raw.head(method, path.format(image), who=A, Content_Type=media, Content_Length='20', Expect='100-continue')
        assert raw.answer().status == 100


def test_d11_verbs_in_disguise(server, a):
    image = a.new(b'x')['id']
    for name in ('X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override', '_method'):
        assert a.get(f'/v2/images/{image}', headers={name: 'DELETE'}).status_code == 200
        assert a.call('POST', f'/v2/images/{image}', headers={name: 'DELETE'}).status_code == 405
    for line in (f'TRACE /v2/images/{image}', 'CONNECT example.org:443', 'TRACE /', 'CONNECT /v2/images'):
        answer = exchange(server, f'{line} HTTP/1.1\r\nHost: x\r\nX-Canary: CANARY\r\n{lines_of(A)}\r\n'.encode())
        assert answer.status == 405 and b'CANARY' not in answer.body
    for path in ('/', '/healthcheck', '/v2/images', f'/v2/images/{image}', f'/v2/images/{image}/file', '/nowhere'):
        with Raw(server) as raw:
            raw.head('HEAD', path, who=A, Connection='close')
            answer = raw.answer('HEAD')
            assert answer.status in (200, 204, 300, 404, 405) and raw.ended() and raw.rest == b'', path


def test_d12_many_hands_on_one_image(server, a):
    """64 at once each want the image for themselves: one gets it, the others hear 409."""
    image = a.new()['id']
    data = [bytes([n]) * 1000 for n in range(32 if SANITIZED else 64)]
    codes = at_once(*[lambda d=d: Client(server, A).upload(image, d).status_code for d in data])
    assert sorted(codes) == [204] + (len(data) - 1) * [409]
    assert a.download(image).content == data[codes.index(204)]
    kinds = [e.short for e in server.settled_events(image) if e.type != 'image.send']
    assert kinds == ['image.create', 'image.update(saving)', 'image.prepare', 'image.upload', 'image.activate',
                     'image.update(active)']
    assert len(server.stored_files()) == len({i for i in server.stored_files()})


def test_d12_changes_against_deletes(server, a):
    """A patch, a tag, an acceptance, an upload, a deactivation against the deletion: what the client was told is what was
    told of the image, and nothing comes after its end."""
    for _ in range(4 if SANITIZED else 8):
        image = a.new(b'x')['id']
        assert a.share(image, B.project).status_code == 200
        hands = [lambda: ('patch', Client(server, A).patch(image, {'op': 'add', 'path': '/k', 'value': 'v'})),
                 lambda: ('accept', Client(server, B).answer_share(image, B.project, 'accepted')),
                 lambda: ('tag', Client(server, A).put(f'/v2/images/{image}/tags/t')),
                 lambda: ('delete', Client(server, A).remove(image)),
                 lambda: ('deactivate', Client(server, ADMIN).action(image, 'deactivate'))]
        answers = at_once(*hands * (6 if SANITIZED else 13))
        codes = {name: [r.status_code for n, r in answers if n == name] for name, _ in answers}
        assert codes['delete'].count(204) == 1 and set(codes['delete']) == {204, 404}
        assert set(codes['patch']) <= {200, 404} and set(codes['accept']) <= {200, 404}
        assert set(codes['tag']) <= {204, 404} and set(codes['deactivate']) <= {204, 403, 404, 409}
        events = [e for e in server.settled_events(image) if e.type != 'image.send']
        assert events[-1].short == 'image.delete' and [e.type for e in events].count('image.delete') == 1
        assert [e.type for e in events].count('image.member.update') == codes['accept'].count(200)
    assert a.show(a.new(b'x')['id'])['status'] == 'active'


def test_d13_no_descriptors_left(servers):
    """A thousand idle connections to a service that may have 128 files open: they wait outside, and whoever
    was there before them works on undisturbed."""
    server = servers(limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)))
    a = server.client(A)
    kept = a.new(b'kept')['id']  # the connection of `a` stays open
    raws = []
    for _ in range(1000):
        try:
            raws.append(Raw(server, timeout=2))
        except OSError:
            break
    wait_for(lambda: 'no more connections are accepted' in server.log.read_text(), server.root, 'full house')
    made = [a.new(b'data')['id'] for _ in range(30)]
    assert a.download(kept).content == b'kept'
    for raw in raws:
        raw.sock.close()
    after = server.client(A).new(b'after')['id']
    server.settle()
    told = {e.image for e in server.events()}
    assert set(made) | {kept, after} <= told
    assert sorted(server.stored_files()) == sorted([*made, kept, after])


def test_d13_a_thousand_that_create(servers):
    """256 files and a thousand clients at once, each of which makes an image: each gets it, and each is told."""
    with many_descriptors():
        server = servers(limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
        body = '{"name": "one of many"}'
        request = (f'POST /v2/images HTTP/1.1\r\nHost: x\r\n{lines_of(A)}Content-Length: {len(body)}\r\n'
                   f'Connection: close\r\n\r\n{body}')
        raws = [Raw(server, timeout=60) for _ in range(1000)]
        for raw in raws:
            raw.send(request.encode())
        made = []
        for raw in raws:
            answer = raw.answer()
            assert answer.status == 201
            made.append(json.loads(answer.body)['id'])
            raw.sock.close()
        server.settle()
        told = [e.image for e in server.events() if e.payload['name'] == 'one of many']
        assert len(set(made)) == 1000 and sorted(told) == sorted(made)
        assert 'no more connections are accepted' in server.log.read_text()


def test_d13_uploads_that_stall(servers):
    """Each holds a socket, a file and what it is woken by: there are never so many that nothing is left for others."""
    server = servers(limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
    a = server.client(A)
    images = [a.new()['id'] for _ in range(150)]
    raws = [Raw(server) for _ in images]
    for raw, image in zip(raws, images):
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream', Content_Length='1000')
        raw.send(b'x')
    wait_for(lambda: 'no more connections are accepted' in server.log.read_text(), server.root, 'full house')
    for _ in range(10):
        assert a.download(a.new(b'data')['id']).content == b'data'
    for raw in raws:
        raw.send(b'x' * 999)
    for raw in raws:
        assert raw.answer().status == 204
        raw.sock.close()


def test_d14_privileges(servers):
    server = servers({'DEFAULT': {'metadata_encryption_key': 'CANARY-key-16-ch'},
                      'oslo_messaging_notifications': {'driver': ['messagingv2', 'log'],
                                                       'transport_url': 'rabbit://CANARY-user:CANARY-word@127.0.0.1:1/'}},
                     arguments=['--data-dir', 'data'])
    a = server.client(A)
    staging = server.root / 'data' / 'staging'
    assert stat.S_IMODE(staging.stat().st_mode) == 0o700
    image, staged = a.new()['id'], a.new()['id']
    assert a.put(f'/v2/images/{staged}/stage', data=b'x', headers={'Content-Type': 'application/octet-stream'}).status_code == 204
    assert [p.stat().st_mode & 0o027 for p in staging.rglob('*') if p.is_file()] == [0]
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type='application/octet-stream', Content_Length='100')
        raw.send(b'x')
        server.wait_events(['image.create', 'image.update(saving)', 'image.prepare'], image)
        wait_for(server.stored_files, server.images, 'a file')
        for path in [*server.images.iterdir(), *server.root.glob('images.sqlite*'), server.log]:
            assert path.stat().st_mode & 0o027 == 0, path
        raw.send(b'x' * 99)
        assert raw.answer().status == 204
    with open(f'/proc/{server.pid}/status') as f:
        assert re.search(r'^Umask:\s*0027', f.read(), re.M)
    assert 'CANARY' not in server.log.read_text()
    for name in ('cmdline', 'environ'):
        with open(f'/proc/{server.pid}/{name}', 'rb') as f:
            assert b'CANARY' not in f.read()
    opened = []
    for fd in os.listdir(f'/proc/{server.pid}/fd'):
        try:
            opened.append(os.readlink(f'/proc/{server.pid}/fd/{fd}'))
        except FileNotFoundError:
            pass  # closed meanwhile
    assert str(server.database) in opened
    assert not [path for path in opened if path.startswith('/tmp/') and not path.startswith(str(server.root))]


@pytest.mark.parametrize('name', ['dialect', 'link'])
def test_d14_two_servers_one_database(servers, name):
    """However the second one names the file: it would take the uploads of the first for a crash's."""
    first = servers()
    second = servers(start=False)
    link = second.root / 'link.sqlite'
    link.symlink_to(first.database)
    url = f'sqlite+pysqlite:///{first.database}' if name == 'dialect' else f'sqlite:///{link}'
    second.config_file.write_text(f'[database]\nconnection = {url}\n[glance_store]\n'
                                  f'filesystem_store_datadir = {first.images}\n')
    second.spawn()
    try:
        assert second.process.wait(60) == 1
    finally:
        second.process.kill()
        second.process.wait()
    assert 'another' in second.said()
    second.process = None
    assert first.client(A).create().status_code == 201


def test_d16_nothing_is_html(server, a):
    probe = '<script>alert(1)</script>'
    a.http.headers['Accept'] = 'text/html'
    image = a.new()['id']
    for r in (a.get('/v2/images', params={'limit': probe}), a.get(f'/v2/images/{probe}'), a.create(visibility=probe),
              a.create(name=probe), a.call('POST', '/v2/images', data=probe), a.get(f'/{probe}'),
              a.get('/v2/images', params={'sort_key': probe}), a.get('/v2/images', params={probe: 'x', 'limit': '-1'}),
              a.put(f'/v2/images/{image}/tags/{probe}x' + 'y' * 300), a.patch(image, {'op': probe, 'path': '/x'}),
              a.upload(image, b'x', headers={'Content-Type': probe}),
              a.get('/v2/images', headers={'X-OpenStack-Request-ID': probe})):
        assert r.headers['Content-Type'].startswith('application/json')
        assert r.headers['X-Content-Type-Options'] == 'nosniff'


# -- leaks ---------------------------------------------------------------------------------------------

def test_nothing_leaks(servers):
    """Thousands of requests of every kind, many of them refused: descriptors and memory stay where they are."""
    server = servers()
    a, nobody = server.client(A), server.client(None)
    data = pattern(5000)

    def round_trip(n):
        image = a.new(data, name=f'n{n}', tags=['t'])['id']
        a.patch(image, {'op': 'add', 'path': '/k', 'value': 'v' * 1000})
        a.patch(image, {'op': 'add', 'path': '/status', 'value': 'v'})
        a.download(image)
        a.download(image, headers={'Range': 'bytes=9999-'})
        a.upload(image, b'again')
        a.share(image, B.project)
        a.call('POST', '/v2/images', data='{')
        a.get(f'/v2/images?name=n{n}&sort=name:asc&k=v')
        nobody.get('/v2/images')
        with Raw(server) as raw:
            raw.send(b'GET / HTTP/1.1\r\nBad\r\n\r\n')
        a.remove(image)
    for n in range(40):
        round_trip(n)
    server.settle()
    descriptors, memory = descriptors_of(server), memory_of(server)
    for n in range(160 * TIMES):
        round_trip(n)
    server.settle()
    wait_for(lambda: descriptors_of(server) <= descriptors + 4, server.root, 'closed descriptors')
    if not SANITIZED:
        assert memory_of(server) - memory < 8 * MIB


def test_a_page_of_large_images_is_bounded(servers):
    """The memory for an answer is not what clients have managed to store."""
    server = servers()
    a = server.client(A)
    value = 'v' * 60_000
    for _ in range(40):
        a.new(**{f'p{i}': value for i in range(16)})
    before = memory_of(server)
    seen, url = [], '/v2/images?limit=1000'
    while url:
        r = a.get(url)
        assert r.status_code == 200 and len(r.content) < 12 * MIB
        seen += [i['id'] for i in r.json()['images']]
        url = r.json().get('next')
    assert len(seen) == len(set(seen)) == 40
    assert SANITIZED or memory_of(server) - before < 48 * MIB
