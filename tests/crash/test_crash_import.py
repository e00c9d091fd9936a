# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments of stagings, imports, copies and tasks, KILLS / 3 times, and what must hold once the
tasks that the restart found have ended:

(1) Every task that a client was told of, or that exists at all, has ended: task.create, task.run,
    task.processing and one of task.success and task.failure, each once, in this order.
(2) Per image the events tell one possible life, in order, with seq 1, 2, 3 ... without a gap; a deleted image
    is heard of no more.
(3) The stores have the bytes of the locations in the database, whole, and nothing else; the staging area
    has those of the staged images and nothing else.
(4) The log file has every message_id of the journal at least once, in its order.

The source of the downloads is slow and breaks off now and then, so that most of the life of an import is spent in
the middle of it. CRASH_SEED (printed) repeats the choices, though not the interleaving."""
import hashlib
import json
import random
import re
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from harness import ADMIN, Client, Glint, pattern, wait_for
from test_crash import CLIENTS, KILLS, SEED, Account, Gone, has_changed

DATA = pattern(2 << 20)
STORES = ('one', 'two')
N_KILLS = max(3, KILLS // 3)

# One letter an event: see LETTERS. What a life may look like, blanks for the reader.
LETTERS = {'image.create': 'C', 'image.delete': 'D', 'image.prepare': 'p', 'image.upload': 'u', 'image.activate': 'v',
           'ERROR image.upload': 'E', 'image.update(uploading)': 's', 'image.update(importing)': 'i',
           'image.update(queued)': 'q', 'image.update(active)': 'a'}
LIFE = re.compile(r'''C (?: ss | sEq                                  # staged, or not
    | i (?: q | p{1,2}Eq | puvaa | ppuiuvaa )                         # imported to one store or two, or not
    | a (?: pua )? a | apEa                                           # copied, or not
    | a )*                                                            # gone from one of its stores
    (?: (?: sE | s | i | ip{1,2}E | a | apE )? D )?$''', re.VERBOSE)
TASK = ['task.create', 'task.run', 'task.processing']


class Source(ThreadingHTTPServer):
    """Gives DATA[:n] for /n slowly; for /n/cut it breaks off once and can go on; /missing is not there."""
    daemon_threads = True

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_GET(self):
            words = self.path.strip('/').split('/')
            if not words[0].isdigit():
                self.send_error(404)
                return
            data, first = DATA[:int(words[0])], 0
            if 'Range' in self.headers:
                first = int(self.headers['Range'].removeprefix('bytes=').rstrip('-'))
            self.send_response(206 if first else 200)
            if first:
                self.send_header('Content-Range', f'bytes {first}-{len(data) - 1}/{len(data)}')
            self.send_header('ETag', '"always"')
            self.send_header('Content-Length', str(len(data) - first))
            self.send_header('Connection', 'close')
            self.end_headers()
            self.close_connection = True
            end = len(data) // 2 if words[-1] == 'cut' and not first else len(data)
            for at in range(first, end, 65536):
                self.wfile.write(data[at:min(at + 65536, end)])
                time.sleep(0.002)  # slow on purpose

        def log_message(self, *args):
            pass

        def handle(self):
            try:
                super().handle()
            except OSError:
                pass  # the service was killed

    def __init__(self):
        super().__init__(('127.0.0.1', 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = 'http://127.0.0.1:%d' % self.server_address[1]


class Worker(threading.Thread):
    """Makes images and does to them what importing has to offer, whatever state they are in: an answer that
    says no is as good as one that says yes."""

    def __init__(self, server, source, rng, known):
        super().__init__(daemon=True)
        self.client, self.source, self.rng, self.known = Client(server, ADMIN), source, rng, known
        self.mine = []
        self.wrong = None

    def run(self):
        try:
            while True:
                if not self.mine or self.rng.random() < 0.3:
                    self.create()
                else:
                    self.rng.choice([self.stage, self.stage, self.direct, self.direct, self.download, self.download,
                                     self.copy, self.unstore, self.delete, self.legacy])(self.rng.choice(self.mine))
        except Gone:
            pass
        except Exception as e:  # shown by the test
            self.wrong = e

    def ask(self, *args, good=(), **kwargs):
        try:
            r = self.client.call(*args, **kwargs)
        except requests.RequestException as e:
            raise Gone from e
        assert r.status_code in (*good, 400, 403, 404, 409, 410), f'{args}: {r.status_code} {r.text}'
        return r

    def create(self):
        r = self.ask('POST', '/v2/images', json={'disk_format': 'raw', 'container_format': 'bare'}, good=(201,))
        self.mine.append(r.json()['id'])
        self.known['images'].add(self.mine[-1])

    def stage(self, image):
        data = DATA[:self.rng.choice([0, 1000, len(DATA)])]
        self.ask('PUT', f'/v2/images/{image}/stage', data=data, good=(204,),
                 headers={'Content-Type': 'application/octet-stream'})

    def post(self, image, method, **more):
        if 'all_stores' not in more:
            more['stores'] = self.rng.choice([['one'], ['two'], ['one', 'two']])
        r = self.ask('POST', f'/v2/images/{image}/import', json={'method': method, **more}, good=(202,))
        if r.status_code == 202 and method['name'] != 'copy-image':  # of which there may be nothing to do
            self.known['imports'].append(image)

    def direct(self, image):
        self.post(image, {'name': 'glance-direct'})

    def path(self):
        return f'{self.source.url}/{self.rng.choice([1000, len(DATA)])}{self.rng.choice(["", "", "/cut"])}'

    def download(self, image):
        uri = self.path() if self.rng.random() < 0.8 else f'{self.source.url}/missing'
        self.post(image, {'name': 'web-download', 'uri': uri})

    def copy(self, image):
        self.post(image, {'name': 'copy-image'}, all_stores=True)

    def unstore(self, image):
        self.ask('DELETE', f'/v2/stores/{self.rng.choice(STORES)}/{image}', good=(204,))

    def delete(self, image):
        if self.rng.random() < 0.3 and self.ask('DELETE', f'/v2/images/{image}', good=(204,)).status_code == 204:
            self.mine.remove(image)
            self.known['deleted'].add(image)

    def legacy(self, image):
        properties = {'disk_format': 'raw', 'container_format': 'bare'}
        r = self.ask('POST', '/v2/tasks', good=(201,), json={'type': 'import', 'input': {
            'import_from': self.path(), 'import_from_format': 'raw', 'image_properties': properties}})
        self.known['tasks'].add(r.json()['id'])


# -- what must hold ------------------------------------------------------------------------------------

def short(row):
    text = row['event_type'] if row['priority'] == 'INFO' else f"{row['priority']} {row['event_type']}"
    if row['event_type'] == 'image.update':
        text += f"({row['payload']['status']})"
    return text


def check_task(task, events):
    ends = (['task.success'], ['task.failure'], ['ERROR task.run', 'task.failure'])
    assert events[:3] == TASK and events[3:] in ends, f'{task}: {events}'


def check_image(image, events, known):
    if 'image.update(saving)' in events:  # made by a task of type import: an upload like any other
        return
    line = ''.join(LETTERS[e] for e in events)
    assert LIFE.match(line), f'{image}: {line}'
    if image in known['deleted']:
        assert line.endswith('D'), f'{image}: {line}'


def check_stores(server, db):
    rows = db.execute("SELECT l.image_id, l.value, i.status, i.checksum FROM image_locations l JOIN images i ON "
                      "i.id = l.image_id WHERE l.deleted = 0").fetchall()
    for store in STORES:
        directory = server.root / store
        wanted = {i: checksum for i, url, status, checksum in rows if url.startswith(f'file://{directory}/')}
        wait_for(lambda: {p.name for p in directory.iterdir()} == set(wanted), directory, f'{store} without orphans')
        for image, checksum in wanted.items():
            path = directory / image
            assert not has_changed(path) or hashlib.md5(path.read_bytes()).hexdigest() == checksum
    assert all(status == 'active' for _, _, status, _ in rows)
    active = {i for i, in db.execute("SELECT id FROM images WHERE status = 'active' AND deleted = 0")}
    assert active == {row[0] for row in rows}


def check_staging(server, db):
    staged = {i for i, in db.execute("SELECT id FROM images WHERE status = 'uploading' AND deleted = 0")}
    directory = server.root / 'staging'
    wait_for(lambda: {p.name for p in directory.iterdir()} - {'.glint-work'} == staged, directory, 'staging as it should be')


def check(account, known):
    account.read_journal()
    db = sqlite3.connect(account.server.database)
    ended = db.execute("SELECT count(*), sum(status IN ('success', 'failure')) FROM tasks").fetchone()
    assert ended[0] == (ended[1] or 0)
    kinds = {subject: [short(row) for row in rows] for subject, rows in account.rows.items()}
    tasks = {s: events for s, events in kinds.items() if events[0].startswith('task.')}
    for task, events in tasks.items():
        check_task(task, events)
    assert known['tasks'] <= set(tasks) and len(tasks) >= len(known['imports']) + len(known['tasks'])
    for image, events in kinds.items():
        if image not in tasks:
            check_image(image, events, known)
    assert known['images'] <= set(kinds)
    assert db.execute("SELECT count(*) FROM images WHERE status IN ('saving', 'importing') AND deleted = 0"
                      ).fetchone() == (0,)
    assert db.execute("SELECT count(*) FROM image_properties WHERE name = 'os_glance_import_task' AND deleted = 0"
                      ).fetchone() == (0,)
    assert db.execute('SELECT count(*) FROM glint_jobs').fetchone() == (0,)
    check_stores(account.server, db)
    check_staging(account.server, db)
    db.close()
    account.check_log()


def wait_until_idle(server):
    """No task is left to run; the database tells."""
    db = sqlite3.connect(server.database)
    wait_for(lambda: db.execute('SELECT count(*) FROM glint_jobs').fetchone() == (0,), server.root, 'end of all tasks', 60)
    db.close()


def one_round(account, source, rng, known):
    server = account.server
    workers = [Worker(server, source, random.Random(rng.getrandbits(64)), known) for _ in range(CLIENTS)]
    for w in workers:
        w.start()
    time.sleep(rng.uniform(0.05, 0.6))  # the moment of the kill: not a wait for anything
    server.kill9()
    for w in workers:
        w.join(60)
        assert not w.is_alive()
        assert w.wrong is None, w.wrong
    for _ in range(rng.choice([0, 0, 1, 2])):  # the restart, too, can die in the middle of what it goes on with
        server.spawn()
        time.sleep(rng.uniform(0.0, 0.1))
        server.kill9()
    server.start()
    wait_until_idle(server)
    check(account, known)


@pytest.fixture
def source():
    s = Source()
    yield s
    s.shutdown()


def test_kill_9_in_imports(tmp_path, source):
    print(f'CRASH_SEED={SEED} KILLS={N_KILLS}')
    root = tmp_path / 'server'
    server = Glint(root, {
        'DEFAULT': {'enabled_backends': 'one:file,two:file', 'node_staging_uri': f'file://{root}/staging',
                    'enabled_import_methods': 'glance-direct,web-download,copy-image'},
        'glance_store': {'default_backend': 'one'},
        'one': {'filesystem_store_datadir': root / 'one'}, 'two': {'filesystem_store_datadir': root / 'two'},
        'import_filtering_opts': {'allowed_ports': ''},
        'glint': {'web_download_allow_networks': '127.0.0.0/8', 'allow_task_import': 'true'}}).start()
    known = {'images': set(), 'deleted': set(), 'tasks': set(), 'imports': []}
    account, rng = Account(server), random.Random(SEED + 3)
    try:
        for n in range(N_KILLS):
            try:
                one_round(account, source, rng, known)
            except AssertionError as e:
                raise AssertionError(f'after kill {n + 1} with CRASH_SEED={SEED}: {e}') from e
        server.stop()
    finally:
        if server.process:
            server.kill9()
    print(json.dumps(account.counts, sort_keys=True, indent=1))
    if N_KILLS >= 15:  # or else it has proved less than it says
        for event in ('task.success', 'task.failure', 'image.activate', 'ERROR image.upload', 'image.delete'):
            assert account.counts.get(event), event
