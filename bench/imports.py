#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure imports: beside curl, and into two stores beside one.

What is measured and how: README.md beside this file. Prints a table and writes results-imports.json.
"""
import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import HERE, MIB, ROOT, api, machine, print_table, write_noise
from servers import Glint, Nginx, write_config
from wire import Connection, stream_upload

IMAGE = {'disk_format': 'raw', 'container_format': 'bare'}
SMALL = 1000  # octets


def configure(server, more):
    """Appends to what the server has been configured with."""
    extra = server.directory / 'more.conf'
    write_config(extra, more)
    with open(server.config, 'a', encoding='utf-8') as f:
        f.write(extra.read_text())


def set_default(server, text):
    path = Path(server.config)
    path.write_text(path.read_text().replace('[DEFAULT]\n', '[DEFAULT]\n' + text, 1))


def make_glint(directory, program):
    s = Glint(directory, program)
    set_default(s, 'enabled_backends = one:file,two:file\n')
    text = Path(s.config).read_text().replace('[glance_store]\n', '[glance_store]\ndefault_backend = one\n')
    Path(s.config).write_text(text)
    configure(s, {'one': {'filesystem_store_datadir': directory / 'one'},
                  'two': {'filesystem_store_datadir': directory / 'two'},
                  'import_filtering_opts': {'allowed_ports': ''},
                  'glint': {'web_download_allow_networks': '127.0.0.0/8'}})
    return s


def new_image(server):
    return api(server, 'POST', '/v2/images', IMAGE, expect=201)['id']


def ask(server, image, method, stores=None):
    api(server, 'POST', f'/v2/images/{image}/import', {'method': method, **({'stores': stores} if stores else {})}, expect=202)


def status(connection, image):
    code, answer = connection.call('GET', f'/v2/images/{image}')
    if code != 200:
        raise RuntimeError(f'show: {code}')
    return json.loads(answer)


def wait_active(server, image, deadline=300):
    end = time.monotonic() + deadline
    with Connection(server.address) as connection:
        while True:
            shown = status(connection, image)
            if shown['status'] == 'active' and not shown.get('os_glance_importing_to_stores'):
                return
            if shown.get('os_glance_failed_import') or time.monotonic() > end:
                raise RuntimeError(f'{server.name}: the import of {image} failed')
            time.sleep(0.002)


def timed_import(server, method, stores=None, image=None):
    image = image or new_image(server)
    began = time.monotonic()
    ask(server, image, method, stores)
    wait_active(server, image)
    seconds = time.monotonic() - began
    api(server, 'DELETE', f'/v2/images/{image}', expect=204)
    return seconds


def timed_direct(server, source, stores):
    image = new_image(server)
    if stream_upload(server.address, f'/v2/images/{image}/stage', source) != 204:
        raise RuntimeError('staging failed')
    return timed_import(server, {'name': 'glance-direct'}, stores, image)


def timed_curl(url, target):
    began = time.monotonic()
    subprocess.run(['curl', '-sf', '-o', str(target), url], check=True)
    seconds = time.monotonic() - began
    target.unlink()
    return seconds


def many(server, url, n):
    """Seconds from the first request until the last of n small images is active."""
    images = [new_image(server) for _ in range(n)]
    began = time.monotonic()
    for image in images:
        ask(server, image, {'name': 'web-download', 'uri': url})
    for image in images:
        wait_active(server, image)
    return n / (time.monotonic() - began)


def measure(args, directory):
    nginx = Nginx(directory / 'nginx')
    glint = make_glint(directory / 'glint', args.glint)
    big = directory / 'nginx' / 'big'
    write_noise(big, args.megabytes)
    (directory / 'nginx' / 'small').write_bytes(b'x' * SMALL)
    web = {'name': 'web-download', 'uri': f'{nginx.url}/big'}
    results = {}
    nginx.start()
    glint.start()
    try:
        rounds = [(timed_import(glint, web), timed_curl(web['uri'], directory / 'copy')) for _ in range(args.runs)]
        results['web-download'] = [statistics.median(seconds) for seconds in zip(*rounds)]
        rounds = [(timed_direct(glint, big, ['one', 'two']), timed_direct(glint, big, ['one'])) for _ in range(args.runs)]
        results['two stores'] = [statistics.median(seconds) for seconds in zip(*rounds)]
        results['tasks'] = many(glint, f'{nginx.url}/small', args.tasks)
    finally:
        glint.stop()
        nginx.stop()
    return results


def table(results, megabytes):
    def speed(seconds):
        return f'{megabytes / seconds:,.0f} MiB/s'
    ours, curl = results['web-download']
    two, one = results['two stores']
    return [['web-download', speed(ours), 'curl -o', speed(curl), f'{curl / ours:.2f} x', ''],
            ['into two stores', speed(two), 'one store', speed(one), f'{one / two:.2f} x', ''],
            ['small imports', f"{results['tasks']:,.0f} /s", '', '', '', '']]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--glint', default='build-bench/glint', help='the program (default: %(default)s)')
    parser.add_argument('--megabytes', type=int, default=1024, help='of the big image (default: %(default)s)')
    parser.add_argument('--tasks', type=int, default=1000, help='small imports (default: %(default)s)')
    parser.add_argument('--runs', type=int, default=3, help='of the big ones, in turn (default: %(default)s)')
    args = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix='build-bench-', dir=ROOT))
    where = machine()
    try:
        results = measure(args, directory)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as e:
        print(f'bench: {e}', file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print_table(table(results, args.megabytes))
    (HERE / 'results-imports.json').write_text(json.dumps({'machine': where, 'results': results}, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
