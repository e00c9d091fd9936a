#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure whether a page of the list costs the same in a catalogue of 1,000,000 images as in one of 1,000.

What is measured and how: README.md beside this file. Prints a table and writes results-pages.json. Nothing
listens but on loopback; everything started here is stopped, everything written is removed again.
"""
import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import catalogue
from bench import HERE, ROOT, machine
from servers import Glint

AIM = 1.3
ROUNDS = 5
PAGE = '/v2/images?limit=25'


# -- the catalogues -----------------------------------------------------------------------------------

NUMBERS = 'WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :n) '
WHEN = "strftime('%Y-%m-%d %H:%M:%S.000000', 1767225600 + i, 'unixepoch')"
ID = "printf('60000000-0000-4000-8000-%012x', i)"
FILL = f'''
{NUMBERS} INSERT INTO images (id, name, size, status, created_at, updated_at, deleted, disk_format, container_format,
  checksum, owner, min_disk, min_ram, protected, visibility, os_hidden, os_hash_algo, os_hash_value)
SELECT {ID}, 'image ' || i, 1048576, 'active', {WHEN}, {WHEN}, 0, 'raw', 'bare', printf('%032x', i),
  printf('%032x', i % 20), 0, 0, 0, CASE i % 4 WHEN 0 THEN 'public' WHEN 1 THEN 'shared' WHEN 2 THEN 'private'
  ELSE 'community' END, 0, 'sha512', printf('%0128x', i) FROM n;
{NUMBERS} INSERT INTO image_properties (image_id, name, value, created_at, updated_at, deleted)
SELECT {ID}, 'os_distro', CASE i / 4 % 2 WHEN 0 THEN 'debian' ELSE 'other' END, {WHEN}, {WHEN}, 0 FROM n;
{NUMBERS} INSERT INTO image_properties (image_id, name, value, created_at, updated_at, deleted)
SELECT {ID}, 'build_id', 'build ' || i, {WHEN}, {WHEN}, 0 FROM n;
'''


def fill(database, n):
    db = sqlite3.connect(database, isolation_level=None)
    db.execute('PRAGMA journal_mode = OFF')
    db.execute('PRAGMA synchronous = OFF')
    db.execute('PRAGMA cache_size = -500000')
    db.execute('BEGIN')
    for statement in FILL.split(';\n')[:-1]:
        db.execute(statement, {'n': n})
    db.execute('COMMIT')
    db.close()


def prepare(directory, program, n):
    """A server that was started once, so that its tables are there, with its catalogue."""
    server = Glint(directory / f'{n}', program)
    server.start()
    server.stop()
    began = time.monotonic()
    fill(server.database, n)
    print(f'{n:,} images made in {time.monotonic() - began:.0f} s', file=sys.stderr)
    return server


def forget(server):
    """From now on it keeps nothing in memory: the database itself is measured."""
    server.stop()
    with open(server.config, 'a') as f:
        f.write('[glint]\nimage_cache_size = 0\n')
    server.start()


def marker(place):
    return f'{PAGE}&marker={catalogue.image_id(place)}'


# What is asked for in a catalogue of n images, in turn.
PAGES = {
    'first page': lambda n: [PAGE],
    'middle page': lambda n: [marker(n // 2)],
    'filtered page': lambda n: [f'{PAGE}&os_distro=debian'],
}
UNKEPT = {
    'first, unkept': lambda n: [PAGE],
    '400 pages, unkept': lambda n: [marker(place) for place in range(200, n, max(1, n // 400))],
}


# -- measuring ----------------------------------------------------------------------------------------

def latency(server, paths, seconds):
    """Microseconds until the answer, the median; one client."""
    listed = server.directory / 'paths'
    listed.write_text('\n'.join(paths) + '\n')
    done = subprocess.run(['wrk', '-t1', '-c1', f'-d{seconds}s', '-s', str(HERE / 'requests.lua'), server.url, '--',
                           'pages', str(listed)], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    if report['bad'] or not report['requests']:
        raise RuntimeError(f'{server.directory.name} images: {report["bad"]} bad answers')
    return report['p50_us']


def measure(small, large, counts, pages, seconds):
    """In turn; of the medians of the rounds the lowest, which what else the machine does has met least."""
    results = {}
    for what, paths in pages.items():
        found = {small: [], large: []}
        for _ in range(ROUNDS):
            for server, n in ((small, counts[0]), (large, counts[1])):
                found[server].append(latency(server, paths(n), seconds))
        best = {server: min(found[server]) for server in (small, large)}
        results[what] = {'small': best[small], 'large': best[large], 'ratio': best[large] / best[small],
                         'rounds': list(found.values())}
    return results


def print_table(results, counts):
    print(f'\n| latency of        | {counts[0]:>9,} | {counts[1]:>9,} |  ratio |    aim |')
    print('|-------------------|-----------|-----------|--------|--------|')
    for what, r in results.items():
        print(f'| {what:<17} | {r["small"]:>6,.0f} us | {r["large"]:>6,.0f} us | {r["ratio"]:4.2f} x | <= {AIM} |')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--glint', default='build-bench/glint', help='the program (default: %(default)s)')
    parser.add_argument('--images', type=int, default=1_000_000, help='of the large one (default: %(default)s)')
    parser.add_argument('--seconds', type=int, default=1, help='of each measurement (default: %(default)s)')
    parser.add_argument('--directory', default=ROOT, help='where to work: on the disk in question')
    args = parser.parse_args()

    where, counts = machine(), (1000, args.images)
    directory = Path(tempfile.mkdtemp(prefix='build-bench-', dir=args.directory))
    servers = []
    try:
        servers = [prepare(directory, args.glint, n) for n in counts]
        for server in servers:
            server.start()
        results = measure(*servers, counts, PAGES, args.seconds)
        for server in servers:
            forget(server)
        results |= measure(*servers, counts, UNKEPT, args.seconds)
    except (RuntimeError, OSError, sqlite3.Error, subprocess.CalledProcessError) as e:
        print(f'pages: {e}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)
    print_table(results, counts)
    (HERE / 'results-pages.json').write_text(json.dumps({'machine': where, 'arguments': vars(args) | {
        'directory': None}, 'results': results}, indent=1, default=str) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
