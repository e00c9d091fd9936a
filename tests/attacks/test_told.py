# SPDX-License-Identifier: Apache-2.0
"""What notifications add: secrets on their way out, lines that are not ours, events that are too large. What C6 and
C7 say is shown by tests/faults, tests/crash and tests/e2e/test_robustness.py."""
import json
import re
import sqlite3

import pytest

from attack import MIB, NO_IMAGE, SANITIZED, memory_of
from broker import free_port
from consumers import Drain
from harness import A, ADMIN, B, Raw, wait_for
from sources import REACHABLE, Hostile


def test_c1_no_location_and_no_token_anywhere(servers):
    server = servers({'DEFAULT': {'debug': True}})
    a = server.client(A)
    a.http.headers.update({'X-Auth-Token': 'CANARY-token', 'Authorization': 'Bearer CANARY-bearer',
                           'X-Service-Token': 'CANARY-service', 'Cookie': 'c=CANARY-cookie'})
    image = a.new(b'x')['id']
    r = a.get(f'/v2/images/{image}/file')
    answers = [str(r.headers), a.get(f'/v2/images/{image}').text, a.get('/v2/images').text]
    for body in ({'locations': [{'url': 'http://u:CANARY-url@h/', 'metadata': {}}]}, {'direct_url': 'x://CANARY'}):
        assert a.create(**body).status_code == 403
    assert a.patch(image, {'op': 'add', 'path': '/locations/-', 'value': {
        'url': 'http://u:CANARY-patch@h/', 'metadata': {}}}).status_code in (400, 403)
    assert a.remove(image).status_code == 204
    server.settle()
    everywhere = [*answers, server.log.read_text(), server.stderr.read_text(), json.dumps(server.journal())]
    for text in everywhere:
        assert 'CANARY' not in text and 'file://' not in text
    assert image in everywhere[-1]


ALPHABET = 'CANARY'


@pytest.fixture
def source():
    h = Hostile(b'bytes' * 100)
    yield h
    h.close()


def wait_tasks(server, admin, n):
    """Until there are `n` tasks and all have ended."""
    def ended():
        tasks = admin.get('/v2/tasks').json()['tasks']
        return len(tasks) == n and all(t['status'] in ('success', 'failure') for t in tasks)
    wait_for(ended, server.root, f'end of {n} tasks')


def tables_of(server, *names):
    db = sqlite3.connect(f'file:{server.database}?mode=ro', uri=True)
    try:
        return {name: db.execute(f'SELECT * FROM {name}').fetchall() for name in names}
    finally:
        db.close()


def test_c1_a_secret_in_each_place(broker, vhost, servers, source):
    """Tokens, locations, the URLs of imports and the input of tasks: their secrets are in no log, no queue, no table of
    events, no metric and no answer, whether the import works, fails or is refused."""
    server = servers({
        'DEFAULT': {'debug': True, 'enabled_import_methods': 'glance-direct,web-download'},
        'oslo_messaging_notifications': {'driver': ['messagingv2', 'log'], 'transport_url': broker.url(vhost)},
        'glint': {**REACHABLE['glint'], 'allow_task_import': 'true'},
        'import_filtering_opts': REACHABLE['import_filtering_opts']})
    server.errors_expected = True
    a, admin = server.client(A), server.client(ADMIN)
    answers, port = [], source.server_address[1]
    for client in (a, admin):
        client.http.headers.update({'X-Auth-Token': 'CANARY-token', 'X-Service-Token': 'CANARY-service'})
    urls = [f'http://{user}127.0.0.1:{port}/{path}?X-Amz-Signature=CANARY-sig&sig=CANARY-sas#CANARY-end'
            for path in ('good', 'broken', 'missing', 'loop', 'inside', 'file') for user in ('', 'CANARY-user:CANARY-word@')]
    urls += ['http://u:CANARY-closed@127.0.0.1:1/', 'http://u:CANARY-refused@10.0.0.1/', 'ftp://u:CANARY-scheme@h/x',
             'http://u:CANARY-space@h /', 'http://[::CANARY]/']
    n_tasks = 0
    for url in urls:
        image = a.new()['id']
        r = a.post(f'/v2/images/{image}/import', {'method': {'name': 'web-download', 'uri': url}})
        n_tasks += r.status_code == 202
        answers += [r.text, a.get(f'/v2/images/{image}/tasks').text]
        r = admin.post('/v2/tasks', {'type': 'import', 'input': {
            'import_from': url, 'import_from_format': 'raw',
            'image_properties': {'disk_format': 'raw', 'container_format': 'bare'}}})
        n_tasks += r.status_code == 201
        answers.append(r.text)
    assert n_tasks > 6
    wait_tasks(server, admin, n_tasks)
    image = a.new(b'x')['id']
    for key, value in (('locations', [{'url': 'http://u:CANARY-location@h/', 'metadata': {}}]),
                       ('direct_url', 'swift://u:CANARY@h')):
        answers.append(a.create(**{key: value}).text)
        answers.append(a.patch(image, {'op': 'add', 'path': f'/{key}', 'value': value}).text)
    for path in ('/v2/images', f'/v2/images/{image}', '/v2/tasks', '/metrics'):
        r = admin.get(path)
        answers += [str(r.headers), r.text]
    journal = server.journal()
    with Drain(broker, vhost) as drain:
        messages = drain.ids({row['message_id'] for row in journal})
    server.settle()
    tail = server.run('notifications', 'tail', '-n', 'all').stdout + json.dumps(journal)
    tables = tables_of(server, 'glint_events', 'glint_set_aside', 'glint_jobs', 'glint_removals')
    sinks = {'answers': '\n'.join(answers), 'log': server.log.read_text(), 'stderr': server.stderr.read_text(),
             'queue': '\n'.join(m.body.decode() + str(m.properties) for m in messages), 'tail': tail, 'tables': str(tables),
             'status': server.run('notifications', 'status', '--json').stdout}
    for name, text in sinks.items():
        assert ALPHABET not in text, (name, [line for line in text.splitlines() if ALPHABET in line][:3])
        assert 'file://' not in text.replace('file:///etc', ''), name
    for name in ('log', 'queue', 'tail', 'tables'):  # they were looked at while there was something to see
        assert f'127.0.0.1:{port}' in sinks[name] and image in sinks[name], name


def test_c1_a_secret_that_is_set_aside(broker, vhost, servers, source):
    """What the queue can never take waits in a table of its own, with a reason, and is as clean as the rest."""
    broker.call('application:set_env(rabbit, max_message_size, 20000)')
    try:
        server = servers({
            'DEFAULT': {'image_property_quota': 200, 'enabled_import_methods': 'web-download'},
            'oslo_messaging_notifications': {'driver': ['messagingv2', 'log'], 'transport_url': broker.url(vhost)}, **REACHABLE})
        server.errors_expected = True
        a = server.client(A)
        image = a.new(**{f'p{i}': 'x' * 250 for i in range(150)})['id']
        url = f'{source.url}/broken?sig=CANARY-sas'
        assert a.post(f'/v2/images/{image}/import', {'method': {'name': 'web-download', 'uri': url}}).status_code == 202
        wait_tasks(server, server.client(), 1)
        wait_for(lambda: tables_of(server, 'glint_set_aside')['glint_set_aside'], server.root, 'what is set aside')
        said = str(tables_of(server, 'glint_set_aside', 'glint_events')) + server.run('notifications', 'status').stdout
        assert ALPHABET not in said and 'size' in said
        server.stop()
        assert ALPHABET not in server.log.read_text() and broker.password not in server.log.read_text()
    finally:
        broker.call('application:set_env(rabbit, max_message_size, 134217728)')


# -- the password of the broker --------------------------------------------------------------------------

SECRET = 'S3CR3T-c2'


def everything_said(server):
    """Whatever an operator, a caller or another user of the machine could read of a running server."""
    said = {}
    for words in (['notifications', 'status'], ['notifications', 'status', '--json'], ['notifications', 'tail', '-n', 'all'],
                  ['config', 'check'], ['version'], ['db', 'check']):
        r = server.run(*words, check=False)
        said[' '.join(words)] = r.stdout + r.stderr
    for path in ('/metrics', '/v2/images', '/healthcheck', '/v2/nowhere', '/v2/images?limit=x'):
        r = server.client().get(path)
        said[path] = str(r.headers) + r.text
    for name in ('cmdline', 'environ', 'status'):
        with open(f'/proc/{server.pid}/{name}', 'rb') as f:
            said[name] = f.read().decode(errors='replace')
    said['log'], said['stderr'] = server.log.read_text(), server.stderr.read_text()
    return said


ODD_URLS = {'no escape': 'rabbit://spy:%zz{}@127.0.0.1:1/',
            'two schemes': 'rabbit://spy:{}@127.0.0.1:1,kafka://127.0.0.1:1/'}


@pytest.mark.parametrize('case', ['refused', 'refused by PLAIN', 'unreachable', 'no such name', 'TLS to a plain port',
                                  'unknown authority', 'kafka', *ODD_URLS])
def test_c2_the_password_of_the_broker(broker, vhost, servers, case):
    where, rabbit = broker.address, {}
    if case == 'refused by PLAIN':
        rabbit = {'rabbit_login_method': 'PLAIN'}
    elif case in ('unreachable', 'kafka'):
        where = f'127.0.0.1:{free_port()}'
    elif case == 'no such name':
        where = 'no-such-host.invalid:5672'
    elif case == 'TLS to a plain port':
        rabbit = {'ssl': 'true'}
    elif case == 'unknown authority':
        where, rabbit = f'127.0.0.1:{broker.tls_port}', {'ssl': 'true', 'ssl_ca_file': broker.certificates.other_ca}
    scheme = 'kafka' if case == 'kafka' else 'rabbit'
    url = ODD_URLS[case].format(SECRET) if case in ODD_URLS else f'{scheme}://spy:{SECRET}@{where}/{vhost}'
    server = servers({'DEFAULT': {'debug': True}, 'oslo_messaging_rabbit': rabbit,
                      'oslo_messaging_notifications': {'driver': ['messagingv2', 'log'], 'transport_url': url}})
    server.errors_expected = True
    a = server.client(A)
    for n in range(3):
        a.new(name=f'image {n}')

    def in_trouble():
        driver, = [d for d in json.loads(server.run('notifications', 'status', '--json').stdout)['drivers']
                   if d['driver'] == 'messagingv2']
        return driver['behind'] >= 3 and driver['problem']
    wait_for(in_trouble, server.root, 'trouble')
    said = everything_said(server)
    server.stop()
    said['log, stopped'] = server.log.read_text() + server.stderr.read_text()
    assert {name for name, text in said.items() if SECRET in text} == set()
    assert 'in trouble' in said['log']


def test_c2_the_password_that_fits(broker, vhost, servers):
    broker.add_user('spy', SECRET, vhost)
    server = servers({'DEFAULT': {'debug': True}, 'oslo_messaging_notifications': {
        'driver': ['messagingv2', 'log'], 'transport_url': f'rabbit://spy:{SECRET}@{broker.address}/{vhost}'}})
    server.client(A).new()
    with Drain(broker, vhost) as drain:
        drain.count(1)
    said = everything_said(server)
    assert {name for name, text in said.items() if SECRET in text} == set()


@pytest.mark.parametrize('url', [
    'rabbit://spy:{}@h:port/', 'rabbit://spy:{}@[::1/', 'nosuch://spy:{}@h/', 'spy:{}@h', 'rabbit:/spy:{}@h/', '{}',
    'rabbit://spy:{}@h/?nosuch=1', 'rabbit://spy:{}@h:99999/', 'rabbit://spy:{}/x@h:5672/', 'rabbit://spy:{}\x01@h/',
    'kafka://spy:{}@/', 'rabbit://spy:{}@%zz/'])
def test_c2_malformed_urls(servers, url):
    """What the start says about them shows nothing that might be a password."""
    server = servers({'DEFAULT': {'debug': True}, 'oslo_messaging_notifications': {
        'driver': ['messagingv2', 'log'], 'transport_url': url.format(SECRET)}}, start=False)
    said = ''
    for words in (['serve', '--listen', '127.0.0.1:0'], ['config', 'check'], ['notifications', 'status'],
                  ['notifications', 'tail'], ['notifications', 'listen']):
        r = server.run(*words, check=False)
        assert r.returncode != 0 or words[1] in ('status', 'tail'), words
        said += r.stdout + r.stderr
    assert SECRET not in said and 'transport_url' in said


@pytest.mark.parametrize('name', [
    'x\n2026-01-01 00:00:00.000 1 CRITICAL root [-] fake', 'x\r\ny', 'a\u2028b\u2029c', '\x1b[2J\x1b[1;31mred', '\x85\x9b31m',
    '\u202egnp.exe', '"}\n{"', '\ufeff', '\\u000a', 'a\tb\x7f', '\U0001f600\U0010ffff', '\u0600'])
def test_c3_names_that_would_be_lines(server, a, name):
    r = a.create(name=name)
    assert r.status_code in (201, 400)
    if r.status_code == 400:
        return
    assert r.json()['name'] == name
    event, = server.wait_events(['image.create'], r.json()['id'])
    assert event.payload['name'] == name
    lines = [l for l in server.log.read_bytes().split(b'\n') if r.json()['id'].encode() in l]
    assert len(lines) == 1 and not re.search(rb'[\x00-\x1f\x7f]', lines[0])
    for bad in ('\u2028', '\u2029', '\x85', '\x9b', '\u202e'):
        assert bad not in lines[0].decode()


@pytest.mark.parametrize('name', [b'\xff', b'\xc0\xaf', b'\xed\xa0\x80', b'\xf4\x90\x80\x80', b'\xe2\x82', b'\x00', b'\\u0000',
                                  b'\\ud800', b'\n', b'\x1b'])
@pytest.mark.parametrize('key', ['name', 'property', 'tag'])
def test_c3_names_that_are_no_text(server, a, key, name):
    """Invalid UTF-8, NUL, raw control characters: refused, and never in a line."""
    place = {'name': b'{"name": "x%s"}', 'property': b'{"k": "x%s"}', 'tag': b'{"tags": ["x%s"]}'}[key]
    server.settle()
    before = len(server.events())
    assert a.call('POST', '/v2/images', data=place % name).status_code == 400
    assert a.call('POST', '/v2/images', data=place % b'y').status_code == 201
    server.settle()
    assert len(server.events()) == before + 2  # the harmless one, and that of settle()


@pytest.mark.parametrize('value', ['\udcff', 'a\udcc0\udcaf', '\udced\udca0\udc80', 'x' * 300])
@pytest.mark.parametrize('header', ['X_User_Id', 'X_Project_Id'])
def test_c3_identities_that_are_no_text(server, header, value):
    """What would stand in records and events as invalid UTF-8, or cut short."""
    for path in ('/v2/images', f'/v2/images/{NO_IMAGE}'):
        headers = {k.replace('-', '_'): v for k, v in A.headers().items()}
        headers[header] = value
        with Raw(server) as raw:
            raw.head('GET', path, who=None, **headers)
            assert raw.answer().status == 400
    assert server.client(A).get('/v2/images').status_code == 200


def test_c14_the_largest_event(servers):
    """128 properties of 64 KiB: the event has all of them, or says that it does not."""
    server = servers()
    a = server.client(A)
    image = a.new()['id']
    value = 'v' * 65535
    n = 0
    for first in range(0, 128, 12):
        steps = [{'op': 'add', 'path': f'/p{i}', 'value': value} for i in range(first, min(128, first + 12))]
        r = a.patch(image, *steps)
        assert r.status_code in (200, 413), r.text[:200]
        n += len(steps) if r.status_code == 200 else 0
    events = server.settled_events(image)
    assert len(events) == 1 + (n + 11) // 12
    assert len(events[-1].text) < 16 * MIB
    last = events[-1].payload
    assert len(last['properties']) == n or last['truncated'] is True
    assert set(last['properties'].values()) == {value} and len(a.show(image)['p7']) == len(value)
    small = server.wait_events(['image.create'], a.new(k='v')['id'])[0].payload
    assert small['properties'] == {'k': 'v'} and 'truncated' not in small
    for _ in range(20):
        assert a.put(f'/v2/images/{image}/tags/t').status_code == 204
    server.settle()
    assert memory_of(server) < (1200 if SANITIZED else 300) * MIB


# -- who hears of them -----------------------------------------------------------------------------------

@pytest.mark.parametrize('who', [B, ADMIN, None], ids=['another', 'admin', 'nobody'])
def test_c4_no_events_by_the_api(server, a, who):
    """They go to the operator's queues and log alone; over the API nobody can ask for them, not even count them."""
    image = a.new(b'x', visibility='private', name='CANARY-c4')['id']
    assert a.remove(image).status_code == 204
    server.settle()
    c = server.client(who)
    for path in ('/v2/events', '/v2/notifications', '/v2/journal', f'/v2/images/{image}/events',
                 f'/v2/images/{image}/notifications', '/v2/info/events', '/v2/events/stream', '/v2/tasks/events'):
        for method, headers in (('GET', {}), ('GET', {'Accept': 'text/event-stream'}),
                                ('GET', {'Connection': 'Upgrade', 'Upgrade': 'websocket'}), ('POST', {}), ('DELETE', {})):
            r = c.call(method, path, headers=headers)
            assert r.status_code in (401, 403, 404, 405) and 'CANARY' not in r.text, (method, path)
    for path in ('/metrics', '/versions', '/healthcheck', '/v2/images?visibility=all', f'/v2/images/{image}'):
        r = c.get(path)
        assert image not in r.text.replace(f'No image has the id {image}', '') and 'CANARY' not in r.text + str(r.headers), path
    told = server.run('notifications', 'tail', '-n', 'all').stdout  # its twin: who may read the database
    assert image in told and 'CANARY-c4' in told


def test_c4_nobody_else_on_the_machine(server, a):
    """What the command line reads and the log driver writes is for the service's own user and group."""
    a.new()
    server.settle()
    for path in [server.log, *server.root.glob(server.database.name + '*')]:
        assert path.stat().st_mode & 0o007 == 0, path
