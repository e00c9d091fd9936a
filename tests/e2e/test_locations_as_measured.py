# SPDX-License-Identifier: Apache-2.0
"""The same requests to glint and to Debian's Glance: what changes locations by PATCH is answered alike, told alike and
leaves the same behind.

glint differs on purpose:
(1) What is at a location has been read: size, virtual size, checksum and hash are known.
(2) A second location has to have the same data; Glance takes any.
(3) Words of errors are our own, and never hold a location.
(4) An image that becomes active by a location is told by image.activate, as by any other way."""
import hashlib

import pytest

from harness import A, ADMIN, make_server, write_config
from real_glance import Glance
from sources import REACHABLE, Hostile

pytestmark = [pytest.mark.glint_only]

DATA = b'hello golden image\n' * 10
CONFIG = {'DEFAULT': {'show_multiple_locations': 'true', 'show_image_direct_url': 'true', 'image_location_quota': 4},
          'glance_store': {'stores': 'file,http'}, 'import_filtering_opts': {'allowed_ports': ''}}
# Debian's refuses every address of this machine, whatever is configured; here they are what there is.
LAUNCH = """import sys, glance.common.utils as u
u.validate_uri = lambda uri: True
from glance.cmd.api import main
sys.exit(main())"""
READ = ('size', 'virtual_size', 'checksum', 'os_hash_algo', 'os_hash_value')


class OpenGlance(Glance):
    def command(self, program, *words):
        command = super().command(program, *words)
        return ['/usr/bin/python3', '-c', LAUNCH, *command[1:]] if program == '/usr/bin/glance-api' else command


@pytest.fixture(scope='module')
def web():
    h = Hostile(DATA)
    for name in ('one', 'two', 'three', 'four', 'five'):
        setattr(h.RequestHandlerClass, f'at_{name}', h.RequestHandlerClass.at_good)
    h.RequestHandlerClass.do_HEAD = h.RequestHandlerClass.do_GET
    yield h
    h.close()


@pytest.fixture(scope='module')
def glint(tmp_path_factory):
    config = {section: dict(options) for section, options in CONFIG.items()}
    config['glint'] = dict(REACHABLE['glint'])
    s = make_server(tmp_path_factory.mktemp('glint'), config).start()
    yield s
    s.stop()


@pytest.fixture(scope='module')
def glance(tmp_path_factory):
    s = OpenGlance(tmp_path_factory.mktemp('glance'), CONFIG)
    s.config['glance_store']['stores'] = 'file,http'
    write_config(s.config_file, s.config)
    s.start()
    yield s
    s.stop()


def step(op, path, *urls, **more):
    if op == 'remove':
        return {'op': op, 'path': f'/locations{path}'}
    values = [{'url': url, 'metadata': {}, **more} for url in urls]
    return {'op': op, 'path': f'/locations{path}', 'value': values if path == '' else values[0]}


def scenario(web):
    """name -> whether the image has formats, and for each request who asks and for which steps."""
    one, two, three, four, five = (f'{web.url}/{n}' for n in ('one', 'two', 'three', 'four', 'five'))
    good = {'os_hash_algo': 'sha512', 'os_hash_value': hashlib.sha512(DATA).hexdigest()}
    file, name = 'file:///etc/passwd', {'op': 'replace', 'path': '/name', 'value': 'n'}
    return {
        'one after the other': (True, [(A, [step('add', '/-', one)]), (A, [step('add', '/-', one)]), (A, [step('add', '/0', two)]),
                                       (A, [step('add', '/9', three)]), (A, [step('add', '/x', four)]),
                                       (A, [step('add', '/-', four)]), (A, [step('add', '/-', five)])]),
        'all at once': (True, [(A, [step('replace', '', one, two)]), (A, [step('replace', '', three)]),
                               (A, [step('replace', '')]), (ADMIN, [step('replace', '')])]),
        'with other changes': (True, [(A, [name, step('add', '/-', one)]), (A, [step('add', '/-', two), name])]),
        'removing': (True, [(A, [step('remove', '/0')]), (ADMIN, [step('remove', '/0')]), (A, [step('replace', '', one, two)]),
                            (A, [step('remove', '/0')]), (ADMIN, [step('remove', '/2')]), (ADMIN, [step('remove', '/x')]),
                            (ADMIN, [step('remove', '/0')]), (ADMIN, [step('remove', '/0')]), (ADMIN, [step('remove', '/-')])]),
        'removing the last of three': (True, [(A, [step('replace', '', one, two, three)]), (ADMIN, [step('remove', '/-')])]),
        'expectations': (True, [(A, [step('add', '/-', one, validation_data={**good, 'os_hash_value': 'x'})]),
                                (A, [step('add', '/-', one, validation_data={**good, 'os_hash_algo': 'sha256'})]),
                                (A, [step('add', '/-', one, validation_data={'os_hash_value': good['os_hash_value']})]),
                                (A, [step('add', '/-', one, validation_data={**good, 'checksum': 'ab'})]),
                                (A, [step('add', '/-', one, validation_data={**good, 'checksum': 'ab' * 20})]),
                                (A, [step('add', '/-', one, validation_data={**good, 'x': 'y'})]),
                                (A, [step('add', '/-', one, validation_data={})]),
                                (A, [step('add', '/-', one, validation_data=good)]),
                                (A, [step('add', '/-', two, validation_data=good)]),
                                (A, [step('add', '/-', three, validation_data={**good, 'os_hash_value': 'ab' * 64})])]),
        'without formats': (False, [(A, [step('add', '/-', one)])]),
        'nothing there': (True, [(A, [step('add', '/-', f'{web.url}/missing')])]),
        'files': (True, [(A, [step('add', '/-', file)]), (ADMIN, [step('replace', '', one, file)]), (A, [step('add', '/-', 'x')])]),
        'no location': (True, [(A, [{'op': 'add', 'path': '/locations/-', 'value': {'url': one}}]),
                               (A, [{'op': 'add', 'path': '/locations/-', 'value': one}]),
                               (A, [{'op': 'add', 'path': '/locations/-/x', 'value': one}]),
                               (A, [{'op': 'remove', 'path': '/locations'}])]),
    }


def play(server, has_formats, requests):
    """What can be compared of all that happened."""
    a = server.client(A)
    image = (a.new() if has_formats else a.create().json())['id']
    seen = []
    for who, steps in requests:
        r = server.client(who).patch(image, *steps)
        shown = a.show(image)
        seen.append((r.status_code, shown['status'], sorted(str(l) for l in shown['locations']), 'direct_url' in shown))
        if r.status_code == 200:
            assert {k: v for k, v in r.json().items() if k not in READ} .keys() == shown.keys() - set(READ)
    events = [e.short for e in server.settled_events(image)]
    content = a.download(image)
    return seen, events, content.status_code, content.content


@pytest.mark.parametrize('name', sorted(scenario(type('', (), {'url': ''}))))
def test_side_by_side(glint, glance, web, name):
    has_formats, requests = scenario(web)[name]
    ours, theirs = play(glint, has_formats, requests), play(glance, has_formats, requests)
    for i, (one, other) in enumerate(zip(ours[0], theirs[0])):
        assert one == other, (i, requests[i])
    assert [e for e in ours[1] if e != 'image.activate'] == theirs[1]
    assert ours[1].count('image.activate') == ('image.update(active)' in theirs[1])
    assert ours[2:] == theirs[2:]
