# SPDX-License-Identifier: Apache-2.0
"""The crash test with RabbitMQ behind it: service and broker die at random moments, KILLS / 10 times each.

Beside what test_crash.py promises of every restart, at the end the queues hold every message_id of the
journal; of an image the first deliveries are in order; and a message_id is one body, however often it came."""
import json
import os
import random
import time

import pytest

from broker import Broker
from consumers import Drain
from harness import Glint
from test_crash import CLIENTS, SEED, Account, Worker, check

KILLS = max(1, int(os.environ.get('KILLS', '50')) // 10)


@pytest.fixture
def broker(tmp_path):
    b = Broker(tmp_path / 'broker')
    try:
        yield b.start()
    finally:
        b.close()


def one_round(account, broker, rng, lives):
    """Workers at work; the broker is killed, restarted, or left alone; the service is killed."""
    server = account.server
    workers = [Worker(server, random.Random(rng.getrandbits(64)), lives[n]) for n in range(CLIENTS)]
    for w in workers:
        w.start()
    time.sleep(rng.uniform(0.0, 0.4))  # the moment: not a wait for anything
    broker.kill()
    if rng.random() < 0.7:  # else it stays away over the service's next start
        broker.start(wait=rng.random() < 0.5)
    time.sleep(rng.uniform(0.0, 1.0))
    server.kill9()
    for w in workers:
        w.join(60)
        assert not w.is_alive()
        assert w.wrong is None, w.wrong
    server.start()
    if broker.process is None:
        broker.start(wait=False)
    check(account, [life for group in lives for life in group])


def check_queues(broker, journal):
    wanted = {row['message_id'] for row in journal}
    with Drain(broker, durable=True) as drain:
        messages = drain.ids(wanted, 60)
    bodies, order = {}, {}
    for m in messages:
        if bodies.setdefault(m.id, m.body) is m.body:
            order.setdefault(m.routing_key, []).append(m.id)
        assert bodies[m.id] == m.body
    assert set(bodies) == wanted
    for key, priority in (('notifications.info', 'INFO'), ('notifications.error', 'ERROR')):
        check_order(order.get(key, []), [row for row in journal if row['priority'] == priority])


def check_order(ids, journal):
    """Of each image; between images there is no order after a reconnect."""
    subject = {row['message_id']: row['subject'] for row in journal}
    by_image, expected = {}, {}
    for i in ids:
        by_image.setdefault(subject[i], []).append(i)
    for row in journal:
        expected.setdefault(row['subject'], []).append(row['message_id'])
    assert by_image == expected


def test_kill_9_of_both(tmp_path, broker):
    print(f'CRASH_SEED={SEED} KILLS={KILLS}')
    rng = random.Random(SEED + 2)
    server = Glint(tmp_path / 'server', {
        'oslo_messaging_notifications': {'driver': ['messagingv2', 'log'], 'transport_url': broker.url()},
        'oslo_messaging_rabbit': {'amqp_durable_queues': 'true'}}).start()
    account, lives = Account(server), [[] for _ in range(CLIENTS)]
    try:
        for n in range(KILLS):
            try:
                one_round(account, broker, rng, lives)
            except AssertionError as e:
                raise AssertionError(f'after kill {n + 1} with CRASH_SEED={SEED}: {e}') from e
        if broker.process:
            broker.wait_up()
        journal = server.journal()
        check_queues(broker, journal)
        status = json.loads(server.run('notifications', 'status', '--json').stdout)
        assert {d['driver']: d['behind'] for d in status['drivers']} == {'log': 0, 'messagingv2': 0}
        server.stop()
    finally:
        if server.process:
            server.kill9()
