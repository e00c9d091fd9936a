# SPDX-License-Identifier: Apache-2.0
"""Notifications over Kafka: what oslo.messaging's own listener gets, a cluster that is away, TLS and logins."""
import json
import subprocess
import threading
import time
import urllib.parse

import pytest

from broker import Certificates, free_port
from consumers import Listener
from harness import A, B, BINARY, wait_for
from kafka_cluster import Cluster
from kafka_front import MECHANISMS, METADATA, Front

pytestmark = [
    pytest.mark.glint_only,
    pytest.mark.skipif(b'librdkafka' not in subprocess.run(['ldd', BINARY], capture_output=True, check=False).stdout,
                       reason='built without Kafka'),
]


def config(url, *drivers, **kafka):
    return {'oslo_messaging_notifications': {'driver': [*(drivers or ['messagingv2']), 'log'], 'transport_url': url},
            'oslo_messaging_kafka': kafka}


@pytest.fixture
def cluster():
    with Cluster() as c:
        yield c


def documents(partition):
    return [json.loads(json.loads(m.value())['oslo.message']) for m in partition]


def image_of(payload):
    return payload.get('image_id') or payload['id']


def own_lines(server, text):
    """Lines of the service's own log."""
    return [line for line in server.log.read_text().splitlines()
            if text in line and 'oslo.messaging.notification.' not in line]


def delivered(server, driver='messagingv2'):
    """Waits until that driver has all there is."""
    def done():
        drivers = json.loads(server.run('notifications', 'status', '--json').stdout)['drivers']
        return [d for d in drivers if d['driver'] == driver and d['behind'] == 0]
    wait_for(done, server.root, 'end of the backlog')


def life(server):
    me, other = server.client(A), server.client(B)
    image = me.new(name='Ü €', tags=['t'])['id']
    assert me.upload(image, b'data').status_code == 204
    assert me.patch(image, {'op': 'replace', 'path': '/name', 'value': 'q"\\\n\x7f'}).status_code == 200
    assert me.share(image, B.project).status_code == 200
    assert other.answer_share(image, B.project, 'accepted').status_code == 200
    assert me.download(image).content == b'data'
    assert me.remove(image).status_code == 204
    server.settle()


@pytest.mark.parametrize('driver', ['messaging', 'messagingv2'])
def test_real_listener(servers, cluster, tmp_path, driver):
    """It begins at the end of the topics, whenever its group is ready: images are made until one shows."""
    server = servers(config(cluster.url(), driver))
    with Listener(tmp_path / 'listener', cluster.url()) as listener:
        end = time.monotonic() + 60
        while not listener.events():
            server.client(A).new(name='hello?')
            assert time.monotonic() < end, listener.said()
            try:
                wait_for(listener.events, listener.out.parent, 'first event', 1)
            except AssertionError:
                pass
        first = listener.events()[0]['metadata']['message_id']
        life(server)
        journal = server.journal()
        rows = journal[[row['message_id'] for row in journal].index(first):]
        events = {e['metadata']['message_id']: e for e in listener.wait(len(rows))}
        assert not listener.complaints()
    assert len(events) >= len(rows) > 10
    for row in rows:
        event = events[row['message_id']]
        assert event['event_type'] == row['event_type']
        assert event['priority'] == row['priority'].lower()
        assert event['payload'] == row['payload']
        assert event['metadata']['timestamp'] == row['timestamp']
        assert event['ctxt'] == {k: row[k] for k in ('request_id', 'user_id', 'project_id')}


def test_bodies_and_keys(servers, cluster):
    server = servers(config(cluster.url()))
    life(server)
    rows = server.journal()
    delivered(server)
    partitions = [p for p in cluster.messages('notifications.info', 'notifications.error') if p]
    assert sum(len(p) for p in partitions) == len(rows)
    for partition in partitions:
        for message, doc in zip(partition, documents(partition)):
            assert message.key().decode() == image_of(doc['payload'])
            assert list(json.loads(message.value())) == ['oslo.version', 'oslo.message']
            assert list(doc) == ['message_id', 'publisher_id', 'event_type', 'priority', 'payload', 'timestamp',
                                 '_context']
    for image in {image_of(row['payload']) for row in rows}:  # all in one partition, in order
        told = [[d['message_id'] for d in documents(p) if image_of(d['payload']) == image] for p in partitions]
        assert [ids for ids in told if ids] == [[row['message_id'] for row in rows if image_of(row['payload']) == image]]


def create_many(server, n_clients, n_each, slow):
    """Images by several clients at a time; every answer within `slow` seconds."""
    wrong = []

    def work():
        me = server.client(A)
        for n in range(n_each):
            began = time.monotonic()
            image = me.create(name=f'{n}')
            took = time.monotonic() - began
            if image.status_code != 201 or took > slow:
                wrong.append((image.status_code, took))
            elif n % 3 == 0:
                me.put(f'/v2/images/{image.json()["id"]}/tags/t')
    threads = [threading.Thread(target=work) for _ in range(n_clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_frozen_cluster(servers, cluster):
    """For the API that is nothing; everything comes afterwards, once, each image's events in order."""
    server = servers(config(cluster.url()))
    create_many(server, 4, 10, 10)
    delivered(server)
    cluster.freeze()
    create_many(server, 8, 25, 10)
    wait_for(lambda: own_lines(server, 'acknowledged nothing'), server.root, 'line about the trouble')
    cluster.thaw()
    began = time.monotonic()
    delivered(server)
    assert time.monotonic() - began < 60
    wait_for(lambda: own_lines(server, 'well again'), server.root, 'line about its end')
    assert len(own_lines(server, 'in trouble')) == 1
    rows = server.journal()
    found = [d for p in cluster.messages('notifications.info') for d in documents(p)]
    assert sorted(d['message_id'] for d in found) == sorted(row['message_id'] for row in rows)
    place = {d['message_id']: i for i, d in enumerate(found)}
    for image in {row['payload']['id'] for row in rows}:
        mine = [place[row['message_id']] for row in rows if row['payload']['id'] == image]
        assert mine == sorted(mine)


def test_nobody_there(servers):
    """The service starts, answers and stops; one line says what is wrong, without the password."""
    port = free_port()
    server = servers(config(f'kafka://us3r:s3cret@127.0.0.1:{port}/'))
    create_many(server, 2, 5, 10)
    wait_for(lambda: own_lines(server, 'no Kafka broker answers'), server.root, 'line about the trouble')
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 40
    lines = server.log.read_text() + server.said()
    assert 's3cret' not in lines
    assert len(own_lines(server, 'in trouble')) == 1
    assert f'127.0.0.1:{port}' in own_lines(server, 'in trouble')[0]


def test_wrong_configuration(servers):
    server = servers(config('kafka://us3r:s3cret@h/', sasl_mechanism='GSSAPI'), start=False)
    done = server.run('config', 'check', check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert 'sasl_mechanism' in said and 's3cret' not in said


# -- TLS and logins --------------------------------------------------------------------------------------

USER, PASSWORD = 'us3r,=@x', 's3cr:t/%"\u00fc'
CREDENTIALS = f'{urllib.parse.quote(USER, safe="")}:{urllib.parse.quote(PASSWORD, safe="")}@'


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp('tls'))


def arrives(server, cluster):
    """Everything there is so far."""
    delivered(server)
    found = [d['message_id'] for p in cluster.messages('notifications.info') for d in documents(p)]
    assert found and sorted(found) == sorted(row['message_id'] for row in server.journal())


def trouble(server):
    """The one line about it. It has no password, in whatever form."""
    wait_for(lambda: own_lines(server, 'in trouble'), server.root, 'line about the trouble')
    said = server.log.read_text() + server.said()
    assert PASSWORD not in said and urllib.parse.quote(PASSWORD, safe='') not in said
    line, = own_lines(server, 'in trouble')
    return line


@pytest.mark.parametrize('host', ['localhost', '127.0.0.1'])
def test_tls(servers, cluster, certificates, host):
    own = certificates.signed('address', 'subjectAltName=IP:127.0.0.1')
    with Front(cluster, host, certificates.server if host == 'localhost' else own) as front:
        server = servers(config(front.url(), security_protocol='SSL', ssl_cafile=certificates.ca))
        server.client(A).new()
        arrives(server, cluster)


def test_tls_with_a_certificate_of_our_own(servers, cluster, certificates):
    certificate, key = certificates.client
    with Front(cluster, 'localhost', certificates.server, client_ca=certificates.ca) as front:
        server = servers(config(front.url(), security_protocol='SSL', ssl_cafile=certificates.ca,
                                ssl_client_cert_file=certificate, ssl_client_key_file=key))
        server.client(A).new()
        arrives(server, cluster)
        assert set(front.peers) == {'test client'}


@pytest.mark.parametrize('case', ['other authority', 'authorities of the system', 'other host name', 'no TLS there'])
def test_tls_that_is_refused(servers, cluster, certificates, case):
    """Nothing is sent to whom we cannot be sure of; the events wait until we can be."""
    ca = {'other authority': certificates.other_ca, 'authorities of the system': None}.get(case, certificates.ca)
    shown = {'other host name': certificates.signed('elsewhere', 'subjectAltName=DNS:elsewhere'),
             'no TLS there': None}.get(case, certificates.server)
    with Front(cluster, 'localhost', shown, users={USER: PASSWORD}) as front:
        server = servers(config(front.url(CREDENTIALS), security_protocol='SASL_SSL', ssl_cafile=ca))
        server.client(A).new()
        line = trouble(server)
        assert ('certificate verify failed' if shown else 'SSL handshake failed') in line
        assert front.requests == []
        status = json.loads(server.run('notifications', 'status', '--json').stdout)
        waiting, = [d for d in status['drivers'] if d['driver'] == 'messagingv2']
        assert waiting['behind'] == 1
        if case == 'other host name':
            front.certificate = certificates.server
            arrives(server, cluster)
            assert own_lines(server, 'well again')


@pytest.mark.parametrize('mechanism', list(MECHANISMS))
def test_login(servers, cluster, certificates, mechanism):
    """User and password are those of the URL, to the character."""
    with Front(cluster, 'localhost', certificates.server, users={USER: PASSWORD}, mechanisms=[mechanism]) as front:
        server = servers(config(front.url(CREDENTIALS), security_protocol='SASL_SSL', ssl_cafile=certificates.ca,
                                sasl_mechanism=mechanism))
        server.client(A).new()
        arrives(server, cluster)
        assert set(front.logins) == {(mechanism, USER)}
        assert front.refused == 0


@pytest.mark.parametrize('mechanism', list(MECHANISMS))
def test_login_that_is_refused(servers, cluster, mechanism):
    """One line says so; once the broker knows the password, everything arrives."""
    with Front(cluster, users={USER: 'another'}, mechanisms=[mechanism]) as front:
        server = servers({'DEFAULT': {'debug': 'true'},
                          **config(front.url(CREDENTIALS), security_protocol='SASL_PLAINTEXT',
                                   sasl_mechanism=mechanism)})
        create_many(server, 2, 5, 10)
        line = trouble(server)
        assert 'no such user or password' in line
        wait_for(lambda: front.refused >= 3, server.root, 'more attempts')
        trouble(server)
        assert METADATA not in front.requests and not front.logins
        front.users[USER] = PASSWORD
        arrives(server, cluster)
        wait_for(lambda: own_lines(server, 'well again'), server.root, 'line about its end')
        trouble(server)
