# SPDX-License-Identifier: Apache-2.0
"""A server with the faults in it (faults.c), and what has to hold of it whatever has happened."""
import hashlib
import json
import mmap
import os
import re
import sqlite3
import struct
from pathlib import Path

from harness import BINARY, UUID, Glint, parse_events, wait_for

LIBRARY = Path(os.environ.get('GLINT_FAULTS') or Path(BINARY).parent / 'tests' / 'faults' / 'glint-faults.so')

WRITE, SYNC, NAME, OPEN, MEMORY, MAKE, READ = 1, 2, 4, 8, 16, 32, 64
FILES = WRITE | SYNC | NAME | OPEN
DURABLE = WRITE | SYNC | NAME | MAKE  # what a disk remembers
NEVER = 1 << 40
FAIL, SHORT, KILL_BEFORE, KILL_AFTER, HANG = range(5)
ENOSPC, EIO, ENOMEM, EMFILE = 28, 5, 12, 24

SAVING = ['image.update(saving)', 'image.prepare']
UPLOADED = ['image.upload', 'image.activate', 'image.update(active)']
STAGED = ['image.update(uploading)'] * 2
GAVE_UP = ['ERROR image.upload', 'image.update(queued)']


class Faults:
    """The pages that the program shares with us: struct control."""
    BELOW, PATH_MAX = 32, 4096
    TRACED = BELOW + PATH_MAX
    TRACE, SIZE = TRACED + 4, 65536

    def __init__(self, path):
        path.write_bytes(bytes(self.SIZE))
        with open(path, 'r+b') as f:
            self.map = mmap.mmap(f.fileno(), self.SIZE)
        self.path = path

    def arm(self, kinds, error, n, sticky=False, how=FAIL, below=''):
        below = os.fsencode(below)
        struct.pack_into('<iqIII', self.map, 4, error, n, sticky, 0, how)
        self.map[self.BELOW:self.BELOW + len(below) + 1] = below + b'\0'
        struct.pack_into('<I', self.map, self.TRACED, 0)
        struct.pack_into('<I', self.map, 0, kinds)

    def disarm(self):
        """How often it has struck."""
        struct.pack_into('<I', self.map, 0, 0)
        return self.struck()

    def struck(self):
        return struct.unpack_from('<I', self.map, 20)[0]

    def countdown(self):
        return struct.unpack_from('<q', self.map, 8)[0]

    def hanging(self):
        """Calls that do not come back at the moment."""
        return struct.unpack_from('<I', self.map, 28)[0]

    def trace(self):
        """The calls that counted up to the kill, as 'fsync IMAGE'."""
        n, = struct.unpack_from('<I', self.map, self.TRACED)
        lines = self.map[self.TRACE:self.TRACE + n].decode(errors='replace').splitlines()
        return [plain(line) for line in lines]


def plain(line):
    """A call and what it was about: the last two parts of the path, without ids."""
    call, _, path = line.rpartition(' ')
    name = '/'.join(Path(path).parts[-2:])
    return f'{call} ' + UUID.sub('ID', re.sub(r'\.glint-[^/]*-(?=' + UUID.pattern + r'\.part)', '', name))


def short(kind, priority, payload):
    """A row of the journal as the tests write it down."""
    payload = json.loads(payload)
    if isinstance(payload, dict) and 'created_at' in payload:
        assert payload['created_at'] and payload['updated_at'], payload
    text = kind if priority == 0 else f'{("", "WARN", "ERROR")[priority]} {kind}'
    return text + f"({payload['status']})" if kind == 'image.update' else text


def merge(steps):
    """One of many writes in a row to the same file stands for all."""
    return [step for i, step in enumerate(steps) if i == 0 or step != steps[i - 1]]


def sample(steps, rng, n):
    """Some of the numbers of the steps, most of them of the last one of a run of equal steps."""
    ends = [i for i in range(len(steps)) if i + 1 == len(steps) or steps[i + 1] != steps[i]]
    chosen = rng.sample(ends, min(len(ends), n - n // 4))
    rest = [i for i in range(len(steps)) if i not in chosen]
    return sorted(chosen + rng.sample(rest, min(len(rest), n - len(chosen))))


def last_offset(server):
    return server.rows('SELECT coalesce(max(offset), 0) FROM glint_events')[0][0]


def news(server, since):
    """What the journal tells: of images, of tasks."""
    told = ([], [])
    for row in server.rows('SELECT event_type, priority, payload FROM glint_events WHERE offset > ? ORDER BY offset', since):
        told[row[0].startswith('task.')].append(short(*row))
    return told


class Victim(Glint):
    """A server with the faults in it, which may fail and is expected to."""

    def __init__(self, root, config=None):
        root.mkdir(parents=True)
        self.faults = Faults(root / 'faults')
        config = config or {'DEFAULT': {'node_staging_uri': f'file://{root}/staging'}}
        super().__init__(root, config, env={
            'LD_PRELOAD': str(LIBRARY), 'GLINT_FAULTS_CONTROL': str(self.faults.path),
            'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0'})
        self.errors_expected = True
        self.forget_log()

    @property
    def staging(self):
        return self.root / 'staging'

    def died(self):
        """Killed by its own fault; then there is no process any more."""
        if self.process.poll() is None:
            return False
        assert self.process.returncode == -9, f'ended with {self.process.returncode}: {self.said()}'
        self.process, self.torn = None, True
        return True

    def rows(self, sql, *values):
        db = sqlite3.connect(f'file:{self.database}?mode=ro', uri=True, timeout=60)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def told(self, subject):
        """The events of an image or a task in the journal, in short."""
        out = []
        for n, (seq, kind, priority, payload) in enumerate(self.rows(
                'SELECT seq, event_type, priority, payload FROM glint_events WHERE subject = ? ORDER BY offset', subject)):
            assert seq == n + 1, f'{subject}: event {n + 1} has seq {seq}'
            out.append(short(kind, priority, payload))
        return out

    def journal_ids(self):
        return [m for m, in self.rows('SELECT message_id FROM glint_events ORDER BY offset')]

    def forget_log(self):
        """It is another file now."""
        self.told_at, self.in_log = 0, {}  # how far it has been read, and the message_ids in it

    def read_log(self):
        """Each message_id that the log has, in the order of first delivery."""
        if not self.log.exists():
            return self.in_log
        with open(self.log, 'rb') as f:
            f.seek(self.told_at)
            new = f.read()
        new = new[:new.rfind(b'\n') + 1]
        self.told_at += len(new)
        self.in_log.update((e.doc['message_id'], None) for e in parse_events(new, torn=True))
        return self.in_log

    def delivered(self):
        """Waits until the log has what the journal has, nothing else, and in the same order. An image.send may still come."""
        wait_for(lambda: list(self.read_log()) == self.journal_ids(), self.root, 'delivery of all events and of nothing else',
                 60)

    def is_idle(self):
        """Nothing is left to do: no task, no upload, no removal; every relay is past the last event."""
        last, = self.rows('SELECT coalesce(max(offset), 0) FROM glint_events')[0]
        return not any(self.rows(f'SELECT 1 FROM {t} LIMIT 1') for t in ('glint_jobs', 'glint_uploads', 'glint_removals')) \
            and all(offset >= last for offset, in self.rows('SELECT offset FROM glint_cursors'))


class Victims:
    """Those of a test: stopped, and looked at, in the end."""

    def __init__(self, root):
        self.root, self.made = root, []

    def make(self, config=None):
        """`config` may be a function of the directory that the server gets."""
        root = self.root / f'victim{len(self.made)}'
        self.made.append(Victim(root, config(root) if callable(config) else config))
        return self.made[-1]

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        for v in self.made:
            v.faults.disarm()
            if failed and v.process:
                v.kill9()
            v.stop()


def two_stores(root):
    """A configuration with two stores and every way to import."""
    return {'DEFAULT': {'enabled_backends': 'one:file,two:file', 'node_staging_uri': f'file://{root}/staging',
                        'enabled_import_methods': 'glance-direct,web-download,copy-image'},
            'glance_store': {'default_backend': 'one'},
            'one': {'filesystem_store_datadir': root / 'one'}, 'two': {'filesystem_store_datadir': root / 'two'},
            'import_filtering_opts': {'allowed_ports': ''},
            'glint': {'web_download_allow_networks': '127.0.0.0/8', 'allow_task_import': 'true'}}


def good(answer):
    return answer is not None and answer.status_code < 300


# -- what must hold once everything is quiet -----------------------------------------------------------

def stores_of(server):
    """id -> directory; '' is the only one if none is named."""
    named = server.config['DEFAULT'].get('enabled_backends')
    if not named:
        return {'': server.images}
    return {s.split(':')[0]: Path(server.config[s.split(':')[0]]['filesystem_store_datadir']) for s in named.split(',')}


def check_stores(server):
    """The bytes of the locations, whole, and nothing else."""
    rows = server.rows('SELECT l.image_id, l.value, i.status, i.checksum FROM image_locations l JOIN images i ON '
                       'i.id = l.image_id WHERE l.deleted = 0')
    for directory in stores_of(server).values():
        wanted = {i: checksum for i, url, _, checksum in rows if url == f'file://{directory}/{i}'}
        wait_for(lambda: {p.name for p in directory.iterdir()} == set(wanted), directory, f'{directory.name} as it should be', 30)
        for image, checksum in wanted.items():
            assert hashlib.md5((directory / image).read_bytes()).hexdigest() == checksum, image
    assert all(status in ('active', 'deactivated') for _, _, status, _ in rows)
    with_bytes = {i for i, in server.rows("SELECT id FROM images WHERE status IN ('active', 'deactivated') AND deleted = 0")}
    assert with_bytes == {row[0] for row in rows}


def check_staging(server):
    staged = {i for i, in server.rows("SELECT id FROM images WHERE status = 'uploading' AND deleted = 0")}
    if server.staging.exists():
        wait_for(lambda: {p.name for p in server.staging.iterdir()} - {'.glint-work'} == staged, server.staging,
                 'staging area as it should be', 30)
    work = server.staging / '.glint-work'
    assert not work.exists() or list(work.iterdir()) == []


def check_house(server, deadline=60):
    """Nothing is left of what was cut short, and whatever was told was told of something that is so."""
    wait_for(server.is_idle, server.root, 'rest', deadline)
    check_stores(server)
    check_staging(server)
    assert server.rows("SELECT id FROM images WHERE status IN ('saving', 'importing') AND deleted = 0") == []
    assert server.rows("SELECT id FROM tasks WHERE status NOT IN ('success', 'failure')") == []
    assert server.rows("SELECT image_id FROM image_properties WHERE name = 'os_glance_import_task' AND deleted = 0") == []
    server.delivered()


LAST = """SELECT payload FROM glint_events WHERE subject = ? AND priority = 0 AND event_type IN ('image.create',
    'image.update', 'image.upload', 'image.activate', 'image.delete') ORDER BY offset DESC LIMIT 1"""
UNTOLD = """SELECT id FROM images i WHERE NOT EXISTS (SELECT 1 FROM glint_events WHERE subject = i.id AND event_type =
    iif(i.deleted, 'image.delete', 'image.create')) UNION SELECT id FROM tasks t WHERE NOT EXISTS (SELECT 1 FROM
    glint_events WHERE subject = t.id AND event_type = 'task.' || t.status)"""
UNMADE = """SELECT subject FROM glint_events WHERE event_type = 'image.create' AND subject NOT IN (SELECT id FROM images)
    UNION SELECT subject FROM glint_events WHERE event_type = 'task.create' AND subject NOT IN (SELECT id FROM tasks)"""


def check_records(server):
    """Each record is as the last notification of it said, none is untold of, none is told of that is not there."""
    assert server.rows(UNTOLD) == [] and server.rows(UNMADE) == []
    for image, *record in server.rows('SELECT id, status, size, checksum, name FROM images WHERE deleted = 0'):
        p = json.loads(server.rows(LAST, image)[0][0])
        assert record == [p['status'], p['size'], p['checksum'], p['name']], image
        assert properties_of(server, image) == p['properties'] and tags_of(server, image) == sorted(p['tags']), image
    assert members_told(server) == members_stored(server)


def properties_of(server, image):
    return dict(server.rows('SELECT name, value FROM image_properties WHERE image_id = ? AND deleted = 0', image))


def tags_of(server, image):
    return sorted(v for v, in server.rows('SELECT value FROM image_tags WHERE image_id = ? AND deleted = 0', image))


def members_told(server):
    members = {}
    for kind, payload in server.rows("SELECT event_type, payload FROM glint_events WHERE event_type LIKE 'image.member.%' "
                                     "OR event_type = 'image.delete' ORDER BY offset"):
        p = json.loads(payload)
        if kind == 'image.delete':
            members = {k: v for k, v in members.items() if k[0] != p['id']} if isinstance(p, dict) else members
        elif kind == 'image.member.delete':
            members.pop((p['image_id'], p['member_id']))
        else:
            members[p['image_id'], p['member_id']] = p['status']
    return members


def members_stored(server):
    return {(i, m): s for i, m, s in server.rows('SELECT image_id, member, status FROM image_members WHERE deleted = 0')}
