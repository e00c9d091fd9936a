# SPDX-License-Identifier: Apache-2.0
"""Those who read what glint publishes: oslo.messaging's listener, ceilometer's agent, and a plain AMQP
client that shows what is really in the queues."""
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import amqp

from harness import DEADLINE, wait_for, write_config

HERE = Path(__file__).resolve().parent


# -- plain AMQP ----------------------------------------------------------------------------------------

@dataclass
class Message:
    """What is in the queue, exactly."""
    exchange: str
    routing_key: str
    redelivered: bool
    properties: dict
    body: bytes

    @property
    def envelope(self):
        """The body as JSON: an envelope (format 2.0) or the document itself (format 1.0)."""
        return json.loads(self.body)

    @property
    def format(self):
        return self.envelope.get('oslo.version', '1.0')

    @property
    def doc(self):
        outer = self.envelope
        return json.loads(outer['oslo.message']) if 'oslo.message' in outer else outer

    id = property(lambda self: self.doc['message_id'])
    payload = property(lambda self: self.doc['payload'])


class Drain:
    """Takes what is in the queues of `topics`, bodies and properties as they are."""
    PRIORITIES = ['info', 'warn', 'error']

    def __init__(self, broker, vhost='/', topics=('notifications',), durable=False, queues=None, password=None):
        self.queues = queues or [f'{t}.{p}' for t in topics for p in self.PRIORITIES]
        self.messages = []
        self.connection = amqp.Connection(
            host=broker.address, userid=broker.USER, password=password or broker.password, virtual_host=vhost,
            connect_timeout=DEADLINE, heartbeat=0)
        self.connection.connect()
        self.channel = self.connection.channel()
        self.channel.auto_decode = False
        if not queues:
            self.declare(durable)

    def declare(self, durable):
        self.channel.exchange_declare('glance', 'topic', durable=durable, auto_delete=False)
        for queue in self.queues:
            self.channel.queue_declare(queue, durable=durable, auto_delete=False)
            self.channel.queue_bind(queue, 'glance', queue)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.connection.collect()

    def take(self, m):
        body = m.body if isinstance(m.body, bytes) else m.body.encode()
        info = m.delivery_info
        self.messages.append(Message(info['exchange'], info['routing_key'], info['redelivered'],
                                     dict(m.properties), body))
        self.channel.basic_ack(info['delivery_tag'])

    def until(self, enough, what, deadline=None):
        """Consumes until enough(messages so far) is true; a first true value is returned."""
        for queue in self.queues:
            self.channel.basic_consume(queue, callback=self.take)
        end = time.monotonic() + (deadline or DEADLINE)
        while not (value := enough(self.messages)):
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f'no {what} within {deadline or DEADLINE:.0f} s; {len(self.messages)} came')
            try:
                self.connection.drain_events(timeout=left)
            except socket.timeout:
                pass
        return value

    def count(self, n, deadline=None):
        self.until(lambda got: len(got) >= n, f'{n} messages', deadline)
        return self.messages

    def ids(self, wanted, deadline=None):
        """Until every message_id of `wanted` has come."""
        seen, looked = set(), [0]

        def all_there(got):
            seen.update(m.id for m in got[looked[0]:])
            looked[0] = len(got)
            return wanted <= seen
        try:
            self.until(all_there, f'{len(wanted)} events', deadline)
        except AssertionError as e:
            raise AssertionError(f'{len(wanted - seen)} of {len(wanted)} events have not come: {e}') from None
        return self.messages


# -- processes -----------------------------------------------------------------------------------------

class Child:
    """A process that is told to end and must."""

    def spawn(self, command, **kwargs):
        with open(self.stderr, 'ab') as err:
            self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stderr=err, **kwargs)

    def said(self):
        return self.stderr.read_text(errors='replace')

    def stop(self):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def json_lines(path):
    """Those that are complete."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b'\n')[:-1]]


class Listener(Child):
    """oslo.messaging's."""

    def __init__(self, root, url, *arguments):
        root.mkdir(parents=True, exist_ok=True)
        self.out, self.stdout, self.stderr = root / 'events', root / 'stdout', root / 'stderr'
        with open(self.stdout, 'wb') as out:
            self.spawn([sys.executable, HERE / 'oslo_listener.py', self.out, url, *arguments], stdout=out)
        try:
            wait_for(self.ready, root, 'listener')
        except AssertionError:
            self.stop()
            raise

    def ready(self):
        assert self.process.poll() is None, self.said()
        return self.stdout.read_text() == 'ready\n'

    def events(self):
        return json_lines(self.out)

    def wait(self, n, deadline=None):
        wait_for(lambda: len(self.events()) >= n, self.out.parent, f'{n} notifications', deadline)
        return self.events()

    def complaints(self):
        return [line for line in self.said().splitlines() if line.startswith('complaint:')]


PIPELINE = '''---
sources:
    - name: {kind}_source
      {kind}s:
          - "{which}"
      sinks:
          - {kind}_sink
sinks:
    - name: {kind}_sink
      publishers:
          - {publisher}
'''


class Posted:
    """A web server that keeps what is posted to it."""

    def __init__(self):
        self.documents, self.came = [], threading.Condition()
        keeper = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers['Content-Length']))
                with keeper.came:
                    keeper.documents += json.loads(body)
                    keeper.came.notify_all()
                self.send_response(200)
                self.send_header('Content-Length', '0')
                self.end_headers()

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}/'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, n, deadline):
        with self.came:
            assert self.came.wait_for(lambda: len(self.documents) >= n, deadline), f'{len(self.documents)} of {n} came'
            return list(self.documents)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Ceilometer(Child):
    """ceilometer-agent-notification as Debian has it. The samples that it makes of notifications it writes
    to a file; the events, for which it has no such publisher, it posts to us."""

    def __init__(self, root, url):
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.stderr, self.samples_file = root, root / 'stderr', root / 'samples'
        self.posted = Posted()
        config = root / 'ceilometer.conf'
        for name, kind, publisher in (('pipeline', 'meter', f'file://{self.samples_file}?json'),
                                      ('event_pipeline', 'event', self.posted.url)):
            (root / f'{name}.yaml').write_text(PIPELINE.format(kind=kind, which='image.*', publisher=publisher))
        write_config(config, {
            'DEFAULT': {'pipeline_cfg_file': root / 'pipeline.yaml', 'use_stderr': True, 'state_path': root,
                        'event_pipeline_cfg_file': root / 'event_pipeline.yaml'},
            'notification': {'messaging_urls': url, 'notification_control_exchanges': 'glance'},
            'event': {'store_raw': ['info', 'error']},
            'oslo_concurrency': {'lock_path': root},
        })
        self.spawn(['ceilometer-agent-notification', '--config-file', config], cwd=root,
                   stdout=subprocess.DEVNULL, start_new_session=True)

    def wait_samples(self, n):
        """It takes some seconds to start, more than the broker on a busy machine."""
        def there():
            assert self.process.poll() is None, self.said()[-2000:]
            found = json_lines(self.samples_file)
            return found if len(found) >= n else None
        return wait_for(there, self.root, f'{n} samples', 2 * DEADLINE)

    def wait_events(self, n):
        return self.posted.wait(n, 2 * DEADLINE)

    def stop(self):
        """Its workers are its children; they end with it."""
        super().stop()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.posted.close()
