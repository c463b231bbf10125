// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: what is read and written through the mount is what the
 * backing file has, and the server hears nothing of it.
 */
#include "test_common.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define SIZE	(3 * 4096 + 123)	/* of the file */
#define LARGE	(5 * 1024 * 1024 + 7)

FIXTURE(io)
{
	struct test_env env;
	struct test_file *file;
	int fd;			/* through the mount */
	int backing_fd;
	char *data;		/* what the file has at first, of size LARGE */
	char *buf;		/* of size LARGE */
};

FIXTURE_SETUP(io)
{
	self->data = calloc(1, LARGE);
	self->buf = calloc(1, LARGE);
	ASSERT_TRUE(self->data && self->buf);
	test_pattern(self->data, 2 * SIZE, 1);

	ASSERT_EQ(0, test_setup(&self->env));
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
	self->fd = test_open_new(&self->env, "file", self->data, SIZE, O_RDWR,
				 &self->file);
	ASSERT_LE(0, self->fd);
	self->backing_fd = self->file->fd;
}

/* Each test also proves that the server was not asked to read or write. */
FIXTURE_TEARDOWN(io)
{
	close(self->fd);
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
	test_teardown(&self->env);
	free(self->data);
	free(self->buf);
}

TEST_F(io, read_gets_the_backing_file)
{
	ASSERT_EQ(SIZE, read(self->fd, self->buf, LARGE));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_EQ(0, test_data_requests(&self->env));
}

TEST_F(io, read_moves_the_position)
{
	ASSERT_EQ(100, read(self->fd, self->buf, 100));
	EXPECT_EQ(100, lseek(self->fd, 0, SEEK_CUR));
	ASSERT_EQ(200, read(self->fd, self->buf + 100, 200));
	EXPECT_EQ(300, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, memcmp(self->buf, self->data, 300));
}

TEST_F(io, pread_leaves_the_position)
{
	ASSERT_EQ(5000, pread(self->fd, self->buf, 5000, 4095));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 4095, 5000));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, test_data_requests(&self->env));
}

TEST_F(io, readv_fills_every_buffer)
{
	struct iovec iov[3] = {
		{ self->buf, 1 }, { self->buf + 1, 4096 },
		{ self->buf + 4097, 33 },
	};

	ASSERT_EQ(4130, readv(self->fd, iov, 3));
	EXPECT_EQ(0, memcmp(self->buf, self->data, 4130));
	EXPECT_EQ(0, test_data_requests(&self->env));
}

TEST_F(io, preadv2_reads_at_a_position_and_at_the_current_one)
{
	struct iovec iov = { self->buf, 77 };

	ASSERT_EQ(77, preadv2(self->fd, &iov, 1, 4000, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 4000, 77));
	ASSERT_EQ(77, preadv2(self->fd, &iov, 1, -1, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, 77));
	EXPECT_EQ(77, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(io, reads_end_at_eof)
{
	EXPECT_EQ(10, pread(self->fd, self->buf, 100, SIZE - 10));
	EXPECT_EQ(0, memcmp(self->buf, self->data + SIZE - 10, 10));
	EXPECT_EQ(0, pread(self->fd, self->buf, 100, SIZE));
	EXPECT_EQ(0, pread(self->fd, self->buf, 100, SIZE + 4096));
	EXPECT_EQ(0, pread(self->fd, self->buf, 0, 0));
}

TEST_F(io, reads_see_the_eof_of_the_backing_file)
{
	/* The server's own doing, of which FUSE knows nothing */
	ASSERT_EQ(10, pwrite(self->backing_fd, self->data, 10, SIZE));
	EXPECT_EQ(10, pread(self->fd, self->buf, 100, SIZE));
	ASSERT_EQ(0, ftruncate(self->backing_fd, 5));
	EXPECT_EQ(5, pread(self->fd, self->buf, 100, 0));
}

TEST_F(io, write_reaches_the_backing_file)
{
	ASSERT_EQ(5000, write(self->fd, self->data + 77, 5000));
	EXPECT_EQ(5000, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data + 77, 5000));
	EXPECT_TRUE(test_has(self->backing_fd, 5000, self->data + 5000,
			     SIZE - 5000));
}

TEST_F(io, pwrite_leaves_the_position)
{
	ASSERT_EQ(5000, pwrite(self->fd, self->data + 77, 5000, 3000));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_TRUE(test_has(self->backing_fd, 3000, self->data + 77, 5000));
}

TEST_F(io, writev_drains_every_buffer)
{
	struct iovec iov[3] = {
		{ self->data + 9, 1 }, { self->data + 10, 4096 },
		{ self->data + 4106, 33 },
	};

	ASSERT_EQ(4130, writev(self->fd, iov, 3));
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data + 9, 4130));
}

TEST_F(io, pwritev2_writes_at_a_position_and_at_the_current_one)
{
	struct iovec iov = { self->data + 9, 77 };

	ASSERT_EQ(77, pwritev2(self->fd, &iov, 1, 4000, 0));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_TRUE(test_has(self->backing_fd, 4000, self->data + 9, 77));
	ASSERT_EQ(77, pwritev2(self->fd, &iov, 1, -1, 0));
	EXPECT_EQ(77, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data + 9, 77));
}

TEST_F(io, pwritev2_appends_with_rwf_append)
{
	struct iovec iov = { self->data + 9, 77 };

	if (!test_has_rwf_append(&self->env))
		SKIP(return, "no RWF_APPEND on the backing file system");
	ASSERT_EQ(77, pwritev2(self->fd, &iov, 1, 0, RWF_APPEND));
	EXPECT_EQ(SIZE + 77, test_size(self->backing_fd));
	EXPECT_TRUE(test_has(self->backing_fd, SIZE, self->data + 9, 77));
}

TEST_F(io, pwritev2_writes_synchronously_with_rwf_dsync)
{
	struct iovec iov = { self->data + 9, 77 };

	ASSERT_EQ(77, pwritev2(self->fd, &iov, 1, 0, RWF_DSYNC));
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data + 9, 77));
}

TEST_F(io, o_append_writes_go_to_the_end_of_the_backing_file)
{
	int fd = test_open(self->file, O_WRONLY | O_APPEND);

	ASSERT_LE(0, fd);
	ASSERT_EQ(100, write(fd, self->data, 100));
	EXPECT_TRUE(test_has(self->backing_fd, SIZE, self->data, 100));
	/* FUSE does not know this end */
	ASSERT_EQ(50, pwrite(self->backing_fd, self->data, 50, SIZE + 100));
	ASSERT_EQ(100, write(fd, self->data + 7, 100));
	EXPECT_EQ(SIZE + 250, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(SIZE + 250, test_size(self->backing_fd));
	EXPECT_TRUE(test_has(self->backing_fd, SIZE + 150, self->data + 7,
			     100));
	EXPECT_EQ(0, close(fd));
}

TEST_F(io, large_writes_and_reads_are_whole)
{
	test_pattern(self->data, LARGE, 2);
	ASSERT_EQ(LARGE, pwrite(self->fd, self->data, LARGE, 1));
	EXPECT_TRUE(test_has(self->backing_fd, 1, self->data, LARGE));
	ASSERT_EQ(LARGE, pread(self->fd, self->buf, LARGE, 1));
	EXPECT_EQ(0, memcmp(self->buf, self->data, LARGE));
	EXPECT_EQ(LARGE + 1, test_size(self->fd));
}

TEST_F(io, nothing_is_written_and_read_as_locally)
{
	EXPECT_EQ(0, write(self->fd, self->data, 0));
	EXPECT_EQ(0, pwrite(self->fd, self->data, 0, 2 * SIZE));
	EXPECT_EQ(0, read(self->fd, self->buf, 0));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(SIZE, lseek(self->fd, 0, SEEK_END));
}

TEST_F(io, holes_read_as_zeros)
{
	static const char zeros[4096];
	off_t end = 1 << 20;

	ASSERT_EQ(10, pwrite(self->fd, self->data, 10, end));
	ASSERT_EQ(4096, pread(self->fd, self->buf, 4096, end / 2));
	EXPECT_EQ(0, memcmp(self->buf, zeros, 4096));
	EXPECT_EQ(end + 10, test_size(self->fd));
	EXPECT_EQ(end + 10, test_size(self->backing_fd));
}

TEST_F(io, offsets_beyond_4_gib_work)
{
	off_t far = (5LL << 30) + 3;
	ssize_t n = pwrite(self->fd, self->data, 10, far);

	if (n < 0 && errno == EFBIG)
		SKIP(return, "no large files on the backing file system");
	ASSERT_EQ(10, n);
	EXPECT_TRUE(test_has(self->backing_fd, far, self->data, 10));
	ASSERT_EQ(10, pread(self->fd, self->buf, 10, far));
	EXPECT_EQ(0, memcmp(self->buf, self->data, 10));
	EXPECT_EQ(far + 10, test_size(self->fd));
}

TEST_F(io, fstat_sees_the_size_after_each_write)
{
	EXPECT_EQ(SIZE, test_size(self->fd));
	ASSERT_EQ(10, pwrite(self->fd, self->data, 10, SIZE - 5));
	EXPECT_EQ(SIZE + 5, test_size(self->fd));
	ASSERT_EQ(10, pwrite(self->fd, self->data, 10, 0));
	EXPECT_EQ(SIZE + 5, test_size(self->fd));
	EXPECT_EQ(SIZE + 5, lseek(self->fd, 0, SEEK_END));
}

TEST_F(io, fstat_sees_the_times_after_a_write)
{
	const struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
	struct stat st, backing;

	ASSERT_EQ(0, futimens(self->fd, old));
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(1000, st.st_mtim.tv_sec);
	ASSERT_EQ(10, pwrite(self->fd, self->data, 10, 0));
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, fstat(self->backing_fd, &backing));
	EXPECT_LT(1000, st.st_mtim.tv_sec);
	EXPECT_EQ(backing.st_mtim.tv_sec, st.st_mtim.tv_sec);
	EXPECT_EQ(backing.st_mtim.tv_nsec, st.st_mtim.tv_nsec);
	EXPECT_EQ(backing.st_ctim.tv_sec, st.st_ctim.tv_sec);
	EXPECT_EQ(backing.st_ctim.tv_nsec, st.st_ctim.tv_nsec);
	EXPECT_EQ(backing.st_blocks, st.st_blocks);
}

TEST_F(io, ftruncate_goes_through_the_server_and_is_coherent)
{
	ASSERT_EQ(0, ftruncate(self->fd, 100));
	EXPECT_EQ(1, test_count(&self->env, FUSE_SETATTR));
	EXPECT_EQ(100, test_size(self->backing_fd));
	EXPECT_EQ(100, pread(self->fd, self->buf, LARGE, 0));
	ASSERT_EQ(0, ftruncate(self->fd, 200));
	EXPECT_EQ(200, pread(self->fd, self->buf, LARGE, 0));
	EXPECT_EQ(0, self->buf[150]);
	EXPECT_EQ(200, test_size(self->fd));
}

TEST_F(io, two_files_see_each_others_writes)
{
	int other = test_open(self->file, O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(100, pwrite(self->fd, self->data + 1, 100, SIZE));
	ASSERT_EQ(100, pread(other, self->buf, LARGE, SIZE));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 1, 100));
	EXPECT_EQ(SIZE + 100, test_size(other));
	ASSERT_EQ(100, pwrite(other, self->data + 2, 100, 0));
	ASSERT_EQ(100, pread(self->fd, self->buf, 100, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 2, 100));
	EXPECT_EQ(0, close(other));
}

TEST_F(io, the_backing_path_sees_the_same_data)
{
	char path[PATH_MAX];
	int fd = open(test_backing_path(self->file, path), O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_EQ(100, pwrite(self->fd, self->data + 5, 100, 50));
	ASSERT_EQ(100, pread(fd, self->buf, 100, 50));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 5, 100));
	ASSERT_EQ(100, pwrite(fd, self->data + 6, 100, 50));
	ASSERT_EQ(100, pread(self->fd, self->buf, 100, 50));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 6, 100));
	EXPECT_EQ(0, close(fd));
}

TEST_F(io, fsync_goes_to_the_server)
{
	ASSERT_EQ(10, pwrite(self->fd, self->data, 10, 0));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, test_count(&self->env, FUSE_FSYNC));
}

TEST_F(io, close_releases_the_file)
{
	int fd = test_open(self->file, O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(10, read(fd, self->buf, 10));
	EXPECT_EQ(0, test_releases(self->file));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(1, test_releases(self->file));
	EXPECT_EQ(self->file->fh, self->file->released_fh);
}

/* A data operation never costs a request to the server */

TEST_F(io, writes_cost_no_request)
{
	int before, i, xattrs;

	before = fuse_server_count_all(self->env.srv);
	for (i = 0; i < 20; i++)
		ASSERT_EQ(100, write(self->fd, self->data, 100));
	xattrs = test_count(&self->env, FUSE_GETXATTR);
	ASSERT_OR_XFAIL(return, &self->env, !xattrs,
			"sends %d GETXATTR for 20 writes", xattrs);
	EXPECT_EQ(before, (int)fuse_server_count_all(self->env.srv));
}

TEST_F(io, reads_cost_no_request)
{
	int before, i;

	before = fuse_server_count_all(self->env.srv);
	for (i = 0; i < 20; i++)
		ASSERT_EQ(100, pread(self->fd, self->buf, 100, 100 * i));
	EXPECT_EQ(before, (int)fuse_server_count_all(self->env.srv));
}

/* Changes how the backing mount treats atime: a bind mount over itself */
static int mount_backing(struct test_env *env, unsigned long flags)
{
	if (mount(env->backing, env->backing, NULL, MS_BIND, NULL))
		return -1;
	return mount(NULL, env->backing, NULL, MS_REMOUNT | MS_BIND | flags,
		     NULL);
}

TEST_F(io, a_stat_after_a_read_that_moved_no_atime_costs_no_request)
{
	struct test_env *env = &self->env;
	struct test_file *file;
	int fd, before, asked;
	struct stat st;

	ASSERT_EQ(0, mount_backing(env, MS_NOATIME));
	fd = test_open_new(env, "noatime", self->data, SIZE, O_RDWR, &file);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	before = test_count(env, FUSE_GETATTR);
	ASSERT_EQ(100, read(fd, self->buf, 100));
	ASSERT_EQ(0, fstat(fd, &st));
	asked = test_count(env, FUSE_GETATTR) - before;
	EXPECT_EQ(0, close(fd));
	ASSERT_OR_XFAIL(return, env, !asked,
			"sends %d GETATTR for a stat after a read without atime",
			asked);
}

TEST_F(io, a_stat_after_a_read_that_moved_atime_sees_it)
{
	const struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
	struct test_env *env = &self->env;
	struct test_file *file;
	struct stat st;
	int fd;

	ASSERT_EQ(0, mount_backing(env, MS_STRICTATIME));
	fd = test_open_new(env, "atime", self->data, SIZE, O_RDWR, &file);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, futimens(fd, old));
	ASSERT_EQ(0, fstat(fd, &st));
	ASSERT_EQ(1000, st.st_atim.tv_sec);
	ASSERT_EQ(100, read(fd, self->buf, 100));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_LT(1000, st.st_atim.tv_sec);
	EXPECT_EQ(0, close(fd));
}

/* Errors of the backing file reach the caller unchanged */

TEST_F(io, wrong_access_modes_are_ebadf)
{
	int rd = test_open(self->file, O_RDONLY);
	int wr = test_open(self->file, O_WRONLY);

	ASSERT_LE(0, rd);
	ASSERT_LE(0, wr);
	EXPECT_EQ(-1, write(rd, "x", 1));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, read(wr, self->buf, 1));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(1, read(rd, self->buf, 1));
	EXPECT_EQ(1, write(wr, self->buf, 1));
	EXPECT_EQ(0, close(rd));
	EXPECT_EQ(0, close(wr));
}

TEST_F(io, bad_buffers_are_efault)
{
	void *nowhere = mmap(NULL, 100, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);

	EXPECT_EQ(-1, pread(self->fd, nowhere, 100, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pwrite(self->fd, nowhere, 100, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(SIZE, test_size(self->backing_fd));
}

TEST_F(io, negative_offsets_are_einval)
{
	EXPECT_EQ(-1, pread(self->fd, self->buf, 1, -1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pwrite(self->fd, self->buf, 1, -1));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(io, a_full_file_system_gives_a_short_write_and_enospc)
{
	struct test_env *env = &self->env;
	char dir[PATH_MAX], path[PATH_MAX];
	struct test_file *file;
	ssize_t n;
	int fd;

	test_pattern(self->data, 256 * 1024, 3);
	ASSERT_EQ(0, test_mount(env, "small", "tmpfs", "size=64k", dir));
	test_pathf(path, "%s/file", dir);
	ASSERT_EQ(0, test_write_file(path, "", 0));
	file = test_add_path(env, "small", path, O_RDWR);
	ASSERT_TRUE(!!file);
	ASSERT_LT(0, test_back(file));
	fd = test_open(file, O_RDWR);
	ASSERT_LE(0, fd);

	n = write(fd, self->data, 256 * 1024);
	EXPECT_LT(0, n);
	EXPECT_GE(64 * 1024, n);
	EXPECT_EQ(-1, write(fd, self->data, 4096));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(n, test_size(fd));
	EXPECT_EQ(n, test_size(file->fd));
	EXPECT_EQ(0, close(fd));
}

TEST_F(io, the_file_size_limit_gives_a_short_write_and_efbig)
{
	struct rlimit limit = { SIZE + 50, RLIM_INFINITY };

	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(50, pwrite(self->fd, self->data, 100, SIZE));
	EXPECT_EQ(-1, pwrite(self->fd, self->data, 100, SIZE + 50));
	EXPECT_EQ(EFBIG, errno);
	limit.rlim_cur = RLIM_INFINITY;
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(SIZE + 50, test_size(self->backing_fd));
	EXPECT_EQ(SIZE + 50, test_size(self->fd));
}

TEST_F(io, the_file_size_limit_sends_sigxfsz)
{
	struct rlimit limit = { SIZE, RLIM_INFINITY };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(-1, pwrite(self->fd, self->data, 100, SIZE));
	EXPECT_EQ(EFBIG, errno);
	ASSERT_EQ(0, sigpending(&set));
	EXPECT_EQ(1, sigismember(&set, SIGXFSZ));
	signal(SIGXFSZ, SIG_IGN);
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
}

/* Credentials: the server's for the backing file, the user's as a writer */

struct user_io {
	struct test_file *file;
	int flags;
	const void *data;
};

static int user_reads(void *arg)
{
	struct user_io *io = arg;
	char buf[100];
	int fd = test_open(io->file, O_RDONLY);

	if (fd < 0)
		return errno;
	if (read(fd, buf, sizeof(buf)) != sizeof(buf))
		return errno ? errno : 254;
	return memcmp(buf, io->data, sizeof(buf)) ? 253 : 0;
}

static int user_writes(void *arg)
{
	struct user_io *io = arg;
	int fd = test_open(io->file, O_WRONLY | io->flags);

	if (fd < 0)
		return errno;
	return write(fd, io->data, 100) == 100 ? 0 : errno;
}

static int user_opens_the_backing_file(void *arg)
{
	struct user_io *io = arg;
	char path[PATH_MAX];

	if (open(test_backing_path(io->file, path), O_RDONLY) < 0)
		return errno;
	return 0;
}

TEST_F(io, the_backing_file_is_used_with_the_servers_credentials)
{
	struct user_io io = { .file = self->file, .data = self->data };

	ASSERT_EQ(0, fchmod(self->backing_fd, 0600));
	ASSERT_EQ(EACCES, test_as_user(user_opens_the_backing_file, &io));
	EXPECT_EQ(0, test_as_user(user_reads, &io));
	EXPECT_EQ(0, test_as_user(user_writes, &io));
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data, 100));
}

static bool answer_as_a_directory(struct test_env *env, struct fuse_req *req)
{
	struct fuse_attr_out out = { .attr.mode = S_IFDIR | 0755 };

	if (req->in->opcode != FUSE_GETATTR)
		return false;
	fuse_reply(req, &out, sizeof(out));
	return true;
}

TEST_F(io, of_an_inode_that_became_another_type_fails)
{
	struct statx stx;

	self->env.hook = answer_as_a_directory;
	ASSERT_EQ(-1, statx(self->fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
			    STATX_BASIC_STATS, &stx));
	ASSERT_EQ(EIO, errno);
	EXPECT_EQ(-1, pread(self->fd, self->buf, 1, 0));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pwrite(self->fd, self->data, 1, 0));
	EXPECT_EQ(EIO, errno);
}

/* Those who watch either file see what is done to it. */

TEST_F(io, write_and_splice_are_seen_by_watchers_of_both_files)
{
	static const enum way ways[] = { PLAIN, VECTORED, SPLICE };
	char path[PATH_MAX], backing[PATH_MAX];
	uint32_t user_saw, backing_saw, usual;
	int user_watch, backing_watch;
	size_t i;

	user_watch = test_watch(test_path(self->file, path), IN_MODIFY);
	backing_watch = test_watch(test_backing_path(self->file, backing),
				   IN_MODIFY);
	ASSERT_LE(0, user_watch);
	ASSERT_LE(0, backing_watch);
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		/* overlayfs makes no event for splice() itself */
		ASSERT_EQ(100, do_write(ways[i], self->backing_fd, self->data,
					100, 0));
		usual = test_events(backing_watch);
		ASSERT_EQ(100, do_write(ways[i], self->fd, self->data, 100, 0));
		user_saw = test_events(user_watch);
		backing_saw = test_events(backing_watch);
		ASSERT_OR_XFAIL(return, &self->env,
				user_saw && backing_saw == usual,
				"makes no event for %s, by way %zu",
				user_saw ? "the backing file" : "the FUSE file",
				i);
	}
	close(user_watch);
	close(backing_watch);
}

TEST_F(io, open_and_close_are_seen_by_watchers_of_both_files)
{
	const uint32_t both = IN_OPEN | IN_CLOSE_NOWRITE;
	char path[PATH_MAX], backing[PATH_MAX];
	uint32_t backing_saw;
	int user_watch, backing_watch;
	int fd;

	user_watch = test_watch(test_path(self->file, path), both);
	backing_watch = test_watch(test_backing_path(self->file, backing), both);
	ASSERT_LE(0, user_watch);
	ASSERT_LE(0, backing_watch);
	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	close(fd);
	/* The server has got the RELEASE */
	ASSERT_TRUE(test_sync(&self->env) == 0);
	EXPECT_EQ(both, test_events(user_watch));
	backing_saw = test_events(backing_watch);
	ASSERT_OR_XFAIL(return, &self->env, backing_saw == both,
			"makes events %#x for the backing file", backing_saw);
	close(user_watch);
	close(backing_watch);
}

TEST_HARNESS_MAIN
