// SPDX-License-Identifier: GPL-2.0
/*
 * Writes down each request that a FUSE server reads, for LD_PRELOAD. The file that
 * $FUSE_TAP names gets a line for each: its unique number, the opcode, the node,
 * who asks, and all arguments but those that are different each time anyway:
 * file handles, lock owners, process ids, and times that are now.
 *
 * FORGET is left out: when it comes, and how many at a time, depends on when the
 * server reads.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fuse.h>

#define FUSE_DEVICE	makedev(10, 229)
/* Times that the workload sets are older than this */
#define LONG_AGO	1100000000

#define __printf(f, a)	__attribute__((format(printf, f, a)))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define LLU(x)		((unsigned long long)(x))

static const char * const opcodes[] = {
	[FUSE_LOOKUP] = "LOOKUP", [FUSE_GETATTR] = "GETATTR",
	[FUSE_SETATTR] = "SETATTR", [FUSE_READLINK] = "READLINK",
	[FUSE_SYMLINK] = "SYMLINK", [FUSE_MKNOD] = "MKNOD",
	[FUSE_MKDIR] = "MKDIR", [FUSE_UNLINK] = "UNLINK",
	[FUSE_RMDIR] = "RMDIR", [FUSE_RENAME] = "RENAME", [FUSE_LINK] = "LINK",
	[FUSE_OPEN] = "OPEN", [FUSE_READ] = "READ", [FUSE_WRITE] = "WRITE",
	[FUSE_STATFS] = "STATFS", [FUSE_RELEASE] = "RELEASE",
	[FUSE_FSYNC] = "FSYNC", [FUSE_SETXATTR] = "SETXATTR",
	[FUSE_GETXATTR] = "GETXATTR", [FUSE_LISTXATTR] = "LISTXATTR",
	[FUSE_REMOVEXATTR] = "REMOVEXATTR", [FUSE_FLUSH] = "FLUSH",
	[FUSE_INIT] = "INIT", [FUSE_OPENDIR] = "OPENDIR",
	[FUSE_READDIR] = "READDIR", [FUSE_RELEASEDIR] = "RELEASEDIR",
	[FUSE_FSYNCDIR] = "FSYNCDIR", [FUSE_GETLK] = "GETLK",
	[FUSE_SETLK] = "SETLK", [FUSE_SETLKW] = "SETLKW",
	[FUSE_ACCESS] = "ACCESS", [FUSE_CREATE] = "CREATE",
	[FUSE_INTERRUPT] = "INTERRUPT", [FUSE_BMAP] = "BMAP",
	[FUSE_DESTROY] = "DESTROY", [FUSE_IOCTL] = "IOCTL",
	[FUSE_POLL] = "POLL", [FUSE_NOTIFY_REPLY] = "NOTIFY_REPLY",
	[FUSE_FALLOCATE] = "FALLOCATE", [FUSE_READDIRPLUS] = "READDIRPLUS",
	[FUSE_RENAME2] = "RENAME2", [FUSE_LSEEK] = "LSEEK",
	[FUSE_COPY_FILE_RANGE] = "COPY_FILE_RANGE", [FUSE_SYNCFS] = "SYNCFS",
	[FUSE_TMPFILE] = "TMPFILE",
};

struct text {
	char buf[8192];
	size_t len;
};

/* What follows the header */
struct args {
	const char *p;
	size_t len;
};

static void __printf(2, 3) say(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->len, sizeof(t->buf) - t->len, fmt, ap);
	va_end(ap);
	if (n > 0 && t->len + n < sizeof(t->buf))
		t->len += n;
}

/* A copy of the next @size bytes; what is missing is zero */
static void take(struct args *a, void *to, size_t size)
{
	size_t n = size < a->len ? size : a->len;

	memset(to, 0, size);
	memcpy(to, a->p, n);
	a->p += n;
	a->len -= n;
}

static void say_names(struct text *t, struct args *a)
{
	while (a->len) {
		size_t n = strnlen(a->p, a->len);

		say(t, " '%.*s'", (int)n, a->p);
		n += n < a->len;
		a->p += n;
		a->len -= n;
	}
}

/* FNV-1a */
static void say_data(struct text *t, struct args *a)
{
	unsigned long long hash = 0xcbf29ce484222325ULL;
	size_t i;

	for (i = 0; i < a->len; i++)
		hash = (hash ^ (unsigned char)a->p[i]) * 0x100000001b3ULL;
	say(t, " data %zu %016llx", a->len, hash);
	a->len = 0;
}

static void say_time(struct text *t, const char *name, unsigned long long s,
		     unsigned int ns)
{
	if (s < LONG_AGO)
		say(t, " %s %llu.%09u", name, s, ns);
	else
		say(t, " %s now", name);
}

static void say_setattr(struct text *t, struct args *a)
{
	struct fuse_setattr_in in;

	take(a, &in, sizeof(in));
	say(t, " valid %x", in.valid);
	if (in.valid & FATTR_SIZE)
		say(t, " size %llu", LLU(in.size));
	if (in.valid & FATTR_ATIME)
		say_time(t, "atime", in.atime, in.atimensec);
	if (in.valid & FATTR_MTIME)
		say_time(t, "mtime", in.mtime, in.mtimensec);
	if (in.valid & FATTR_CTIME)
		say_time(t, "ctime", in.ctime, in.ctimensec);
	if (in.valid & FATTR_MODE)
		say(t, " mode %o", in.mode);
	if (in.valid & FATTR_UID)
		say(t, " uid %u", in.uid);
	if (in.valid & FATTR_GID)
		say(t, " gid %u", in.gid);
}

static void say_lock(struct text *t, struct args *a)
{
	struct fuse_lk_in in;

	take(a, &in, sizeof(in));
	say(t, " %llu-%llu type %u flags %x",
	    LLU(in.lk.start), LLU(in.lk.end), in.lk.type, in.lk_flags);
}

static void say_write(struct text *t, struct args *a)
{
	struct fuse_write_in in;

	take(a, &in, sizeof(in));
	say(t, " at %llu size %u write_flags %x flags %x",
	    LLU(in.offset), in.size, in.write_flags, in.flags);
	say_data(t, a);
}

/* It is offered to every server, see fuse-passthrough.rst */
static void say_init(struct text *t, struct args *a)
{
	struct fuse_init_in in;
	unsigned int passthrough = FUSE_PASSTHROUGH >> 32;

	take(a, &in, sizeof(in));
	say(t, " %u.%u readahead %u flags %x flags2 %x%s", in.major, in.minor,
	    in.max_readahead, in.flags, in.flags2 & ~passthrough,
	    in.flags2 & passthrough ? " and passthrough" : "");
	a->len = 0;
}

/* say_args(t, a, structure, format, fields...) */
#define SAY_ARGS(t, a, type, fmt, ...) do {		\
	struct type in;					\
							\
	take(a, &in, sizeof(in));			\
	say(t, " " fmt, __VA_ARGS__);			\
} while (0)

static void say_args(struct text *t, unsigned int opcode, struct args *a)
{
	switch (opcode) {
	case FUSE_INIT:
		say_init(t, a);
		break;
	case FUSE_GETATTR:
		SAY_ARGS(t, a, fuse_getattr_in, "flags %x", in.getattr_flags);
		break;
	case FUSE_SETATTR:
		say_setattr(t, a);
		break;
	case FUSE_MKNOD:
		SAY_ARGS(t, a, fuse_mknod_in, "mode %o rdev %x umask %o",
			 in.mode, in.rdev, in.umask);
		break;
	case FUSE_MKDIR:
		SAY_ARGS(t, a, fuse_mkdir_in, "mode %o umask %o", in.mode,
			 in.umask);
		break;
	case FUSE_RENAME:
		SAY_ARGS(t, a, fuse_rename_in, "to @%llx@",
			 LLU(in.newdir));
		break;
	case FUSE_RENAME2:
		SAY_ARGS(t, a, fuse_rename2_in, "to @%llx@ flags %x",
			 LLU(in.newdir), in.flags);
		break;
	case FUSE_LINK:
		SAY_ARGS(t, a, fuse_link_in, "from @%llx@",
			 LLU(in.oldnodeid));
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		SAY_ARGS(t, a, fuse_open_in, "flags %o open_flags %x", in.flags,
			 in.open_flags);
		break;
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		SAY_ARGS(t, a, fuse_create_in,
			 "flags %o mode %o umask %o open_flags %x", in.flags,
			 in.mode, in.umask, in.open_flags);
		break;
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		SAY_ARGS(t, a, fuse_read_in,
			 "at %llu size %u read_flags %x flags %x",
			 LLU(in.offset), in.size, in.read_flags,
			 in.flags);
		break;
	case FUSE_WRITE:
		say_write(t, a);
		break;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		SAY_ARGS(t, a, fuse_release_in, "flags %o release_flags %x",
			 in.flags, in.release_flags);
		break;
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
		SAY_ARGS(t, a, fuse_fsync_in, "fsync_flags %x", in.fsync_flags);
		break;
	case FUSE_SETXATTR:
		SAY_ARGS(t, a, fuse_setxattr_in, "size %u flags %x", in.size,
			 in.flags);
		break;
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		SAY_ARGS(t, a, fuse_getxattr_in, "size %u", in.size);
		break;
	case FUSE_FLUSH:
		SAY_ARGS(t, a, fuse_flush_in, "unused %u", in.unused);
		break;
	case FUSE_GETLK:
	case FUSE_SETLK:
	case FUSE_SETLKW:
		say_lock(t, a);
		break;
	case FUSE_ACCESS:
		SAY_ARGS(t, a, fuse_access_in, "mask %x", in.mask);
		break;
	case FUSE_BMAP:
		SAY_ARGS(t, a, fuse_bmap_in, "block %llu blocksize %u",
			 LLU(in.block), in.blocksize);
		break;
	case FUSE_IOCTL:
		SAY_ARGS(t, a, fuse_ioctl_in,
			 "flags %x cmd %x in_size %u out_size %u", in.flags,
			 in.cmd, in.in_size, in.out_size);
		break;
	case FUSE_POLL:
		SAY_ARGS(t, a, fuse_poll_in, "flags %x events %x", in.flags,
			 in.events);
		break;
	case FUSE_FALLOCATE:
		SAY_ARGS(t, a, fuse_fallocate_in, "at %llu length %llu mode %x",
			 LLU(in.offset),
			 LLU(in.length), in.mode);
		break;
	case FUSE_LSEEK:
		SAY_ARGS(t, a, fuse_lseek_in, "at %llu whence %u",
			 LLU(in.offset), in.whence);
		break;
	case FUSE_COPY_FILE_RANGE:
		SAY_ARGS(t, a, fuse_copy_file_range_in,
			 "at %llu to @%llx@ at %llu length %llu flags %llx",
			 LLU(in.off_in),
			 LLU(in.nodeid_out),
			 LLU(in.off_out),
			 LLU(in.len),
			 LLU(in.flags));
		break;
	case FUSE_INTERRUPT:
		a->len = 0;
		break;
	}

	/* The rest of those that are known is names, and values of xattrs */
	if (opcode >= ARRAY_SIZE(opcodes) || !opcodes[opcode])
		say_data(t, a);
	say_names(t, a);
}

static void write_down(const struct text *t)
{
	const char *path = getenv("FUSE_TAP");
	int saved_errno = errno;
	int fd;

	fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)
		  : -1;
	if (fd < 0 || write(fd, t->buf, t->len) != (ssize_t)t->len) {
		static const char lost[] = "tap: a request is lost\n";

		if (write(STDERR_FILENO, lost, sizeof(lost) - 1) < 0)
			abort();
		abort();
	}
	close(fd);
	errno = saved_errno;
}

static void request(const char *buf, size_t len)
{
	struct fuse_in_header h;
	struct args a = { buf, len };
	const char *name = NULL;
	struct text t;

	t.len = 0;
	take(&a, &h, sizeof(h));
	if (h.opcode == FUSE_FORGET || h.opcode == FUSE_BATCH_FORGET)
		return;

	if (h.opcode < ARRAY_SIZE(opcodes))
		name = opcodes[h.opcode];
	say(&t, "%llu ", LLU(h.unique));
	if (name)
		say(&t, "%s", name);
	else
		say(&t, "OPCODE %u", h.opcode);
	say(&t, " @%llx@ len %u user %u:%u ext %u", LLU(h.nodeid),
	    h.len, h.uid, h.gid, h.total_extlen);
	say_args(&t, h.opcode, &a);
	say(&t, "\n");
	write_down(&t);
}

static int is_fuse(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISCHR(st.st_mode) &&
	       st.st_rdev == FUSE_DEVICE;
}

ssize_t read(int fd, void *buf, size_t count)
{
	static ssize_t (*real)(int fd, void *buf, size_t count);
	ssize_t n;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "read");
	n = real(fd, buf, count);
	if (n > 0 && is_fuse(fd))
		request(buf, n);

	return n;
}

ssize_t readv(int fd, const struct iovec *iov, int count)
{
	static ssize_t (*real)(int fd, const struct iovec *iov, int count);
	size_t done = 0;
	char *whole;
	ssize_t n;
	int i;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "readv");
	n = real(fd, iov, count);
	if (n <= 0 || !is_fuse(fd))
		return n;

	whole = malloc(n);
	if (!whole)
		abort();
	for (i = 0; i < count && done < (size_t)n; i++) {
		size_t part = iov[i].iov_len;

		if (part > n - done)
			part = n - done;
		memcpy(whole + done, iov[i].iov_base, part);
		done += part;
	}
	request(whole, n);
	free(whole);

	return n;
}

/* The pipe is as large as the largest request, or the server would not splice */
ssize_t splice(int in, off64_t *in_pos, int out, off64_t *out_pos, size_t len,
	       unsigned int flags)
{
	static ssize_t (*real)(int in, off64_t *in_pos, int out,
			       off64_t *out_pos, size_t len, unsigned int flags);
	int saved_errno;
	char *buf;
	ssize_t n;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "splice");
	if (!is_fuse(in))
		return real(in, in_pos, out, out_pos, len, flags);

	buf = malloc(len);
	if (!buf)
		abort();
	n = read(in, buf, len);
	saved_errno = errno;
	if (n > 0 && write(out, buf, n) != n)
		abort();
	free(buf);
	errno = saved_errno;

	return n;
}
