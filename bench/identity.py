#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure what it costs to know who asks, and what he may: tokens beside a proxy's headers, an operator's rules
beside the default ones.

What is measured and how: README.md beside this file. Prints a table and writes results-identity.json. Nothing
listens but on loopback; everything started here is stopped, everything written is removed again.
"""
import argparse
import asyncio
import json
import os
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
from bench import HERE, ROOT, machine, print_table
from servers import Glint, write_config

CLIENTS = 32
QUESTIONS = 2_000_000
WARM_SECONDS = 60  # at most, until every token has been asked for
PROJECT = catalogue.OWNERS[0]
TICK = os.sysconf('SC_CLK_TCK')


# -- who is asked -------------------------------------------------------------------------------------

class Keystone(asyncio.Protocol):
    """As little of it as glint needs: logs anybody in, and knows every token of the run. Counts the lookups."""
    lookups = 0
    tokens = {}  # token -> user
    asked = set()

    def connection_made(self, transport):
        self.transport, self.data = transport, b''

    def data_received(self, data):
        self.data += data
        while b'\r\n\r\n' in self.data:
            head, rest = self.data.split(b'\r\n\r\n', 1)
            first, *lines = head.decode('latin-1').split('\r\n')
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines)}
            length = int(headers.get('content-length', 0))
            if len(rest) < length:
                return
            self.data = rest[length:]
            self.answer(first.split(' ', 1)[0], headers.get('x-subject-token'))

    def answer(self, method, token):
        if method == 'POST':
            self.send('201 Created', token_body('glance', ['service']), 'the-service')
            return
        Keystone.lookups += 1
        self.asked.add(token)
        user = self.tokens.get(token)
        if user is None:
            self.send('404 Not Found', {'error': {'code': 404}}, '')
        else:
            self.send('200 OK', token_body(user, ['member', 'reader']), token)

    def send(self, status, body, token):
        text = json.dumps(body)
        self.transport.write(f'HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Subject-Token: {token}\r\n'
                             f'Content-Length: {len(text)}\r\n\r\n{text}'.encode())


def token_body(user, roles):
    def when(seconds):
        return time.strftime('%Y-%m-%dT%H:%M:%S.000000Z', time.gmtime(time.time() + seconds))
    domain = {'id': 'default', 'name': 'Default'}
    return {'token': {'methods': ['password'], 'expires_at': when(86400), 'issued_at': when(0), 'audit_ids': ['x'],
                      'user': {'id': user, 'name': user, 'domain': domain},
                      'project': {'id': PROJECT, 'name': 'bench', 'domain': domain},
                      'roles': [{'id': name, 'name': name} for name in roles]}}


def serve_keystone():
    """Its port; it lives on a thread that ends with the program."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(Keystone, '127.0.0.1', 0))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return server.sockets[0].getsockname()[1]


# -- the servers --------------------------------------------------------------------------------------

class Identified(Glint):
    """Who is somebody: with these sections of the configuration, and with this rule for get_image, if any."""

    def __init__(self, directory, program, sections, rule=None):
        self.sections = sections
        super().__init__(directory, program)
        self.policy = self.directory / 'policy.yaml'
        if rule:
            self.policy.write_text(json.dumps({'get_image': rule}))

    def configure(self):
        write_config(self.config, {
            'DEFAULT': {'log_file': self.directory / 'glint.log'},
            'database': {'connection': f'sqlite:///{self.database}'},
            'glance_store': {'filesystem_store_datadir': self.directory / 'images'}, **self.sections})

    def processor(self):
        """Seconds that it has used, user and system, all threads."""
        fields = Path(f'/proc/{self.process.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK


# 23 terms that are not so, of three kinds, then one that is: the answer is yes only after all of them.
TERMS = [*(f'role:other-{n}' for n in range(8)), *(f"'other-{n}':%(disk_format)s" for n in range(8)),
         *(f"'other-{n}':%(hw_vif_model)s" for n in range(7)), 'role:reader']


def make_servers(directory, program, tokens, keystone_port):
    headers = {'paste_deploy': {'flavor': 'trusted-auth'}}
    keystone = {'paste_deploy': {'flavor': 'keystone'},
                'keystone_authtoken': {
                    'auth_url': f'http://127.0.0.1:{keystone_port}', 'auth_type': 'password', 'username': 'glance',
                    'password': 'secret', 'user_domain_name': 'Default', 'project_name': 'service',
                    'project_domain_name': 'Default', 'token_cache_time': 86400},
                'glint': {'keystone_cache_tokens': 2 * tokens}}
    return {'headers': Identified(directory / 'headers', program, headers),
            'keystone': Identified(directory / 'keystone', program, keystone),
            '1 term': Identified(directory / '1-term', program, headers, TERMS[-1]),
            '24 terms': Identified(directory / '24-terms', program, headers, ' or '.join(TERMS))}


def write_callers(directory, n):
    """Files of request headers, a caller a line: a proxy's, one token, n tokens as long as Keystone's are."""
    tokens = {f'gAAAAA{i:08d}{"t" * 170}': f'{i:032x}' for i in range(n)}
    Keystone.tokens = tokens
    files = {'headers': [f'X-Identity-Status\tConfirmed\tX-User-Id\t{0:032x}\tX-Project-Id\t{PROJECT}\t'
                         'X-Roles\tmember,reader'],
             'tokens': [f'X-Auth-Token\t{token}' for token in tokens]}
    files['token'] = files['tokens'][:1]
    directory.mkdir()
    for name, lines in files.items():
        (directory / name).write_text('\n'.join(lines) + '\n')
    return {name: directory / name for name in files}


# -- measuring ----------------------------------------------------------------------------------------

class Bench:
    def __init__(self, args, directory):
        self.args = args
        self.servers = make_servers(directory, args.build / 'glint', args.tokens, serve_keystone())
        self.callers = write_callers(directory / 'callers', args.tokens)
        self.ids = directory / 'ids'
        self.rules = {'default': [], **{name: [self.servers[name].policy] for name in ('1 term', '24 terms')}}
        self.many = f'{args.tokens:,} tokens'
        # What is measured: by whom, with whose word.
        self.cases = {'headers': ('headers', 'headers'), 'one token': ('keystone', 'token'),
                      self.many: ('keystone', 'tokens'), 'get_image, 1 term': ('1 term', 'headers'),
                      'get_image, 24 terms': ('24 terms', 'headers')}

    def start(self):
        """Each has the same images; the 200 that are asked for are public."""
        for server in self.servers.values():
            server.start()
            server.stop()
            ids = catalogue.fill(server.database, 1000)
            server.start()
        self.ids.write_text('\n'.join(ids[::4][:200]) + '\n')

    def ask(self, case, seconds):
        """(requests a second, microseconds of the server's processor time a request)."""
        server, caller = self.servers[self.cases[case][0]], self.callers[self.cases[case][1]]
        used = server.processor()
        done = subprocess.run(
            ['wrk', '-t1', f'-c{CLIENTS}', f'-d{seconds}s', '--timeout', '30s', '-s', str(HERE / 'requests.lua'),
             server.url, '--', 'identity', str(self.ids), str(caller)], capture_output=True, text=True, check=True)
        used = server.processor() - used
        report = json.loads(done.stdout.splitlines()[-1])
        if report['bad'] or not report['requests']:
            raise RuntimeError(f'{case}: {report["bad"]} bad answers of {report["requests"]}\n{server.last_words()}')
        return report['requests'] / report['seconds'], used / report['requests'] * 1e6

    def warm(self):
        """Everybody has been asked for everything once; Keystone for each token, until it is left in peace."""
        deadline = time.monotonic() + WARM_SECONDS
        for case in self.cases:
            self.ask(case, 1)
        while time.monotonic() < deadline:
            before = Keystone.lookups
            self.ask(self.many, 1)
            if Keystone.lookups == before and len(Keystone.asked) == self.args.tokens:
                return
        raise RuntimeError(f'{Keystone.lookups} lookups of {len(Keystone.asked)} tokens, and no end')

    def run(self):
        """Rounds in turn: {case: [(rate, microseconds) of each round]}; {rule: [nanoseconds of each round]}."""
        self.start()
        self.warm()
        rounds, questions, lookups = [], [], Keystone.lookups
        for _ in range(self.args.rounds):
            rounds.append({case: self.ask(case, self.args.seconds) for case in self.cases})
            questions.append({rule: self.question(files) for rule, files in self.rules.items()})
        if Keystone.lookups != lookups:
            raise RuntimeError('Keystone was asked during the rounds: the cache was not warm')
        return by_name(rounds), by_name(questions)

    def question(self, files):
        """Nanoseconds that asking the rule alone takes, as bench_policy counts them."""
        return float(subprocess.run([self.args.build / 'bench' / 'bench_policy', str(QUESTIONS), *files],
                                    capture_output=True, text=True, check=True).stdout)

    def stop(self):
        for server in self.servers.values():
            server.stop()


def by_name(rounds):
    return {name: [r[name] for r in rounds] for name in rounds[0]}


# -- the table ----------------------------------------------------------------------------------------

def rate_row(results, case, base):
    """Medians; the ratio is the median of the ratios of the rounds."""
    ours, theirs = ([rate for rate, _ in results[name]] for name in (case, base))
    return (f'{statistics.median(ours):,.0f} /s', base, f'{statistics.median(theirs):,.0f} /s',
            f'{statistics.median(a / b for a, b in zip(ours, theirs)):.2f} x')


def processor_row(results, case, base):
    """The lowest of the rounds, which what else the machine does has met least."""
    ours, theirs = (min(used for _, used in results[name]) for name in (case, base))
    return f'{ours:.1f} us', base, f'{theirs:.1f} us', f'{ours / theirs:.2f} x'


def rows(results):
    base, *cases = results
    for case in cases:
        is_aim = case.endswith(('token', 'tokens'))
        yield (case, *rate_row(results, case, base), '>= 0.9' if is_aim else '')
        yield ('  processor', *processor_row(results, case, base), '<= 1.11' if is_aim else '')


def print_questions(questions):
    """The rule alone, without the request around it; the lowest as well."""
    print('\nget_image asked once: ' + ', '.join(
        f'{rule} {min(figures):.0f} ns' for rule, figures in questions.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', default='build-bench', type=Path, help='a release build (default: %(default)s)')
    parser.add_argument('--tokens', type=int, default=10_000, help='that are different (default: %(default)s)')
    parser.add_argument('--seconds', type=int, default=2, help='of each measurement (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='in turn (default: %(default)s)')
    parser.add_argument('--directory', default=ROOT, help='where to work: on the disk in question')
    args = parser.parse_args()

    where = machine()
    directory = Path(tempfile.mkdtemp(prefix='build-bench-', dir=args.directory))
    bench = None
    try:
        bench = Bench(args, directory)
        results, questions = bench.run()
    except (RuntimeError, OSError, sqlite3.Error, subprocess.CalledProcessError) as e:
        print(f'identity: {e}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if bench:
            bench.stop()
        shutil.rmtree(directory, ignore_errors=True)
    print_table(rows(results))
    print_questions(questions)
    (HERE / 'results-identity.json').write_text(json.dumps({'machine': where, 'arguments': vars(args) | {
        'directory': None}, 'results': results, 'questions': questions}, indent=1, default=str) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
