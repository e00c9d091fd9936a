# SPDX-License-Identifier: Apache-2.0
"""The broker is away, in every way in which a broker can be: for the API that is nothing, and nothing is lost.

Each case: rounds of 200 creates by 8 clients while the broker is well, one during which it goes away, and
as many again while it is away; every tenth image gets two changes. The numbers that one such round gave with
Glance 25.1: up to 143 of 200 events lost, requests that took 43 s.

What must hold: every request is answered, and as fast as before; the log driver goes on; one line in the
log when the trouble begins and one when it ends; after the broker's return all events come, in the order
of each image, what comes twice is the same to the octet.
"""
import http.client
import json
import re
import statistics
import threading
import time
import uuid

import pytest

from broker import BOOT_SECONDS, SmallBroker, SmallDisk
from consumers import Drain
from harness import A, read_events, wait_for

pytestmark = [pytest.mark.glint_only, pytest.mark.quiet]  # p99s, and a broker that goes and comes

CREATES, CLIENTS = 200, 8
ROUNDS = 8
GRAIN = 0.01  # seconds; p99s of 4 to 6 ms are measured no better on a machine that others use as well
RETURN = 30.0  # seconds from the broker's return until everything is there; mostly it is 2 or 3


# -- the clients ---------------------------------------------------------------------------------------

class Crowd:
    """CLIENTS that create CREATES images in all, as fast as they are answered."""

    def __init__(self, server):
        self.address = ('127.0.0.1', server.port)
        self.times, self.images, self.wrong = [], [], []
        self.lock = threading.Condition()
        self.left = CREATES
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(CLIENTS)]

    def take(self):
        with self.lock:
            self.left -= 1
            return self.left if self.left >= 0 else None

    def ask(self, connection, method, path, body, media='application/json'):
        began = time.monotonic()
        connection.request(method, path, json.dumps(body), {**A.headers(), 'Content-Type': media})
        answer = connection.getresponse()
        answer.read()
        took = time.monotonic() - began
        assert answer.status in (200, 201), answer.status
        with self.lock:
            self.times.append(took)
            self.lock.notify_all()

    def work(self):
        try:
            connection = http.client.HTTPConnection(*self.address, timeout=60)
            while (n := self.take()) is not None:
                image = str(uuid.uuid4())
                self.ask(connection, 'POST', '/v2/images', {'id': image, 'name': f'outage {n}'})
                self.images.append(image)
                for value in ('one', 'two') if n % 10 == 0 else ():
                    self.ask(connection, 'PATCH', f'/v2/images/{image}',
                             [{'op': 'replace', 'path': '/name', 'value': value}],
                             'application/openstack-images-v2.1-json-patch')
        except Exception as e:  # shown by join()
            with self.lock:
                self.wrong.append(e)
                self.lock.notify_all()

    def start(self):
        for t in self.threads:
            t.start()
        return self

    def answered(self, n):
        """Waits for the first n answers."""
        with self.lock:
            assert self.lock.wait_for(lambda: len(self.times) >= n or self.wrong, 60)
        assert not self.wrong, self.wrong[0]

    def join(self):
        for t in self.threads:
            t.join(120)
            assert not t.is_alive(), 'a request was never answered'
        assert not self.wrong, self.wrong[0]
        assert len(self.images) == CREATES
        return self


def p99(crowd):
    return sorted(crowd.times)[len(crowd.times) * 99 // 100 - 1]


# -- ways to be away -----------------------------------------------------------------------------------

class Case:
    """begin() takes the broker away; end() brings it back and returns once it answers. `lines`: is that certainly
    noticed? `seconds`: how long it is away at least."""
    lines, seconds = True, 4.0

    def __init__(self, broker, vhost):
        self.broker, self.vhost = broker, vhost


class Killed(Case):
    def begin(self):
        self.broker.kill()

    def end(self):
        self.broker.start()


class Stopped(Case):
    def begin(self):
        self.broker.stop()

    def end(self):
        self.broker.start()


class Frozen(Case):
    seconds = 6.5  # less is merely slow, and nothing to write home about

    def begin(self):
        self.broker.freeze()

    def end(self):
        self.broker.thaw()


class OutOfMemory(Case):
    def begin(self):
        self.broker.memory_alarm(True)

    def end(self):
        self.broker.memory_alarm(False)


class DiskFull(Case):
    def begin(self):
        self.broker.disk_alarm(True)

    def end(self):
        self.broker.disk_alarm(False)


class FileSystemFull(Case):
    """Not nearly: see test_file_system_full."""

    def begin(self):
        self.broker.disk.fill()
        self.ended = self.broker.process.wait(BOOT_SECONDS)

    def end(self):
        self.broker.disk.clear()
        self.broker.start()


class WrongPassword(Case):
    def begin(self):
        self.broker.set_password('another one')
        self.broker.close_connections()

    def end(self):
        self.broker.set_password(self.broker.password)


class ThrownOut(Case):
    """Connections are closed by an operator. They may come back at once."""
    lines, seconds = False, 0.0

    def begin(self):
        self.broker.close_connections()

    def end(self):
        pass


CASES = [Killed, Stopped, Frozen, OutOfMemory, DiskFull, WrongPassword, ThrownOut]


# -- what must hold ------------------------------------------------------------------------------------

def service_lines(server):
    """What the service itself says about the driver, whoever in it."""
    lines = server.log.read_text(errors='replace').splitlines()
    return [line for line in lines if ' oslo.messaging.notification.' not in line
            and re.search(r'messagingv2|rabbit|RabbitMQ|AMQP', line, re.IGNORECASE)
            and 'nobody reads queue' not in line]  # which is true


def wait_line(server, text, deadline=None):
    return wait_for(lambda: [line for line in service_lines(server) if re.search(text, line)], server.root,
                    f'line with {text!r}', deadline)


def check_lines(server, broker, certain):
    """One when it begins and one when it ends, in this order, and no password in any."""
    if certain:
        wait_line(server, 'well again')
    lines = [line for line in service_lines(server) if not re.search(r' (DEBUG) ', line)]
    if lines or certain:
        assert len(lines) == 2, '\n'.join(lines)
        assert ' WARNING ' in lines[0] and 'in trouble' in lines[0] and 'wait' in lines[0]
        assert ' INFO ' in lines[1] and 'well again' in lines[1] and re.search(r'\d+ events?', lines[1])
    assert broker.password not in '\n'.join(lines)


def check_messages(server, messages, images):
    """Nothing is missing; of an image everything comes in order; what comes twice is the same."""
    bodies, firsts = {}, {}
    for m in messages:
        if m.id in bodies:
            assert bodies[m.id] == m.body
        else:
            bodies[m.id] = m.body
            firsts.setdefault(m.payload['id'], []).append(m.id)
    journal = {}
    for row in server.journal():
        journal.setdefault(row['subject'], []).append(row['message_id'])
    assert set(journal) == images
    assert firsts == journal


def rounds(server):
    return [Crowd(server).start().join() for _ in range(ROUNDS)]


def wait_logged(server):
    """The log driver has written all that there is, although the other one could not; its message_ids."""
    wanted = {row['message_id'] for row in server.journal()}
    wait_for(lambda: wanted <= {e.doc['message_id'] for e in read_events(server.log)}, server.root, 'events in the log')
    return wanted


def durable(broker, vhost):
    """A configuration. Durable, or else what the broker has confirmed would be gone when it is killed: that is up
    to it."""
    return {'oslo_messaging_notifications': {'driver': ['messagingv2', 'log'], 'transport_url': broker.url(vhost)},
            'oslo_messaging_rabbit': {'amqp_durable_queues': 'true'}}


@pytest.fixture
def config(broker, vhost):
    return durable(broker, vhost)


def play(case, server):
    broker, vhost = case.broker, case.vhost
    Crowd(server).start().join()  # everything has been done once
    before = rounds(server)
    with Drain(broker, vhost, durable=True) as drain:
        messages = drain.ids({row['message_id'] for row in server.journal()})

    change = Crowd(server).start()
    change.answered(20)
    case.begin()
    began = time.monotonic()
    try:
        during = [change.join(), *rounds(server)]
        if case.lines:
            wait_line(server, 'in trouble')
        wanted = wait_logged(server)
        time.sleep(max(0, began + case.seconds - time.monotonic()))  # the outage has a length; this waits for nothing
    finally:
        case.end()
    back = time.monotonic()
    with Drain(broker, vhost, durable=True) as drain:
        messages = messages + drain.ids(wanted - {m.id for m in messages}, RETURN)
    late = time.monotonic() - back
    print(f'{type(case).__name__}: all there {late:.1f} s after its return; {len(messages) - len(wanted)} twice')
    check_messages(server, messages, {row['subject'] for row in server.journal()})
    check_lines(server, broker, case.lines)
    check_times(type(case).__name__, before, during)


def check_times(what, before, during):
    """The 99th percentile of a round while the broker is away against that of a round before: the median of each,
    because of a p99 of 5 ms a moment of somebody else's makes 10. The round in which the broker goes is one of
    them and has 4 to 30 ms: to stop or to die RabbitMQ takes one of two cores. That none of its requests waits for
    the broker shows in the slowest: it would wait as long as the outage lasts, 4 s and more.

    In 5 runs of every case on a quiet machine the median was 0.6 to 1.21 times that of before."""
    print(f'{what}: p99 {ms([median_p99(before)])} ms before, {ms([median_p99(during)])} ms during; of the rounds '
          f'{ms(map(p99, before))} before, {ms(map(p99, during))} during; slowest {ms([slowest(during)])} ms')
    assert median_p99(during) <= 2 * median_p99(before) + GRAIN
    assert slowest(during) < 3


def median_p99(crowds):
    return statistics.median(p99(crowd) for crowd in crowds)


def ms(values):
    return ' '.join(f'{value * 1000:.1f}' for value in values)


def slowest(crowds):
    return max(t for crowd in crowds for t in crowd.times)


@pytest.mark.parametrize('kind', CASES, ids=lambda kind: kind.__name__)
def test_outage(broker, vhost, servers, config, kind):
    play(kind(broker, vhost), servers(config))


@pytest.fixture
def small_broker(tmp_path):
    try:
        broker = SmallBroker(tmp_path / 'small broker')
    except SmallDisk.NotPermitted as e:
        pytest.skip(f'no file system of our own: {e}')
    try:
        yield broker.start()
    finally:
        broker.close()


def test_file_system_full(small_broker, servers):
    """Full to the last octet, so that not even an alarm is raised. RabbitMQ dies of that in the middle of what it
    does, and has to be started again when there is room."""
    case = FileSystemFull(small_broker, '/')
    play(case, servers(durable(small_broker, '/')))
    assert case.ended


def test_down_at_the_start(broker, vhost, servers, config):
    """Of the service: it starts all the same, and so does a second time."""
    broker.kill()
    try:
        server = servers(config)
        crowd = Crowd(server).start().join()
        wait_line(server, 'in trouble')
        server.restart()  # what waits, waits over restarts
        assert server.client(A).new()
        wanted = {row['message_id'] for row in server.journal()}
        assert len(wanted) == CREATES + 2 * CREATES // 10 + 1
    finally:
        broker.start()
    with Drain(broker, vhost, durable=True) as drain:
        messages = drain.ids(wanted, RETURN)
    assert max(crowd.times) < 3
    check_messages(server, messages, {row['subject'] for row in server.journal()})


def test_declared_differently(broker, vhost, servers, config):
    """The queue is there with other properties: 406 for whoever declares it, until somebody deletes it."""
    with broker.client(vhost) as client:
        client.channel().queue_declare('notifications.info', durable=False, auto_delete=False)
    server = servers(config)
    during = rounds(server)
    line, = wait_line(server, 'in trouble')
    assert 'notifications.info' in line and 'amqp_durable_queues' in line  # it says what, and what to do about it
    wanted = wait_logged(server)
    with broker.client(vhost) as client:
        client.channel().queue_delete('notifications.info')
    wait_line(server, 'well again', RETURN)
    with Drain(broker, vhost, durable=True) as drain:
        messages = drain.ids(wanted, RETURN)
    check_messages(server, messages, {image for crowd in during for image in crowd.images})
    check_lines(server, broker, True)
    check_times('DeclaredDifferently', rounds(server), during)  # before is after


def test_queue_deleted_by_hand(broker, vhost, servers, config):
    """While events go to it, and again. What is in it goes with it; nothing that comes later may: the broker would
    confirm it all the same."""
    server = servers(config)
    with broker.client(vhost) as client:
        channel = client.channel()
        for _ in range(3):
            crowd = Crowd(server).start()
            crowd.answered(50)
            channel.queue_delete('notifications.info')
            last = server.journal()[-1]['offset']
            crowd.join()
            Crowd(server).start().join()  # that one may have been at its end
    wanted = {row['message_id'] for row in server.journal() if row['offset'] > last}
    with Drain(broker, vhost, queues=['notifications.info']) as drain:
        messages = drain.ids(wanted, RETURN)
    late = [m.id for m in messages if m.id in wanted]
    assert list(dict.fromkeys(late)) == [row['message_id'] for row in server.journal() if row['offset'] > last]
    assert any('has no queue for' in line for line in service_lines(server))


def test_stopping_while_the_broker_is_frozen(broker, vhost, servers, config):
    """Ends in time, and delivers after the next start."""
    server = servers({**config, 'glint': {'shutdown_timeout': 2}})
    server.client(A).new()
    with Drain(broker, vhost, durable=True) as drain:
        drain.count(1)
    broker.freeze()
    try:
        image = server.client(A).new()['id']
        server.wait_events(['image.create'], image)
        began = time.monotonic()
        server.errors_expected = True  # it says that it gives up, and what becomes of the rest
        server.stop()
        assert time.monotonic() - began < 20
    finally:
        broker.thaw()
    server.start()
    server.errors_expected = True
    with Drain(broker, vhost, durable=True) as drain:
        drain.until(lambda got: [m for m in got if m.payload['id'] == image], 'image.create')


def test_a_killed_service_loses_nothing(broker, vhost, servers, config):
    """Killed while the broker is away, with everything waiting."""
    server = servers(config)
    broker.memory_alarm(True)
    Crowd(server).start().join()
    wanted = {row['message_id'] for row in server.journal()}
    server.kill9()
    broker.memory_alarm(False)
    server.start()
    with Drain(broker, vhost, durable=True) as drain:
        messages = drain.ids(wanted, RETURN)
    check_messages(server, messages, {row['subject'] for row in server.journal()})
