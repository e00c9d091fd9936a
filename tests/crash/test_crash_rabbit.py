# SPDX-License-Identifier: Apache-2.0
"""The crash test with RabbitMQ behind it: lives and imports, the log and the messaging driver, and both the service
and the broker in trouble at random moments, KILLS / 20 times. The service is killed; the broker is killed,
stopped, frozen until after the service's next start, or left alone.

Beside what test_crash.py and test_crash_import.py promise of every restart, once the broker is well again, each
round, the queues hold every message_id of the journal; of an image or a task the first deliveries are in order;
and a message_id is one body, however often it came."""
import json
import random
import sqlite3
import time

import pytest

import test_crash
import test_crash_import
from broker import Broker
from consumers import Drain
from test_crash import CLIENTS, KILLS, SEED, Account
from victim import Victim, check_house, check_records, check_staging, check_stores, two_stores

N_ROUNDS = max(2, KILLS // 20)


@pytest.fixture
def broker(tmp_path):
    b = Broker(tmp_path / 'broker')
    try:
        yield b.start()
    finally:
        b.close()


@pytest.fixture
def source():
    s = test_crash_import.Source()
    yield s
    s.shutdown()


# -- trouble -------------------------------------------------------------------------------------------

def trouble(broker, rng):
    """What is done to the broker, and how it comes back later; both are said."""
    kinds = {'killed': (broker.kill, lambda: broker.start(wait=False)), 'stopped': (broker.stop, lambda: broker.start(wait=False)),
             'frozen': (broker.freeze, broker.thaw), 'left alone': (lambda: None, lambda: None)}
    what = rng.choice(sorted(kinds))
    return what, *kinds[what]


class Known:
    """What the clients know of their images, in both kinds of work."""

    def __init__(self):
        self.lives = [[] for _ in range(CLIENTS)]
        self.imports = {'images': set(), 'deleted': set(), 'tasks': set(), 'imports': []}

    def workers(self, server, source, rng):
        seeds = [random.Random(rng.getrandbits(64)) for _ in range(CLIENTS)]
        half = CLIENTS // 2
        return [test_crash.Worker(server, seeds[n], self.lives[n]) for n in range(half)] + \
            [test_crash_import.Worker(server, source, seed, self.imports) for seed in seeds[half:]]


def check_service(account, known):
    """Each account for its own: what the importers did is not in the lives, and the other way round."""
    account.read_journal()
    lives = [life for group in known.lives for life in group]
    mine = {life.id for life in lives}
    db = sqlite3.connect(account.server.database)
    for life in lives:
        test_crash.check_life(account, life)
        test_crash.check_record(db, life)
    kinds = {s: [test_crash.short(r) for r in rows] for s, rows in account.rows.items() if s not in mine}
    for subject, events in kinds.items():
        if events[0].startswith('task.'):
            test_crash_import.check_task(subject, events)
        else:
            test_crash_import.check_image(subject, events, known.imports)
    assert known.imports['images'] | known.imports['tasks'] <= set(kinds)
    db.close()
    check_stores(account.server)
    check_staging(account.server)
    account.check_log()


# -- the queues ----------------------------------------------------------------------------------------

class Queues:
    """What has come out of them so far."""

    def __init__(self, broker):
        self.broker = broker
        self.bodies, self.order = {}, {}

    def take(self, wanted):
        """Until every one of `wanted` has come; all that is there is taken, since nothing else may be."""
        with Drain(self.broker, durable=True) as drain:
            drain.ids(wanted - set(self.bodies), 60)
            for m in drain.messages:
                if m.id not in self.bodies:
                    self.order.setdefault((m.routing_key), []).append(m.id)
                assert self.bodies.setdefault(m.id, m.body) == m.body, m.id

    def check(self, journal):
        self.take({row['message_id'] for row in journal})
        assert set(self.bodies) <= {row['message_id'] for row in journal}
        for key, priority in (('notifications.info', 'INFO'), ('notifications.error', 'ERROR')):
            check_order(self.order.get(key, []), [row for row in journal if row['priority'] == priority])


def check_order(ids, journal):
    """Of each subject; between subjects there is no order after a reconnect."""
    subject = {row['message_id']: row['subject'] for row in journal}
    by_subject, expected = {}, {}
    for i in ids:
        by_subject.setdefault(subject[i], []).append(i)
    for row in journal:
        expected.setdefault(row['subject'], []).append(row['message_id'])
    assert by_subject == expected


# -- rounds --------------------------------------------------------------------------------------------

def one_round(account, broker, source, queues, known, rng):
    server = account.server
    what, begin, end = trouble(broker, rng)
    print(f'broker {what}')
    workers = known.workers(server, source, rng)
    for w in workers:
        w.start()
    time.sleep(rng.uniform(0.0, 0.4))  # the moment of the trouble: not a wait for anything
    begin()
    early = rng.random() < 0.5
    if early:
        end()
    time.sleep(rng.uniform(0.0, 0.6))  # the moment of the kill
    server.kill9()
    for w in workers:
        w.join(60)
        assert not w.is_alive()
        assert w.wrong is None, w.wrong
    server.start()
    test_crash_import.wait_until_idle(server)  # whatever the broker does
    check_service(account, known)
    if not early:
        end()
    broker.wait_up()
    check_house(server)
    check_records(server)
    queues.check(server.journal())


def test_c7_kill_9_of_both(tmp_path, broker, source):
    print(f'CRASH_SEED={SEED} KILLS={KILLS}')
    rng = random.Random(SEED + 2)
    config = two_stores(tmp_path / 'server')
    config.update({'oslo_messaging_notifications': {'driver': ['messagingv2', 'log'], 'transport_url': broker.url()},
                   'oslo_messaging_rabbit': {'amqp_durable_queues': 'true'}})
    server = Victim(tmp_path / 'server', config).start()
    account, known, queues = Account(server), Known(), Queues(broker)
    try:
        for n in range(N_ROUNDS):
            try:
                one_round(account, broker, source, queues, known, rng)
            except AssertionError as e:
                raise AssertionError(f'after kill {n + 1} with CRASH_SEED={SEED}: {e}') from e
        status = json.loads(server.run('notifications', 'status', '--json').stdout)
        assert {d['driver']: d['behind'] for d in status['drivers']} == {'log': 0, 'messagingv2': 0}
        server.stop()
    finally:
        if server.process:
            server.kill9()
