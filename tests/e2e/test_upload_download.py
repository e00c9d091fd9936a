# SPDX-License-Identifier: Apache-2.0
"""The bytes: every way in, every way out, and every way in which either breaks off."""
import hashlib
import os
import resource
import socket
import subprocess
import threading

import pytest

from harness import A, TARGET, Client, Raw, make_server, message_of, pattern, wait_for

UPLOADED = ['image.update(saving)', 'image.prepare', 'image.upload', 'image.activate', 'image.update(active)']
FAILED = ['image.update(saving)', 'image.prepare', 'ERROR image.upload', 'image.update(queued)']
OCTETS = 'application/octet-stream'
DATA = pattern(1_000_003)


def chunked(data, sizes):
    """The body in chunks of these sizes, the last size repeated."""
    out, at, sizes = [], 0, list(sizes)
    while at < len(data):
        n = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        piece = data[at:at + n]
        out.append(b'%x\r\n%s\r\n' % (len(piece), piece))
        at += n
    return b''.join(out) + b'0\r\n\r\n'


def back_in_queue(server, image, client):
    """A failed upload has left the image as it was before, and nothing on disk."""
    shown = client.show(image)
    assert (shown['status'], shown['size'], shown['checksum'], shown['os_hash_value']) == ('queued', None, None, None)
    assert not [f for f in server.stored_files() if image in f]
    assert client.upload(image, b'second try').status_code == 204
    assert client.download(image).content == b'second try'


def saved(server, image):
    """The upload has begun: its first events are out."""
    wait_for(lambda: len(server.events(image)) >= 3, server.root, 'image.prepare')


# -- in ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('n', [0, 1, 65535, 65536, 65537, 1_000_003])
def test_sizes(server, a, n):
    image = a.new(DATA[:n])['id']
    shown = a.show(image)
    assert (shown['status'], shown['size'], shown['checksum']) == ('active', n, hashlib.md5(DATA[:n]).hexdigest())
    r = a.download(image)
    assert r.content == DATA[:n]


@pytest.mark.parametrize('thin', [True, False])
def test_thin_provisioning(servers, thin):
    """Zeros take no room, and are there all the same."""
    server = servers({'glance_store': {'filesystem_thin_provisioning': thin}})
    data = DATA[:70_000] + bytes(3_000_000) + DATA[:5] + bytes(1_000_000)
    a = server.client(A)
    shown = a.show(a.new(data)['id'])
    assert (shown['size'], shown['checksum']) == (len(data), hashlib.md5(data).hexdigest())
    assert shown['os_hash_value'] == hashlib.sha512(data).hexdigest()
    assert a.download(shown['id']).content == data
    on_disk = (server.images / shown['id']).stat()
    assert on_disk.st_size == len(data)
    assert on_disk.st_blocks * 512 < 400_000 if thin else on_disk.st_blocks * 512 >= len(data)


@pytest.mark.parametrize('sizes', [[1, 2, 3, 65536], [65536], [300_001], [1_000_003], [7, 100_000]])
def test_chunked(server, a, sizes):
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Transfer_Encoding='chunked')
        raw.send(chunked(DATA, sizes))
        assert raw.answer().status == 204
    assert a.download(image).content == DATA


@pytest.mark.glint_only
def test_trailers(server, a):
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Transfer_Encoding='chunked')
        raw.send(b'3\r\nabc\r\n3\r\ndef\r\n0\r\nX-Trailer: yes\r\n\r\n')
        assert raw.answer().status == 204
    assert a.download(image).content == b'abcdef'


def test_one_octet_at_a_time(server, a):
    image = a.new()['id']
    with Raw(server) as raw:
        raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Content_Length='200')
        for i in range(200):
            raw.send(DATA[i:i + 1])
        assert raw.answer().status == 204
    assert a.download(image).content == DATA[:200]


def test_continue(server, a):
    """The client waits to be asked for the body."""
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Content_Length='5',
                 Expect='100-continue')
        assert raw.read_head()[0] == 100
        raw.send(b'hello')
        assert raw.answer().status == 204


@pytest.mark.parametrize('case, status', [('active', 409), ('foreign', 404), ('unknown', 404), ('formless', 400)])
@pytest.mark.glint_only
def test_no_continue_for_what_is_refused_anyway(server, a, b, case, status):
    """The final answer comes before the body is asked for."""
    image = {'active': lambda: a.new(b'x')['id'], 'foreign': lambda: b.new()['id'],
             'unknown': lambda: '00000000-0000-4000-8000-000000000000',
             'formless': lambda: a.create().json()['id']}[case]()
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Content_Length='1000000000',
                 Expect='100-continue')
        assert raw.answer().status == status


@pytest.mark.glint_only
def test_no_continue_without_identity(server, a):
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=None, Content_Type=OCTETS, Content_Length='10',
                 Expect='100-continue')
        assert raw.answer().status == 401


def test_size_announced(server, a):
    image = a.new()['id']
    assert a.upload(image, b'hello', headers={'X-OpenStack-Image-Size': '5'}).status_code == 204
    assert a.show(image)['size'] == 5


@pytest.mark.parametrize('media', ['text/plain', 'application/json', 'image/png'])
def test_other_media_types(server, a, media):
    image = a.new()['id']
    assert a.upload(image, b'x', headers={'Content-Type': media}).status_code == 415
    assert a.show(image)['status'] == 'queued'
    assert [e.short for e in server.settled_events(image)] == ['image.create']


@pytest.mark.parametrize('missing', ['disk_format', 'container_format'])
def test_formats_first(server, a, missing):
    image = a.new(**{missing: None})['id']
    r = a.upload(image, b'x')
    assert r.status_code == 400
    message_of(r)
    assert a.show(image)['status'] == 'queued'


def test_second_upload(server, a):
    image = a.new(b'first')['id']
    before = a.show(image)
    assert a.upload(image, b'second').status_code == 409
    assert a.show(image) == before and a.download(image).content == b'first'


def test_two_uploads_at_once(server, a):
    """The one that came first goes on; the other is a conflict."""
    image = a.new()['id']
    with Raw(server) as first:
        first.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Content_Length='10')
        first.send(b'first')
        saved(server, image)
        assert a.upload(image, b'second').status_code == 409
        assert a.show(image)['status'] == 'saving'
        first.send(b'first')
        assert first.answer().status == 204
    server.wait_events(['image.create', *UPLOADED], image)
    assert a.download(image).content == b'firstfirst'


@pytest.mark.glint_only
def test_many_uploads_race_for_one_image(server, a):
    image = a.new()['id']
    codes = []

    def one(n):
        codes.append(Client(server, A).upload(image, b'%d' % n * 100).status_code)
    threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(codes) == [204] + 7 * [409]
    server.wait_events(['image.create', *UPLOADED], image)
    assert len(a.download(image).content) == 100


# -- in, broken off ------------------------------------------------------------------------------------

@pytest.mark.parametrize('headers, sent', [
    ({'Content_Length': '1000'}, b'x' * 190),
    ({'Content_Length': '10000000'}, DATA),
    ({'Content_Length': '1000'}, b''),
    ({'Transfer_Encoding': 'chunked'}, b'be\r\n' + b'x' * 190 + b'\r\n'),
    ({'Transfer_Encoding': 'chunked'}, b'be\r\nxxx'),
    ({'Transfer_Encoding': 'chunked'}, b'3\r\nabc\r\n0\r\n'),
], ids=['short', 'long', 'nothing', 'no last chunk', 'within a chunk', 'before the last line'])
@pytest.mark.parametrize('how', ['close', 'reset', 'half close'])
def test_client_gone_half_way(server, a, headers, sent, how):
    if TARGET == 'glance' and sent.endswith(b'0\r\n'):
        pytest.skip('Glance takes it for whole')
    image = a.new()['id']
    raw = Raw(server)
    raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, **headers)
    if sent:
        raw.send(sent)
    saved(server, image)
    if how == 'half close':
        raw.half_close()
        answer = raw.answer()
        assert answer is None or answer.status >= 400
    (raw.reset if how == 'reset' else raw.sock.close)()
    events = server.wait_events(['image.create', *FAILED], image)
    assert image in events[3].payload
    back_in_queue(server, image, a)


@pytest.mark.glint_only
@pytest.mark.parametrize('body', [b'xyz\r\nabc\r\n0\r\n\r\n', b'-1\r\nabc\r\n', b'FFFFFFFFFFFFFFFF1\r\nabc\r\n',
                                  b'3\r\nabcd\r\n0\r\n\r\n', b'3;name=value\r\nabc\r\n0\r\n\r\n', b'3\nabc\n0\n\n',
                                  b' 3\r\nabc\r\n0\r\n\r\n',
                                  b'+3\r\nabc\r\n0\r\n\r\n', b'0x3\r\nabc\r\n0\r\n\r\n'])
def test_broken_chunks(server, a, body):
    """400, the connection ends, nothing is stored."""
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Transfer_Encoding='chunked')
        raw.send(body)
        assert raw.answer().status == 400
        assert raw.ended()
    server.wait_events(['image.create', *FAILED], image)
    back_in_queue(server, image, a)


# -- caps ----------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def capped(tmp_path_factory):
    s = make_server(tmp_path_factory.mktemp('capped'), {'DEFAULT': {'image_size_cap': 100_000}}).start()
    yield s
    s.stop()


@pytest.mark.parametrize('headers', [{}, {'X-OpenStack-Image-Size': '1'}])
@pytest.mark.parametrize('form', ['length', 'chunked'])
def test_cap(capped, form, headers):
    client = capped.client(A)
    image = client.new()['id']
    data = DATA[:100_001]
    r = client.upload(image, data if form == 'length' else iter([data[:60_000], data[60_000:]]), headers=headers)
    assert r.status_code == 413
    message_of(r)
    events = capped.settled_events(image)
    if len(events) > 1:  # refused after it had begun
        events = capped.wait_events(['image.create', *FAILED], image)
        assert image in events[3].payload
    else:
        assert form == 'length'
    back_in_queue(capped, image, client)


def test_just_within_the_cap(capped):
    client = capped.client(A)
    assert client.show(client.new(DATA[:100_000])['id'])['size'] == 100_000
    image = client.new()['id']
    assert client.upload(image, iter([DATA[:50_000], DATA[50_000:100_000]])).status_code == 204


@pytest.mark.glint_only
def test_cap_announced(capped):
    """Known too large before a single octet: refused without reading."""
    client = capped.client(A)
    image = client.new()['id']
    with Raw(capped) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Content_Length='100001',
                 Expect='100-continue')
        assert raw.answer().status == 413
    back_in_queue(capped, image, client)


@pytest.mark.glint_only
def test_disk_full(servers):
    """A file may not grow beyond 1 MiB here: the write fails as on a full disk."""
    def limits():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    check_full(servers(limits=limits), 3 << 20)


@pytest.mark.glint_only
@pytest.mark.skipif(os.geteuid() != 0, reason='mounting needs root; test_disk_full always runs')
def test_file_system_full(servers):
    """A real file system of 512 KiB."""
    server = servers(start=False)
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', server.images], capture_output=True)
    if mounted.returncode:
        pytest.skip('no mounting here; test_disk_full always runs')
    try:
        check_full(server.start(), 3 << 20)
        server.stop()
    finally:
        subprocess.run(['umount', server.images], check=True)


def check_full(server, n):
    server.errors_expected = True
    client = server.client(A)
    for data in (b'x' * n, iter([b'x' * 65536] * (n >> 16))):
        image = client.new()['id']
        r = client.upload(image, data)
        assert r.status_code == 413, r.text[:500]
        assert 'storage' in message_of(r).lower()
        events = server.wait_events(['image.create', *FAILED], image)
        assert image in events[3].payload
        back_in_queue(server, image, client)


# -- deleted meanwhile ---------------------------------------------------------------------------------

@pytest.mark.glint_only
@pytest.mark.parametrize('headers, first, rest', [
    ({'Content_Length': '1000000'}, DATA[:500_000], DATA[500_000:1_000_000]),
    ({'Transfer_Encoding': 'chunked'}, b'4\r\nabcd\r\n', b'4\r\nefgh\r\n0\r\n\r\n'),
], ids=['length', 'chunked'])
def test_delete_during_upload(server, a, headers, first, rest):
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, **headers)
        raw.send(first)
        saved(server, image)
        assert a.remove(image).status_code == 204
        assert a.get(f'/v2/images/{image}').status_code == 404
        try:
            raw.send(rest)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = raw.answer()
        assert answer.status == 410
    events = server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'ERROR image.upload',
                                 'image.delete'], image)
    assert image in events[3].payload
    assert len(server.settled_events(image)) == 5  # and never an image.activate
    wait_for(lambda: not [f for f in server.stored_files() if image in f], server.images, 'end of the bytes')


@pytest.mark.glint_only
def test_delete_during_many_uploads(server, a):
    """Deleting while uploading leaves nothing on disk, however often."""
    raws, images = [], []
    for _ in range(12):
        image = a.new()['id']
        raw = Raw(server)
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Content_Length='200000')
        raw.send(DATA[:100_000])
        raws.append(raw), images.append(image)
    for image in images:
        saved(server, image)
        assert a.remove(image).status_code == 204
    for raw in raws:
        try:
            raw.send(DATA[:100_000])
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert raw.answer().status == 410
        raw.sock.close()
    assert not [f for f in server.stored_files() if any(image in f for image in images)]


# -- out -----------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def kept(server):
    return server.client(A).new(DATA)['id']


def test_nothing_at_all(server, a):
    """An image of no octets is an image."""
    image = a.new(b'')['id']
    r = a.download(image)
    assert (r.status_code, r.headers['Content-Length'], r.content) == (200, '0', b'')
    assert a.download(image, headers={'Range': 'bytes=0-'}).status_code == 416
    event = server.wait_events(['image.create', *UPLOADED, 'image.send'], image)[-1]
    assert event.payload['bytes_sent'] == 0


def test_headers_of_a_download(server, a, kept):
    r = a.download(kept)
    assert r.status_code == 200 and r.content == DATA
    assert r.headers['Content-Length'] == str(len(DATA))
    assert r.headers['Content-Type'] == OCTETS
    assert r.headers['Content-MD5'] == hashlib.md5(DATA).hexdigest()


N = len(DATA)


@pytest.mark.parametrize('value, first, last', [
    ('bytes=0-0', 0, 0), ('bytes=0-99', 0, 99), ('bytes=999999-', 999_999, N - 1), ('bytes=0-', 0, N - 1),
    ('bytes=500000-500000', 500_000, 500_000), (f'bytes={N - 1}-{N - 1}', N - 1, N - 1),
    ('bytes=65530-65550', 65530, 65550), ('bytes=10-99999999', 10, N - 1),
])
def test_range(server, a, kept, value, first, last):
    r = a.download(kept, headers={'Range': value})
    assert r.status_code == 206
    assert r.content == DATA[first:last + 1]
    assert r.headers['Content-Range'] == f'bytes {first}-{last}/{N}'
    assert r.headers['Content-Length'] == str(last - first + 1)


@pytest.mark.parametrize('value, first', [('bytes=-5', N - 5), ('bytes=-99999999', 0), ('bytes=-1', N - 1)])
def test_suffix_range(server, a, kept, value, first):
    r = a.download(kept, headers={'Range': value})
    assert r.status_code == 206
    assert r.content == DATA[first:]
    assert r.headers['Content-Range'] == f'bytes {first}-{N - 1}/{N}'


@pytest.mark.parametrize('value', [f'bytes={N}-', f'bytes={N}-{N + 5}', 'bytes=99999999-', 'bytes=-0'])
def test_range_beyond_the_end(server, a, kept, value):
    if TARGET == 'glance' and value == 'bytes=-0':
        pytest.skip('Glance sends it all')
    r = a.download(kept, headers={'Range': value})
    assert r.status_code == 416
    message_of(r)


@pytest.mark.glint_only
def test_416_says_how_large_it_is(server, a, kept):
    assert a.download(kept, headers={'Range': f'bytes={N}-'}).headers['Content-Range'] == f'bytes */{N}'


@pytest.mark.glint_only
@pytest.mark.parametrize('value', ['bytes=5-2', 'bytes=x-y', 'octets=0-5', 'bytes=0-1,3-4', 'bytes', 'bytes=',
                                   'bytes=99999999999999999999999999-', 'bytes=0-0' + ',1-1' * 1000])
def test_ranges_that_are_none(server, a, kept, value):
    """Malformed, of another unit, or several: the whole body, or a refusal; never a wrong part."""
    r = a.download(kept, headers={'Range': value})
    assert r.status_code in (200, 400, 416, 431)
    if r.status_code == 200:
        assert r.content == DATA


@pytest.mark.parametrize('value, first, last', [(f'bytes 0-9/{N}', 0, 9), ('bytes 10-19/*', 10, 19)])
def test_legacy_range(server, a, kept, value, first, last):
    r = a.download(kept, headers={'Content-Range': value})
    assert r.status_code == 206
    assert r.content == DATA[first:last + 1]


def test_legacy_range_beyond_the_end(server, a, kept):
    assert a.download(kept, headers={'Content-Range': f'bytes {N}-{N + 1}/{N}'}).status_code == 416


def test_queued_image_has_no_content(server, a):
    r = a.download(a.new()['id'])
    assert r.status_code == 204 and r.content == b''


def test_head(server, a, kept):
    r = a.call('HEAD', f'/v2/images/{kept}/file')
    assert r.status_code == 405
    assert {m.strip() for m in r.headers['Allow'].split(',')} == {'GET', 'PUT'}


def test_file_of_a_saving_image(server, a):
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Content_Length='10')
        raw.send(b'12345')
        saved(server, image)
        assert a.download(image).status_code == 204
        raw.send(b'67890')
        assert raw.answer().status == 204


def test_many_readers(server, a, kept):
    wrong = []

    def one():
        if Client(server, A).download(kept).content != DATA:
            wrong.append(1)
    threads = [threading.Thread(target=one) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_several_requests_on_one_connection(server, a, kept):
    with Raw(server) as raw:
        for _ in range(3):
            raw.head('GET', f'/v2/images/{kept}/file', who=A, Range='bytes=5-9')
            assert raw.answer().body == DATA[5:10]
            raw.head('GET', f'/v2/images/{kept}', who=A)
            assert raw.answer().status == 200


@pytest.mark.glint_only
def test_pipelined(server, a, kept):
    request = (f'GET /v2/images/{kept}/file HTTP/1.1\r\nHost: x\r\nRange: bytes=%d-%d\r\n'
               + ''.join(f'{k}: {v}\r\n' for k, v in A.headers().items()) + '\r\n')
    with Raw(server) as raw:
        raw.send(''.join(request % (i, i + 4) for i in range(5)).encode())
        for i in range(5):
            assert raw.answer().body == DATA[i:i + 5]


# -- out, broken off -----------------------------------------------------------------------------------

@pytest.mark.glint_only
@pytest.mark.parametrize('how', ['close', 'reset'])
def test_aborted_download(server, a, how):
    """ERROR image.send with the octets that went out."""
    size = 64 << 20
    image = a.new()['id']
    assert a.upload(image, iter([bytes(1 << 20)] * 64)).status_code == 204
    raw = Raw(server)
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    raw.head('GET', f'/v2/images/{image}/file', who=A)
    status, headers = raw.read_head()
    assert (status, headers['content-length']) == (200, str(size))
    while len(raw.rest) < 1 << 20:
        raw.more()
    got = len(raw.rest)
    (raw.reset if how == 'reset' else raw.sock.close)()
    event = server.wait_events(['image.create', *UPLOADED, 'ERROR image.send'], image)[-1]
    assert event.level == 'ERROR'
    assert got <= event.payload['bytes_sent'] < size
    assert event.payload['destination_ip'] == '127.0.0.1' and event.payload['image_id'] == image


@pytest.mark.glint_only
def test_aborted_range(server, a):
    image = a.new()['id']
    assert a.upload(image, iter([bytes(1 << 20)] * 64)).status_code == 204
    raw = Raw(server)
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    raw.head('GET', f'/v2/images/{image}/file', who=A, Range='bytes=1000-60000000')
    assert raw.read_head()[0] == 206
    raw.reset()
    event = server.wait_events(['image.create', *UPLOADED, 'ERROR image.send'], image)[-1]
    assert event.payload['bytes_sent'] < 59_999_001


@pytest.mark.glint_only
def test_download_goes_on_while_the_image_is_deleted(server, a):
    """What a client has begun to read it gets whole."""
    image = a.new(DATA * 10)['id']
    with Raw(server) as raw:
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        raw.head('GET', f'/v2/images/{image}/file', who=A)
        head = raw.read_head()
        assert a.remove(image).status_code == 204
        want = int(head[1]['content-length'])
        while len(raw.rest) < want:
            assert raw.more()
        assert raw.rest == DATA * 10


# -- size ----------------------------------------------------------------------------------------------

def resident(pid):
    with open(f'/proc/{pid}/status') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmHWM')) << 10


@pytest.mark.glint_only
def test_memory_is_constant(servers):
    """2 GiB in and out; the high-water mark stays where a small image puts it."""
    server = servers()
    client = server.client(A)
    client.download(client.new(bytes(1 << 20))['id'])
    before = resident(server.pid)
    size = 2 << 30
    image = client.new()['id']
    with Raw(server, timeout=120) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Content_Length=str(size))
        sparse = server.root / 'sparse'
        with open(sparse, 'wb') as f:
            f.truncate(size)
        with open(sparse, 'rb') as f:
            raw.sock.sendfile(f)
        assert raw.answer().status == 204
    assert client.show(image)['size'] == size
    got = 0
    with client.download(image, stream=True) as r:
        for piece in r.raw.stream(1 << 20):
            got += len(piece)
    assert got == size
    assert client.remove(image).status_code == 204
    assert resident(server.pid) - before < 32 << 20


@pytest.mark.glint_only
def test_memory_is_constant_for_many_odd_chunks(server, a):
    before = resident(server.pid)
    image = a.new()['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{image}/file', who=A, Content_Type=OCTETS, Transfer_Encoding='chunked')
        tiny = b'1\r\nx\r\n' * 50_000
        large = b'%x\r\n%s\r\n' % (48 << 20, bytes(48 << 20))
        raw.send(tiny + large + b'0\r\n\r\n')
        assert raw.answer().status == 204
    assert a.show(image)['size'] == 50_000 + (48 << 20)
    assert resident(server.pid) - before < 32 << 20
