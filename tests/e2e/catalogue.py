# SPDX-License-Identifier: Apache-2.0
"""A catalogue of images with every combination that listing cares about, written straight into the
tables, and what a caller should see of it, said once more in Python."""
import random
import sqlite3
from dataclasses import dataclass, field

from harness import A, ADMIN, B, C

NAMES = [None, 'alpha', 'beta', 'Beta', 'gamma', 'with, comma', 'ä', 'quote"d', "it's", '100%', 'a_b']
SORT_KEYS = ['name', 'status', 'container_format', 'disk_format', 'size', 'id', 'created_at', 'updated_at']


@dataclass
class Row:
    id: str
    name: str
    status: str
    size: int
    virtual_size: int
    created_at: str
    updated_at: str
    disk_format: str
    container_format: str
    checksum: str
    os_hash_algo: str
    os_hash_value: str
    owner: str
    min_disk: int
    min_ram: int
    protected: bool
    visibility: str
    os_hidden: bool
    deleted: bool
    properties: dict = field(default_factory=dict)
    tags: list = field(default_factory=list)
    members: dict = field(default_factory=dict)  # project -> status

    def visible(self, who, visibility=None, member_status='accepted'):
        """May this caller's list contain it, apart from filters?"""
        if self.deleted or self.status == 'killed':
            return False
        if visibility not in (None, 'all') and self.visibility != visibility:
            return False
        if visibility is None and self.visibility == 'community' and self.owner != who.project:
            return False
        if 'admin' in who.roles:
            return True
        shared = self.visibility == 'shared' and who.project in self.members and (
            member_status == 'all' or self.members[who.project] == member_status)
        return self.owner == who.project or self.visibility in ('public', 'community') or shared


def make_rows(n, seed=7):
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        status = rng.choice(['queued', 'active', 'active', 'active', 'deactivated', 'saving', 'killed'])
        has_data = status in ('active', 'deactivated')
        created = f'2026-03-{rng.randint(1, 5):02d} 10:00:0{rng.randint(0, 2)}.000000'
        rows.append(Row(
            id='%08x-0000-4000-8000-%012x' % (rng.getrandbits(32), i), name=rng.choice(NAMES), status=status,
            size=rng.choice([1, 1024, 10 ** 10]) if has_data else None, virtual_size=rng.choice([None, 2048]),
            created_at=created,
            updated_at=rng.choice([created, f'2026-04-0{rng.randint(1, 3)} 00:00:00.{rng.choice(["000000", "500000"])}']),
            disk_format=rng.choice(['raw', 'qcow2', None]), container_format=rng.choice(['bare', 'ovf', None]),
            checksum=rng.choice(['c' * 32, 'd' * 32]) if has_data else None,
            os_hash_algo='sha512' if has_data else None,
            os_hash_value=rng.choice(['e' * 128, 'f' * 128]) if has_data else None,
            owner=rng.choice([A, A, B, C, ADMIN]).project, min_disk=rng.choice([0, 10]), min_ram=rng.choice([0, 64]),
            protected=rng.random() < 0.3, visibility=rng.choice(['private', 'shared', 'shared', 'community', 'public']),
            os_hidden=rng.random() < 0.2, deleted=rng.random() < 0.1,
            properties=rng.choice([{}, {'os_distro': 'debian'}, {'os_distro': 'debian', 'hw': 'x'}, {'odd key': 'ä, b'}]),
            tags=rng.choice([[], ['t1'], ['t1', 't2'], ['t 3', 't1'], ['ä']])))
        if rows[-1].visibility in ('shared', 'private'):
            rows[-1].members = {who.project: rng.choice(['pending', 'accepted', 'rejected'])
                                for who in (A, B, C) if rng.random() < 0.4 and who.project != rows[-1].owner}
    return rows


def insert(path, rows):
    db = sqlite3.connect(path)
    with db:
        for r in rows:
            gone = r.updated_at if r.deleted else None
            times = (r.created_at, r.updated_at, gone, r.deleted)
            db.execute('INSERT INTO images (id, name, size, status, created_at, updated_at, deleted_at, deleted,'
                       ' disk_format, container_format, checksum, owner, min_disk, min_ram, protected, virtual_size,'
                       ' visibility, os_hidden, os_hash_algo, os_hash_value)'
                       ' VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)',
                       (r.id, r.name, r.size, r.status, *times, r.disk_format, r.container_format, r.checksum,
                        r.owner, r.min_disk, r.min_ram, r.protected, r.virtual_size, r.visibility, r.os_hidden,
                        r.os_hash_algo, r.os_hash_value))
            for name, value in r.properties.items():
                db.execute('INSERT INTO image_properties (image_id, name, value, created_at, updated_at, deleted_at,'
                           ' deleted) VALUES (?,?,?,?,?,?,?)', (r.id, name, value, *times))
            for tag in r.tags:
                db.execute('INSERT INTO image_tags (image_id, value, created_at, updated_at, deleted_at, deleted)'
                           ' VALUES (?,?,?,?,?,?)', (r.id, tag, *times))
            for member, status in r.members.items():
                db.execute('INSERT INTO image_members (image_id, member, can_share, created_at, updated_at, deleted_at,'
                           ' deleted, status) VALUES (?,?,0,?,?,?,?,?)', (r.id, member, *times, status))
    db.close()


def order(rows, keys):
    """Rows in the order of [(key, 'asc' | 'desc'), ...]; ids and creation times break ties in the direction
    of the only direction given, or else downwards. NULL is before everything."""
    keys = list(keys)
    directions = {d for _, d in keys}
    default = keys[0][1] if len(keys) == 1 else 'desc'
    assert len(directions) <= 2
    for extra in ('created_at', 'id'):
        if extra not in [k for k, _ in keys]:
            keys.append((extra, default))
    rows = list(rows)
    for key, direction in reversed(keys):
        rows.sort(key=lambda r: (getattr(r, key) is not None, encoded(getattr(r, key))), reverse=direction == 'desc')
    return rows


def encoded(value):
    """Text compares by its octets, as the database does."""
    return value.encode() if isinstance(value, str) else value or 0
