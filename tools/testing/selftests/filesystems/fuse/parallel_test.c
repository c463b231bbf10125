// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: writers of one file get in each other's way only as far as
 * the backing file system makes them, and the size that FUSE knows comes
 * out right all the same.
 */
#include "test_common.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE	4096
#define PAGES	16		/* in a file */
#define SIZE	(PAGES * PAGE)

/* For what does not wait for anything: it takes far less */
#define SECONDS	7

/*
 * A write is held up in the middle, without any timing, by data that are not
 * there: they are mapped from a file on a second FUSE mount, whose server does
 * not answer READ until it is told to. The write has taken its locks by then.
 * It is tried on a local file, to see what others can do meanwhile, and then
 * through the mount. What waits in the kernel is a process of its own.
 */

enum { LOCAL, MOUNTED, SIDES };

#define TASKS	3		/* of which the first is held up */

/* A file, or another one, or the same file through FUSE */
struct side {
	char path[PATH_MAX];
	int direct;		/* O_DIRECT */
	int direct2;		/* another open */
	int buffered;
	int other;		/* another file */
	int check;		/* the file, without FUSE */
	const char *data;	/* what was in it at first */

	char *source;		/* for the write that is held up */
	struct test_file *source_file;
	bool goes;		/* no longer held up */

	int *results;		/* of the tasks, shared with them */
	pid_t tasks[TASKS];
	int nr_tasks;
};

struct rig {
	struct test_env env;
	struct test_env source_env;
	struct side side[SIDES];
	char *data;		/* of the two files */
	char *source;		/* of the two sources */
};

/*
 * What others do. Each returns 0 or an errno. None uses the file position,
 * which has a lock of its own.
 */

static char *aligned_page(int seed)
{
	void *page;

	if (posix_memalign(&page, PAGE, PAGE))
		return NULL;
	test_pattern(page, PAGE, seed);
	return page;
}

static int whole_page(ssize_t n)
{
	if (n == PAGE)
		return 0;
	return n < 0 ? -n : EIO;
}

#define OTHER_SEED	99
#define OTHER_OFF	(8 * PAGE)

static int write_direct(struct side *side)
{
	return whole_page(do_write(VECTORED, side->direct,
				   aligned_page(OTHER_SEED), PAGE, OTHER_OFF));
}

static int write_direct_by_another_open(struct side *side)
{
	return whole_page(do_write(VECTORED, side->direct2,
				   aligned_page(OTHER_SEED), PAGE, OTHER_OFF));
}

static int write_direct_by_io_submit(struct side *side)
{
	return whole_page(do_write(AIO, side->direct2,
				   aligned_page(OTHER_SEED), PAGE, OTHER_OFF));
}

static int read_direct(struct side *side)
{
	return whole_page(do_read(VECTORED, side->direct2, aligned_page(0), PAGE,
				  4 * PAGE));
}

static int read_buffered(struct side *side)
{
	return whole_page(do_read(VECTORED, side->buffered, aligned_page(0), PAGE,
				  4 * PAGE));
}

static int read_mapping(struct side *side)
{
	char *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, side->buffered, 0);
	const size_t off = 5 * PAGE;

	if (map == MAP_FAILED)
		return errno;
	return memcmp(map + off, side->data + off, PAGE) ? EIO : 0;
}

static int call_fstat(struct side *side)
{
	struct stat st;

	return fstat(side->buffered, &st) ? errno : 0;
}

static int call_stat(struct side *side)
{
	struct stat st;

	return stat(side->path, &st) ? errno : 0;
}

static int open_and_close(struct side *side)
{
	int fd = open(side->path, O_RDWR | O_CLOEXEC);

	return fd < 0 || close(fd) ? errno : 0;
}

static int write_other_file(struct side *side)
{
	return whole_page(do_write(VECTORED, side->other, aligned_page(OTHER_SEED),
				   PAGE, OTHER_OFF));
}

static int truncate_file(struct side *side)
{
	return ftruncate(side->buffered, 2 * PAGE) ? errno : 0;
}

/* What is held up */

static int held_direct(struct side *side)
{
	return whole_page(do_write(VECTORED, side->direct, side->source, PAGE,
				   0));
}

static int held_io_submit(struct side *side)
{
	return whole_page(do_write(AIO, side->direct, side->source, PAGE, 0));
}

static int held_buffered(struct side *side)
{
	return whole_page(do_write(VECTORED, side->buffered, side->source, PAGE,
				   0));
}

/* The number of a task, or -1 */
static int start(int (*fn)(struct side *side), struct side *side)
{
	int nr = side->nr_tasks;
	int *result = &side->results[nr];
	pid_t pid;

	*result = -1;
	pid = fork();
	if (pid < 0)
		return -1;
	if (pid) {
		side->tasks[nr] = pid;
		return side->nr_tasks++;
	}
	__atomic_store_n(result, fn(side), __ATOMIC_RELEASE);
	/* This closes all files, for which FUSE does lock the inode */
	_exit(0);
}

/* What the task has returned, or -1 if it goes on for that long */
static int result_in_time(struct side *side, int task)
{
	int i, ret = -1;

	for (i = 0; i < SECONDS * 200 && ret < 0; i++) {
		ret = __atomic_load_n(&side->results[task], __ATOMIC_ACQUIRE);
		if (ret < 0)
			test_sleep_ms(5);
	}
	return ret;
}

static bool hold_reads(struct test_env *env, struct fuse_req *req)
{
	struct test_file *file = &env->file[req->in->nodeid - TEST_FILE_ID(0)];

	if (req->in->opcode != FUSE_READ)
		return false;
	sem_post(&file->arrived);
	while (sem_wait(&file->go) && errno == EINTR)
		;
	/* Now it is answered as ever */
	return false;
}

/* Returns when the write is in the middle. False if it does not get there */
static bool start_held(struct side *side, int (*write)(struct side *side))
{
	struct timespec end;

	if (start(write, side))
		return false;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += SECONDS;
	while (sem_timedwait(&side->source_file->arrived, &end))
		if (errno != EINTR)
			return false;
	return true;
}

/* Lets the write go on. */
static void end_held(struct side *side)
{
	if (!side->goes && side->source_file)
		sem_post(&side->source_file->go);
	side->goes = true;
}

/* Opens */

static int open_side(struct side *side)
{
	side->direct = open(side->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (side->direct >= 0) {
		side->direct2 = open(side->path, O_RDWR | O_DIRECT | O_CLOEXEC);
		/*
		 * After its first write the file system knows that there is
		 * nothing to strip, and need not lock anybody out for that.
		 */
		if (write_direct(side))
			return -1;
	}
	side->buffered = open(side->path, O_RDWR | O_CLOEXEC);
	return side->buffered < 0 ? -1 : 0;
}

static void close_side(struct side *side)
{
	int i;

	end_held(side);
	for (i = 0; i < side->nr_tasks; i++)
		test_wait(side->tasks[i], SECONDS);
	close(side->direct);
	close(side->direct2);
	close(side->buffered);
	if (side->source)
		munmap(side->source, PAGE);
}

static int open_local(struct side *side, struct test_env *env)
{
	char path[PATH_MAX];

	test_pathf(side->path, "%s/local", env->backing);
	test_pathf(path, "%s/local2", env->backing);
	if (test_write_file(side->path, side->data, SIZE) ||
	    test_write_file(path, side->data, SIZE))
		return -1;
	/* Direct writes are to find blocks that have been written to */
	sync();
	side->other = open(path, O_RDWR | O_CLOEXEC);
	side->check = open(side->path, O_RDONLY | O_CLOEXEC);
	if (side->other < 0 || side->check < 0)
		return -1;
	return open_side(side);
}

static int open_mounted(struct side *side, struct test_env *env)
{
	struct test_file *file = test_add_file(env, "file", side->data, SIZE);

	if (!file || test_back(file) < 0 || fsync(file->fd))
		return -1;
	side->other = test_open_new(env, "other", side->data, SIZE, O_RDWR,
				    NULL);
	if (side->other < 0)
		return -1;
	side->check = file->fd;
	test_path(file, side->path);
	return open_side(side);
}

static int map_source(struct side *side, struct test_env *env, const char *name,
		      const char *data)
{
	int fd;

	side->source_file = test_add_file(env, name, data, PAGE);
	if (!side->source_file)
		return -1;
	fd = test_open(side->source_file, O_RDONLY);
	if (fd < 0)
		return -1;
	side->source = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (side->source == MAP_FAILED)
		side->source = NULL;
	return side->source ? 0 : -1;
}

static bool rig_start(struct rig *rig)
{
	rig->data = calloc(PAGES, PAGE);
	rig->source = calloc(1, PAGE);
	if (!rig->data || !rig->source)
		return false;
	test_pattern(rig->data, SIZE, 1);
	test_pattern(rig->source, PAGE, 2);

	if (test_setup(&rig->env) || test_setup(&rig->source_env))
		return false;
	/* A truncation must not keep the server from all else */
	rig->env.config.threads = 4;
	rig->source_env.hook = hold_reads;
	rig->source_env.config.threads = SIDES;
	rig->source_env.config.init_flags = FUSE_ASYNC_READ;
	return !test_start(&rig->env) && !test_start(&rig->source_env);
}

static bool rig_open(struct rig *rig)
{
	struct side *local = &rig->side[LOCAL];
	struct side *mounted = &rig->side[MOUNTED];

	int *results = mmap(NULL, SIDES * TASKS * sizeof(int),
			    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);

	if (results == MAP_FAILED)
		return false;
	local->results = results;
	mounted->results = results + TASKS;
	local->data = rig->data;
	mounted->data = rig->data;
	return !map_source(local, &rig->source_env, "a", rig->source) &&
	       !map_source(mounted, &rig->source_env, "b", rig->source) &&
	       !open_local(local, &rig->env) &&
	       !open_mounted(mounted, &rig->env);
}

static void rig_end(struct rig *rig)
{
	close_side(&rig->side[MOUNTED]);
	close_side(&rig->side[LOCAL]);
	test_teardown(&rig->source_env);
	test_teardown(&rig->env);
	free(rig->data);
	free(rig->source);
}

FIXTURE(held_up)
{
	struct rig rig;
};

FIXTURE_VARIANT(held_up)
{
	int (*held)(struct side *side);
	int (*other)(struct side *side);
	bool writes;		/* "other" does, to the same file */
};

FIXTURE_VARIANT_ADD(held_up, direct_and_direct_write)
{
	.held = held_direct,
	.other = write_direct,
	.writes = true,
};

FIXTURE_VARIANT_ADD(held_up, direct_and_direct_write_by_another_open)
{
	.held = held_direct,
	.other = write_direct_by_another_open,
	.writes = true,
};

FIXTURE_VARIANT_ADD(held_up, direct_and_direct_io_submit)
{
	.held = held_direct,
	.other = write_direct_by_io_submit,
	.writes = true,
};

FIXTURE_VARIANT_ADD(held_up, io_submit_and_direct_write)
{
	.held = held_io_submit,
	.other = write_direct_by_another_open,
	.writes = true,
};

FIXTURE_VARIANT_ADD(held_up, direct_and_direct_read)
{
	.held = held_direct,
	.other = read_direct,
};

FIXTURE_VARIANT_ADD(held_up, direct_and_buffered_read)
{
	.held = held_direct,
	.other = read_buffered,
};

FIXTURE_VARIANT_ADD(held_up, direct_and_mapped_read)
{
	.held = held_direct,
	.other = read_mapping,
};

FIXTURE_VARIANT_ADD(held_up, direct_and_fstat)
{
	.held = held_direct,
	.other = call_fstat,
};

FIXTURE_VARIANT_ADD(held_up, direct_and_stat)
{
	.held = held_direct,
	.other = call_stat,
};

FIXTURE_VARIANT_ADD(held_up, direct_and_open)
{
	.held = held_direct,
	.other = open_and_close,
};

FIXTURE_VARIANT_ADD(held_up, direct_and_another_file)
{
	.held = held_direct,
	.other = write_other_file,
};

FIXTURE_VARIANT_ADD(held_up, buffered_and_buffered_read)
{
	.held = held_buffered,
	.other = read_buffered,
};

FIXTURE_VARIANT_ADD(held_up, buffered_and_fstat)
{
	.held = held_buffered,
	.other = call_fstat,
};

FIXTURE_VARIANT_ADD(held_up, buffered_and_open)
{
	.held = held_buffered,
	.other = open_and_close,
};

FIXTURE_VARIANT_ADD(held_up, buffered_and_another_file)
{
	.held = held_buffered,
	.other = write_other_file,
};

FIXTURE_SETUP(held_up)
{
	if ((variant->held == held_io_submit ||
	     variant->other == write_direct_by_io_submit) && !test_has_aio())
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	ASSERT_TRUE(rig_start(&self->rig));
	TEST_NEEDS_PASSTHROUGH(&self->rig.env);
	ASSERT_TRUE(rig_open(&self->rig));
}

FIXTURE_TEARDOWN(held_up)
{
	EXPECT_EQ(0, test_count(&self->rig.env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->rig.env, FUSE_WRITE));
	rig_end(&self->rig);
}

/*
 * Does somebody else get on during the write? 0, or an errno, or -1 if not. The
 * two of them have ended, or are not going to, when it returns.
 */
static int try_meanwhile(struct side *side, int (*held)(struct side *side),
			 int (*other)(struct side *side))
{
	int ret, task;

	if (!start_held(side, held))
		return 254;
	task = start(other, side);
	if (task < 0)
		return 253;
	ret = result_in_time(side, task);
	end_held(side);
	if (result_in_time(side, 0))
		return 252;
	if (ret < 0 && result_in_time(side, task))
		return 251;
	return ret;
}

TEST_F(held_up, lets_others_get_on_as_locally)
{
	struct side *side = self->rig.side;
	char *other = aligned_page(OTHER_SEED);
	int local, mounted;

	if (side[LOCAL].direct < 0 && variant->held != held_buffered)
		SKIP(return, "no O_DIRECT on the backing file system");
	local = try_meanwhile(&side[LOCAL], variant->held, variant->other);
	ASSERT_LE(local, 0);
	if (local < 0)
		SKIP(return, "a local file makes it wait, too");
	mounted = try_meanwhile(&side[MOUNTED], variant->held, variant->other);
	ASSERT_LE(mounted, 0);
	ASSERT_OR_XFAIL(return, &self->rig.env, !mounted,
			"waits where a local file does not");

	EXPECT_TRUE(test_has(side[MOUNTED].check, 0, self->rig.source, PAGE));
	if (variant->writes)
		EXPECT_TRUE(test_has(side[MOUNTED].check, OTHER_OFF, other, PAGE));
	free(other);
}

/* A truncation that comes to a write that is held up, and may have to wait */

FIXTURE(truncation)
{
	struct rig rig;
};

FIXTURE_VARIANT(truncation)
{
	int (*held)(struct side *side);
};

FIXTURE_VARIANT_ADD(truncation, of_a_direct_write)
{
	.held = held_direct,
};

FIXTURE_VARIANT_ADD(truncation, of_a_buffered_write)
{
	.held = held_buffered,
};

FIXTURE_SETUP(truncation)
{
	ASSERT_TRUE(rig_start(&self->rig));
	TEST_NEEDS_PASSTHROUGH(&self->rig.env);
	ASSERT_TRUE(rig_open(&self->rig));
}

FIXTURE_TEARDOWN(truncation)
{
	rig_end(&self->rig);
}

struct truncation {
	int stat;		/* as of try_meanwhile() */
	int truncation;		/* 0 or an errno; -1: has not ended */
	int write;
};

static struct truncation try_truncation(struct side *side,
					int (*held)(struct side *side))
{
	struct truncation is = { -1, -1, -1 };
	int truncation, stat;

	if (!start_held(side, held))
		return is;
	truncation = start(truncate_file, side);
	/* So that it has begun; if it has not, this shows less */
	test_sleep_ms(200);
	stat = start(call_fstat, side);
	if (truncation < 0 || stat < 0)
		return is;
	is.stat = result_in_time(side, stat);
	end_held(side);
	is.write = result_in_time(side, 0);
	is.truncation = result_in_time(side, truncation);
	return is;
}

TEST_F(truncation, that_meets_a_write_is_as_locally)
{
	struct side *side = self->rig.side;
	struct truncation local, mounted;

	if (side[LOCAL].direct < 0 && variant->held == held_direct)
		SKIP(return, "no O_DIRECT on the backing file system");
	local = try_truncation(&side[LOCAL], variant->held);
	mounted = try_truncation(&side[MOUNTED], variant->held);
	EXPECT_EQ(local.write, mounted.write);
	EXPECT_EQ(local.truncation, mounted.truncation);
	EXPECT_EQ(local.stat, mounted.stat);

	EXPECT_EQ(test_size(side[LOCAL].check), test_size(side[MOUNTED].check));
	EXPECT_EQ(test_size(side[MOUNTED].check),
		  test_known_size(side[MOUNTED].buffered));
	EXPECT_EQ(test_size(side[MOUNTED].check),
		  test_size(side[MOUNTED].buffered));
	EXPECT_TRUE(test_has(side[MOUNTED].check, 0, self->rig.source, PAGE));
}

/*
 * Several writers, each with an open of its own, leave all that they wrote, and
 * a size that is right without asking the server, too.
 */

#define WRITERS	4
#define BLOCKS	40		/* that each of them writes */

FIXTURE(writers)
{
	struct test_env env;
	struct test_file *file;
	int fd;
};

FIXTURE_VARIANT(writers)
{
	enum way way;
	int flags;		/* of the opens */
};

FIXTURE_VARIANT_ADD(writers, write)
{
	.way = PLAIN,
};

FIXTURE_VARIANT_ADD(writers, pwritev2)
{
	.way = VECTORED,
};

FIXTURE_VARIANT_ADD(writers, splice)
{
	.way = SPLICE,
};

FIXTURE_VARIANT_ADD(writers, direct_pwritev2)
{
	.way = VECTORED,
	.flags = O_DIRECT,
};

FIXTURE_VARIANT_ADD(writers, direct_io_submit)
{
	.way = AIO,
	.flags = O_DIRECT,
};

FIXTURE_SETUP(writers)
{
	struct test_env *env = &self->env;

	if (variant->way == AIO && !test_has_aio())
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	ASSERT_EQ(0, test_setup(env));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->fd = test_open_new(env, "file", "", 0, O_RDWR, &self->file);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(writers)
{
	close(self->fd);
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
	test_teardown(&self->env);
}

struct writer {
	pthread_t thread;
	int nr;
	int fd;
	enum way way;
	int err;
};

/* No two blocks are the same */
static void fill_block(char *block, int writer, int n)
{
	test_pattern(block, PAGE, writer * BLOCKS + n);
}

static bool is_block(const char *block, int writer, int n)
{
	char should[PAGE];

	fill_block(should, writer, n);
	return !memcmp(block, should, PAGE);
}

/* Every WRITERS'th block of the file is this writer's */
static void *write_blocks(void *arg)
{
	struct writer *writer = arg;
	char *block = aligned_page(0);
	off_t off;
	int i;

	for (i = 0; !writer->err && i < BLOCKS; i++) {
		off = (off_t)PAGE * (i * WRITERS + writer->nr);
		fill_block(block, writer->nr, i);
		writer->err = whole_page(do_write(writer->way, writer->fd,
						  block, PAGE, off));
	}
	free(block);
	return NULL;
}

/* Writes to and fro, so that it now extends the file and now does not */
static void *write_about(void *arg)
{
	struct writer *writer = arg;
	char *block = aligned_page(0);
	off_t off;
	int i;

	for (i = 0; !writer->err && i < 3 * BLOCKS; i++) {
		off = (off_t)PAGE * (i * (5 + writer->nr) % PAGES);
		writer->err = whole_page(do_write(writer->way, writer->fd,
						  block, PAGE, off));
	}
	free(block);
	return NULL;
}

static void *truncate_about(void *arg)
{
	struct writer *writer = arg;
	int i;

	for (i = 0; !writer->err && i < BLOCKS; i++)
		if (ftruncate(writer->fd, (off_t)PAGE * (i * 3 % 7)))
			writer->err = errno;
	return NULL;
}

/* -1 with errno set if not all of them could be started */
static int start_writers(struct writer *writers, int n, struct test_file *file,
			 int flags, enum way way, void *(*fn)(void *arg))
{
	int i;

	for (i = 0; i < n; i++) {
		writers[i] = (struct writer) { .nr = i, .way = way };
		writers[i].fd = test_open(file, O_RDWR | flags);
		if (writers[i].fd < 0)
			return -1;
		errno = pthread_create(&writers[i].thread, NULL, fn,
				       &writers[i]);
		if (errno)
			return -1;
	}
	return 0;
}

/* The first error */
static int join_writers(struct writer *writers, int n)
{
	int i, err = 0;

	for (i = 0; i < n; i++) {
		pthread_join(writers[i].thread, NULL);
		close(writers[i].fd);
		if (!err)
			err = writers[i].err;
	}
	return err;
}

static bool can_open(struct test_file *file, int flags)
{
	char path[PATH_MAX];
	int fd = open(test_backing_path(file, path), O_RDWR | flags);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

#define NEEDS_OPENS_WITH(statement, flags) do { \
	if (!can_open(self->file, flags)) \
		SKIP(statement, "no O_DIRECT on the backing file system"); \
} while (0)

#define ASSERT_SIZE_IS_KNOWN(statement) do { \
	off_t known_ = test_known_size(self->fd); \
	off_t size_ = test_size(self->file->fd); \
	ASSERT_OR_XFAIL(statement, &self->env, known_ == size_, \
			"has a size of %lld, not %lld", \
			(long long)known_, (long long)size_); \
} while (0)

TEST_F(writers, that_extend_a_file_leave_it_whole)
{
	struct writer writers[WRITERS];
	const off_t size = (off_t)WRITERS * BLOCKS * PAGE;
	char block[PAGE];
	int i;

	NEEDS_OPENS_WITH(return, variant->flags);
	ASSERT_EQ(0, start_writers(writers, WRITERS, self->file, variant->flags,
				   variant->way, write_blocks));
	ASSERT_EQ(0, join_writers(writers, WRITERS));

	EXPECT_EQ(size, test_size(self->file->fd));
	EXPECT_EQ(size, test_size(self->fd));
	for (i = 0; i < WRITERS * BLOCKS; i++) {
		ASSERT_EQ(PAGE, pread(self->fd, block, PAGE, (off_t)i * PAGE));
		ASSERT_TRUE(is_block(block, i % WRITERS, i / WRITERS));
	}
}

TEST_F(writers, that_extend_a_file_leave_the_size_known)
{
	struct writer writers[WRITERS];

	NEEDS_OPENS_WITH(return, variant->flags);
	ASSERT_EQ(0, start_writers(writers, WRITERS, self->file, variant->flags,
				   variant->way, write_blocks));
	ASSERT_EQ(0, join_writers(writers, WRITERS));
	ASSERT_SIZE_IS_KNOWN(return);
}

TEST_F(writers, that_race_with_truncation_leave_the_size_known)
{
	struct writer writers[2], truncation;

	NEEDS_OPENS_WITH(return, variant->flags);
	ASSERT_EQ(0, start_writers(writers, 2, self->file, variant->flags,
				   variant->way, write_about));
	ASSERT_EQ(0, start_writers(&truncation, 1, self->file, 0, PLAIN,
				   truncate_about));
	ASSERT_EQ(0, join_writers(&truncation, 1));
	ASSERT_EQ(0, join_writers(writers, 2));

	ASSERT_SIZE_IS_KNOWN(return);
	EXPECT_EQ(test_size(self->file->fd), test_size(self->fd));
	EXPECT_EQ(test_size(self->file->fd), lseek(self->fd, 0, SEEK_END));
}

/* In a process of its own: with O_APPEND, only the end of the file tells where */
static int append_blocks(struct writer *writer)
{
	char *block = aligned_page(0);
	int i, err = 0;

	for (i = 0; !err && i < BLOCKS; i++) {
		fill_block(block, writer->nr, i);
		err = whole_page(do_write(writer->way, writer->fd, block, PAGE,
					  0));
	}
	return err;
}

static pid_t start_appender(struct writer *writer)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	_exit(append_blocks(writer));
}

/* Which writer's next block this is. -1: nobody's */
static int whose_block(const char *block, const int next[2])
{
	int i;

	for (i = 0; i < 2; i++)
		if (is_block(block, i, next[i]))
			return i;
	return -1;
}

/* Two processes append to the file. 0 or the first error */
static int append_by_two(const char *path, int flags, enum way way)
{
	struct writer writer[2];
	int i, err, first = 0;
	pid_t pid[2];

	for (i = 0; i < 2; i++) {
		writer[i] = (struct writer) { .nr = i, .way = way };
		writer[i].fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC |
					  flags);
		pid[i] = start_appender(&writer[i]);
	}
	for (i = 0; i < 2; i++) {
		err = pid[i] < 0 ? 255 : test_wait(pid[i], 2 * SECONDS);
		if (!first)
			first = err;
		close(writer[i].fd);
	}
	return first;
}

/* Everything that both of them wrote is there, in some order. */
static bool has_both(int fd)
{
	char block[PAGE];
	int next[2] = {};
	int i, n;

	for (i = 0; i < 2 * BLOCKS; i++) {
		if (pread(fd, block, PAGE, (off_t)i * PAGE) != PAGE)
			return false;
		n = whose_block(block, next);
		if (n < 0)
			return false;
		next[n]++;
	}
	return test_size(fd) == 2 * BLOCKS * PAGE;
}

/* Direct writes that append lose each other's data on some file systems */
static bool loses_locally(struct test_env *env, int flags, enum way way)
{
	char path[PATH_MAX];
	bool lost = false;
	int i, fd;

	test_pathf(path, "%s/local", env->backing);
	for (i = 0; !lost && i < 5; i++) {
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		lost = append_by_two(path, flags, way) || !has_both(fd);
		close(fd);
	}
	return lost;
}

TEST_F(writers, that_append_lose_nothing)
{
	char path[PATH_MAX];

	NEEDS_OPENS_WITH(return, variant->flags);
	if (variant->way == SPLICE)
		SKIP(return, "splice does not append");
	if (loses_locally(&self->env, variant->flags, variant->way))
		SKIP(return, "a local file loses some of it, too");

	ASSERT_EQ(0, append_by_two(test_path(self->file, path), variant->flags,
				   variant->way));
	ASSERT_SIZE_IS_KNOWN(return);
	EXPECT_TRUE(has_both(self->file->fd));
	EXPECT_TRUE(has_both(self->fd));
}

TEST_HARNESS_MAIN
