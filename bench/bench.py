#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure glint beside the real Glance, nginx and the machine's own hash speed, in one run.

What is measured and how: README.md beside this file. Prints a table and writes results.json. Nothing
listens but on loopback; everything started here is stopped, everything written is removed again.
"""
import argparse
import datetime
import json
import os
import platform
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import catalogue
from servers import Glance, Glint, Nginx
from wire import Connection, discard_download, stream_upload

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MIB = 1 << 20


# -- one measurement each -----------------------------------------------------------------------------

def rate(server, what, clients, seconds, *arguments):
    """Good answers a second, on kept-alive connections."""
    done = subprocess.run(
        ['wrk', '-t1', f'-c{clients}', f'-d{seconds}s', '--timeout', '30s', '-s', str(HERE / 'requests.lua'),
         server.url, '--', what, *arguments], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    good = report['requests'] - report['bad']
    if good <= 0:
        raise RuntimeError(f'{server.name}: {what}: no good answer\n{done.stdout}')
    return {'value': good / report['seconds'], **report}


def upload(server, source, runs):
    """Octets a second from the first octet to the answer; memory meanwhile. Leaves one image behind."""
    speeds, peak, image_id = [], 0, None
    for _ in range(runs):
        if image_id:
            api(server, 'DELETE', f'/v2/images/{image_id}', expect=204)
        image_id = api(server, 'POST', '/v2/images', {'name': 'big', 'disk_format': 'raw',
                                                      'container_format': 'bare'}, expect=201)['id']
        with Memory(server) as memory:
            began = time.monotonic()
            status = stream_upload(server.address, f'/v2/images/{image_id}/file', source)
            speeds.append(source.stat().st_size / (time.monotonic() - began))
        if status != 204:
            raise RuntimeError(f'{server.name}: upload answered {status}')
        peak = max(peak, memory.peak)
    return {'value': statistics.median(speeds), 'runs': speeds}, {'value': peak}, image_id


def download_once(server, path, size):
    """Octets a second into a client that throws them away without copying."""
    began = time.monotonic()
    got = discard_download(server.address, path)
    if got != size:
        raise RuntimeError(f'{server.name}: {got} octets of {size} arrived')
    return got / (time.monotonic() - began)


def download(targets, size, runs):
    """Of several (server, path) in turn, so that what the machine does meanwhile hits all of them alike; the ratio
    is the median of the ratios of the rounds, each to the last of @targets. One round before is not counted."""
    rounds = [[download_once(*target, size) for target in targets] for _ in range(runs + 1)][1:]
    return [{'value': statistics.median(speeds), 'runs': list(speeds),
             'ratio': statistics.median(s / r[-1] for s, r in zip(speeds, rounds))} for speeds in zip(*rounds)]


def first_answer(server, runs):
    """Seconds from the start of the process to its first good answer."""
    return {'value': statistics.median(server.restart() for _ in range(runs))}


def hash_speed(algorithm):
    """Octets a second of one stream, as openssl measures it."""
    out = subprocess.run(['openssl', 'speed', '-mr', '-seconds', '2', '-bytes', str(1 << 16), '-evp', algorithm],
                         capture_output=True, text=True, check=True).stdout
    return float(re.search(r'^\+F:.*:([0-9.]+)$', out, re.MULTILINE).group(1))


def memory_of_zeros(server, gibibytes):
    """The most memory during an upload out of a file that is one hole, into a store that leaves zeros out."""
    source = server.directory / 'zeros'
    with open(source, 'wb') as f:
        f.truncate(gibibytes << 30)
    try:
        _, peak, image_id = upload(server, source, 1)
        stored = api(server, 'GET', f'/v2/images/{image_id}')
        if stored['size'] != gibibytes << 30:
            raise RuntimeError(f'{server.name}: {stored["size"]} octets of {gibibytes} GiB were stored')
        api(server, 'DELETE', f'/v2/images/{image_id}', expect=204)
        return peak
    finally:
        source.unlink()


class Memory:
    """The most memory a server took while the `with` block ran."""

    def __init__(self, server):
        self.server, self.peak = server, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._end.wait(0.02):
            self.peak = max(self.peak, self.server.memory())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def api(server, method, path, body=None, expect=200):
    with Connection(server.address) as connection:
        status, answer = connection.call(method, path, body)
    if status != expect:
        raise RuntimeError(f'{server.name}: {method} {path}: {status} {answer[:300]!r}')
    return json.loads(answer) if answer else None


# -- the run ------------------------------------------------------------------------------------------

class Bench:
    def __init__(self, args, directory):
        self.args, self.directory = args, directory
        self.results = {}  # measurement -> {who: {'value': ...}}
        self.began = time.monotonic()

    def note(self, measurement, who, result):
        self.results.setdefault(measurement, {})[who] = result
        print(f'[{time.monotonic() - self.began:5.0f} s] {measurement:<16} {who:<8} '
              f'{show(measurement, result["value"])}', file=sys.stderr, flush=True)

    def prepare(self):
        """One database, made by Glance and filled once; each server works on a copy of it."""
        self.glance = Glance(self.directory / 'glance')
        self.glint = Glint(self.directory / 'glint', self.args.glint)
        self.ids = catalogue.fill(self.glance.make_database(), self.args.images)
        shutil.copy(self.glance.database, self.glint.database)
        (self.directory / 'ids').write_text('\n'.join(self.ids[:200]) + '\n')
        self.source = self.directory / 'nginx' / 'big'
        self.source.parent.mkdir()
        write_noise(self.source, self.args.megabytes)

    def measure_server(self, server):
        seconds, long_ago = self.args.seconds, server.name == 'glance'
        server.start()
        try:
            self.note('first answer', server.name, first_answer(server, 1 if long_ago else 5))
            self.note('memory idle', server.name, {'value': server.memory()})
            self.note('show', server.name, rate(server, 'show', 32, seconds, str(self.directory / 'ids')))
            self.note('list', server.name, rate(server, 'list', 32, seconds))
            self.note('create', server.name, rate(server, 'create', 32, seconds))
            server.restart()  # what wrk left unfinished must not be in the way
            speed, peak, image_id = upload(server, self.source, 2 if long_ago else 5)
            self.note('upload', server.name, speed)
            self.note('memory upload', server.name, peak)
            path = f'/v2/images/{image_id}/file'
            if long_ago:
                self.note('download', server.name, *download([(server, path)], self.source.stat().st_size, 2))
            else:
                self.measure_downloads(server, path)
                self.measure_zeros(server)
        finally:
            server.stop()

    def measure_downloads(self, server, path):
        nginx = Nginx(self.source.parent)
        nginx.start()
        try:
            ours, theirs = download([(server, path), (nginx, '/big')], self.source.stat().st_size, 11)
        finally:
            nginx.stop()
        self.note('download', server.name, ours)
        self.note('download', 'nginx', theirs)

    def measure_zeros(self, server):
        if self.args.zeros:
            server.configure(filesystem_thin_provisioning=True)
            server.restart()
            self.note(f'memory {self.args.zeros} GiB', server.name, memory_of_zeros(server, self.args.zeros))

    def measure_yardsticks(self):
        for algorithm in ('md5', 'sha512'):
            self.note('upload', algorithm, {'value': hash_speed(algorithm)})

    def run(self):
        self.prepare()
        self.measure_server(self.glint)
        self.measure_yardsticks()
        if not self.args.no_glance:
            self.measure_server(self.glance)


def write_noise(path, megabytes):
    """A file that no file system can make smaller."""
    block = os.urandom(16 * MIB)
    with open(path, 'wb') as f:
        for _ in range(megabytes // 16):
            f.write(block)
        f.flush()
        os.fsync(f.fileno())


# -- the table ----------------------------------------------------------------------------------------

RATES, SPEEDS = ('show', 'list', 'create'), ('upload', 'download')


def show(measurement, value):
    if value is None:
        return '-'
    if measurement in RATES:
        return f'{value:,.0f} /s' if value >= 100 else f'{value:.1f} /s'
    if measurement in SPEEDS:
        return f'{value / MIB:,.0f} MiB/s'
    if measurement.startswith('memory'):
        return f'{value / MIB:.1f} MiB'
    return f'{value * 1000:,.0f} ms'


def rows(results):
    """(measurement, glint, compared with, its figure, ratio, what we aim for) of each line of the table."""
    def value(measurement, who):
        return results.get(measurement, {}).get(who, {}).get('value')

    slower = min(('md5', 'sha512'), key=lambda h: value('upload', h) or 0)
    for measurement, other, aim in (
            ('show', 'glance', '>= 150'), ('list', 'glance', '>= 400'), ('create', 'glance', '>= 150'),
            ('download', 'nginx', '>= 0.9'), ('download', 'glance', ''), ('upload', slower, '>= 0.85'),
            ('upload', 'glance', ''), ('memory idle', 'glance', '< 24 MiB'), ('memory upload', 'glance', '< 64 MiB'),
            *((m, '', '< 64 MiB') for m in results if m.endswith(' GiB')), ('first answer', 'glance', '< 100 ms')):
        ours, theirs = value(measurement, 'glint'), value(measurement, other)
        if ours is None:
            continue
        in_turn = results[measurement]['glint'].get('ratio') if other == 'nginx' else None
        yield (measurement, show(measurement, ours), other, show(measurement, theirs),
               f'{in_turn:.2f} x' if in_turn else ratio(ours, theirs), aim)


def ratio(ours, theirs):
    if not theirs:
        return '-'
    if theirs > 10 * ours:
        return f'1/{theirs / ours:.0f}'
    return f'{ours / theirs:.{2 if ours < 10 * theirs else 0}f} x'


def print_table(lines):
    head = ('', 'glint', 'beside', '', 'ratio', 'aim')
    table = [head, *lines]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    print()
    for n, row in enumerate(table):
        cells = [cell.ljust(w) if i in (0, 2) else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        print('| ' + ' | '.join(cells) + ' |')
        if n == 0:
            print('|' + '|'.join('-' * (w + 2) for w in widths) + '|')


def print_bad(results):
    bad = [f'{m} {who}: {r["bad"]} of {r["requests"]}' for m, by in results.items() for who, r in by.items()
           if r.get('bad')]
    if bad:
        print('\nAnswers that were not 2xx (not counted above): ' + '; '.join(bad))


def machine():
    cpu = next((line.split(':')[1].strip() for line in open('/proc/cpuinfo') if line.startswith('model name')),
               platform.machine())
    return {'date': datetime.datetime.now().astimezone().isoformat(timespec='seconds'), 'cpu': cpu,
            'cores': os.cpu_count(), 'kernel': platform.release(), 'load_before': os.getloadavg()[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--glint', default='build-bench/glint', help='the program (default: %(default)s)')
    parser.add_argument('--images', type=int, default=10_000, help='in the catalogue (default: %(default)s)')
    parser.add_argument('--megabytes', type=int, default=1024, help='of the big image (default: %(default)s)')
    parser.add_argument('--seconds', type=int, default=8, help='of each request rate (default: %(default)s)')
    parser.add_argument('--zeros', type=int, default=64, metavar='GIB',
                        help='of the upload that must not need memory; 0: none (default: %(default)s)')
    parser.add_argument('--no-glance', action='store_true', help='glint and the yardsticks alone')
    parser.add_argument('--directory', default=ROOT, help='where to work: on the disk in question')
    parser.add_argument('--keep', action='store_true', help='leave what the run wrote, to look at')
    args = parser.parse_args()

    where = machine()
    if where['load_before'] > 0.5:
        print(f'bench: the load is {where["load_before"]:.1f}: this machine is not idle, distrust the figures',
              file=sys.stderr)
    directory = Path(tempfile.mkdtemp(prefix='build-bench-', dir=args.directory))
    bench = Bench(args, directory)
    try:
        bench.run()
    except (RuntimeError, OSError, sqlite3.Error, subprocess.CalledProcessError) as e:
        print(f'bench: {e}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if args.keep:
            print(f'kept: {directory}', file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    print_table(rows(bench.results))
    print_bad(bench.results)
    (HERE / 'results.json').write_text(json.dumps({'machine': where, 'arguments': vars(args) | {
        'directory': None}, 'results': bench.results}, indent=1, default=str) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
