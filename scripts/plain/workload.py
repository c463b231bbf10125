#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
workload.py DIR: uses a file system in all ways, one after the other, and says
what came of each. The same on the same file system, whenever it is run: inode
numbers, devices and times that were not set are left out.
"""

import errno
import fcntl
import hashlib
import mmap
import os
import signal
import stat
import struct
import subprocess
import sys

LONG_AGO = 1100000000
PAGE = mmap.PAGESIZE


def say(*what):
    print(*what, flush=True)


def attempt(name, function, *args, **kwargs):
    """Says what a call returns, or its errno, and returns it or None"""
    try:
        result = function(*args, **kwargs)
    except OSError as error:
        say(name, '->', errno.errorcode.get(error.errno, error.errno))
        return None
    shown = result
    if isinstance(shown, bytes) and len(shown) > 40:
        shown = '%d bytes %s' % (len(shown),
                                 hashlib.sha256(shown).hexdigest()[:16])
    elif isinstance(shown, os.stat_result):
        shown = attributes(shown)
    say(name, '->', shown)
    return result


def attributes(st):
    """Of directories the size, and of all the blocks, are the file system's"""
    out = [stat.filemode(st.st_mode), 'links', st.st_nlink,
           'owner', st.st_uid, st.st_gid]
    if not stat.S_ISDIR(st.st_mode):
        out += ['size', st.st_size]
    for name, ns in ('atime', st.st_atime_ns), ('mtime', st.st_mtime_ns):
        if ns < LONG_AGO * 10 ** 9:
            out += [name, ns]
    return ' '.join(map(str, out))


def data(size, seed):
    """Bytes that look random and are always the same"""
    out = b''
    while len(out) < size:
        seed = hashlib.sha256(str(seed).encode()).digest()
        out += seed * 32
    return out[:size]


def contents(name):
    fd = attempt('open %s' % name, os.open, name, os.O_RDONLY)
    if fd is None:
        return
    digest, size = hashlib.sha256(), 0
    while part := os.read(fd, 20000):
        digest.update(part)
        size += len(part)
    say('contents', name, size, digest.hexdigest()[:16])
    os.close(fd)


def opened(name, flags, mode=0o644):
    return os.open(name, flags, mode)


def files():
    """Made, written, read, extended, truncated"""
    os.umask(0o022)
    fd = opened('file', os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    attempt('again', os.open, 'file', os.O_RDWR | os.O_CREAT | os.O_EXCL)
    attempt('write', os.write, fd, data(100000, 1))
    attempt('pwrite', os.pwrite, fd, data(5000, 2), 12345)
    attempt('pwrite beyond the end', os.pwrite, fd, b'end', 300000)
    attempt('fstat', os.fstat, fd)
    attempt('fsync', os.fsync, fd)
    attempt('fdatasync', os.fdatasync, fd)
    attempt('pread', os.pread, fd, 50000, 10000)
    attempt('pread across a hole', os.pread, fd, 8192, 298000)
    attempt('preadv', os.preadv, fd, [bytearray(10), bytearray(5000)], 4090)
    attempt('pwritev', os.pwritev, fd, [b'one', data(9000, 3)], 200001)
    attempt('ftruncate', os.ftruncate, fd, 150001)
    attempt('fstat', os.fstat, fd)
    attempt('pread at the end', os.pread, fd, 4096, 150000)
    attempt('pread beyond the end', os.pread, fd, 4096, 150001)
    os.close(fd)
    contents('file')
    attempt('truncate', os.truncate, 'file', 40000)
    attempt('truncate', os.truncate, 'file', 90000)
    contents('file')
    attempt('stat', os.stat, 'file')

    fd = opened('file', os.O_WRONLY | os.O_APPEND)
    attempt('append', os.write, fd, data(7000, 4))
    attempt('append', os.write, fd, b'x')
    os.close(fd)
    fd = opened('file', os.O_WRONLY | os.O_SYNC)
    attempt('write with O_SYNC', os.write, fd, data(4096, 5))
    os.close(fd)
    contents('file')
    fd = opened('file', os.O_RDWR | os.O_TRUNC)
    attempt('write after O_TRUNC', os.write, fd, data(3000, 6))
    attempt('read there', os.read, fd, 10)
    os.lseek(fd, 0, os.SEEK_SET)
    attempt('read', os.read, fd, 5000)
    os.close(fd)
    attempt('open what is not there', os.open, 'nothing', os.O_RDONLY)
    attempt('open a directory for writing', os.open, '.', os.O_WRONLY)


def special_writes():
    """O_DIRECT, holes, copies and pipes"""
    buf = mmap.mmap(-1, 16384)
    buf.write(data(16384, 7))
    fd = attempt('open with O_DIRECT', os.open, 'direct',
                 os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    if fd is not None:
        attempt('direct write', os.pwritev, fd, [buf], 4096)
        attempt('direct read', os.preadv, fd, [buf], 0)
        say('it read', hashlib.sha256(buf).hexdigest()[:16])
        os.close(fd)
        contents('direct')

    fd = opened('sparse', os.O_RDWR | os.O_CREAT)
    attempt('allocate', os.posix_fallocate, fd, 0, 100000)
    attempt('write into a hole', os.pwrite, fd, data(5000, 8), 1 << 20)
    for whence in os.SEEK_DATA, os.SEEK_HOLE:
        attempt('seek', os.lseek, fd, 200000, whence)
    # Pages that are being written or read could not be dropped
    attempt('fsync', os.fsync, fd)
    attempt('advise', os.posix_fadvise, fd, 0, 0, os.POSIX_FADV_WILLNEED)
    attempt('pread', os.pread, fd, 2 << 20, 0)
    attempt('advise', os.posix_fadvise, fd, 0, 0, os.POSIX_FADV_DONTNEED)
    other = opened('copy', os.O_RDWR | os.O_CREAT)
    attempt('copy', os.copy_file_range, fd, other, 9000, 1 << 20, 100)
    attempt('send', os.sendfile, other, fd, 1 << 20, 5000)
    contents('copy')

    read_end, write_end = os.pipe()
    attempt('splice in', os.splice, other, write_end, 5000, 100)
    attempt('splice out', os.splice, read_end, fd, 5000, None, 33)
    os.close(read_end)
    os.close(write_end)
    attempt('lock', fcntl.flock, fd, fcntl.LOCK_EX)
    attempt('lock', fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 10)
    attempt('unlock', fcntl.lockf, fd, fcntl.LOCK_UN, 100, 10)
    attempt('get flags', get_flags, fd)
    os.close(other)
    os.close(fd)
    contents('sparse')


def get_flags(fd):
    buf = bytearray(8)
    fcntl.ioctl(fd, 0x80086601, buf)
    return struct.unpack('l', buf)[0]


def mappings():
    fd = opened('mapped', os.O_RDWR | os.O_CREAT)
    os.write(fd, data(5 * PAGE + 100, 9))
    shared = attempt_map('map shared', fd, mmap.MAP_SHARED,
                         mmap.PROT_READ | mmap.PROT_WRITE)
    if shared:
        shared[PAGE + 5:PAGE + 10] = b'store'
        attempt('sync', shared.flush)
        shared[5 * PAGE + 90:5 * PAGE + 95] = b'store'
        attempt('read what was stored', os.pread, fd, 200, 5 * PAGE)
        attempt('write what is mapped', os.pwrite, fd, b'write', 3 * PAGE)
        say('mapped', shared[3 * PAGE:3 * PAGE + 7])
        shared.close()
    private = attempt_map('map privately', fd, mmap.MAP_PRIVATE,
                          mmap.PROT_READ | mmap.PROT_WRITE)
    if private:
        private[0:5] = b'store'
        say('mapped', hashlib.sha256(private).hexdigest()[:16])
    os.close(fd)
    if private:
        say('mapped', private[4 * PAGE:4 * PAGE + 5])
        private.close()
    contents('mapped')

    subprocess.run(['cp', '/bin/true', 'program'], check=True)
    attempt('execute', lambda: subprocess.run(['./program']).returncode)


def attempt_map(name, fd, flags, prot):
    try:
        return mmap.mmap(fd, 0, flags=flags, prot=prot)
    except OSError as error:
        say(name, '->', errno.errorcode[error.errno])
        return None


def names():
    attempt('mkdir', os.mkdir, 'dir', 0o750)
    attempt('mkdir again', os.mkdir, 'dir')
    for i in range(40):
        fd = opened('dir/%03d' % i, os.O_WRONLY | os.O_CREAT)
        os.write(fd, b'%d' % i)
        os.close(fd)
    attempt('list', lambda: sorted(os.listdir('dir')))
    attempt('list with attributes',
            lambda: sorted((e.name, e.stat().st_size)
                           for e in os.scandir('dir')))
    attempt('rename', os.rename, 'dir/001', 'dir/renamed')
    attempt('rename over another', os.rename, 'dir/002', 'dir/003')
    attempt('rename a directory', os.rename, 'dir', 'moved')
    attempt('rename into itself', os.rename, 'moved', 'moved/inside')
    contents('moved/003')
    attempt('link', os.link, 'file', 'moved/link')
    attempt('stat', os.stat, 'file')
    attempt('symlink', os.symlink, 'file', 'symlink')
    attempt('readlink', os.readlink, 'symlink')
    attempt('lstat', os.lstat, 'symlink')
    contents('symlink')
    attempt('mkfifo', os.mkfifo, 'fifo')
    attempt('mknod', os.mknod, 'null', 0o600 | stat.S_IFCHR,
            os.makedev(1, 3))
    attempt('lstat', os.lstat, 'null')
    attempt('rmdir what is full', os.rmdir, 'moved')
    fd = opened('moved/004', os.O_RDWR)
    attempt('unlink what is open', os.unlink, 'moved/004')
    attempt('use it', os.write, fd, b'gone')
    attempt('use it', os.pread, fd, 10, 0)
    attempt('use it', os.fstat, fd)
    os.close(fd)
    for name in sorted(os.listdir('moved')):
        os.unlink('moved/' + name)
    attempt('rmdir', os.rmdir, 'moved')
    attempt('rmdir again', os.rmdir, 'moved')
    attempt('stat what is gone', os.stat, 'moved')
    fd = attempt('unnamed', lambda:
                 os.close(os.open('.', os.O_TMPFILE | os.O_RDWR)))
    attempt('list', lambda: sorted(os.listdir('.')))


def attributes_of_files():
    attempt('chmod', os.chmod, 'file', 0o600)
    attempt('chown', os.chown, 'file', 12, 34)
    attempt('utime', os.utime, 'file', ns=(10 ** 18 + 1, 10 ** 18 + 2))
    attempt('stat', os.stat, 'file')
    attempt('utime now', os.utime, 'file')
    for name, value in (('user.one', b'value'), ('user.two', data(3000, 10)),
                        ('trusted.three', b'\0\1'), ('user.one', b'')):
        attempt('setxattr ' + name, os.setxattr, 'file', name, value)
    attempt('setxattr', os.setxattr, 'file', 'user.one', b'x',
            os.XATTR_CREATE)
    attempt('listxattr', lambda: sorted(os.listxattr('file')))
    attempt('getxattr', os.getxattr, 'file', 'user.two')
    attempt('getxattr', os.getxattr, 'file', 'user.none')
    attempt('removexattr', os.removexattr, 'file', 'user.one')
    attempt('listxattr', lambda: sorted(os.listxattr('file')))
    attempt('access', os.access, 'file', os.W_OK)
    attempt('statvfs', lambda: os.statvfs('.').f_namemax)
    attempt('sync', lambda: os.fsync(os.open('.', os.O_RDONLY)))


def other_user():
    """Writes to a setuid file as somebody else, and is refused another one"""
    os.chmod('.', 0o777)
    fd = opened('setuid', os.O_RDWR | os.O_CREAT)
    os.fchmod(fd, 0o6777)
    os.close(fd)
    attempt('stat', os.stat, 'setuid')
    if not os.fork():
        try:
            os.setgroups([])
            os.setgid(1)
            os.setuid(1)
            fd = attempt('open as another', os.open, 'setuid', os.O_WRONLY)
            if fd is not None:
                attempt('write as another', os.write, fd, b'text')
                os.close(fd)
            attempt('open as another', os.open, 'file', os.O_RDONLY)
            fd = attempt('create as another', os.open, 'theirs',
                         os.O_WRONLY | os.O_CREAT)
        finally:
            os._exit(0)
    os.wait()
    attempt('stat', os.stat, 'setuid')
    attempt('stat', os.stat, 'theirs')


def big():
    """More than one request, and than the readahead window"""
    text = data(1500000, 11)
    fd = opened('big', os.O_RDWR | os.O_CREAT)
    attempt('write', os.write, fd, text)
    attempt('fsync', os.fsync, fd)
    os.close(fd)
    drop_caches()
    contents('big')
    drop_caches()
    fd = opened('big', os.O_RDONLY)
    for offset in 700000, 3, 1400000, 704096:
        attempt('pread', os.pread, fd, 3000, offset)
    for name, flags in (('shared', mmap.MAP_SHARED),
                        ('private', mmap.MAP_PRIVATE)):
        whole = attempt_map('map ' + name, fd, flags, mmap.PROT_READ)
        if whole:
            say('mapped', name, whole[:] == text)
            whole.close()
    os.close(fd)
    attempt('unlink', os.unlink, 'big')


def drop_caches():
    with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as file:
        file.write('1')


def main():
    os.chdir(sys.argv[1])
    signal.alarm(300)
    for part in (files, special_writes, mappings, names, attributes_of_files,
                 other_user, big):
        say('==', part.__name__)
        part()
    for name in sorted(os.listdir('.')):
        attempt('unlink ' + name, os.unlink, name)


if __name__ == '__main__':
    main()
