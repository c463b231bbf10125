// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: calls for which the kernel has no memory. The first
 * allocation of a call is made to fail, then the second, and so on, until the
 * call goes through with none that failed; and all of that once more with every
 * later allocation failing, too. Each time the errno is the right one, the call
 * has changed nothing, the server gets a RELEASE for each OPEN, and the same call
 * works when there is memory again. At the end nothing keeps the backing file
 * system from being unmounted.
 *
 * Each attempt is made in a thread of its own. /proc/thread-self/fail-nth and
 * make-it-fail make that thread's allocations fail, and no others: not those of
 * the server, and not those of kernel threads.
 */
#include "test_common.h"

#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE		4096
#define SIZE		(8 * PAGE)	/* of a file; a pipe holds it */
#define OFF		PAGE		/* where it is read and written */
#define LEN		(3 * PAGE)	/* how much of it */

#define MAX_NTH		500		/* allocations that one call makes */
#define MAX_ERRNO	134
/*
 * So many are all that follow. Who tries again for as long as there is no memory,
 * such as xfs for its log, gets on then.
 */
#define ALL_LATER	"200"

/* Seconds. Each call is made some dozen times, on a kernel that checks a lot */
#define TIMEOUT		240

/* How to inject: what debugfs says for all, /proc for one thread */

#define DEBUGFS		"/sys/kernel/debug"
#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define MAKE_IT_FAIL	"/proc/thread-self/make-it-fail"

#define SLAB(name, text) { .path = DEBUGFS "/failslab/" name, .value = text, \
			   .needed = true }
#define PAGES(name, text) { .path = DEBUGFS "/fail_page_alloc/" name, \
			    .value = text }

/*
 * "ignore": allocations that may wait, and those of users' pages, fail as well.
 * The rest is for make-it-fail: the tasks that have it get no memory at all.
 * verbose: else each failure is reported with a stack trace on the console.
 */
static struct test_knob knobs[] = {
	SLAB("ignore-gfp-wait", "N"),
	SLAB("cache-filter", "N"),
	SLAB("verbose", "0"),
	SLAB("task-filter", "Y"),
	SLAB("space", "0"),
	SLAB("interval", "1"),
	SLAB("times", ALL_LATER),
	SLAB("probability", "100"),
	PAGES("ignore-gfp-wait", "N"),
	PAGES("ignore-gfp-highmem", "N"),
	PAGES("min-order", "0"),
	PAGES("verbose", "0"),
	PAGES("task-filter", "Y"),
	PAGES("space", "0"),
	PAGES("interval", "1"),
	PAGES("times", ALL_LATER),
	PAGES("probability", "100"),
};

/* Set again for each attempt, since injecting counts them down */
static struct test_knob times[] = {
	SLAB("times", ALL_LATER),
	PAGES("times", ALL_LATER),
};

/* Nothing fails, but what the thread makes meanwhile inherits make-it-fail */
static struct test_knob no_times[] = {
	SLAB("times", "0"),
	PAGES("times", "0"),
};

/* There is nothing to test on a kernel that cannot be made to fail. */
static void __attribute__((constructor)) need_fault_injection(void)
{
	if (access(FAIL_NTH, W_OK))
		test_skip_program("no " FAIL_NTH
				  ": enable CONFIG_FAULT_INJECTION");
	if (access(knobs[0].path, W_OK))
		test_skip_program("no failslab in debugfs: mount it, enable CONFIG_FAILSLAB");
}

/* What a call works on */
struct call {
	struct test_env env;
	struct test_file *file;
	int flags;		/* of opens of the file, without O_CREAT */

	/* Made for each attempt; -1, 0 or NULL: there is none */
	int fd;			/* through the mount */
	int pipe[2];
	char *map;
	int id;			/* of BACKING_OPEN */

	int last_id;
	int opens;		/* before the attempt */
	int local_fd;		/* a file that is none of FUSE's */
	aio_context_t aio;
	struct ring ring;

	/* Of SIZE, page-aligned */
	char *old;		/* what files have at first */
	char *new;
	char *buf;
};

/* What a call may do without memory */
enum allocates {
	NEVER,			/* it needs none, and must not fail */
	MAYBE,
	UNCACHED,		/* if the file was not in the page cache */
	ALWAYS,
};

static ssize_t result(ssize_t n)
{
	return n < 0 ? -errno : n;
}

static bool complain(const char *what)
{
	fprintf(stderr, "# %s: %s\n", what, strerror(errno));
	return false;
}

/* Preparations, each before each attempt */

static bool prepare_nothing(struct call *c)
{
	c->opens = test_opens(c->file);
	return true;
}

/* The file as it was made, and not in the page cache */
static bool prepare_contents(struct call *c)
{
	int fd = c->file->fd;

	if (pwrite(fd, c->old, SIZE, 0) != SIZE || ftruncate(fd, SIZE) ||
	    test_drop_cache(fd))
		return complain("prepare");
	return prepare_nothing(c);
}

static bool prepare_file(struct call *c)
{
	if (!prepare_contents(c))
		return false;
	c->fd = test_open(c->file, c->flags);
	return c->fd >= 0 || complain("open");
}

static bool prepare_pipe(struct call *c)
{
	return prepare_file(c) &&
	       (!pipe2(c->pipe, O_CLOEXEC) || complain("pipe"));
}

static bool prepare_full_pipe(struct call *c)
{
	return prepare_pipe(c) && (write(c->pipe[1], c->new, LEN) == LEN ||
				   complain("write to the pipe"));
}

static bool prepare_map(struct call *c)
{
	void *map;

	if (!prepare_file(c))
		return false;
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (map == MAP_FAILED)
		return complain("mmap");
	c->map = map;
	return true;
}

static bool prepare_setuid(struct call *c)
{
	return !fchmod(c->file->fd, 04755) && prepare_file(c);
}

/*
 * Ids 1 to 63 fit into the tree's first node, which the file's own id keeps. The
 * next one needs others.
 */
static bool prepare_tree(struct call *c)
{
	int dev = fuse_server_dev(c->env.srv);

	while (c->last_id < 63) {
		c->last_id = fuse_backing_open(dev, c->file->fd);
		if (c->last_id < 0 || test_backing_close(dev, c->last_id))
			return complain("BACKING_OPEN");
	}
	return prepare_nothing(c);
}

static bool prepare_id(struct call *c)
{
	c->id = fuse_backing_open(fuse_server_dev(c->env.srv), c->file->fd);
	c->last_id = c->id;
	return prepare_nothing(c) && (c->id > 0 || complain("BACKING_OPEN"));
}

static bool prepare_absence(struct call *c)
{
	char path[PATH_MAX];

	/* A CREATE whose reply the kernel could not use has made the file */
	if (unlink(test_path(c->file, path)) && errno != ENOENT)
		return complain("unlink");
	return prepare_nothing(c);
}

/* After each attempt */
static void clean_up(struct call *c)
{
	if (c->map)
		munmap(c->map, SIZE);
	c->map = NULL;
	test_close(&c->fd);
	test_close(&c->pipe[0]);
	test_close(&c->pipe[1]);
	if (c->id > 0)
		test_backing_close(fuse_server_dev(c->env.srv), c->id);
	c->id = 0;
}

/* The calls. What they return is what was done, or -errno. */

static ssize_t call_backing_open(struct call *c)
{
	c->id = fuse_backing_open(fuse_server_dev(c->env.srv), c->file->fd);
	return result(c->id);
}

static ssize_t call_backing_close(struct call *c)
{
	return result(fuse_backing_close(fuse_server_dev(c->env.srv), c->id));
}

static ssize_t call_open(struct call *c)
{
	c->fd = test_open(c->file, c->flags);
	return c->fd < 0 ? -errno : 0;
}

static ssize_t call_open_trunc(struct call *c)
{
	c->fd = test_open(c->file, c->flags | O_TRUNC);
	return c->fd < 0 ? -errno : 0;
}

static ssize_t call_create(struct call *c)
{
	c->fd = test_open(c->file, c->flags | O_CREAT | O_EXCL);
	return c->fd < 0 ? -errno : 0;
}

static ssize_t call_tmpfile(struct call *c)
{
	c->fd = test_open(c->file, c->flags | O_TMPFILE);
	return c->fd < 0 ? -errno : 0;
}

static ssize_t call_close(struct call *c)
{
	int fd = c->fd;

	c->fd = -1;
	return result(close(fd));
}

static ssize_t call_read(struct call *c)
{
	return result(pread(c->fd, c->buf, LEN, OFF));
}

static ssize_t call_write(struct call *c)
{
	return result(pwrite(c->fd, c->new, LEN, OFF));
}

static ssize_t call_append(struct call *c)
{
	return result(pwrite(c->fd, c->new, LEN, SIZE));
}

/* The file has setuid, and only those who have CAP_FSETID may keep it. */
static ssize_t call_write_without_fsetid(struct call *c)
{
	if (test_drop_cap(CAP_FSETID))
		return -errno;
	return call_write(c);
}

static ssize_t call_aio(struct call *c, int opcode, void *buf)
{
	struct iocb iocb = {
		.aio_lio_opcode = opcode, .aio_fildes = c->fd,
		.aio_buf = (uintptr_t)buf, .aio_nbytes = LEN, .aio_offset = OFF,
	};
	struct iocb *iocbs = &iocb;
	struct io_event event;

	if (syscall(SYS_io_submit, c->aio, 1, &iocbs) != 1)
		return -errno;
	while (syscall(SYS_io_getevents, c->aio, 1, 1, &event, NULL) != 1)
		;
	return event.res;
}

static ssize_t call_aio_read(struct call *c)
{
	return call_aio(c, IOCB_CMD_PREAD, c->buf);
}

static ssize_t call_aio_write(struct call *c)
{
	return call_aio(c, IOCB_CMD_PWRITE, c->new);
}

/* Submits what ring_next() has given, and waits for it */
static ssize_t run_ring(struct ring *ring)
{
	uint32_t head = *ring->cq_head;
	ssize_t res;

	if (ring_enter(ring, 1, 1) != 1) {
		res = -errno;
		/* Nothing was taken out of the ring */
		__atomic_store_n(ring->sq_tail, *ring->sq_tail - 1,
				 __ATOMIC_RELEASE);
		return res;
	}
	while (__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) == head)
		ring_enter(ring, 0, 1);
	res = ring->cqes[head & *ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	return res;
}

/*
 * What io_uring keeps for each thread is made before anything fails, and so is the
 * worker. 6.1 leaks nodes of an XArray if the former cannot be made (see
 * __io_uring_free()), and warns if there is no memory for the latter's stack (see
 * adjust_va_to_fit_type()).
 */
static bool prime_uring(struct call *c)
{
	struct io_uring_sqe *sqe = ring_next(&c->ring);

	sqe->opcode = IORING_OP_NOP;
	sqe->flags = IOSQE_ASYNC;
	if (run_ring(&c->ring))
		return false;
	/* Else it would still be busy with this one, and another would be made */
	test_sleep_ms(2);
	return true;
}

static ssize_t call_uring(struct call *c, int opcode, void *buf)
{
	struct io_uring_sqe *sqe = ring_next(&c->ring);

	sqe->opcode = opcode;
	sqe->fd = c->fd;
	sqe->off = OFF;
	sqe->addr = (uintptr_t)buf;
	sqe->len = LEN;
	return run_ring(&c->ring);
}

static ssize_t call_uring_read(struct call *c)
{
	return call_uring(c, IORING_OP_READ, c->buf);
}

static ssize_t call_uring_write(struct call *c)
{
	return call_uring(c, IORING_OP_WRITE, c->new);
}

static ssize_t call_splice_read(struct call *c)
{
	off_t off = OFF;

	return result(splice(c->fd, &off, c->pipe[1], NULL, LEN, 0));
}

static ssize_t call_splice_write(struct call *c)
{
	off_t off = OFF;

	return result(splice(c->pipe[0], NULL, c->fd, &off, LEN, 0));
}

static ssize_t call_sendfile_from(struct call *c)
{
	off_t off = OFF;

	lseek(c->local_fd, SIZE, SEEK_SET);
	return result(sendfile(c->local_fd, c->fd, &off, LEN));
}

static ssize_t call_sendfile_to(struct call *c)
{
	off_t off = OFF;

	lseek(c->fd, OFF, SEEK_SET);
	return result(sendfile(c->fd, c->local_fd, &off, LEN));
}

static ssize_t call_mmap(struct call *c)
{
	void *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd,
			 0);

	if (map == MAP_FAILED)
		return -errno;
	c->map = map;
	return 0;
}

/* Nothing but a signal tells of a fault that fails. It is tried again. */
static ssize_t call_mmap_and_fault(struct call *c)
{
	ssize_t res = call_mmap(c);

	if (res < 0)
		return res;
	memcpy(c->buf, c->map, SIZE);
	memcpy(c->map + OFF, c->new, LEN);
	return LEN;
}

/* Leaves a hole, so that there is a mapping more */
static ssize_t call_munmap_part(struct call *c)
{
	return result(munmap(c->map + OFF, LEN));
}

static ssize_t call_truncate(struct call *c)
{
	return result(ftruncate(c->fd, OFF));
}

static ssize_t call_fcntl(struct call *c)
{
	int flags = fcntl(c->fd, F_GETFL);

	return result(fcntl(c->fd, F_SETFL, flags | O_APPEND | O_NONBLOCK));
}

static ssize_t call_fsync(struct call *c)
{
	return result(fsync(c->fd));
}

/* What has to be, after any attempt */

static bool must_be(bool cond, const char *what)
{
	if (!cond)
		fprintf(stderr, "# must be: %s\n", what);
	return cond;
}

#define MUST_BE(cond) must_be(cond, #cond)

static bool check_nothing(struct call *c, ssize_t res)
{
	return true;
}

/* The next attempt's id is the next one: the failed ones have used none. */
static bool check_backing_open(struct call *c, ssize_t res)
{
	if (res < 0)
		return true;
	c->last_id++;
	return MUST_BE(res == c->last_id);
}

static bool check_backing_close(struct call *c, ssize_t res)
{
	int err = test_backing_close(fuse_server_dev(c->env.srv), c->id);

	c->id = 0;
	return MUST_BE(err == ENOENT);
}

/* What the server never heard of has failed in FUSE or in the VFS. */
static bool check_open(struct call *c, ssize_t res)
{
	int answered = test_opens(c->file) - c->opens;

	return MUST_BE(res != -ENOMEM || !answered) &&
	       MUST_BE(res != -EIO || answered == 1) &&
	       MUST_BE(res < 0 || answered == 1);
}

/* An inode for the new file is made after the reply. */
static bool check_create(struct call *c, ssize_t res)
{
	int answered = test_opens(c->file) - c->opens;

	return MUST_BE(res != -EIO || answered == 1) &&
	       MUST_BE(res < 0 || answered == 1);
}

static bool check_open_trunc(struct call *c, ssize_t res)
{
	return check_create(c, res) &&
	       MUST_BE(test_size(c->file->fd) == (res < 0 ? SIZE : 0));
}

static bool check_same_size(struct call *c, off_t size)
{
	return MUST_BE(test_size(c->file->fd) == size) &&
	       MUST_BE(test_size(c->fd) == size);
}

static bool check_unchanged(struct call *c)
{
	return check_same_size(c, SIZE) &&
	       MUST_BE(test_has(c->file->fd, 0, c->old, SIZE));
}

static bool check_read(struct call *c, ssize_t res)
{
	return check_unchanged(c) &&
	       MUST_BE(res < 0 || !memcmp(c->buf, c->old + OFF, res));
}

/* A write that has failed wrote nothing; a short one that much. */
static bool check_write(struct call *c, ssize_t res)
{
	size_t done = res < 0 ? 0 : res;
	size_t end = OFF + done;
	int fd = c->file->fd;

	return check_same_size(c, SIZE) &&
	       MUST_BE(test_has(fd, 0, c->old, OFF)) &&
	       MUST_BE(test_has(fd, OFF, c->new, done)) &&
	       MUST_BE(test_has(fd, end, c->old + end, SIZE - end));
}

static bool check_append(struct call *c, ssize_t res)
{
	size_t done = res < 0 ? 0 : res;
	int fd = c->file->fd;

	return check_same_size(c, SIZE + done) &&
	       MUST_BE(test_has(fd, 0, c->old, SIZE)) &&
	       MUST_BE(test_has(fd, SIZE, c->new, done));
}

static bool check_setuid(struct call *c, ssize_t res)
{
	struct stat st, backing;

	if (fstat(c->fd, &st) || fstat(c->file->fd, &backing))
		return complain("fstat");
	return check_write(c, res) && MUST_BE(st.st_mode == backing.st_mode) &&
	       MUST_BE(res < 0 || !(st.st_mode & S_ISUID));
}

static bool check_splice_read(struct call *c, ssize_t res)
{
	if (res > 0 && read(c->pipe[0], c->buf, res) != res)
		return complain("read from the pipe");
	return check_read(c, res);
}

static bool check_sendfile_from(struct call *c, ssize_t res)
{
	return check_unchanged(c) &&
	       MUST_BE(res < 0 || test_has(c->local_fd, SIZE, c->old + OFF,
					   res));
}

static bool check_map(struct call *c, ssize_t res)
{
	if (res < 0)
		return check_unchanged(c);
	return MUST_BE(!memcmp(c->map, c->old, SIZE)) && check_unchanged(c);
}

static bool check_faults(struct call *c, ssize_t res)
{
	return check_write(c, res) &&
	       MUST_BE(res < 0 || !memcmp(c->buf, c->old, SIZE));
}

/* What was not unmapped is still there, and so is the FUSE file. */
static bool check_munmap_part(struct call *c, ssize_t res)
{
	return MUST_BE(!memcmp(c->map, c->old, OFF)) &&
	       MUST_BE(res == 0 || !memcmp(c->map, c->old, SIZE)) &&
	       check_unchanged(c);
}

static bool check_truncate(struct call *c, ssize_t res)
{
	return check_same_size(c, res < 0 ? SIZE : OFF) &&
	       MUST_BE(test_has(c->file->fd, 0, c->old, OFF));
}

static bool check_fcntl(struct call *c, ssize_t res)
{
	return MUST_BE(write(c->fd, c->new, 10) == 10) &&
	       check_append(c, 10);
}

/* One attempt, in a thread of its own */

struct attempt {
	struct call *c;
	bool (*prime)(struct call *c);
	ssize_t (*run)(struct call *c);
	unsigned int nth;	/* allocation that fails; 0: none */
	bool and_later;		/* and all that follow it */
	sem_t primed;
	sem_t go;
	ssize_t res;
	bool injected;
	bool ran;
};

/* Else the stack's growth would be an allocation that fails over and over */
static void touch_stack(void)
{
	char stack[16 * PAGE];

	explicit_bzero(stack, sizeof(stack));
}

static bool put_number(int fd, unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	return pwrite(fd, text, len, 0) == len;
}

static unsigned int get_number(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) < 1)
		return ~0U;
	return strtoul(text, NULL, 10);
}

static void *attempt_main(void *arg)
{
	struct attempt *a = arg;
	int nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	int later = open(MAKE_IT_FAIL, O_RDWR | O_CLOEXEC);

	touch_stack();
	a->ran = put_number(later, a->nth && a->and_later) &&
		 (!a->prime || a->prime(a->c));
	sem_post(&a->primed);
	while (sem_wait(&a->go) && errno == EINTR)
		;
	/* fail-nth counts from the next system call on, so it is the last */
	a->ran = a->ran && put_number(nth, a->nth);
	if (a->ran)
		a->res = a->run(a->c);
	a->ran = a->ran && put_number(later, 0);
	a->injected = a->nth && !get_number(nth);
	a->ran = a->ran && put_number(nth, 0);

	test_close(&nth);
	test_close(&later);
	return NULL;
}

static bool attempt(struct attempt *a)
{
	pthread_t thread;
	int err;

	a->ran = false;
	if (test_set_knobs(no_times, ARRAY_SIZE(no_times)))
		return complain("no times");
	sem_init(&a->primed, 0, 0);
	sem_init(&a->go, 0, 0);
	errno = pthread_create(&thread, NULL, attempt_main, a);
	if (errno)
		return complain("thread");
	while (sem_wait(&a->primed) && errno == EINTR)
		;
	err = test_set_knobs(times, ARRAY_SIZE(times));
	if (err)
		complain("times");
	sem_post(&a->go);
	pthread_join(thread, NULL);
	sem_destroy(&a->go);
	sem_destroy(&a->primed);
	return !err && (a->ran || complain(FAIL_NTH));
}

#define FAULT_DATA	FIXTURE_DATA(fault)
#define FAULT_VARIANT	FIXTURE_VARIANT(fault)

FIXTURE(fault)
{
	struct call c;
	unsigned int faults;
	unsigned int by_errno[MAX_ERRNO];	/* 0: the call went through */
	bool in_place;				/* the backing file system's */
};

FIXTURE_VARIANT(fault)
{
	bool (*prepare)(struct call *c);
	bool (*prime)(struct call *c);	/* in the attempt's thread */
	ssize_t (*run)(struct call *c);
	bool (*check)(struct call *c, ssize_t res);
	ssize_t done;		/* what it returns */
	bool direct;		/* the file is opened with O_DIRECT */
	bool truncates;		/* for which the server is asked more */
	enum allocates allocates;
	/* Is tried again until there is memory: later ones must not fail. */
	bool retried;
	/* A thread of the kernel's, which inherits make-it-fail, may do it */
	bool by_worker;
	int errnos[4];		/* it may fail with */
};

/* ENOMEM for the object, the id or its node in the tree */
FIXTURE_VARIANT_ADD(fault, backing_open)
{
	.prepare = prepare_tree,
	.run = call_backing_open,
	.check = check_backing_open,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, backing_close)
{
	.prepare = prepare_id,
	.run = call_backing_close,
	.check = check_backing_close,
	.allocates = NEVER,
};

/*
 * ENOMEM before the server has been asked, EIO if it is the backing file that
 * cannot be opened
 */
FIXTURE_VARIANT_ADD(fault, open)
{
	.prepare = prepare_nothing,
	.run = call_open,
	.check = check_open,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EIO },
};

FIXTURE_VARIANT_ADD(fault, open_o_direct)
{
	.prepare = prepare_nothing,
	.run = call_open,
	.check = check_open,
	.direct = true,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EIO },
};

FIXTURE_VARIANT_ADD(fault, open_o_trunc)
{
	.prepare = prepare_contents,
	.run = call_open_trunc,
	.check = check_open_trunc,
	.truncates = true,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EIO },
};

FIXTURE_VARIANT_ADD(fault, create)
{
	.prepare = prepare_absence,
	.run = call_create,
	.check = check_create,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EIO },
};

FIXTURE_VARIANT_ADD(fault, tmpfile)
{
	.prepare = prepare_absence,
	.run = call_tmpfile,
	.check = check_create,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EIO },
};

/* FLUSH and RELEASE cannot be left out. */
FIXTURE_VARIANT_ADD(fault, close)
{
	.prepare = prepare_file,
	.run = call_close,
	.check = check_nothing,
	.allocates = NEVER,
};

FIXTURE_VARIANT_ADD(fault, read)
{
	.prepare = prepare_file,
	.run = call_read,
	.check = check_read,
	.done = LEN,
	.allocates = UNCACHED,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, write)
{
	.prepare = prepare_file,
	.run = call_write,
	.check = check_write,
	.done = LEN,
	.allocates = UNCACHED,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, write_that_extends)
{
	.prepare = prepare_file,
	.run = call_append,
	.check = check_append,
	.done = LEN,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

/* GETATTR and SETATTR are sent, with FUSE's own allocations. */
FIXTURE_VARIANT_ADD(fault, write_that_strips_setuid)
{
	.prepare = prepare_setuid,
	.run = call_write_without_fsetid,
	.check = check_setuid,
	.done = LEN,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, read_o_direct)
{
	.prepare = prepare_file,
	.run = call_read,
	.check = check_read,
	.done = LEN,
	.direct = true,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, write_o_direct)
{
	.prepare = prepare_file,
	.run = call_write,
	.check = check_write,
	.done = LEN,
	.direct = true,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

/* io_submit() that has no memory for a request says EAGAIN. */
FIXTURE_VARIANT_ADD(fault, io_submit_read)
{
	.prepare = prepare_file,
	.run = call_aio_read,
	.check = check_read,
	.done = LEN,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EAGAIN },
};

FIXTURE_VARIANT_ADD(fault, io_submit_write)
{
	.prepare = prepare_file,
	.run = call_aio_write,
	.check = check_write,
	.done = LEN,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EAGAIN },
};

FIXTURE_VARIANT_ADD(fault, io_submit_read_o_direct)
{
	.prepare = prepare_file,
	.run = call_aio_read,
	.check = check_read,
	.done = LEN,
	.direct = true,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EAGAIN },
};

FIXTURE_VARIANT_ADD(fault, io_submit_write_o_direct)
{
	.prepare = prepare_file,
	.run = call_aio_write,
	.check = check_write,
	.done = LEN,
	.direct = true,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EAGAIN },
};

/* So does io_uring_enter(). What waits for another worker may be cancelled. */
FIXTURE_VARIANT_ADD(fault, io_uring_read)
{
	.prepare = prepare_file,
	.prime = prime_uring,
	.run = call_uring_read,
	.check = check_read,
	.done = LEN,
	.by_worker = true,
	.allocates = UNCACHED,
	.errnos = { ENOMEM, EAGAIN, ECANCELED },
};

/* Where buffered writes cannot be NOWAIT ones, all is left to the worker. */
FIXTURE_VARIANT_ADD(fault, io_uring_write)
{
	.prepare = prepare_file,
	.prime = prime_uring,
	.run = call_uring_write,
	.check = check_write,
	.done = LEN,
	.by_worker = true,
	.allocates = MAYBE,
	.errnos = { ENOMEM, EAGAIN, ECANCELED },
};

FIXTURE_VARIANT_ADD(fault, io_uring_read_o_direct)
{
	.prepare = prepare_file,
	.prime = prime_uring,
	.run = call_uring_read,
	.check = check_read,
	.done = LEN,
	.direct = true,
	.by_worker = true,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EAGAIN, ECANCELED },
};

FIXTURE_VARIANT_ADD(fault, io_uring_write_o_direct)
{
	.prepare = prepare_file,
	.prime = prime_uring,
	.run = call_uring_write,
	.check = check_write,
	.done = LEN,
	.direct = true,
	.by_worker = true,
	.allocates = ALWAYS,
	.errnos = { ENOMEM, EAGAIN, ECANCELED },
};

FIXTURE_VARIANT_ADD(fault, splice_from_the_file)
{
	.prepare = prepare_pipe,
	.run = call_splice_read,
	.check = check_splice_read,
	.done = LEN,
	.allocates = UNCACHED,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, splice_to_the_file)
{
	.prepare = prepare_full_pipe,
	.run = call_splice_write,
	.check = check_write,
	.done = LEN,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, sendfile_from_the_file)
{
	.prepare = prepare_file,
	.run = call_sendfile_from,
	.check = check_sendfile_from,
	.done = LEN,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, sendfile_to_the_file)
{
	.prepare = prepare_file,
	.run = call_sendfile_to,
	.check = check_write,
	.done = LEN,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, mmap)
{
	.prepare = prepare_file,
	.run = call_mmap,
	.check = check_map,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, mmap_and_fault)
{
	.prepare = prepare_file,
	.run = call_mmap_and_fault,
	.check = check_faults,
	.done = LEN,
	.allocates = ALWAYS,
	.retried = true,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, munmap_of_a_part)
{
	.prepare = prepare_map,
	.run = call_munmap_part,
	.check = check_munmap_part,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, truncate)
{
	.prepare = prepare_file,
	.run = call_truncate,
	.check = check_truncate,
	.truncates = true,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, fsync)
{
	.prepare = prepare_file,
	.run = call_fsync,
	.check = check_nothing,
	.allocates = ALWAYS,
	.errnos = { ENOMEM },
};

FIXTURE_VARIANT_ADD(fault, fcntl)
{
	.prepare = prepare_file,
	.run = call_fcntl,
	.check = check_fcntl,
	.allocates = NEVER,
};

static bool call_setup(struct call *c)
{
	c->fd = -1;
	c->pipe[0] = -1;
	c->pipe[1] = -1;
	c->local_fd = -1;
	c->ring.fd = -1;
	c->flags = O_RDWR;
	if (posix_memalign((void **)&c->old, PAGE, SIZE) ||
	    posix_memalign((void **)&c->new, PAGE, SIZE) ||
	    posix_memalign((void **)&c->buf, PAGE, SIZE))
		return complain("memory");
	test_pattern(c->old, SIZE, 1);
	test_pattern(c->new, SIZE, 2);
	memset(c->buf, 0, SIZE);

	if (test_setup(&c->env))
		return complain("setup");
	c->env.time_limit = TIMEOUT - 5;
	/* A mount of its own, that can be unmounted if nobody uses it */
	if (mount(c->env.backing, c->env.backing, NULL, MS_BIND, NULL))
		return complain("bind mount");
	return !test_start(&c->env) || complain("server");
}

static bool call_files(struct call *c)
{
	char path[PATH_MAX];

	c->file = test_add_file(&c->env, "file", c->old, SIZE);
	if (!c->file || test_back(c->file) < 0)
		return complain("file");
	c->env.tmpfile = c->file;

	test_pathf(path, "%s/local", c->env.dir);
	if (test_write_file(path, c->old, SIZE))
		return complain(path);
	c->local_fd = open(path, O_RDWR | O_CLOEXEC);
	if (c->local_fd < 0 || pwrite(c->local_fd, c->new, LEN, OFF) != LEN)
		return complain(path);
	return true;
}

static bool has_direct(struct call *c)
{
	char path[PATH_MAX];
	int fd = open(test_backing_path(c->file, path),
		      O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Do files leave the page cache where the backing files are? */
static bool leaves_cache(struct call *c)
{
	return !test_drop_cache(c->file->fd) &&
	       !test_cached_pages(c->file->fd, SIZE);
}

/* 6.1's warns in btrfs_space_info_update_bytes_may_use() sooner or later. */
static bool is_btrfs(struct call *c)
{
	struct statfs st;

	return !fstatfs(c->file->fd, &st) && st.f_type == BTRFS_SUPER_MAGIC;
}

static bool writes(const FAULT_VARIANT *variant)
{
	return variant->run == call_write || variant->run == call_aio_write ||
	       variant->run == call_uring_write;
}

FIXTURE_SETUP(fault)
{
	struct call *c = &self->c;

	ASSERT_TRUE(call_setup(c));
	TEST_NEEDS_PASSTHROUGH(&c->env);
	ASSERT_TRUE(call_files(c));
	if (variant->direct && !has_direct(c))
		SKIP(_exit(255), "no O_DIRECT on the backing file system");
	if (variant->direct)
		c->flags |= O_DIRECT;
	if (variant->direct && writes(variant) && is_btrfs(c))
		SKIP(_exit(255), "btrfs itself loses count of its space then");
	if ((variant->run == call_aio_read || variant->run == call_aio_write) &&
	    syscall(SYS_io_setup, 1, &c->aio))
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	if ((variant->run == call_uring_read ||
	     variant->run == call_uring_write) && ring_init(&c->ring, 1))
		SKIP(_exit(255), "no io_uring: enable CONFIG_IO_URING");
	self->in_place = leaves_cache(c);
	/* A fault of the program's own would be tried again for ever */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	ASSERT_EQ(0, test_set_knobs(knobs, ARRAY_SIZE(knobs)));
}

/* Files are closed late by other threads. */
static bool all_released(struct test_file *file)
{
	int i;

	for (i = 0; i < 300; i++) {
		if (test_releases(file) == test_opens(file))
			return true;
		usleep(10000);
	}
	return false;
}

/* No id and no file is left that would keep the file system busy. */
static bool call_end(struct call *c, bool truncates)
{
	int dev = fuse_server_dev(c->env.srv);
	bool good;

	test_restore_knobs(knobs, ARRAY_SIZE(knobs));
	clean_up(c);
	good = MUST_BE(all_released(c->file)) &&
	       MUST_BE(!test_count(&c->env, FUSE_READ)) &&
	       MUST_BE(!test_count(&c->env, FUSE_WRITE)) &&
	       MUST_BE(truncates || !test_count(&c->env, FUSE_GETXATTR)) &&
	       MUST_BE(!test_backing_close(dev, c->file->backing_id));
	test_close_backing(&c->env);
	good = good && MUST_BE(!test_umount(c->env.backing));

	if (c->aio)
		syscall(SYS_io_destroy, c->aio);
	ring_exit(&c->ring);
	test_close(&c->local_fd);
	test_teardown(&c->env);
	free(c->old);
	free(c->new);
	free(c->buf);
	return good;
}

FIXTURE_TEARDOWN(fault)
{
	EXPECT_TRUE(call_end(&self->c, variant->truncates));
}

static bool allowed(const FAULT_VARIANT *variant, ssize_t res)
{
	size_t i;

	if (res >= 0)
		return true;
	for (i = 0; i < ARRAY_SIZE(variant->errnos); i++)
		if (variant->errnos[i] && variant->errnos[i] == -res)
			return true;
	return false;
}

/* Makes the call; false if anything about it was wrong */
static bool try_call(FAULT_DATA *self,
		     const FAULT_VARIANT *variant, struct attempt *a)
{
	struct call *c = &self->c;
	bool good;

	if (!variant->prepare(c) || !attempt(a))
		return false;
	if (a->injected || (a->and_later && variant->by_worker))
		good = MUST_BE(allowed(variant, a->res));
	else
		good = MUST_BE(a->res >= 0) &&
		       MUST_BE(!variant->done || a->res == variant->done);
	good = good && variant->check(c, a->res);
	if (!good)
		fprintf(stderr, "# allocation %u%s %s: the call returned %zd (%s)\n",
			a->nth, a->and_later ? " and all later ones" : "",
			a->injected ? "failed" : "did not fail", a->res,
			a->res < 0 ? strerror(-a->res) : "success");
	clean_up(c);
	return good;
}

/* Fails one allocation after the other, until there is none that is left. */
static bool sweep(FAULT_DATA *self,
		  const FAULT_VARIANT *variant, bool and_later)
{
	struct attempt a = {
		.c = &self->c, .prime = variant->prime, .run = variant->run,
	};
	struct attempt again = a;

	a.and_later = and_later;
	for (a.nth = 1; a.nth <= MAX_NTH; a.nth++) {
		if (!try_call(self, variant, &a))
			return false;
		self->faults += a.injected;
		/* Else the thread needed no more, but its worker may have */
		if (a.injected || a.res < 0)
			self->by_errno[a.res < 0 ? -a.res : 0]++;
		if (a.res < 0 && !try_call(self, variant, &again))
			return false;
		if (!a.injected)
			return true;
	}
	return MUST_BE(a.nth <= MAX_NTH);
}

static void report(FAULT_DATA *self, const char *how)
{
	int i;

	fprintf(stderr, "# %u faults injected, %s: %u calls went through",
		self->faults, how, self->by_errno[0]);
	for (i = 1; i < MAX_ERRNO; i++)
		if (self->by_errno[i])
			fprintf(stderr, ", %u %s", self->by_errno[i],
				strerrorname_np(i));
	fprintf(stderr, "\n");
}

#define EXPECT_FAULTS() do { \
	if (variant->allocates == ALWAYS || \
	    (variant->allocates == UNCACHED && self->in_place)) \
		EXPECT_TRUE(self->faults > 0); \
} while (0)

TEST_F_TIMEOUT(fault, of_one_allocation, TIMEOUT)
{
	ASSERT_TRUE(sweep(self, variant, false));
	report(self, "one at a time");
	EXPECT_FAULTS();
}

TEST_F_TIMEOUT(fault, of_an_allocation_and_all_later_ones, TIMEOUT)
{
	if (variant->retried)
		SKIP(return, "is tried again until there is memory");
	ASSERT_TRUE(sweep(self, variant, true));
	report(self, "and all later ones");
	EXPECT_FAULTS();
}

FIXTURE(ids)
{
	struct call c;
};

FIXTURE_SETUP(ids)
{
	struct call *c = &self->c;

	ASSERT_TRUE(call_setup(c));
	TEST_NEEDS_PASSTHROUGH(&c->env);
	ASSERT_TRUE(call_files(c));
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	ASSERT_EQ(0, test_set_knobs(knobs, ARRAY_SIZE(knobs)));
}

FIXTURE_TEARDOWN(ids)
{
	EXPECT_TRUE(call_end(&self->c, false));
}

static bool stay_on_this_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/*
 * There is memory for the object, but not for its id. Each CPU has some nodes of
 * the tree in store, so that this takes a number of calls: from 52 to 124 in seven
 * runs, and once more than 200.
 */
TEST_F_TIMEOUT(ids, without_memory_are_enomem, TIMEOUT)
{
	struct call *c = &self->c;
	struct attempt a = {
		.c = c, .run = call_backing_open, .nth = 2, .and_later = true,
	};
	int i;

	ASSERT_TRUE(stay_on_this_cpu());
	for (i = 0; i < 2000 && a.res >= 0; i++) {
		ASSERT_TRUE(prepare_tree(c));
		ASSERT_TRUE(attempt(&a));
		ASSERT_TRUE(a.injected);
		EXPECT_TRUE(check_backing_open(c, a.res));
		clean_up(c);
	}
	EXPECT_EQ(-ENOMEM, a.res);
	fprintf(stderr, "# ENOMEM after %d calls\n", i);
	a.nth = 0;
	ASSERT_TRUE(attempt(&a));
	EXPECT_LT(0, a.res);
	EXPECT_TRUE(check_backing_open(c, a.res));
}

TEST_HARNESS_MAIN
