# SPDX-License-Identifier: Apache-2.0
"""What an HTTP server written in C adds: requests that two readers read in two ways, JSON that costs, paths out of the
store, SQL, ranges, verbs, many hands, no descriptors, privileges.

What other tests prove besides: D1 unit http_head and http_chunk, test_badinput::test_smuggling; D2 unit http_limits; D3
test_badinput::test_body_of_create; D4 test_badinput::test_paths; D9 test_upload_download::test_no_continue_...; D11
test_badinput::test_unheard_of_verbs; D12 test_robustness.
"""
import os
import re
import resource
import stat
import time

import pytest
import requests

from attack import (MIB, NO_IMAGE, SANITIZED, TIMES, at_once, chunked, cpu_of, descriptors_of, lines_of, memory_of)
from harness import A, ADMIN, B, Client, Raw, exchange, pattern, wait_for


@pytest.mark.parametrize('framing', [
    'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', 'Transfer-Encoding: chunked\r\nContent-Length: 4\r\n',
    'Content-Length: 4\r\nContent-Length: 4\r\n', 'Content-Length: 4, 4\r\n', 'Content-Length: +4\r\n',
    'Content-Length: -1\r\n', 'Content-Length: 4 4\r\n', 'Content-Length: 0x4\r\n', 'Content-Length:\r\n',
    'Content-Length: 18446744073709551620\r\n', 'Content-Length : 4\r\n', 'Content-Length\t: 4\r\n',
    'Transfer-Encoding: xchunked\r\n', 'Transfer-Encoding: chunked, identity\r\n', 'Transfer-Encoding: identity\r\n',
    'Transfer-Encoding: \x0bchunked\r\n', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n',
    'Transfer-Encoding:\r\n chunked\r\n', ' Transfer-Encoding: chunked\r\n', 'X: y\nTransfer-Encoding: chunked\r\n',
    'X: y\rTransfer-Encoding: chunked\r\n', 'X: \x00\r\nContent-Length: 4\r\n', 'Content-Length: 4\r\nHost: other\r\n',
    'Content-Length: 4;\r\n', 'Content-Length: "4"\r\n', 'Content-Length: \uff14\r\n', 'Content_Length: 4\r\n\r\n0\r\n\x00'])
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


@pytest.mark.parametrize('body', [
    pytest.param('{' + ','.join(f'"k{i}": 1' for i in range(70_000)) + '}', id='keys'),
    pytest.param('{"name": "' + '\\u0041' * 150_000 + '"}', id='escapes'),
    pytest.param('[' * 1_000_000, id='depth'), pytest.param('{"a":' * 200_000, id='objects'),
    pytest.param('{"tags": [' + ','.join('"t"' for _ in range(200_000)) + ']}', id='tags'),
    pytest.param('{"tags": [' + ','.join(f'"t{i}"' for i in range(90_000)) + ']}', id='different tags'),
    pytest.param('{"min_ram": ' + '9' * 1_000_000 + '}', id='digits')])
def test_d3_json_that_costs(server, a, body):
    before = cpu_of(server)
    r = a.call('POST', '/v2/images', data=body)
    assert r.status_code in (400, 413), r.text[:200]
    assert cpu_of(server) - before < (3 if SANITIZED else 0.3)
    assert len(r.content) < 2000


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
    assert time.monotonic() - began < 10 and memory_of(server) - before < 32 * MIB


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
    r = a.get(f'/v2/images/{image}/file', timeout=5)
    assert r.status_code in (204, 404, 500, 503) and b'secret' not in r.content
    r = a.upload(empty, b'new')
    assert r.status_code in (409, 500, 503) and a.show(empty)['status'] == 'queued'
    assert a.remove(image).status_code == 204 == a.remove(empty).status_code
    assert victim.read_bytes() == b'secret' and not (server.root / 'nowhere').exists()
    assert a.new(b'y')


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
    with Raw(server, timeout=5) as raw:
        raw.head(method, path.format(image), who=None, Content_Type=media, Content_Length='20', Expect='100-continue')
        assert raw.answer().status == 401
    with Raw(server, timeout=5) as raw:
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
    wait_for(lambda: 'no more connections are accepted' in server.log.read_text(), server.root, 'full house', 10)
    made = [a.new(b'data')['id'] for _ in range(30)]
    assert a.download(kept).content == b'kept'
    for raw in raws:
        raw.sock.close()
    after = server.client(A).new(b'after')['id']
    server.settle()
    told = {e.image for e in server.events()}
    assert set(made) | {kept, after} <= told
    assert sorted(server.stored_files()) == sorted([*made, kept, after])


def test_d14_privileges(servers):
    server = servers({'DEFAULT': {'metadata_encryption_key': 'CANARY-key-16-ch'}})
    a = server.client(A)
    image = a.new()['id']
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
        assert second.process.wait(10) == 1
    finally:
        second.process.kill()
        second.process.wait()
    assert 'another' in second.said()
    second.process = None
    assert first.client(A).create().status_code == 201


def test_d16_nothing_is_html(server, a):
    probe = '<script>alert(1)</script>'
    for r in (a.get('/v2/images', params={'limit': probe}), a.get(f'/v2/images/{probe}'), a.create(visibility=probe),
              a.create(name=probe), a.call('POST', '/v2/images', data=probe), a.get(f'/{probe}')):
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
