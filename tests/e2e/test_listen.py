# SPDX-License-Identifier: Apache-2.0
"""`glint notifications listen`: what is on the queue, and what becomes of it there."""
import json
import os
import signal
import subprocess
import zlib

import amqp
import pytest

from consumers import Drain
from harness import A, BINARY, SANITIZER, wait_for, write_config
from test_rabbit import messaging, tls
from wire import Tap

pytestmark = pytest.mark.glint_only


class Listening:
    """The command, until it is told to end."""

    def __init__(self, root, *words, url=None):
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.out, self.err = root, root / 'out', root / 'err'
        command = [BINARY, 'notifications', 'listen', *(['--transport-url', url] if url else []), *map(str, words)]
        with open(self.out, 'wb') as out, open(self.err, 'wb') as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def __enter__(self):
        wait_for(lambda: 'listening to' in self.said() or self.process.poll() is not None, self.root, 'listener')
        assert self.process.poll() in (None, 0), self.said()
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def said(self):
        return self.err.read_text()

    def lines(self, n, deadline=None):
        def there():
            lines = self.out.read_text().splitlines()
            return lines if len(lines) >= n else None
        return wait_for(there, self.root, f'{n} lines', deadline)

    def end(self, how=signal.SIGINT):
        if how:
            os.kill(self.process.pid, how)
        status = self.process.wait(60)
        assert not SANITIZER.search(self.said()), self.said()
        return status


def publish(broker, vhost, *bodies, key='notifications.info', **properties):
    properties = {'content_type': 'application/json', 'content_encoding': 'utf-8', **properties}
    with broker.client(vhost) as client:
        channel = client.channel()
        for body in bodies:
            channel.basic_publish(amqp.Message(body, **properties), exchange='glance', routing_key=key)
        channel.queue_declare('notifications.info', passive=True)  # after this, all that went before has arrived


def document(event_type='image.create', priority='INFO', payload=None, **extra):
    return json.dumps({'message_id': 'm', 'publisher_id': 'p', 'event_type': event_type, 'priority': priority,
                       'payload': payload if payload is not None else {'id': 'i', 'name': 'n', 'status': 'queued'},
                       'timestamp': '2026-11-22 19:14:39.366648', '_unique_id': 'u', **extra})


def left(broker, vhost):
    """How many messages are still in the queues."""
    return int(broker.call('lists:sum([proplists:get_value(messages, rabbit_amqqueue:info(Q, [messages]))'
                           f' || Q <- rabbit_amqqueue:list(<<"{vhost}">>)])'))


def test_lines_for_people(broker, vhost, servers, tmp_path):
    """The same as `tail` has for them."""
    server = servers(messaging(broker.url(vhost)))
    with Listening(tmp_path / 'l', url=broker.url(vhost)) as listening:
        me = server.client(A)
        image = me.new(name='seen')['id']
        assert me.upload(image, b'x' * 2000).status_code == 413
        assert me.remove(image).status_code == 204
        lines = listening.lines(6)
        assert listening.end() == 0
    assert left(broker, vhost) == 0
    server.settle()
    tail = server.run('notifications', 'tail', '-n', 'all').stdout.splitlines()[:6]
    # errors come by another queue, so they may be anywhere between the others, and their text has no id of its own
    def without_number(line):
        return ' '.join(w for w in line.split()[1:] if w != image)
    assert sorted(map(without_number, lines)) == sorted(map(without_number, tail))
    assert [line.split()[0] for line in lines] == ['1', '2', '3', '4', '5', '6']


def test_json_lines(broker, vhost, servers, tmp_path):
    """The members that `tail --json` has, with the same values."""
    server = servers(messaging(broker.url(vhost)))
    me = server.client(A)
    assert me.upload(me.new(name='Ü', colour='blue')['id'], b'data').status_code == 204
    server.settle()
    journal = server.journal()
    with Listening(tmp_path / 'l', '--json', '-n', len(journal), url=broker.url(vhost)) as listening:
        assert listening.end(None) == 0
        rows = [json.loads(line) for line in listening.lines(len(journal))]
    for row, wanted in zip(rows, journal):
        assert row.pop('routing_key') == 'notifications.info' and row.pop('redelivered') is False
        assert row.pop('publisher_id') == 'image.localhost'
        assert row == {k: wanted[k] for k in row} and len(row) == 8
    assert left(broker, vhost) == 0


def test_takes_only_as_many_as_wanted(broker, vhost, tmp_path):
    with Drain(broker, vhost):
        pass  # declares
    publish(broker, vhost, *[document(payload={'id': str(n)}) for n in range(10)])
    with Listening(tmp_path / 'l', '-n', '3', '--json', url=broker.url(vhost)) as listening:
        assert listening.end(None) == 0
    assert [json.loads(line)['payload']['id'] for line in listening.lines(3)] == ['0', '1', '2']
    with Drain(broker, vhost) as drain:
        assert [m.payload['id'] for m in drain.count(7)] == [str(n) for n in range(3, 10)]


def test_formats(broker, vhost, tmp_path):
    """1.0, 2.0, compressed as kombu does it, large, and with things in it that would confuse a terminal."""
    with Drain(broker, vhost):
        pass
    two = json.dumps({'oslo.version': '2.0', 'oslo.message': document('two')})
    large = document('large', payload={'id': 'x' * 400_000})
    tricky = document('tricky\x1b[2J\n', payload={'id': '\x07', 'name': 'a\nb\x1b'})
    with Listening(tmp_path / 'l', url=broker.url(vhost)) as listening:
        publish(broker, vhost, document('one'), two, large, tricky)
        publish(broker, vhost, zlib.compress(document('packed').encode()),
                application_headers={'compression': 'application/x-gzip'})
        lines = listening.lines(5)
        assert listening.end(signal.SIGTERM) == 0
    assert [line.split()[4] for line in lines] == ['one', 'two', 'large', 'tricky?[2J?', 'packed']
    assert lines[0] == '     1  2026-11-22 19:14:39  INFO  one                  i "n" queued'
    assert '\x1b' not in listening.out.read_text() and '\x07' not in listening.out.read_text()
    assert left(broker, vhost) == 0


def test_refuses_what_is_no_notification(broker, vhost, tmp_path):
    """Gone from the queue, with a word about it; nobody else would understand it either."""
    with Drain(broker, vhost):
        pass
    useless = ['no', '[1]', json.dumps({'oslo.version': '3.0', 'oslo.message': '{}'}), '',
               json.dumps({'oslo.version': '2.0', 'oslo.message': {}})]
    publish(broker, vhost, *useless)
    publish(broker, vhost, b'not zlib', application_headers={'compression': 'application/x-gzip'})
    with Listening(tmp_path / 'l', url=broker.url(vhost)) as listening:
        publish(broker, vhost, document('good'))
        assert len(listening.lines(1)) == 1
        assert listening.end() == 0
    refused = [line for line in listening.said().splitlines() if 'refused a message' in line]
    assert len(refused) == 6 and all('notifications.info' in line for line in refused)
    assert left(broker, vhost) == 0


def test_what_could_not_be_written_goes_back(broker, vhost, tmp_path):
    with Drain(broker, vhost):
        pass
    publish(broker, vhost, document('precious'))
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([BINARY, 'notifications', 'listen', '--transport-url', broker.url(vhost)],
                              stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and 'No space left' in done.stderr
    with Drain(broker, vhost) as drain:
        message, = drain.count(1)
    assert message.doc['event_type'] == 'precious' and message.redelivered


def test_pool_is_a_copy(broker, vhost, tmp_path):
    with Listening(tmp_path / 'l', '--pool', 'mine', '--json', url=broker.url(vhost)) as listening:
        with Drain(broker, vhost):
            pass
        publish(broker, vhost, document('shared'))
        publish(broker, vhost, document('bad', 'ERROR'), key='notifications.error')
        rows = [json.loads(line) for line in listening.lines(2)]
        assert listening.end() == 0
    assert [(r['event_type'], r['routing_key']) for r in rows] == [
        ('shared', 'notifications.info'), ('bad', 'notifications.error')]
    with Drain(broker, vhost) as drain:
        assert sorted(m.doc['event_type'] for m in drain.count(2)) == ['bad', 'shared']


def test_another_topic(broker, vhost, servers, tmp_path):
    server = servers(messaging(broker.url(vhost), topics='first,second'))
    with Listening(tmp_path / 'l', '--topic', 'second', '--json', url=broker.url(vhost)) as listening:
        server.client(A).new()
        row, = [json.loads(line) for line in listening.lines(1)]
    assert row['routing_key'] == 'second.info'


def test_declares_what_a_listener_declares(broker, vhost, tmp_path):
    """Frames of the real one: facts that were written down, and here those of all seven queues."""
    priorities = ['audit', 'debug', 'info', 'warn', 'error', 'critical', 'sample']
    with Tap(broker) as tap:
        with Listening(tmp_path / 'l', url=broker.url(vhost, port=tap.port)) as listening:
            assert listening.end() == 0
        frames = [(f.name, f.args) for f in tap.frames]
    assert {a['exchange'] for n, a in frames if n == 'exchange.declare'} == {'glance'}
    assert [a for n, a in frames if n == 'queue.declare'] == [
        {'ticket': 0, 'queue': f'notifications.{p}', 'passive': False, 'durable': False, 'exclusive': False,
         'auto_delete': False, 'nowait': False, 'arguments': {}} for p in priorities]
    assert [(a['queue'], a['exchange'], a['routing_key']) for n, a in frames if n == 'queue.bind'] == [
        (f'notifications.{p}', 'glance', f'notifications.{p}') for p in priorities]
    assert [(a['queue'], a['no_ack'], a['exclusive']) for n, a in frames if n == 'basic.consume'] == [
        (f'notifications.{p}', False, False) for p in priorities]


def test_options_of_the_file(broker, vhost, servers, tmp_path):
    """transport_url, topics and how queues are declared, as the service beside it has them; TLS too."""
    config = tls(broker, vhost, amqp_durable_queues='true')
    config['DEFAULT'].pop('image_size_cap')
    server = servers(config)
    file = tmp_path / 'listen.conf'
    write_config(file, {s: {k: v for k, v in o.items() if v is not None} for s, o in config.items()})
    with Listening(tmp_path / 'l', '--config-file', file) as listening:
        server.client(A).new(name='by file')
        assert 'by file' in listening.lines(1)[0]
        assert listening.end() == 0
    assert broker.queues(vhost)['notifications.sample']['durable'] is True


def test_survives_the_brokers_absence(broker, vhost, tmp_path):
    """Once it listens, it goes on listening. Thrown out here; a restart takes the tests too long."""
    with Listening(tmp_path / 'l', url=broker.url(vhost)) as listening:
        broker.close_connections()
        wait_for(lambda: 'connected again' in listening.said(), listening.root, 'word of it')
        publish(broker, vhost, document('after'))
        assert 'after' in listening.lines(1)[0]
        assert 'the connection is lost' in listening.said() and broker.password not in listening.said()
        assert listening.end() == 0


@pytest.mark.parametrize('words, complaint', [
    (['--transport-url', 'nosuch://h/'], 'nosuch'), (['--transport-url', 'rabbit://h:port/'], 'port'),
    (['-n', '0'], 'whole number'), (['-n', 'all'], 'whole number'), (['--nosuch'], 'unknown option'),
    (['--pool', 'x' * 300, '--transport-url', 'rabbit://127.0.0.1:1/'], 'too long'),
    (['--topic', 'x' * 300, '--transport-url', 'rabbit://127.0.0.1:1/'], 'too long'),
    (['--transport-url', 'rabbit://u:s3cret@127.0.0.1:1/'], '127.0.0.1:1')])
def test_what_cannot_be(words, complaint):
    done = subprocess.run([BINARY, 'notifications', 'listen', *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode in (1, 2) and complaint in done.stderr and 's3cret' not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_wrong_password(broker, vhost):
    done = subprocess.run([BINARY, 'notifications', 'listen', '--transport-url',
                           f'rabbit://glint:s3cret@{broker.address}/{vhost}'], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and 's3cret' not in done.stderr
    assert 'ACCESS_REFUSED' in done.stderr


def test_declared_differently(broker, vhost):
    """It says which queue, and what to do about it."""
    with broker.client(vhost) as client:
        client.channel().queue_declare('notifications.audit', durable=True, auto_delete=False)
    done = subprocess.run([BINARY, 'notifications', 'listen', '--transport-url', broker.url(vhost)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert 'notifications.audit' in done.stderr and 'amqp_durable_queues' in done.stderr
