#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the seeds of the fuzz targets inspect_*: images of qemu-img and xorriso, of a small disk, cut down to what the
readers look at (see fuzz_inspect.c). They are in corpus/ already; this says where they come from, and makes them anew."""
import subprocess
import tempfile
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / 'corpus'
K = 1024
PLACES = {'iso': [(0, 512), (32 * K, 4096)], 'vhdx': [(0, 64), (192 * K, 1024), (2048 * K, 1024), (2112 * K, 64)]}
LUKS = '--object secret,id=s,data=x -o key-secret=s,iter-time=10'
IMAGES = {
    'qcow2': ['create -f qcow2 {} 1M', 'create -f qcow2 -o compat=0.10 {} 1M', 'convert -c -O qcow2 disk {}',
              'create -u -f qcow2 -F raw -b /etc/passwd {} 1M', 'create -f qcow2 -o data_file=other {} 1M',
              'create -f qcow2 -o extended_l2=on,compression_type=zstd {} 1M', 'convert -O qcow2 -o cluster_size=512 disk {}'],
    'qcow': ['create -f qcow {} 1M', 'create -u -f qcow -F raw -b /etc/passwd {} 1M'],
    'qed': ['create -f qed {} 1M'],
    'vmdk': ['convert -O vmdk disk {}', 'convert -O vmdk -o subformat=streamOptimized disk {}',
             'create -f vmdk -o subformat=monolithicFlat {} 1M', 'create -f vmdk -o compat6 {} 1M'],
    'vhd': ['convert -O vpc disk {}', 'convert -O vpc -o subformat=fixed,force_size=on disk {}'],
    'vhdx': ['convert -O vhdx disk {}', 'create -f vhdx -o subformat=fixed {} 1M'],
    'vdi': ['convert -O vdi disk {}', 'create -f vdi -o static=on {} 64K'],
    'luks': [f'create -f luks {LUKS} {{}} 64K'],
    'ploop': ['convert -O parallels disk {}'],
}
MOST = 70 * K  # of each; the heads are whole


def cut(kind, data):
    if kind in PLACES:
        return b''.join(data[at:at + n] for at, n in PLACES[kind])
    tail = data[-1536:] if kind == 'vhd' and len(data) > MOST else b''
    return data[:4096] + tail if tail else data[:MOST].rstrip(b'\0').ljust(1024, b'\0')


def put(kind, n, data):
    directory = CORPUS / f'inspect_{kind}'
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f'{kind}-{n}').write_bytes(cut(kind, data))


def mbr(boot, kind, first):
    entry = bytes([boot, 0, 2, 0, kind, 0xff, 0xff, 0xff]) + first.to_bytes(4, 'little') + b'\xff\xff\0\0'
    return bytes(446) + entry + bytes(48) + b'\x55\xaa'


def main():
    with tempfile.TemporaryDirectory() as d:
        work = Path(d)
        (work / 'disk').write_bytes(bytes(range(256)) * 16 + bytes(60 * K))
        for kind, commands in IMAGES.items():
            for n, command in enumerate(commands):
                subprocess.run('qemu-img ' + command.format('image'), shell=True, cwd=work, check=True,
                               stdout=subprocess.DEVNULL)
                put(kind, n, (work / 'image').read_bytes())
                (work / 'image').unlink()
        (work / 'tree').mkdir()
        (work / 'tree' / 'file').write_text('a file')
        subprocess.run(['xorriso', '-as', 'mkisofs', '-quiet', '-o', work / 'image', work / 'tree'], check=True)
        put('iso', 0, (work / 'image').read_bytes())
        put('gpt', 0, mbr(0x80, 0x83, 2048))
        put('gpt', 1, mbr(0, 0xee, 1) + b'EFI PART')
        put('raw', 0, bytes(range(256)))
        put('raw', 1, b'# a text\nversion=1\n')
        put('raw', 2, (CORPUS / 'inspect_vhd' / 'vhd-1').read_bytes())


if __name__ == '__main__':
    main()
