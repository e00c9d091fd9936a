# SPDX-License-Identifier: Apache-2.0
"""A server that was killed with everything half done, to be started again and again from there."""
import shutil

import pytest

from deeds import DATA, OCTETS
from harness import ADMIN, DEADLINE, Raw, wait_for
from victim import DURABLE, GAVE_UP, KILL_BEFORE, SAVING, STAGED, UPLOADED, check_house, check_records


def cut(raw, server, path):
    """A body of which only a part has come, and that part is in the store."""
    raw.head('PUT', path, who=ADMIN, Content_Length=len(DATA), **{k.replace('-', '_'): v for k, v in OCTETS.items()})
    raw.send(DATA[:290_000])


def leave_everything_half_done(server, source):
    """Killed with an upload, a staging, an import to two stores and a removal under way; what has to be told of
    each in the end."""
    c = server.client(ADMIN)
    saving, staging, importing, gone = (c.new(name=n)['id'] for n in ('saving', 'staging', 'importing', 'gone'))
    assert c.upload(gone, DATA).status_code == 204
    with Raw(server) as one, Raw(server) as two:
        cut(one, server, f'/v2/images/{saving}/file')
        cut(two, server, f'/v2/images/{staging}/stage')
        r = c.post(f'/v2/images/{importing}/import', {'method': {'name': 'web-download', 'uri': f'{source.url}/held'},
                                                      'stores': ['one', 'two']})
        assert r.status_code == 202, r.text
        assert source.waiting.wait(DEADLINE)
        parts = [server.root / 'one', server.root / 'two', server.staging]
        wait_for(lambda: sum(p.name.endswith('.part') for d in parts for p in d.iterdir()) == 4, server.root, 'parts')
        server.faults.arm(DURABLE, 0, 0, how=KILL_BEFORE, below=server.root / 'one' / gone)  # the removal of the bytes
        with pytest.raises(Exception):
            c.remove(gone)
        server.wait_exit()
        assert server.died()
    server.faults.disarm()
    source.gate.set()
    return {saving: ['image.create'] + SAVING + GAVE_UP, staging: ['image.create', STAGED[0]] + GAVE_UP,
            importing: ['image.create', 'image.update(importing)', 'image.prepare', 'image.prepare', 'image.upload',
                        'image.update(importing)', 'image.upload', 'image.activate', 'image.update(active)',
                        'image.update(active)'],
            gone: ['image.create'] + SAVING + UPLOADED + ['image.delete']}


class Snapshot:
    """The directory of a server as it was left, to be put back."""

    def __init__(self, server):
        self.server, self.copy = server, server.root.parent / 'copy'
        shutil.copytree(server.root, self.copy, symlinks=True)

    def put_back(self):
        root = self.server.root
        for path in root.iterdir():
            if path != self.server.faults.path:  # which we share with it
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self.copy.iterdir():
            if path.name != self.server.faults.path.name:
                shutil.copytree(path, root / path.name) if path.is_dir() else shutil.copy2(path, root / path.name)
        self.server.forget_log()


def check_start(server, expected, may_fail=False):
    """`may_fail`: what was to be imported; of bytes that resisted for a while there may be a WARN."""
    server.start()
    check_house(server)
    check_records(server)
    for subject, events in expected.items():
        told = [e for e in server.told(subject) if e != 'WARN image.delete']
        failed = may_fail and 'image.update(importing)' in events and told[-2:] == GAVE_UP
        assert told == events or failed, f'{subject}: {told}'
    server.kill9()
