// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: size and times are asked for again when, and only when, the
 * backing file's have changed. The server says that they are valid for an hour.
 */
#include "test_common.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define SIZE	8192

static const struct timespec old_times[2] = { { 1000, 0 }, { 1000, 0 } };

FIXTURE(attr)
{
	struct test_env env;
	struct test_file *file;
	int fd;
	char path[PATH_MAX];
	char data[SIZE];
	char *map;
	struct stat before;
};

FIXTURE_SETUP(attr)
{
	struct test_env *env = &self->env;

	test_pattern(self->data, SIZE, 4);
	ASSERT_EQ(0, test_setup(env));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->fd = test_open_new(env, "file", self->data, SIZE, O_RDWR,
				 &self->file);
	ASSERT_LE(0, self->fd);
	test_path(self->file, self->path);
	self->map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);

	ASSERT_EQ(0, futimens(self->fd, old_times));
	ASSERT_EQ(0, fstat(self->fd, &self->before));
	ASSERT_EQ(1000, self->before.st_mtim.tv_sec);
}

/* Truncation is no data operation: it asks for security.capability as ever */
FIXTURE_TEARDOWN(attr)
{
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
	test_teardown(&self->env);
}

/* Size, blocks and times through the mount are those of the backing file */
static bool same_attr(const struct stat *st, int backing_fd)
{
	struct stat backing;

	return !fstat(backing_fd, &backing) &&
	       st->st_size == backing.st_size &&
	       st->st_blocks == backing.st_blocks &&
	       test_same_time(st->st_atim, backing.st_atim) &&
	       test_same_time(st->st_mtim, backing.st_mtim) &&
	       test_same_time(st->st_ctim, backing.st_ctim);
}

TEST_F(attr, is_not_asked_for_if_nothing_has_changed)
{
	struct stat st;
	int before, i;

	before = fuse_server_count_all(self->env.srv);
	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, stat(self->path, &st));
	EXPECT_EQ(before, (int)fuse_server_count_all(self->env.srv));
}

TEST_F(attr, of_a_mapping_that_was_stored_to_is_new)
{
	struct stat st;

	memcpy(self->map, "new", 3);
	ASSERT_EQ(0, msync(self->map, SIZE, MS_SYNC));
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_OR_XFAIL(return, &self->env,
			!test_same_time(st.st_mtim, self->before.st_mtim),
			"shows the old mtime after a store to a mapping");
	EXPECT_TRUE(same_attr(&st, self->file->fd));
}

TEST_F(attr, of_a_mapping_that_was_unmapped_is_new)
{
	struct stat st;

	memcpy(self->map, "new", 3);
	ASSERT_EQ(0, munmap(self->map, SIZE));
	ASSERT_EQ(0, close(self->fd));
	test_sync(&self->env);
	ASSERT_EQ(0, stat(self->path, &st));
	ASSERT_OR_XFAIL(return, &self->env,
			!test_same_time(st.st_mtim, self->before.st_mtim),
			"shows the old mtime after the last munmap");
	EXPECT_TRUE(same_attr(&st, self->file->fd));
}

TEST_F(attr, after_writes_is_asked_for_once)
{
	struct stat st;
	int before, i;

	for (i = 0; i < 10; i++)
		ASSERT_EQ(100, pwrite(self->fd, self->data, 100, SIZE));
	before = test_count(&self->env, FUSE_GETATTR);
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(before + 1, test_count(&self->env, FUSE_GETATTR));
	EXPECT_TRUE(same_attr(&st, self->file->fd));
	EXPECT_EQ(SIZE + 100, st.st_size);
}

/*
 * Nothing has been written by one that only looked whether it could be. Whatever
 * the backing file system does to the times before it looks is not of interest,
 * so that one is taken that fell into the same tick of the clock.
 */
TEST_F(attr, after_a_write_that_would_have_to_wait_is_not_asked_for)
{
	struct iovec iov = { .iov_len = 4096 };
	struct stat st, backing[2];
	int before, i = 0;
	ssize_t len;

	if (fcntl(self->file->fd, F_SETFL, O_DIRECT))
		SKIP(return, "no O_DIRECT on the backing file system");
	iov.iov_base = aligned_alloc(4096, 4096);
	ASSERT_NE(NULL, iov.iov_base);
	memset(iov.iov_base, 'w', 4096);
	len = pwritev2(self->file->fd, &iov, 1, 1 << 20, RWF_NOWAIT);
	if (len >= 0 || errno != EAGAIN)
		SKIP(return, "the backing file system does not say EAGAIN");
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_DIRECT));

	do {
		ASSERT_GT(1000, i++);
		ASSERT_EQ(0, fstat(self->fd, &st));
		ASSERT_EQ(0, fstat(self->file->fd, &backing[0]));
		before = test_count(&self->env, FUSE_GETATTR);

		len = pwritev2(self->fd, &iov, 1, 1 << 20, RWF_NOWAIT);
		ASSERT_OR_XFAIL(return, &self->env,
				len >= 0 || errno != EOPNOTSUPP,
				"refuses RWF_NOWAIT");
		ASSERT_EQ(-1, len);
		ASSERT_EQ(EAGAIN, errno);

		ASSERT_EQ(0, fstat(self->fd, &st));
		ASSERT_EQ(0, fstat(self->file->fd, &backing[1]));
	} while (!test_same_time(backing[0].st_ctim, backing[1].st_ctim));
	EXPECT_EQ(before, test_count(&self->env, FUSE_GETATTR));
	free(iov.iov_base);
}

TEST_F(attr, of_a_file_that_changed_below_is_new)
{
	struct stat st;

	ASSERT_EQ(100, pwrite(self->file->fd, self->data, 100, 2 * SIZE));
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_OR_XFAIL(return, &self->env, st.st_size == 2 * SIZE + 100,
			"shows the old size of an open file");
	EXPECT_TRUE(same_attr(&st, self->file->fd));
	EXPECT_EQ(2 * SIZE + 100, lseek(self->fd, 0, SEEK_END));
}

TEST_F(attr, after_truncation_is_right)
{
	static const off_t sizes[] = { 0, 100000, 5, 4096, 0 };
	struct stat st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, ftruncate(self->fd, sizes[i]));
		ASSERT_EQ(0, fstat(self->fd, &st));
		EXPECT_EQ(sizes[i], st.st_size);
		EXPECT_TRUE(same_attr(&st, self->file->fd));
		ASSERT_EQ(10, pwrite(self->fd, self->data, 10, sizes[i]));
		ASSERT_EQ(0, fstat(self->fd, &st));
		EXPECT_EQ(sizes[i] + 10, st.st_size);
		EXPECT_TRUE(same_attr(&st, self->file->fd));
	}
}

/* All within one tick of the clock, if it goes well: no time tells of it */
TEST_F(attr, of_a_file_truncated_and_made_as_long_again_below_is_new)
{
	struct stat st;
	int i;

	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, fstat(self->fd, &st));
		ASSERT_EQ(0, ftruncate(self->fd, SIZE - 1));
		ASSERT_EQ(1, pwrite(self->file->fd, "x", 1, SIZE - 1));
		ASSERT_EQ(0, fstat(self->fd, &st));
		ASSERT_OR_XFAIL(return, &self->env, st.st_size == SIZE,
				"shows the old size of an open file");
	}
	EXPECT_TRUE(same_attr(&st, self->file->fd));
}

/* Truncation is ordered by the server, writes are not: the end must be right */
static int truncate_many_times(void *arg)
{
	int i;

	for (i = 0; i < 300; i++)
		if (ftruncate(*(int *)arg, i % 3 * 1000))
			return 1;
	return 0;
}

TEST_F(attr, is_right_after_writes_raced_with_truncation)
{
	struct stat st;
	pid_t pid;
	int i;

	pid = fork();
	if (!pid)
		_exit(truncate_many_times(&self->fd));
	ASSERT_LT(0, pid);
	for (i = 0; i < 3000; i++)
		ASSERT_EQ(100, pwrite(self->fd, self->data, 100,
				      i * 37 % 5000));
	ASSERT_EQ(pid, waitpid(pid, &i, 0));
	EXPECT_EQ(0, i);
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_TRUE(same_attr(&st, self->file->fd));
	EXPECT_EQ(st.st_size, lseek(self->fd, 0, SEEK_END));
}

/* A write, and a look at its times, that neither needs the server */
struct late {
	struct test_file *file;
	int fd;
	bool good;
};

/* SETATTR is answered with what was before them */
static bool answer_late(struct test_env *env, struct fuse_req *req)
{
	struct fuse_attr_out out = { .attr_valid = 3600 };
	struct late *late = env->hook_priv;
	struct statx stx;

	if (req->in->opcode != FUSE_SETATTR)
		return false;

	env->hook = NULL;
	late->good = !test_attr(late->file, &out.attr) &&
		     pwrite(late->fd, "new", 3, 0) == 3 &&
		     !statx(late->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
			    STATX_BASIC_STATS, &stx);
	fuse_reply(req, &out, sizeof(out));
	return true;
}

TEST_F(attr, from_a_late_reply_to_setattr_is_not_kept)
{
	struct test_env *env = &self->env;
	struct late late = { self->file, self->fd, false };
	struct stat st;

	if (test_on_mainline(env))
		SKIP(return, "the write would ask the server, which makes it");

	env->hook_priv = &late;
	env->hook = answer_late;
	ASSERT_EQ(0, fchmod(self->fd, 0600));
	ASSERT_TRUE(late.good);
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_FALSE(test_same_time(st.st_mtim, self->before.st_mtim));
	EXPECT_TRUE(same_attr(&st, self->file->fd));
}

TEST_HARNESS_MAIN
