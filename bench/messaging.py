#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure how glint brings its notifications to RabbitMQ and Kafka, beside the least that does the same.

What is measured and how: README.md beside this file. Prints a table and writes results-messaging.json.
Nothing listens but on loopback; everything started here is stopped, everything written is removed again.
"""
import argparse
import contextlib
import json
import multiprocessing
import re
import selectors
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / 'tests' / 'e2e')]

import amqp  # noqa: E402
from bench import machine, print_table  # noqa: E402
from broker import Broker  # noqa: E402
from servers import Glint as Server, write_config  # noqa: E402
from wire import Connection  # noqa: E402

DRIVER, QUEUE = 'messagingv2', 'notifications.info'
WINDOW = 2000  # messages that the bare publisher has under way; more makes it no faster
IMAGE = {'name': 'bench', 'disk_format': 'raw', 'container_format': 'bare', 'tags': ['bench', 'debian'],
         'os_distro': 'debian', 'os_version': '12', 'hw_disk_bus': 'virtio', 'hw_vif_model': 'virtio',
         'hw_machine_type': 'q35', 'architecture': 'x86_64'}
DELIVERED = re.compile(rb'^glint_notifications_delivered_total\{driver="' + DRIVER.encode() + rb'"\} (\d+)$',
                       re.MULTILINE)


# -- glint --------------------------------------------------------------------------------------------

class Glint(Server):
    def __init__(self, directory, program, transport_url):
        super().__init__(directory, program)
        write_config(self.config, {
            'DEFAULT': {'log_file': self.directory / 'glint.log'},
            'database': {'connection': f'sqlite:///{self.database}'},
            'glance_store': {'filesystem_store_datadir': self.directory / 'images'},
            'oslo_messaging_notifications': {'driver': DRIVER, 'transport_url': transport_url},
            'paste_deploy': {'flavor': ''}})

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_delivered(self, n, samples=None):
        """Until that driver has delivered so many since the start. Appends (when, how many) to `samples`."""
        end = time.monotonic() + 120
        with Connection(self.address) as connection:
            while time.monotonic() < end:
                found = DELIVERED.search(connection.call('GET', '/metrics')[1])
                done = int(found.group(1)) if found else 0
                if samples is not None:
                    samples.append((time.monotonic(), done))
                if done >= n:
                    return
                time.sleep(0.02)
        raise RuntimeError(f'{done} of {n} notifications arrived; {self.last_words()}')

    def make_event(self):
        """One image.update of an image like any other."""
        with Connection(self.address) as connection:
            status, answer = connection.call('POST', '/v2/images', IMAGE)
            if status != 201:
                raise RuntimeError(f'creating an image: {status}')
            path = f'/v2/images/{json.loads(answer)["id"]}/tags/more'
            if connection.call('PUT', path)[0] != 204:
                raise RuntimeError('changing an image')


def fill_journal(database, n):
    """So many copies of the last event, each with offset, seq and message_id of its own."""
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        db.execute("""
            WITH RECURSIVE
              last AS (SELECT * FROM glint_events ORDER BY offset DESC LIMIT 1),
              k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < ?)
            INSERT INTO glint_events (offset, timestamp, n_bytes, starts, priority, seq, subject, event_type,
                                      message_id, request_id, user_id, project_id, payload)
            SELECT offset + i, timestamp + i, n_bytes, starts + i * n_bytes, priority, seq + i, subject, event_type,
                   printf('%s%012x', substr(message_id, 1, 24), i), request_id, user_id, project_id, payload
            FROM last, k""", (n,))
        db.execute('UPDATE glint_sequences SET last = last + ?', (n,))


# -- how many a second --------------------------------------------------------------------------------

class Rabbit:
    """The relay and its yardsticks, each time into a virtual host, and so into a queue, that is new."""

    def __init__(self, args, broker, directory):
        self.args, self.broker, self.directory = args, broker, directory
        self.n_runs = 0

    @contextlib.contextmanager
    def vhost(self):
        self.n_runs += 1
        name = f'bench{self.n_runs}'
        self.broker.add_vhost(name)
        try:
            yield name
        finally:
            self.broker.call(f'rabbit_vhost:delete(<<"{name}">>, <<"bench">>)')

    def glint(self, vhost):
        return Glint(self.directory / f'glint-{vhost}', self.args.glint, self.broker.url(vhost))

    def sample(self):
        """(payload, body of the message) of one event, as glint makes it."""
        with self.vhost() as vhost, self.glint(vhost) as glint:
            glint.make_event()
            glint.wait_delivered(2)
            with contextlib.closing(sqlite3.connect(glint.database)) as db:
                payload = db.execute('SELECT payload FROM glint_events ORDER BY offset DESC').fetchone()[0]
            with self.broker.client(vhost) as client:
                bodies = [client.channel(1).basic_get(QUEUE, no_ack=True).body.encode() for _ in range(2)]
        return payload, bodies[-1]

    def relay(self, n):
        """Events a second, from the first confirm to the last, of a journal that is full at the start."""
        with self.vhost() as vhost:
            glint = self.glint(vhost)
            with glint:
                glint.make_event()
                glint.wait_delivered(2)
            fill_journal(glint.database, n)
            samples = []
            with glint:
                glint.wait_delivered(n, samples)
            arrived = int(self.broker.call(
                f'rabbit_amqqueue:with(rabbit_misc:r(<<"{vhost}">>, queue, <<"{QUEUE}">>), '
                'fun(Q) -> element(2, hd(rabbit_amqqueue:info(Q, [messages]))) end)'))
            shutil.rmtree(glint.directory)
        if arrived < n:
            raise RuntimeError(f'{arrived} of {n} messages are in the queue')
        return between(samples)

    def bare(self, n, body):
        with self.vhost() as vhost:
            host, port = self.broker.address.split(':')
            out = subprocess.run([self.args.rabbit_bare, host, port, self.broker.USER, self.broker.password, vhost,
                                  str(n), str(WINDOW)], input=body, stdout=subprocess.PIPE, check=True)
        return n / float(out.stdout)

    def oslo(self, n, payload):
        with self.vhost() as vhost:
            out = subprocess.run(['/usr/bin/python3', HERE / 'oslo_notifier.py', self.broker.url(vhost), str(n)],
                                 input=payload, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                 check=True)
        return n / float(out.stdout)


def between(samples):
    """What was done a second between the first sample with anything in it and the first with everything."""
    began, first = next(s for s in samples if s[1] > 0)
    ended, last = samples[-1]
    return (last - first) / (ended - began)


# -- how late -----------------------------------------------------------------------------------------

def take(broker_address, user, password, vhost, n, out):
    """A consumer in a process of its own: notes when each message came, and understands it afterwards."""
    arrivals = []
    with amqp.Connection(host=broker_address, userid=user, password=password, virtual_host=vhost) as connection:
        channel = connection.channel(1)
        channel.basic_consume(QUEUE, no_ack=True, callback=lambda m: arrivals.append((time.time(), m.body)))
        out.send('ready')
        with contextlib.suppress(socket.timeout):
            while len(arrivals) < n:
                connection.drain_events(timeout=20)
    out.send([when - sent_at(body) for when, body in arrivals])


def sent_at(body):
    document = json.loads(json.loads(body)['oslo.message'])
    return datetime.fromisoformat(document['timestamp']).replace(tzinfo=timezone.utc).timestamp()


class Pacer:
    """Creates images at an even pace over several connections, whatever the answers do."""
    CONNECTIONS = 32

    def __init__(self, address):
        body = json.dumps(IMAGE).encode()
        self.request = (b'POST /v2/images HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
                        b'Content-Length: %d\r\n\r\n%s' % (len(body), body))
        self.sockets = [socket.create_connection(address) for _ in range(self.CONNECTIONS)]
        self.free, self.selector, self.bad = list(self.sockets), selectors.DefaultSelector(), 0
        self.asked, self.took = {}, []  # when, on which socket; seconds to the answers
        for s in self.sockets:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(s, selectors.EVENT_READ)

    def answers(self, seconds):
        for key, _ in self.selector.select(max(0.0, seconds)):
            self.bad += not key.fileobj.recv(65536).startswith(b'HTTP/1.1 201 ')
            self.took.append(time.monotonic() - self.asked[key.fileobj])
            self.free.append(key.fileobj)

    def run(self, a_second, n):
        """Requests a second that it came to."""
        began = time.monotonic()
        for i in range(n):
            while not self.free or time.monotonic() < began + i / a_second:
                self.answers(began + i / a_second - time.monotonic() if self.free else 1)
            self.asked[self.free[0]] = time.monotonic()
            self.free.pop(0).sendall(self.request)
        took = time.monotonic() - began
        while len(self.free) < self.CONNECTIONS:
            self.answers(10)
        if self.bad:
            raise RuntimeError(f'{self.bad} of {n} requests failed')
        return n / took

    def close(self):
        self.selector.close()
        for s in self.sockets:
            s.close()


def lateness(rabbit, a_second, n):
    """Seconds from the event to its arrival, seconds to the answers, both ascending; the pace that was kept."""
    with rabbit.vhost() as vhost, rabbit.glint(vhost) as glint:
        with contextlib.closing(Pacer(glint.address)) as pacer:
            pacer.run(a_second, 200)  # everybody warm, the queue there
            glint.wait_delivered(200)
            with rabbit.broker.client(vhost) as client:
                client.channel(1).queue_purge(QUEUE)
            here, there = multiprocessing.Pipe()
            consumer = multiprocessing.Process(target=take, args=(
                rabbit.broker.address, rabbit.broker.USER, rabbit.broker.password, vhost, n, there))
            consumer.start()
            try:
                if here.recv() != 'ready':
                    raise RuntimeError('the consumer does not start')
                pacer.took.clear()
                pace = pacer.run(a_second, n)
                answers = sorted(pacer.took)
                late = sorted(here.recv())
            finally:
                consumer.join(30)
    if len(late) != n:
        raise RuntimeError(f'{len(late)} of {n} messages arrived')
    return late, answers, pace


# -- the run ------------------------------------------------------------------------------------------

def note(what, text):
    print(f'{what:<24} {text}', file=sys.stderr, flush=True)


def percentiles(seconds):
    """Milliseconds."""
    return {name: round(seconds[len(seconds) * share // 1000] * 1e3, 2)
            for name, share in (('p50', 500), ('p90', 900), ('p99', 990), ('p99.9', 999))}


def measure_rabbit(rabbit, args):
    payload, body = rabbit.sample()
    relay, bare, oslo = [], [], []
    for _ in range(args.rounds):  # in turn, so that all meet the same weather
        bare.append(rabbit.bare(args.events, body))
        relay.append(rabbit.relay(args.events))
        oslo.append(rabbit.oslo(args.events // 10, payload))
        note('into RabbitMQ', f'relay {relay[-1]:,.0f} /s, bare {bare[-1]:,.0f} /s, oslo.messaging {oslo[-1]:,.0f} /s')
    late, answers, pace = lateness(rabbit, args.pace, args.pace * 10)
    result = {'body': len(body), 'relay': statistics.median(relay), 'bare': statistics.median(bare),
              'oslo': statistics.median(oslo), 'pace': pace,
              'ratio': statistics.median(r / b for r, b in zip(relay, bare)),
              'oslo_ratio': statistics.median(r / o for r, o in zip(relay, oslo)),
              'arrival': percentiles(late), 'answer': percentiles(answers),
              'runs': {'relay': relay, 'bare': bare, 'oslo': oslo}}
    note('arrival', str(result['arrival']))
    return result


def measure_kafka(args, directory):
    out = subprocess.run([args.kafka_bench, str(args.events), str(args.rounds)], cwd=directory, capture_output=True,
                         text=True, check=True)
    result = json.loads(out.stdout)
    note('into Kafka', f'relay {result["relay"]:,.0f} /s, bare producer {result["bare"]:,.0f} /s')
    return result


def rows(results):
    rabbit, kafka = results.get('rabbit'), results.get('kafka')
    if rabbit:
        yield ('into RabbitMQ', f'{rabbit["relay"]:,.0f} /s', 'bare publisher', f'{rabbit["bare"]:,.0f} /s',
               f'{rabbit["ratio"]:.2f} x', '>= 0.9')
        yield ('into RabbitMQ', f'{rabbit["relay"]:,.0f} /s', 'oslo.messaging', f'{rabbit["oslo"]:,.0f} /s',
               f'{rabbit["oslo_ratio"]:.1f} x', '>= 8')
    if kafka:
        yield ('into Kafka', f'{kafka["relay"]:,.0f} /s', 'bare producer', f'{kafka["bare"]:,.0f} /s',
               f'{kafka["ratio"]:.2f} x', '')
    if rabbit:
        for p in ('p50', 'p99'):
            yield (f'arrival at {rabbit["pace"]:,.0f} /s, {p}', f'{rabbit["arrival"][p]:.1f} ms', 'answer to the request',
                   f'{rabbit["answer"][p]:.1f} ms', '', '')


def run(args, directory):
    results = {}
    if args.rabbit_bare.exists():
        broker = Broker(directory / 'broker')
        try:
            results['rabbit'] = measure_rabbit(Rabbit(args, broker.start(), directory), args)
        finally:
            broker.close()
    if args.kafka_bench.exists():
        results['kafka'] = measure_kafka(args, directory)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', type=Path, default='build-bench', help='where it was built (default: %(default)s)')
    parser.add_argument('--events', type=int, default=30_000, help='to deliver (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='of each rate; the median counts (default: %(default)s)')
    parser.add_argument('--pace', type=int, default=1000, help='events a second, for the arrival (default: %(default)s)')
    parser.add_argument('--directory', default=ROOT, help='where to work: on the disk in question')
    args = parser.parse_args()
    build = args.build.resolve()
    args.glint = build / 'glint'
    args.rabbit_bare, args.kafka_bench = build / 'bench/bench_rabbit', build / 'bench/bench_kafka'

    where = machine()
    directory = Path(tempfile.mkdtemp(prefix='build-bench-', dir=args.directory))
    try:
        results = run(args, directory)
    except (RuntimeError, AssertionError, OSError, sqlite3.Error, subprocess.CalledProcessError) as e:
        print(f'bench: {e}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print_table(rows(results))
    (HERE / 'results-messaging.json').write_text(
        json.dumps({'machine': where, 'results': results}, indent=1, default=str) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
