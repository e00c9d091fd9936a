# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments of random lives, KILLS times (200), and what must hold after each restart:

(1) Every change that was answered is there, and its events are in the journal; a change that was not
    answered is there with its events, or not at all.
(2) Per image the events tell one possible life, in order, with seq 1, 2, 3 ... without a gap, and the
    record says what the last of them says.
(3) No image is left in `saving`; an upload that was cut off has its ERROR and is queued again.
(4) The store has the bytes of the active images, whole, and nothing else.
(5) The log file has every message_id of the journal at least once; a message_id is one event.

What happens is random; CRASH_SEED (printed) repeats the choices, though not the interleaving."""
import hashlib
import json
import os
import random
import sqlite3
import threading
import time

import requests

from harness import A, B, Client, Glint, parse_events, pattern, wait_for

KILLS = int(os.environ.get('KILLS', '200'))
SEED = int(os.environ.get('CRASH_SEED', str(random.SystemRandom().getrandbits(32))))
CLIENTS = 4
DATA = pattern(3 << 20)
SAVING = ['image.update(saving)', 'image.prepare']
UPLOADED = ['image.upload', 'image.activate', 'image.update(active)']
GAVE_UP = ['ERROR image.upload', 'image.update(queued)']


class Gone(Exception):
    """The server died under this request: nobody knows whether it took effect."""


class Life:
    """One image as its client knows it. `sure` is the events of the changes that were answered;
    `maybe` those of the one change that was not."""

    def __init__(self):
        self.id = None
        self.sure, self.maybe = [], []
        self.status, self.data, self.member = None, None, None
        self.properties = 0
        self.over = False
        self.buried = False  # over, and found to be so


class Worker(threading.Thread):
    """Leads one image after the other through a random life until the server dies."""

    def __init__(self, server, rng, lives):
        super().__init__(daemon=True)
        self.rng, self.lives = rng, lives
        self.client, self.other = Client(server, A), Client(server, B)
        self.wrong = None

    def run(self):
        try:
            while True:
                alive = [l for l in self.lives if not l.over]
                self.step(self.rng.choice(alive) if len(alive) > 3 or alive and self.rng.random() < 0.8 else None)
        except Gone:
            pass
        except Exception as e:  # shown by the test
            self.wrong = e

    def ask(self, life, events, send):
        """One change: its events are possible once it is sent, and certain once it is answered."""
        life.maybe = events
        try:
            r = send()
        except requests.RequestException as e:
            raise Gone from e
        assert r.status_code < 300, f'{r.request.method} {r.request.path_url}: {r.status_code} {r.text}'
        life.sure += events
        life.maybe = []
        return r

    def step(self, life):
        if life is None:
            return self.create()
        choices = [self.patch, self.tag, self.delete, self.share]
        if life.status == 'queued':
            choices += [self.upload] * 6
        if life.status == 'active':
            choices += [self.deactivate, self.download]
        if life.status == 'deactivated':
            choices += [self.reactivate] * 2
        if life.member:
            choices += [self.accept, self.unshare]
        self.rng.choice(choices)(life)

    def create(self):
        life = Life()
        life.id = '%08x-%04x-4%03x-8%03x-%012x' % tuple(self.rng.getrandbits(n) for n in (32, 16, 12, 12, 48))
        self.lives.append(life)
        self.ask(life, ['image.create'], lambda: self.client.create(
            id=life.id, name='crash', disk_format='raw', container_format='bare'))
        life.status = 'queued'

    def upload(self, life):
        life.data = DATA[:self.rng.choice([0, 1000, 300_000, len(DATA)])]
        self.ask(life, SAVING + UPLOADED, lambda: self.client.upload(life.id, life.data))
        life.status = 'active'

    def patch(self, life):
        self.ask(life, [f'image.update({life.status})'], lambda: self.client.patch(
            life.id, {'op': 'add', 'path': f'/key{life.properties}', 'value': 'v'}))
        life.properties += 1

    def tag(self, life):
        self.ask(life, [f'image.update({life.status})'],
                 lambda: self.client.put(f'/v2/images/{life.id}/tags/t{self.rng.randint(0, 5)}'))

    def deactivate(self, life):
        self.ask(life, ['image.update(deactivated)'], lambda: self.client.action(life.id, 'deactivate'))
        life.status = 'deactivated'

    def reactivate(self, life):
        self.ask(life, ['image.update(active)', 'image.activate'], lambda: self.client.action(life.id, 'reactivate'))
        life.status = 'active'

    def share(self, life):
        if not life.member:
            self.ask(life, ['image.member.create'], lambda: self.client.share(life.id, B.project))
            life.member = 'pending'

    def accept(self, life):
        self.ask(life, ['image.member.update'], lambda: self.other.answer_share(life.id, B.project, 'accepted'))

    def unshare(self, life):
        self.ask(life, ['image.member.delete'],
                 lambda: self.client.delete(f'/v2/images/{life.id}/members/{B.project}'))
        life.member = None

    def download(self, life):
        """image.send comes when the bytes are out, so it is left out of the account."""
        try:
            r = self.client.download(life.id)
        except requests.RequestException as e:
            raise Gone from e
        if len(r.content) < int(r.headers['Content-Length']):  # requests thinks nothing of it
            raise Gone
        assert r.status_code == 200 and r.content == life.data

    def delete(self, life):
        if self.rng.random() < 0.5:
            self.ask(life, ['image.delete'], lambda: self.client.remove(life.id))
            life.over = True


# -- what must hold ------------------------------------------------------------------------------------

def short(row):
    text = row['event_type'] if row['priority'] == 'INFO' else f"{row['priority']} {row['event_type']}"
    if row['event_type'] == 'image.update':
        text += f"({row['payload']['status']})"
    return text


def whole(life, events):
    """Of an upload, 'saving' and 'prepare' are one transaction, and what follows another; the rest of a
    change is all of it or nothing."""
    if life.maybe[:2] == SAVING:
        return events in (life.sure, life.sure + SAVING + UPLOADED, life.sure + SAVING + GAVE_UP)
    return events in (life.sure, life.sure + life.maybe)


class Account:
    """The journal and the log file as they have been read so far: each round reads only what is new."""

    def __init__(self, server):
        self.server = server
        self.offset, self.log_at = 0, 0
        self.ids = {}  # message_id -> event_type, in the order of the journal
        self.told = {}  # message_id -> document, in the order of first delivery
        self.rows = {}  # image -> its rows, image.send left out
        self.seq = {}  # image -> the last one
        self.counts = {}

    def read_journal(self):
        out = self.server.run('notifications', 'tail', '--from', str(self.offset + 1), '-n', 'all', '--json').stdout
        for line in out.splitlines():
            self.add(json.loads(line))

    def add(self, row):
        image = row['subject']
        assert row['offset'] > self.offset and row['message_id'] not in self.ids
        assert row['seq'] == self.seq.get(image, 0) + 1, row
        self.offset, self.seq[image] = row['offset'], row['seq']
        self.ids[row['message_id']] = row['event_type']
        self.counts[short(row)] = self.counts.get(short(row), 0) + 1
        if row['event_type'] != 'image.send':
            self.rows.setdefault(image, []).append(row)

    def read_log(self):
        """True once everything in the journal has been told."""
        with open(self.server.log, 'rb') as f:
            f.seek(self.log_at)
            new = f.read()
        new = new[:new.rfind(b'\n') + 1]
        self.log_at += len(new)
        for event in parse_events(new, torn=True):
            assert self.told.setdefault(event.doc['message_id'], event.doc) == event.doc
        return len(self.told) >= len(self.ids)

    def check_log(self):
        """Everything was told, in the order of the journal, and nothing else."""
        wait_for(self.read_log, self.server.root, 'complete log file')
        assert list(self.told) == list(self.ids)
        assert all(self.told[i]['event_type'] == kind for i, kind in self.ids.items())


def settle_account(life, events, rows):
    """The client learns what has become of the change that was not answered."""
    life.sure, life.maybe = events, []
    last = next((r for r in reversed(rows) if isinstance(r['payload'], dict) and 'is_public' in r['payload']), None)
    life.status = last['payload']['status'] if last else None
    life.over = last is None or last['payload']['deleted']
    if last:
        life.properties = len(last['payload']['properties'])
    members = [e for e in events if e.startswith('image.member.')]
    life.member = 'some' if members and members[-1] != 'image.member.delete' else None


def check_record(db, life):
    row = db.execute('SELECT status, deleted, size, checksum FROM images WHERE id = ?', (life.id,)).fetchone()
    if not life.sure:
        assert row is None
        return
    assert row is not None, life.id
    status, deleted, size, checksum = row
    assert (status, bool(deleted)) == (life.status, life.over), life.id
    properties = db.execute('SELECT count(*) FROM image_properties WHERE image_id = ? AND deleted = 0',
                            (life.id,)).fetchone()[0]
    members = db.execute('SELECT count(*) FROM image_members WHERE image_id = ? AND deleted = 0',
                         (life.id,)).fetchone()[0]
    if not life.over:
        assert (properties, members) == (life.properties, 1 if life.member else 0), life.id
        if life.status in ('active', 'deactivated'):
            assert (size, checksum) == (len(life.data), hashlib.md5(life.data).hexdigest())
        else:
            assert (size, checksum) == (None, None)


seen = {}  # path -> what the file was when it was read last


def has_changed(path):
    """Since it was read last. There are hundreds of them, and they are looked at after each kill."""
    st = path.stat()
    now = st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns
    before, seen[path] = seen.get(path), now
    return before != now


def check_store(server, lives):
    """Exactly the bytes of the images that have some."""
    wanted = {life.id: life.data for life in lives if not life.over and life.status in ('active', 'deactivated')}
    wait_for(lambda: set(server.stored_files()) == set(wanted), server.images, 'store without orphans')
    for image, data in wanted.items():
        path = server.images / image
        assert not has_changed(path) or path.read_bytes() == data


def check_life(account, life):
    rows = account.rows.get(life.id, [])
    events = [short(r) for r in rows]
    assert whole(life, events), f'{life.id}: {events}; answered {life.sure}, not answered {life.maybe}'
    settle_account(life, events, rows)


def check(account, lives):
    account.read_journal()
    assert set(account.rows) <= {life.id for life in lives}
    assert all(account.rows[life.id][-1]['event_type'] == 'image.delete' for life in lives if life.buried and life.sure)
    fresh = [life for life in lives if not life.buried]
    db = sqlite3.connect(account.server.database)
    for life in fresh:
        check_life(account, life)
        check_record(db, life)
        life.buried = life.over
    saving = db.execute("SELECT count(*) FROM images WHERE status IN ('saving', 'uploading', 'importing')")
    assert saving.fetchone() == (0,)
    db.close()
    account.server.run('db', 'usage', '--check')  # what quotas go by is what a count says
    check_store(account.server, lives)
    account.check_log()


def one_round(account, rng, lives, restarts=0):
    """Workers at work, the kill, the restart (and kills in the middle of it), the check."""
    server = account.server
    workers = [Worker(server, random.Random(rng.getrandbits(64)), lives[n]) for n in range(CLIENTS)]
    for w in workers:
        w.start()
    time.sleep(rng.uniform(0.0, 0.4))  # the moment of the kill: not a wait for anything
    server.kill9()
    for w in workers:
        w.join(60)
        assert not w.is_alive()
        assert w.wrong is None, w.wrong
    for _ in range(restarts):
        server.spawn()
        time.sleep(rng.uniform(0.0, 0.03))
        server.kill9()
    server.start()
    check(account, [life for group in lives for life in group])


def kill_again_and_again(tmp_path, n, seed, restarts=0):
    print(f'CRASH_SEED={SEED} KILLS={KILLS}')
    server = Glint(tmp_path / 'server').start()
    account, rng, lives = Account(server), random.Random(seed), [[] for _ in range(CLIENTS)]
    try:
        for i in range(n):
            try:
                one_round(account, rng, lives, restarts)
            except AssertionError as e:
                raise AssertionError(f'after kill {i + 1} with CRASH_SEED={SEED}: {e}') from e
        server.stop()
    finally:
        if server.process:
            server.kill9()
    return account.counts


def test_kill_9(tmp_path):
    counts = kill_again_and_again(tmp_path, KILLS, SEED)
    print(json.dumps(counts, sort_keys=True, indent=1))
    if KILLS >= 50:  # or else it has proved less than it says
        assert counts.get('ERROR image.upload') and counts.get('image.activate') and counts.get('image.delete')


def test_kill_while_starting(tmp_path):
    """The recovery itself can die at any moment, and be done again."""
    kill_again_and_again(tmp_path, max(1, KILLS // 5), SEED + 1, restarts=3)
