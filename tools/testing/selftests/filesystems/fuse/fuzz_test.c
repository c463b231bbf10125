// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough against hostile input: a server that sends random and broken
 * replies, notifications and ioctls, while clients open, read, write, map and
 * close its files, and connections are aborted and mounts go away below them.
 *
 * FUSE_FUZZ_INPUTS is the number of things that are sent to the kernel,
 * FUSE_FUZZ_SEED the start of the random numbers that they are made from. Each
 * input has a stream of its own, so that most of them are the same again even
 * if the scheduler lets the clients run in another order.
 *
 * What must be right: nothing hangs, each call ends with an errno that it may end
 * with, and where a small model of the documented rules knows the outcome, that
 * is the outcome: each BACKING_OPEN and BACKING_CLOSE, and each open(2) whose
 * reply can or cannot be followed. At the end of a connection nothing pins a
 * backing file system. That the kernel has no complaints is for the one to see
 * who reads its log.
 */
#include "test_common.h"

#include <dirent.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define INPUTS		5000
#define PAGE		4096
#define MAX_LEN		(8 * PAGE)	/* of a client's call; a pipe holds it */
#define MAX_WRITE	(1024 * 1024)	/* that INIT may ask for */
#define BUF_SIZE	(MAX_WRITE + 16 * PAGE)

#define CLIENTS		3
#define USER_CLIENT	2		/* has no privileges */
#define SLOTS		5		/* fds that a client has */
#define MAPS		3		/* mappings that a client has */
#define BATCH		6		/* calls that a client makes at a time */
#define DEVS		4		/* the device and clones of it */
#define IDS		48		/* registered at a time, at most */
#define PENDING		24		/* requests without an answer, at most */
#define HOMES		4		/* files that are there, and those to be made */
#define NODES		64
#define NODE_FILE(n)	(2 + (n))
#define NODE_NEW(n)	(2 + HOMES + (n))
#define KINDS		64		/* of files to be registered */
#define HISTORY		24		/* inputs that a report shows */
#define ERRNOS		512

#define SECONDS_FOR_INPUT	110	/* before the kernel's own watchdog */
#define INPUTS_IN_A_SECOND	15	/* at least */
#define TEST_SECONDS		(24 * 60 * 60)

/* What fcntl(F_SETLK) returns if a server says EINTR for no reason */
#define ERESTARTSYS	512

#ifndef F_ADD_SEALS
#define F_ADD_SEALS	1033
#endif

/* The calls of a client */

enum call_type {
	OPEN, CREATE, TMPFILE, CLOSE,
	READ, WRITE, READ_NOWAIT, WRITE_NOWAIT, COPY, SEND_FILE,
	MMAP, LOAD, STORE, MUNMAP, MSYNC, MADVISE,
	TRUNCATE, FTRUNCATE, FALLOCATE, SEEK, FSYNC, FADVISE, READAHEAD,
	SETFL, SETLK, GETFLAGS, FSTAT, STAT, FCHMOD, GETXATTR, UNLINK, EXEC,
	UMOUNT, RESET,
	CALLS
};

struct call {
	enum call_type type;
	int slot;
	int from;		/* slot of the other file, or way of reading */
	int map;
	int path;		/* file: number of a name */
	int flags;
	off_t off;
	size_t len;
	long number;		/* of the input */
};

/* What a client and the server share */
struct shared {
	struct call call[BATCH];
	long ret[BATCH];	/* what the call returned, or -errno */
	int calls;
	int done;		/* atomic */
};

/* An open file of a client's, or what its mappings keep of one */
struct live {
	uint64_t node;		/* 0: unused */
	int refs;		/* the fd and mappings */
	enum { NEUTRAL, CACHED, PASSTHROUGH } mode;
	bool direct;		/* FOPEN_DIRECT_IO */
	bool stream;		/* FOPEN_STREAM or FOPEN_NONSEEKABLE */
	bool sure;		/* the mode is known */
	int kind;		/* of the backing file */
	int flags;		/* O_* */
};

/* What is known of a reply to an open that has been sent to a client */
struct verdict {
	bool sent;
	enum { EITHER, MUST_FAIL, MUST_WORK } open;
	struct live live;	/* if it works */
	bool certain;		/* whatever others do meanwhile */
	int32_t id;		/* in the reply; 0: of no importance */
};

struct client {
	pid_t pid;
	int sock;
	struct shared *shared;
	bool busy;
	bool dying;
	bool errors;		/* were sent to it during this batch */
	int collected;		/* results that have been looked at */
	struct verdict verdict;
	int slot[SLOTS];	/* number of a struct live; -1: not open */
	int map[MAPS];
	int o_path[SLOTS];	/* its fd of a file that is not open; or -1 */
};

/* A kind of file that may be registered */
struct kind {
	const char *name;
	int fd;
	int err;		/* BACKING_OPEN's, whatever the connection */
	int depth;		/* of its file system */
	bool sure;		/* root can open its path in any way, O_DIRECT apart */
	bool round;		/* closed at the end of a round */
	int inode;		/* the same for kinds of one file */
};

struct backing_id {
	int32_t id;
	int kind;
};

struct request {
	uint64_t unique;
	uint64_t nodeid;
	uint32_t opcode;
	int dev;
	int client;		/* -1: somebody else's */
	size_t len;
	char arg[512];
};

/* A mount and its connection: what a round is about */
struct conn {
	char dir[PATH_MAX];
	dev_t st_dev;
	int dev[DEVS];		/* -1: not open. 0 is the one of the mount */
	bool mounted;
	bool connected;
	bool ending;		/* may be disconnected at any time */
	bool dead;		/* has been seen to be */
	bool init_done;
	bool init_failed;
	bool enabled;		/* passthrough */
	bool odd_minor;
	bool alone;		/* one client at a time */
	uint32_t max_depth;
	bool fuzzy;		/* the modes of the inodes are not known */
	bool spoiled[NODES];	/* ... of this inode */
	bool absent[HOMES];
	struct backing_id id[IDS];
	int ids;
	int32_t next_id;
	struct request pending[PENDING];
	int pendings;
	bool sent[ERRNOS];	/* errors of the server's */
	struct live live[CLIENTS * (SLOTS + MAPS)];
	uint64_t next_fh;
};

struct notification {
	char buf[2 * PAGE];
	size_t len;
	int dev;
	int code;
	bool busy;		/* atomic */
	int err;
};

struct world {
	struct test_env env;	/* has another mount, whose files are used */
	uint64_t seed;
	long inputs;
	long number;		/* atomic */
	uint64_t random;
	bool failed;
	bool quit;		/* atomic */
	bool hung;		/* atomic */
	int base_depth;
	cpu_set_t cpus;
	struct kind kind[KINDS];
	int kinds;
	int home[2 * HOMES];	/* kinds */
	struct conn conn;
	struct client client[CLIENTS];
	struct notification notification;
	int notify_event;	/* wakes the notifier */
	int done_event;		/* ... and the server */
	pthread_t notifier;
	pthread_t watchdog;
	int page_fd;
	char *none;		/* a page before one that is not mapped */
	char history[HISTORY][160];
	long count[4];
	char in[BUF_SIZE];
	char out[BUF_SIZE];
};

enum { COUNT_IOCTL, COUNT_REPLY, COUNT_CALL, COUNT_OTHER };

/* Random numbers */

static uint32_t below(struct world *w, uint32_t n)
{
	return test_random_below(&w->random, n);
}

static bool one_in(struct world *w, uint32_t n)
{
	return !below(w, n);
}

static uint32_t bits(struct world *w)
{
	return below(w, 65536) << 16 | below(w, 65536);
}

/* Numbers that go wrong */
static uint64_t strange(struct world *w)
{
	static const uint64_t numbers[] = {
		0, 1, 2, 3, 7, 8, 15, 16, 255, 256, 511, 512, 4095, 4096, 4097,
		65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
		0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000,
		0xffffffffffffffff,
	};

	if (one_in(w, 3))
		return (uint64_t)bits(w) << 32 | bits(w);
	return numbers[below(w, ARRAY_SIZE(numbers))];
}

/* Reports */

static void note(struct world *w, int count, const char *fmt, ...)
{
	char *text = w->history[w->number % HISTORY];
	va_list ap;
	int n;

	n = snprintf(text, sizeof(w->history[0]), "%ld: ", w->number);
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(w->history[0]) - n, fmt, ap);
	va_end(ap);
	w->count[count]++;
}

/* Each input begins with this, and has numbers of its own. */
static void begin_input(struct world *w)
{
	long number = __atomic_add_fetch(&w->number, 1, __ATOMIC_RELAXED);

	w->random = test_random_start(w->seed ^ number * 0x9e3779b97f4a7c15ULL);
	w->history[number % HISTORY][0] = 0;
}

static void print_history(struct world *w)
{
	long i = w->number >= HISTORY ? w->number - HISTORY + 1 : 0;

	for (; i <= w->number; i++)
		if (w->history[i % HISTORY][0])
			fprintf(stderr, "#   %s\n", w->history[i % HISTORY]);
}

static bool wrong(struct world *w, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!w->failed) {
		fprintf(stderr, "# input %ld of seed %llu: %s\n# before it:\n",
			w->number, (unsigned long long)w->seed, text);
		print_history(w);
	}
	w->failed = true;
	return false;
}

/* Clients: what they do, each in a process of its own */

struct actor {
	struct world *w;
	int fd[SLOTS];
	char *map[MAPS];
	size_t map_len[MAPS];
	char *buf;
};

static sigjmp_buf bad_touch;

static void on_bad_touch(int sig)
{
	siglongjmp(bad_touch, 1);
}

static void on_signal(int sig)
{
}

static long result(long ret)
{
	return ret < 0 ? -errno : ret;
}

static const char *name_of(int path)
{
	static const char * const names[2 * HOMES] = {
		"f0", "f1", "f2", "f3", "n0", "n1", "n2", "n3",
	};

	return names[path];
}

static const char *path_of(struct world *w, int path, char buf[PATH_MAX])
{
	return test_pathf(buf, "%s/%s", w->conn.dir, name_of(path));
}

static long act_close(struct actor *a, int slot)
{
	int fd = a->fd[slot];

	a->fd[slot] = -1;
	return fd < 0 ? -EBADF : result(close(fd));
}

static long act_open(struct actor *a, const struct call *c)
{
	char path[PATH_MAX];

	if (a->fd[c->slot] >= 0)
		act_close(a, c->slot);
	if (c->type == TMPFILE)
		a->fd[c->slot] = open(a->w->conn.dir, c->flags, 0644);
	else
		a->fd[c->slot] = open(path_of(a->w, c->path, path), c->flags,
				      0644);
	return result(a->fd[c->slot]);
}

static long act_munmap(struct actor *a, int map)
{
	char *p = a->map[map];

	a->map[map] = NULL;
	return p ? result(munmap(p, a->map_len[map])) : -ENOENT;
}

static long act_mmap(struct actor *a, const struct call *c)
{
	char *p;

	if (a->map[c->map])
		act_munmap(a, c->map);
	p = mmap(NULL, c->len, PROT_READ | (c->flags & 2 ? PROT_WRITE : 0),
		 c->flags & 1 ? MAP_SHARED : MAP_PRIVATE, a->fd[c->slot],
		 c->off & ~(off_t)(PAGE - 1));
	if (p == MAP_FAILED)
		return -errno;
	a->map[c->map] = p;
	a->map_len[c->map] = c->len;
	return 0;
}

/* Beyond the end of a file, or what may not be written to: no error but this */
static long act_touch(struct actor *a, const struct call *c)
{
	char *p = a->map[c->map];
	size_t off;

	if (!p)
		return -ENOENT;
	off = c->off % a->map_len[c->map];
	if (sigsetjmp(bad_touch, 1))
		return -EFAULT;
	if (c->type == STORE)
		__atomic_store_n(&p[off], 'm', __ATOMIC_RELAXED);
	else
		__atomic_load_n(&p[off], __ATOMIC_RELAXED);
	return 0;
}

static long act_read(struct actor *a, const struct call *c)
{
	struct iovec iov = { a->buf, c->len };

	if (c->type == READ)
		return do_read(c->from, a->fd[c->slot], a->buf, c->len, c->off);
	return result(preadv2(a->fd[c->slot], &iov, 1, c->off, RWF_NOWAIT));
}

static long act_write(struct actor *a, const struct call *c)
{
	struct iovec iov = { a->buf, c->len };

	if (c->type == WRITE)
		return do_write(c->from, a->fd[c->slot], a->buf, c->len,
				c->off);
	return result(pwritev2(a->fd[c->slot], &iov, 1, c->off,
			       RWF_NOWAIT | (c->flags & RWF_APPEND)));
}

static long act_exec(struct actor *a, const struct call *c)
{
	char path[PATH_MAX];

	/* What is in the files is no program */
	execl(path_of(a->w, c->path, path), "fuzz", NULL);
	return -errno;
}

static long act_umount(struct actor *a, const struct call *c)
{
	int i, ret;

	for (i = 0; i < 1000; i++) {
		ret = umount2(a->w->conn.dir, c->flags);
		if (!ret || errno != EBUSY || i == c->from)
			break;
		usleep(10000);
	}
	return result(ret);
}

static long act_reset(struct actor *a)
{
	int i;

	for (i = 0; i < MAPS; i++)
		act_munmap(a, i);
	for (i = 0; i < SLOTS; i++)
		act_close(a, i);
	return 0;
}

static long act_file(struct actor *a, const struct call *c)
{
	struct flock lock = { .l_type = c->flags % 3, .l_len = 1 };
	int fd = a->fd[c->slot];
	off_t from = c->off;
	struct stat st;
	char value[64];
	long attr;

	switch (c->type) {
	case COPY:
		return result(copy_file_range(a->fd[c->from], &from, fd, NULL,
					      c->len, 0));
	case SEND_FILE:
		return result(sendfile(fd, a->fd[c->from], &from, c->len));
	case FTRUNCATE:
		return result(ftruncate(fd, c->off));
	case FALLOCATE:
		return result(fallocate(fd, c->flags, c->off, c->len));
	case SEEK:
		return result(lseek(fd, c->off, c->flags) < 0 ? -1 : 0);
	case FSYNC:
		return result(c->flags & 1 ? fdatasync(fd) : fsync(fd));
	case FADVISE:
		return -posix_fadvise(fd, c->off, c->len, c->flags);
	case READAHEAD:
		return result(readahead(fd, c->off, c->len));
	case SETFL:
		return result(fcntl(fd, F_SETFL, c->flags));
	case SETLK:
		return result(fcntl(fd, F_SETLK, &lock));
	case GETFLAGS:
		return result(ioctl(fd, FS_IOC_GETFLAGS, &attr));
	case FSTAT:
		return result(fstat(fd, &st));
	case FCHMOD:
		return result(fchmod(fd, c->flags & 07777));
	case GETXATTR:
		return result(fgetxattr(fd, "user.x", value, sizeof(value)));
	default:
		return -ENOSYS;
	}
}

static long act(struct actor *a, const struct call *c)
{
	char path[PATH_MAX];
	struct stat st;

	switch (c->type) {
	case OPEN:
	case CREATE:
	case TMPFILE:
		return act_open(a, c);
	case CLOSE:
		return act_close(a, c->slot);
	case READ:
	case READ_NOWAIT:
		return act_read(a, c);
	case WRITE:
	case WRITE_NOWAIT:
		return act_write(a, c);
	case MMAP:
		return act_mmap(a, c);
	case LOAD:
	case STORE:
		return act_touch(a, c);
	case MUNMAP:
		return act_munmap(a, c->map);
	case MSYNC:
		return a->map[c->map] ?
		       result(msync(a->map[c->map], a->map_len[c->map],
				    MS_SYNC)) : -ENOENT;
	case MADVISE:
		return a->map[c->map] ?
		       result(madvise(a->map[c->map], a->map_len[c->map],
				      c->flags)) : -ENOENT;
	case STAT:
		return result(stat(path_of(a->w, c->path, path), &st));
	case TRUNCATE:
		return result(truncate(path_of(a->w, c->path, path), c->off));
	case UNLINK:
		return result(unlink(path_of(a->w, c->path, path)));
	case EXEC:
		return act_exec(a, c);
	case UMOUNT:
		return act_umount(a, c);
	case RESET:
		return act_reset(a);
	default:
		return act_file(a, c);
	}
}

static void handle_signal(int sig, void (*handler)(int sig))
{
	/* Calls shall be interrupted */
	struct sigaction sa = { .sa_handler = handler };

	sigaction(sig, &sa, NULL);
}

static void client_main(struct world *w, int self, int sock)
{
	struct shared *shared = w->client[self].shared;
	struct actor a = { .w = w };
	char c;
	ssize_t n;
	int i;

	/* Not an fd of the server's is to live on in here */
	dup2(sock, 3);
	syscall(SYS_close_range, 4, ~0U, 0);
	handle_signal(SIGBUS, on_bad_touch);
	handle_signal(SIGSEGV, on_bad_touch);
	if (self == USER_CLIENT && (setgid(TEST_GID) || setuid(TEST_UID)))
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memset(a.fd, -1, sizeof(a.fd));
	a.buf = aligned_alloc(PAGE, MAX_LEN);
	memset(a.buf, 'c', MAX_LEN);

	while ((n = read(3, &c, 1)) == 1 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		for (i = 0; i < shared->calls; i++) {
			shared->ret[i] = act(&a, &shared->call[i]);
			__atomic_store_n(&shared->done, i + 1,
					 __ATOMIC_RELEASE);
		}
		while (write(3, &c, 1) < 0 && errno == EINTR)
			;
	}
	_exit(0);
}

static bool start_client(struct world *w, int self)
{
	struct client *c = &w->client[self];
	struct shared *shared = c->shared;
	int sock[2];
	pid_t pid;

	memset(c, 0, sizeof(*c));
	c->shared = shared ? shared : test_shared_memory(sizeof(*c->shared));
	memset(c->slot, -1, sizeof(c->slot));
	memset(c->map, -1, sizeof(c->map));
	memset(c->o_path, -1, sizeof(c->o_path));
	if (!c->shared ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock))
		return false;
	c->sock = sock[0];
	fflush(NULL);
	pid = fork();
	if (!pid)
		client_main(w, self, sock[1]);
	close(sock[1]);
	c->pid = pid;
	return pid > 0;
}

/* The model of what is open in which mode */

static struct live *live_of(struct world *w, int self, int slot)
{
	int n = w->client[self].slot[slot];

	return n < 0 ? NULL : &w->conn.live[n];
}

static void drop_live(struct world *w, int *n)
{
	if (*n >= 0 && !--w->conn.live[*n].refs)
		w->conn.live[*n].node = 0;
	*n = -1;
}

static int new_live(struct world *w, const struct live *live)
{
	int i;

	for (i = 0; w->conn.live[i].node; i++)
		;
	w->conn.live[i] = *live;
	w->conn.live[i].refs = 1;
	return i;
}

static void forget_client(struct world *w, int self)
{
	struct client *c = &w->client[self];
	int i;

	for (i = 0; i < SLOTS; i++)
		drop_live(w, &c->slot[i]);
	for (i = 0; i < MAPS; i++)
		drop_live(w, &c->map[i]);
	memset(c->o_path, -1, sizeof(c->o_path));
}

/* An inode of which too much has been said to know what it is */
static void spoil(struct world *w, uint64_t node)
{
	if (node < NODES)
		w->conn.spoiled[node] = true;
	else
		w->conn.fuzzy = true;
}

static bool is_known(const struct conn *conn, uint64_t node)
{
	return !conn->fuzzy && node < NODES && !conn->spoiled[node];
}

/* The mode of an inode. False if it is not known */
static bool mode_of(struct world *w, uint64_t node, struct live *mode)
{
	struct conn *conn = &w->conn;
	size_t i;

	*mode = (struct live) { .mode = NEUTRAL };
	if (!is_known(conn, node))
		return false;
	for (i = 0; i < ARRAY_SIZE(conn->live); i++) {
		const struct live *live = &conn->live[i];

		if (live->node != node)
			continue;
		if (!live->sure)
			return false;
		if (live->mode != NEUTRAL)
			*mode = *live;
	}
	return true;
}

static bool others_are_busy(struct world *w, int self)
{
	int i;

	for (i = 0; i < CLIENTS; i++)
		if (i != self && w->client[i].busy)
			return true;
	return false;
}

/* What was known of opens that are under way is so no more */
static void doubt_verdicts(struct world *w, int except)
{
	int i;

	for (i = 0; i < CLIENTS; i++) {
		struct verdict *v = &w->client[i].verdict;

		if (i == except || !v->sent)
			continue;
		v->live.sure = false;
		if (!v->certain)
			v->open = EITHER;
	}
}

/* An id has come or gone, which an open under way may or may not have seen */
static void doubt_id(struct world *w, int32_t id)
{
	int i;

	for (i = 0; i < CLIENTS; i++) {
		struct verdict *v = &w->client[i].verdict;

		if (v->sent && (id < 0 || v->id == id)) {
			v->open = EITHER;
			v->live.sure = false;
		}
	}
}

static const struct backing_id *find_id(struct world *w, int32_t id)
{
	int i;

	for (i = 0; i < w->conn.ids; i++)
		if (w->conn.id[i].id == id)
			return &w->conn.id[i];
	return NULL;
}

/* The rules of replies to OPEN, CREATE and TMPFILE */

#define GOOD_FLAGS	(FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO | \
			 FOPEN_KEEP_CACHE | FOPEN_NOFLUSH | \
			 FOPEN_PARALLEL_DIRECT_WRITES)

/* The reply says so by itself */
static bool reply_must_fail(struct world *w, const struct fuse_open_out *out)
{
	if (!(out->open_flags & FOPEN_PASSTHROUGH))
		return false;
	return !w->conn.enabled || out->open_flags & ~GOOD_FLAGS ||
	       out->backing_id < 0 ||
	       (out->backing_id && !find_id(w, out->backing_id) &&
		!w->conn.ending);
}

/* Fills in how the file would be open. True if that does not go together */
static bool conflicts(struct world *w, const struct fuse_open_out *out,
		      const struct live *now, struct live *live)
{
	const struct backing_id *id = find_id(w, out->backing_id);

	live->mode = PASSTHROUGH;
	live->kind = id ? id->kind : now->kind;
	if (out->open_flags & FOPEN_PASSTHROUGH) {
		if (now->mode == CACHED)
			return true;
		if (now->mode == NEUTRAL)
			return !out->backing_id;
		return out->backing_id && w->kind[live->kind].inode !=
					  w->kind[now->kind].inode;
	}
	live->kind = now->kind;
	if (now->mode == PASSTHROUGH)
		return false;
	live->mode = out->open_flags & FOPEN_DIRECT_IO ||
		     !w->conn.enabled ? NEUTRAL : CACHED;
	return false;
}

static void judge_reply(struct world *w, const struct request *r,
			const struct fuse_open_out *out, uint64_t node,
			uint32_t flags, bool mutated)
{
	struct client *c = &w->client[r->client];
	const struct call *call = &c->shared->call[c->collected];
	struct verdict *v = &c->verdict;
	struct live now;
	bool sure, bad;

	/* What had been open there was closed first */
	if (c->busy && call->type <= TMPFILE)
		drop_live(w, &c->slot[call->slot]);
	*v = (struct verdict) { .sent = true, .id = out->backing_id };
	v->live.node = node;
	v->live.direct = out->open_flags & FOPEN_DIRECT_IO;
	v->live.stream = out->open_flags & (FOPEN_STREAM | FOPEN_NONSEEKABLE);
	v->live.flags = flags;
	sure = mode_of(w, node, &now) && !others_are_busy(w, r->client) &&
	       !w->conn.ending && !mutated;
	bad = conflicts(w, out, &now, &v->live);
	v->live.sure = sure;

	v->certain = reply_must_fail(w, out);
	if (v->certain || (sure && bad))
		v->open = MUST_FAIL;
	/* A new file, which is not the user's own, as the kernel finds out now */
	else if (r->opcode != FUSE_OPEN && r->client == USER_CLIENT &&
		 (flags & O_NOATIME))
		return;
	else if (sure && (v->live.mode != PASSTHROUGH ||
			  (w->kind[v->live.kind].sure && !(flags & O_DIRECT))))
		v->open = MUST_WORK;
}

/* Errors that calls may end with */

static bool has_errno(const int *list, int err)
{
	while (*list && *list != err)
		list++;
	return *list;
}

/* Of each call that gets to the file system */
static const int any_call[] = {
	EIO, EBADF, ENOTCONN, ECONNABORTED, ECONNREFUSED, EINTR, ENOENT, ESTALE,
	EACCES, EPERM, EINVAL, EISDIR, ENOTDIR, EROFS, ELOOP, ENXIO, EOPNOTSUPP,
	ESPIPE,
	EOVERFLOW,	/* ids that the server made up are none */
	0
};

/* What the backing file may say, or the call before it: no dead connection */
static const int backing_read[] = {
	EBADF, EINVAL, EAGAIN, EINTR,
	EOPNOTSUPP,	/* RWF_NOWAIT */
	0
};

static const int none[] = { 0 };

static const int * const call_errors[CALLS] = {
	[OPEN] = (const int []) { ETXTBSY, EEXIST, ENFILE, ENODEV, EFBIG, 0 },
	[CREATE] = (const int []) { ETXTBSY, EEXIST, EFBIG, 0 },
	[TMPFILE] = (const int []) { EEXIST, 0 },
	[READ] = (const int []) { EAGAIN, 0 },
	[READ_NOWAIT] = (const int []) { EAGAIN, 0 },
	[WRITE] = (const int []) { EAGAIN, EFBIG, ENOSPC, 0 },
	[WRITE_NOWAIT] = (const int []) { EAGAIN, EFBIG, ENOSPC, 0 },
	[COPY] = (const int []) { EFBIG, ENOSPC, EXDEV, EOVERFLOW, ETXTBSY,
				  EAGAIN, 0 },
	[SEND_FILE] = (const int []) { EFBIG, ENOSPC, EAGAIN, EOVERFLOW, 0 },
	[MMAP] = (const int []) { ENODEV, ENOMEM, EOVERFLOW, EAGAIN, ETXTBSY,
				  0 },
	[LOAD] = (const int []) { EFAULT, 0 },
	[STORE] = (const int []) { EFAULT, 0 },
	[MSYNC] = (const int []) { ENOMEM, ENOSPC, EFBIG, 0 },
	/* MADV_REMOVE is a fallocate() */
	[MADVISE] = (const int []) { ENOMEM, EAGAIN, EFAULT, EFBIG, ENOSPC, 0 },
	[TRUNCATE] = (const int []) { EFBIG, ETXTBSY, 0 },
	[FTRUNCATE] = (const int []) { EFBIG, ETXTBSY, 0 },
	[FALLOCATE] = (const int []) { EFBIG, ENOSPC, ENODEV, ESPIPE, ETXTBSY,
				       0 },
	[SEEK] = (const int []) { ESPIPE, EOVERFLOW, 0 },
	[FSYNC] = (const int []) { ENOSPC, 0 },
	[FADVISE] = (const int []) { ESPIPE, 0 },
	[SETLK] = (const int []) { EAGAIN, ENOLCK, ERESTARTSYS, 0 },
	[GETFLAGS] = (const int []) { ENOTTY, ENOSYS, EFAULT, 0 },
	[STAT] = (const int []) { EOVERFLOW, 0 },
	[GETXATTR] = (const int []) { ENODATA, ERANGE, 0 },
	[UNLINK] = (const int []) { EBUSY, 0 },
	[EXEC] = (const int []) { ENOEXEC, ETXTBSY, ENOMEM, 0 },
	[UMOUNT] = (const int []) { EBUSY, 0 },
};

static const char * const call_names[CALLS] = {
	"open", "create", "tmpfile", "close", "read", "write", "read nowait",
	"write nowait", "copy_file_range", "sendfile", "mmap", "load", "store",
	"munmap", "msync", "madvise", "truncate", "ftruncate", "fallocate",
	"lseek", "fsync", "fadvise", "readahead", "F_SETFL", "F_SETLK",
	"GETFLAGS", "fstat", "stat", "fchmod", "getxattr", "unlink", "exec",
	"umount", "reset",
};

/* Results of calls */

static bool settle_open(struct world *w, int self, const struct call *c,
			long ret)
{
	struct client *client = &w->client[self];
	struct verdict *v = &client->verdict;

	drop_live(w, &client->slot[c->slot]);
	client->o_path[c->slot] = c->flags & O_PATH ? ret : -1;
	if (ret >= 0 && v->sent && v->open == MUST_FAIL)
		return wrong(w, "client %d: %s (input %ld) worked, but the reply must be refused",
			     self, call_names[c->type], c->number);
	if (ret < 0 && v->sent && !client->errors && ret != -EINTR &&
	    !client->dying) {
		if (v->open == MUST_WORK)
			return wrong(w, "client %d: %s (input %ld): %s, but the reply was good",
				     self, call_names[c->type], c->number,
				     strerror(-ret));
		if (v->open == MUST_FAIL && ret != -EIO)
			return wrong(w, "client %d: %s (input %ld): %s, must be EIO",
				     self, call_names[c->type], c->number,
				     strerror(-ret));
	}
	if (ret >= 0 && v->sent)
		client->slot[c->slot] = new_live(w, &v->live);
	else if (ret >= 0 && !(c->flags & O_PATH))
		w->conn.fuzzy = true;	/* a server without OPEN */
	v->sent = false;
	return true;
}

static void settle_mmap(struct world *w, int self, const struct call *c,
			long ret)
{
	struct client *client = &w->client[self];
	struct live *live = live_of(w, self, c->slot);

	drop_live(w, &client->map[c->map]);
	if (ret < 0 || !live)
		return;
	client->map[c->map] = client->slot[c->slot];
	live->refs++;
	/* A private mapping of a FOPEN_DIRECT_IO file uses the page cache */
	if (live->mode == NEUTRAL && w->conn.enabled)
		live->mode = CACHED;
}

/*
 * Reads of a backing file that is there need nobody, unless the inode has become a
 * bad one, by attributes of a file of another type
 */
static bool reads_backing(struct world *w, int self, const struct call *c)
{
	const struct live *live = live_of(w, self, c->slot);

	return (c->type == READ || c->type == READ_NOWAIT) && live &&
	       live->sure && live->mode == PASSTHROUGH && !live->direct &&
	       w->kind[live->kind].sure && is_known(&w->conn, live->node);
}

static bool check_errno(struct world *w, int self, const struct call *c,
			long ret)
{
	bool backing = reads_backing(w, self, c);
	const int *more = call_errors[c->type] ? call_errors[c->type] : none;

	if (ret >= 0)
		return true;
	if (backing && has_errno(backing_read, -ret))
		return true;
	/* An open that joins may have no file position */
	if (backing && ret == -ESPIPE && live_of(w, self, c->slot)->stream)
		return true;
	if (!backing && (has_errno(any_call, -ret) || has_errno(more, -ret) ||
			 (-ret < ERRNOS && w->conn.sent[-ret])))
		return true;
	return wrong(w, "client %d: %s (input %ld): %s%s", self,
		     call_names[c->type], c->number, strerror(-ret),
		     backing ? " from a backing file" : "");
}

static bool settle(struct world *w, int self, const struct call *c, long ret)
{
	struct client *client = &w->client[self];

	if (!check_errno(w, self, c, ret))
		return false;
	switch (c->type) {
	case OPEN:
	case CREATE:
	case TMPFILE:
		return settle_open(w, self, c, ret);
	case CLOSE:
		drop_live(w, &client->slot[c->slot]);
		client->o_path[c->slot] = -1;
		break;
	case MMAP:
		settle_mmap(w, self, c, ret);
		break;
	case MUNMAP:
		drop_live(w, &client->map[c->map]);
		break;
	case RESET:
		forget_client(w, self);
		break;
	case UMOUNT:
		/* Or one that was killed has done it, and could not say so */
		if (!ret || ret == -EINVAL)
			w->conn.mounted = false;
		break;
	default:
		/* What was submitted may hold on to the file */
		if (ret == -EINTR || ret == -EAGAIN)
			w->conn.fuzzy |= c->from == AIO;
	}
	client->verdict.sent = false;
	return true;
}

/* Looks at the calls that a client has finished so far */
static bool collect(struct world *w, int self)
{
	struct client *c = &w->client[self];
	int done = __atomic_load_n(&c->shared->done, __ATOMIC_ACQUIRE);

	for (; c->busy && c->collected < done; c->collected++)
		if (!settle(w, self, &c->shared->call[c->collected],
			    c->shared->ret[c->collected]))
			return false;
	return true;
}

static bool collect_all(struct world *w)
{
	int i;

	for (i = 0; i < CLIENTS; i++)
		if (!collect(w, i))
			return false;
	return true;
}

static bool start_batch(struct world *w, int self)
{
	struct client *c = &w->client[self];
	char byte = 0;

	c->collected = 0;
	c->errors = false;
	c->verdict.sent = false;
	__atomic_store_n(&c->shared->done, 0, __ATOMIC_RELEASE);
	doubt_verdicts(w, self);
	c->busy = true;
	if (write(c->sock, &byte, 1) != 1)
		return wrong(w, "client %d is gone", self);
	return true;
}

/* Writing to the device */

struct reply {
	struct fuse_out_header header;
	size_t header_len;	/* less: a part of it */
	size_t len;		/* of what is in w->out */
	int dev;
	bool bad_header;	/* pointers */
	bool bad_data;
};

static long send_out(struct world *w, const struct reply *r)
{
	struct iovec iov[] = {
		{ r->bad_header ? w->none + PAGE - 8 : (void *)&r->header,
		  r->header_len },
		{ r->bad_data ? w->none + PAGE : w->out, r->len },
	};

	return result(writev(w->conn.dev[r->dev], iov, 2));
}

/* What says no open device is left for requests: closed ones do not matter */
static bool expect_write(struct world *w, const struct reply *r, long ret,
			 long err, const char *what)
{
	long want = err ? -err : (long)(r->header_len + r->len);

	note(w, COUNT_REPLY, "%s: %ld", what, ret);
	if (ret == want)
		return true;
	/* The connection may have gone away meanwhile */
	if (w->conn.ending && ret == -ENOENT)
		return true;
	return wrong(w, "%s: the write returned %ld, must be %ld", what, ret,
		     want);
}

static void init_reply(struct reply *r, const struct request *req, size_t len)
{
	*r = (struct reply) {
		.header = { .unique = req->unique, .len = sizeof(r->header) + len },
		.header_len = sizeof(r->header),
		.len = len,
		.dev = req->dev,
	};
}

static int other_dev(struct world *w, int dev)
{
	int i;

	for (i = 0; i < DEVS; i++)
		if (i != dev && w->conn.dev[i] >= 0)
			return i;
	return -1;
}

/* Writes that answer nothing; the request goes on to wait */
static bool send_nonsense(struct world *w, const struct request *req)
{
	struct reply r;
	const char *what;
	long err;
	int dev;

	begin_input(w);
	init_reply(&r, req, below(w, 2) ? 0 : below(w, 64));
	switch (below(w, 9)) {
	case 0:
		what = "wrong length";
		r.header.len += one_in(w, 2) ? strange(w) | 1 : 1;
		err = EINVAL;
		break;
	case 1:
		what = "less than a header";
		r.header_len = 1 + below(w, sizeof(r.header) - 1);
		r.len = 0;
		err = EINVAL;
		break;
	case 2 ... 3:
		what = "wrong unique";
		r.header.unique = req->unique + 0x100000 + 2 * below(w, 1000);
		err = ENOENT;
		break;
	case 4:
		what = "positive error";
		r.header.error = 1 + below(w, 0x7fffffff);
		err = EINVAL;
		break;
	case 5:
		what = "error out of range";
		r.header.error = -512 - (int)below(w, one_in(w, 2) ? 20 :
							  0x7ffffe00);
		err = EINVAL;
		break;
	case 6:
		what = "wrong device";
		dev = other_dev(w, req->dev);
		err = dev < 0 ? EINVAL : ENOENT;
		if (dev < 0)
			r.header.len++;
		else
			r.dev = dev;
		break;
	case 7:
		what = "bad pointer to the header";
		r.bad_header = true;
		err = EFAULT;
		break;
	default:
		what = "header of zeros";
		memset(&r.header, 0, sizeof(r.header));
		err = EINVAL;
	}
	return expect_write(w, &r, send_out(w, &r), err, what);
}

/* Replies */

static void put(struct world *w, size_t *len, const void *data, size_t n)
{
	memcpy(w->out + *len, data, n);
	*len += n;
}

/* Those of a backing file, or of a directory */
static void fill_attr(struct world *w, uint64_t node, struct fuse_attr *attr)
{
	int home = (int)node - 2;
	struct stat st;

	memset(attr, 0, sizeof(*attr));
	attr->ino = node;
	attr->nlink = 1;
	attr->blksize = PAGE;
	if (node == FUSE_ROOT_ID) {
		attr->mode = S_IFDIR | 0777;
		return;
	}
	attr->mode = S_IFREG | (one_in(w, 20) ? 06777 : 0777);
	if (home >= 0 && home < 2 * HOMES &&
	    !fstat(w->kind[w->home[home]].fd, &st)) {
		attr->size = st.st_size;
		attr->mtime = st.st_mtime;
		attr->atime = st.st_atime;
		attr->blocks = st.st_blocks;
	}
}

/* An open of it would wait for somebody, or be of a real device */
static void tame_attr(struct fuse_attr *attr)
{
	if (S_ISFIFO(attr->mode))
		attr->mode = S_IFDIR | (attr->mode & 07777);
}

static void put_entry(struct world *w, size_t *len, uint64_t node)
{
	struct fuse_entry_out entry = {
		.nodeid = node,
		.entry_valid = one_in(w, 3) ? 0 : 1000,
		.attr_valid = one_in(w, 3) ? 0 : 1000,
	};

	fill_attr(w, node, &entry.attr);
	put(w, len, &entry, sizeof(entry));
}

static int32_t random_id(struct world *w, uint64_t node)
{
	struct conn *conn = &w->conn;
	int home = node >= 2 && node < 2 + 2 * HOMES ? w->home[node - 2] : -1;
	int i, first = conn->ids ? (int)below(w, conn->ids) : 0;

	switch (below(w, 10)) {
	case 0:
		return 0;
	case 1:
		return (int32_t)strange(w);
	case 2:
		return (int32_t)below(w, conn->next_id + 2);
	case 3:
		return conn->ids ? conn->id[first].id : 1;
	}
	for (i = 0; i < conn->ids; i++)
		if (conn->id[(first + i) % conn->ids].kind == home)
			return conn->id[(first + i) % conn->ids].id;
	return conn->ids ? conn->id[first].id : 1;
}

static uint32_t random_open_flags(struct world *w)
{
	uint32_t flags = one_in(w, 5) ? 0 : FOPEN_PASSTHROUGH;

	if (one_in(w, 4))
		flags |= bits(w) & GOOD_FLAGS & ~FOPEN_PASSTHROUGH;
	if (one_in(w, 12))
		flags |= 1u << below(w, 32);
	return flags;
}

static void put_open(struct world *w, size_t *len, uint64_t node)
{
	struct fuse_open_out out = {
		.fh = ++w->conn.next_fh,
		.open_flags = random_open_flags(w),
		.backing_id = random_id(w, node),
	};

	if (one_in(w, 30))
		out.open_flags = bits(w);
	put(w, len, &out, sizeof(out));
}

static const char *request_name(const struct request *r)
{
	size_t off = 0;

	if (r->opcode == FUSE_CREATE)
		off = sizeof(struct fuse_create_in);
	else if (r->opcode == FUSE_MKNOD)
		off = sizeof(struct fuse_mknod_in);
	return r->arg + off;
}

static int find_name(const char *name)
{
	int i;

	for (i = 0; i < 2 * HOMES; i++)
		if (!strcmp(name, name_of(i)))
			return i;
	return -1;
}

/* The right payload of an answer; or an error */
static int put_named(struct world *w, size_t *len, const struct request *r)
{
	int n = find_name(request_name(r));

	if (n < 0)
		return -ENOENT;
	switch (r->opcode) {
	case FUSE_LOOKUP:
		if (n >= HOMES && w->conn.absent[n - HOMES])
			return -ENOENT;
		break;
	case FUSE_UNLINK:
		if (n >= HOMES)
			w->conn.absent[n - HOMES] = true;
		return 0;
	default:
		if (n >= HOMES)
			w->conn.absent[n - HOMES] = false;
	}
	put_entry(w, len, NODE_FILE(n));
	if (r->opcode == FUSE_CREATE)
		put_open(w, len, NODE_FILE(n));
	return 0;
}

static void put_data(struct world *w, size_t *len, uint32_t size)
{
	uint32_t n = one_in(w, 4) ? below(w, size + 1) : size;

	if (n > 64 * 1024)
		n = 64 * 1024;
	/* Nothing that could be executed */
	memset(w->out + *len, 'd', n);
	*len += n;
}

static int put_answer(struct world *w, size_t *len, const struct request *r)
{
	const struct fuse_read_in *read = (const void *)r->arg;
	const struct fuse_write_in *write = (const void *)r->arg;
	const struct fuse_getxattr_in *getxattr = (const void *)r->arg;
	const struct fuse_lseek_in *lseek = (const void *)r->arg;
	struct fuse_attr_out attr = { .attr_valid = one_in(w, 2) };
	struct fuse_write_out written = { .size = write->size };
	struct fuse_statfs_out statfs = { .st = { .bsize = PAGE } };
	struct fuse_lk_out lk = { .lk.type = F_UNLCK };
	struct fuse_lseek_out off = { .offset = lseek->offset };
	struct fuse_ioctl_out ioctl = { .result = 0 };
	struct fuse_getxattr_out size = { .size = 4 };
	struct fuse_poll_out poll = { .revents = POLLIN };

	switch (r->opcode) {
	case FUSE_LOOKUP:
	case FUSE_CREATE:
	case FUSE_MKNOD:
	case FUSE_UNLINK:
		return put_named(w, len, r);
	case FUSE_TMPFILE:
		put_entry(w, len, NODE_NEW(HOMES) + below(w, 8));
		put_open(w, len, NODE_NEW(0) + below(w, HOMES));
		return 0;
	case FUSE_OPEN:
		put_open(w, len, r->nodeid);
		return 0;
	case FUSE_OPENDIR:
		put_open(w, len, r->nodeid);
		return 0;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		fill_attr(w, r->nodeid, &attr.attr);
		put(w, len, &attr, sizeof(attr));
		return 0;
	case FUSE_READ:
		put_data(w, len, read->size);
		return 0;
	case FUSE_WRITE:
		put(w, len, &written, sizeof(written));
		return 0;
	case FUSE_COPY_FILE_RANGE:
		written.size = below(w, MAX_LEN);
		put(w, len, &written, sizeof(written));
		return one_in(w, 2) ? -EXDEV : 0;
	case FUSE_STATFS:
		put(w, len, &statfs, sizeof(statfs));
		return 0;
	case FUSE_GETLK:
		put(w, len, &lk, sizeof(lk));
		return 0;
	case FUSE_LSEEK:
		put(w, len, &off, sizeof(off));
		return 0;
	case FUSE_IOCTL:
		put(w, len, &ioctl, sizeof(ioctl));
		return one_in(w, 2) ? -ENOTTY : 0;
	case FUSE_POLL:
		put(w, len, &poll, sizeof(poll));
		return 0;
	case FUSE_GETXATTR:
		if (one_in(w, 2))
			return -ENODATA;
		if (!getxattr->size)
			put(w, len, &size, sizeof(size));
		return 0;
	case FUSE_READLINK:
		put(w, len, "f1", 2);
		return 0;
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_ACCESS:
	case FUSE_FALLOCATE:
	case FUSE_SETLK:
	case FUSE_SETLKW:
	case FUSE_DESTROY:
		return 0;
	default:
		return -ENOSYS;
	}
}

static void mutate(struct world *w, size_t len)
{
	int n = 1 + below(w, 3);
	uint64_t value;
	size_t size;

	while (len && n--) {
		size = 1u << below(w, 4);
		value = strange(w);
		if (size <= len)
			memcpy(w->out + below(w, len - size + 1) / size * size,
			       &value, size);
	}
}

static bool is_open(const struct request *r)
{
	return r->opcode == FUSE_OPEN || r->opcode == FUSE_CREATE ||
	       r->opcode == FUSE_TMPFILE;
}

static size_t entry_size(const struct request *r)
{
	switch (r->opcode) {
	case FUSE_LOOKUP:
	case FUSE_MKNOD:
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		return sizeof(struct fuse_entry_out);
	default:
		return 0;
	}
}

static int random_error(struct world *w)
{
	static const int errors[] = {
		EIO, ENOENT, EACCES, EINTR, EAGAIN, ENOMEM, ENOSPC, EINVAL,
		ESTALE, EPERM,
	};

	return one_in(w, 6) ? 1 + (int)below(w, ERRNOS - 1) :
			      errors[below(w, ARRAY_SIZE(errors))];
}

/* Calls may fail because of it, though it says nothing of an error */
static void count_oddity(struct world *w, const struct request *r)
{
	int i;

	for (i = 0; i < CLIENTS; i++)
		if (r->client < 0 || r->client == i)
			w->client[i].errors = true;
}

static void count_error(struct world *w, const struct request *r, int err)
{
	w->conn.sent[err] = true;
	count_oddity(w, r);
	/* From then on files are open without a reply, or have no attributes */
	if (err == ENOSYS && (r->opcode == FUSE_OPEN ||
			      r->opcode == FUSE_CREATE))
		w->conn.fuzzy = true;
}

/* Changes the payload, and says what of the inodes is not known any more */
static void mutate_payload(struct world *w, const struct request *r, size_t len)
{
	struct fuse_entry_out *entry = (void *)w->out;
	struct fuse_attr_out *attr = (void *)w->out;
	size_t size = entry_size(r);

	if (r->opcode == FUSE_READ)
		return;
	if (!is_open(r))
		count_oddity(w, r);
	mutate(w, len);
	if (size && len >= size) {
		count_oddity(w, r);
		tame_attr(&entry->attr);
		spoil(w, entry->nodeid);
	} else if (r->opcode == FUSE_GETATTR || r->opcode == FUSE_SETATTR) {
		if (len >= sizeof(*attr))
			tame_attr(&attr->attr);
		spoil(w, r->nodeid);
	}
}

/* Says what has to come of an open that is answered so */
static void judge(struct world *w, const struct request *r, size_t len,
		  bool mutated)
{
	const struct fuse_open_in *in = (const void *)r->arg;
	const struct fuse_entry_out *entry = (const void *)w->out;
	const struct fuse_open_out *out;
	uint64_t node = r->nodeid;
	size_t off = entry_size(r);

	if (!is_open(r) || r->client < 0)
		return;
	if (off) {
		node = entry->nodeid;
		/* Too much else that may be wrong with it */
		mutated |= w->conn.odd_minor;
	}
	if (len != off + sizeof(*out))
		return;
	out = (const void *)(w->out + off);
	judge_reply(w, r, out, node, in->flags, mutated);
}

/* Sizes that are right in the kernel's eyes */
static bool size_varies(const struct request *r)
{
	switch (r->opcode) {
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_READLINK:
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
	case FUSE_IOCTL:
	case FUSE_INIT:
		return true;
	default:
		return false;
	}
}

/*
 * The write that ends a request. If the payload is not what it should be, it
 * ends with EIO, and the write with an error.
 */
static bool send_answer(struct world *w, const struct request *req,
			struct reply *r, bool exact)
{
	const char *name = fuse_opcode_name(req->opcode);
	struct fuse_open_out *out = (void *)(w->out + entry_size(req));
	long ret;

	ret = send_out(w, r);
	if (is_open(req) && !r->header.error)
		note(w, COUNT_REPLY,
		     "%s of node %llu (client %d): %zu bytes, flags %#x, id %d: %ld",
		     name, (unsigned long long)req->nodeid, req->client, r->len,
		     out->open_flags, out->backing_id, ret);
	else
		note(w, COUNT_REPLY,
		     "%s of node %llu (client %d): %zu bytes, error %d: %ld",
		     name, (unsigned long long)req->nodeid, req->client, r->len,
		     r->header.error, ret);

	if (ret == (long)(r->header_len + r->len))
		return true;
	count_error(w, req, EIO);
	if (ret == -ENOENT && (w->conn.ending || !w->conn.connected))
		return true;
	if (!exact && (ret == -EINVAL || ret == -EFAULT))
		return true;
	return wrong(w, "the answer to %s returned %ld", name, ret);
}

static void forget_request(struct world *w, struct request *r)
{
	struct conn *conn = &w->conn;

	*r = conn->pending[--conn->pendings];
}

static bool answer_with_error(struct world *w, struct request *req, int err)
{
	struct reply r;
	bool exact = true;

	init_reply(&r, req, 0);
	if (one_in(w, 20)) {
		memset(w->out, 0, 64);
		init_reply(&r, req, 1 + below(w, 63));
		exact = false;
	}
	r.header.error = -err;
	count_error(w, req, err);
	return send_answer(w, req, &r, exact);
}

static bool answer_with_payload(struct world *w, struct request *req,
				size_t len, bool mutated)
{
	bool exact = !w->conn.odd_minor && !mutated;
	struct reply r;

	if (mutated && one_in(w, 3)) {
		/* Of another length, with something in it */
		memset(w->out + len, 'x', 64);
		len = one_in(w, 2) ? len + 1 + below(w, 64) :
				     below(w, len + 1);
	}
	init_reply(&r, req, len);
	r.bad_data = mutated && len && one_in(w, 15);
	if (!r.bad_data)
		judge(w, req, len, mutated);
	return send_answer(w, req, &r, exact && !size_varies(req));
}

/* One way to end a request, @tame: a right one */
static bool answer(struct world *w, struct request *req, bool tame)
{
	struct request r = *req;
	size_t len = 0;
	int err;

	while (!tame && one_in(w, 5))
		if (!send_nonsense(w, req))
			return false;
	forget_request(w, req);
	begin_input(w);
	/* The calls before this one have changed what is open */
	if (!collect_all(w))
		return false;
	err = put_answer(w, &len, &r);
	if (err)
		return answer_with_error(w, &r, -err);
	if (tame || !one_in(w, 4))
		return answer_with_payload(w, &r, len, false);
	if (one_in(w, 3))
		return answer_with_error(w, &r, random_error(w));
	mutate_payload(w, &r, len);
	return answer_with_payload(w, &r, len, true);
}

/* INIT */

static const uint64_t kernel_flags =
	FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC |
	FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_FLOCK_LOCKS |
	FUSE_AUTO_INVAL_DATA | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
	FUSE_HANDLE_KILLPRIV | FUSE_MAX_PAGES | FUSE_EXPLICIT_INVAL_DATA |
	FUSE_HANDLE_KILLPRIV_V2 | FUSE_ABORT_ERROR | FUSE_DO_READDIRPLUS;

static void fill_init(struct world *w, struct fuse_init_out *out)
{
	uint64_t flags = FUSE_PASSTHROUGH | FUSE_INIT_EXT;
	static const uint32_t writes[] = { 0, 4096, 65536, 131072, MAX_WRITE };

	flags |= ((uint64_t)bits(w) << 32 | bits(w)) & kernel_flags;
	if (one_in(w, 8))
		flags ^= 1ULL << below(w, 64);
	if (one_in(w, 12))
		flags |= FUSE_WRITEBACK_CACHE;
	if (one_in(w, 16))
		flags = (uint64_t)bits(w) << 32 | bits(w);
	*out = (struct fuse_init_out) {
		.major = one_in(w, 40) ? below(w, 20) : FUSE_KERNEL_VERSION,
		.minor = one_in(w, 25) ? below(w, 50) :
					 FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = one_in(w, 2) ? 128 * 1024 : strange(w),
		.flags = flags,
		.flags2 = flags >> 32,
		.max_background = one_in(w, 8) ? strange(w) : 16,
		.congestion_threshold = one_in(w, 8) ? strange(w) : 12,
		.max_write = writes[below(w, ARRAY_SIZE(writes))],
		.time_gran = one_in(w, 8) ? strange(w) : 1,
		.max_pages = one_in(w, 4) ? strange(w) : 32,
		.map_alignment = one_in(w, 8) ? strange(w) : 0,
		.max_stack_depth = one_in(w, 10) ? strange(w) : 1 + below(w, 2),
	};
}

/* What the kernel shall make of it */
static void negotiate(struct conn *conn, const struct fuse_init_out *out)
{
	uint64_t flags = out->flags;

	conn->init_done = true;
	if (out->major != FUSE_KERNEL_VERSION) {
		conn->init_failed = true;
		return;
	}
	conn->odd_minor = out->minor < 13;
	if (flags & FUSE_INIT_EXT)
		flags |= (uint64_t)out->flags2 << 32;
	conn->enabled = out->minor >= 6 && flags & FUSE_PASSTHROUGH &&
			!(flags & FUSE_WRITEBACK_CACHE) &&
			out->max_stack_depth >= 1 && out->max_stack_depth <= 2;
	if (conn->enabled)
		conn->max_depth = out->max_stack_depth;
}

static bool answer_init(struct world *w, struct request *req)
{
	struct fuse_init_out out;
	struct request r = *req;
	struct reply reply;
	size_t len = sizeof(out);
	int err = 0;
	long ret;

	while (one_in(w, 3))
		if (!send_nonsense(w, req))
			return false;
	forget_request(w, req);
	begin_input(w);
	fill_init(w, &out);
	if (one_in(w, 12))
		len = below(w, sizeof(out) + 1);
	if (one_in(w, 30))
		len = sizeof(out) + 1 + below(w, 64);
	if (one_in(w, 30))
		err = random_error(w);

	memset(w->out, 0, sizeof(out) + 64);
	memcpy(w->out, &out, sizeof(out));
	init_reply(&reply, &r, err ? 0 : len);
	reply.header.error = -err;
	ret = send_out(w, &reply);
	note(w, COUNT_REPLY,
	     "INIT: %zu bytes, error %d, %u.%u, flags %#x %#x, depth %u: %ld",
	     reply.len, -err, out.major, out.minor, out.flags, out.flags2,
	     out.max_stack_depth, ret);
	if (err || len > sizeof(out)) {
		w->conn.init_done = true;
		w->conn.init_failed = true;
		return ret == (err ? (long)sizeof(reply.header) : -EINVAL) ||
		       wrong(w, "the answer to INIT returned %ld", ret);
	}
	memset((char *)&out + len, 0, sizeof(out) - len);
	negotiate(&w->conn, &out);
	return ret == (long)(sizeof(reply.header) + len) ||
	       wrong(w, "the answer to INIT returned %ld", ret);
}

/* Requests */

static int client_of(struct world *w, pid_t pid)
{
	int i;

	for (i = 0; i < CLIENTS; i++)
		if (w->client[i].pid == pid)
			return i;
	return -1;
}

static bool wants_answer(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET &&
	       opcode != FUSE_INTERRUPT && opcode != FUSE_NOTIFY_REPLY;
}

static int random_dev(struct world *w)
{
	int dev = below(w, DEVS);

	return w->conn.dev[dev] >= 0 ? dev : 0;
}

/* Nothing more will come of the connection */
static void note_dead(struct world *w)
{
	w->conn.dead = true;
	w->conn.ending = true;
	doubt_id(w, -1);
}

/* If there is one, and room for it */
static bool read_request(struct world *w)
{
	const struct fuse_in_header *in = (const void *)w->in;
	struct conn *conn = &w->conn;
	struct request *r = &conn->pending[conn->pendings];
	int dev = random_dev(w);
	ssize_t n;

	if (conn->dev[dev] < 0 || conn->pendings == PENDING)
		return true;
	n = read(conn->dev[dev], w->in, sizeof(w->in));
	if (n < (ssize_t)sizeof(*in)) {
		if (n < 0 && (errno == ENODEV || errno == ECONNABORTED))
			note_dead(w);
		else if (n >= 0 || (errno != EAGAIN && errno != ENOENT))
			return wrong(w, "reading a request: %zd, %s", n,
				     strerror(errno));
		return true;
	}
	if (!wants_answer(in->opcode))
		return true;
	*r = (struct request) {
		.unique = in->unique,
		.nodeid = in->nodeid,
		.opcode = in->opcode,
		.dev = dev,
		.client = client_of(w, in->pid),
		.len = n - sizeof(*in),
	};
	memcpy(r->arg, in + 1, r->len < sizeof(r->arg) - 1 ?
			       r->len : sizeof(r->arg) - 1);
	conn->pendings++;
	return true;
}

/* Clients' ends of batches, and of themselves */

static bool reap(struct world *w, int self)
{
	struct client *c = &w->client[self];

	if (waitpid(c->pid, NULL, WNOHANG) != c->pid)
		return true;
	close(c->sock);
	if (!c->dying)
		return wrong(w, "client %d has died", self);
	forget_client(w, self);
	return start_client(w, self);
}

static bool finish_batch(struct world *w, int self)
{
	struct client *c = &w->client[self];
	char byte;
	ssize_t n = read(c->sock, &byte, 1);

	if (n != 1)
		return reap(w, self);
	if (!collect(w, self))
		return false;
	c->busy = false;
	c->verdict.sent = false;
	return true;
}

/* Waits until something happens, @ms at most. */
static bool wait_for_events(struct world *w, int ms)
{
	struct pollfd pfd[CLIENTS + 2];
	uint64_t value;
	int i, n;

	for (i = 0; i < CLIENTS; i++)
		pfd[i] = (struct pollfd) { w->client[i].sock, POLLIN, 0 };
	pfd[CLIENTS] = (struct pollfd) { w->done_event, POLLIN, 0 };
	pfd[CLIENTS + 1] = (struct pollfd) { w->conn.dev[0], POLLIN, 0 };
	/* The end of it is reported forever */
	n = w->conn.dev[0] < 0 || w->conn.dead ||
	    w->conn.pendings == PENDING ? CLIENTS + 1 : CLIENTS + 2;
	if (poll(pfd, n, ms) < 0)
		return errno == EINTR || wrong(w, "poll: %s", strerror(errno));

	for (i = 0; i < CLIENTS; i++)
		if (pfd[i].revents && !finish_batch(w, i))
			return false;
	if (pfd[CLIENTS].revents & POLLIN &&
	    read(w->done_event, &value, sizeof(value)) < 0)
		return wrong(w, "eventfd: %s", strerror(errno));
	if (n == CLIENTS + 2 && pfd[CLIENTS + 1].revents) {
		if (pfd[CLIENTS + 1].revents & POLLERR)
			note_dead(w);
		else if (!read_request(w))
			return false;
	}
	return !__atomic_load_n(&w->hung, __ATOMIC_ACQUIRE) ||
	       wrong(w, "no end in %d seconds", SECONDS_FOR_INPUT);
}

static int busy_clients(struct world *w)
{
	int i, n = 0;

	for (i = 0; i < CLIENTS; i++)
		n += w->client[i].busy || w->client[i].dying;
	return n;
}

static bool notifier_is_busy(struct world *w)
{
	return __atomic_load_n(&w->notification.busy, __ATOMIC_ACQUIRE);
}

/* Answers what comes, until everybody has done what he was told */
static bool serve_until_idle(struct world *w, bool tame)
{
	struct conn *conn = &w->conn;

	while (busy_clients(w) || notifier_is_busy(w) || conn->pendings) {
		if (conn->pendings) {
			struct request *r = &conn->pending[0];

			if (!(r->opcode == FUSE_INIT ? answer_init(w, r) :
						       answer(w, r, tame)))
				return false;
		}
		if (!wait_for_events(w, conn->pendings ? 0 : 100))
			return false;
	}
	return true;
}

/* Inputs: the ioctls */

/* Where the argument is */
static void *argument(struct world *w, const void *data, size_t len,
		      bool *readable, const char **what)
{
	void *p = w->none;

	*readable = false;
	switch (below(w, 12)) {
	case 0:
		*what = "NULL";
		return NULL;
	case 1:
		*what = "half in a page";
		p = w->none + PAGE - len / 2;
		memcpy(p, data, len / 2);
		return p;
	case 2:
		*what = "no page";
		return w->none + PAGE + below(w, PAGE);
	case 3:
		*what = "kernel address";
		return (void *)(uintptr_t)0xffff888000000000ULL;
	case 4:
		*what = "not canonical";
		return (void *)(uintptr_t)0x8000000000000000ULL;
	case 5:
		*what = "end of a page";
		p = w->none + PAGE - len;
		break;
	case 6:
		*what = "unaligned";
		p = w->none + 1;
		break;
	default:
		*what = "good";
	}
	memcpy(p, data, len);
	*readable = true;
	return p;
}

static bool set_sys_admin(bool on)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint32_t mask = CAP_TO_MASK(CAP_SYS_ADMIN);

	if (syscall(SYS_capget, &header, data))
		return false;
	if (on)
		data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective |= mask;
	else
		data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~mask;
	return !syscall(SYS_capset, &header, data);
}

/* The rows of the table of errors, in their order, for a device of this mount */
static int want_open_error(struct world *w, bool readable, bool admin,
			   const struct fuse_backing_map *map,
			   const struct kind *kind)
{
	if (!readable)
		return -EFAULT;
	if (!w->conn.enabled || !admin)
		return -EPERM;
	if (map->flags || map->padding)
		return -EINVAL;
	if (!kind)
		return -EBADF;
	if (kind->err)
		return -kind->err;
	if (kind->depth >= (int)w->conn.max_depth)
		return -ELOOP;
	return w->conn.connected ? 0 : -ENOTCONN;
}

static const char *name_of_kind(const struct kind *kind)
{
	return kind ? kind->name : "no file";
}

static bool settle_backing_open(struct world *w, const struct kind *kind,
				int want, long ret)
{
	struct conn *conn = &w->conn;

	if (!want && conn->ending && ret == -ENOTCONN) {
		conn->connected = false;
		return true;
	}
	if (ret != (want ? want : conn->next_id))
		return wrong(w, "BACKING_OPEN of %s returned %ld, must be %d",
			     name_of_kind(kind), ret,
			     want ? want : conn->next_id);
	if (want)
		return true;
	doubt_id(w, ret);
	conn->id[conn->ids++] = (struct backing_id) { ret, kind - w->kind };
	conn->next_id++;
	return true;
}

static int bad_fd(struct world *w)
{
	static const int fds[] = { -1, -100, INT_MIN, INT_MAX, 1023, 65536 };

	return fds[below(w, ARRAY_SIZE(fds))];
}

/* @kind: NULL is no file at all */
static bool backing_open(struct world *w, const struct kind *kind, bool tame)
{
	struct fuse_backing_map map = { };
	bool readable = true, admin = tame || !one_in(w, 20);
	const char *what = "good";
	int want, dev = random_dev(w);
	void *p = w->none;
	long ret;

	map.fd = kind ? kind->fd : bad_fd(w);
	if (!tame && one_in(w, 12))
		map.flags = one_in(w, 2) ? strange(w) : 1u << below(w, 32);
	if (!tame && one_in(w, 12))
		map.padding = one_in(w, 2) ? strange(w) : 1ULL << below(w, 64);
	if (tame)
		memcpy(p, &map, sizeof(map));
	else if (one_in(w, 3))
		p = argument(w, &map, sizeof(map), &readable, &what);
	else
		memcpy(p, &map, sizeof(map));

	want = want_open_error(w, readable, admin, &map, kind);
	if (!admin)
		set_sys_admin(false);
	ret = result(ioctl(w->conn.dev[dev], FUSE_DEV_IOC_BACKING_OPEN, p));
	if (!admin)
		set_sys_admin(true);
	note(w, COUNT_IOCTL,
	     "BACKING_OPEN of %s, flags %#x, padding %#llx, %s pointer%s: %ld",
	     name_of_kind(kind), map.flags,
	     (unsigned long long)map.padding, what,
	     admin ? "" : ", without privilege", ret);
	return settle_backing_open(w, kind, want, ret);
}

static bool backing_close(struct world *w)
{
	struct conn *conn = &w->conn;
	bool readable = true, admin = !one_in(w, 20);
	const char *what = "good";
	void *p = w->none;
	int want, i, dev = random_dev(w);
	int32_t id;
	long ret;

	i = conn->ids ? (int)below(w, conn->ids) : -1;
	id = i >= 0 && !one_in(w, 3) ? conn->id[i].id :
	     one_in(w, 2) ? (int32_t)below(w, conn->next_id + 3) :
			    (int32_t)strange(w);
	if (one_in(w, 3))
		p = argument(w, &id, sizeof(id), &readable, &what);
	else
		memcpy(p, &id, sizeof(id));

	want = !readable ? EFAULT : !conn->enabled || !admin ? EPERM :
	       id <= 0 ? EINVAL : !find_id(w, id) ? ENOENT : 0;
	if (!admin)
		set_sys_admin(false);
	ret = result(ioctl(conn->dev[dev], FUSE_DEV_IOC_BACKING_CLOSE, p));
	if (!admin)
		set_sys_admin(true);
	note(w, COUNT_IOCTL, "BACKING_CLOSE of %d, %s pointer%s: %ld", id, what,
	     admin ? "" : ", without privilege", ret);
	if (!want && conn->ending && ret == -ENOENT)
		return true;
	if (ret != -want)
		return wrong(w, "BACKING_CLOSE of %d returned %ld, must be %d",
			     id, ret, -want);
	if (want)
		return true;
	doubt_id(w, id);
	for (i = 0; conn->id[i].id != id; i++)
		;
	conn->id[i] = conn->id[--conn->ids];
	return true;
}

/* Numbers next to those of the ioctls */
static bool odd_ioctl(struct world *w)
{
	static const unsigned int nrs[] = {
		0, 1, 2, 3, 4, 255,
	};
	unsigned int size, cmd;
	int dev = random_dev(w);
	long ret;

	do {
		size = one_in(w, 2) ? below(w, 64) : below(w, 1 << 14);
		cmd = _IOC(below(w, 4), one_in(w, 8) ? below(w, 256) : 229,
			   nrs[below(w, ARRAY_SIZE(nrs))], size);
	} while (cmd == FUSE_DEV_IOC_CLONE ||
		 cmd == FUSE_DEV_IOC_BACKING_OPEN ||
		 cmd == FUSE_DEV_IOC_BACKING_CLOSE || _IOC_TYPE(cmd) == 'T' ||
		 _IOC_TYPE(cmd) == 'f' || _IOC_TYPE(cmd) == 0);
	memset(w->none, 0, 64);
	ret = result(ioctl(w->conn.dev[dev], cmd, w->none));
	note(w, COUNT_IOCTL, "ioctl %#x: %ld", cmd, ret);
	return ret == -ENOTTY ||
	       wrong(w, "ioctl %#x returned %ld, must be %d", cmd, ret,
		     -ENOTTY);
}

/* On a device without a connection, or of which it wants to become a clone */
static bool clone_ioctl(struct world *w)
{
	struct conn *conn = &w->conn;
	bool readable = true;
	const char *what = "good";
	int want = EINVAL, from = -1, kind = -1, slot, on;
	void *p = w->none;
	uint32_t fd;
	long ret;

	for (slot = 1; slot < DEVS && conn->dev[slot] >= 0; slot++)
		;
	on = slot < DEVS && !one_in(w, 4) ?
	     open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK) : -1;
	switch (below(w, 3)) {
	case 0:
		fd = bad_fd(w);
		break;
	case 1:
		kind = below(w, w->kinds);
		fd = w->kind[kind].fd;
		break;
	default:
		from = random_dev(w);
		fd = conn->dev[from];
	}
	if (one_in(w, 4))
		p = argument(w, &fd, sizeof(fd), &readable, &what);
	else
		memcpy(p, &fd, sizeof(fd));
	want = !readable ? EFAULT : from >= 0 && on >= 0 ? 0 : EINVAL;
	ret = result(ioctl(on >= 0 ? on : conn->dev[0], FUSE_DEV_IOC_CLONE, p));
	note(w, COUNT_IOCTL, "CLONE of %s on %s device, %s pointer: %ld",
	     from >= 0 ? "the device" : kind >= 0 ? w->kind[kind].name :
	     "no file", on >= 0 ? "a new" : "this", what, ret);
	if (ret != -want)
		return wrong(w, "CLONE returned %ld, must be %d", ret, -want);
	if (on >= 0 && want)
		close(on);
	else if (on >= 0)
		conn->dev[slot] = on;
	return true;
}

static bool ioctl_on_unattached(struct world *w)
{
	bool open = one_in(w, 2), readable;
	int fd = w->kind[below(w, w->kinds)].fd;
	struct fuse_backing_map map = { .fd = fd };
	unsigned int cmd = open ? FUSE_DEV_IOC_BACKING_OPEN :
				  FUSE_DEV_IOC_BACKING_CLOSE;
	const char *what;
	void *p;
	long ret;
	int dev;

	p = argument(w, &map, sizeof(map), &readable, &what);
	dev = openat(AT_FDCWD, "/dev/fuse", O_RDWR | O_CLOEXEC);
	ret = result(ioctl(dev, cmd, p));
	close(dev);
	note(w, COUNT_IOCTL, "%s on a device without a mount, %s pointer: %ld",
	     open ? "BACKING_OPEN" : "BACKING_CLOSE", what, ret);
	return ret == -EPERM || wrong(w, "returned %ld, must be %d", ret,
				      -EPERM);
}

static int pidfd_getfd_of(pid_t pid, int fd)
{
	int ret, pidfd = syscall(SYS_pidfd_open, pid, 0);

	if (pidfd < 0)
		return -1;
	ret = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	close(pidfd);
	return ret;
}

/* A file of this very mount can only be had from a client */
static bool open_own_file(struct world *w)
{
	struct conn *conn = &w->conn;
	struct client *c = &w->client[below(w, CLIENTS)];
	struct fuse_backing_map map = { };
	int slot = below(w, SLOTS), dev = random_dev(w);
	long ret;

	/* If it is busy, it may have closed it, and opened another in its place */
	if (!conn->mounted || conn->ending || c->o_path[slot] < 0 ||
	    c->dying || c->busy)
		return backing_open(w, NULL, false);
	map.fd = pidfd_getfd_of(c->pid, c->o_path[slot]);
	if (map.fd < 0)
		return backing_open(w, NULL, false);
	ret = result(ioctl(conn->dev[dev], FUSE_DEV_IOC_BACKING_OPEN, &map));
	/* One that is not really open is closed without a request */
	close(map.fd);
	note(w, COUNT_IOCTL, "BACKING_OPEN of a file of this mount: %ld", ret);
	if (!conn->enabled)
		return ret == -EPERM || wrong(w, "returned %ld, must be %d",
					      ret, -EPERM);
	/* The server may have said that it is no regular file */
	return ret == -ELOOP || ret == -EISDIR || ret == -EINVAL ||
	       wrong(w, "BACKING_OPEN of a file of this mount returned %ld, must be %d",
		     ret, -ELOOP);
}

static bool open_own_device(struct world *w)
{
	struct kind this = {
		.name = "this device", .fd = w->conn.dev[random_dev(w)],
		.err = EINVAL,
	};

	return backing_open(w, &this, false);
}

static bool send_ioctl(struct world *w)
{
	int home;

	begin_input(w);
	home = w->home[below(w, 2 * HOMES)];
	switch (below(w, 24)) {
	case 0:
		return odd_ioctl(w);
	case 1:
		return clone_ioctl(w);
	case 2:
		return ioctl_on_unattached(w);
	case 3:
		return open_own_file(w);
	case 4:
		return open_own_device(w);
	case 5 ... 12:
		return backing_close(w);
	default:
		if (w->conn.ids == IDS)
			return backing_close(w);
		if (one_in(w, 12))
			return backing_open(w, NULL, false);
		if (one_in(w, 2))
			return backing_open(w, &w->kind[home], false);
		return backing_open(w, &w->kind[below(w, w->kinds)], false);
	}
}

/*
 * Inputs: notifications. They may wait for requests to be answered, and so are
 * sent by a thread of their own.
 */

static const int notify_errors[] = {
	EINVAL, ENOENT, ENOTDIR, EISDIR, ENOTEMPTY, EBUSY, ENAMETOOLONG, ENOMEM,
	ENOTCONN, ENODEV, EIO, EPERM, ESTALE, EFBIG, 0
};

static void *notifier_main(void *arg)
{
	struct world *w = arg;
	struct notification *n = &w->notification;
	uint64_t one = 1;

	while (read(w->notify_event, &one, sizeof(one)) > 0 &&
	       !__atomic_load_n(&w->quit, __ATOMIC_ACQUIRE)) {
		n->err = write(n->dev, n->buf, n->len) < 0 ? errno : 0;
		__atomic_store_n(&n->busy, false, __ATOMIC_RELEASE);
		one = 1;
		if (write(w->done_event, &one, sizeof(one)) < 0)
			break;
	}
	return NULL;
}

static void put_note(struct notification *n, const void *data, size_t len)
{
	memcpy(n->buf + n->len, data, len);
	n->len += len;
}

static uint64_t random_node(struct world *w)
{
	if (one_in(w, 8))
		return strange(w);
	return 1 + below(w, 2 + 2 * HOMES);
}

static uint64_t random_file_off(struct world *w)
{
	if (one_in(w, 4))
		return strange(w);
	return (uint64_t)below(w, 64) * PAGE + (one_in(w, 3) ? below(w, PAGE) :
						0);
}

static void fill_store(struct world *w, struct notification *n)
{
	struct fuse_notify_store_out out = {
		.nodeid = random_node(w), .offset = random_file_off(w),
		.size = below(w, PAGE + 100),
	};

	put_note(n, &out, sizeof(out));
	memset(n->buf + n->len, 's', out.size);
	n->len += out.size;
}

static void fill_names(struct world *w, struct notification *n)
{
	struct fuse_notify_inval_entry_out inval = {
		.parent = one_in(w, 4) ? random_node(w) : FUSE_ROOT_ID,
		.namelen = 2,
		.flags = one_in(w, 8) ? strange(w) : below(w, 2),
	};
	struct fuse_notify_delete_out delete = {
		.parent = inval.parent, .child = random_node(w), .namelen = 2,
	};

	if (n->code == FUSE_NOTIFY_INVAL_ENTRY)
		put_note(n, &inval, sizeof(inval));
	else
		put_note(n, &delete, sizeof(delete));
	put_note(n, name_of(below(w, 2 * HOMES)), 3);
}

static void fill_notification(struct world *w, struct notification *n)
{
	struct fuse_notify_inval_inode_out inval = {
		.ino = random_node(w), .off = random_file_off(w),
		.len = one_in(w, 2) ? 0 : strange(w),
	};
	struct fuse_notify_retrieve_out retrieve = {
		.notify_unique = bits(w), .nodeid = random_node(w),
		.offset = random_file_off(w),
		.size = one_in(w, 3) ? strange(w) : below(w, 4 * PAGE),
	};
	struct fuse_notify_poll_wakeup_out wakeup = { .kh = below(w, 10) };

	switch (n->code) {
	case FUSE_NOTIFY_POLL:
		put_note(n, &wakeup, sizeof(wakeup));
		break;
	case FUSE_NOTIFY_INVAL_INODE:
		put_note(n, &inval, sizeof(inval));
		break;
	case FUSE_NOTIFY_STORE:
		fill_store(w, n);
		break;
	case FUSE_NOTIFY_RETRIEVE:
		put_note(n, &retrieve, sizeof(retrieve));
		break;
	default:
		fill_names(w, n);
	}
}

static bool settle_notification(struct world *w)
{
	struct notification *n = &w->notification;

	if (!n->err || has_errno(notify_errors, n->err) ||
	    (n->err < ERRNOS && w->conn.sent[n->err]))
		return true;
	return wrong(w, "notification %d: %s", n->code, strerror(n->err));
}

static bool send_notification(struct world *w)
{
	static const int codes[] = {
		FUSE_NOTIFY_INVAL_INODE, FUSE_NOTIFY_INVAL_INODE,
		FUSE_NOTIFY_INVAL_ENTRY, FUSE_NOTIFY_STORE, FUSE_NOTIFY_STORE,
		FUSE_NOTIFY_RETRIEVE, FUSE_NOTIFY_DELETE, FUSE_NOTIFY_POLL,
	};
	struct notification *n = &w->notification;
	struct fuse_out_header header = { };
	uint64_t one = 1;

	if (notifier_is_busy(w) || w->conn.dev[0] < 0)
		return true;
	if (!settle_notification(w))
		return false;
	begin_input(w);
	n->code = one_in(w, 20) ? (int)strange(w) :
				  codes[below(w, ARRAY_SIZE(codes))];
	n->len = sizeof(header);
	memset(n->buf, 0, sizeof(n->buf));
	fill_notification(w, n);
	if (one_in(w, 10))
		n->len = one_in(w, 2) ? n->len + below(w, 32) :
					sizeof(header) + below(w, 40);
	header.len = n->len;
	header.error = n->code;
	memcpy(n->buf, &header, sizeof(header));
	n->dev = w->conn.dev[random_dev(w)];
	note(w, COUNT_OTHER, "notification %d, %zu bytes", n->code, n->len);
	__atomic_store_n(&n->busy, true, __ATOMIC_RELEASE);
	/* May take names away, so that an inode is not what it was */
	return write(w->notify_event, &one, sizeof(one)) > 0;
}

/* Inputs: mounts, by fds that are not for that */

static bool bad_mount(struct world *w)
{
	bool attached = w->conn.mounted && !w->conn.ending && one_in(w, 4);
	int kind = below(w, w->kinds), fd;
	char options[128];
	long ret;

	begin_input(w);
	fd = attached ? w->conn.dev[random_dev(w)] : w->kind[kind].fd;
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	ret = result(mount("fuzz", w->env.backing, "fuse.fuzz", MS_NODEV,
			   options));
	note(w, COUNT_OTHER, "mount with an fd of %s: %ld",
	     attached ? "this device" : w->kind[kind].name, ret);
	/* Another mount of the same file system, or none */
	if (!ret)
		umount2(w->env.backing, MNT_DETACH);
	if (ret == -EINVAL || (attached && (!ret || ret == -EBUSY)))
		return true;
	return wrong(w, "mount with an fd of %s returned %ld, must be %d",
		     w->kind[kind].name, ret, -EINVAL);
}

static bool bad_read(struct world *w)
{
	int dev = random_dev(w);
	size_t len = below(w, FUSE_MIN_READ_BUFFER);
	ssize_t n;

	begin_input(w);
	n = read(w->conn.dev[dev], w->in, len);
	note(w, COUNT_OTHER, "read of %zu bytes: %zd", len, n);
	/* Nothing but the size is looked at; a read of nothing does nothing */
	return (n < 0 && errno == EINVAL) || (!len && !n) ||
	       wrong(w, "a short read returned %zd, %s", n, strerror(errno));
}

/* Inputs: the clients' calls */

static int idle_client(struct world *w)
{
	int i, n = w->conn.alone ? 1 : CLIENTS;
	int first = below(w, n);

	for (i = 0; i < n; i++) {
		int self = (first + i) % n;

		if (!w->client[self].busy && !w->client[self].dying)
			return self;
	}
	return -1;
}

static int random_open_mode(struct world *w)
{
	static const int more[] = {
		O_APPEND, O_DIRECT, O_TRUNC, O_NOATIME, O_SYNC, O_DSYNC,
		O_NONBLOCK, O_NOFOLLOW,
	};
	int flags = one_in(w, 3) ? (int)below(w, 3) : O_RDWR;

	while (one_in(w, 3))
		flags |= more[below(w, ARRAY_SIZE(more))];
	return flags | O_CLOEXEC;
}

static void plan_open(struct world *w, struct call *c)
{
	c->flags = random_open_mode(w);
	if (c->type == TMPFILE) {
		c->flags |= O_TMPFILE;
		if ((c->flags & O_ACCMODE) == O_RDONLY)
			c->flags |= O_RDWR;
	} else if (c->type == CREATE) {
		c->flags |= O_CREAT | (one_in(w, 2) ? O_EXCL : 0);
		c->path = HOMES + below(w, HOMES);
	} else if (one_in(w, 20)) {
		c->flags = O_PATH | O_CLOEXEC;
	}
	/* Not in the directory below the mount */
	if (!w->conn.mounted && c->type != OPEN)
		c->type = OPEN, c->flags &= ~(O_CREAT | O_EXCL | O_TMPFILE);
}

static void plan_call(struct world *w, struct call *c)
{
	static const enum call_type often[] = {
		OPEN, OPEN, OPEN, OPEN, CREATE, CREATE, TMPFILE, CLOSE, CLOSE,
		READ, READ, WRITE, WRITE, MMAP, MMAP, LOAD, LOAD, STORE, MUNMAP,
	};
	static const int madvice[] = {
		MADV_DONTNEED, MADV_WILLNEED, MADV_NORMAL, MADV_REMOVE,
	};
	static const int setfl[] = { O_APPEND, O_DIRECT, O_NOATIME, O_NONBLOCK };

	*c = (struct call) {
		.type = one_in(w, 2) ? often[below(w, ARRAY_SIZE(often))] :
				       below(w, UMOUNT),
		.slot = below(w, SLOTS), .from = below(w, SLOTS),
		.map = below(w, MAPS), .path = below(w, 2 * HOMES),
		.off = random_file_off(w), .len = 1 + below(w, MAX_LEN),
		.number = w->number,
	};
	if (one_in(w, 3))
		c->len = (c->len + PAGE - 1) & ~(PAGE - 1);
	switch (c->type) {
	case OPEN:
	case CREATE:
	case TMPFILE:
		plan_open(w, c);
		break;
	case READ:
	case WRITE:
		c->from = below(w, SPLICE + 1);
		break;
	case MMAP:
		c->flags = below(w, 4);
		break;
	case STORE:
	case WRITE_NOWAIT:
		c->flags = one_in(w, 4) ? RWF_APPEND : 0;
		break;
	case MADVISE:
		c->flags = madvice[below(w, ARRAY_SIZE(madvice))];
		break;
	case FALLOCATE:
		c->flags = one_in(w, 2) ? 0 : below(w, 64);
		break;
	case SEEK:
		c->flags = below(w, 6);
		break;
	case FADVISE:
		c->flags = below(w, 7);
		break;
	case SETFL:
		c->flags = setfl[below(w, ARRAY_SIZE(setfl))];
		break;
	default:
		c->flags = bits(w);
	}
	/* What comes of it lies on disks that are small */
	if (c->type == FALLOCATE || c->type == FTRUNCATE ||
	    c->type == TRUNCATE || c->type == WRITE || c->type == COPY ||
	    c->type == SEND_FILE || c->type == WRITE_NOWAIT)
		c->off &= 0xfffff;
}

static bool send_calls(struct world *w)
{
	int self = idle_client(w);
	struct shared *shared;
	int i, n;

	if (self < 0)
		return true;
	shared = w->client[self].shared;
	begin_input(w);
	n = 1 + below(w, BATCH);
	for (i = 0; i < n; i++) {
		if (i)
			begin_input(w);
		plan_call(w, &shared->call[i]);
		note(w, COUNT_CALL,
		     "client %d: %s, slot %d, file %d, flags %#x, at %lld, %zu bytes",
		     self, call_names[shared->call[i].type],
		     shared->call[i].slot, shared->call[i].path,
		     shared->call[i].flags, (long long)shared->call[i].off,
		     shared->call[i].len);
	}
	shared->calls = n;
	return start_batch(w, self);
}

static bool order(struct world *w, int self, const struct call *c)
{
	struct shared *shared = w->client[self].shared;

	begin_input(w);
	note(w, COUNT_CALL, "client %d: %s", self, call_names[c->type]);
	shared->call[0] = *c;
	shared->call[0].number = w->number;
	shared->calls = 1;
	return start_batch(w, self);
}

static bool signal_client(struct world *w)
{
	int self = below(w, CLIENTS);
	struct client *c = &w->client[self];

	if (!c->busy || c->dying)
		return true;
	begin_input(w);
	c->dying = one_in(w, 8);
	note(w, COUNT_OTHER, "client %d gets a %s", self,
	     c->dying ? "SIGKILL" : "SIGUSR1");
	/* What it does is not known from here on */
	doubt_verdicts(w, -1);
	if (c->dying)
		w->conn.fuzzy = true;
	kill(c->pid, c->dying ? SIGKILL : SIGUSR1);
	return true;
}

/* Ends of connections and mounts */

static void forget_requests(struct world *w)
{
	w->conn.pendings = 0;
}

static void note_end(struct world *w, const char *what)
{
	note(w, COUNT_OTHER, "%s", what);
	w->conn.ending = true;
	doubt_id(w, -1);
}

static bool abort_conn(struct world *w)
{
	begin_input(w);
	note_end(w, "abort");
	if (fuse_abort(w->conn.st_dev) && errno != ENOENT)
		return wrong(w, "abort: %s", strerror(errno));
	w->conn.connected = false;
	note_dead(w);
	forget_requests(w);
	return true;
}

static bool detach(struct world *w)
{
	static const struct call unmount = {
		.type = UMOUNT, .flags = MNT_DETACH,
	};
	int self = below(w, USER_CLIENT);

	if (w->client[self].busy || w->client[self].dying || !w->conn.mounted)
		return true;
	w->conn.ending = true;
	doubt_id(w, -1);
	return order(w, self, &unmount);
}

static bool close_devices(struct world *w)
{
	int i;

	/*
	 * One that is in use would not be closed, and its number be that of
	 * another file when it is used at last.
	 */
	if (notifier_is_busy(w) && !abort_conn(w))
		return false;
	while (notifier_is_busy(w))
		usleep(1000);
	begin_input(w);
	note_end(w, "the devices are closed");
	for (i = DEVS - 1; i >= 0; i--) {
		if (w->conn.dev[i] >= 0)
			close(w->conn.dev[i]);
		w->conn.dev[i] = -1;
	}
	w->conn.connected = false;
	forget_requests(w);
	return true;
}

/* Requests that were read from a clone end with it */
static bool close_clone(struct world *w)
{
	struct conn *conn = &w->conn;
	int dev = 1 + below(w, DEVS - 1), i;

	if (conn->dev[dev] < 0 || notifier_is_busy(w))
		return true;
	begin_input(w);
	close(conn->dev[dev]);
	conn->dev[dev] = -1;
	note(w, COUNT_OTHER, "a clone of the device is closed");
	for (i = conn->pendings - 1; i >= 0; i--) {
		struct request *r = &conn->pending[i];

		if (r->dev != dev)
			continue;
		if (r->opcode == FUSE_INIT)
			conn->init_failed = true;
		count_error(w, r, ECONNABORTED);
		forget_request(w, r);
	}
	return true;
}

/* Rounds: a mount, its connection, and what becomes of them */

static int add_kind(struct world *w, const char *name, int fd, int err,
		    int depth)
{
	struct kind *k = &w->kind[w->kinds];

	if (fd < 0 || w->kinds == KINDS)
		return -1;
	*k = (struct kind) { .name = name, .fd = fd, .err = err,
			     .depth = depth, .inode = w->kinds };
	return w->kinds++;
}

static int add_file_kind(struct world *w, const char *name, const char *dir,
			 int flags, int depth, bool deleted)
{
	char path[PATH_MAX], data[3 * PAGE];
	int kind;

	memset(data, 'b', sizeof(data));
	test_pathf(path, "%s/%d", dir, w->kinds);
	if (test_write_file(path, data, sizeof(data)) || chmod(path, 0777))
		return -1;
	kind = add_kind(w, name, open(path, flags | O_CLOEXEC), 0, depth);
	if (deleted)
		unlink(path);
	/* O_DIRECT is another thing */
	if (kind >= 0)
		w->kind[kind].sure = true;
	return kind;
}

static int new_memfd(int seals)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && (ftruncate(fd, 3 * PAGE) ||
			(seals && fcntl(fd, F_ADD_SEALS, seals)))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int new_io_uring(void)
{
	struct io_uring_params params = { };

	return syscall(SYS_io_uring_setup, 1, &params);
}

static int open_in(const char *dir, const char *name, int flags)
{
	char path[PATH_MAX];

	return open(test_pathf(path, "%s/%s", dir, name), flags | O_CLOEXEC);
}

/* Everything that is no regular file, or no good one */
static bool add_bad_kinds(struct world *w)
{
	const char *dir = w->env.backing;
	char path[PATH_MAX];
	int fds[2], pair[2];
	sigset_t set;

	sigemptyset(&set);
	if (pipe2(fds, O_CLOEXEC) || mkfifo(test_pathf(path, "%s/fifo", dir),
					    0600) ||
	    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) ||
	    symlink("fifo", test_pathf(path, "%s/symlink", dir)))
		return false;
	add_kind(w, "a pipe", fds[0], EINVAL, 0);
	add_kind(w, "a pipe's other end", fds[1], EINVAL, 0);
	add_kind(w, "a socket", pair[0], EINVAL, 0);
	add_kind(w, "a socket", pair[1], EINVAL, 0);
	add_kind(w, "a fifo", open_in(dir, "fifo", O_RDWR), EINVAL, 0);
	add_kind(w, "an O_PATH fifo", open_in(dir, "fifo", O_PATH), EINVAL, 0);
	add_kind(w, "a symlink", open_in(dir, "symlink", O_PATH | O_NOFOLLOW),
		 EINVAL, 0);
	add_kind(w, "epoll", epoll_create1(EPOLL_CLOEXEC), EINVAL, 0);
	add_kind(w, "eventfd", eventfd(0, EFD_CLOEXEC), EINVAL, 0);
	add_kind(w, "timerfd", timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC),
		 EINVAL, 0);
	add_kind(w, "signalfd", signalfd(-1, &set, SFD_CLOEXEC), EINVAL, 0);
	add_kind(w, "inotify", inotify_init1(IN_CLOEXEC), EINVAL, 0);
	add_kind(w, "pidfd", syscall(SYS_pidfd_open, getpid(), 0), EINVAL, 0);
	add_kind(w, "io_uring", new_io_uring(), EINVAL, 0);
	add_kind(w, "/dev/null", open_in("/dev", "null", O_RDWR), EINVAL, 0);
	add_kind(w, "/dev/zero", open_in("/dev", "zero", O_RDWR), EINVAL, 0);
	add_kind(w, "a directory", open(dir, O_DIRECTORY | O_CLOEXEC), EISDIR,
		 0);
	add_kind(w, "an O_PATH directory", open(dir, O_PATH | O_CLOEXEC),
		 EISDIR, 0);
	add_kind(w, "/proc/self", open_in("/proc", "self", 0), EISDIR, 0);
	add_kind(w, "/proc/self/mem", open_in("/proc", "self/mem", O_RDWR),
		 EOPNOTSUPP, 0);
	add_kind(w, "/proc/self/mountinfo",
		 open_in("/proc", "self/mountinfo", 0), EOPNOTSUPP, 0);
	return true;
}

/* Regular files that are not where one keeps data */
static bool add_odd_kinds(struct world *w)
{
	int depth = w->env.config.max_stack_depth;
	char overlay[PATH_MAX];
	int fd, other, path;

	/* procfs says that nothing can be stacked on it */
	add_kind(w, "a file of /proc/sys",
		 open_in("/proc/sys", "kernel/ostype", 0), 0, 2);
	add_kind(w, "a file of sysfs",
		 open_in("/sys/kernel", "uevent_seqnum", 0), 0, 0);
	add_kind(w, "a memfd", new_memfd(0), 0, 0);
	add_kind(w, "a sealed memfd",
		 new_memfd(F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK), 0, 0);
	if (!test_mount_overlay(&w->env, overlay))
		add_kind(w, "a file of an overlay", open_in(overlay, "file", 0),
			 0, 1);
	/* As deep as its own backing file asks for */
	fd = test_open_new(&w->env, "other", "data", 4, O_RDWR, NULL);
	other = add_kind(w, "a file of another FUSE mount", fd, 0, depth);
	path = add_kind(w, "an O_PATH file of another FUSE mount",
			open_in(w->env.mnt, "other", O_PATH), 0, depth);
	if (other < 0 || path < 0)
		return false;
	w->kind[path].inode = other;
	return true;
}

static bool add_kinds(struct world *w)
{
	int i;

	for (i = 0; i < 2 * HOMES; i++)
		w->home[i] = add_file_kind(w, "a file", w->env.backing,
					   i == 3 ? O_PATH :
					   i == 2 ? O_RDONLY : O_RDWR,
					   w->base_depth, i > 2 * HOMES - 3);
	for (i = 0; i < 2 * HOMES; i++)
		if (w->home[i] < 0)
			return false;
	return add_bad_kinds(w) && add_odd_kinds(w);
}

/* What must be free at the end of the round */
static bool add_round_kinds(struct world *w, char dir[PATH_MAX])
{
	int first = w->kinds, i;

	test_pathf(dir, "%s/tmpfs", w->env.dir);
	mkdir(dir, 0755);
	if (mount("tmpfs", dir, "tmpfs", 0, "size=2m"))
		return wrong(w, "mount tmpfs: %s", strerror(errno));
	if (add_file_kind(w, "a file of tmpfs", dir, O_RDWR, 0, false) < 0 ||
	    add_file_kind(w, "a deleted file of tmpfs", dir, O_RDWR, 0,
			  true) < 0 ||
	    add_file_kind(w, "an O_PATH file of tmpfs", dir, O_PATH, 0,
			  false) < 0)
		return wrong(w, "files of tmpfs: %s", strerror(errno));
	add_kind(w, "a directory of tmpfs",
		 open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), EISDIR, 0);
	for (i = first; i < w->kinds; i++)
		w->kind[i].round = true;
	return true;
}

static bool drop_round_kinds(struct world *w, const char *dir)
{
	while (w->kinds && w->kind[w->kinds - 1].round)
		close(w->kind[--w->kinds].fd);
	return !test_umount(dir) ||
	       wrong(w, "a backing file system cannot be unmounted: %s",
		     strerror(errno));
}

static bool mount_conn(struct world *w)
{
	static const char * const more[] = {
		"", ",allow_other", ",default_permissions",
		",allow_other,default_permissions", ",max_read=4096",
		",allow_other,max_read=131072",
	};
	static const unsigned long flags[] = {
		0, 0, 0, MS_NOATIME, MS_RDONLY, MS_SYNCHRONOUS,
	};
	struct conn *conn = &w->conn;
	char options[256];

	begin_input(w);
	conn->dev[0] = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0%s", conn->dev[0],
		 more[below(w, ARRAY_SIZE(more))]);
	/* Devices that a server makes up must not be real ones */
	if (mount("fuzz", conn->dir, "fuse.fuzz",
		  MS_NODEV | flags[below(w, ARRAY_SIZE(flags))], options) ||
	    fuse_find_st_dev(conn->dir, &conn->st_dev))
		return wrong(w, "mount: %s", strerror(errno));
	conn->mounted = true;
	note(w, COUNT_OTHER, "mount %s", options);
	return true;
}

static bool begin_round(struct world *w)
{
	struct conn *conn = &w->conn;
	char dir[PATH_MAX];
	int i;

	test_pathf(dir, "%s", conn->dir);
	memset(conn, 0, sizeof(*conn));
	memset(conn->dev, -1, sizeof(conn->dev));
	memset(conn->absent, true, sizeof(conn->absent));
	test_pathf(conn->dir, "%s", dir);
	conn->connected = true;
	conn->next_id = 1;
	w->notification.err = 0;
	for (i = 0; i < CLIENTS; i++)
		forget_client(w, i);
	return mount_conn(w);
}

/* Also while INIT has no answer yet */
static bool begin_conn(struct world *w)
{
	struct conn *conn = &w->conn;
	int i;

	while (one_in(w, 2))
		if (!send_ioctl(w))
			return false;
	if (one_in(w, 16) && !abort_conn(w))
		return false;
	while (!conn->pendings && !conn->dead)
		if (!wait_for_events(w, 1000))
			return false;
	if (conn->pendings && !answer_init(w, &conn->pending[0]))
		return false;
	/* So that most of the names get good replies at first */
	for (i = 0; i < 2 * HOMES && conn->enabled && !conn->ending; i++) {
		begin_input(w);
		if (!one_in(w, 5) && !backing_open(w, &w->kind[w->home[i]], true))
			return false;
	}
	return true;
}

static void print_fds(struct world *w, const char *pid)
{
	char path[PATH_MAX], file[PATH_MAX];
	ssize_t n;
	int fd;

	for (fd = 0; fd < 64; fd++) {
		test_pathf(path, "/proc/%s/fd/%d", pid, fd);
		n = readlink(path, file, sizeof(file) - 1);
		if (n < 0)
			continue;
		file[n] = 0;
		if (strstr(file, w->conn.dir))
			fprintf(stderr, "#   %s is %s\n", path, file);
	}
}

static void print_lines(const char *pid, const char *name, const char *word)
{
	char path[PATH_MAX], line[PATH_MAX];
	FILE *f;

	test_pathf(path, "/proc/%s/%s", pid, name);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, word))
			fprintf(stderr, "#   %s: %s", path, line);
	if (f)
		fclose(f);
}

/* Who has anything of the mount that is still busy */
static void print_users(struct world *w)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		print_fds(w, entry->d_name);
		print_lines(entry->d_name, "maps", w->conn.dir);
		print_lines(entry->d_name, "stack", "fuse");
	}
	if (proc)
		closedir(proc);
}

static bool end_round(struct world *w, const char *dir)
{
	static const struct call reset = { .type = RESET };
	static const struct call unmount = { .type = UMOUNT, .from = 1000 };
	int i;

	/* Now and then somebody still uses the files of a dead connection */
	switch (below(w, 6)) {
	case 0:
		if (!abort_conn(w) || (one_in(w, 2) && !send_calls(w)))
			return false;
		break;
	case 1:
		if (!close_devices(w) || (one_in(w, 2) && !send_calls(w)))
			return false;
		break;
	case 2:
		if (!detach(w))
			return false;
		break;
	}
	if (!serve_until_idle(w, true))
		return false;
	for (i = 0; i < CLIENTS; i++)
		if (!order(w, i, &reset))
			return false;
	if (!serve_until_idle(w, true) || !settle_notification(w))
		return false;
	/* Does not wait for the RELEASE of a file that has been closed */
	w->conn.ending = true;
	if (w->conn.mounted &&
	    (!order(w, 0, &unmount) || !serve_until_idle(w, true)))
		return false;
	if (w->conn.mounted) {
		wrong(w, "the mount is still busy");
		print_users(w);
		return false;
	}
	if (w->conn.dev[0] >= 0 && !close_devices(w))
		return false;
	return drop_round_kinds(w, dir);
}

static bool send_input(struct world *w)
{
	struct conn *conn = &w->conn;

	if (conn->pendings && (conn->pendings == PENDING || !one_in(w, 3))) {
		struct request *r = &conn->pending[below(w, conn->pendings)];

		return r->opcode == FUSE_INIT ? answer_init(w, r) :
						answer(w, r, false);
	}
	if (idle_client(w) >= 0 && !one_in(w, 3))
		return send_calls(w);
	if (conn->dev[0] < 0)
		return true;
	switch (below(w, 20)) {
	case 0 ... 3:
		return send_notification(w);
	case 4:
		return one_in(w, 2) ? bad_mount(w) : bad_read(w);
	case 5:
		return one_in(w, 3) ? close_clone(w) : signal_client(w);
	default:
		return send_ioctl(w);
	}
}

/* The clients and the server wait for each other, or do not */
static bool let_others_run(struct world *w)
{
	int ms = 0;

	if (w->conn.alone && busy_clients(w) && !w->conn.pendings)
		ms = 1000;
	else if (idle_client(w) < 0 && !w->conn.pendings)
		ms = 5;
	return wait_for_events(w, ms);
}

static bool run_round(struct world *w)
{
	char dir[PATH_MAX];
	long until;

	if (!add_round_kinds(w, dir) || !begin_round(w) || !begin_conn(w))
		return false;
	begin_input(w);
	w->conn.alone = one_in(w, 2);
	until = w->number + 100 + below(w, 600);
	if (w->conn.init_failed)
		until = w->number + 20;
	while (w->number < until && w->number < w->inputs) {
		if (!send_input(w) || !let_others_run(w))
			return false;
		if (one_in(w, 500) && !abort_conn(w))
			return false;
		if (one_in(w, 500) && !detach(w))
			return false;
		/* There is not much left to find then */
		if (w->conn.dead && until > w->number + 30)
			until = w->number + 30;
	}
	return end_round(w, dir);
}

/* The test */

static uint64_t the_seed;
static long the_inputs = INPUTS;

static void __attribute__((constructor)) read_variables(void)
{
	the_seed = test_seed_in("FUSE_FUZZ_SEED");
	the_inputs = test_number_in("FUSE_FUZZ_INPUTS", INPUTS);
}

/*
 * Notices if nothing goes on, and then ends the connection, so that those who
 * wait for it do not wait for ever.
 */
static void *watchdog_main(void *arg)
{
	struct world *w = arg;
	long last = -1, now;
	int seconds = 0;

	while (!__atomic_load_n(&w->quit, __ATOMIC_ACQUIRE)) {
		sleep(1);
		now = __atomic_load_n(&w->number, __ATOMIC_RELAXED);
		seconds = now == last ? seconds + 1 : 0;
		last = now;
		if (seconds != SECONDS_FOR_INPUT)
			continue;
		fprintf(stderr, "# no end of input %ld in %d seconds: %s\n",
			now, seconds, w->history[now % HISTORY]);
		__atomic_store_n(&w->hung, true, __ATOMIC_RELEASE);
		fuse_abort(w->conn.st_dev);
	}
	return NULL;
}

/* Waking up somebody on another CPU takes far longer in a VM */
static bool stay_on_this_cpu(struct world *w)
{
	cpu_set_t this;

	if (sched_getaffinity(0, sizeof(w->cpus), &w->cpus))
		return false;
	CPU_ZERO(&this);
	CPU_SET(sched_getcpu(), &this);
	return !sched_setaffinity(0, sizeof(this), &this);
}

static bool prepare(struct world *w)
{
	size_t i;

	memset(w->client, 0, sizeof(w->client));
	/* A client may be sent one before it comes to this itself */
	handle_signal(SIGUSR1, on_signal);
	test_pathf(w->conn.dir, "%s/fuzz", w->env.dir);
	w->none = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w->notify_event = eventfd(0, EFD_CLOEXEC);
	w->done_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mkdir(w->conn.dir, 0755) || w->none == MAP_FAILED ||
	    mprotect(w->none + PAGE, PAGE, PROT_NONE) || !add_kinds(w))
		return false;
	for (i = 0; i < ARRAY_SIZE(w->client); i++)
		if (!start_client(w, i))
			return false;
	return !pthread_create(&w->notifier, NULL, notifier_main, w) &&
	       !pthread_create(&w->watchdog, NULL, watchdog_main, w);
}

static void stop(struct world *w)
{
	uint64_t one = 1;
	size_t i;

	__atomic_store_n(&w->quit, true, __ATOMIC_RELEASE);
	fuse_abort(w->conn.st_dev);
	for (i = 0; i < DEVS; i++)
		if (w->conn.dev[i] > 0)
			close(w->conn.dev[i]);
	for (i = 0; i < CLIENTS; i++)
		if (w->client[i].pid > 0) {
			kill(w->client[i].pid, SIGKILL);
			waitpid(w->client[i].pid, NULL, 0);
		}
	if (w->notifier && write(w->notify_event, &one, sizeof(one)) > 0)
		pthread_join(w->notifier, NULL);
	if (w->watchdog)
		pthread_join(w->watchdog, NULL);
	umount2(w->conn.dir, MNT_DETACH);
}

FIXTURE(fuzz)
{
	struct world *w;
};

FIXTURE_SETUP(fuzz)
{
	struct world *w = test_shared_memory(sizeof(*w));

	self->w = w;
	ASSERT_TRUE(!!w);
	ASSERT_EQ(0, test_setup(&w->env));
	w->base_depth = w->env.config.max_stack_depth - 1;
	w->env.time_limit = 120 + the_inputs / INPUTS_IN_A_SECOND;
	ASSERT_EQ(0, test_start(&w->env));
	TEST_NEEDS_PASSTHROUGH(&w->env);
	if (test_on_mainline(&w->env))
		SKIP(_exit(255), "mainline has other rules");
	w->seed = the_seed;
	w->inputs = the_inputs;
	fprintf(stderr,
		"# seed %llu, %ld inputs; again: FUSE_FUZZ_SEED=%llu FUSE_FUZZ_INPUTS=%ld ./%s\n",
		(unsigned long long)w->seed, w->inputs,
		(unsigned long long)w->seed, w->inputs,
		program_invocation_short_name);
	ASSERT_TRUE(prepare(w));
}

FIXTURE_TEARDOWN(fuzz)
{
	stop(self->w);
	test_teardown(&self->w->env);
}

static int open_fds(void)
{
	int fd, n = 0;

	for (fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

TEST_F_TIMEOUT(fuzz, input_does_no_harm, TEST_SECONDS)
{
	struct world *w = self->w;
	double start = test_now();
	int fds = open_fds(), rounds = 0;

	/* Half of the rounds on one CPU, where there is less to wait for */
	ASSERT_TRUE(stay_on_this_cpu(w));
	while (w->number < w->inputs && run_round(w))
		rounds++;
	fprintf(stderr,
		"# %ld inputs in %.1f seconds, %d rounds: %ld ioctls, %ld replies, %ld calls, %ld others\n",
		w->number, test_now() - start, rounds, w->count[COUNT_IOCTL],
		w->count[COUNT_REPLY], w->count[COUNT_CALL],
		w->count[COUNT_OTHER]);
	ASSERT_FALSE(w->failed);
	EXPECT_EQ(fds, open_fds());
}

TEST_HARNESS_MAIN
