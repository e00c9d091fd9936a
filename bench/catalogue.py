# SPDX-License-Identifier: Apache-2.0
"""Fill an Images database (the tables that Glance and glint share) with many images, quickly."""
import datetime
import sqlite3
import uuid

PROPERTIES = ['os_distro', 'os_version', 'hw_disk_bus', 'hw_vif_model', 'hw_machine_type', 'hw_rng_model',
              'architecture', 'build_id']
OWNERS = [uuid.UUID(int=n).hex for n in range(1, 21)]


def image_id(n):
    return str(uuid.UUID(int=0x60000000000040008000000000000000 + n))


def image_row(n, when):
    return (image_id(n), f'image {n}', 1 << 20, 'active', when, when, 0, 'raw', 'bare', f'{n:032x}',
            OWNERS[n % len(OWNERS)], 0, 0, 0, ('public', 'shared', 'private', 'community')[n % 4], 0, 'sha512',
            f'{n:0128x}')


def fill(database, n_images):
    """Returns the ids. Images are a second apart, so that every sort order is a total one."""
    start = datetime.datetime(2026, 1, 1)
    whens = [(start + datetime.timedelta(seconds=n)).strftime('%Y-%m-%d %H:%M:%S.000000') for n in range(n_images)]
    db = sqlite3.connect(database)
    with db:
        db.executemany(
            'INSERT INTO images (id, name, size, status, created_at, updated_at, deleted, disk_format, '
            'container_format, checksum, owner, min_disk, min_ram, protected, visibility, os_hidden, os_hash_algo, '
            f'os_hash_value) VALUES ({", ".join("?" * 18)})',
            (image_row(n, whens[n]) for n in range(n_images)))
        db.executemany(
            'INSERT INTO image_properties (image_id, name, value, created_at, updated_at, deleted) '
            'VALUES (?, ?, ?, ?, ?, 0)',
            ((image_id(n), name, f'{name} {n % 100}', whens[n], whens[n])
             for n in range(n_images) for name in PROPERTIES))
    db.execute('ANALYZE')
    db.close()
    return [image_id(n) for n in range(n_images)]
