# SPDX-License-Identifier: Apache-2.0
"""Rules mean what they mean to oslo.policy: random ones, asked about random images for random callers, answered by
both. The callers and images are Glance's own classes, so that what rules can see of them is compared, too."""
import itertools
import json
import logging
import random
import subprocess

import pytest

import harness

pytestmark = pytest.mark.glint_only

_parser = pytest.importorskip('oslo_policy._parser')
_checks = pytest.importorskip('oslo_policy._checks')
glance_policy = pytest.importorskip('glance.api.policy')
glance_domain = pytest.importorskip('glance.domain')

N_RULES = 400
PROPERTIES = {'os_distro': 'debian', 'hw_disk_bus': 'virtio', 'target.x': 'p1', 'None': 'None', 'odd name': 'p2'}

CALLERS = [
    {'user': 'u1', 'project': 'p1', 'roles': ['admin', 'member', 'reader'], 'user_domain': 'd1', 'project_domain': 'd1'},
    {'user': 'u2', 'project': 'p1', 'roles': ['member', 'reader'], 'user_domain': 'd1', 'project_domain': 'd2'},
    {'user': 'p1', 'project': 'p2', 'roles': ['reader', 'debian'], 'user_domain': 'd1', 'project_domain': 'd1'},
    {'user': 'u3', 'project': 'public', 'roles': ['service'], 'user_domain': 'd1', 'project_domain': 'd1'},
    {'user': 'u4', 'project': 'p3', 'roles': [], 'user_domain': 'd2', 'project_domain': 'd2'},
]
IMAGES = [
    {'owner': 'p1', 'visibility': 'private', 'status': 'active', 'size': 1, 'protected': True},
    {'owner': 'p2', 'visibility': 'shared', 'status': 'queued', 'name': 'p1', 'min_ram': 512, **PROPERTIES},
    {'owner': None, 'visibility': 'public', 'status': 'active', 'disk_format': 'raw', 'os_hidden': True},
    {'owner': 'p3', 'visibility': 'community', 'status': 'deactivated', 'name': '100%', 'min_disk': 3, **PROPERTIES},
]
ATTRIBUTES = ['id', 'image_id', 'name', 'status', 'visibility', 'owner', 'project_id', 'member', 'member_id', 'protected',
              'os_hidden', 'min_disk', 'min_ram', 'size', 'virtual_size', 'disk_format', 'container_format', 'checksum',
              'os_hash_algo', 'os_hash_value', 'absent', *PROPERTIES]


# -- random rules --------------------------------------------------------------------------------------

def match(rng):
    texts = ['p1', 'p2', 'public', 'admin', 'member', 'MEMBER', 'None', 'True', 'x', '', '100%%', 'a)b(c', '1', 'debian', 'd1']
    return rng.choice([lambda: rng.choice(texts), lambda: f'%({rng.choice(ATTRIBUTES)})s',
                       lambda: f'%({rng.choice(ATTRIBUTES)})s',
                       lambda: f'{rng.choice(texts)}%({rng.choice(ATTRIBUTES)})s'])()


def check(rng, names):
    literal = rng.choice(["'public'", '"p1"', "''", 'None', 'True', 'False', '512', '0', '-1', "'active'", "'100%'", "'d1'"])
    credential = rng.choice(['user_id', 'project_id', 'user_domain_id', 'project_domain_id', 'is_admin', 'nonsense', 'roles',
                             'user', 'tenant', 'is_admin_project', 'service_roles'])
    made = rng.choice(['@', '!', f'role:{match(rng)}', f'role:{match(rng)}', f'{literal}:{match(rng)}',
                       f'{credential}:{match(rng)}', f'{credential}:{match(rng)}', 'system_scope:all', 'domain_id:None',
                       f'rule:{rng.choice(names)}' if names else 'role:reader'])
    if ' ' in made or made.endswith(')') or (made[0] in '\'"' and made[-1] == made[0]):
        return '@'  # not one word any more, or a text to oslo.policy
    return made


def expression(rng, names, depth=0):
    if depth > 3 or rng.random() < 0.3:
        return check(rng, names)
    kind = rng.choice(['and', 'or', 'not', '()', 'AND', 'Or', 'noT'])
    if kind == '()':
        space = rng.choice(['', ' '])
        return f'({space}{expression(rng, names, depth + 1)}{space})'
    if kind.lower() == 'not':
        return f'{kind} {operand(rng, names, depth)}'
    blank = rng.choice([' ', '  ', '\n', '\t'])
    return f' {kind}{blank}'.join(expression(rng, names, depth + 1) for _ in range(rng.randint(2, 3)))


def operand(rng, names, depth):
    inner = expression(rng, names, depth + 1)
    return f'({inner})' if ' ' in inner else inner


def lists(rng, names):
    return [rng.choice([check(rng, names), [check(rng, names) for _ in range(rng.randint(0, 3))]])
            for _ in range(rng.randint(0, 3))]


def random_rules(rng):
    rules, names = {}, []
    for i in range(N_RULES):
        known = names[-40:] if i % 5 == 0 else []  # so that no chain of them is too long
        rules[f'r{i}'] = lists(rng, known) if i % 10 == 1 else expression(rng, known)
        if i % 5:
            names.append(f'r{i}')
    return rules


# -- the two that answer -------------------------------------------------------------------------------

class Enforcer:
    def __init__(self, rules):
        self.rules = {name: _parser.parse_rule(rule) for name, rule in rules.items()}


def credentials(caller):
    """RequestContext.to_policy_values(), and what older versions had and policy files still ask for."""
    return {'user_id': caller['user'], 'project_id': caller['project'], 'user_domain_id': caller['user_domain'],
            'project_domain_id': caller['project_domain'], 'roles': caller['roles'], 'system_scope': None, 'domain_id': None,
            'is_admin_project': True, 'service_roles': [], 'is_admin': 'admin' in caller['roles'],
            'user': caller['user'], 'tenant': caller['project']}


def target(image, caller):
    known = {k: v for k, v in image.items() if k not in PROPERTIES}
    member = caller['project'] if image['visibility'] == 'shared' and image['owner'] != caller['project'] else None
    made = glance_domain.Image(image_id=None, created_at=None, updated_at=None, member=member,
                               extra_properties={k: v for k, v in image.items() if k in PROPERTIES}, **known)
    return glance_policy.ImageTarget(made), member is not None


def glint(path, *words, text=None):
    return subprocess.run([harness.BINARY, 'policy', *words, '--config-file', path / 'glint.conf'], input=text,
                          capture_output=True, text=True, timeout=120)


def write(path, rules):
    (path / 'glint.conf').write_text('[oslo_policy]\npolicy_file = rules.json\n')
    (path / 'rules.json').write_text(json.dumps(rules, indent='\t'))


@pytest.mark.parametrize('seed', [1, 2])
def test_answers_are_those_of_oslo_policy(tmp_path, seed):
    rules = random_rules(random.Random(seed))
    enforcer = Enforcer(rules)
    write(tmp_path, rules)
    asked, expected = [], []
    for caller, image in itertools.product(CALLERS, IMAGES):
        about, is_member = target(image, caller)
        for name in rules:
            asked.append({'rule': name, 'image': image, 'member': is_member, **caller})
            expected.append(bool(_checks._check(enforcer.rules[name], about, credentials(caller), enforcer, name)))
    said = glint(tmp_path, 'check', '--batch', text=''.join(json.dumps(q) + '\n' for q in asked))
    assert said.returncode == 0, said.stderr
    answers = [line == 'allowed' for line in said.stdout.split()]
    assert len(answers) == len(expected) == N_RULES * len(CALLERS) * len(IMAGES)
    wrong = [(rules[q['rule']], q, e) for q, a, e in zip(asked, answers, expected) if a != e]
    assert not wrong, wrong[:3]
    assert 0.2 < sum(expected) / len(expected) < 0.8  # neither is all that there is


# -- what cannot be read -------------------------------------------------------------------------------

class Shrugs(logging.Handler):
    """oslo.policy says in its log that it has not understood a rule, and goes on."""
    def __init__(self):
        super().__init__()
        self.n = 0

    def emit(self, record):
        self.n += 1


@pytest.fixture
def shrugs():
    handler = Shrugs()
    _parser.LOG.addHandler(handler)
    yield handler
    _parser.LOG.removeHandler(handler)


def soup(rng):
    words = ['(', ')', 'and', 'or', 'not', '@', '!', 'role:a', "'x':y", 'role', "'q:q'"]
    return ''.join(rng.choice(words) + rng.choice([' ', ' ', '']) for _ in range(rng.randint(1, 6)))


def test_what_oslo_policy_cannot_read_is_refused(tmp_path, shrugs):
    rng = random.Random(4)
    n_refused = 0
    for text in dict.fromkeys(soup(rng) for _ in range(100)):
        shrugs.n = 0
        _parser.parse_rule(text)
        write(tmp_path, {'fine': '@', 'x': text})
        said = glint(tmp_path, 'show', 'x')
        refused = said.returncode != 0
        if not refused and shrugs.n or refused and not shrugs.n and not is_odd(text):
            pytest.fail(f'{text!r}: oslo.policy {"shrugs" if shrugs.n else "takes it"}, glint says {said.stdout}{said.stderr}')
        if refused:
            n_refused += 1
            assert f'{tmp_path}/rules.json:3: rule x: ' in said.stderr
    assert 20 < n_refused < 95


def is_odd(text):
    """What oslo.policy reads, but cannot evaluate: a left side that is no literal and no name."""
    try:
        check_of = _parser.parse_rule(text)
        _checks._check(check_of, {}, {'roles': []}, Enforcer({}), 'x')
    except Exception:
        return True
    return any(not word.split(':')[0].isidentifier() for word in text.replace('(', ' ').split() if ':' in word)


def test_default_rules_are_those_of_glance(tmp_path):
    """Those that both have; ours are of a later version. Quotes around words apart."""
    policies = pytest.importorskip('glance.policies')
    write(tmp_path, {})
    said = glint(tmp_path, 'show').stdout.splitlines()
    ours = dict(line.split(': "', 1) for line in said if not line.startswith(' '))
    later = {'stores_info_detail'}
    for rule in policies.list_rules():
        if rule.name not in later:
            assert ours[rule.name].removesuffix('"') == rule.check_str, rule.name
    assert len(ours) == 67


def test_undefined_and_circular_rules_are_refused(tmp_path):
    """oslo.policy asks the rule called default instead, or recurses until Python gives up."""
    for rules, story in [({'a': 'rule:nowhere'}, 'asks a rule that is not there: nowhere'),
                         ({'a': 'rule:b', 'b': 'not rule:a'}, 'asks in a circle'),
                         ({'context_is_admin': 'is_admin:True'}, 'asks in a circle')]:
        write(tmp_path, rules)
        said = glint(tmp_path, 'show')
        assert said.returncode == 1 and story in said.stderr
