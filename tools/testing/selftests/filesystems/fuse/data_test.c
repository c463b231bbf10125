// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: a random mix of everything that reads and changes files'
 * data, by two processes, through the mount and through the backing path, held
 * against a model in memory.
 *
 * FUSE_DATA_OPS is the number of operations, FUSE_DATA_SEED the start of the one
 * stream of random numbers that they are all made from.
 */
#include "test_common.h"

#include <linux/aio_abi.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE		4096
#define MAX_SIZE	(1024 * 1024)	/* of a file */
#define MAX_LEN		65536		/* of an operation; a pipe holds it */
#define MAX_MAP		(32 * PAGE)
#define BORDER		(MAX_SIZE / 3)	/* between two processes, in a page */
#define FILES		2
#define PROCESSES	2
#define MAPS		4		/* that a process has at a time */
#define HISTORY		20		/* operations that a report shows */
#define CHECK_EACH	1000		/* operations: all of the files */
#define OPS		5000

#define SECONDS_FOR_OP	120
#define OPS_IN_A_SECOND	10		/* at least */
#define TEST_SECONDS	(24 * 60 * 60)	/* for as many operations as may be */

/* What of a file a process has open */
enum slot { MOUNT, MOUNT_TOO, BACKING, SLOTS };

static const char * const slot_names[] = { "mount", "mount too", "backing" };

/* What an operation needs of the file descriptor */
#define CAN_READ	0x01
#define CAN_WRITE	0x02
#define NO_APPEND	0x04
#define NO_DIRECT	0x08
/* What may come of it */
#define MAY_BE_SHORT	0x10	/* less was done than could have been */
#define MAY_GETXATTR	0x20	/* as on any FUSE file */
/* The other processes stay out of the range, but not out of the folios */
#define ALONE		0x40

struct op_type;

struct op {
	const struct op_type *type;
	int process;
	int file;
	int slot;
	int from_file;		/* of a copy */
	int from_slot;
	int map;		/* which of the process' */
	int flags;		/* of the call */
	int had;		/* what was open: O_* */
	off_t off;
	off_t from;
	size_t len;
};

/* Between the one who knows what is right and a process that acts */
struct shared {
	unsigned char data[MAX_LEN];	/* at the start of a page */
	struct op op;
	long ret;
	off_t size;		/* of the file at the end, if others change it */
};

/* A process' own side of what it acts on */
struct actor {
	struct world *world;
	struct shared *shared;
	int fd[FILES][SLOTS];
	char *map[MAPS];
	aio_context_t aio;
};

struct model {
	unsigned char *data;	/* zeros beyond the end */
	off_t size;
};

struct mapping {
	int file;
	int slot;
	off_t off;
	size_t len;		/* 0: there is none */
};

struct past {
	struct op op;
	long ret;
	long number;
};

/* All that the next operation depends on */
struct world {
	struct test_env *env;
	struct test_file *served[FILES];
	uint64_t seed;
	uint64_t random;
	long ops;

	/* What may be changed, and whether somebody else changes the size */
	off_t low;
	off_t high;
	bool fixed;
	int files;
	int processes;		/* that act in turn; 0: this one does */
	int self;		/* its number then */

	bool direct;		/* there is O_DIRECT */
	bool rwf_append;	/* there is RWF_APPEND */
	bool mainline;
	char path[FILES][2][PATH_MAX];

	struct model model[FILES];
	struct mapping map[PROCESSES][MAPS];
	int flags[PROCESSES][FILES][SLOTS];	/* O_*; -1: not open */
	struct shared *shared;
	struct actor actor;
	int socket[PROCESSES];
	pid_t pid[PROCESSES];

	long number;
	long bypassed;		/* requests that no operation may have cost */
	bool silent;		/* a mismatch is what is tested */
	struct past history[HISTORY];
};

struct op_type {
	const char *name;
	int weight;
	int needs;
	/* Fills in the operation; false if there is nothing to do it on */
	bool (*plan)(struct world *w, struct op *op);
	/* Does it. What the call returned, or -errno */
	long (*run)(struct actor *a, const struct op *op);
	/* Says whether that is right, and follows in the model */
	bool (*settle)(struct world *w, const struct op *op, long ret);
};

static const struct op_type reopen_type;
static const struct op_type map_type;
static const struct op_type check_type;

/* Random numbers */

static uint32_t below(struct world *w, uint32_t n)
{
	return test_random_below(&w->random, n);
}

static off_t clamp_off(off_t off, off_t low, off_t high)
{
	return off < low ? low : off > high ? high : off;
}

static off_t round_down(off_t off)
{
	return off & ~(off_t)(PAGE - 1);
}

static off_t round_up(off_t off)
{
	return round_down(off + PAGE - 1);
}

/* Mostly in the file, often at its end, and every other at the edge of a page */
static off_t random_off(struct world *w, int file)
{
	off_t size = w->model[file].size;
	off_t off;

	switch (below(w, 10)) {
	case 0 ... 4:
		off = w->low + below(w, size - w->low + 1);
		break;
	case 5 ... 6:
		off = size + below(w, 5) - 2;
		break;
	default:
		off = w->low + below(w, w->high - w->low);
	}
	if (below(w, 2))
		off = round_down(off) + below(w, 3) - 1;
	return clamp_off(off, w->low, w->high - 1);
}

static size_t random_len(struct world *w)
{
	switch (below(w, 8)) {
	case 0 ... 1:
		return 1 + below(w, 64);
	case 2 ... 3:
		return PAGE - 1 + below(w, 3);
	case 4 ... 5:
		return 1 + below(w, 4 * PAGE);
	case 6:
		return (1 + below(w, 8)) * PAGE;
	default:
		return 1 + below(w, MAX_LEN);
	}
}

/* Reports */

static const char *flags_text(int flags, char text[128])
{
	static const char * const modes[] = { "O_RDONLY", "O_WRONLY", "O_RDWR" };

	snprintf(text, 128, "%s%s%s%s%s%s%s", modes[flags & O_ACCMODE],
		 flags & O_APPEND ? "|O_APPEND" : "",
		 flags & O_DIRECT ? "|O_DIRECT" : "",
		 flags & O_DSYNC ? "|O_DSYNC" : "",
		 flags & O_NOATIME ? "|O_NOATIME" : "",
		 flags & O_NONBLOCK ? "|O_NONBLOCK" : "",
		 flags & O_TRUNC ? "|O_TRUNC" : "");
	return text;
}

static void print_op(const struct world *w, const struct past *past)
{
	const struct op *op = &past->op;
	char had[128] = "not open", ret[64];

	if (op->had >= 0)
		flags_text(op->had, had);
	if (past->ret == LONG_MIN)
		snprintf(ret, sizeof(ret), "(nothing)");
	else if (past->ret < 0)
		snprintf(ret, sizeof(ret), "%s", strerror(-past->ret));
	else
		snprintf(ret, sizeof(ret), "%ld", past->ret);

	fprintf(stderr,
		"# %6ld: process %d: %s(file %d by %s (%s), off %#llx, len %#zx, flags %#x",
		past->number, op->process, op->type->name, op->file,
		slot_names[op->slot], had, (long long)op->off, op->len,
		op->flags);
	if (op->from_slot >= 0)
		fprintf(stderr, ", from file %d by %s, off %#llx",
			op->from_file, slot_names[op->from_slot],
			(long long)op->from);
	if (op->map >= 0)
		fprintf(stderr, ", mapping %d, %#llx", op->map,
			(long long)op->from);
	fprintf(stderr, ") = %s\n", ret);
}

static void print_history(const struct world *w)
{
	long i;

	fprintf(stderr, "# The last operations:\n");
	for (i = w->number - HISTORY + 1; i <= w->number; i++)
		if (i >= 0 && w->history[i % HISTORY].op.type)
			print_op(w, &w->history[i % HISTORY]);
}

static void print_bytes(const char *what, const unsigned char *data, size_t len)
{
	size_t i;

	fprintf(stderr, "# %s:", what);
	for (i = 0; i < len && i < 16; i++)
		fprintf(stderr, " %02x", data[i]);
	fprintf(stderr, "\n");
}

/* Says what is wrong in the operation that was made last. Returns false. */
static bool mismatch(const struct world *w, const char *fmt, ...)
{
	const struct past *past = &w->history[w->number % HISTORY];
	va_list ap;

	if (w->silent)
		return false;
	fprintf(stderr, "# MISMATCH: seed %llu, operation %ld of %ld: ",
		(unsigned long long)w->seed, w->number, w->ops);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	print_op(w, past);
	fprintf(stderr, "# The model has file %d with size %#llx\n",
		past->op.file, (long long)w->model[past->op.file].size);
	return false;
}

static bool same(const struct world *w, int file, off_t off,
		 const unsigned char *found, size_t len)
{
	const unsigned char *expected = w->model[file].data + off;
	size_t i;

	if (!memcmp(expected, found, len))
		return true;
	for (i = 0; expected[i] == found[i]; i++)
		;
	mismatch(w, "file %d differs at %#llx, %#zx from the start", file,
		 (long long)off + i, i);
	if (!w->silent) {
		print_bytes("expected", expected + i, len - i);
		print_bytes("found", found + i, len - i);
	}
	return false;
}

/* The model */

static void model_write(struct model *m, off_t off, const void *data,
			size_t len)
{
	memcpy(m->data + off, data, len);
	if (off + (off_t)len > m->size)
		m->size = off + len;
}

static void model_zero(struct model *m, off_t off, off_t len)
{
	memset(m->data + off, 0, len);
}

static void model_truncate(struct model *m, off_t size)
{
	if (size < m->size)
		model_zero(m, size, m->size - size);
	m->size = size;
}

/* Bytes of the file from there on */
static size_t available(const struct world *w, int file, off_t off, size_t len)
{
	off_t size = w->model[file].size;

	if (off >= size)
		return 0;
	return len < (size_t)(size - off) ? len : (size_t)(size - off);
}

/* Reading and writing */

static bool is_direct(const struct op *op)
{
	return op->had & O_DIRECT;
}

/* Chooses a range for the calls that read and write */
static bool plan_io(struct world *w, struct op *op)
{
	op->off = random_off(w, op->file);
	op->len = random_len(w);
	if (is_direct(op)) {
		op->off = round_down(op->off);
		if (op->off < w->low)
			op->off += PAGE;
		op->len = round_up(op->len);
	}
	if (op->off >= w->high)
		return false;
	if (op->off + (off_t)op->len > w->high)
		op->len = w->high - op->off;
	if (is_direct(op))
		op->len = round_down(op->len);
	return op->len > 0;
}

static bool appends(const struct op *op)
{
	return op->had & O_APPEND || op->flags & RWF_APPEND;
}

static bool plan_data(struct world *w, struct op *op)
{
	off_t end = appends(op) ? w->model[op->file].size : op->off;

	if (end + (off_t)op->len > w->high)
		op->len = w->high - end;
	if (!op->len)
		return false;
	test_pattern(w->shared->data, op->len, below(w, UINT32_MAX));
	return true;
}

static bool plan_read(struct world *w, struct op *op)
{
	if (!plan_io(w, op))
		return false;
	memset(w->shared->data, 0xdb, op->len);
	return true;
}

static bool plan_write(struct world *w, struct op *op)
{
	return plan_io(w, op) && plan_data(w, op);
}

/* Not one that a buffered write of somebody else's in the same folio races */
static bool plan_pwritev2(struct world *w, struct op *op)
{
	static const int flags[] = { 0, RWF_APPEND, RWF_DSYNC, RWF_NOWAIT };

	if (!plan_io(w, op))
		return false;
	op->flags = flags[below(w, ARRAY_SIZE(flags))];
	if (op->flags == RWF_APPEND &&
	    (is_direct(op) || w->fixed || !w->rwf_append))
		op->flags = 0;
	return plan_data(w, op);
}

static long result(long ret)
{
	return ret < 0 ? -errno : ret;
}

static int fd_of(const struct actor *a, const struct op *op)
{
	return a->fd[op->file][op->slot];
}

/* The buffer in three parts, of whole pages for O_DIRECT */
static void split_buffer(const struct actor *a, const struct op *op,
			 struct iovec iov[3])
{
	unsigned char *data = a->shared->data;
	size_t part = op->len / 3;

	if (is_direct(op))
		part = round_down(part);
	iov[0] = (struct iovec) { data, part };
	iov[1] = (struct iovec) { data + part, part };
	iov[2] = (struct iovec) { data + 2 * part, op->len - 2 * part };
}

static long run_read(struct actor *a, const struct op *op)
{
	if (lseek(fd_of(a, op), op->off, SEEK_SET) < 0)
		return -errno;
	return result(read(fd_of(a, op), a->shared->data, op->len));
}

static long run_pread(struct actor *a, const struct op *op)
{
	return result(pread(fd_of(a, op), a->shared->data, op->len, op->off));
}

static long run_readv(struct actor *a, const struct op *op)
{
	struct iovec iov[3];

	split_buffer(a, op, iov);
	return result(preadv(fd_of(a, op), iov, 3, op->off));
}

static bool must_wait(long ret)
{
	return ret < 0 && (errno == EAGAIN || errno == EOPNOTSUPP);
}

static long run_preadv2(struct actor *a, const struct op *op)
{
	struct iovec iov[3];
	ssize_t ret;

	split_buffer(a, op, iov);
	ret = preadv2(fd_of(a, op), iov, 3, op->off, RWF_NOWAIT);
	if (must_wait(ret))
		ret = preadv2(fd_of(a, op), iov, 3, op->off, 0);
	return result(ret);
}

static long run_write(struct actor *a, const struct op *op)
{
	if (lseek(fd_of(a, op), op->off, SEEK_SET) < 0)
		return -errno;
	return result(write(fd_of(a, op), a->shared->data, op->len));
}

static long run_pwrite(struct actor *a, const struct op *op)
{
	return result(pwrite(fd_of(a, op), a->shared->data, op->len, op->off));
}

static long run_writev(struct actor *a, const struct op *op)
{
	struct iovec iov[3];

	split_buffer(a, op, iov);
	return result(pwritev(fd_of(a, op), iov, 3, op->off));
}

static long run_pwritev2(struct actor *a, const struct op *op)
{
	struct iovec iov[3];
	ssize_t ret;

	split_buffer(a, op, iov);
	ret = pwritev2(fd_of(a, op), iov, 3, op->off, op->flags);
	if (op->flags & RWF_NOWAIT && must_wait(ret))
		ret = pwritev2(fd_of(a, op), iov, 3, op->off, 0);
	return result(ret);
}

static long run_aio(struct actor *a, const struct op *op, int opcode)
{
	struct iocb iocb = {
		.aio_lio_opcode = opcode, .aio_fildes = fd_of(a, op),
		.aio_buf = (uintptr_t)a->shared->data, .aio_nbytes = op->len,
		.aio_offset = op->off,
	};
	struct iocb *iocbs = &iocb;
	struct io_event event;

	if (!a->aio && syscall(SYS_io_setup, 1, &a->aio))
		return -errno;
	if (syscall(SYS_io_submit, a->aio, 1, &iocbs) != 1 ||
	    syscall(SYS_io_getevents, a->aio, 1, 1, &event, NULL) != 1)
		return -errno;
	return event.res;
}

static long run_aio_read(struct actor *a, const struct op *op)
{
	return run_aio(a, op, IOCB_CMD_PREAD);
}

static long run_aio_write(struct actor *a, const struct op *op)
{
	return run_aio(a, op, IOCB_CMD_PWRITE);
}

static long run_splice_from(struct actor *a, const struct op *op)
{
	off_t off = op->off;
	int pipe[2];
	long ret;

	if (pipe2(pipe, O_CLOEXEC))
		return -errno;
	ret = result(splice(fd_of(a, op), &off, pipe[1], NULL, op->len, 0));
	if (ret > 0)
		ret = result(read(pipe[0], a->shared->data, ret));
	close(pipe[0]);
	close(pipe[1]);
	return ret;
}

static long run_splice_to(struct actor *a, const struct op *op)
{
	off_t off = op->off;
	int pipe[2];
	long ret;

	if (pipe2(pipe, O_CLOEXEC))
		return -errno;
	ret = result(write(pipe[1], a->shared->data, op->len));
	if (ret > 0)
		ret = result(splice(pipe[0], NULL, fd_of(a, op), &off, ret, 0));
	close(pipe[0]);
	close(pipe[1]);
	return ret;
}

/* All of it was done; or at least some, if that is allowed */
static bool done(const struct world *w, const struct op *op, long ret,
		 size_t expected)
{
	if (ret < 0)
		return mismatch(w, "failed");
	if (ret == (long)expected)
		return true;
	if (op->type->needs & MAY_BE_SHORT && ret && ret < (long)expected)
		return true;
	return mismatch(w, "%#lx bytes instead of %#zx", ret, expected);
}

static bool settle_read(struct world *w, const struct op *op, long ret)
{
	return done(w, op, ret, available(w, op->file, op->off, op->len)) &&
	       same(w, op->file, op->off, w->shared->data, ret);
}

static bool settle_write(struct world *w, const struct op *op, long ret)
{
	struct model *m = &w->model[op->file];

	if (!done(w, op, ret, op->len))
		return false;
	model_write(m, appends(op) ? m->size : op->off, w->shared->data, ret);
	return true;
}

/* Copies */

static bool slot_is_behind(int slot)
{
	return slot == BACKING;
}

static bool plan_any_copy(struct world *w, struct op *op)
{
	op->from_file = below(w, w->files);
	op->from = random_off(w, op->from_file);
	if (!plan_io(w, op))
		return false;
	if (op->from + (off_t)op->len > w->high)
		op->len = w->high - op->from;
	if (op->from_file != op->file)
		return true;

	/* What is copied must neither lie in there nor follow a moving end. */
	op->len = available(w, op->file, op->from, op->len);
	return op->len && llabs(op->from - op->off) >= (long long)op->len;
}

/* One file system's own operation, with its clones, if it has any */
static bool plan_copy(struct world *w, struct op *op)
{
	/* Mainline may take another process' reply for the size that is */
	if (w->mainline && !w->processes && !slot_is_behind(op->slot))
		return false;
	op->from_slot = slot_is_behind(op->slot) ? BACKING : (int)below(w, 2);
	return plan_any_copy(w, op);
}

static bool plan_sendfile(struct world *w, struct op *op)
{
	op->from_slot = below(w, SLOTS);
	return plan_any_copy(w, op);
}

/* How much there is to copy is decided by the size that FUSE has last heard of */
static int hear_of_size(int fd)
{
	struct statx stx;

	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_SIZE,
		     &stx);
}

static long run_copy(struct actor *a, const struct op *op)
{
	int from_fd = a->fd[op->from_file][op->from_slot];
	off_t off = op->off, from = op->from;

	if (hear_of_size(from_fd))
		return -errno;
	return result(copy_file_range(from_fd, &from, fd_of(a, op), &off,
				      op->len, 0));
}

static long run_sendfile(struct actor *a, const struct op *op)
{
	off_t from = op->from;

	if (lseek(fd_of(a, op), op->off, SEEK_SET) < 0)
		return -errno;
	return result(sendfile(fd_of(a, op), a->fd[op->from_file][op->from_slot],
			       &from, op->len));
}

static bool settle_copy(struct world *w, const struct op *op, long ret)
{
	size_t len = available(w, op->from_file, op->from, op->len);

	if (!done(w, op, ret, len))
		return false;
	if (ret)
		model_write(&w->model[op->file], op->off,
			    w->model[op->from_file].data + op->from, ret);
	return true;
}

/* Sizes and holes */

static bool plan_truncate(struct world *w, struct op *op)
{
	if (w->fixed)
		return false;
	op->off = random_off(w, op->file) + below(w, 2);
	op->flags = below(w, 4) == 0;
	return true;
}

static const char *path_of(const struct actor *a, const struct op *op)
{
	return a->world->path[op->file][slot_is_behind(op->slot)];
}

static long run_truncate(struct actor *a, const struct op *op)
{
	return result(op->flags ? truncate(path_of(a, op), op->off) :
				  ftruncate(fd_of(a, op), op->off));
}

static bool settle_truncate(struct world *w, const struct op *op, long ret)
{
	if (ret)
		return mismatch(w, "failed");
	model_truncate(&w->model[op->file], op->off);
	return true;
}

static bool plan_fallocate(struct world *w, struct op *op)
{
	static const int modes[] = {
		0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	};

	op->flags = modes[below(w, ARRAY_SIZE(modes))];
	return plan_io(w, op);
}

static long run_fallocate(struct actor *a, const struct op *op)
{
	return result(fallocate(fd_of(a, op), op->flags, op->off, op->len));
}

static bool settle_fallocate(struct world *w, const struct op *op, long ret)
{
	struct model *m = &w->model[op->file];
	off_t end = op->off + op->len;

	if (ret == -EOPNOTSUPP)
		return true;
	if (ret)
		return mismatch(w, "failed");
	if (op->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		model_zero(m, op->off, op->len);
	if (!(op->flags & FALLOC_FL_KEEP_SIZE) && end > m->size)
		m->size = end;
	return true;
}

/* Ways to ask for the size */
enum { FSTAT, STAT, SEEK, ASKS };

static bool plan_stat(struct world *w, struct op *op)
{
	op->flags = below(w, ASKS);
	/* Mainline does not look at the backing file's */
	return !w->mainline || op->flags != SEEK;
}

static long run_stat(struct actor *a, const struct op *op)
{
	struct statx stx;
	int flags = a->world->mainline ? AT_STATX_FORCE_SYNC : 0;
	int ret;

	if (op->flags == SEEK)
		return result(lseek(fd_of(a, op), 0, SEEK_END));
	if (op->flags == FSTAT)
		ret = statx(fd_of(a, op), "", flags | AT_EMPTY_PATH,
			    STATX_SIZE, &stx);
	else
		ret = statx(AT_FDCWD, path_of(a, op), flags, STATX_SIZE, &stx);
	return ret ? -errno : (long)stx.stx_size;
}

static bool settle_stat(struct world *w, const struct op *op, long ret)
{
	off_t size = w->model[op->file].size;

	if (ret == size || (w->fixed && ret > size))
		return true;
	return mismatch(w, "the size is %#lx instead of %#llx", ret,
			(long long)size);
}

/* Mappings */

static bool plan_map(struct world *w, struct op *op)
{
	op->map = below(w, MAPS);
	op->off = round_down(random_off(w, op->file));
	op->len = (1 + below(w, MAX_MAP / PAGE)) * PAGE;
	if (op->off + op->len > MAX_SIZE)
		op->len = MAX_SIZE - op->off;
	op->from = w->map[op->process][op->map].len;
	return true;
}

/* In the place of one that may be there */
static long run_map(struct actor *a, const struct op *op)
{
	char **map = &a->map[op->map];

	if (op->from && munmap(*map, op->from))
		return -errno;
	*map = mmap(NULL, op->len, PROT_READ | PROT_WRITE, MAP_SHARED,
		    fd_of(a, op), op->off);
	return *map == MAP_FAILED ? -errno : 0;
}

static bool settle_map(struct world *w, const struct op *op, long ret)
{
	if (ret)
		return mismatch(w, "failed");
	w->map[op->process][op->map] = (struct mapping) {
		op->file, op->slot, op->off, op->len,
	};
	return true;
}

/* Takes a mapping; makes one if there is none in this place */
static struct mapping *plan_on_map(struct world *w, struct op *op)
{
	struct mapping *map;

	op->map = below(w, MAPS);
	map = &w->map[op->process][op->map];
	if (!map->len)
		return NULL;
	op->file = map->file;
	op->slot = map->slot;
	op->had = O_RDWR;
	return map;
}

/* Chooses a range in a mapping that lies before @end of the file */
static bool plan_in_map(struct world *w, struct op *op, struct mapping *map,
			off_t end)
{
	off_t start = clamp_off(map->off, w->low, w->high);

	end = clamp_off(map->off + map->len, w->low, end);
	if (start >= end)
		return false;
	op->off = clamp_off(random_off(w, op->file), start, end - 1);
	op->len = random_len(w);
	if (op->off + (off_t)op->len > end)
		op->len = end - op->off;
	op->from = op->off - map->off;
	return true;
}

static bool plan_load(struct world *w, struct op *op)
{
	struct mapping *map = plan_on_map(w, op);
	off_t end;

	if (!map)
		return false;
	/* The last page ends with zeros */
	end = w->model[op->file].size;
	if (!w->fixed)
		end = round_up(end);
	return plan_in_map(w, op, map, end);
}

static bool plan_store(struct world *w, struct op *op)
{
	struct mapping *map = plan_on_map(w, op);

	if (!map || !plan_in_map(w, op, map, w->model[op->file].size))
		return false;
	op->flags = below(w, 8) ? 0 : below(w, 2) ? MS_SYNC : MS_ASYNC;
	test_pattern(w->shared->data, op->len, below(w, UINT32_MAX));
	return true;
}

static long run_load(struct actor *a, const struct op *op)
{
	memcpy(a->shared->data, a->map[op->map] + op->from, op->len);
	return op->len;
}

static long run_store(struct actor *a, const struct op *op)
{
	off_t page = round_down(op->from);

	memcpy(a->map[op->map] + op->from, a->shared->data, op->len);
	if (op->flags && msync(a->map[op->map] + page,
			       op->len + op->from - page, op->flags))
		return -errno;
	return op->len;
}

static bool settle_load(struct world *w, const struct op *op, long ret)
{
	return same(w, op->file, op->off, w->shared->data, ret);
}

static bool plan_private(struct world *w, struct op *op)
{
	op->off = random_off(w, op->file);
	op->len = available(w, op->file, op->off, random_len(w));
	return op->len > 0;
}

/* What is stored there must not be found in the file */
static long run_private(struct actor *a, const struct op *op)
{
	off_t page = round_down(op->off);
	size_t skip = op->off - page;
	char *map;

	map = mmap(NULL, skip + op->len, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		   fd_of(a, op), page);
	if (map == MAP_FAILED)
		return -errno;
	memcpy(a->shared->data, map + skip, op->len);
	memset(map + skip, 0x55, op->len);
	munmap(map, skip + op->len);
	return op->len;
}

static bool settle_private(struct world *w, const struct op *op, long ret)
{
	return done(w, op, ret, op->len) &&
	       same(w, op->file, op->off, w->shared->data, ret);
}

/* Takes the head, the tail, or all of it away */
enum { ALL, HEAD, TAIL, PARTS };

static bool plan_unmap(struct world *w, struct op *op)
{
	struct mapping *map = plan_on_map(w, op);

	if (!map)
		return false;
	op->flags = below(w, PARTS);
	op->len = op->flags == ALL ? map->len :
		  (1 + below(w, map->len / PAGE)) * PAGE;
	op->from = op->flags == TAIL ? map->len - op->len : 0;
	return true;
}

static long run_unmap(struct actor *a, const struct op *op)
{
	if (munmap(a->map[op->map] + op->from, op->len))
		return -errno;
	if (op->flags == HEAD)
		a->map[op->map] += op->len;
	return 0;
}

static bool settle_unmap(struct world *w, const struct op *op, long ret)
{
	struct mapping *map = &w->map[op->process][op->map];

	if (ret)
		return mismatch(w, "failed");
	map->len -= op->len;
	if (op->flags == HEAD)
		map->off += op->len;
	return true;
}

static bool plan_mremap(struct world *w, struct op *op)
{
	struct mapping *map = plan_on_map(w, op);

	if (!map)
		return false;
	op->from = map->len;
	op->len = (1 + below(w, MAX_MAP / PAGE)) * PAGE;
	if (map->off + op->len > MAX_SIZE)
		op->len = MAX_SIZE - map->off;
	return true;
}

static long run_mremap(struct actor *a, const struct op *op)
{
	char *map = mremap(a->map[op->map], op->from, op->len, MREMAP_MAYMOVE);

	if (map == MAP_FAILED)
		return -errno;
	a->map[op->map] = map;
	return 0;
}

static bool settle_mremap(struct world *w, const struct op *op, long ret)
{
	if (ret)
		return mismatch(w, "failed");
	w->map[op->process][op->map].len = op->len;
	return true;
}

/* File descriptors */

/* Both flags at once would make appending depend on the size's alignment. */
static int random_flags(struct world *w)
{
	int flags = below(w, 4) ? 0 : O_NOATIME;

	switch (below(w, 4)) {
	case 0:
		return w->fixed ? flags : flags | O_APPEND;
	case 1:
		return w->direct ? flags | O_DIRECT : flags;
	case 2:
		return flags | O_NONBLOCK;
	}
	return flags;
}

static bool slot_fits(int flags, int needs)
{
	int mode = flags & O_ACCMODE;

	return flags >= 0 &&
	       !(needs & CAN_READ && mode == O_WRONLY) &&
	       !(needs & CAN_WRITE && mode == O_RDONLY) &&
	       !(needs & NO_APPEND && flags & O_APPEND) &&
	       !(needs & NO_DIRECT && flags & O_DIRECT);
}

static void plan_flags_that_fit(struct world *w, struct op *op, int needs)
{
	static const int modes[] = { O_RDWR, O_RDWR, O_RDONLY, O_WRONLY };

	do {
		op->flags = modes[below(w, ARRAY_SIZE(modes))] | random_flags(w);
	} while (!slot_fits(op->flags, needs));
}

static bool plan_reopen(struct world *w, struct op *op)
{
	plan_flags_that_fit(w, op, 0);
	if (!below(w, 8))
		op->flags |= O_DSYNC;
	if (w->processes && op->flags & O_ACCMODE && !below(w, 16))
		op->flags |= O_TRUNC;
	return true;
}

static long run_reopen(struct actor *a, const struct op *op)
{
	int *fd = &a->fd[op->file][op->slot];

	if (*fd >= 0)
		close(*fd);
	*fd = open(path_of(a, op), op->flags | O_CLOEXEC);
	return *fd < 0 ? -errno : 0;
}

static bool settle_reopen(struct world *w, const struct op *op, long ret)
{
	if (ret)
		return mismatch(w, "failed");
	w->flags[op->process][op->file][op->slot] = op->flags & ~O_TRUNC;
	if (op->flags & O_TRUNC)
		model_truncate(&w->model[op->file], 0);
	return true;
}

/* Mainline does not take notice */
static bool plan_setfl(struct world *w, struct op *op)
{
	op->flags = (op->had & O_ACCMODE) | random_flags(w);
	return !w->mainline;
}

static long run_setfl(struct actor *a, const struct op *op)
{
	return result(fcntl(fd_of(a, op), F_SETFL, op->flags));
}

static bool settle_setfl(struct world *w, const struct op *op, long ret)
{
	if (ret)
		return mismatch(w, "failed");
	w->flags[op->process][op->file][op->slot] = op->flags;
	return true;
}

enum { FSYNC, FDATASYNC, DROP_CACHE, SYNCS };

static bool plan_sync(struct world *w, struct op *op)
{
	op->flags = below(w, SYNCS);
	return true;
}

static long run_sync(struct actor *a, const struct op *op)
{
	int fd = fd_of(a, op);

	if (op->flags == FDATASYNC)
		return result(fdatasync(fd));
	if (fsync(fd))
		return -errno;
	if (op->flags == DROP_CACHE)
		return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return 0;
}

static bool settle_sync(struct world *w, const struct op *op, long ret)
{
	return ret ? mismatch(w, "failed") : true;
}

/* The mix */

#define READS	CAN_READ
#define WRITES	(CAN_WRITE | ALONE)
#define COPIES	(CAN_WRITE | NO_APPEND | NO_DIRECT | MAY_BE_SHORT)

static const struct op_type op_types[] = {
	{ "read", 4, READS, plan_read, run_read, settle_read },
	{ "pread", 4, READS, plan_read, run_pread, settle_read },
	{ "preadv", 4, READS, plan_read, run_readv, settle_read },
	{ "preadv2", 4, READS | MAY_BE_SHORT,
	  plan_read, run_preadv2, settle_read },
	{ "io_submit read", 4, READS, plan_read, run_aio_read, settle_read },
	{ "splice from", 4, READS | NO_DIRECT | MAY_BE_SHORT,
	  plan_read, run_splice_from, settle_read },

	{ "write", 4, WRITES, plan_write, run_write, settle_write },
	{ "pwrite", 4, WRITES, plan_write, run_pwrite, settle_write },
	{ "pwritev", 4, WRITES, plan_write, run_writev, settle_write },
	{ "pwritev2", 6, WRITES | MAY_BE_SHORT,
	  plan_pwritev2, run_pwritev2, settle_write },
	{ "io_submit write", 4, WRITES, plan_write, run_aio_write,
	  settle_write },
	{ "splice to", 4, WRITES | NO_APPEND | NO_DIRECT | MAY_BE_SHORT,
	  plan_write, run_splice_to, settle_write },

	{ "copy_file_range", 4, COPIES | MAY_GETXATTR,
	  plan_copy, run_copy, settle_copy },
	{ "sendfile", 4, COPIES, plan_sendfile, run_sendfile, settle_copy },

	{ "truncate", 6, CAN_WRITE | MAY_GETXATTR,
	  plan_truncate, run_truncate, settle_truncate },
	{ "fallocate", 6, CAN_WRITE | MAY_GETXATTR,
	  plan_fallocate, run_fallocate, settle_fallocate },
	{ "stat", 6, 0, plan_stat, run_stat, settle_stat },

	{ "load", 8, 0, plan_load, run_load, settle_load },
	{ "store", 8, 0, plan_store, run_store, settle_write },
	{ "private mmap", 3, CAN_READ,
	  plan_private, run_private, settle_private },
	{ "munmap", 2, 0, plan_unmap, run_unmap, settle_unmap },
	{ "mremap", 2, 0, plan_mremap, run_mremap, settle_mremap },

	{ "fcntl", 4, 0, plan_setfl, run_setfl, settle_setfl },
	{ "sync", 2, 0, plan_sync, run_sync, settle_sync },
};

static const struct op_type map_type = {
	"mmap", 4, CAN_READ | CAN_WRITE, plan_map, run_map, settle_map,
};

static const struct op_type reopen_type = {
	"open", 4, MAY_GETXATTR, plan_reopen, run_reopen, settle_reopen,
};

/* Of a whole file, not of the mix */
static const struct op_type check_type = {
	"check", 0, READS, NULL, run_pread, settle_read,
};

static const struct op_type *random_type(struct world *w)
{
	static int sum;
	size_t i;
	int n;

	if (!sum) {
		sum = map_type.weight + reopen_type.weight;
		for (i = 0; i < ARRAY_SIZE(op_types); i++)
			sum += op_types[i].weight;
	}

	n = below(w, sum);
	for (i = 0; i < ARRAY_SIZE(op_types); i++) {
		if (n < op_types[i].weight)
			return &op_types[i];
		n -= op_types[i].weight;
	}
	return n < map_type.weight ? &map_type : &reopen_type;
}

static void init_op(struct world *w, struct op *op, const struct op_type *type,
		    int process, int file, int slot)
{
	*op = (struct op) {
		.type = type, .process = process, .file = file, .slot = slot,
		.from_slot = -1, .map = -1,
		.had = w->flags[process][file][slot],
	};
}

/* Makes an open of it, with flags that the operation can be done with */
static void open_instead(struct world *w, struct op *op, int file, int slot,
			 int needs)
{
	init_op(w, op, &reopen_type, op->process, file, slot);
	plan_flags_that_fit(w, op, needs);
}

/* Direct writes drop whole folios from the page cache */
static int needs_of(const struct world *w, const struct op_type *type)
{
	int needs = type->needs;

	return w->processes || !(needs & ALONE) ? needs : needs | NO_DIRECT;
}

static int random_process(struct world *w)
{
	return w->processes ? (int)below(w, w->processes) : w->self;
}

static void plan_op(struct world *w, struct op *op)
{
	int process = random_process(w);
	int needs;

	do {
		init_op(w, op, random_type(w), process, below(w, w->files),
			below(w, SLOTS));
		needs = needs_of(w, op->type);
		if (!slot_fits(op->had, needs)) {
			open_instead(w, op, op->file, op->slot, needs);
			return;
		}
	} while (!op->type->plan(w, op));

	needs = CAN_READ | NO_DIRECT;
	if (op->from_slot >= 0 &&
	    !slot_fits(w->flags[process][op->from_file][op->from_slot], needs))
		open_instead(w, op, op->from_file, op->from_slot, needs);
}

/* Doing it, here or elsewhere */

static long hand_over(struct world *w, const struct op *op)
{
	struct pollfd pfd = { w->socket[op->process], POLLIN, 0 };
	char c = 0;

	w->shared->op = *op;
	w->shared->ret = LONG_MIN;
	if (write(pfd.fd, &c, 1) != 1)
		return LONG_MIN;
	while (poll(&pfd, 1, SECONDS_FOR_OP * 1000) < 0 && errno == EINTR)
		;
	if (pfd.revents & POLLIN && read(pfd.fd, &c, 1) == 1)
		return w->shared->ret;
	return LONG_MIN;
}

static bool no_end(struct world *w, const struct op *op)
{
	int status;

	if (waitpid(w->pid[op->process], &status, WNOHANG) <= 0)
		return mismatch(w, "no end in %d seconds", SECONDS_FOR_OP);
	w->pid[op->process] = 0;
	return mismatch(w, "the process has died: %s",
			WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) :
					      "it has exited");
}

/* Requests that a data operation must not cost. Others may have sent them. */
static long unwanted_requests(struct world *w)
{
	if (!w->processes)
		return 0;
	if (w->mainline)
		return test_count(w->env, FUSE_READ) +
		       test_count(w->env, FUSE_WRITE);
	return test_data_requests(w->env);
}

static bool do_op(struct world *w, const struct op *op)
{
	struct past *past = &w->history[w->number % HISTORY];
	long before = unwanted_requests(w);

	*past = (struct past) { *op, LONG_MIN, w->number };
	past->ret = w->processes ? hand_over(w, op) :
				   op->type->run(&w->actor, op);
	if (past->ret == LONG_MIN)
		return no_end(w, op);
	if (!op->type->settle(w, op, past->ret))
		return false;
	if (unwanted_requests(w) != before && !(op->type->needs & MAY_GETXATTR))
		return mismatch(w, "%ld requests that should not have been sent",
				unwanted_requests(w) - before);
	return true;
}

static bool check_slot(struct world *w, int process, int file, int slot)
{
	struct op op;
	off_t off;

	init_op(w, &op, &check_type, process, file, slot);
	if (!slot_fits(op.had, CAN_READ)) {
		open_instead(w, &op, file, slot, CAN_READ);
		if (!do_op(w, &op))
			return false;
		init_op(w, &op, &check_type, process, file, slot);
	}

	off = is_direct(&op) ? round_up(w->low) : w->low;
	for (; off < w->model[file].size; off += op.len) {
		op.off = off;
		op.len = w->high - off < MAX_LEN ? w->high - off : MAX_LEN;
		if (is_direct(&op))
			op.len = round_down(op.len);
		if (!op.len)
			break;
		if (!do_op(w, &op))
			return false;
	}
	return true;
}

/* Everything, by one process through one of its file descriptors each */
static bool check_files(struct world *w)
{
	int process = random_process(w);
	int file, slot;

	for (file = 0; file < w->files; file++)
		for (slot = MOUNT_TOO; slot < SLOTS; slot++)
			if (!check_slot(w, process, file, slot))
				return false;
	return true;
}

static bool do_ops(struct world *w)
{
	struct op op;

	for (w->number = 0; w->number < w->ops; w->number++) {
		if (w->number % CHECK_EACH == CHECK_EACH - 1 && !check_files(w))
			return false;
		plan_op(w, &op);
		if (!do_op(w, &op))
			return false;
	}
	return check_files(w);
}

static bool run_ops(struct world *w)
{
	double start = test_now();

	if (!do_ops(w)) {
		print_history(w);
		return false;
	}
	fprintf(stderr, "# %ld operations in %.1f seconds\n", w->ops,
		test_now() - start);
	return true;
}

/* The processes */

static void init_actor(struct world *w)
{
	memset(w->actor.fd, -1, sizeof(w->actor.fd));
	w->actor.world = w;
	w->actor.shared = w->shared;
}

/* A process that does what it is told */
static void act(struct world *w, int sock)
{
	struct actor *a = &w->actor;
	char c;

	while (read(sock, &c, 1) == 1) {
		w->shared->ret = w->shared->op.type->run(a, &w->shared->op);
		if (write(sock, &c, 1) != 1)
			break;
	}
}

static bool start_process(struct world *w, int process)
{
	int sock[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock))
		return false;
	signal(SIGPIPE, SIG_IGN);
	w->pid[process] = fork();
	if (!w->pid[process]) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* The server is not to live on in here */
		close(fuse_server_dev(w->env->srv));
		close(sock[0]);
		act(w, sock[1]);
		_exit(0);
	}
	close(sock[1]);
	w->socket[process] = sock[0];
	return w->pid[process] > 0;
}

static void stop_processes(struct world *w)
{
	int i;

	for (i = 0; i < PROCESSES; i++) {
		if (w->pid[i] <= 0)
			continue;
		kill(w->pid[i], SIGKILL);
		waitpid(w->pid[i], NULL, 0);
		w->pid[i] = 0;
		if (w->socket[i] >= 0)
			close(w->socket[i]);
	}
}

/* The test */

static uint64_t the_seed;
static long the_ops = OPS;

static void __attribute__((constructor)) read_variables(void)
{
	the_seed = test_seed_in("FUSE_DATA_SEED");
	the_ops = test_number_in("FUSE_DATA_OPS", OPS);
}

static void say_how_to_repeat(const struct world *w)
{
	fprintf(stderr,
		"# seed %llu, %ld operations; again: FUSE_DATA_SEED=%llu FUSE_DATA_OPS=%ld ./%s\n",
		(unsigned long long)w->seed, w->ops,
		(unsigned long long)w->seed, w->ops,
		program_invocation_short_name);
}

/* O_DIRECT works on the backing file system */
static bool has_direct(const char *path)
{
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool add_file(struct world *w, int i)
{
	const char name[] = { '0' + i, 0 };

	w->served[i] = test_add_file(w->env, name, NULL, 0);
	if (!w->served[i] || test_back(w->served[i]) < 0)
		return false;
	test_path(w->served[i], w->path[i][0]);
	test_backing_path(w->served[i], w->path[i][1]);
	w->model[i].data = test_shared_memory(MAX_SIZE);
	return w->model[i].data;
}

/*
 * Those who take turns, and the server: waking up somebody on another CPU takes
 * far longer in a VM.
 */
static bool stay_on_this_cpu(cpu_set_t *all)
{
	cpu_set_t this;

	if (sched_getaffinity(0, sizeof(*all), all))
		return false;
	CPU_ZERO(&this);
	CPU_SET(sched_getcpu(), &this);
	return !sched_setaffinity(0, sizeof(this), &this);
}

FIXTURE(data)
{
	struct test_env env;
	cpu_set_t cpus;
	struct world world[PROCESSES];	/* the first alone, if they take turns */
};

static bool init_world(struct world *w, struct test_env *env)
{
	w->env = env;
	w->seed = the_seed;
	w->ops = the_ops;
	w->high = MAX_SIZE;
	w->mainline = test_on_mainline(env);
	w->shared = test_shared_memory(sizeof(*w->shared));
	memset(w->flags, -1, sizeof(w->flags));
	memset(w->socket, -1, sizeof(w->socket));
	w->random = test_random_start(w->seed);
	init_actor(w);
	return w->shared;
}

FIXTURE_SETUP(data)
{
	struct test_env *env = &self->env;
	struct world *w = self->world;

	ASSERT_EQ(0, test_setup(env));
	env->time_limit = 60 + the_ops / OPS_IN_A_SECOND;
	/* Whatever the files lie on */
	env->config.max_stack_depth = 2;
	ASSERT_TRUE(stay_on_this_cpu(&self->cpus));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	ASSERT_TRUE(init_world(w, env));
	for (w->files = 0; w->files < FILES; w->files++)
		ASSERT_TRUE(add_file(w, w->files));
	w->direct = has_direct(w->path[0][1]);
	w->rwf_append = test_has_rwf_append(env);
	say_how_to_repeat(w);
}

FIXTURE_TEARDOWN(data)
{
	stop_processes(&self->world[0]);
	test_teardown(&self->env);
}

/* What the server has in its file */
static bool server_has(struct world *w, int file)
{
	unsigned char *data = malloc(MAX_SIZE + 1);
	ssize_t n = pread(w->served[file]->fd, data, MAX_SIZE + 1, 0);
	bool ret = n == w->model[file].size &&
		   !memcmp(data, w->model[file].data, n);

	free(data);
	return ret;
}

static bool start_taking_turns(struct world *w)
{
	for (w->processes = 0; w->processes < PROCESSES; w->processes++)
		if (!start_process(w, w->processes))
			return false;
	return true;
}

TEST_F_TIMEOUT(data, is_right_if_processes_take_turns, TEST_SECONDS)
{
	struct world *w = self->world;
	int i;

	ASSERT_TRUE(start_taking_turns(w));
	ASSERT_TRUE(run_ops(w));
	for (i = 0; i < w->files; i++)
		EXPECT_TRUE(server_has(w, i));
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
}

/* The checker can fail */
TEST_F(data, that_are_wrong_are_noticed)
{
	struct world *w = self->world;
	unsigned char byte;

	ASSERT_TRUE(start_taking_turns(w));
	w->ops = 20;
	ASSERT_TRUE(run_ops(w));
	ASSERT_EQ(0, ftruncate(w->served[0]->fd, BORDER + 1));
	model_truncate(&w->model[0], BORDER + 1);
	ASSERT_TRUE(check_files(w));

	byte = w->model[0].data[BORDER] + 1;
	ASSERT_EQ(1, pwrite(w->served[0]->fd, &byte, 1, BORDER));
	w->silent = true;
	EXPECT_FALSE(check_files(w));
	byte--;
	ASSERT_EQ(1, pwrite(w->served[0]->fd, &byte, 1, BORDER));
	EXPECT_TRUE(check_files(w));
	ASSERT_EQ(0, ftruncate(w->served[0]->fd, BORDER));
	EXPECT_FALSE(check_files(w));
}

/*
 * At the same time: one process has the start of the file, the other one its end
 * and its size. They meet in a page.
 */

static pid_t start_alone(struct world *w)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(fuse_server_dev(w->env->srv));
	if (!run_ops(w))
		_exit(1);
	w->shared->size = w->model[0].size;
	_exit(0);
}

static bool share_the_file(struct world w[PROCESSES])
{
	const struct model *m = &w[0].model[0];

	if (ftruncate(w[0].served[0]->fd, BORDER))
		return false;
	w[0].ops /= 2;
	w[0].files = 1;
	w[1] = w[0];
	w[1].shared = test_shared_memory(sizeof(*w->shared));
	w[1].model[0].data = test_shared_memory(MAX_SIZE);
	if (!w[1].shared || !w[1].model[0].data)
		return false;
	w[0].fixed = true;
	w[0].high = BORDER;
	w[1].low = BORDER;
	w[1].self = 1;
	w[1].random = test_random_start(w[1].seed + 1);
	init_actor(&w[0]);
	init_actor(&w[1]);
	w[0].model[0].size = BORDER;
	w[1].model[0].size = BORDER;
	return m->data;
}

TEST_F_TIMEOUT(data, is_right_if_processes_share_a_file, TEST_SECONDS)
{
	struct world *w = self->world;
	struct stat st;
	pid_t pid[PROCESSES];
	int i, status;

	ASSERT_EQ(0, sched_setaffinity(0, sizeof(self->cpus), &self->cpus));
	ASSERT_TRUE(share_the_file(w));
	for (i = 0; i < PROCESSES; i++) {
		pid[i] = start_alone(&w[i]);
		EXPECT_LT(0, pid[i]);
	}
	for (i = 0; i < PROCESSES; i++) {
		EXPECT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	ASSERT_TRUE(_metadata->passed);

	/* All in one */
	model_truncate(&w[0].model[0], w[1].shared->size);
	memcpy(w[0].model[0].data + BORDER, w[1].model[0].data + BORDER,
	       MAX_SIZE - BORDER);
	EXPECT_TRUE(server_has(&w[0], 0));
	EXPECT_EQ(0, stat(w->path[0][0], &st));
	if (!w->mainline)
		EXPECT_EQ(w[0].model[0].size, st.st_size);
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
}

TEST_HARNESS_MAIN
