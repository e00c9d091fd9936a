# SPDX-License-Identifier: Apache-2.0
"""GET /metrics: the format to the letter, the numbers to the unit, and nothing for strangers."""
import collections
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import A, ADMIN, B, BINARY, REPO, SANITIZER, Raw, exchange, wait_for, write_config

pytestmark = pytest.mark.glint_only

CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'


# -- the text format, read without mercy ---------------------------------------------------------------

NAME = r'[a-zA-Z_:][a-zA-Z0-9_:]*'
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
SAMPLE = re.compile(rf'({NAME})(?:\{{(.+)\}})? (\S+)')
NUMBER = re.compile(r'\d+(\.\d+)?')
SUFFIXES = {'counter': [''], 'gauge': [''], 'histogram': ['_bucket', '_sum', '_count']}


def parse_labels(text):
    labels, at = {}, 0
    while at < len(text):
        m = LABEL.match(text, at)
        assert m, f'labels: {text}'
        assert m[1] not in labels, f'label {m[1]} twice: {text}'
        assert m[3] or m.end() == len(text)
        labels[m[1]] = re.sub(r'\\(.)', lambda e: '\n' if e[1] == 'n' else e[1], m[2])
        at = m.end()
        assert not (m[3] and at == len(text)), f'a comma at the end: {text}'
    return labels


def check_histogram(family, samples):
    """Buckets in order, none smaller than the one before, the last is +Inf and is the count."""
    rows = collections.defaultdict(dict)
    for (name, labels), value in samples.items():
        rest = frozenset((k, v) for k, v in labels if k != 'le')
        row = rows[rest]
        if name.endswith('_bucket'):
            row.setdefault('buckets', []).append((dict(labels)['le'], value))
        else:
            row[name.removeprefix(family)] = value
    for row in rows.values():
        bounds = [float(le) for le, _ in row['buckets']]
        counts = [n for _, n in row['buckets']]
        assert bounds == sorted(set(bounds)) and row['buckets'][-1][0] == '+Inf'
        assert counts == sorted(counts) and counts[-1] == row['_count']
        assert (row['_count'] == 0) <= (row['_sum'] == 0)


class Metrics:
    """One scrape."""

    def __init__(self, text):
        assert text.endswith('\n') and '\r' not in text
        self.text, self.samples, self.types = text, {}, {}
        family = None
        for line in text[:-1].split('\n'):
            if line.startswith('# HELP '):
                family, help_text = line[7:].split(' ', 1)
                assert re.fullmatch(NAME, family) and family not in self.types, f'{family} twice'
                assert help_text and help_text == help_text.strip()
                self.types[family] = None
            elif line.startswith('# TYPE '):
                name, kind = line[7:].split(' ')
                assert name == family and self.types[family] is None, line
                assert (kind == 'counter') == name.endswith('_total')
                self.types[family] = kind
            else:
                self.add(family, line)
        for family, kind in self.types.items():
            if kind == 'histogram':
                check_histogram(family, {k: v for k, v in self.samples.items()
                                         if k[0].startswith(family + '_')})

    def add(self, family, line):
        m = SAMPLE.fullmatch(line)
        assert m, f'not a sample: {line}'
        assert m[1] in [family + s for s in SUFFIXES[self.types[family]]], f'{m[1]} below {family}'
        assert NUMBER.fullmatch(m[3]), f'not a number: {line}'
        key = m[1], frozenset(parse_labels(m[2] or '').items())
        assert key not in self.samples, f'twice: {line}'
        self.samples[key] = float(m[3])

    def get(self, name, **labels):
        return self.samples[f'glint_{name}', frozenset(labels.items())]

    def all(self, name):
        """{(value of each label, by name of the label): number} of what is not 0."""
        return {tuple(v for _, v in sorted(labels)): n for (found, labels), n in self.samples.items()
                if found == f'glint_{name}' and n}


def scrape(server, url=None):
    r = server.client(None).get(url or '/metrics')
    assert r.status_code == 200 and r.headers['Content-Type'] == CONTENT_TYPE
    return Metrics(r.text)


def scrape_until(server, condition, what):
    def look():
        m = scrape(server)
        return m if condition(m) else None
    return wait_for(look, server.root, what)


def log_driver(m, name):
    return m.get(f'notifications_{name}', driver='log')


@pytest.mark.parametrize('text', [
    'a 1', 'a 1\n', '# TYPE a counter\na 1\n', '# HELP a_total A\n# TYPE a_total counter\na_total -1\n',
    '# HELP a_total A\n# TYPE a_total counter\na_total{x="1",} 1\n',
    '# HELP a_total A\n# TYPE a_total counter\na_total{x="1"} 1\na_total{x="1"} 2\n',
    '# HELP a_total A\n# TYPE a_total counter\na_total{x="\\q"} 1\n',
    '# HELP a A\n# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n',
    '# HELP a A\n# TYPE a histogram\na_bucket{le="1"} 1\na_sum 1\na_count 1\n',
])
def test_the_parser_is_strict(text):
    with pytest.raises((AssertionError, KeyError)):
        Metrics(text)


def test_every_metric_is_documented(server):
    documented = re.findall(r'^\| `(\w+)` \| (\w+) \|', (REPO / 'docs' / 'metrics.md').read_text(), re.MULTILINE)
    documented = [row for row in documented if not row[0].startswith('glint_keystone_')]  # see test_keystone.py
    assert sorted(documented) == sorted(scrape(server).types.items())


# -- numbers -------------------------------------------------------------------------------------------

def test_after_known_operations(servers):
    server = servers({'DEFAULT': {'image_size_cap': 100_000}})
    a, b, stranger = server.client(A), server.client(B), server.client(None)
    done = collections.Counter()

    def expect(r, status, method, route):
        assert r.status_code == status, r.text[:300]
        done[method, route, str(status)] += 1
        return r

    images, one = '/v2/images', '/v2/images/{image_id}'
    ids = [expect(a.create(name=f'image {i}', disk_format='raw', container_format='bare'), 201, 'POST',
                  images).json()['id'] for i in range(4)]
    for i in ids[:2]:
        expect(a.upload(i, b'x' * 50_000), 204, 'PUT', one + '/file')
    expect(a.upload(ids[2], b'x' * 100_001), 413, 'PUT', one + '/file')
    expect(a.download(ids[0]), 200, 'GET', one + '/file')
    expect(a.download(ids[0], headers={'Range': 'bytes=0-9'}), 206, 'GET', one + '/file')
    expect(a.get(f'/v2/images/{ids[0]}'), 200, 'GET', one)
    expect(b.get(f'/v2/images/{ids[0]}'), 404, 'GET', one)
    expect(stranger.get(f'/v2/images/{ids[0]}'), 401, 'GET', one)
    expect(a.patch(ids[0], {'op': 'replace', 'path': '/name', 'value': 'new'}), 200, 'PATCH', one)
    expect(a.put(f'/v2/images/{ids[0]}/tags/t'), 204, 'PUT', one + '/tags/{tag}')
    expect(a.share(ids[0], B.project), 200, 'POST', one + '/members')
    expect(a.remove(ids[1]), 204, 'DELETE', one)
    expect(a.get('/v2/images'), 200, 'GET', images)
    expect(a.get('/v2/nothing/here'), 404, 'other', 'other')
    expect(a.call('BREW', '/v2/images'), 405, 'other', 'other')

    m = scrape(server)
    assert m.all('http_requests_total') == done
    # every event of image.send is written when its download has ended, a moment after the client saw that
    m = scrape_until(server, lambda m: m.get('events_total', type='image.send', priority='INFO') == 2
                     and log_driver(m, 'backlog') == 0, 'end of the deliveries')
    events = collections.Counter((e['priority'], e['event_type']) for e in server.journal())
    assert m.all('events_total') == events
    assert events['INFO', 'image.create'] == 4 and events['ERROR', 'image.upload'] == 1
    n = sum(events.values())
    assert m.get('journal_events') == n and m.get('journal_bytes') > 100 * n
    assert log_driver(m, 'delivered_total') == log_driver(m, 'delay_seconds_count') == n
    assert log_driver(m, 'oldest_seconds') == 0
    assert log_driver(m, 'retries_total') == log_driver(m, 'set_aside_total') == 0
    assert 1 <= log_driver(m, 'publish_seconds_count') <= n
    # each commit has at least one transaction, each event was in one
    assert m.get('db_commit_seconds_count') == m.get('db_commit_transactions_count') > 10
    assert m.get('db_commit_transactions_sum') >= m.get('db_commit_transactions_count')
    assert 0 < m.get('db_commit_seconds_sum') < 60
    assert m.get('uploads_running') == m.get('removals_failing') == 0
    timed = collections.Counter()
    for (method, route, _), count in done.items():
        timed[method, route] += count
    m = scrape_until(server, lambda m: {k: v for k, v in m.all('http_request_seconds_count').items()
                                        if k[1] != '/metrics'} == timed, 'times of all requests')
    scrape_until(server, lambda m: m.get('removals_pending') == 0, 'removal')


def test_octets(servers):
    """Neither more nor less than what went over the wire."""
    server = servers()
    request = b'GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n'
    scraping = b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'
    n_sent = 0
    with Raw(server) as raw:
        raw.send(request * 3 + scraping[:1])
        for _ in range(3):
            answer = raw.answer()
            n_sent += len('HTTP/1.1 200 OK\r\n\r\n') + len(answer.body)
            n_sent += sum(len(name + ': ' + value + '\r\n') for name, value in answer.headers.items())
            assert answer.status == 200
        raw.send(scraping[1:])
        m = Metrics(raw.answer().body.decode())
    assert m.get('http_received_bytes_total') == 3 * len(request) + len(scraping)
    assert m.get('http_sent_bytes_total') == n_sent


def test_what_runs(servers):
    server = servers()
    a = server.client(A)
    image = a.new()['id']
    a.http.close()
    with Raw(server) as upload, Raw(server), Raw(server):
        upload.head('PUT', f'/v2/images/{image}/file', A, Content_Type='application/octet-stream',
                    Content_Length=10)
        upload.send(b'12345')
        scrape_until(server, lambda m: m.get('uploads_running') == 1 and m.get('http_connections') == 4, 'upload')
        upload.send(b'67890')
        assert upload.answer().status == 204
        took = 'glint_http_request_seconds_count', frozenset({'method': 'PUT', 'route': '/v2/images/{image_id}/file'}.items())
        scrape_until(server, lambda m: m.get('uploads_running') == 0 and m.samples.get(took) == 1, 'end of the upload')
    scrape_until(server, lambda m: m.get('http_connections') == 1, 'end of the connections')


def test_a_driver_in_trouble(servers):
    """Nothing can be written to this log; the API goes on, and the numbers tell."""
    server = servers({'DEFAULT': {'log_file': '/dev/full'}})
    admin = server.client(ADMIN)
    for _ in range(3):
        admin.new()
    m = scrape_until(server, lambda m: log_driver(m, 'retries_total') >= 2, 'second attempt')
    assert m.get('events_total', type='image.create', priority='INFO') == 3
    assert log_driver(m, 'backlog') == m.get('journal_events') == 3
    assert log_driver(m, 'delivered_total') == 0
    oldest = log_driver(m, 'oldest_seconds')
    assert 0 < oldest < 60
    scrape_until(server, lambda m: log_driver(m, 'oldest_seconds') > oldest + 0.1, 'growing age')


def test_without_a_driver_there_are_no_events(servers):
    server = servers({'oslo_messaging_notifications': {'driver': 'noop'}})
    server.client(A).new(b'x')
    m = scrape(server)
    assert m.all('events_total') == {} and m.get('journal_events') == 0
    assert not [name for name in m.types if name.startswith('glint_notifications_')]


# -- nothing that grows, nothing that is secret ----------------------------------------------------------

def test_a_flood_of_paths_adds_no_series(servers):
    server = servers()
    a = server.client(A)

    def provoke(i):
        for path in (f'/{i}', f'/v2/{i}', f'/v2/images/{i}', f'/v2/images/{i}/members/{i}', f'/v2/images/{i}/{i}',
                     f'/v2/images?name={i}', f'/v2/images/%ff{i}'):
            a.get(path)
        a.call(f'VERB{i}', '/v2/images')
        exchange(server, b'GET / HTTP/9.%d\r\n\r\n' % (i % 10))
        exchange(server, b'%d\r\n\r\n' % i)

    def series():
        return {key for key in scrape(server).samples if key[0].startswith('glint_http_')}

    provoke(77_000)
    scrape(server)
    scrape_until(server, lambda m: m.get('http_connections') <= 2, 'end of the others')
    before = series()
    for i in range(77_001, 77_040):
        provoke(i)
    assert series() == before
    assert '77' not in ''.join(v for _, labels in before for _, v in labels)


def test_no_secrets(servers):
    server = servers({'DEFAULT': {'transport_url': 'rabbit://spy:geheim@broker.example:5672//'}})
    a = server.client(A)
    image = a.new(b'x', name='painting-of-a-secret', colour='ultramarine')['id']
    assert a.share(image, B.project).status_code == 200
    assert a.download(image).status_code == 200
    text = scrape_until(server, lambda m: log_driver(m, 'backlog') == 0, 'delivery').text
    for secret in ('geheim', 'spy', 'broker.example', 'painting', 'ultramarine', image, A.project, A.user, B.project,
                   '127.0.0.1', str(server.root)):
        assert secret not in text


# -- who may ask -----------------------------------------------------------------------------------------

@pytest.mark.parametrize('header', ['X-Forwarded-For', 'Forwarded', 'X-Real-IP', 'x-forwarded-host', 'Via'])
def test_not_through_a_proxy(server, header):
    scrape(server)
    r = server.client(ADMIN).get('/metrics', headers={header: '127.0.0.1'})
    assert r.status_code == 404 and 'glint_' not in r.text


def test_no_other_method(server):
    for method in ('POST', 'PUT', 'DELETE', 'HEAD'):
        assert server.client(ADMIN).call(method, '/metrics').status_code == 405


FROM_OUTSIDE = '''
import fcntl, re, socket, struct, subprocess, sys, urllib.error, urllib.request

def configure(name, request, data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, request, struct.pack("16s", name) + data)

UP = struct.pack("h14x", 0x41)
configure(b"lo", 0x8914, UP)
configure(b"lo:1", 0x8916, struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton("192.0.2.7")))
configure(b"lo:1", 0x8914, UP)
server = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE, text=True)
said = ""
while "listening on" not in said:
    line = server.stderr.readline()
    assert line, said
    said += line
port = re.search(r"listening on http://0.0.0.0:(\\d+)", said)[1]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for host in ("127.0.0.1", "192.0.2.7"):
    for path in ("/healthcheck", "/metrics"):
        try:
            print(host, path, opener.open(f"http://{host}:{port}{path}", timeout=20).status)
        except urllib.error.HTTPError as e:
            print(host, path, e.code)
server.terminate()
print(said + server.stderr.read(), file=sys.stderr)
sys.exit(server.wait())
'''


def test_not_from_another_machine(tmp_path):
    """In a network of its own, where this machine has an address that is not loopback."""
    alone = ['unshare', '--user', '--map-root-user', '--net']
    if not shutil.which('unshare') or subprocess.run([*alone, 'true'], capture_output=True, check=False).returncode:
        pytest.skip('no network namespaces here')
    write_config(tmp_path / 'conf', {'glint': {'allow_insecure': 'true'}})
    done = subprocess.run([*alone, sys.executable, '-c', FROM_OUTSIDE, str(Path(BINARY).resolve()), 'serve',
                           '--config-file', 'conf', '--listen', '0.0.0.0:0'], cwd=tmp_path, capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == 0 and not SANITIZER.search(done.stderr), done.stderr
    assert done.stdout.splitlines() == ['127.0.0.1 /healthcheck 200', '127.0.0.1 /metrics 200',
                                        '192.0.2.7 /healthcheck 200', '192.0.2.7 /metrics 404']


def test_a_listener_of_its_own(servers):
    server = servers({'glint': {'metrics_listen': '127.0.0.1:0'}})
    url = re.search(r'metrics on (http://127\.0\.0\.1:\d+)/metrics\n', server.said())[1]
    client = server.client(ADMIN)
    assert url != server.url
    assert client.get('/metrics').status_code == 404
    m = scrape(server, url + '/metrics')
    assert m.all('http_requests_total') == {('GET', '/metrics', '404'): 1}  # of the API, not its own
    assert client.get(url + '/metrics', headers={'X-Forwarded-For': '192.0.2.1'}).status_code == 200
    for path in ('/', '/v2/images', '/metrics/', '/healthcheck'):
        assert client.get(url + path).status_code == 404
    assert client.call('POST', url + '/metrics', data=b'x').status_code == 405
    assert len(scrape(server, url + '/metrics').all('http_requests_total')) == 1


@pytest.mark.parametrize('value', ['nonsense', '127.0.0.1', '127.0.0.1:99999'])
def test_a_listener_that_cannot_be(servers, value):
    server = servers({'glint': {'metrics_listen': value}}, start=False)
    server.spawn()
    assert server.wait_exit() == 1
    said = server.said()
    server.process = None
    assert 'metrics_listen' in said and len(said.splitlines()) == 1
