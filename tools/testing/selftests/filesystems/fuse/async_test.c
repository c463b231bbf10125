// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: asynchronous reads and writes, by io_submit() and by
 * io_uring, are those of the backing file. They wait no more than on a local
 * file, and size and times come out right.
 */
#include "test_common.h"

#include <dirent.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE	4096
#define OPS	16		/* that may be in flight */
#define SIZE	(2 * OPS * PAGE)	/* of a file */

static int ring_register(struct ring *ring, unsigned int opcode, void *arg,
			 unsigned int nr)
{
	return syscall(SYS_io_uring_register, ring->fd, opcode, arg, nr);
}

/* Operations, whichever road they take */

enum road {
	PREADV2,		/* and pwritev2() */
	IO_SUBMIT,
	IO_URING,
};

struct op {
	int fd;
	bool write;
	bool vectored;		/* buf is an array of len struct iovec */
	void *buf;
	size_t len;
	off_t off;
	int rwf;		/* RWF_* */
	int eventfd;		/* of io_submit(), or 0 */

	/* Of io_uring; an opcode of 0 is found from the above */
	uint8_t opcode;
	uint8_t sqe_flags;
	uint16_t buf_index;
	uint16_t personality;

	bool done;
	ssize_t res;		/* what was done, or -errno */
};

struct queue {
	enum road road;
	aio_context_t ctx;
	struct ring ring;
	int in_flight;
};

static struct op read_op(int fd, void *buf, size_t len, off_t off)
{
	return (struct op){ .fd = fd, .buf = buf, .len = len, .off = off };
}

static struct op write_op(int fd, void *buf, size_t len, off_t off)
{
	return (struct op){ .fd = fd, .write = true, .buf = buf, .len = len,
			    .off = off };
}

static int queue_init(struct queue *q, enum road road)
{
	memset(q, 0, sizeof(*q));
	q->road = road;
	q->ring.fd = -1;
	if (road == IO_SUBMIT)
		return syscall(SYS_io_setup, OPS, &q->ctx);
	if (road == IO_URING)
		return ring_init(&q->ring, OPS);
	return 0;
}

/* Also with operations in flight */
static void queue_exit(struct queue *q)
{
	if (q->road == IO_SUBMIT && q->ctx)
		syscall(SYS_io_destroy, q->ctx);
	if (q->road == IO_URING)
		ring_exit(&q->ring);
	q->ctx = 0;
	q->in_flight = 0;
}

#define NEEDS_ROAD(q, which) do { \
	enum road road_ = (which); \
	if (queue_init(q, road_)) \
		SKIP(_exit(255), "no %s: %s", \
		     road_ == IO_SUBMIT ? "io_submit, enable CONFIG_AIO" : \
					  "io_uring, enable CONFIG_IO_URING", \
		     strerror(errno)); \
} while (0)

static void op_done(struct queue *q, struct op *op, ssize_t res)
{
	op->res = res;
	op->done = true;
	q->in_flight--;
}

static void run_now(struct queue *q, struct op *op)
{
	struct iovec iov = { op->buf, op->len };
	struct iovec *vec = op->vectored ? op->buf : &iov;
	int nr = op->vectored ? op->len : 1;
	ssize_t n;

	n = op->write ? pwritev2(op->fd, vec, nr, op->off, op->rwf) :
			preadv2(op->fd, vec, nr, op->off, op->rwf);
	op_done(q, op, n < 0 ? -errno : n);
}

static int aio_opcode(const struct op *op)
{
	if (op->vectored)
		return op->write ? IOCB_CMD_PWRITEV : IOCB_CMD_PREADV;
	return op->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
}

/* What cannot be submitted is done with that error */
static void submit_aio(struct queue *q, struct op *op, int n)
{
	struct iocb iocb[OPS] = {}, *iocbs[OPS];
	int i, ret;

	for (i = 0; i < n; i++) {
		iocb[i].aio_data = (uintptr_t)&op[i];
		iocb[i].aio_lio_opcode = aio_opcode(&op[i]);
		iocb[i].aio_fildes = op[i].fd;
		iocb[i].aio_buf = (uintptr_t)op[i].buf;
		iocb[i].aio_nbytes = op[i].len;
		iocb[i].aio_offset = op[i].off;
		iocb[i].aio_rw_flags = op[i].rwf;
		if (op[i].eventfd) {
			iocb[i].aio_flags = IOCB_FLAG_RESFD;
			iocb[i].aio_resfd = op[i].eventfd;
		}
		iocbs[i] = &iocb[i];
	}

	for (i = 0; i < n; i += ret) {
		ret = syscall(SYS_io_submit, q->ctx, n - i, &iocbs[i]);
		if (ret > 0)
			continue;
		op_done(q, &op[i], ret ? -errno : -EAGAIN);
		ret = 1;
	}
}

static uint8_t ring_opcode(const struct op *op)
{
	if (op->opcode)
		return op->opcode;
	if (op->vectored)
		return op->write ? IORING_OP_WRITEV : IORING_OP_READV;
	return op->write ? IORING_OP_WRITE : IORING_OP_READ;
}

static void submit_ring(struct queue *q, struct op *op, int n)
{
	int i, ret;

	for (i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = ring_next(&q->ring);

		sqe->opcode = ring_opcode(&op[i]);
		sqe->flags = op[i].sqe_flags;
		sqe->fd = op[i].fd;
		sqe->off = op[i].off;
		sqe->addr = (uintptr_t)op[i].buf;
		sqe->len = op[i].len;
		sqe->rw_flags = op[i].rwf;
		sqe->buf_index = op[i].buf_index;
		sqe->personality = op[i].personality;
		sqe->user_data = (uintptr_t)&op[i];
	}

	for (i = 0; i < n; i += ret) {
		ret = ring_enter(&q->ring, n - i, 0);
		if (ret > 0)
			continue;
		if (ret < 0 && errno == EINTR) {
			ret = 0;
			continue;
		}
		/* They are not looked at again */
		for (; i < n; i++)
			op_done(q, &op[i], -errno);
		return;
	}
}

/* @op stays in use until finish() */
static void start(struct queue *q, struct op *op, int n)
{
	int i;

	q->in_flight += n;
	if (q->road == IO_SUBMIT)
		submit_aio(q, op, n);
	else if (q->road == IO_URING)
		submit_ring(q, op, n);
	else
		for (i = 0; i < n; i++)
			run_now(q, &op[i]);
}

static int reap_aio(struct queue *q)
{
	struct io_event event[OPS];
	int i, n;

	n = syscall(SYS_io_getevents, q->ctx, 1, OPS, event, NULL);
	for (i = 0; i < n; i++)
		op_done(q, (struct op *)(uintptr_t)event[i].data, event[i].res);
	return n < 0 ? -1 : 0;
}

static int reap_ring(struct queue *q)
{
	struct ring *ring = &q->ring;
	uint32_t head = *ring->cq_head;
	uint32_t tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);

	if (head == tail)
		return ring_enter(ring, 0, 1) < 0 ? -1 : 0;

	for (; head != tail; head++) {
		struct io_uring_cqe *cqe = &ring->cqes[head & *ring->cq_mask];

		op_done(q, (struct op *)(uintptr_t)cqe->user_data, cqe->res);
	}
	__atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
	return 0;
}

static int reap(struct queue *q)
{
	return q->road == IO_SUBMIT ? reap_aio(q) : reap_ring(q);
}

/* Waits until all that was started is done. 0, or -1 with errno set */
static int finish(struct queue *q)
{
	while (q->in_flight)
		if (reap(q) && errno != EINTR)
			return -1;
	return 0;
}

/* Starts, waits, and returns what was done or -errno */
static ssize_t run(struct queue *q, struct op op)
{
	start(q, &op, 1);
	return finish(q) ? -errno : op.res;
}

/* What a file is like */

/* Size, times and blocks through the mount are those of the backing file */
static bool same_attr(int fd, int backing_fd)
{
	struct stat st, backing;

	return !fstat(fd, &st) && !fstat(backing_fd, &backing) &&
	       st.st_size == backing.st_size &&
	       st.st_blocks == backing.st_blocks &&
	       !memcmp(&st.st_mtim, &backing.st_mtim, sizeof(st.st_mtim)) &&
	       !memcmp(&st.st_ctim, &backing.st_ctim, sizeof(st.st_ctim));
}

/* Pages of the file in the page cache */
static int cached_pages(int fd)
{
	unsigned char vec[SIZE / PAGE];
	int i, count = 0;
	void *map;

	map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || mincore(map, SIZE, vec))
		return -1;
	for (i = 0; i < SIZE / PAGE; i++)
		count += vec[i] & 1;
	munmap(map, SIZE);
	return count;
}

/* Pages that are being read stay, so that it takes several tries. */
static int drop_cache(int fd)
{
	int i;

	if (fsync(fd))
		return -1;
	for (i = 0; i < 20; i++) {
		errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		if (errno)
			return -1;
		if (!cached_pages(fd))
			break;
		usleep(1000);
	}
	return 0;
}

/* Files are released late by other threads */
static bool released(struct test_file *file, int n)
{
	double end = test_now() + 15;

	while (test_releases(file) < n && test_now() < end)
		usleep(10000);
	return test_releases(file) == n;
}

/*
 * A file through the mount, and one with the same contents that FUSE knows
 * nothing of, to see what is usual on the backing file system.
 */
struct files {
	struct test_env env;
	struct test_file *file;
	struct queue q;
	int reads;		/* READs that the test caused by something else */
	int flags;		/* what the fds have been opened with */
	int fd;			/* through the mount */
	int backing_fd;		/* on the backing file */
	int local_fd;
	char *data;		/* what both files have at first */
	char *new;		/* the same amount of something else */
	char *buf;		/* at the start of a page, as the other two */
};

static char *new_pages(size_t len)
{
	char *map = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

static bool files_setup(struct files *f)
{
	f->data = new_pages(SIZE);
	f->new = new_pages(SIZE);
	f->buf = new_pages(SIZE);
	if (!f->data || !f->new || !f->buf)
		return false;
	test_pattern(f->data, SIZE, 1);
	test_pattern(f->new, SIZE, 2);
	f->fd = -1;
	f->backing_fd = -1;
	f->local_fd = -1;
	return !test_setup(&f->env) && !test_start(&f->env);
}

static int open_local(struct files *f, const char *name, int flags)
{
	char path[PATH_MAX];

	test_pathf(path, "%s/%s", f->env.backing, name);
	return open(path, flags | O_CLOEXEC);
}

/* Opens all three, or opens them anew with other flags */
static bool files_open(struct files *f, int flags)
{
	test_close(&f->fd);
	test_close(&f->backing_fd);
	test_close(&f->local_fd);
	f->flags = flags;
	f->fd = test_open(f->file, flags);
	f->backing_fd = open_local(f, "file", flags);
	f->local_fd = open_local(f, "local", flags);
	return f->fd >= 0 && f->backing_fd >= 0 && f->local_fd >= 0;
}

static bool files_add(struct files *f)
{
	char path[PATH_MAX];

	test_pathf(path, "%s/local", f->env.backing);
	f->file = test_add_file(&f->env, "file", f->data, SIZE);
	return f->file && test_back(f->file) > 0 &&
	       !test_write_file(path, f->data, SIZE);
}

static void files_close(struct files *f)
{
	queue_exit(&f->q);
	test_close(&f->fd);
	test_close(&f->backing_fd);
	test_close(&f->local_fd);
	test_teardown(&f->env);
	munmap(f->data, SIZE);
	munmap(f->new, SIZE);
	munmap(f->buf, SIZE);
}

/* Does an open with O_DIRECT work where the files are? */
static bool has_direct(struct files *f)
{
	int fd = open_local(f, "local", O_RDWR | O_DIRECT);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

#define NEEDS_DIRECT(f) do { \
	if (!has_direct(f)) \
		SKIP(_exit(255), "no O_DIRECT on the backing file system"); \
} while (0)

/* What is in the backing file at @off is @data */
static bool has(struct files *f, off_t off, const void *data, size_t len)
{
	char *buf = malloc(len);
	bool same;

	same = pread(f->file->fd, buf, len, off) == (ssize_t)len &&
	       !memcmp(buf, data, len);
	free(buf);
	return same;
}

/*
 * A request to the server that is left unanswered keeps whoever made it in the
 * middle of what it does.
 */
struct held {
	struct test_file *file;	/* whose request it is */
	uint32_t opcode;	/* 0: none (any more) */
	sem_t arrived;

	struct fuse_in_header in;
	int dev;
	struct fuse_attr_out attr;	/* to be answered to GETATTR, SETATTR */
};

static void carry_out(struct held *held, struct fuse_req *req)
{
	const struct fuse_setattr_in *in = req->arg;

	if (req->in->opcode == FUSE_SETATTR && in->valid & FATTR_SIZE)
		ftruncate(held->file->fd, in->size);
	test_attr(held->file, &held->attr.attr);
	held->attr.attr_valid = 3600;
}

static bool hold(struct test_env *env, struct fuse_req *req)
{
	struct held *held = env->hook_priv;

	if (req->in->opcode != held->opcode ||
	    req->in->nodeid != test_file_id(held->file))
		return false;
	if (held->opcode != FUSE_READ)
		carry_out(held, req);
	held->opcode = 0;
	held->in = *req->in;
	held->dev = req->dev;
	req->answered = true;
	sem_post(&held->arrived);
	return true;
}

/* The next such request waits */
static void hold_next(struct held *held, struct test_file *file,
		      uint32_t opcode)
{
	held->file = file;
	sem_init(&held->arrived, 0, 0);
	file->env->hook_priv = held;
	file->env->hook = hold;
	held->opcode = opcode;
}

static void wait_for_held(struct held *held)
{
	while (sem_wait(&held->arrived) && errno == EINTR)
		;
}

static void let_go(struct held *held)
{
	struct fuse_req req = { .in = &held->in, .dev = held->dev };
	static const char page[PAGE];

	if (held->in.opcode == FUSE_READ)
		fuse_reply(&req, page, PAGE);
	else
		fuse_reply(&req, &held->attr, sizeof(held->attr));
}

/* Somebody who stays in the middle of something, and keeps a lock */
struct holder {
	struct held held;
	pthread_t thread;
	int fd;
	char *source;		/* pwrite() from here; or NULL: */
	off_t size;		/* ftruncate() to this; or -1: fstat() */
	ssize_t res;
};

static void *holder_main(void *arg)
{
	struct holder *h = arg;

	if (h->source)
		h->res = pwrite(h->fd, h->source, PAGE, 0);
	else if (h->size >= 0)
		h->res = ftruncate(h->fd, h->size);
	else
		h->res = test_size(h->fd);
	return NULL;
}

static bool holder_start(struct holder *h)
{
	if (pthread_create(&h->thread, NULL, holder_main, h))
		return false;
	wait_for_held(&h->held);
	return true;
}

/*
 * Keeps the lock of the backing inode: by a write on the backing path, from a
 * page that has to be read from the mount first.
 */
static bool lock_backing(struct files *f, struct holder *h)
{
	struct test_file *slow = test_add_file(&f->env, "slow", f->new, PAGE);
	int fd = slow ? test_open(slow, O_RDONLY) : -1;

	if (fd < 0)
		return false;
	h->fd = f->file->fd;
	h->source = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (h->source == MAP_FAILED)
		return false;
	f->reads = 1;
	hold_next(&h->held, slow, FUSE_READ);
	return holder_start(h);
}

/*
 * Keeps the lock of the FUSE inode: by a truncation through the mount, which
 * the server has carried out, but not answered.
 */
static bool lock_fuse(struct files *f, struct holder *h, off_t size)
{
	h->fd = f->fd;
	h->source = NULL;
	h->size = size;
	hold_next(&h->held, f->file, FUSE_SETATTR);
	return holder_start(h);
}

/* A stat whose answer was true when the server gave it */
static bool stat_slowly(struct files *f, struct holder *h)
{
	h->fd = f->fd;
	h->source = NULL;
	h->size = -1;
	hold_next(&h->held, f->file, FUSE_GETATTR);
	return holder_start(h);
}

static ssize_t end_hold(struct holder *h)
{
	let_go(&h->held);
	pthread_join(h->thread, NULL);
	if (h->source)
		munmap(h->source, PAGE);
	return h->res;
}

/* An operation that may have to wait for somebody's lock */
struct runner {
	struct queue *q;
	struct op op;
	pthread_t thread;
	sem_t done;
	ssize_t res;
};

static void *runner_main(void *arg)
{
	struct runner *r = arg;

	r->res = run(r->q, r->op);
	sem_post(&r->done);
	return NULL;
}

static bool runner_start(struct runner *r, struct queue *q, struct op op)
{
	*r = (struct runner){ .q = q, .op = op };
	sem_init(&r->done, 0, 0);
	return !pthread_create(&r->thread, NULL, runner_main, r);
}

/* Has it ended, or does it wait? */
static bool runner_ends(struct runner *r)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 5;
	return !sem_timedwait(&r->done, &end);
}

static ssize_t runner_join(struct runner *r)
{
	pthread_join(r->thread, NULL);
	return r->res;
}

/* Each test also proves that the server was not asked for data. */
#define EXPECT_NO_DATA_REQUESTS(f) do { \
	struct files *f_ = (f); \
	EXPECT_EQ(f_->reads, test_count(&f_->env, FUSE_READ)); \
	EXPECT_EQ(0, test_count(&f_->env, FUSE_WRITE)); \
	/* Truncations may ask. Mainline is found out by io_test */ \
	if (!test_on_mainline(&f_->env)) \
		EXPECT_GE(test_count(&f_->env, FUSE_SETATTR), \
			  test_count(&f_->env, FUSE_GETXATTR)); \
} while (0)

/* Both roads, buffered and direct. All sizes are multiples of a page. */
FIXTURE(async)
{
	struct files f;
};

FIXTURE_VARIANT(async)
{
	enum road road;
	int direct;		/* O_DIRECT or 0 */
};

FIXTURE_VARIANT_ADD(async, io_submit)
{
	.road = IO_SUBMIT,
};

FIXTURE_VARIANT_ADD(async, io_submit_direct)
{
	.road = IO_SUBMIT,
	.direct = O_DIRECT,
};

FIXTURE_VARIANT_ADD(async, io_uring)
{
	.road = IO_URING,
};

FIXTURE_VARIANT_ADD(async, io_uring_direct)
{
	.road = IO_URING,
	.direct = O_DIRECT,
};

FIXTURE_SETUP(async)
{
	NEEDS_ROAD(&self->f.q, variant->road);
	ASSERT_TRUE(files_setup(&self->f));
	TEST_NEEDS_PASSTHROUGH(&self->f.env);
	ASSERT_TRUE(files_add(&self->f));
	if (variant->direct)
		NEEDS_DIRECT(&self->f);
	ASSERT_TRUE(files_open(&self->f, O_RDWR | variant->direct));
}

FIXTURE_TEARDOWN(async)
{
	EXPECT_NO_DATA_REQUESTS(&self->f);
	files_close(&self->f);
}

TEST_F(async, reads_get_the_backing_file)
{
	struct files *f = &self->f;

	ASSERT_EQ(3 * PAGE, run(&f->q, read_op(f->fd, f->buf, 3 * PAGE, PAGE)));
	EXPECT_EQ(0, memcmp(f->buf, f->data + PAGE, 3 * PAGE));
	EXPECT_EQ(0, lseek(f->fd, 0, SEEK_CUR));
}

TEST_F(async, reads_of_what_is_not_in_the_page_cache_get_it)
{
	struct files *f = &self->f;

	ASSERT_EQ(0, drop_cache(f->backing_fd));
	ASSERT_EQ(SIZE, run(&f->q, read_op(f->fd, f->buf, SIZE, 0)));
	EXPECT_EQ(0, memcmp(f->buf, f->data, SIZE));
}

TEST_F(async, writes_reach_the_backing_file)
{
	struct files *f = &self->f;

	ASSERT_EQ(3 * PAGE, run(&f->q, write_op(f->fd, f->new, 3 * PAGE,
						PAGE)));
	EXPECT_TRUE(has(f, 0, f->data, PAGE));
	EXPECT_TRUE(has(f, PAGE, f->new, 3 * PAGE));
	EXPECT_TRUE(has(f, 4 * PAGE, f->data + 4 * PAGE, SIZE - 4 * PAGE));
	EXPECT_EQ(0, lseek(f->fd, 0, SEEK_CUR));
}

TEST_F(async, vectors_are_filled_and_drained)
{
	struct files *f = &self->f;
	struct iovec in[2] = {
		{ f->new + 5 * PAGE, PAGE }, { f->new, 2 * PAGE },
	};
	struct iovec out[3] = {
		{ f->buf + PAGE, PAGE }, { f->buf, PAGE },
		{ f->buf + 3 * PAGE, PAGE },
	};
	struct op op;

	op = write_op(f->fd, in, 2, 7 * PAGE);
	op.vectored = true;
	ASSERT_EQ(3 * PAGE, run(&f->q, op));
	EXPECT_TRUE(has(f, 7 * PAGE, f->new + 5 * PAGE, PAGE));
	EXPECT_TRUE(has(f, 8 * PAGE, f->new, 2 * PAGE));

	op = read_op(f->fd, out, 3, 7 * PAGE);
	op.vectored = true;
	ASSERT_EQ(3 * PAGE, run(&f->q, op));
	EXPECT_EQ(0, memcmp(f->buf + PAGE, f->new + 5 * PAGE, PAGE));
	EXPECT_EQ(0, memcmp(f->buf, f->new, PAGE));
	EXPECT_EQ(0, memcmp(f->buf + 3 * PAGE, f->new + PAGE, PAGE));
}

/* Waiting for the disk has ways that other reads and writes do not take */
TEST_F(async, operations_cost_no_request)
{
	struct files *f = &self->f;
	int before, asked;

	before = fuse_server_count_all(f->env.srv);
	ASSERT_EQ(0, drop_cache(f->backing_fd));
	ASSERT_EQ(SIZE, run(&f->q, read_op(f->fd, f->buf, SIZE, 0)));
	ASSERT_EQ(SIZE, run(&f->q, read_op(f->fd, f->buf, SIZE, 0)));
	ASSERT_EQ(SIZE, run(&f->q, write_op(f->fd, f->new, SIZE, 0)));
	asked = (int)fuse_server_count_all(f->env.srv) - before;
	ASSERT_OR_XFAIL(return, &f->env, !asked,
			"sends %d requests (%d POLL) for reads and writes",
			asked, test_count(&f->env, FUSE_POLL));
}

static bool all_whole(const struct op *op, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (!op[i].done || op[i].res != (ssize_t)op[i].len)
			return false;
	return true;
}

TEST_F(async, reads_and_writes_in_flight_do_not_disturb_each_other)
{
	struct files *f = &self->f;
	struct op op[OPS];
	off_t off;
	int i;

	ASSERT_EQ(0, drop_cache(f->backing_fd));
	for (i = 0; i < OPS; i++) {
		off = 2 * i * PAGE;
		op[i] = i % 2 ? read_op(f->fd, f->buf + off, 2 * PAGE, off) :
				write_op(f->fd, f->new + off, 2 * PAGE, off);
	}
	start(&f->q, op, OPS);
	ASSERT_EQ(0, finish(&f->q));
	ASSERT_TRUE(all_whole(op, OPS));
	for (i = 0; i < OPS; i++) {
		off = 2 * i * PAGE;
		EXPECT_TRUE(has(f, off, (i % 2 ? f->data : f->new) + off,
				2 * PAGE));
		if (i % 2)
			EXPECT_EQ(0, memcmp(f->buf + off, f->data + off,
					    2 * PAGE));
	}
}

/* How many completions the eventfd has told of, waiting for @n */
static int wait_for_eventfd(int fd, int n)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int sum = 0;
	uint64_t count;

	while (sum < n && poll(&pfd, 1, 15000) == 1 &&
	       read(fd, &count, sizeof(count)) == sizeof(count))
		sum += count;
	return sum;
}

TEST_F(async, completion_is_told_by_an_eventfd)
{
	struct files *f = &self->f;
	int fd = eventfd(0, EFD_CLOEXEC);
	struct op op[OPS];
	int i;

	ASSERT_LE(0, fd);
	if (variant->road == IO_URING)
		ASSERT_EQ(0, ring_register(&f->q.ring, IORING_REGISTER_EVENTFD,
					   &fd, 1));
	for (i = 0; i < OPS; i++) {
		op[i] = read_op(f->fd, f->buf + i * PAGE, PAGE, i * PAGE);
		op[i].eventfd = fd;
	}
	start(&f->q, op, OPS);
	/* io_uring may tell of several at once */
	EXPECT_LE(variant->road == IO_URING ? 1 : OPS,
		  wait_for_eventfd(fd, variant->road == IO_URING ? 1 : OPS));
	ASSERT_EQ(0, finish(&f->q));
	EXPECT_TRUE(all_whole(op, OPS));
	EXPECT_EQ(0, memcmp(f->buf, f->data, OPS * PAGE));
	EXPECT_EQ(0, close(fd));
}

TEST_F(async, reads_end_at_eof)
{
	struct files *f = &self->f;

	ASSERT_EQ(0, ftruncate(f->fd, SIZE - 100));
	EXPECT_EQ(2 * PAGE - 100, run(&f->q, read_op(f->fd, f->buf, 4 * PAGE,
						     SIZE - 2 * PAGE)));
	EXPECT_EQ(0, memcmp(f->buf, f->data + SIZE - 2 * PAGE, 2 * PAGE - 100));
	EXPECT_EQ(0, run(&f->q, read_op(f->fd, f->buf, PAGE, SIZE)));
	EXPECT_EQ(0, run(&f->q, read_op(f->fd, f->buf, PAGE, 2 * SIZE)));
}

TEST_F(async, negative_offsets_are_einval)
{
	struct files *f = &self->f;

	/* -1 means something to io_uring */
	EXPECT_EQ(-EINVAL, run(&f->q, read_op(f->fd, f->buf, PAGE, -PAGE)));
	EXPECT_EQ(-EINVAL, run(&f->q, write_op(f->fd, f->new, PAGE, -PAGE)));
	EXPECT_EQ(SIZE, test_size(f->fd));
}

TEST_F(async, bad_buffers_are_efault)
{
	struct files *f = &self->f;
	void *nowhere = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);

	ASSERT_NE(MAP_FAILED, nowhere);
	EXPECT_EQ(-EFAULT, run(&f->q, read_op(f->fd, nowhere, PAGE, 0)));
	EXPECT_EQ(-EFAULT, run(&f->q, write_op(f->fd, nowhere, PAGE, 0)));
	EXPECT_TRUE(has(f, 0, f->data, SIZE));
	EXPECT_EQ(0, munmap(nowhere, PAGE));
}

TEST_F(async, wrong_access_modes_are_ebadf)
{
	struct files *f = &self->f;
	int rd = test_open(f->file, O_RDONLY | variant->direct);
	int wr = test_open(f->file, O_WRONLY | variant->direct);

	ASSERT_LE(0, rd);
	ASSERT_LE(0, wr);
	EXPECT_EQ(-EBADF, run(&f->q, write_op(rd, f->new, PAGE, 0)));
	EXPECT_EQ(-EBADF, run(&f->q, read_op(wr, f->buf, PAGE, 0)));
	EXPECT_EQ(PAGE, run(&f->q, read_op(rd, f->buf, PAGE, 0)));
	EXPECT_EQ(PAGE, run(&f->q, write_op(wr, f->new, PAGE, 0)));
	EXPECT_EQ(0, close(rd));
	EXPECT_EQ(0, close(wr));
}

TEST_F(async, the_file_size_limit_gives_a_short_write_and_efbig)
{
	struct rlimit limit = { SIZE + PAGE, RLIM_INFINITY };
	struct files *f = &self->f;

	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(PAGE, run(&f->q, write_op(f->fd, f->new, 2 * PAGE, SIZE)));
	EXPECT_EQ(-EFBIG, run(&f->q, write_op(f->fd, f->new, PAGE,
					      SIZE + PAGE)));
	limit.rlim_cur = RLIM_INFINITY;
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(SIZE + PAGE, test_size(f->fd));
	EXPECT_EQ(SIZE + PAGE, test_size(f->backing_fd));
}

/* A file on a tmpfs of 64 KiB. Its mount point goes to @dir */
static struct test_file *add_small(struct test_env *env, char dir[PATH_MAX])
{
	struct test_file *file;
	char path[PATH_MAX];

	if (test_mount(env, "small", "tmpfs", "size=64k", dir))
		return NULL;
	test_pathf(path, "%s/file", dir);
	if (test_write_file(path, "", 0))
		return NULL;
	file = test_add_path(env, "small", path, O_RDWR);
	return file && test_back(file) > 0 ? file : NULL;
}

TEST_F(async, a_full_file_system_gives_a_short_write_and_enospc)
{
	struct files *f = &self->f;
	struct test_file *file;
	char dir[PATH_MAX];
	ssize_t n;
	int fd;

	if (variant->direct)
		SKIP(return, "the full file system has no O_DIRECT");
	file = add_small(&f->env, dir);
	ASSERT_TRUE(!!file);
	fd = test_open(file, O_RDWR);
	ASSERT_LE(0, fd);
	n = run(&f->q, write_op(fd, f->new, SIZE, 0));
	EXPECT_LT(0, n);
	EXPECT_GE(64 * 1024, n);
	EXPECT_EQ(-ENOSPC, run(&f->q, write_op(fd, f->new, PAGE, n)));
	EXPECT_EQ(n, test_size(fd));
	EXPECT_EQ(n, test_size(file->fd));
	EXPECT_EQ(0, close(fd));
}

/* Size and times */

TEST_F(async, fstat_sees_size_and_times_after_a_write)
{
	const struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
	struct files *f = &self->f;
	off_t off;
	struct stat st;

	for (off = 0; off <= 2 * SIZE; off += SIZE) {
		ASSERT_EQ(0, futimens(f->fd, old));
		ASSERT_EQ(0, fstat(f->fd, &st));
		ASSERT_EQ(1000, st.st_mtim.tv_sec);
		ASSERT_EQ(PAGE, run(&f->q, write_op(f->fd, f->new, PAGE, off)));
		/* From here on the blocks stay as they are */
		ASSERT_EQ(0, fsync(f->file->fd));
		EXPECT_TRUE(same_attr(f->fd, f->backing_fd));
		EXPECT_LE(off + PAGE, test_size(f->fd));
		ASSERT_EQ(0, fstat(f->fd, &st));
		EXPECT_LT(1000, st.st_mtim.tv_sec);
	}
}

TEST_F(async, fstat_sees_at_least_the_end_of_each_completed_write)
{
	struct files *f = &self->f;
	struct op op[OPS];
	off_t end = SIZE;
	int i;

	for (i = 0; i < OPS; i++)
		op[i] = write_op(f->fd, f->new, PAGE, SIZE + 2 * i * PAGE);
	start(&f->q, op, OPS);
	while (f->q.in_flight) {
		ASSERT_EQ(0, reap(&f->q));
		for (i = 0; i < OPS; i++)
			if (op[i].done && op[i].off + PAGE > end)
				end = op[i].off + PAGE;
		EXPECT_LE(end, test_size(f->fd));
	}
	EXPECT_TRUE(all_whole(op, OPS));
	EXPECT_EQ(SIZE + (2 * OPS - 1) * PAGE, test_size(f->fd));
	EXPECT_EQ(SIZE + (2 * OPS - 1) * PAGE, test_size(f->backing_fd));
}

struct truncation {
	pthread_barrier_t barrier;
	int fd;
	bool stop;
};

static void *truncate_in_each_round(void *arg)
{
	struct truncation *t = arg;
	unsigned int i;

	for (i = 0;; i++) {
		pthread_barrier_wait(&t->barrier);
		if (t->stop)
			return NULL;
		ftruncate(t->fd, i * 7 % (OPS + 1) * PAGE + i % 2 * 100);
		pthread_barrier_wait(&t->barrier);
	}
}

/* Writes while somebody else truncates. Do all agree on what came out of it? */
static bool race_with_truncation(struct files *f, struct truncation *t,
				 unsigned int round)
{
	struct op op[4];
	int i;

	for (i = 0; i < 4; i++)
		op[i] = write_op(f->fd, f->new, PAGE,
				 (round + 5 * i) % OPS * PAGE);
	pthread_barrier_wait(&t->barrier);
	start(&f->q, op, 4);
	if (finish(&f->q))
		return false;
	pthread_barrier_wait(&t->barrier);
	return all_whole(op, 4) && test_size(f->fd) == test_size(f->backing_fd) &&
	       lseek(f->fd, 0, SEEK_END) == test_size(f->backing_fd);
}

TEST_F(async, size_is_right_after_writes_raced_with_truncation)
{
	struct files *f = &self->f;
	struct truncation t = { .fd = f->fd };
	double end = test_now() + 1;
	unsigned int i, wrong = 0;
	pthread_t thread;

	ASSERT_EQ(0, pthread_barrier_init(&t.barrier, NULL, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, truncate_in_each_round, &t));
	for (i = 0; i < 300 && test_now() < end; i++)
		wrong += !race_with_truncation(f, &t, i);
	t.stop = true;
	pthread_barrier_wait(&t.barrier);
	pthread_join(thread, NULL);
	ASSERT_OR_XFAIL(return, &f->env, !wrong,
			"has a wrong size after %u of %u rounds", wrong, i);
}

/*
 * Writes, and ends the hold when the write has ended, or does not end: @waited
 * says so
 */
static ssize_t write_in_hold(struct files *f, struct holder *h, off_t off,
			     bool *waited)
{
	struct runner r;

	if (!runner_start(&r, &f->q, write_op(f->fd, f->new, PAGE, off)))
		return -1;
	*waited = !runner_ends(&r);
	end_hold(h);
	return runner_join(&r);
}

TEST_F(async, size_is_right_after_a_write_between_truncation_and_answer)
{
	struct files *f = &self->f;
	struct holder h = {};
	bool waited = true;

	ASSERT_TRUE(lock_fuse(f, &h, PAGE));
	EXPECT_EQ(PAGE, test_size(f->backing_fd));
	EXPECT_EQ(PAGE, write_in_hold(f, &h, SIZE, &waited));
	EXPECT_EQ(0, h.res);
	ASSERT_OR_XFAIL(return, &f->env, !waited,
			"has a write wait for the truncation");
	EXPECT_EQ(SIZE + PAGE, test_size(f->backing_fd));
	EXPECT_EQ(SIZE + PAGE, test_size(f->fd));
	EXPECT_EQ(SIZE + PAGE, lseek(f->fd, 0, SEEK_END));
}

TEST_F(async, size_is_right_after_a_write_between_stat_and_answer)
{
	struct files *f = &self->f;
	struct holder h = {};
	bool waited = true;

	/* So that the server will be asked */
	ASSERT_EQ(PAGE, run(&f->q, write_op(f->fd, f->new, PAGE, 0)));
	ASSERT_TRUE(stat_slowly(f, &h));
	EXPECT_EQ(PAGE, write_in_hold(f, &h, SIZE, &waited));
	ASSERT_OR_XFAIL(return, &f->env, !waited,
			"has a write wait for the answer to a stat");
	EXPECT_EQ(SIZE + PAGE, test_size(f->backing_fd));
	EXPECT_EQ(SIZE + PAGE, test_size(f->fd));
	EXPECT_TRUE(same_attr(f->fd, f->backing_fd));
}

/* Where and how to write */

/* How many of the pages at @new are not in what was appended to the file? */
static int lost_pages(int fd, const char *new, int n)
{
	char *end = new_pages(n * PAGE);
	int i, j, lost = 0;

	if (!end || pread(fd, end, n * PAGE, SIZE) < 0)
		return n;
	for (i = 0; i < n; i++) {
		for (j = 0; j < n; j++)
			if (!memcmp(end + j * PAGE, new + i * PAGE, PAGE))
				break;
		lost += j == n;
	}
	munmap(end, n * PAGE);
	return lost;
}

static int append_and_count_lost(struct files *f, int fd, int check_fd)
{
	struct op op[OPS];
	int i;

	for (i = 0; i < OPS; i++)
		op[i] = write_op(fd, f->new + i * PAGE, PAGE, 0);
	start(&f->q, op, OPS);
	if (finish(&f->q) || !all_whole(op, OPS))
		return -1;
	return lost_pages(check_fd, f->new, OPS);
}

TEST_F(async, o_append_writes_in_flight_are_all_appended)
{
	struct files *f = &self->f;
	int lost;

	ASSERT_TRUE(files_open(f, O_RDWR | O_APPEND | variant->direct));
	/* Direct writes find the end before the one in flight has moved it */
	lost = append_and_count_lost(f, f->local_fd, f->local_fd);
	ASSERT_LE(0, lost);
	if (lost)
		SKIP(return, "the backing file system itself loses %d of %d",
		     lost, OPS);
	lost = append_and_count_lost(f, f->fd, f->backing_fd);
	ASSERT_LE(0, lost);
	if (lost && variant->direct) {
		ASSERT_EQ(0, ftruncate(f->local_fd, SIZE));
		if (append_and_count_lost(f, f->local_fd, f->local_fd))
			SKIP(return, "the backing file system loses some, too");
	}
	EXPECT_EQ(0, lost);
	EXPECT_EQ(SIZE + OPS * PAGE, test_size(f->fd));
	EXPECT_EQ(SIZE + OPS * PAGE, test_size(f->backing_fd));
	EXPECT_TRUE(has(f, 0, f->data, SIZE));
}

TEST_F(async, rwf_append_appends)
{
	struct files *f = &self->f;
	struct op op = write_op(f->fd, f->new, PAGE, 0);

	if (!test_has_rwf_append(&f->env))
		SKIP(return, "no RWF_APPEND on the backing file system");
	op.rwf = RWF_APPEND;
	ASSERT_EQ(PAGE, run(&f->q, op));
	ASSERT_EQ(0, ftruncate(f->backing_fd, SIZE + 2 * PAGE));
	/* FUSE does not know this end */
	ASSERT_EQ(PAGE, run(&f->q, op));
	EXPECT_EQ(SIZE + 3 * PAGE, test_size(f->fd));
	EXPECT_TRUE(has(f, 0, f->data, SIZE));
	EXPECT_TRUE(has(f, SIZE, f->new, PAGE));
	EXPECT_TRUE(has(f, SIZE + 2 * PAGE, f->new, PAGE));
}

TEST_F(async, synchronous_writes_write)
{
	static const int rwf[] = { RWF_DSYNC, RWF_SYNC, RWF_DSYNC | RWF_SYNC };
	struct files *f = &self->f;
	struct op op;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rwf); i++) {
		op = write_op(f->fd, f->new + i * PAGE, PAGE, i * PAGE);
		op.rwf = rwf[i];
		ASSERT_EQ(PAGE, run(&f->q, op));
	}
	EXPECT_TRUE(has(f, 0, f->new, i * PAGE));
	EXPECT_EQ(0, test_count(&f->env, FUSE_FSYNC));
}

TEST_F(async, o_sync_files_are_written)
{
	struct files *f = &self->f;
	struct op op[OPS];
	int i;

	ASSERT_TRUE(files_open(f, O_RDWR | O_DSYNC | variant->direct));
	for (i = 0; i < OPS; i++)
		op[i] = write_op(f->fd, f->new + i * PAGE, PAGE, i * PAGE);
	start(&f->q, op, OPS);
	ASSERT_EQ(0, finish(&f->q));
	EXPECT_TRUE(all_whole(op, OPS));
	EXPECT_TRUE(has(f, 0, f->new, OPS * PAGE));
	EXPECT_EQ(0, test_count(&f->env, FUSE_FSYNC));
}

/* Who writes */

struct user_op {
	struct files *f;
	enum road road;
	uint8_t sqe_flags;
	int rwf;
	bool local;		/* not through the mount */
};

/* The error of a user's write of a page */
static int user_writes(void *arg)
{
	struct user_op *user = arg;
	struct files *f = user->f;
	struct queue q;
	struct op op;
	ssize_t n;
	int fd;

	fd = user->local ? f->local_fd : test_open(f->file, f->flags);
	if (fd < 0 || queue_init(&q, user->road))
		return errno;
	op = write_op(fd, f->new, PAGE, 0);
	op.rwf = user->rwf;
	op.sqe_flags = user->sqe_flags;
	n = run(&q, op);
	queue_exit(&q);
	return n < 0 ? -n : n == PAGE ? 0 : 254;
}

TEST_F(async, a_users_write_strips_setuid_and_setgid)
{
	struct files *f = &self->f;
	struct user_op user = { .f = f, .road = variant->road };

	ASSERT_EQ(0, fchmod(f->fd, 06777));
	ASSERT_EQ(06777, test_mode(f->backing_fd));
	EXPECT_EQ(0, test_as_user(user_writes, &user));
	EXPECT_EQ(0777, test_mode(f->backing_fd));
	EXPECT_EQ(0777, test_mode(f->fd));
	EXPECT_TRUE(has(f, 0, f->new, PAGE));
}

TEST_F(async, a_users_write_strips_setuid_that_only_the_backing_file_has)
{
	struct files *f = &self->f;
	struct user_op user = { .f = f, .road = variant->road };
	mode_t mode;

	ASSERT_EQ(0, fchmod(f->backing_fd, 04777));
	ASSERT_EQ(0, test_as_user(user_writes, &user));
	mode = test_mode(f->backing_fd);
	ASSERT_OR_XFAIL(return, &f->env, mode == 0777,
			"leaves mode %#o after a user's write", mode);
}

TEST_F(async, roots_write_keeps_setuid)
{
	struct files *f = &self->f;

	ASSERT_EQ(0, fchmod(f->fd, 06777));
	EXPECT_EQ(PAGE, run(&f->q, write_op(f->fd, f->new, PAGE, 0)));
	EXPECT_EQ(06777, test_mode(f->backing_fd));
	EXPECT_EQ(06777, test_mode(f->fd));
}

/* Ends before the operations do */

static void start_some(struct files *f, int fd, struct op op[OPS])
{
	off_t off;
	int i;

	for (i = 0; i < OPS; i++) {
		off = 2 * i * PAGE;
		op[i] = i % 2 ? read_op(fd, f->buf + off, 2 * PAGE, off) :
				write_op(fd, f->new + off, 2 * PAGE, off);
	}
	start(&f->q, op, OPS);
}

TEST_F(async, a_queue_that_goes_with_its_operations_in_flight_leaves_nothing)
{
	struct files *f = &self->f;
	struct op op[OPS];
	int i;

	for (i = 0; i < 3; i++) {
		int fd = test_open(f->file, O_RDWR | variant->direct);

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, drop_cache(f->backing_fd));
		start_some(f, fd, op);
		queue_exit(&f->q);
		EXPECT_EQ(0, close(fd));
		EXPECT_TRUE(released(f->file, i + 1));
		ASSERT_EQ(0, queue_init(&f->q, variant->road));
	}
}

TEST_F(async, a_file_that_is_closed_with_operations_in_flight_ends_them)
{
	struct files *f = &self->f;
	struct op op[OPS];

	ASSERT_EQ(0, drop_cache(f->backing_fd));
	start_some(f, f->fd, op);
	test_close(&f->fd);
	ASSERT_EQ(0, finish(&f->q));
	EXPECT_TRUE(all_whole(op, OPS));
	EXPECT_EQ(0, memcmp(f->buf + 2 * PAGE, f->data + 2 * PAGE, 2 * PAGE));
	EXPECT_TRUE(released(f->file, 1));
}

/* Keeps operations in flight until it is killed. Tells of the first ones */
static int go_on_forever(enum road road, struct files *f, struct test_file *file,
			 int tell)
{
	struct op op[OPS];
	int fd;

	fd = test_open(file, f->flags);
	if (fd < 0 || queue_init(&f->q, road))
		return 1;
	for (;;) {
		start_some(f, fd, op);
		while (f->q.in_flight > OPS / 2)
			if (reap(&f->q))
				return 1;
		if (tell >= 0)
			close(tell);
		tell = -1;
		if (finish(&f->q))
			return 1;
	}
}

static pid_t start_child(enum road road, struct files *f, struct test_file *file)
{
	int pipefd[2];
	pid_t pid;
	char c;

	if (pipe2(pipefd, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid)
		_exit(go_on_forever(road, f, file, pipefd[1]));
	close(pipefd[1]);
	while (read(pipefd[0], &c, 1) < 0 && errno == EINTR)
		;
	close(pipefd[0]);
	return pid;
}

static bool killed(pid_t pid)
{
	int status;

	return pid > 0 && !kill(pid, SIGKILL) &&
	       waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
}

TEST_F(async, a_process_that_is_killed_with_operations_in_flight_ends)
{
	struct files *f = &self->f;
	int i;

	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(killed(start_child(variant->road, f, f->file)));
		EXPECT_TRUE(released(f->file, i + 1));
	}
	EXPECT_TRUE(same_attr(f->fd, f->backing_fd));
}

/* Should this process not come to it. -1 or a pid */
static pid_t thaw_later(int fd)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	sleep(20);
	ioctl(fd, FITHAW, 0);
	_exit(0);
}

/*
 * The outcome of a write that may not wait. file_modified_flags() refuses one that
 * would have to write new times, so that a write that may wait comes before it, in
 * the same tick of the clock if this is not interrupted for long.
 */
static ssize_t write_nowait(struct queue *q, struct op op)
{
	struct op waits = op;
	int tries = 100;
	ssize_t n;

	waits.rwf &= ~RWF_NOWAIT;
	do {
		n = run(q, waits);
		if (n == (ssize_t)op.len)
			n = run(q, op);
	} while (n == -EAGAIN && --tries);
	return n;
}

/* A write that may not wait does not, for the backing file system to thaw */
TEST_F(async, nowait_writes_to_a_frozen_file_system_are_eagain)
{
	struct files *f = &self->f;
	struct op op = write_op(f->fd, f->new, PAGE, 0);
	ssize_t n, usual;
	pid_t pid;

	if (!getenv("FUSE_TEST_FREEZE"))
		SKIP(return, "FUSE_TEST_FREEZE does not say that FUSE_TEST_DIR may be frozen");
	op.rwf = RWF_NOWAIT;
	usual = write_nowait(&f->q, op);
	if (usual == -EOPNOTSUPP)
		SKIP(return, "no such RWF_NOWAIT on the backing file system");

	pid = thaw_later(f->backing_fd);
	ASSERT_LT(0, pid);
	if (ioctl(f->backing_fd, FIFREEZE, 0)) {
		n = errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		SKIP(return, "the backing file system cannot be frozen: %s",
		     strerror(n));
	}
	n = run(&f->q, op);
	/* It has thawed if that has waited */
	EXPECT_EQ(0, ioctl(f->backing_fd, FITHAW, 0));
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(-EAGAIN, n);
	EXPECT_EQ(usual, write_nowait(&f->q, op));
}

TEST_F(async, a_killed_process_does_not_keep_the_backing_file_system_busy)
{
	struct files *f = &self->f;
	struct test_file *file;
	char dir[PATH_MAX];

	if (variant->direct)
		SKIP(return, "the other file system has no O_DIRECT");
	file = add_small(&f->env, dir);
	ASSERT_TRUE(!!file);
	EXPECT_TRUE(killed(start_child(variant->road, f, file)));
	EXPECT_TRUE(released(file, 1));
	EXPECT_EQ(0, test_backing_close(fuse_server_dev(f->env.srv),
					file->backing_id));
	test_close(&file->fd);
	EXPECT_EQ(0, test_umount(dir));
}

/* What only io_uring has */
FIXTURE(uring)
{
	struct files f;
};

FIXTURE_VARIANT(uring)
{
	int direct;		/* O_DIRECT or 0 */
};

FIXTURE_VARIANT_ADD(uring, buffered)
{
};

FIXTURE_VARIANT_ADD(uring, direct)
{
	.direct = O_DIRECT,
};

FIXTURE_SETUP(uring)
{
	NEEDS_ROAD(&self->f.q, IO_URING);
	ASSERT_TRUE(files_setup(&self->f));
	TEST_NEEDS_PASSTHROUGH(&self->f.env);
	ASSERT_TRUE(files_add(&self->f));
	if (variant->direct)
		NEEDS_DIRECT(&self->f);
	ASSERT_TRUE(files_open(&self->f, O_RDWR | variant->direct));
}

FIXTURE_TEARDOWN(uring)
{
	EXPECT_NO_DATA_REQUESTS(&self->f);
	files_close(&self->f);
}

TEST_F(uring, fixed_buffers_are_read_and_written)
{
	struct files *f = &self->f;
	struct iovec iov[2] = { { f->new, SIZE }, { f->buf, SIZE } };
	struct op op;

	ASSERT_EQ(0, ring_register(&f->q.ring, IORING_REGISTER_BUFFERS, iov,
				   2));
	op = write_op(f->fd, f->new + PAGE, 3 * PAGE, 2 * PAGE);
	op.opcode = IORING_OP_WRITE_FIXED;
	ASSERT_EQ(3 * PAGE, run(&f->q, op));
	EXPECT_TRUE(has(f, 2 * PAGE, f->new + PAGE, 3 * PAGE));

	op = read_op(f->fd, f->buf + 5 * PAGE, 4 * PAGE, PAGE);
	op.opcode = IORING_OP_READ_FIXED;
	op.buf_index = 1;
	ASSERT_EQ(4 * PAGE, run(&f->q, op));
	EXPECT_EQ(0, memcmp(f->buf + 5 * PAGE, f->data + PAGE, PAGE));
	EXPECT_EQ(0, memcmp(f->buf + 6 * PAGE, f->new + PAGE, 3 * PAGE));
}

/* One buffer, in a ring of them, which the kernel picks */
static int provide_buffer(struct ring *ring, void *bufs, void *buf, size_t len)
{
	struct io_uring_buf_reg reg = {
		.ring_addr = (uintptr_t)bufs, .ring_entries = 1, .bgid = 1,
	};
	struct io_uring_buf_ring *br = bufs;

	if (ring_register(ring, IORING_REGISTER_PBUF_RING, &reg, 1))
		return -1;
	/* The tail lies in the first one's reserved part */
	br->bufs[0].addr = (uintptr_t)buf;
	br->bufs[0].len = len;
	__atomic_store_n(&br->tail, 1, __ATOMIC_RELEASE);
	return 0;
}

TEST_F(uring, a_provided_buffer_is_read_into)
{
	struct files *f = &self->f;
	struct op op = read_op(f->fd, NULL, 2 * PAGE, PAGE);
	void *bufs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, bufs);
	if (provide_buffer(&f->q.ring, bufs, f->buf, 2 * PAGE))
		SKIP(return, "no rings of buffers: %s", strerror(errno));
	op.sqe_flags = IOSQE_BUFFER_SELECT;
	op.buf_index = 1;	/* the group, in this case */
	ASSERT_EQ(2 * PAGE, run(&f->q, op));
	EXPECT_EQ(0, memcmp(f->buf, f->data + PAGE, 2 * PAGE));
	/* It is used up */
	EXPECT_EQ(-ENOBUFS, run(&f->q, op));
}

TEST_F(uring, a_registered_file_stays_open_without_its_fd)
{
	struct files *f = &self->f;
	struct op op;

	ASSERT_EQ(0, ring_register(&f->q.ring, IORING_REGISTER_FILES, &f->fd,
				   1));
	test_close(&f->fd);
	op = write_op(0, f->new, PAGE, PAGE);
	op.sqe_flags = IOSQE_FIXED_FILE;
	ASSERT_EQ(PAGE, run(&f->q, op));
	op = read_op(0, f->buf, 2 * PAGE, 0);
	op.sqe_flags = IOSQE_FIXED_FILE;
	ASSERT_EQ(2 * PAGE, run(&f->q, op));
	EXPECT_EQ(0, memcmp(f->buf, f->data, PAGE));
	EXPECT_EQ(0, memcmp(f->buf + PAGE, f->new, PAGE));
	EXPECT_EQ(0, test_releases(f->file));

	ASSERT_EQ(0, ring_register(&f->q.ring, IORING_UNREGISTER_FILES, NULL,
				   0));
	EXPECT_TRUE(released(f->file, 1));
}

TEST_F(uring, linked_operations_run_in_order)
{
	struct files *f = &self->f;
	struct op op[3] = {
		write_op(f->fd, f->new, 2 * PAGE, PAGE),
		read_op(f->fd, f->buf, 2 * PAGE, PAGE),
		write_op(f->fd, f->data, 2 * PAGE, PAGE),
	};

	op[0].sqe_flags = IOSQE_IO_LINK;
	op[1].sqe_flags = IOSQE_IO_LINK;
	start(&f->q, op, 3);
	ASSERT_EQ(0, finish(&f->q));
	EXPECT_TRUE(all_whole(op, 3));
	EXPECT_EQ(0, memcmp(f->buf, f->new, 2 * PAGE));
	EXPECT_TRUE(has(f, PAGE, f->data, 2 * PAGE));
}

TEST_F(uring, a_short_read_ends_its_chain)
{
	struct files *f = &self->f;
	struct op op[2] = {
		read_op(f->fd, f->buf, 2 * PAGE, SIZE - PAGE),
		write_op(f->fd, f->new, PAGE, 0),
	};

	op[0].sqe_flags = IOSQE_IO_LINK;
	start(&f->q, op, 2);
	ASSERT_EQ(0, finish(&f->q));
	EXPECT_EQ(PAGE, op[0].res);
	EXPECT_EQ(-ECANCELED, op[1].res);
	EXPECT_TRUE(has(f, 0, f->data, PAGE));
}

TEST_F(uring, the_current_position_moves)
{
	struct files *f = &self->f;

	if (variant->direct)
		SKIP(return, "io_uring does not move it on later completion");
	ASSERT_EQ(PAGE, lseek(f->fd, PAGE, SEEK_SET));
	ASSERT_EQ(PAGE, run(&f->q, read_op(f->fd, f->buf, PAGE, -1)));
	EXPECT_EQ(0, memcmp(f->buf, f->data + PAGE, PAGE));
	ASSERT_EQ(PAGE, run(&f->q, write_op(f->fd, f->new, PAGE, -1)));
	EXPECT_EQ(3 * PAGE, lseek(f->fd, 0, SEEK_CUR));
	EXPECT_TRUE(has(f, 2 * PAGE, f->new, PAGE));
}

TEST_F(uring, a_worker_reads_and_writes)
{
	struct files *f = &self->f;
	struct op op[OPS];
	off_t off;
	int i;

	ASSERT_EQ(0, drop_cache(f->backing_fd));
	for (i = 0; i < OPS; i++) {
		off = i * PAGE;
		op[i] = i % 2 ? read_op(f->fd, f->buf + off, PAGE, off) :
				write_op(f->fd, f->new + off, PAGE, off);
		op[i].sqe_flags = IOSQE_ASYNC;
	}
	start(&f->q, op, OPS);
	ASSERT_EQ(0, finish(&f->q));
	EXPECT_TRUE(all_whole(op, OPS));
	for (i = 0; i < OPS; i++)
		EXPECT_TRUE(has(f, i * PAGE, (i % 2 ? f->buf : f->new) +
				i * PAGE, PAGE));
	for (i = 1; i < OPS; i += 2)
		EXPECT_EQ(0, memcmp(f->buf + i * PAGE, f->data + i * PAGE,
				    PAGE));
}

/* The mode says that nobody but root may write to the backing file. */
TEST_F(uring, a_users_worker_writes_for_the_user)
{
	struct files *f = &self->f;
	struct user_op user = {
		.f = f, .road = IO_URING, .sqe_flags = IOSQE_ASYNC,
	};

	ASSERT_EQ(0, fchmod(f->fd, 04700));
	ASSERT_EQ(04700, test_mode(f->backing_fd));
	EXPECT_EQ(0, test_as_user(user_writes, &user));
	EXPECT_TRUE(has(f, 0, f->new, PAGE));
	EXPECT_EQ(0700, test_mode(f->backing_fd));
	EXPECT_EQ(0700, test_mode(f->fd));
}

/* Registers the credentials of TEST_UID. An id, or -1 with errno set */
static int user_personality(struct queue *q)
{
	int id;

	if (syscall(SYS_setresuid, -1, TEST_UID, -1))
		return -1;
	id = ring_register(&q->ring, IORING_REGISTER_PERSONALITY, NULL, 0);
	if (syscall(SYS_setresuid, -1, 0, -1))
		return -1;
	return id;
}

TEST_F(uring, a_personality_is_the_one_who_writes)
{
	struct files *f = &self->f;
	struct op op = write_op(f->fd, f->new, PAGE, 0);
	int i, id = user_personality(&f->q);

	ASSERT_LT(0, id);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, fchmod(f->fd, 04777));
		op.personality = 0;
		op.sqe_flags = i ? IOSQE_ASYNC : 0;
		ASSERT_EQ(PAGE, run(&f->q, op));
		EXPECT_EQ(04777, test_mode(f->backing_fd));
		op.personality = id;
		ASSERT_EQ(PAGE, run(&f->q, op));
		EXPECT_EQ(0777, test_mode(f->backing_fd));
		EXPECT_EQ(0777, test_mode(f->fd));
	}
}

/*
 * RWF_NOWAIT: as on a local file. What comes out of it may differ from one
 * time to the next, e.g. if the disk was faster, so that all results count.
 */
enum outcome {
	DONE		= 1,	/* as a whole or in part */
	WOULD_WAIT	= 2,	/* EAGAIN */
	REFUSED		= 4,	/* EOPNOTSUPP */
	FAILED		= 8,
};

static int outcome(ssize_t n)
{
	if (n >= 0)
		return DONE;
	return n == -EAGAIN ? WOULD_WAIT : n == -EOPNOTSUPP ? REFUSED : FAILED;
}

static const char *outcome_text(int set)
{
	return set & FAILED ? "fails" : set & REFUSED ? "is refused" :
	       set == WOULD_WAIT ? "would always wait" : "is done";
}

FIXTURE(nowait)
{
	struct files f;
};

FIXTURE_VARIANT(nowait)
{
	enum road road;
	int direct;		/* O_DIRECT or 0 */
};

FIXTURE_VARIANT_ADD(nowait, preadv2)
{
	.road = PREADV2,
};

FIXTURE_VARIANT_ADD(nowait, preadv2_direct)
{
	.road = PREADV2,
	.direct = O_DIRECT,
};

FIXTURE_VARIANT_ADD(nowait, io_submit)
{
	.road = IO_SUBMIT,
};

FIXTURE_VARIANT_ADD(nowait, io_submit_direct)
{
	.road = IO_SUBMIT,
	.direct = O_DIRECT,
};

FIXTURE_VARIANT_ADD(nowait, io_uring)
{
	.road = IO_URING,
};

FIXTURE_VARIANT_ADD(nowait, io_uring_direct)
{
	.road = IO_URING,
	.direct = O_DIRECT,
};

FIXTURE_SETUP(nowait)
{
	NEEDS_ROAD(&self->f.q, variant->road);
	ASSERT_TRUE(files_setup(&self->f));
	TEST_NEEDS_PASSTHROUGH(&self->f.env);
	ASSERT_TRUE(files_add(&self->f));
	if (variant->direct)
		NEEDS_DIRECT(&self->f);
	ASSERT_TRUE(files_open(&self->f, O_RDWR | variant->direct));
}

FIXTURE_TEARDOWN(nowait)
{
	EXPECT_NO_DATA_REQUESTS(&self->f);
	files_close(&self->f);
}

/* Brings a file, of which it gets an fd that is not FUSE's, into a state */
typedef int (*prepare_t)(struct files *f, int fd);

static int be_cached(struct files *f, int fd)
{
	return pread(fd, f->buf, SIZE, 0) < 0 ? -1 : 0;
}

static int be_uncached(struct files *f, int fd)
{
	return drop_cache(fd);
}

/*
 * A write waits if it has to change the times. So let somebody else change them
 * at the start of a tick of the clock that they are taken from.
 */
static int be_written(struct files *f, int fd)
{
	struct timespec first, ts;

	if (fsync(fd))
		return -1;
	clock_gettime(CLOCK_REALTIME_COARSE, &first);
	do {
		clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	} while (ts.tv_sec == first.tv_sec && ts.tv_nsec == first.tv_nsec);
	return pwrite(fd, f->new, PAGE, 0) < 0 ? -1 : 0;
}

static int prepare_and_run(struct files *f, prepare_t prepare, struct op op,
			   int fd, int prepare_fd)
{
	op.fd = fd;
	if (prepare(f, prepare_fd))
		return FAILED;
	return outcome(run(&f->q, op));
}

/* The outcomes on a local file, less what was a rare accident */
static int usual_outcomes(struct files *f, prepare_t prepare, struct op op)
{
	int i, n, seen[FAILED + 1] = {};

	for (i = 0; i < 7; i++) {
		n = prepare_and_run(f, prepare, op, f->local_fd, f->local_fd);
		if (n == FAILED)
			return FAILED;
		seen[n]++;
	}
	for (n = 0, i = DONE; i < FAILED; i <<= 1)
		if (seen[i] >= 3)
			n |= i;
	return n;
}

/* Through the mount, trying until all that are usual have been there */
static int outcomes(struct files *f, prepare_t prepare, struct op op, int usual)
{
	int i, set = 0;

	for (i = 0; i < 40 && (set & usual) != usual; i++)
		set |= prepare_and_run(f, prepare, op, f->fd, f->backing_fd);
	return set;
}

/* Whoever may wait for the disk may also have been lucky once, but not more */
static bool as_usual(int set, int usual)
{
	return (set & usual) == usual &&
	       (set & (REFUSED | FAILED)) == (usual & (REFUSED | FAILED));
}

struct both_outcomes {
	int usual, set;
};

static struct both_outcomes nowait_outcomes(struct files *f, prepare_t prepare,
					    struct op op)
{
	struct both_outcomes both;

	both.usual = usual_outcomes(f, prepare, op);
	both.set = outcomes(f, prepare, op, both.usual);
	return both;
}

/* @statement is as in SKIP() */
#define ASSERT_NOWAIT_AS_LOCALLY(statement, f, prepare, op) do { \
	struct files *f_ = (f); \
	struct both_outcomes both_ = nowait_outcomes(f_, prepare, op); \
	ASSERT_EQ(0, both_.usual & FAILED); \
	ASSERT_OR_XFAIL(statement, &f_->env, as_usual(both_.set, both_.usual), \
			"%s without waiting where a local file %s", \
			outcome_text(both_.set), outcome_text(both_.usual)); \
} while (0)

TEST_F(nowait, read_of_a_cached_file_is_as_locally)
{
	struct files *f = &self->f;
	struct op op = read_op(-1, f->buf, 4 * PAGE, PAGE);

	op.rwf = RWF_NOWAIT;
	ASSERT_NOWAIT_AS_LOCALLY(return, f, be_cached, op);
	op.fd = f->fd;
	memset(f->buf, 0, SIZE);
	if (run(&f->q, op) == 4 * PAGE)
		EXPECT_EQ(0, memcmp(f->buf, f->data + PAGE, 4 * PAGE));
}

TEST_F(nowait, read_of_an_uncached_file_is_as_locally)
{
	struct files *f = &self->f;
	struct op op = read_op(-1, f->buf, 4 * PAGE, PAGE);

	op.rwf = RWF_NOWAIT;
	ASSERT_NOWAIT_AS_LOCALLY(return, f, be_uncached, op);
}

TEST_F(nowait, read_at_eof_is_as_locally)
{
	struct files *f = &self->f;
	struct op op = read_op(-1, f->buf, PAGE, SIZE);

	op.rwf = RWF_NOWAIT;
	ASSERT_NOWAIT_AS_LOCALLY(return, f, be_cached, op);
}

TEST_F(nowait, write_over_what_there_is_is_as_locally)
{
	struct files *f = &self->f;
	struct op op = write_op(-1, f->new + PAGE, PAGE, PAGE);
	ssize_t n;

	op.rwf = RWF_NOWAIT;
	ASSERT_NOWAIT_AS_LOCALLY(return, f, be_written, op);
	op.fd = f->fd;
	op.off = 2 * PAGE;
	n = run(&f->q, op);
	EXPECT_TRUE(has(f, 2 * PAGE, n == PAGE ? op.buf : f->data + 2 * PAGE,
			PAGE));
}

TEST_F(nowait, write_behind_the_end_is_as_locally)
{
	struct files *f = &self->f;
	struct op op = write_op(-1, f->new, PAGE, SIZE);

	op.rwf = RWF_NOWAIT | RWF_APPEND;
	ASSERT_NOWAIT_AS_LOCALLY(return, f, be_written, op);
	EXPECT_EQ(test_size(f->backing_fd), test_size(f->fd));
}

/* The server would have to be waited for. */
TEST_F(nowait, write_that_has_to_strip_setuid_is_eagain)
{
	struct files *f = &self->f;
	struct user_op user = {
		.f = f, .road = variant->road, .rwf = RWF_NOWAIT,
		.local = true,
	};
	int usual, err;

	usual = test_as_user(user_writes, &user);
	if (usual == EOPNOTSUPP)
		SKIP(return, "no such RWF_NOWAIT on the backing file system");
	user.local = false;
	ASSERT_EQ(0, fchmod(f->fd, 04777));
	err = test_as_user(user_writes, &user);
	ASSERT_OR_XFAIL(return, &f->env, err == EAGAIN, "says %s",
			strerror(err));
	EXPECT_EQ(04777, test_mode(f->backing_fd));
	EXPECT_TRUE(has(f, 0, f->data, PAGE));

	user.rwf = 0;
	EXPECT_EQ(0, test_as_user(user_writes, &user));
	EXPECT_EQ(0777, test_mode(f->backing_fd));
}

/* io_uring without a worker thread */

/* Worker threads of this process */
static int count_workers(void)
{
	char path[PATH_MAX], comm[16];
	struct dirent *entry;
	int fd, count = 0;
	DIR *dir;

	dir = opendir("/proc/self/task");
	if (!dir)
		return 200;
	while ((entry = readdir(dir))) {
		test_pathf(path, "/proc/self/task/%s/comm", entry->d_name);
		fd = open(path, O_RDONLY);
		count += read(fd, comm, sizeof(comm)) >= 8 &&
			 !memcmp(comm, "iou-wrk-", 8);
		if (fd >= 0)
			close(fd);
	}
	closedir(dir);
	return count;
}

struct worker_case {
	struct files *f;
	prepare_t prepare;
	struct op op;
	int prepare_fd;
	const char *expected;	/* to be read */
	int times;		/* in a row, of which each may be lucky */
	int enough;		/* of TRIES that need a worker, to say so */
};

static bool prepare_and_check(struct worker_case *c, struct queue *q)
{
	if (c->prepare(c->f, c->prepare_fd))
		return false;
	memset(c->f->buf, 0, c->op.len);
	return run(q, c->op) == (ssize_t)c->op.len &&
	       (c->op.write || !memcmp(c->f->buf, c->expected, c->op.len));
}

/* In a child, since workers stay for a while. Their number, or 200 and more */
static int run_and_count_workers(void *arg)
{
	struct worker_case *c = arg;
	struct queue q;
	int i;

	if (queue_init(&q, IO_URING))
		return 201;
	for (i = 0; i < c->times; i++)
		if (!prepare_and_check(c, &q))
			return 202;
	return count_workers();
}

#define TRIES	8

/* 0 or 1, or 200 and more. A single try says little: disks may be fast or slow */
static int needs_worker(struct worker_case *c, int fd, int prepare_fd)
{
	int i, n, needy = 0;

	c->op.fd = fd;
	c->prepare_fd = prepare_fd;
	for (i = 0; i < TRIES && needy < c->enough; i++) {
		if (needy + TRIES - i < c->enough)
			break;
		n = test_in_child(run_and_count_workers, c);
		if (n >= 200)
			return n;
		needy += n > 0;
	}
	return needy >= c->enough;
}

struct worker_needs {
	int usual, n;
};

/*
 * What ours needs more than the local file, it does each time. The backing file
 * system may need a worker, too, if it is busy with something else.
 */
static struct worker_needs needs_workers(struct worker_case *c)
{
	struct worker_needs needs;
	struct files *f = c->f;
	int i;

	for (i = 0; i < 3; i++) {
		needs.usual = needs_worker(c, f->local_fd, f->local_fd);
		needs.n = needs_worker(c, f->fd, f->backing_fd);
		if (needs.n <= needs.usual || needs.n >= 200)
			break;
	}
	return needs;
}

/* @statement is as in SKIP() */
#define ASSERT_NO_MORE_WORKERS(statement, env, found) do { \
	struct worker_needs needs_ = (found); \
	ASSERT_GT(200, needs_.usual); \
	ASSERT_GT(200, needs_.n); \
	ASSERT_OR_XFAIL(statement, env, needs_.n <= needs_.usual, \
			"needs a worker thread where a local file needs none"); \
} while (0)

TEST_F(uring, read_of_a_cached_file_needs_no_worker)
{
	struct files *f = &self->f;
	struct worker_case c = {
		.f = f, .prepare = be_cached, .expected = f->data, .times = 6,
		.enough = TRIES / 2 + 1,
		.op = read_op(-1, f->buf, 4 * PAGE, 0),
	};
	struct worker_needs needs;

	needs = needs_workers(&c);
	ASSERT_NO_MORE_WORKERS(return, &f->env, needs);
	if (needs.usual)
		SKIP(return, "a local file needs a worker thread, too");
}

TEST_F(uring, read_of_an_uncached_file_needs_no_worker)
{
	struct files *f = &self->f;
	struct worker_case c = {
		.f = f, .prepare = be_uncached, .expected = f->data, .times = 6,
		.enough = TRIES / 2 + 1,
		.op = read_op(-1, f->buf, SIZE, 0),
	};
	struct worker_needs needs;

	needs = needs_workers(&c);
	ASSERT_NO_MORE_WORKERS(return, &f->env, needs);
	if (needs.usual)
		SKIP(return, "a local file needs a worker thread, too");
}

TEST_F(uring, write_over_what_there_is_needs_no_worker)
{
	struct files *f = &self->f;
	struct worker_case c = {
		.f = f, .prepare = be_written, .times = 1,
		.enough = TRIES,
		.op = write_op(-1, f->new + PAGE, PAGE, PAGE),
	};
	struct worker_needs needs;

	needs = needs_workers(&c);
	ASSERT_NO_MORE_WORKERS(return, &f->env, needs);
	if (needs.usual)
		SKIP(return, "a local file needs a worker thread, too");
	EXPECT_TRUE(has(f, PAGE, f->new + PAGE, PAGE));
}

/* Locks that others have are not waited for. */

struct in_hold {
	bool usual_ends;	/* also on the backing path, without waiting */
	ssize_t usual, n;
};

/* The backing path says what is usual, since it is the same inode. */
static bool run_in_hold(struct files *f, struct in_hold *r, struct op op)
{
	struct runner usual;
	struct holder h = {};

	op.rwf = RWF_NOWAIT;
	op.fd = f->backing_fd;
	if (be_cached(f, f->backing_fd) || !lock_backing(f, &h) ||
	    !runner_start(&usual, &f->q, op))
		return false;
	r->usual_ends = runner_ends(&usual);
	op.fd = f->fd;
	if (r->usual_ends)
		r->n = run(&f->q, op);
	/* Who waits for the lock is ended by the end of the connection */
	if (end_hold(&h) != PAGE)
		return false;
	r->usual = runner_join(&usual);
	return true;
}

TEST_F(nowait, read_does_not_wait_for_the_lock_of_the_backing_inode)
{
	struct files *f = &self->f;
	struct in_hold r;

	ASSERT_TRUE(run_in_hold(f, &r, read_op(-1, f->buf, PAGE, PAGE)));
	if (!r.usual_ends)
		SKIP(return, "the backing file system itself waits");
	ASSERT_OR_XFAIL(return, &f->env, r.n == r.usual,
			"says %zd where the backing file says %zd",
			r.n, r.usual);
}

TEST_F(nowait, write_does_not_wait_for_the_lock_of_the_backing_inode)
{
	struct files *f = &self->f;
	struct in_hold r;

	ASSERT_TRUE(run_in_hold(f, &r, write_op(-1, f->new, PAGE, PAGE)));
	if (!r.usual_ends)
		SKIP(return, "the backing file system itself waits");
	ASSERT_OR_XFAIL(return, &f->env, r.n == r.usual,
			"says %zd where the backing file says %zd",
			r.n, r.usual);
	EXPECT_TRUE(has(f, PAGE, f->data + PAGE, PAGE));
}

TEST_F(nowait, write_does_not_wait_for_the_lock_of_the_fuse_inode)
{
	struct files *f = &self->f;
	struct op op = write_op(-1, f->new, PAGE, PAGE);
	struct holder h = {};
	int usual, set;

	op.rwf = RWF_NOWAIT;
	usual = usual_outcomes(f, be_written, op);
	ASSERT_TRUE(lock_fuse(f, &h, SIZE));
	set = outcomes(f, be_written, op, usual);
	EXPECT_EQ(0, end_hold(&h));
	ASSERT_OR_XFAIL(return, &f->env, as_usual(set, usual),
			"%s without waiting where a local file %s",
			outcome_text(set), outcome_text(usual));
}

/*
 * io_uring operations that wait for a lock. Workers do that, and nobody can end
 * it before the lock is there.
 */
static struct op forced_write(struct files *f, off_t off)
{
	struct op op = write_op(f->fd, f->new + off, PAGE, off);

	op.sqe_flags = IOSQE_ASYNC;
	return op;
}

static void cancel(struct files *f, struct op *victim, struct op *op)
{
	*op = (struct op){ .opcode = IORING_OP_ASYNC_CANCEL, .buf = victim };
	start(&f->q, op, 1);
	while (!op->done && !reap(&f->q))
		;
}

TEST_F(uring, submission_does_not_wait_for_the_lock_of_the_backing_inode)
{
	struct files *f = &self->f;
	struct op op = write_op(f->fd, f->new, PAGE, PAGE);
	struct holder h = {};

	/* ovl_write_iter() takes the inode lock, whatever the flags */
	if (f->flags & O_DIRECT && f->env.config.max_stack_depth > 1)
		SKIP(return, "the backing file system itself waits");
	ASSERT_TRUE(lock_backing(f, &h));
	start(&f->q, &op, 1);
	EXPECT_EQ(*f->q.ring.cq_head, __atomic_load_n(f->q.ring.cq_tail,
						      __ATOMIC_ACQUIRE));
	EXPECT_EQ(PAGE, end_hold(&h));
	ASSERT_EQ(0, finish(&f->q));
	EXPECT_EQ(PAGE, op.res);
	EXPECT_TRUE(has(f, PAGE, f->new, PAGE));
}

/* One or the other. What a worker has begun with it may still give up. */
static bool cancelled_or_done(struct files *f, const struct op *op,
			      const struct op *cancel)
{
	if (op->res == PAGE)
		return cancel->res && has(f, op->off, op->buf, PAGE);

	return op->res == -ECANCELED &&
	       (!cancel->res || cancel->res == -EALREADY) &&
	       has(f, op->off, f->data + op->off, PAGE);
}

TEST_F(uring, an_operation_that_is_cancelled_ends)
{
	struct files *f = &self->f;
	struct op running = forced_write(f, PAGE);
	struct op queued = forced_write(f, 2 * PAGE);
	struct op cancel_running, cancel_queued;
	struct holder h = {};

	ASSERT_TRUE(lock_backing(f, &h));
	start(&f->q, &running, 1);
	start(&f->q, &queued, 1);
	cancel(f, &queued, &cancel_queued);
	cancel(f, &running, &cancel_running);
	EXPECT_EQ(PAGE, end_hold(&h));
	ASSERT_EQ(0, finish(&f->q));

	EXPECT_TRUE(cancelled_or_done(f, &running, &cancel_running));
	EXPECT_TRUE(cancelled_or_done(f, &queued, &cancel_queued));
}

TEST_F(uring, a_ring_that_is_closed_with_a_waiting_operation_ends_it)
{
	struct files *f = &self->f;
	struct op op = forced_write(f, PAGE);
	struct holder h = {};

	ASSERT_TRUE(lock_backing(f, &h));
	start(&f->q, &op, 1);
	queue_exit(&f->q);
	test_close(&f->fd);
	EXPECT_EQ(PAGE, end_hold(&h));
	EXPECT_TRUE(released(f->file, 1));
}

static int write_and_wait(struct files *f, int tell)
{
	struct op op;

	f->fd = test_open(f->file, f->flags);
	if (f->fd < 0 || queue_init(&f->q, IO_URING))
		return 1;
	op = forced_write(f, PAGE);
	start(&f->q, &op, 1);
	close(tell);
	finish(&f->q);
	return 0;
}

TEST_F(uring, a_process_that_is_killed_with_a_waiting_operation_ends)
{
	struct files *f = &self->f;
	struct holder h = {};
	int pipefd[2];
	int status;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe2(pipefd, O_CLOEXEC));
	ASSERT_TRUE(lock_backing(f, &h));
	pid = fork();
	if (!pid)
		_exit(write_and_wait(f, pipefd[1]));
	ASSERT_LT(0, pid);
	close(pipefd[1]);
	EXPECT_EQ(0, read(pipefd[0], &c, 1));
	close(pipefd[0]);
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(PAGE, end_hold(&h));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(released(f->file, 1));
}

TEST_HARNESS_MAIN
