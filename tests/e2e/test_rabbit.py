# SPDX-License-Identifier: Apache-2.0
"""Notifications over RabbitMQ: a real broker, real consumers, and every octet as Glance was seen to send it."""
import json
import queue
import re
import socket
import ssl
import threading
import urllib.parse
from pathlib import Path

import pytest

from broker import free_port
from consumers import Ceilometer, Drain, Listener
from harness import A, B, DEADLINE, TARGET, Raw, Who, wait_for
from wire import Tap

AMQP = Path(__file__).parent / 'data' / 'amqp'
UPLOADED = ['image.update(saving)', 'image.prepare', 'image.upload', 'image.activate', 'image.update(active)']


def messaging(url, *drivers, rabbit=None, default=None, **options):
    """A configuration; the log driver is always there, to compare with."""
    return {'oslo_messaging_notifications': {'driver': [*(drivers or ['messagingv2']), 'log'], 'transport_url': url,
                                             **options},
            'oslo_messaging_rabbit': rabbit or {},
            'DEFAULT': {'image_size_cap': 1000, 'default_publisher_id': 'image.localhost', 'debug': True,
                        **(default or {})}}


def journal_of(server):
    """What has happened, oldest first; of Glance only the log driver tells."""
    if TARGET != 'glance':
        return [{k: row[k] for k in ('message_id', 'event_type', 'priority', 'timestamp', 'payload')}
                for row in server.journal()]
    return [{k: e.doc[k] for k in ('message_id', 'event_type', 'priority', 'timestamp', 'payload')}
            for e in server.events()]


def logged(server, text, deadline=None):
    """Waits for a line of the service's own log; returns the lines that have `text`."""
    def there():
        lines = server.log.read_text(errors='replace').splitlines() if server.log.exists() else []
        return [line for line in lines if re.search(text, line) and 'oslo.messaging.notification.' not in line]
    return wait_for(there, server.root, f'line with {text!r}', deadline)


def life(server):
    """Everything that can happen to an image."""
    me, other = server.client(A), server.client(B)
    image = me.new(name='Ü €', tags=['t'], colour='blue')['id']
    assert me.upload(image, b'x' * 2000).status_code == 413
    assert me.upload(image, b'data').status_code == 204
    assert me.patch(image, {'op': 'replace', 'path': '/name', 'value': 'q"\\\n\x7f'}).status_code == 200
    assert me.put(f'/v2/images/{image}/tags/u').status_code == 204
    assert me.share(image, B.project).status_code == 200
    assert other.answer_share(image, B.project, 'accepted').status_code == 200
    assert me.delete(f'/v2/images/{image}/members/{B.project}').status_code == 204
    assert me.download(image).content == b'data'
    server_side_of_download(server, image)
    admin = server.client()
    assert admin.action(image, 'deactivate').status_code == admin.action(image, 'reactivate').status_code == 204
    assert me.remove(image).status_code == 204
    server.settle()


def server_side_of_download(server, image):
    """image.send follows when the last octet is out, maybe after the client has it."""
    wait_for(lambda: [e for e in server.events(image) if e.type == 'image.send'], server.root, 'image.send')


# -- real consumers ------------------------------------------------------------------------------------

@pytest.mark.parametrize('driver', ['messaging', 'messagingv2'])
def test_a_real_listener_gets_everything(broker, vhost, servers, tmp_path, driver):
    with Listener(tmp_path / 'listener', broker.url(vhost)) as listener:
        server = servers(messaging(broker.url(vhost), driver))
        life(server)
        journal = journal_of(server)
        received = listener.wait(len(journal))
    assert listener.complaints() == []
    assert len(received) == len(journal)
    by_id = {e['metadata']['message_id']: e for e in received}
    for row in journal:
        event = by_id[row['message_id']]
        assert event['metadata'] == {'message_id': row['message_id'], 'timestamp': row['timestamp']}
        assert (event['event_type'], event['priority'].upper()) == (row['event_type'], row['priority'])
        assert event['payload'] == row['payload'] and event['publisher_id'] == 'image.localhost'
    for priority in ('INFO', 'ERROR'):  # a queue each, so between them there is no order
        assert ([e['metadata']['message_id'] for e in received if e['priority'].upper() == priority]
                == [row['message_id'] for row in journal if row['priority'] == priority])


@pytest.mark.glint_only
def test_who_did_it(broker, vhost, servers, tmp_path):
    """In oslo.messaging's context, where consumers have it at hand."""
    with Listener(tmp_path / 'listener', broker.url(vhost)) as listener:
        servers(messaging(broker.url(vhost))).client(A).new()
        event, = listener.wait(1)
    assert event['ctxt']['user_id'] == A.user and event['ctxt']['project_id'] == A.project
    assert event['ctxt']['request_id'].startswith('req-')


def test_ceilometer_makes_its_samples_of_it(broker, vhost, servers, tmp_path):
    with Ceilometer(tmp_path / 'ceilometer', broker.url(vhost)) as ceilometer:
        server = servers(messaging(broker.url(vhost)))
        me = server.client(A)
        image = me.new(name='sampled')['id']
        assert me.upload(image, b'0123456789').status_code == 204
        assert me.download(image).status_code == 200
        server_side_of_download(server, image)
        assert me.remove(image).status_code == 204
        server.settle()
        journal = {row['message_id']: row for row in journal_of(server)}
        posted = [e for e in ceilometer.wait_events(len(journal)) if e['message_id'] in journal]
        samples = ceilometer.wait_samples(5)
    sizes = [s for s in samples if s['name'] == 'image.size']
    assert sorted((s['resource_metadata']['event_type'], s['volume'] or 0) for s in sizes) == [
        ('image.delete', 10), ('image.update', 10), ('image.upload', 10)]  # image.update(saving) has no size yet
    for s in sizes:
        assert (s['resource_id'], s['project_id'], s['unit'], s['type']) == (image, A.project, 'B', 'gauge')
        assert s['resource_metadata']['name'] == 'sampled' and s['resource_metadata']['host'] == 'image.localhost'
    download, = [s for s in samples if s['name'] == 'image.download']
    assert (download['volume'], download['resource_id']) == (10, image)
    assert (download['user_id'], download['project_id']) == (A.user, A.project)
    serve, = [s for s in samples if s['name'] == 'image.serve']
    assert (serve['volume'], serve['project_id']) == (10, A.project)

    assert {e['event_type'] for e in posted} >= {'image.create', 'image.upload', 'image.update', 'image.send',
                                                'image.delete'}
    for event in posted:
        assert event['raw']['payload'] == journal[event['message_id']]['payload']
    send, = [e for e in posted if e['event_type'] == 'image.send']
    traits = {name: value for name, _, value in send['traits']}
    assert (traits['image_id'], traits['bytes_sent'], traits['receiver_user']) == (image, 10, A.user)


# -- octet by octet ------------------------------------------------------------------------------------

def normal(text):
    text = re.sub(r'(_unique_id\\*": \\*")[0-9a-f]{32}', r'\1<unique>', text)
    text = re.sub(r'(?!c0ffee00-)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', text)
    text = re.sub(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', '<time>', text)
    text = re.sub(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}', '<stamp>', text)
    text = re.sub(r'(\\*"tags\\*": )(\[[^]]*\])', lambda m: m[1] + ', '.join(sorted(re.findall(r'\w+', m[2]))), text)
    return without_context(text)


def without_context(text):
    """glint's documents tell who did it, behind everything that Glance's have."""
    if TARGET == 'glance':
        return text
    return re.sub(r'(<unique>\\*")(, \\*"_context_(request_id|user_id|project_id)\\*": \\*"[^"\\]*\\*")+', r'\1', text)


def by_key(messages):
    out = {}
    for m in messages:
        out.setdefault(m[0], []).append(m)
    return out


CAPTURES = {  # name: drivers, settings
    'create-full': (['messagingv2'], {}),
    'upload-messagingv2': (['messagingv2'], {}),
    'upload-messaging': (['messaging'], {}),
    'create-durable': (['messagingv2'], {'rabbit': {'amqp_durable_queues': 'true'}}),
    'create-topics': (['messagingv2'], {'topics': 'notifications,second',
                                        'default': {'default_publisher_id': 'image.host-7'}}),
}


def play(server, steps):
    for step in steps:
        client = server.client(Who(step['user'], step['project'], step['roles']))
        r = client.call(step['method'], step['path'], headers=step['headers'], data=step['body'])
        assert r.status_code < 300, r.text


def named_store(config, root):
    """As the captures have it."""
    config['DEFAULT']['enabled_backends'] = 'fs:file'
    config['glance_store'] = {'filesystem_store_datadir': None, 'default_backend': 'fs'}
    config['fs'] = {'filesystem_store_datadir': root / 'images'}
    return config


@pytest.mark.parametrize('name', CAPTURES)
def test_messages_as_measured(broker, vhost, servers, tmp_path, name):
    drivers, settings = CAPTURES[name]
    steps = json.loads((AMQP / f'{name}.json').read_text())['steps']
    wanted = [(m['routing_key'], m['exchange'], m['properties'], normal(m['body']))
              for step in steps for m in step['messages']]
    server = servers(named_store(messaging(broker.url(vhost), *drivers, **settings), tmp_path / 'server0'))
    play(server, steps)
    durable = 'rabbit' in settings
    with Drain(broker, vhost, settings.get('topics', 'notifications').split(','), durable) as drain:
        got = [(m.routing_key, m.exchange, m.properties, normal(m.body.decode('ascii')))
               for m in drain.count(len(wanted))]
    assert by_key(got) == by_key(wanted)


def test_both_formats_and_two_topics(broker, vhost, servers):
    """Every event to every driver and topic: one message_id, one time, but each time another _unique_id."""
    server = servers(messaging(broker.url(vhost), 'messagingv2', 'messaging', topics='first,second'))
    me = server.client(A)
    for _ in range(3):
        assert me.upload(me.new()['id'], b'x').status_code == 204
    server.settle()
    journal = journal_of(server)
    with Drain(broker, vhost, ['first', 'second']) as drain:
        messages = drain.count(4 * len(journal))
    assert len({m.doc['_unique_id'] for m in messages}) == len(messages)
    for topic in ('first', 'second'):
        for version in ('1.0', '2.0'):
            mine = [m for m in messages if m.routing_key == f'{topic}.info' and m.format == version]
            assert [(m.id, m.doc['timestamp']) for m in mine] == [(r['message_id'], r['timestamp']) for r in journal]


@pytest.mark.glint_only
@pytest.mark.parametrize('driver', ['messaging', 'messagingv2'])
def test_what_is_sent_again_is_the_same(broker, vhost, servers, driver):
    """To the octet, `_unique_id` too: that is how a listener knows what it has just seen."""
    server = servers(messaging(broker.url(vhost), driver, topics='first,second'))
    me = server.client(A)
    assert me.upload(me.new()['id'], b'x').status_code == 204
    n = 2 * len(journal_of(server))
    with Drain(broker, vhost, ['first', 'second']) as drain:
        once = [(m.routing_key, m.body) for m in drain.count(n)]
    wait_for(lambda: all(d['behind'] == 0 for d in json.loads(
        server.run('notifications', 'status', '--json').stdout)['drivers']), server.root, 'stored positions')
    last = server.journal()[-1]
    for offset, how_many in (('1', n), (str(last['offset']), 2)):
        server.run('notifications', 'replay', '--from', offset, '--driver', driver)
        with Drain(broker, vhost, ['first', 'second']) as drain:
            again = [(m.routing_key, m.body) for m in drain.count(how_many)]
        if how_many == n:
            assert by_key(again) == by_key(once)
        else:
            assert set(again) < set(once) and {m.id for m in drain.messages} == {last['message_id']}


SESSIONS = {  # settings under which the frames were written down
    'messagingv2': ('messagingv2', {}),
    'messaging': ('messaging', {}),
    'durable': ('messagingv2', {'amqp_durable_queues': 'true'}),
    'quorum': ('messagingv2', {'rabbit_quorum_queue': 'true', 'rabbit_quorum_delivery_limit': 5,
                               'rabbit_quroum_max_memory_length': 100, 'rabbit_quroum_max_memory_bytes': 1000}),
}


def significant(frames):
    """Declarations, and what is published: without repeated declarations of the same, and without the places
    of channel.open and confirm.select. Of confirm.select it only matters that it is there."""
    out = []
    for name, args in frames:
        if name in ('channel.open', 'confirm.select', 'body', 'heartbeat') or name.startswith('connection.'):
            continue
        if name == 'header':
            args = args.get('properties', args)
        if not (name.endswith(('.declare', '.bind')) and [name, args] in out):
            out.append([name, args])
    return out


@pytest.mark.parametrize('session', SESSIONS)
def test_frames_as_measured(broker, vhost, servers, session):
    """An info, an error, an info: what is declared, how, and before what. Options as for consumers that are
    declared the same way."""
    driver, rabbit = SESSIONS[session]
    with Tap(broker) as tap:
        server = servers(messaging(broker.url(vhost, port=tap.port), driver, rabbit=rabbit))
        image = server.client(A).new()['id']
        assert server.client(A).upload(image, b'x' * 2000).status_code == 413
        server.wait_events(['image.create', 'image.update(saving)', 'image.prepare', 'ERROR image.upload',
                            'image.update(queued)'], image)
        wait_for(lambda: sum(f.name == 'body' for c in tap.connections for f in c) == 5, server.root, 'five messages')
        frames = [(f.name, f.args) for f in tap.frames if f.kind]
    wanted = significant(json.loads((AMQP / 'frames.json').read_text())[session]['frames'])
    got = significant(frames)
    assert declarations(got) == declarations(wanted)
    assert publishing(got) == publishing(with_our_bit(wanted))
    for key in ('notifications.info', 'notifications.error'):
        assert_declared_first(got, key)
    if TARGET == 'glance':
        return  # of its pool, which has a connection for each of these and one to spare
    assert len(tap.connections) == 1
    assert [a for n, a in frames if n == 'confirm.select'] == [{'nowait': False}]
    names = [n for n, _ in frames]
    assert names.index('confirm.select') < names.index('basic.publish')
    start, = [a for n, a in frames if n == 'connection.start-ok']
    assert start['client_properties']['capabilities']['connection.blocked'] is True
    assert (start['mechanism'], start['locale']) == ('AMQPLAIN', 'en_US')
    assert [a for n, a in frames if n == 'connection.open'][0]['virtual_host'] == vhost
    assert [a for n, a in frames if n == 'connection.tune-ok'] == [
        {'channel_max': 2047, 'frame_max': 131072, 'heartbeat': 60}]


def with_our_bit(frames):
    """What Glance publishes to a queue that is gone is lost; glint wants to hear of it. No consumer can tell."""
    if TARGET == 'glance':
        return frames
    return [[name, {**args, 'mandatory': True} if name == 'basic.publish' else args] for name, args in frames]


def declarations(frames):
    return sorted((json.dumps(f, sort_keys=True) for f in frames if f[0].endswith(('.declare', '.bind'))))


def publishing(frames):
    """Different ways to publish, and the properties that went with them."""
    return sorted({json.dumps(f, sort_keys=True) for f in frames if f[0] in ('basic.publish', 'header')})


def assert_declared_first(frames, key):
    """Exchange, queue, binding, and only then the first message: else it would go nowhere."""
    def first(name, **args):
        return next(i for i, (n, a) in enumerate(frames)
                    if n == name and all(a.get(k) == v for k, v in args.items()))
    order = [first('exchange.declare'), first('queue.declare', queue=key), first('queue.bind', routing_key=key),
             first('basic.publish', routing_key=key)]
    assert order == sorted(order)


def test_auto_delete(broker, vhost, servers):
    server = servers(messaging(broker.url(vhost), rabbit={'amqp_auto_delete': 'true'}))
    server.client(A).new()
    queue = wait_for(lambda: broker.queues(vhost).get('notifications.info'), server.root, 'queue')
    assert queue == {'durable': False, 'auto_delete': True}


# -- where the broker is -------------------------------------------------------------------------------

def arrives(broker, vhost, server, **kwargs):
    """What is done now is in the queue soon."""
    image = server.client(A).new()['id']
    with Drain(broker, vhost, **kwargs) as drain:
        drain.until(lambda got: [m for m in got if m.payload.get('id') == image], 'image.create')


@pytest.fixture
def odd_user(broker):
    broker.add_user('u@x', 'p/q: %+')
    return 'u%40x', 'p%2Fq%3A%20%25%2B'


@pytest.mark.glint_only  # Glance reads the password right, but then cannot hand it on
def test_credentials_with_escapes(broker, vhost, servers, odd_user):
    broker.permit('u@x', vhost)
    user, password = odd_user
    server = servers(messaging(f'rabbit://{user}:{password}@{broker.address}/{vhost}'))
    arrives(broker, vhost, server)


@pytest.mark.parametrize('path', ['a/b', 'a%2Fb'])
def test_vhost_with_a_slash(broker, vhost, servers, path):
    name = f'{vhost}/b'
    broker.add_vhost(name)
    server = servers(messaging(broker.url(vhost) + path[1:].replace('%2f', '%2F')))
    arrives(broker, name, server)


@pytest.mark.glint_only
def test_scheme_kombu(broker, vhost, servers):
    """Another name of the same."""
    arrives(broker, vhost, servers(messaging(broker.url(vhost).replace('rabbit', 'kombu', 1))))


def test_options_in_the_url(broker, vhost, servers):
    server = servers(messaging(broker.url(vhost) + '?amqp_durable_queues=true&heartbeat_timeout_threshold=7'))
    arrives(broker, vhost, server, durable=True)
    assert '7' in broker.connections('timeout')


def test_default_transport_url(broker, vhost, servers):
    """[DEFAULT] transport_url counts if the section of the notifications has none."""
    server = servers(messaging(None, default={'transport_url': broker.url(vhost)}))
    arrives(broker, vhost, server)


def test_exchange_of_another_name(broker, vhost, servers):
    server = servers(messaging(broker.url(vhost), default={'control_exchange': 'elsewhere'}))
    server.client(A).new()
    wait_for(lambda: 'notifications.info' in broker.queues(vhost), server.root, 'queue')
    with Drain(broker, vhost, queues=['notifications.info']) as drain:
        assert drain.count(1)[0].exchange == 'elsewhere'


def test_first_host_is_dead(broker, vhost, servers):
    """The next one of the list is as good. Each host has its own credentials."""
    dead = f'nobody:nothing@127.0.0.1:{free_port()}'
    url = broker.url(vhost).replace('rabbit://', f'rabbit://{dead},', 1)
    for _ in range(2):
        server = servers(messaging(url))
        arrives(broker, vhost, server)
        server.stop()


@pytest.mark.glint_only
@pytest.mark.parametrize('url, complaint', [
    ('rabbit://u:s3cret@h:port/', 'port'), ('rabbit://u:s3cret@[::1/', r'\['), ('nosuch://u:s3cret@h/', 'nosuch'),
    ('u:s3cret@h', 'scheme|transport_url'), ('rabbit://u:s3cret@h/?nosuch=1', 'nosuch'),
    ('rabbit://u:s3cret@h/?heartbeat_timeout_threshold=x', 'heartbeat_timeout_threshold')])
def test_wrong_urls_stop_the_start(servers, url, complaint):
    """With one clear line, and without the password."""
    server = servers(messaging(url), start=False)
    server.spawn()
    assert server.wait_exit() != 0
    said = server.said()
    server.process = None
    assert re.search(complaint, said) and 's3cret' not in said, said
    check = server.run('config', 'check', check=False)
    assert check.returncode != 0 and 's3cret' not in check.stdout + check.stderr


@pytest.mark.glint_only
def test_passwords_stay_out_of_logs(broker, vhost, servers):
    """At debug, with good and with bad luck, in whatever we say."""
    secret, escaped = 'geh/eim%&s', 'geh%2Feim%25%26s'
    broker.add_user('spy', secret, vhost)
    good = f'rabbit://spy:{escaped}@{broker.address}/{vhost}'
    other = f'rabbit://spy:{escaped}@127.0.0.1:{free_port()},spy:{escaped}x@{broker.address}/{vhost}'
    for url, ends in ((good, 'delivered'), (other, 'in trouble')):
        server = servers(messaging(url))
        server.client(A).new()
        if ends == 'delivered':
            arrives(broker, vhost, server)
        else:
            logged(server, 'in trouble')
        said = server.run('notifications', 'status').stdout + server.run('notifications', 'status', '--json').stdout
        checked = server.run('config', 'check', check=False)
        server.stop()
        said += server.stderr.read_text() + server.log.read_text() + checked.stdout + checked.stderr
        for form in (secret, escaped, urllib.parse.quote_plus(secret), 'geh'):
            assert form not in said


# -- TLS -----------------------------------------------------------------------------------------------

def tls(broker, vhost, host='localhost', ca='ca', port=None, **rabbit):
    certificates = broker.certificates
    options = {'ssl': 'true', 'ssl_enforce_hostname_verification': 'true', **rabbit}
    if ca and 'ssl_ca_file' not in options:
        options['ssl_ca_file'] = certificates.ca if ca == 'ca' else certificates.other_ca
    return messaging(broker.url(vhost, port or broker.tls_port, host), rabbit=options)


def test_tls(broker, vhost, servers):
    arrives(broker, vhost, servers(tls(broker, vhost)))
    assert 'tlsv1' in broker.connections('ssl_protocol')


def test_tls_with_a_certificate_of_our_own(broker, vhost, servers):
    certificate, key = broker.certificates.client
    arrives(broker, vhost, servers(tls(broker, vhost, ssl_cert_file=certificate, ssl_key_file=key)))
    assert 'test client' in broker.connections('peer_cert_subject')


@pytest.mark.parametrize('case', ['other authority', 'authorities of the system', 'other host name'])
def test_tls_that_is_refused(broker, vhost, servers, case):
    """Nothing is sent to whom we cannot be sure of; the events wait."""
    ca = {'other authority': 'other', 'authorities of the system': None}.get(case, 'ca')
    host = '127.0.0.1' if case == 'other host name' else 'localhost'
    server = servers(tls(broker, vhost, host, ca))
    server.client(A).new()
    if TARGET == 'glance':
        assert logged(server, 'CERTIFICATE_VERIFY_FAILED')
        server.errors_expected = True
        return
    line, = logged(server, 'in trouble')
    assert 'certificate' in line and broker.password not in line
    if case == 'other host name':
        assert re.search('mismatch', line)
    assert broker.queues(vhost) == {}
    status = json.loads(server.run('notifications', 'status', '--json').stdout)
    waiting, = [d for d in status['drivers'] if d['driver'] == 'messagingv2']
    assert waiting['behind'] == 1 and 'certificate' in waiting['problem']


@pytest.mark.glint_only
def test_tls_verifies_the_host_name_by_default(broker, vhost, servers):
    """Master's default, not that of 2022."""
    server = servers(tls(broker, vhost, '127.0.0.1', ssl_enforce_hostname_verification=None))
    server.client(A).new()
    assert re.search('mismatch', logged(server, 'in trouble')[0])


class Names:
    """A TLS server that notes which name it was called by (server_name), and then hangs up."""

    def __init__(self, certificates):
        self.seen = queue.Queue()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificates.server)
        self.context.sni_callback = lambda _socket, name, _context: self.seen.put(name)
        self.server = socket.create_server(('127.0.0.1', 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.server.accept()
                with client, self.context.wrap_socket(client, server_side=True):
                    pass
            except ssl.SSLError:
                pass
            except OSError:
                return

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


@pytest.mark.glint_only
@pytest.mark.parametrize('host, name', [('localhost', 'localhost'), ('127.0.0.1', None)])
def test_tls_says_the_name(broker, vhost, servers, host, name):
    """That of the transport_url, whatever addresses it has; a proxy goes by it. An address is no name."""
    with Names(broker.certificates) as names:
        server = servers(tls(broker, vhost, host, port=names.port))
        server.client(A).new()
        assert names.seen.get(timeout=DEADLINE) == name


@pytest.mark.glint_only
@pytest.mark.parametrize('case', ['tls to a plain port', 'plain to a tls port'])
def test_tls_on_one_side_only(broker, vhost, servers, case):
    config = tls(broker, vhost, port=broker.port) if case == 'tls to a plain port' else messaging(
        broker.url(vhost, broker.tls_port))
    server = servers(config)
    server.client(A).new()
    line, = logged(server, 'in trouble', 30)
    assert 'events wait' in line
    assert server.client(A).create().status_code == 201


@pytest.mark.glint_only
@pytest.mark.parametrize('option', ['ssl_ca_file', 'ssl_cert_file', 'ssl_key_file'])
def test_tls_files_that_are_not_there(broker, vhost, servers, tmp_path, option):
    """Said when we start or when we connect, but said, with the name of the file."""
    certificate, key = broker.certificates.client
    files = {'ssl_cert_file': certificate, 'ssl_key_file': key, option: tmp_path / 'missing.pem'}
    server = servers(tls(broker, vhost, **files), start=False)
    server.spawn()
    said = wait_for(lambda: server.said() if 'missing.pem' in server.said() or 'listening on' in server.said()
                    else None, server.root, 'word')
    if 'missing.pem' in said:
        assert server.wait_exit() != 0
        server.process = None
        return
    server.url = re.search(r'listening on (http://\S+)\n', said).group(1)
    server.client(A).new()
    assert 'missing.pem' in logged(server, 'in trouble')[0]


# -- what the broker can never take ----------------------------------------------------------------------

@pytest.fixture
def small_messages(broker):
    """The broker takes no message above 20,000 octets, until the value is called."""
    def limit(octets):
        broker.call(f'application:set_env(rabbit, max_message_size, {octets})')
        broker.close_connections()  # a channel knows the limit it was opened with
    limit(20_000)
    yield lambda: limit(1 << 27)
    limit(1 << 27)


def rabbit_status(server):
    drivers = json.loads(server.run('notifications', 'status', '--json').stdout)['drivers']
    return next(d for d in drivers if d['driver'] == 'messagingv2')


@pytest.mark.skipif(TARGET == 'glance', reason='Glance drops such a message')
def test_too_large_for_the_broker(broker, vhost, servers, small_messages):
    """Set aside with the reason, shown, in nobody's way; handed out again it arrives, and the list is empty."""
    server = servers(messaging(broker.url(vhost), default={'image_property_quota': 200}))
    server.errors_expected = True  # an operator has to know
    me = server.client(A)
    me.new(name='before')
    large = me.new(name='large', **{f'p{i}': 'x' * 250 for i in range(150)})['id']
    me.new(name='after')
    with Drain(broker, vhost) as drain:
        drain.count(2)
        assert [m.payload['name'] for m in drain.messages] == ['before', 'after']
    wait_for(lambda: rabbit_status(server)['set_aside'] == 1, server.root, 'the event set aside')
    [aside] = rabbit_status(server)['set_aside_events']
    offset = next(row['offset'] for row in server.journal() if row['subject'] == large)
    assert aside['offset'] == offset and 'size' in aside['reason']
    assert f'{offset}, ' in server.run('notifications', 'status').stdout

    small_messages()
    server.run('notifications', 'replay', '--from', str(offset), '--to', str(offset), '--driver', 'messagingv2')
    with Drain(broker, vhost) as drain:
        [again] = drain.count(1)
    assert again.payload['id'] == large
    wait_for(lambda: not rabbit_status(server)['set_aside_events'], server.root, 'nothing set aside')
