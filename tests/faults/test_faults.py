# SPDX-License-Identifier: Apache-2.0
"""Every operation, with the n-th call that a disk or the memory can fail made to fail: n = 0, 1, 2 ...
until the operation goes through untouched. After each of them:

(1) The client got a clear error, or what it wanted; the service lives and goes on.
(2) An error means that nothing was changed, a success that everything was: record, bytes, events. Where
    the memory ends after the commit, the client may hear of an error for what has happened.
(3) The journal has the events of just what happened, in order, seq without a gap, and so has the log
    file, each at least once; no image stays in `saving`, no file without its image.
(4) The same holds after a restart, also after kill -9 with everything failing from the n-th call on.

FAULTS_ALL=1 takes each n where otherwise, with memory, a sample has to do."""
import hashlib
import os
import re
from pathlib import Path

import pytest
import requests

from harness import A, ADMIN, B, BINARY, Client, Raw, pattern, wait_for
from victim import EIO, ENOMEM, ENOSPC, FILES, GAVE_UP, MEMORY, NAME, SAVING, STAGED, SYNC, UPLOADED, WRITE, good

ALL = os.environ.get('FAULTS_ALL') == '1'

SANITIZED = os.path.exists(BINARY) and any(
    name in Path(BINARY).read_bytes() for name in (b'__asan_init', b'__tsan_init'))
with_memory = pytest.mark.skipif(SANITIZED, reason='sanitizers have the allocator for themselves')

SMALL = b'some octets'
LARGE = pattern(3 << 20)


# -- the operations ------------------------------------------------------------------------------------

class Operation:
    """What is done to an image, and what has to be there if it was and if it was not."""
    data = None     # of the image before
    before = []     # status of the image and events beside image.create
    adds = []       # events of success
    fails = [[]]    # events of failure, any of these
    after = 'queued'

    def prepare(self, a):
        self.image = a.new(self.data, name='n')['id']
        self.had = ['image.create'] + (SAVING + UPLOADED if self.data is not None else [])
        self.status = 'queued' if self.data is None else 'active'

    def ask(self, a):
        raise NotImplementedError

    def check_answer(self, r):
        pass

    def done(self, server):
        """The record says that it was done; None if there is no telling (the journal does)."""

    def files(self, done):
        """Octets under the image's name."""
        return self.data


class Create(Operation):
    adds = ['image.create']

    def prepare(self, a):
        self.n = getattr(self, 'n', 0) + 1
        self.image, self.had, self.status = f'fa000000-0000-4000-8000-{self.n:012x}', [], None

    def ask(self, a):
        return a.create(id=self.image, name='n', disk_format='raw', container_format='bare', key='value', tags=['t'])

    def check_answer(self, r):
        assert r.headers['Location'].endswith(self.image) and r.json()['key'] == 'value' and r.json()['created_at'] > '2'


class Show(Operation):
    after = None

    def ask(self, a):
        return a.get(f'/v2/images/{self.image}')

    def check_answer(self, r):
        assert r.json()['id'] == self.image and r.json()['name'] == 'n' and r.json()['created_at'] > '2'


class List(Operation):
    after = None

    def ask(self, a):
        return a.get('/v2/images?limit=3&name=n&sort=created_at')

    def check_answer(self, r):
        assert all(i['created_at'] > '2' and i['name'] == 'n' for i in r.json()['images']) and r.json()['images']


class Patch(Operation):
    adds = ['image.update(queued)']

    def ask(self, a):
        return a.patch(self.image, {'op': 'add', 'path': '/key', 'value': 'value'},
                       {'op': 'replace', 'path': '/name', 'value': 'other'})

    def check_answer(self, r):
        assert r.json()['key'] == 'value' and r.json()['name'] == 'other'


class Tag(Operation):
    adds = ['image.update(queued)']

    def ask(self, a):
        return a.put(f'/v2/images/{self.image}/tags/t')


class AddMember(Operation):
    adds = ['image.member.create']

    def ask(self, a):
        return a.share(self.image, B.project)


class Upload(Operation):
    adds = SAVING + UPLOADED
    fails = [[], SAVING + GAVE_UP]
    after = 'active'
    octets = SMALL

    def ask(self, a):
        return a.upload(self.image, self.octets)

    def files(self, done):
        return self.octets if done else None


class UploadLarge(Upload):
    octets = LARGE


class Download(Operation):
    data = LARGE
    adds = ['image.send']
    fails = [[], ['image.send'], ['ERROR image.send']]  # nothing is changed by it; what went out is told if it can be
    after = 'active'

    def ask(self, a):
        r = a.download(self.image)
        if len(r.content) < int(r.headers.get('Content-Length', 0)):
            raise requests.ConnectionError('cut short')
        return r

    def check_answer(self, r):
        assert r.status_code == 200 and r.content == self.data


class Deactivate(Operation):
    data = SMALL
    adds = ['image.update(deactivated)']
    after = 'deactivated'

    def ask(self, a):
        return Client(a.server, ADMIN).action(self.image, 'deactivate')


class Delete(Operation):
    data = SMALL
    adds = ['image.delete']
    after = 'deleted'

    def ask(self, a):
        return a.remove(self.image)

    def files(self, done):
        return None if done else self.data


class Stage(Operation):
    adds = STAGED
    fails = [[], STAGED[:1] + GAVE_UP]
    after = 'uploading'

    def ask(self, a):
        return a.put(f'/v2/images/{self.image}/stage', data=SMALL, headers={'Content-Type': 'application/octet-stream'})

    def files(self, done):
        return None


OPERATIONS = [Create, Show, List, Patch, Tag, AddMember, Upload, UploadLarge, Download, Deactivate, Delete]


# -- one attempt ---------------------------------------------------------------------------------------

def attempt(server, op, kinds, error, n, sticky):
    """True if the fault struck."""
    op.prepare(server.client(A))
    op.ask_with = Client(server, A)
    server.faults.arm(kinds, error, n, sticky)
    try:
        op.answer = op.ask(op.ask_with)
    except requests.Timeout:
        raise
    except requests.RequestException:
        op.answer = None  # the connection was cut
    if not sticky:
        calm(server)
    struck = server.faults.disarm() > 0
    assert server.process.poll() is None, f'n={n}: the service ended: {server.said()}'
    return struck


def calm(server):
    """What the answer leaves to others, the delivery above all, meets the fault as well."""
    last = server.rows('SELECT message_id FROM glint_events ORDER BY offset DESC LIMIT 1')

    def passed():
        with open(server.log, 'rb') as f:
            f.seek(max(0, server.log.stat().st_size - 65536))
            return last[0][0].encode() in f.read()
    if last:
        wait_for(passed, server.root, 'delivery', 60)


def check(server, op, n, lenient):
    """Holds at once where the client waits for it, in a moment where a thread of the service has to."""
    where = f'{type(op).__name__}, n={n}, answer {op.answer.status_code if op.answer is not None else None}'
    if op.answer is not None and not good(op.answer):
        assert op.answer.status_code in (413, 500, 503), f'{where}: {op.answer.text}'
        if op.answer.content:
            assert op.answer.json()['error']['message'], where
    may = [op.had + op.adds] if good(op.answer) else [op.had + f for f in op.fails]
    if not good(op.answer) and lenient:
        may.append(op.had + op.adds)
    if isinstance(op, Download):
        may = [op.had + e for e in ([], ['image.send'], ['ERROR image.send'])]

    def settled():
        told = [t for t in server.told(op.image) if not t.startswith('WARN ')]
        return [told] if told in may else None
    try:
        told = wait_for(settled, server.root, 'possible events', 30)[0]
    except AssertionError:
        raise AssertionError(f'{where}: {server.told(op.image)} is none of {may}') from None
    done = op.adds != [] and told[len(op.had):][:len(op.adds)] == op.adds
    check_record(server, op, done, where)
    return done


def check_record(server, op, done, where):
    rows = server.rows('SELECT status, created_at, updated_at, checksum FROM images WHERE id = ?', op.image)
    if not rows:
        assert isinstance(op, Create) and not done, where
    elif not done and isinstance(op, Create):
        raise AssertionError(f'{where}: there is a record')
    else:
        status, created, updated, checksum = rows[0]
        assert status == (op.after if done and op.after else op.status or 'queued'), where
        assert created and updated, where
        if status == 'active':
            assert checksum == hashlib.md5(op.files(done)).hexdigest(), where
    path = server.images / op.image
    want = op.files(done)

    def stored():
        return (path.read_bytes() if path.exists() else None) == want
    wait_for(stored, server.images, f'right bytes ({where})', 30)
    if good(op.answer):
        op.check_answer(op.answer)


def check_whole(server):
    """Nothing is left of all that failed."""
    def clean():
        named = {p.name for p in server.images.iterdir()}
        images = {i for i, in server.rows("SELECT id FROM images WHERE status IN ('active', 'deactivated')")}
        return named == images and not server.rows('SELECT * FROM glint_uploads') \
            and not server.rows('SELECT * FROM glint_removals')
    wait_for(clean, server.images, 'order in the store', 30)
    assert server.rows("SELECT id FROM images WHERE status = 'saving'") == []
    server.delivered()


def numbers(memory):
    """n = 0, 1, 2 ...; with memory ever larger steps, because there are hundreds of allocations."""
    n = 0
    while True:
        yield n
        n += 1 if ALL or not memory or n < 24 else 1 + n // 12


def campaign(server, op, kinds, error, sticky=False):
    """How many n there were. The last one struck nothing."""
    for count, n in enumerate(numbers(kinds == MEMORY)):
        if not attempt(server, op, kinds, error, n, sticky):
            assert good(op.answer), f'n={n}: {op.answer} without a fault'
            check(server, op, n, False)
            return count
        if sticky:
            server.kill9()
            server.start()
        check(server, op, n, kinds == MEMORY or (sticky and kinds & WRITE))
        assert count < 2000


@pytest.mark.parametrize('error', [ENOSPC, EIO], ids=['ENOSPC', 'EIO'])
@pytest.mark.parametrize('operation', OPERATIONS, ids=lambda o: o.__name__)
def test_disk(victims, operation, error):
    server = victims().start()
    n = campaign(server, operation(), FILES, error)
    assert n > 0 or operation in (Show, List)
    check_whole(server)
    server.restart()
    check_whole(server)


def test_disk_full_while_staging(victims):
    server = victims().start()
    assert campaign(server, Stage(), FILES, ENOSPC) > 0
    staged = {i for i, in server.rows("SELECT id FROM images WHERE status = 'uploading'")}
    directory = Path(server.config['DEFAULT']['node_staging_uri'].removeprefix('file://'))
    wait_for(lambda: {p.name for p in directory.iterdir()} == staged, directory, 'order in the staging area', 30)
    check_whole(server)


@with_memory
@pytest.mark.parametrize('operation', OPERATIONS, ids=lambda o: o.__name__)
def test_memory(victims, operation):
    server = victims().start()
    assert campaign(server, operation(), MEMORY, ENOMEM) > 0
    check_whole(server)
    server.restart()
    check_whole(server)


@pytest.mark.parametrize('kinds', [SYNC, WRITE | SYNC, WRITE | SYNC | NAME], ids=['syncs', 'data', 'all'])
@pytest.mark.parametrize('operation', [Create, Patch, Upload, Delete], ids=lambda o: o.__name__)
def test_broken_for_good(victims, operation, kinds):
    """From the n-th call on the disk is broken; then the process is killed. A commit that nobody could
    undo any more may come back with the restart, as a whole."""
    server = victims().start()
    assert campaign(server, operation(), kinds, EIO, sticky=True) > 0
    check_whole(server)


def starts(server, kinds, error, n):
    """Whether it came up with the n-th call failing, and whether one did."""
    server.faults.arm(kinds, error, n)
    server.spawn()

    def decided():
        return server.process.poll() is not None or 'listening on' in server.said()
    wait_for(decided, server.root, 'start or end')
    up = server.process.poll() is None
    if not up:
        status = server.process.returncode
        assert status > 0, f'n={n}: ended by signal {-status}: {server.said()}'
        assert server.said().strip(), f'n={n}: it says nothing'
        server.process = None
    return up, server.faults.disarm() > 0


@pytest.mark.parametrize('kinds, error', [
    pytest.param(FILES, EIO, id='EIO'), pytest.param(FILES, ENOSPC, id='ENOSPC'),
    pytest.param(MEMORY, ENOMEM, id='ENOMEM', marks=with_memory)])
def test_start(victims, kinds, error):
    """It starts, or says why not; either way the next start finds everything."""
    server = victims().start()
    a = server.client(A)
    image = a.new(SMALL, name='n')['id']
    cut = a.new(name='cut')['id']
    with Raw(server) as raw:
        raw.head('PUT', f'/v2/images/{cut}/file', who=A, Content_Type='application/octet-stream', Content_Length='9')
        raw.send(b'x')
        server.wait_events(['image.create', *SAVING], cut)
        server.kill9()
    for n in numbers(kinds == MEMORY):
        up, struck = starts(server, kinds, error, n)
        if up:
            server.url = re.search(r'listening on (http://\S+)', server.said()).group(1)
            assert server.client(A).download(image).content == SMALL
            server.kill9()
        elif not struck:
            raise AssertionError(server.said())
        if not struck:
            break
    server.start()
    assert server.client(A).download(image).content == SMALL
    assert server.client(A).show(cut)['status'] == 'queued'
    assert server.told(cut) == ['image.create', *SAVING, *GAVE_UP]
    check_whole(server)


def test_torn_log_of_the_database(victims):
    """The power went: of the write-ahead log an end is missing, or is garbage. What is left is a state that
    once was, with the events of just that state."""
    server = victims().start()
    a = server.client(A)
    images = []
    for n in range(6):
        images.append(a.new(name=f'n{n}')['id'])
        a.patch(images[-1], {'op': 'add', 'path': '/key', 'value': 'v' * 3000})
    server.kill9()
    wal, shm = Path(f'{server.database}-wal'), Path(f'{server.database}-shm')
    whole, log = server.database.read_bytes(), wal.read_bytes()
    for k in range(8):
        server.database.write_bytes(whole)
        keep = 32 + (len(log) - 32) * k // 8 + 100 * k
        wal.write_bytes(log[:keep] + (os.urandom(len(log) - keep) if k % 2 else b''))
        shm.unlink(missing_ok=True)
        server.log.unlink(missing_ok=True)
        server.start()
        there = [i for i, in server.rows('SELECT id FROM images ORDER BY created_at')]
        assert there == images[:len(there)]
        for image in there:
            told = server.told(image)
            assert told in (['image.create'], ['image.create', 'image.update(queued)'])
            has_key = server.rows('SELECT 1 FROM image_properties WHERE image_id = ?', image) != []
            assert has_key == (len(told) == 2)
        assert server.client(A).create(name='after').status_code == 201
        server.kill9()
    server.start()
