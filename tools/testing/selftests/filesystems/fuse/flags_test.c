// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: the flags of an open file, also those that fcntl(F_SETFL)
 * changes later, act as on a local file, and O_NOATIME and noatime mounts
 * leave the backing file's access time alone.
 */
#include "test_common.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE	4096
#define SIZE	(8 * PAGE)	/* of a file; a pipe holds it */
#define OLD	1000		/* an access time that relatime moves */

/* What fcntl(F_SETFL) may change, less O_ASYNC */
#define SETFL_FLAGS	(O_APPEND | O_DIRECT | O_NOATIME | O_NONBLOCK)

/* What a file is like */

static int add_flags(int fd, int flags)
{
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | flags);
}

static int drop_flags(int fd, int flags)
{
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~flags);
}

/* Makes the access time one that the next read moves, if it may. */
static int make_atime_old(int fd)
{
	const struct timespec ts[2] = { { OLD, 0 }, { 0, UTIME_NOW } };

	return futimens(fd, ts);
}

static bool atime_is_old(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_atim.tv_sec == OLD;
}

#define PAGEMAP_PRESENT	0x8000000000000000ULL
#define PAGEMAP_PFN	0x007fffffffffffffULL
#define KPF_DIRTY	4
#define KPF_WRITEBACK	8

static bool read_u64(const char *path, uint64_t index, uint64_t *value)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = pread(fd, value, sizeof(*value), index * sizeof(*value));

	if (fd >= 0)
		close(fd);
	return n == sizeof(*value);
}

/* Has the file's first page still to be written to disk? -1: not known */
static int first_page_is_dirty(int fd)
{
	uint64_t entry, flags;
	char *map, first;
	int dirty = -1;

	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -1;
	/* Has it present */
	memcpy(&first, map, 1);
	__asm__("" : : "r" (first));
	if (read_u64("/proc/self/pagemap", (uintptr_t)map / PAGE, &entry) &&
	    entry & PAGEMAP_PRESENT && entry & PAGEMAP_PFN &&
	    read_u64("/proc/kpageflags", entry & PAGEMAP_PFN, &flags))
		dirty = !!(flags & (1 << KPF_DIRTY | 1 << KPF_WRITEBACK));
	munmap(map, PAGE);
	return dirty;
}

/*
 * A file through the mount, and one with the same contents that FUSE knows
 * nothing of, to see what is usual on the backing file system.
 */
struct files {
	struct test_env env;
	struct test_file *file;
	int fd;			/* through the mount */
	int backing_fd;		/* the server's, without flags */
	int local_fd;
	char *data;		/* what both files have at first */
	char *new;		/* the same amount of something else */
	char *buf;		/* at the start of a page, as the other two */
};

static bool files_setup(struct files *f, unsigned long mount_flags)
{
	if (posix_memalign((void **)&f->data, PAGE, SIZE) ||
	    posix_memalign((void **)&f->new, PAGE, SIZE) ||
	    posix_memalign((void **)&f->buf, PAGE, SIZE))
		return false;
	test_pattern(f->data, SIZE, 1);
	test_pattern(f->new, SIZE, 2);
	f->fd = -1;
	f->local_fd = -1;
	if (test_setup(&f->env))
		return false;
	f->env.config.mount_flags = mount_flags;
	return !test_start(&f->env);
}

static int open_local(struct files *f, int flags)
{
	char path[PATH_MAX];

	test_pathf(path, "%s/local", f->env.backing);
	return open(path, flags | O_CLOEXEC);
}

static bool files_open(struct files *f)
{
	char path[PATH_MAX];

	test_pathf(path, "%s/local", f->env.backing);
	if (test_write_file(path, f->data, SIZE))
		return false;
	f->local_fd = open_local(f, O_RDWR);
	f->fd = test_open_new(&f->env, "file", f->data, SIZE, O_RDWR, &f->file);
	if (f->fd < 0 || f->local_fd < 0)
		return false;
	f->backing_fd = f->file->fd;
	return true;
}

/* Opens anew, with other flags. */
static bool files_reopen(struct files *f, int flags)
{
	close(f->fd);
	close(f->local_fd);
	f->fd = test_open(f->file, flags);
	f->local_fd = open_local(f, flags);
	return f->fd >= 0 && f->local_fd >= 0;
}

static void files_close(struct files *f)
{
	if (f->fd >= 0)
		close(f->fd);
	if (f->local_fd >= 0)
		close(f->local_fd);
	test_teardown(&f->env);
	free(f->data);
	free(f->new);
	free(f->buf);
}

/* Does an open with O_DIRECT, or F_SETFL of it, work where the files are? */
static bool has_direct(struct files *f)
{
	int fd = open_local(f, O_RDWR | O_DIRECT);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

#define NO_DIRECT "no O_DIRECT on the backing file system"

/* Every flag of an open file, and every way of reading and writing */
FIXTURE(flags)
{
	struct files f;
};

FIXTURE_VARIANT(flags)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(flags, read_and_write)
{
	.way = PLAIN,
};

FIXTURE_VARIANT_ADD(flags, preadv2_and_pwritev2)
{
	.way = VECTORED,
};

FIXTURE_VARIANT_ADD(flags, io_submit)
{
	.way = AIO,
};

FIXTURE_VARIANT_ADD(flags, splice)
{
	.way = SPLICE,
};

FIXTURE_SETUP(flags)
{
	if (variant->way == AIO && !test_has_aio())
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	ASSERT_TRUE(files_setup(&self->f, 0));
	TEST_NEEDS_PASSTHROUGH(&self->f.env);
	ASSERT_TRUE(files_open(&self->f));
}

/* Each test also proves that the server was not asked for data. */
FIXTURE_TEARDOWN(flags)
{
	struct test_env *env = &self->f.env;

	EXPECT_EQ(0, test_count(env, FUSE_READ));
	EXPECT_EQ(0, test_count(env, FUSE_WRITE));
	EXPECT_EQ(0, test_count(env, FUSE_FSYNC));
	/* Mainline is found out by io_test */
	if (!test_on_mainline(env))
		EXPECT_EQ(0, test_count(env, FUSE_GETXATTR));
	files_close(&self->f);
}

/* O_APPEND */

TEST_F(flags, o_append_at_open_appends)
{
	struct files *f = &self->f;

	ASSERT_TRUE(files_reopen(f, O_RDWR | O_APPEND));
	if (variant->way == SPLICE) {
		EXPECT_EQ(-EINVAL, do_write(SPLICE, f->local_fd, f->new, 9, 0));
		EXPECT_EQ(-EINVAL, do_write(SPLICE, f->fd, f->new, 9, 0));
		EXPECT_EQ(SIZE, test_size(f->backing_fd));
		return;
	}
	ASSERT_EQ(100, do_write(variant->way, f->fd, f->new, 100, 0));
	EXPECT_EQ(SIZE + 100, test_size(f->backing_fd));
	EXPECT_EQ(SIZE + 100, test_size(f->fd));
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->data, SIZE));
	EXPECT_TRUE(test_has(f->backing_fd, SIZE, f->new, 100));
}

TEST_F(flags, o_append_set_by_fcntl_appends)
{
	struct files *f = &self->f;

	/* The flags are not looked at only once */
	ASSERT_EQ(9, do_write(variant->way, f->fd, f->data, 9, 0));
	ASSERT_EQ(0, add_flags(f->fd, O_APPEND));
	if (variant->way == SPLICE) {
		EXPECT_EQ(-EINVAL, do_write(SPLICE, f->fd, f->new, 9, 0));
		EXPECT_EQ(SIZE, test_size(f->backing_fd));
		return;
	}
	ASSERT_EQ(100, do_write(variant->way, f->fd, f->new, 100, 0));
	EXPECT_EQ(SIZE + 100, test_size(f->backing_fd));
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->data, SIZE));
	EXPECT_TRUE(test_has(f->backing_fd, SIZE, f->new, 100));
}

TEST_F(flags, o_append_cleared_by_fcntl_does_not_append)
{
	struct files *f = &self->f;
	ssize_t n;

	ASSERT_TRUE(files_reopen(f, O_RDWR | O_APPEND));
	ASSERT_EQ(0, drop_flags(f->fd, O_APPEND));
	n = do_write(variant->way, f->fd, f->new, 100, 50);
	ASSERT_EQ(100, n);
	ASSERT_OR_XFAIL(return, &f->env, test_size(f->backing_fd) == SIZE,
			"appends after O_APPEND was cleared");
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->data, 50));
	EXPECT_TRUE(test_has(f->backing_fd, 50, f->new, 100));
}

TEST_F(flags, o_append_set_and_cleared_acts_on_the_next_write)
{
	struct files *f = &self->f;
	off_t size = SIZE;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, add_flags(f->fd, O_APPEND));
		if (variant->way == SPLICE) {
			ASSERT_EQ(-EINVAL, do_write(SPLICE, f->fd, f->new, 10,
						    0));
		} else {
			ASSERT_EQ(10, do_write(variant->way, f->fd, f->new + i,
					       10, 0));
			EXPECT_TRUE(test_has(f->backing_fd, size, f->new + i,
					     10));
			size += 10;
		}
		ASSERT_EQ(size, test_size(f->backing_fd));

		ASSERT_EQ(0, drop_flags(f->fd, O_APPEND));
		ASSERT_EQ(10, do_write(variant->way, f->fd, f->new + i, 10,
				       20 * i));
		EXPECT_TRUE(test_has(f->backing_fd, 20 * i, f->new + i, 10));
		ASSERT_EQ(size, test_size(f->backing_fd));
	}
}

TEST_F(flags, o_append_leaves_reads_alone)
{
	struct files *f = &self->f;

	ASSERT_EQ(0, add_flags(f->fd, O_APPEND));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 77));
	EXPECT_EQ(0, memcmp(f->buf, f->data + 77, 100));
}

TEST_F(flags, o_append_of_one_open_leaves_the_other_alone)
{
	struct files *f = &self->f;
	int append = test_open(f->file, O_RDWR);

	ASSERT_LE(0, append);
	ASSERT_EQ(0, add_flags(append, O_APPEND));
	ASSERT_EQ(100, do_write(variant->way, f->fd, f->new, 100, 0));
	EXPECT_EQ(SIZE, test_size(f->backing_fd));
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->new, 100));
	EXPECT_EQ(variant->way == SPLICE ? -EINVAL : 9,
		  do_write(variant->way, append, f->new, 9, 0));
	ASSERT_EQ(100, do_write(variant->way, f->fd, f->new, 100, 200));
	EXPECT_TRUE(test_has(f->backing_fd, 200, f->new, 100));
	EXPECT_EQ(SIZE + (variant->way == SPLICE ? 0 : 9),
		  test_size(f->backing_fd));
	EXPECT_EQ(0, close(append));
}

/* O_DIRECT */

/* Reads of this file, aligned ones, leave how much in the page cache? */
static int cached_by_read(enum way how, int fd, int backing_fd, void *buf)
{
	if (test_drop_cache(backing_fd))
		return -errno;
	if (do_read(how, fd, buf, PAGE, PAGE) != PAGE)
		return -EIO;
	return test_cached_pages(backing_fd, SIZE);
}

static int cached_by_write(enum way how, int fd, int backing_fd, void *buf)
{
	if (test_drop_cache(backing_fd))
		return -errno;
	if (do_write(how, fd, buf, PAGE, PAGE) != PAGE)
		return -EIO;
	return test_cached_pages(backing_fd, SIZE);
}

TEST_F(flags, o_direct_at_open_bypasses_the_page_cache_as_locally)
{
	struct files *f = &self->f;
	int usual;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	ASSERT_TRUE(files_reopen(f, O_RDWR | O_DIRECT));
	usual = cached_by_read(variant->way, f->local_fd, f->local_fd, f->buf);
	EXPECT_EQ(usual, cached_by_read(variant->way, f->fd, f->backing_fd,
					f->buf));
	EXPECT_EQ(0, memcmp(f->buf, f->data + PAGE, PAGE));

	usual = cached_by_write(variant->way, f->local_fd, f->local_fd, f->new);
	EXPECT_EQ(usual, cached_by_write(variant->way, f->fd, f->backing_fd,
					 f->new));
	EXPECT_TRUE(test_has(f->backing_fd, PAGE, f->new, PAGE));
}

TEST_F(flags, o_direct_set_by_fcntl_makes_reads_direct)
{
	struct files *f = &self->f;
	int usual, cached;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	/* Else the page cache would not tell the difference */
	if (!cached_by_read(variant->way, f->local_fd, f->local_fd, f->buf))
		SKIP(return, "buffered reads leave no pages in the cache");
	ASSERT_EQ(0, add_flags(f->local_fd, O_DIRECT));
	usual = cached_by_read(variant->way, f->local_fd, f->local_fd, f->buf);

	EXPECT_LT(0, cached_by_read(variant->way, f->fd, f->backing_fd,
				    f->buf));
	ASSERT_EQ(0, add_flags(f->fd, O_DIRECT));
	cached = cached_by_read(variant->way, f->fd, f->backing_fd, f->buf);
	ASSERT_LE(0, cached);
	EXPECT_EQ(0, memcmp(f->buf, f->data + PAGE, PAGE));
	ASSERT_OR_XFAIL(return, &f->env, cached == usual,
			"reads %d pages into the cache after O_DIRECT was set",
			cached);
}

TEST_F(flags, o_direct_set_by_fcntl_makes_writes_direct)
{
	struct files *f = &self->f;
	int usual, cached;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	if (!cached_by_write(variant->way, f->local_fd, f->local_fd, f->new))
		SKIP(return, "buffered writes leave no pages in the cache");
	ASSERT_EQ(0, add_flags(f->local_fd, O_DIRECT));
	usual = cached_by_write(variant->way, f->local_fd, f->local_fd, f->new);

	EXPECT_LT(0, cached_by_write(variant->way, f->fd, f->backing_fd,
				     f->data));
	ASSERT_EQ(0, add_flags(f->fd, O_DIRECT));
	cached = cached_by_write(variant->way, f->fd, f->backing_fd, f->new);
	ASSERT_LE(0, cached);
	EXPECT_TRUE(test_has(f->backing_fd, PAGE, f->new, PAGE));
	ASSERT_OR_XFAIL(return, &f->env, cached == usual,
			"has %d pages in the cache of a write after O_DIRECT was set",
			cached);
}

TEST_F(flags, o_direct_cleared_by_fcntl_makes_reads_buffered)
{
	struct files *f = &self->f;
	int usual, cached;
	ssize_t n;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	ASSERT_TRUE(files_reopen(f, O_RDWR | O_DIRECT));
	ASSERT_EQ(0, drop_flags(f->local_fd, O_DIRECT));
	usual = cached_by_read(variant->way, f->local_fd, f->local_fd, f->buf);
	ASSERT_LE(0, usual);

	ASSERT_EQ(0, drop_flags(f->fd, O_DIRECT));
	cached = cached_by_read(variant->way, f->fd, f->backing_fd, f->buf);
	ASSERT_LE(0, cached);
	n = do_read(variant->way, f->fd, f->buf, 7, 3);
	ASSERT_OR_XFAIL(return, &f->env, n == 7,
			"gives %zd for 7 bytes after O_DIRECT was cleared", n);
	EXPECT_EQ(0, memcmp(f->buf, f->data + 3, 7));
	ASSERT_OR_XFAIL(return, &f->env, cached == usual,
			"leaves %d pages in the cache after O_DIRECT was cleared",
			cached);
}

TEST_F(flags, o_direct_cleared_by_fcntl_makes_writes_buffered)
{
	struct files *f = &self->f;
	ssize_t n;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	ASSERT_TRUE(files_reopen(f, O_RDWR | O_DIRECT));
	ASSERT_EQ(0, drop_flags(f->fd, O_DIRECT));
	n = do_write(variant->way, f->fd, f->new + 1, 7, 3);
	ASSERT_OR_XFAIL(return, &f->env, n == 7,
			"gives %zd for 7 bytes after O_DIRECT was cleared", n);
	EXPECT_TRUE(test_has(f->backing_fd, 3, f->new + 1, 7));
}

/* EINVAL on most, but some file systems do without O_DIRECT then. */
TEST_F(flags, o_direct_unaligned_is_as_locally)
{
	struct files *f = &self->f;
	ssize_t usual, n;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	ASSERT_EQ(0, add_flags(f->local_fd, O_DIRECT));
	ASSERT_EQ(0, add_flags(f->fd, O_DIRECT));

	usual = do_read(variant->way, f->local_fd, f->buf + 1, 7, 3);
	n = do_read(variant->way, f->fd, f->buf + 1, 7, 3);
	ASSERT_OR_XFAIL(return, &f->env, n == usual,
			"gives %zd for an unaligned read, not %zd", n, usual);
	usual = do_write(variant->way, f->local_fd, f->new + 1, 7, 3);
	n = do_write(variant->way, f->fd, f->new + 1, 7, 3);
	ASSERT_OR_XFAIL(return, &f->env, n == usual,
			"gives %zd for an unaligned write, not %zd", n, usual);
	if (n == 7)
		memcpy(f->data + 3, f->new + 1, 7);
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->data, SIZE));
}

TEST_F(flags, o_direct_unaligned_at_open_is_as_locally)
{
	struct files *f = &self->f;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	ASSERT_TRUE(files_reopen(f, O_RDWR | O_DIRECT));
	EXPECT_EQ(do_read(variant->way, f->local_fd, f->buf + 1, 7, 3),
		  do_read(variant->way, f->fd, f->buf + 1, 7, 3));
	EXPECT_EQ(do_write(variant->way, f->local_fd, f->new + 1, 7, 3),
		  do_write(variant->way, f->fd, f->new + 1, 7, 3));
}

TEST_F(flags, o_direct_ends_at_eof)
{
	struct files *f = &self->f;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	/* The server's doing: truncation through FUSE may send a GETXATTR */
	ASSERT_EQ(0, ftruncate(f->backing_fd, SIZE - 100));
	ASSERT_EQ(0, add_flags(f->fd, O_DIRECT));
	EXPECT_EQ(PAGE - 100, do_read(variant->way, f->fd, f->buf, PAGE,
				      SIZE - PAGE));
	EXPECT_EQ(0, memcmp(f->buf, f->data + SIZE - PAGE, PAGE - 100));
	EXPECT_EQ(0, do_read(variant->way, f->fd, f->buf, PAGE, SIZE));
}

TEST_F(flags, o_direct_extends_the_file)
{
	struct files *f = &self->f;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	ASSERT_EQ(0, add_flags(f->fd, O_DIRECT));
	ASSERT_EQ(2 * PAGE, do_write(variant->way, f->fd, f->new, 2 * PAGE,
				     SIZE - PAGE));
	EXPECT_EQ(SIZE + PAGE, test_size(f->fd));
	EXPECT_EQ(SIZE + PAGE, test_size(f->backing_fd));
	EXPECT_TRUE(test_has(f->backing_fd, SIZE - PAGE, f->new, 2 * PAGE));
}

TEST_F(flags, o_direct_and_o_append_set_by_fcntl_go_together)
{
	struct files *f = &self->f;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	ASSERT_EQ(0, add_flags(f->fd, O_DIRECT | O_APPEND));
	if (variant->way == SPLICE) {
		EXPECT_EQ(-EINVAL, do_write(SPLICE, f->fd, f->new, PAGE, 0));
		return;
	}
	ASSERT_EQ(PAGE, do_write(variant->way, f->fd, f->new, PAGE, 0));
	EXPECT_EQ(SIZE + PAGE, test_size(f->fd));
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->data, SIZE));
	EXPECT_TRUE(test_has(f->backing_fd, SIZE, f->new, PAGE));
}

/* FUSE itself has O_DIRECT, so that fcntl() cannot tell. */
TEST_F(flags, o_direct_is_einval_where_the_backing_file_has_none)
{
	struct files *f = &self->f;
	char dir[PATH_MAX], path[PATH_MAX];
	struct test_file *file;
	ssize_t rd, wr;
	int fd;

	ASSERT_EQ(0, test_mount(&f->env, "ramfs", "ramfs", NULL, dir));
	test_pathf(path, "%s/file", dir);
	ASSERT_EQ(0, test_write_file(path, f->data, SIZE));
	file = test_add_path(&f->env, "ramfs", path, O_RDWR);
	ASSERT_TRUE(!!file);
	ASSERT_LT(0, test_back(file));
	fd = test_open(file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, add_flags(file->fd, O_DIRECT));
	EXPECT_EQ(EINVAL, errno);

	ASSERT_EQ(0, add_flags(fd, O_DIRECT));
	rd = do_read(variant->way, fd, f->buf, PAGE, 0);
	wr = do_write(variant->way, fd, f->new, PAGE, 0);
	ASSERT_EQ(0, drop_flags(fd, O_DIRECT));
	EXPECT_EQ(PAGE, do_read(variant->way, fd, f->buf, PAGE, 0));
	EXPECT_EQ(PAGE, do_write(variant->way, fd, f->new, PAGE, PAGE));
	EXPECT_TRUE(test_has(file->fd, PAGE, f->new, PAGE));
	EXPECT_EQ(0, close(fd));

	ASSERT_OR_XFAIL(return, &f->env, rd == -EINVAL && wr == -EINVAL,
			"gives %zd for a read and %zd for a write", rd, wr);
	EXPECT_EQ(0, memcmp(f->buf, f->data, PAGE));
}

/* O_NOATIME */

/* What is asked for below the backing file system does */
static bool local_atime_moves(struct files *f, enum way how)
{
	return !make_atime_old(f->local_fd) &&
	       do_read(how, f->local_fd, f->buf, 100, 0) == 100 &&
	       !atime_is_old(f->local_fd);
}

#define NO_ATIME "no atime on the backing file system"

TEST_F(flags, reads_move_the_backing_files_atime)
{
	struct files *f = &self->f;

	if (!local_atime_moves(f, variant->way))
		SKIP(return, NO_ATIME);
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	EXPECT_FALSE(atime_is_old(f->backing_fd));
}

TEST_F(flags, o_noatime_at_open_leaves_the_backing_files_atime)
{
	struct files *f = &self->f;

	if (!local_atime_moves(f, variant->way))
		SKIP(return, NO_ATIME);
	ASSERT_TRUE(files_reopen(f, O_RDWR | O_NOATIME));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	EXPECT_EQ(0, memcmp(f->buf, f->data, 100));
	ASSERT_OR_XFAIL(return, &f->env, atime_is_old(f->backing_fd),
			"moves the atime for an O_NOATIME open");
}

TEST_F(flags, o_noatime_set_by_fcntl_leaves_the_backing_files_atime)
{
	struct files *f = &self->f;

	if (!local_atime_moves(f, variant->way))
		SKIP(return, NO_ATIME);
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	ASSERT_EQ(0, add_flags(f->fd, O_NOATIME));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	EXPECT_EQ(0, memcmp(f->buf, f->data, 100));
	ASSERT_OR_XFAIL(return, &f->env, atime_is_old(f->backing_fd),
			"moves the atime after O_NOATIME was set");
}

TEST_F(flags, o_noatime_cleared_by_fcntl_moves_the_backing_files_atime)
{
	struct files *f = &self->f;

	if (!local_atime_moves(f, variant->way))
		SKIP(return, NO_ATIME);
	ASSERT_TRUE(files_reopen(f, O_RDWR | O_NOATIME));
	ASSERT_EQ(0, drop_flags(f->fd, O_NOATIME));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	ASSERT_OR_XFAIL(return, &f->env, !atime_is_old(f->backing_fd),
			"leaves the atime after O_NOATIME was cleared");
}

TEST_F(flags, o_noatime_of_one_open_leaves_the_other_alone)
{
	struct files *f = &self->f;
	int noatime = test_open(f->file, O_RDWR);
	bool moved;

	if (!local_atime_moves(f, variant->way))
		SKIP(return, NO_ATIME);
	ASSERT_LE(0, noatime);
	ASSERT_EQ(0, add_flags(noatime, O_NOATIME));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(100, do_read(variant->way, noatime, f->buf, 100, 0));
	moved = !atime_is_old(f->backing_fd);

	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	EXPECT_FALSE(atime_is_old(f->backing_fd));
	EXPECT_EQ(0, close(noatime));
	ASSERT_OR_XFAIL(return, &f->env, !moved,
			"moves the atime after O_NOATIME was set");
}

TEST_F(flags, o_noatime_holds_for_direct_reads)
{
	struct files *f = &self->f;

	if (!has_direct(f))
		SKIP(return, NO_DIRECT);
	if (!local_atime_moves(f, variant->way))
		SKIP(return, NO_ATIME);
	ASSERT_EQ(0, add_flags(f->fd, O_NOATIME | O_DIRECT));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(PAGE, do_read(variant->way, f->fd, f->buf, PAGE, 0));
	ASSERT_OR_XFAIL(return, &f->env, atime_is_old(f->backing_fd),
			"moves the atime after O_NOATIME was set");
}

/* O_NONBLOCK */

TEST_F(flags, o_nonblock_set_by_fcntl_changes_nothing)
{
	struct files *f = &self->f;

	ASSERT_EQ(0, add_flags(f->fd, O_NONBLOCK));
	/* Not in the cache: it has to be waited for all the same */
	ASSERT_EQ(0, test_drop_cache(f->backing_fd));
	ASSERT_EQ(SIZE, do_read(variant->way, f->fd, f->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(f->buf, f->data, SIZE));
	ASSERT_EQ(SIZE, do_write(variant->way, f->fd, f->new, SIZE, SIZE));
	EXPECT_TRUE(test_has(f->backing_fd, SIZE, f->new, SIZE));
	ASSERT_EQ(0, drop_flags(f->fd, O_NONBLOCK));
	EXPECT_EQ(SIZE, do_read(variant->way, f->fd, f->buf, SIZE, SIZE));
	EXPECT_EQ(0, memcmp(f->buf, f->new, SIZE));
}

TEST_F(flags, o_nonblock_at_open_changes_nothing)
{
	struct files *f = &self->f;

	ASSERT_TRUE(files_reopen(f, O_RDWR | O_NONBLOCK));
	ASSERT_EQ(0, test_drop_cache(f->backing_fd));
	ASSERT_EQ(SIZE, do_read(variant->way, f->fd, f->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(f->buf, f->data, SIZE));
	ASSERT_EQ(SIZE, do_write(variant->way, f->fd, f->new, SIZE, SIZE));
	EXPECT_TRUE(test_has(f->backing_fd, SIZE, f->new, SIZE));
}

/* O_SYNC and O_DSYNC */

/* Is what was written to the file still to be written to disk? */
static int dirty_after_write(struct files *f, enum way how, int fd,
			     int backing_fd)
{
	if (fsync(backing_fd) || do_write(how, fd, f->new, PAGE, 0) != PAGE)
		return -1;
	return first_page_is_dirty(backing_fd);
}

static bool can_tell_dirty(struct files *f, enum way how)
{
	return dirty_after_write(f, how, f->local_fd, f->local_fd) == 1;
}

#define NOT_TOLD "cannot tell what was written to disk"

TEST_F(flags, writes_without_o_sync_stay_in_the_page_cache)
{
	struct files *f = &self->f;

	if (!can_tell_dirty(f, variant->way))
		SKIP(return, NOT_TOLD);
	EXPECT_EQ(1, dirty_after_write(f, variant->way, f->fd, f->backing_fd));
}

TEST_F(flags, o_dsync_writes_are_on_disk_as_locally)
{
	struct files *f = &self->f;
	int usual;

	if (!can_tell_dirty(f, variant->way))
		SKIP(return, NOT_TOLD);
	ASSERT_TRUE(files_reopen(f, O_RDWR | O_DSYNC));
	usual = dirty_after_write(f, variant->way, f->local_fd, f->local_fd);
	EXPECT_EQ(usual, dirty_after_write(f, variant->way, f->fd,
					   f->backing_fd));
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->new, PAGE));
}

TEST_F(flags, o_sync_writes_are_on_disk_as_locally)
{
	struct files *f = &self->f;
	int usual;

	if (!can_tell_dirty(f, variant->way))
		SKIP(return, NOT_TOLD);
	ASSERT_TRUE(files_reopen(f, O_RDWR | O_SYNC));
	usual = dirty_after_write(f, variant->way, f->local_fd, f->local_fd);
	EXPECT_EQ(usual, dirty_after_write(f, variant->way, f->fd,
					   f->backing_fd));
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->new, PAGE));
}

TEST_F(flags, o_sync_cannot_be_set_by_fcntl)
{
	struct files *f = &self->f;

	if (!can_tell_dirty(f, variant->way))
		SKIP(return, NOT_TOLD);
	ASSERT_EQ(0, add_flags(f->fd, O_SYNC));
	EXPECT_EQ(0, fcntl(f->fd, F_GETFL) & O_SYNC);
	EXPECT_EQ(1, dirty_after_write(f, variant->way, f->fd, f->backing_fd));
}

TEST_F(flags, o_sync_outlives_fcntl)
{
	struct files *f = &self->f;
	int usual;

	if (!can_tell_dirty(f, variant->way))
		SKIP(return, NOT_TOLD);
	ASSERT_TRUE(files_reopen(f, O_RDWR | O_SYNC));
	ASSERT_EQ(0, fcntl(f->local_fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, fcntl(f->fd, F_SETFL, O_NONBLOCK));
	usual = dirty_after_write(f, variant->way, f->local_fd, f->local_fd);
	EXPECT_EQ(usual, dirty_after_write(f, variant->way, f->fd,
					   f->backing_fd));
}

/* Flags change while the file is in use */

struct toggler {
	int fd;
	int flags;
	pid_t pid;
};

static void start_toggling(struct toggler *t)
{
	t->pid = fork();
	if (t->pid)
		return;
	for (;;) {
		add_flags(t->fd, t->flags);
		drop_flags(t->fd, t->flags);
	}
}

static void stop_toggling(struct toggler *t)
{
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
}

TEST_F(flags, flags_that_change_all_the_time_break_no_aligned_operation)
{
	struct files *f = &self->f;
	struct toggler t = { f->fd, O_NOATIME | O_NONBLOCK, 0 };
	int i, wrong = 0;

	if (has_direct(f))
		t.flags |= O_DIRECT;
	start_toggling(&t);
	ASSERT_LT(0, t.pid);
	for (i = 0; i < 1000; i++) {
		int off = i % 8 * PAGE;

		if (do_read(variant->way, f->fd, f->buf, PAGE, off) != PAGE ||
		    memcmp(f->buf, f->data + off, PAGE) ||
		    (i % 8 == 0 &&
		     do_write(variant->way, f->fd, f->buf, PAGE, off) != PAGE))
			wrong++;
	}
	stop_toggling(&t);
	EXPECT_EQ(0, wrong);
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->data, SIZE));
}

/* What is the same for every way of reading and writing */

FIXTURE(file)
{
	struct files f;
};

FIXTURE_SETUP(file)
{
	ASSERT_TRUE(files_setup(&self->f, 0));
	TEST_NEEDS_PASSTHROUGH(&self->f.env);
	ASSERT_TRUE(files_open(&self->f));
}

FIXTURE_TEARDOWN(file)
{
	EXPECT_EQ(0, test_count(&self->f.env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->f.env, FUSE_WRITE));
	files_close(&self->f);
}

TEST_F(file, f_getfl_shows_what_the_open_had)
{
	static const int flags[] = {
		O_APPEND, O_NOATIME, O_NONBLOCK, O_SYNC, O_DSYNC,
		O_APPEND | O_NOATIME | O_NONBLOCK | O_SYNC,
	};
	struct files *f = &self->f;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		ASSERT_TRUE(files_reopen(f, O_RDWR | flags[i]));
		EXPECT_EQ(fcntl(f->local_fd, F_GETFL), fcntl(f->fd, F_GETFL));
		EXPECT_EQ(flags[i], fcntl(f->fd, F_GETFL) & flags[i]);
	}
}

TEST_F(file, f_getfl_shows_what_f_setfl_has_set)
{
	struct files *f = &self->f;
	int i, flag;

	for (i = 0; i < 31; i++) {
		flag = 1 << i;
		if (!(flag & SETFL_FLAGS))
			continue;
		ASSERT_EQ(0, fcntl(f->fd, F_SETFL, flag));
		EXPECT_EQ(flag, fcntl(f->fd, F_GETFL) & SETFL_FLAGS);
		/* An operation does not change them back */
		if (flag != O_DIRECT)
			ASSERT_EQ(10, pread(f->fd, f->buf, 10, 0));
		EXPECT_EQ(flag, fcntl(f->fd, F_GETFL) & SETFL_FLAGS);
	}
	ASSERT_EQ(0, fcntl(f->fd, F_SETFL, SETFL_FLAGS));
	EXPECT_EQ(SETFL_FLAGS, fcntl(f->fd, F_GETFL) & SETFL_FLAGS);
	ASSERT_EQ(0, fcntl(f->fd, F_SETFL, 0));
	EXPECT_EQ(0, fcntl(f->fd, F_GETFL) & SETFL_FLAGS);
	EXPECT_EQ(O_RDWR, fcntl(f->fd, F_GETFL) & O_ACCMODE);
}

TEST_F(file, f_setfl_leaves_other_opens_and_the_servers_fd_alone)
{
	struct files *f = &self->f;
	int other = test_open(f->file, O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, add_flags(f->fd, O_APPEND | O_NOATIME | O_NONBLOCK));
	ASSERT_EQ(10, pread(f->fd, f->buf, 10, 0));
	EXPECT_EQ(0, fcntl(other, F_GETFL) & SETFL_FLAGS);
	EXPECT_EQ(0, fcntl(f->backing_fd, F_GETFL) & SETFL_FLAGS);
	EXPECT_EQ(0, close(other));
}

TEST_F(file, f_setfl_of_the_servers_fd_leaves_opens_alone)
{
	struct files *f = &self->f;

	ASSERT_EQ(0, add_flags(f->backing_fd, O_APPEND));
	ASSERT_EQ(10, pwrite(f->fd, f->new, 10, 0));
	EXPECT_EQ(SIZE, test_size(f->fd));
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->new, 10));
}

TEST_F(file, f_setfl_holds_for_duplicates_of_the_fd)
{
	struct files *f = &self->f;
	int copy = dup(f->fd);

	ASSERT_LE(0, copy);
	ASSERT_EQ(0, add_flags(copy, O_APPEND));
	ASSERT_EQ(10, pwrite(f->fd, f->new, 10, 0));
	EXPECT_EQ(SIZE + 10, test_size(f->fd));
	EXPECT_EQ(0, close(copy));
}

TEST_F(file, sendfile_heeds_o_append_as_on_a_local_file)
{
	struct files *f = &self->f;
	off_t off = 0;

	ASSERT_EQ(0, add_flags(f->fd, O_APPEND));
	EXPECT_EQ(-1, sendfile(f->fd, f->local_fd, &off, 10));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, drop_flags(f->fd, O_APPEND));
	EXPECT_EQ(10, sendfile(f->fd, f->local_fd, &off, 10));
	EXPECT_EQ(SIZE, test_size(f->backing_fd));
}

TEST_F(file, sendfile_heeds_o_noatime)
{
	struct files *f = &self->f;
	off_t off = 0;

	if (!local_atime_moves(f, PLAIN))
		SKIP(return, NO_ATIME);
	ASSERT_EQ(0, add_flags(f->fd, O_NOATIME));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	EXPECT_EQ(10, sendfile(f->local_fd, f->fd, &off, 10));
	ASSERT_OR_XFAIL(return, &f->env, atime_is_old(f->backing_fd),
			"moves the atime after O_NOATIME was set");
}

/* Maps the file and looks into it. */
static bool look_at_mapping(int fd, char *buf)
{
	char *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return false;
	memcpy(buf, map, SIZE);
	munmap(map, SIZE);
	return true;
}

TEST_F(file, mmap_heeds_o_noatime_of_the_open)
{
	struct files *f = &self->f;

	ASSERT_TRUE(files_reopen(f, O_RDWR | O_NOATIME));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_TRUE(look_at_mapping(f->fd, f->buf));
	EXPECT_EQ(0, memcmp(f->buf, f->data, SIZE));
	ASSERT_OR_XFAIL(return, &f->env, atime_is_old(f->backing_fd),
			"moves the atime for an O_NOATIME open");
}

TEST_F(file, mmap_heeds_o_noatime_set_by_fcntl)
{
	struct files *f = &self->f;

	/* As on a local file */
	ASSERT_EQ(0, add_flags(f->local_fd, O_NOATIME));
	ASSERT_EQ(0, make_atime_old(f->local_fd));
	ASSERT_TRUE(look_at_mapping(f->local_fd, f->buf));
	ASSERT_TRUE(atime_is_old(f->local_fd));

	ASSERT_EQ(0, add_flags(f->fd, O_NOATIME));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_TRUE(look_at_mapping(f->fd, f->buf));
	EXPECT_EQ(0, memcmp(f->buf, f->data, SIZE));
	ASSERT_OR_XFAIL(return, &f->env, atime_is_old(f->backing_fd),
			"moves the atime after O_NOATIME was set");
}

TEST_F(file, mmap_heeds_o_noatime_cleared_by_fcntl)
{
	struct files *f = &self->f;

	ASSERT_EQ(0, make_atime_old(f->local_fd));
	ASSERT_TRUE(look_at_mapping(f->local_fd, f->buf));
	if (atime_is_old(f->local_fd))
		SKIP(return, "mmap moves no atime on the backing file system");

	ASSERT_TRUE(files_reopen(f, O_RDWR | O_NOATIME));
	ASSERT_EQ(0, drop_flags(f->fd, O_NOATIME));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_TRUE(look_at_mapping(f->fd, f->buf));
	ASSERT_OR_XFAIL(return, &f->env, !atime_is_old(f->backing_fd),
			"leaves the atime after O_NOATIME was cleared");
}

struct user_open {
	struct files *f;
	int flags;
	bool local;
};

static int user_opens(void *arg)
{
	struct user_open *user = arg;
	int fd;

	if (user->local)
		fd = open_local(user->f, O_RDONLY | user->flags);
	else
		fd = test_open(user->f->file, O_RDONLY | user->flags);
	return fd < 0 ? errno : 0;
}

static int user_sets_noatime(void *arg)
{
	struct user_open *user = arg;
	int fd = user->local ? user->f->local_fd : user->f->fd;

	return add_flags(fd, O_NOATIME) ? errno : 0;
}

TEST_F(file, o_noatime_is_not_for_users_who_do_not_own_the_file)
{
	struct user_open user = { &self->f, 0, true };

	ASSERT_EQ(0, test_as_user(user_opens, &user));
	user.flags = O_NOATIME;
	EXPECT_EQ(EPERM, test_as_user(user_opens, &user));
	EXPECT_EQ(EPERM, test_as_user(user_sets_noatime, &user));
	user.local = false;
	EXPECT_EQ(EPERM, test_as_user(user_opens, &user));
	EXPECT_EQ(EPERM, test_as_user(user_sets_noatime, &user));
}

/* A FUSE mount with noatime */

FIXTURE(noatime_mount)
{
	struct files f;
};

FIXTURE_VARIANT(noatime_mount)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(noatime_mount, read)
{
	.way = PLAIN,
};

FIXTURE_VARIANT_ADD(noatime_mount, preadv2)
{
	.way = VECTORED,
};

FIXTURE_VARIANT_ADD(noatime_mount, io_submit)
{
	.way = AIO,
};

FIXTURE_VARIANT_ADD(noatime_mount, splice)
{
	.way = SPLICE,
};

FIXTURE_SETUP(noatime_mount)
{
	if (variant->way == AIO && !test_has_aio())
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	ASSERT_TRUE(files_setup(&self->f, MS_NOATIME));
	TEST_NEEDS_PASSTHROUGH(&self->f.env);
	ASSERT_TRUE(files_open(&self->f));
}

FIXTURE_TEARDOWN(noatime_mount)
{
	EXPECT_EQ(0, test_count(&self->f.env, FUSE_READ));
	files_close(&self->f);
}

TEST_F(noatime_mount, leaves_the_backing_files_atime)
{
	struct files *f = &self->f;

	if (!local_atime_moves(f, variant->way))
		SKIP(return, NO_ATIME);
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	EXPECT_EQ(0, memcmp(f->buf, f->data, 100));
	ASSERT_OR_XFAIL(return, &f->env, atime_is_old(f->backing_fd),
			"moves the atime on a noatime mount");
}

TEST_F(noatime_mount, leaves_the_atime_after_o_noatime_was_cleared)
{
	struct files *f = &self->f;

	if (!local_atime_moves(f, variant->way))
		SKIP(return, NO_ATIME);
	ASSERT_EQ(0, add_flags(f->fd, O_NOATIME));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	ASSERT_EQ(0, drop_flags(f->fd, O_NOATIME));
	EXPECT_EQ(0, fcntl(f->fd, F_GETFL) & O_NOATIME);
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	ASSERT_OR_XFAIL(return, &f->env, atime_is_old(f->backing_fd),
			"moves the atime on a noatime mount");
}

static int remount(struct files *f, unsigned long flags)
{
	return mount(NULL, f->env.mnt, NULL, MS_REMOUNT | MS_BIND | flags,
		     NULL);
}

TEST_F(noatime_mount, that_is_remounted_acts_on_the_next_read)
{
	struct files *f = &self->f;

	if (!local_atime_moves(f, variant->way))
		SKIP(return, NO_ATIME);
	ASSERT_EQ(0, remount(f, MS_RELATIME));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	EXPECT_FALSE(atime_is_old(f->backing_fd));

	ASSERT_EQ(0, remount(f, MS_NOATIME));
	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(100, do_read(variant->way, f->fd, f->buf, 100, 0));
	ASSERT_OR_XFAIL(return, &f->env, atime_is_old(f->backing_fd),
			"moves the atime on a noatime mount");
}

TEST_F(noatime_mount, leaves_the_atime_for_sendfile_and_mmap)
{
	struct files *f = &self->f;
	off_t off = 0;

	ASSERT_EQ(0, make_atime_old(f->backing_fd));
	ASSERT_EQ(10, sendfile(f->local_fd, f->fd, &off, 10));
	ASSERT_TRUE(look_at_mapping(f->fd, f->buf));
	ASSERT_OR_XFAIL(return, &f->env, atime_is_old(f->backing_fd),
			"moves the atime on a noatime mount");
}

/* A mount with "sync": what is written to it is on disk */
FIXTURE(sync_mount)
{
	struct files f;
};

FIXTURE_VARIANT(sync_mount)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(sync_mount, write)
{
	.way = PLAIN,
};

FIXTURE_VARIANT_ADD(sync_mount, pwritev2)
{
	.way = VECTORED,
};

FIXTURE_VARIANT_ADD(sync_mount, io_submit)
{
	.way = AIO,
};

FIXTURE_VARIANT_ADD(sync_mount, splice)
{
	.way = SPLICE,
};

FIXTURE_SETUP(sync_mount)
{
	if (variant->way == AIO && !test_has_aio())
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	ASSERT_TRUE(files_setup(&self->f, MS_SYNCHRONOUS));
	TEST_NEEDS_PASSTHROUGH(&self->f.env);
	ASSERT_TRUE(files_open(&self->f));
}

FIXTURE_TEARDOWN(sync_mount)
{
	EXPECT_EQ(0, test_count(&self->f.env, FUSE_WRITE));
	EXPECT_EQ(0, test_count(&self->f.env, FUSE_FSYNC));
	files_close(&self->f);
}

TEST_F(sync_mount, writes_as_with_o_dsync)
{
	struct files *f = &self->f;
	int fd, usual, dirty;

	if (!can_tell_dirty(f, variant->way))
		SKIP(return, NOT_TOLD);
	fd = open_local(f, O_RDWR | O_DSYNC);
	ASSERT_LE(0, fd);
	usual = dirty_after_write(f, variant->way, fd, f->local_fd);
	close(fd);
	dirty = dirty_after_write(f, variant->way, f->fd, f->backing_fd);
	EXPECT_TRUE(test_has(f->backing_fd, 0, f->new, PAGE));
	ASSERT_OR_XFAIL(return, &f->env, dirty == usual,
			"leaves what is written to a sync mount in the page cache");
}

TEST_HARNESS_MAIN
