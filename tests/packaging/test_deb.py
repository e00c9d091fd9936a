# SPDX-License-Identifier: Apache-2.0
"""The Debian package: it installs, the unit starts with all its hardening and does everything, it is gone without a trace."""
import json
import re
import resource
import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
API = 'http://127.0.0.1:9292'


def files(machine):
    """Everything with our name in it."""
    found = machine.run("find / -xdev -name '*glint*' -not -path '/proc/*' -not -path '/tmp/*' -not -path '/sys/*'")
    return set(found.split())


def install(machine):
    machine.run('DEBIAN_FRONTEND=noninteractive dpkg -i /tmp/glint.deb')
    assert machine.run('systemctl is-active glint').strip() == 'active'  # Type=notify: it has said that it is ready
    assert machine.run(f'curl -fsS {API}/healthcheck').strip() == 'OK'


def create(machine, **attributes):
    body = json.dumps({'disk_format': 'raw', 'container_format': 'bare', **attributes})
    return json.loads(machine.run(f"curl -fsS {API}/v2/images -d '{body}'"))['id']


def upload(machine, image, source):
    machine.run(f'curl -fsS -T {source} -H "Content-Type: application/octet-stream" {API}/v2/images/{image}/file')


def configure(machine, text):
    """Append to glint.conf and start with it."""
    machine.run(f"printf '%s' '{text}' >>/etc/glint/glint.conf && systemctl restart glint")


def start_import(machine, image, name, **more):
    body = json.dumps({'method': {'name': name, **more}})
    return int(machine.run(f"curl -sS -o /dev/null -w '%{{http_code}}' {API}/v2/images/{image}/import "
                           f"-H 'Content-Type: application/json' -d '{body}'"))


def finish_import(machine):
    """Wait for the end of the image's task, told by the log; returns what it says."""
    machine.run('timeout 60 sh -c "tail -n +1 -f /var/log/glint/glint.log | grep -q -m1 -E \'task.(success|failure)\'"')
    line = machine.run('grep -E "notification.task.(success|failure)" /var/log/glint/glint.log | tail -n 1')
    return json.loads(line[line.index('{'):])


def test_install_use_remove_purge(machine):
    before = files(machine)
    install(machine)
    image = create(machine)
    machine.run('head -c 3000000 /dev/urandom >/tmp/data')
    upload(machine, image, '/tmp/data')
    machine.run(f'curl -fsS {API}/v2/images/{image}/file | cmp - /tmp/data')
    assert 'image.send' in machine.run('cat /var/log/glint/glint.log')
    said = machine.run('glint notifications status --config-file /etc/glint/glint.conf')
    assert 'up to date' in said
    machine.run('systemctl stop glint && glint db check --config-file /etc/glint/glint.conf && systemctl start glint')

    machine.run('dpkg -r glint')  # what was made stays, nothing runs
    assert not machine.ok('pidof glint') and machine.ok('test -s /etc/glint/glint.conf')
    assert machine.ok(f'cmp /var/lib/glint/images/{image} /tmp/data')
    install(machine)
    machine.run(f'curl -fsS {API}/v2/images/{image}/file | cmp - /tmp/data')

    said = machine.run('dpkg -P glint')  # images are no configuration
    assert '/var/lib/glint' in said
    assert machine.ok(f'cmp /var/lib/glint/images/{image} /tmp/data') and machine.ok('getent passwd glint')
    assert not machine.ok('test -e /etc/glint || test -e /var/log/glint')

    install(machine)
    machine.run(f'curl -fsS -X DELETE {API}/v2/images/{image}')
    machine.run('dpkg -P glint')
    assert files(machine) == before
    assert not machine.ok('getent passwd glint') and not machine.ok('getent group glint')
    assert machine.run('systemctl list-units --all --no-legend "glint*"').strip() == ''


def test_purge_leaves_the_database_of_stores_elsewhere(machine):
    """It is all that knows what is in them."""
    install(machine)
    machine.run('install -d -o glint -g glint /srv/images && mkdir -p /etc/systemd/system/glint.service.d && printf '
                '"[Service]\\nReadWritePaths=/srv/images\\n" >/etc/systemd/system/glint.service.d/stores.conf && '
                'systemctl daemon-reload && sed -i s,^filesystem_store_datadir.*,filesystem_store_datadir=/srv/images, '
                '/etc/glint/glint.conf && systemctl restart glint')
    image = create(machine)
    upload(machine, image, '/etc/hostname')
    assert '/var/lib/glint' in machine.run('dpkg -P glint')
    assert machine.ok(f'test -s /var/lib/glint/glint.sqlite && test -s /srv/images/{image} && getent passwd glint')
    install(machine)
    assert not machine.ok('test -e /var/lib/glint/.stores-elsewhere')


def test_installed_files(machine):
    install(machine)
    assert machine.run('stat -c "%U:%G %a" /etc/glint /etc/glint/glint.conf /var/lib/glint /var/log/glint '
                       '/var/lib/glint/glint.sqlite').split('\n')[:-1] == \
        ['root:glint 750', 'root:glint 640', 'glint:glint 750', 'glint:glint 750', 'glint:glint 640']
    assert 'good, 0 warnings' in machine.run('glint config check --config-file /etc/glint/glint.conf')
    assert machine.ok('test -s /usr/share/man/man1/glint.1.gz && test -s /usr/share/bash-completion/completions/glint')
    for name in re.findall(r'/usr/share/doc/glint/(\S+\.md)\b', (REPO / 'packaging/glint.conf').read_text()
                           + (REPO / 'packaging/glint.service').read_text()):
        assert machine.ok(f'test -s /usr/share/doc/glint/{name}'), name


def test_what_the_process_may(machine):
    """As systemd has started it: no root, no capability, no way to get one, nothing to write to but its own."""
    install(machine)
    status = dict(re.findall(r'^(\w+):\t(.*)$', machine.run('cat /proc/$(pidof glint)/status'), re.M))
    user = machine.run('id -u glint').strip()
    assert status['Uid'].split() == [user] * 4
    assert {int(status[name], 16) for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')} == {0}
    assert status['NoNewPrivs'] == '1' and status['Seccomp'] == '2' and status['Umask'] == '0027'
    most = int(re.search(r'Max open files\s+(\d+)', machine.run('cat /proc/$(pidof glint)/limits'))[1])
    assert most == min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])  # the container has no more than we
    inside = 'nsenter -t $(pidof glint) -m --'
    for path in ('/etc', '/usr/bin', '/var/lib', '/root', '/home'):
        assert not machine.ok(f'{inside} touch {path}/x'), path
    for path in ('/var/lib/glint', '/var/log/glint', '/tmp'):
        assert machine.ok(f'{inside} touch {path}/x'), path
    assert not machine.ok(f'{inside} test -e /dev/kmsg')


def test_imports_in_the_cage(machine):
    """Conversion runs qemu-img in namespaces and a filter of its own, below the unit's."""
    install(machine)
    configure(machine, '\n[image_import_opts]\nimage_import_plugins = image_conversion\n'
                       '[image_conversion]\noutput_format = qcow2\n')
    image = create(machine)
    machine.run('head -c 2000000 /dev/zero >/tmp/disk')
    machine.run(f'curl -fsS -T /tmp/disk -H "Content-Type: application/octet-stream" {API}/v2/images/{image}/stage')
    assert start_import(machine, image, 'glance-direct') == 202
    ended = finish_import(machine)
    assert ended['event_type'] == 'task.success', ended['payload']
    shown = json.loads(machine.run(f'curl -fsS {API}/v2/images/{image}'))
    assert (shown['status'], shown['disk_format']) == ('active', 'qcow2')
    assert 'file format: qcow2' in machine.run(f'qemu-img info /var/lib/glint/images/{image}')


NEIGHBOUR = """ip netns add other
ip link add here type veth peer there netns other
ip address add 9.9.9.1/24 dev here
ip -n other address add 9.9.9.9/24 dev there
ip link set here up
ip -n other link set there up
mkdir -p /srv/www
echo data >/srv/www/disk
busybox httpd -p 9.9.9.1:80 -h /srv/www
ip netns exec other busybox httpd -p 9.9.9.9:80 -h /srv/www"""


def test_own_addresses_are_told_from_others(machine):
    """web-download goes to a neighbour and not to the machine itself; for that the unit leaves it a netlink socket."""
    install(machine)
    machine.run(NEIGHBOUR)
    machine.run('curl -fsS http://9.9.9.1/disk')
    image = create(machine)
    assert start_import(machine, image, 'web-download', uri='http://9.9.9.1/disk') == 400
    assert start_import(machine, image, 'web-download', uri='http://9.9.9.9/disk') == 202
    ended = finish_import(machine)
    assert ended['event_type'] == 'task.success', ended['payload']


def test_reload_and_rotation(machine):
    install(machine)
    pid = machine.run('pidof glint')
    machine.run('mv /var/log/glint/glint.log /var/log/glint/moved && systemctl reload glint')
    machine.run('timeout 20 sh -c "until grep -q reopened /var/log/glint/glint.log; do :; done"')
    machine.run('logrotate --force /etc/logrotate.d/glint')
    image = create(machine)
    machine.run(f'timeout 20 sh -c "until grep -q {image} /var/log/glint/glint.log; do :; done"')
    assert machine.run('stat -c "%U:%G %a" /var/log/glint/glint.log').strip() == 'glint:glint 640'
    assert machine.ok('test -s /var/log/glint/glint.log.1') and machine.run('pidof glint') == pid


def test_a_bad_configuration_does_not_start(machine):
    install(machine)
    machine.run('sed -i "s/^bind_host.*/bind_host = 0.0.0.0/" /etc/glint/glint.conf; ! systemctl restart glint')
    assert 'refusing to listen on 0.0.0.0' in machine.run('journalctl -u glint --no-pager -n 50')


def test_upgrade_keeps_what_was_changed(machine):
    install(machine)
    machine.run('echo "# mine" >>/etc/glint/glint.conf; chmod 600 /etc/glint/glint.conf; chown glint /etc/glint/glint.conf')
    image = create(machine)
    install(machine)
    assert '# mine' in machine.run('cat /etc/glint/glint.conf')
    assert machine.run('stat -c "%U %a" /etc/glint/glint.conf').strip() == 'glint 600'
    machine.run(f'curl -fsS {API}/v2/images/{image}')


# -- what can be said of the files alone ----------------------------------------------------------------

def test_exposure_of_the_unit():
    """What systemd itself thinks of the hardening; network and user files are what is left to a service."""
    said = subprocess.run(['systemd-analyze', 'security', '--offline=yes', '--no-pager', REPO / 'packaging/glint.service'],
                          capture_output=True, text=True, check=True).stdout
    assert float(re.search(r'Overall exposure level for glint.service: ([0-9.]+)', said)[1]) <= 1.7


def test_lintian(package):
    said = subprocess.run(['lintian', '--fail-on', 'error,warning', package], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
