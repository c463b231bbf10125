// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: splice, sendfile and copy_file_range move data from and to
 * the backing file, as they do on a local file, and the server hears nothing
 * of it.
 */
#include "test_common.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE	4096
#define SIZE	(3 * PAGE + 123)	/* of the file; a pipe holds it */
#define LARGE	(3 * 1024 * 1024 + 7)

FIXTURE(splice)
{
	struct test_env env;
	struct test_file *file;
	int fd;			/* through the mount */
	int backing_fd;
	int local_fd;		/* a file that FUSE knows nothing of */
	int pipe[2];
	char *data;		/* what both files have at first */
	char *buf;		/* of size LARGE, as data */
	bool may_getxattr;	/* GETXATTRs are accounted for */
};

FIXTURE_SETUP(splice)
{
	struct test_env *env = &self->env;
	char path[PATH_MAX];

	self->data = calloc(1, LARGE);
	self->buf = calloc(1, LARGE);
	ASSERT_TRUE(self->data && self->buf);
	test_pattern(self->data, LARGE, 1);
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC));

	ASSERT_EQ(0, test_setup(env));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->fd = test_open_new(env, "file", self->data, SIZE, O_RDWR,
				 &self->file);
	ASSERT_LE(0, self->fd);
	self->backing_fd = self->file->fd;

	test_pathf(path, "%s/local", env->backing);
	ASSERT_EQ(0, test_write_file(path, self->data, SIZE));
	self->local_fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->local_fd);
}

/* Each test also proves that the server was not asked for data. */
FIXTURE_TEARDOWN(splice)
{
	struct test_env *env = &self->env;

	close(self->fd);
	close(self->local_fd);
	close(self->pipe[0]);
	close(self->pipe[1]);
	EXPECT_EQ(0, test_count(env, FUSE_READ));
	EXPECT_EQ(0, test_count(env, FUSE_WRITE));
	/* Mainline is found out by splice_writes_cost_no_request */
	if (!self->may_getxattr && !test_on_mainline(env))
		EXPECT_EQ(0, test_count(env, FUSE_GETXATTR));
	test_teardown(env);
	free(self->data);
	free(self->buf);
}

static off_t position_of(int fd)
{
	return lseek(fd, 0, SEEK_CUR);
}

/* Reads exactly @len bytes, of a stream too. */
static bool read_all(int fd, void *buf, size_t len)
{
	ssize_t n;

	for (; len; buf += n, len -= n) {
		n = read(fd, buf, len);
		if (n <= 0)
			return false;
	}
	return true;
}

/* Writes @len bytes, which the pipe has room for, and splices them to @fd. */
static ssize_t splice_write(const int pipe[2], int fd, off_t *off,
			    const void *data, size_t len, unsigned int flags)
{
	if (write(pipe[1], data, len) != (ssize_t)len)
		return -1;
	return splice(pipe[0], NULL, fd, off, len, flags);
}

/* From the file to a pipe */

TEST_F(splice, to_a_pipe_gets_the_backing_file_and_moves_the_position)
{
	ASSERT_EQ(5000, splice(self->fd, NULL, self->pipe[1], NULL, 5000, 0));
	EXPECT_EQ(5000, position_of(self->fd));
	ASSERT_EQ(100, splice(self->fd, NULL, self->pipe[1], NULL, 100, 0));
	EXPECT_EQ(5100, position_of(self->fd));
	ASSERT_TRUE(read_all(self->pipe[0], self->buf, 5100));
	EXPECT_EQ(0, memcmp(self->buf, self->data, 5100));
	EXPECT_EQ(0, test_data_requests(&self->env));
}

TEST_F(splice, to_a_pipe_at_an_offset_leaves_the_position)
{
	off_t off = 4095;

	ASSERT_EQ(5000, splice(self->fd, &off, self->pipe[1], NULL, 5000, 0));
	EXPECT_EQ(4095 + 5000, off);
	EXPECT_EQ(0, position_of(self->fd));
	ASSERT_TRUE(read_all(self->pipe[0], self->buf, 5000));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 4095, 5000));
}

TEST_F(splice, to_a_pipe_ends_at_eof)
{
	off_t off = SIZE - 10;

	EXPECT_EQ(10, splice(self->fd, &off, self->pipe[1], NULL, 100, 0));
	EXPECT_EQ(SIZE, off);
	EXPECT_EQ(0, splice(self->fd, &off, self->pipe[1], NULL, 100, 0));
	EXPECT_EQ(SIZE, off);
	off = SIZE + PAGE;
	EXPECT_EQ(0, splice(self->fd, &off, self->pipe[1], NULL, 100, 0));
	ASSERT_EQ(10, read(self->pipe[0], self->buf, 100));
	EXPECT_EQ(0, memcmp(self->buf, self->data + SIZE - 10, 10));
}

TEST_F(splice, to_a_pipe_sees_the_eof_of_the_backing_file)
{
	off_t off = SIZE;

	/* The server's own doing, of which FUSE knows nothing */
	ASSERT_EQ(10, pwrite(self->backing_fd, self->data, 10, SIZE));
	EXPECT_EQ(10, splice(self->fd, &off, self->pipe[1], NULL, 100, 0));
	ASSERT_EQ(0, ftruncate(self->backing_fd, 5));
	off = 0;
	EXPECT_EQ(5, splice(self->fd, &off, self->pipe[1], NULL, 100, 0));
}

TEST_F(splice, to_a_pipe_sees_what_was_written_just_before)
{
	off_t off = 50;

	ASSERT_EQ(100, pwrite(self->fd, self->data + 7, 100, 50));
	ASSERT_EQ(100, splice(self->fd, &off, self->pipe[1], NULL, 100, 0));
	ASSERT_EQ(100, read(self->pipe[0], self->buf, 100));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 7, 100));
}

TEST_F(splice, to_a_pipe_stops_when_the_pipe_is_full)
{
	ssize_t n;

	ASSERT_EQ(LARGE, pwrite(self->fd, self->data, LARGE, 0));
	n = splice(self->fd, NULL, self->pipe[1], NULL, LARGE, 0);
	ASSERT_LT(0, n);
	ASSERT_GE(fcntl(self->pipe[1], F_GETPIPE_SZ), n);
	EXPECT_EQ(n, position_of(self->fd));
	EXPECT_TRUE(read_all(self->pipe[0], self->buf, n));
	EXPECT_EQ(0, memcmp(self->buf, self->data, n));
}

TEST_F(splice, to_a_full_pipe_is_eagain_when_it_must_not_block)
{
	int room = fcntl(self->pipe[1], F_GETPIPE_SZ);

	ASSERT_LE(room, LARGE);
	ASSERT_EQ(room, write(self->pipe[1], self->data, room));
	EXPECT_EQ(-1, splice(self->fd, NULL, self->pipe[1], NULL, 100,
			     SPLICE_F_NONBLOCK));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, position_of(self->fd));
}

TEST_F(splice, to_a_pipe_does_not_heed_splice_f_move)
{
	ASSERT_EQ(SIZE, splice(self->fd, NULL, self->pipe[1], NULL, SIZE,
			       SPLICE_F_MOVE | SPLICE_F_MORE));
	ASSERT_TRUE(read_all(self->pipe[0], self->buf, SIZE));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data, SIZE));
}

/* From a pipe to the file */

TEST_F(splice, from_a_pipe_reaches_the_backing_file_and_moves_the_position)
{
	const char *new = self->data + SIZE;

	ASSERT_EQ(5000, splice_write(self->pipe, self->fd, NULL, new, 5000, 0));
	EXPECT_EQ(5000, position_of(self->fd));
	ASSERT_EQ(77, splice_write(self->pipe, self->fd, NULL, new + 5000, 77,
				   0));
	EXPECT_EQ(5077, position_of(self->fd));
	EXPECT_TRUE(test_has(self->backing_fd, 0, new, 5077));
	EXPECT_TRUE(test_has(self->backing_fd, 5077, self->data + 5077,
			     SIZE - 5077));
}

TEST_F(splice, from_a_pipe_at_an_offset_leaves_the_position)
{
	const char *new = self->data + SIZE;
	off_t off = 3000;

	ASSERT_EQ(5000, splice_write(self->pipe, self->fd, &off, new, 5000, 0));
	EXPECT_EQ(8000, off);
	EXPECT_EQ(0, position_of(self->fd));
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data, 3000));
	EXPECT_TRUE(test_has(self->backing_fd, 3000, new, 5000));
	EXPECT_TRUE(test_has(self->fd, 3000, new, 5000));
}

TEST_F(splice, from_a_pipe_takes_only_what_is_there)
{
	off_t off = 0;

	ASSERT_EQ(10, write(self->pipe[1], self->data + 9, 10));
	EXPECT_EQ(10, splice(self->pipe[0], NULL, self->fd, &off, 100, 0));
	EXPECT_EQ(-1, splice(self->pipe[0], NULL, self->fd, &off, 100,
			     SPLICE_F_NONBLOCK));
	EXPECT_EQ(EAGAIN, errno);
	close(self->pipe[1]);
	EXPECT_EQ(0, splice(self->pipe[0], NULL, self->fd, &off, 100, 0));
	EXPECT_EQ(10, off);
	EXPECT_EQ(SIZE, test_size(self->backing_fd));
}

TEST_F(splice, from_a_pipe_does_not_heed_splice_f_move)
{
	const char *new = self->data + SIZE;
	off_t off = 0;

	ASSERT_EQ(2 * PAGE, splice_write(self->pipe, self->fd, &off, new,
					 2 * PAGE, SPLICE_F_MOVE));
	EXPECT_TRUE(test_has(self->backing_fd, 0, new, 2 * PAGE));
}

TEST_F(splice, from_one_file_to_another_through_a_pipe_copies)
{
	off_t from = 100, to = 2 * PAGE + 1;
	int fd;

	fd = test_open_new(&self->env, "other", "", 0, O_RDWR, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(9000, splice(self->fd, &from, self->pipe[1], NULL, 9000, 0));
	ASSERT_EQ(9000, splice(self->pipe[0], NULL, fd, &to, 9000,
			       SPLICE_F_MOVE));
	EXPECT_EQ(2 * PAGE + 1 + 9000, test_size(fd));
	EXPECT_TRUE(test_has(fd, 2 * PAGE + 1, self->data + 100, 9000));
	/* The two do not share pages: what changes one leaves the other */
	ASSERT_EQ(100, pwrite(fd, self->buf, 100, 2 * PAGE + 1));
	EXPECT_TRUE(test_has(self->fd, 0, self->data, SIZE));
	EXPECT_EQ(0, close(fd));
}

TEST_F(splice, from_memory_through_a_pipe_copies)
{
	struct iovec iov;
	off_t off = 100;
	char *mem;

	mem = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	memcpy(mem, self->data + SIZE, 2 * PAGE);
	iov = (struct iovec) { mem, 2 * PAGE };
	ASSERT_EQ(2 * PAGE, vmsplice(self->pipe[1], &iov, 1, SPLICE_F_GIFT));
	ASSERT_EQ(2 * PAGE, splice(self->pipe[0], NULL, self->fd, &off,
				   2 * PAGE, SPLICE_F_MOVE));
	EXPECT_EQ(100 + 2 * PAGE, off);
	memset(mem, 0, 2 * PAGE);
	EXPECT_TRUE(test_has(self->backing_fd, 100, self->data + SIZE,
			     2 * PAGE));
	EXPECT_EQ(0, munmap(mem, 2 * PAGE));
}

TEST_F(splice, from_a_pipe_to_an_o_append_file_is_einval_as_on_a_local_file)
{
	int append = test_open(self->file, O_WRONLY | O_APPEND);
	off_t off = 0;

	ASSERT_LE(0, append);
	ASSERT_EQ(0, fcntl(self->local_fd, F_SETFL, O_APPEND));
	ASSERT_EQ(10, write(self->pipe[1], self->data, 10));

	EXPECT_EQ(-1, splice(self->pipe[0], NULL, self->local_fd, NULL, 10, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, splice(self->pipe[0], NULL, append, NULL, 10, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, splice(self->pipe[0], NULL, append, &off, 10, 0));
	EXPECT_EQ(EINVAL, errno);

	EXPECT_EQ(SIZE, test_size(self->backing_fd));
	EXPECT_EQ(0, close(append));
}

TEST_F(splice, wrong_access_modes_are_ebadf)
{
	int rd = test_open(self->file, O_RDONLY);
	int wr = test_open(self->file, O_WRONLY);

	ASSERT_LE(0, rd);
	ASSERT_LE(0, wr);
	ASSERT_EQ(10, write(self->pipe[1], self->data, 10));
	EXPECT_EQ(-1, splice(self->pipe[0], NULL, rd, NULL, 10, 0));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, splice(wr, NULL, self->pipe[1], NULL, 10, 0));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(10, splice(self->pipe[0], NULL, wr, NULL, 10, 0));
	EXPECT_EQ(10, splice(rd, NULL, self->pipe[1], NULL, 10, 0));
	EXPECT_EQ(0, close(rd));
	EXPECT_EQ(0, close(wr));
}

/* What FUSE knows of the file afterwards */

TEST_F(splice, stat_sees_the_size_after_each_splice_write)
{
	off_t off = SIZE - 5;

	EXPECT_EQ(SIZE, test_size(self->fd));
	ASSERT_EQ(10, splice_write(self->pipe, self->fd, &off, self->data, 10,
				   0));
	EXPECT_EQ(SIZE + 5, test_size(self->fd));
	EXPECT_EQ(SIZE + 5, test_size(self->backing_fd));
	off = 0;
	ASSERT_EQ(10, splice_write(self->pipe, self->fd, &off, self->data, 10,
				   0));
	EXPECT_EQ(SIZE + 5, test_size(self->fd));
	EXPECT_EQ(SIZE + 5, lseek(self->fd, 0, SEEK_END));
	ASSERT_EQ(10, splice_write(self->pipe, self->fd, NULL, self->data, 10,
				   0));
	EXPECT_EQ(SIZE + 15, test_size(self->fd));
}

TEST_F(splice, stat_sees_the_times_after_a_splice_write)
{
	const struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
	struct stat st, backing;

	ASSERT_EQ(0, futimens(self->fd, old));
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(1000, st.st_mtim.tv_sec);
	ASSERT_EQ(10, splice_write(self->pipe, self->fd, NULL, self->data, 10,
				   0));
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, fstat(self->backing_fd, &backing));
	EXPECT_LT(1000, st.st_mtim.tv_sec);
	EXPECT_EQ(backing.st_mtim.tv_sec, st.st_mtim.tv_sec);
	EXPECT_EQ(backing.st_mtim.tv_nsec, st.st_mtim.tv_nsec);
}

TEST_F(splice, splice_writes_cost_no_request)
{
	int before, i, xattrs;

	before = fuse_server_count_all(self->env.srv);
	for (i = 0; i < 20; i++)
		ASSERT_EQ(100, splice_write(self->pipe, self->fd, NULL,
					    self->data, 100, 0));
	xattrs = test_count(&self->env, FUSE_GETXATTR);
	ASSERT_OR_XFAIL(return, &self->env, !xattrs,
			"sends %d GETXATTR for 20 splices to a file", xattrs);
	EXPECT_EQ(before, (int)fuse_server_count_all(self->env.srv));
}

TEST_F(splice, splice_reads_cost_no_request)
{
	int before, i;

	before = fuse_server_count_all(self->env.srv);
	for (i = 0; i < 10; i++)
		ASSERT_EQ(100, splice(self->fd, NULL, self->pipe[1], NULL, 100,
				      0));
	EXPECT_EQ(before, (int)fuse_server_count_all(self->env.srv));
}

/* sendfile */

TEST_F(splice, sendfile_to_a_pipe_gets_the_backing_file)
{
	off_t off = 1;

	ASSERT_EQ(SIZE, sendfile(self->pipe[1], self->fd, NULL, SIZE));
	EXPECT_EQ(SIZE, position_of(self->fd));
	ASSERT_TRUE(read_all(self->pipe[0], self->buf, SIZE));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));

	ASSERT_EQ(5000, sendfile(self->pipe[1], self->fd, &off, 5000));
	EXPECT_EQ(5001, off);
	EXPECT_EQ(SIZE, position_of(self->fd));
	ASSERT_TRUE(read_all(self->pipe[0], self->buf, 5000));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 1, 5000));
}

TEST_F(splice, sendfile_to_a_socket_gets_the_backing_file)
{
	int sock[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));
	ASSERT_EQ(SIZE, sendfile(sock[1], self->fd, NULL, SIZE));
	ASSERT_TRUE(read_all(sock[0], self->buf, SIZE));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_EQ(0, close(sock[0]));
	EXPECT_EQ(0, close(sock[1]));
}

TEST_F(splice, sendfile_to_a_regular_file_copies_all_of_a_large_file)
{
	off_t off = 1;

	ASSERT_EQ(LARGE, pwrite(self->fd, self->data, LARGE, 0));
	ASSERT_EQ(LARGE - 1, sendfile(self->local_fd, self->fd, &off, LARGE));
	EXPECT_EQ(LARGE, off);
	EXPECT_EQ(LARGE - 1, test_size(self->local_fd));
	EXPECT_TRUE(test_has(self->local_fd, 0, self->data + 1, LARGE - 1));
}

TEST_F(splice, sendfile_from_a_regular_file_copies_all_of_a_large_file)
{
	ASSERT_EQ(LARGE, pwrite(self->local_fd, self->data, LARGE, 0));
	ASSERT_EQ(10, lseek(self->fd, 10, SEEK_SET));
	ASSERT_EQ(LARGE, sendfile(self->fd, self->local_fd, NULL, LARGE));
	EXPECT_EQ(LARGE + 10, position_of(self->fd));
	EXPECT_EQ(LARGE, position_of(self->local_fd));
	EXPECT_EQ(LARGE + 10, test_size(self->fd));
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data, 10));
	EXPECT_TRUE(test_has(self->backing_fd, 10, self->data, LARGE));
}

TEST_F(splice, sendfile_between_passthrough_files_copies)
{
	int fd = test_open_new(&self->env, "other", "", 0, O_RDWR, NULL);

	ASSERT_LE(0, fd);
	ASSERT_EQ(LARGE, pwrite(self->fd, self->data, LARGE, 0));
	ASSERT_EQ(LARGE, sendfile(fd, self->fd, NULL, LARGE + 1));
	EXPECT_EQ(LARGE, test_size(fd));
	EXPECT_TRUE(test_has(fd, 0, self->data, LARGE));
	EXPECT_EQ(0, close(fd));
}

TEST_F(splice, sendfile_ends_at_eof)
{
	off_t off = SIZE - 10;

	EXPECT_EQ(10, sendfile(self->pipe[1], self->fd, &off, 100));
	EXPECT_EQ(SIZE, off);
	EXPECT_EQ(0, sendfile(self->pipe[1], self->fd, &off, 100));
	off = SIZE + PAGE;
	EXPECT_EQ(0, sendfile(self->pipe[1], self->fd, &off, 100));
}

TEST_F(splice, sendfile_to_an_o_append_file_is_einval_as_on_a_local_file)
{
	int append = test_open(self->file, O_WRONLY | O_APPEND);
	int in = test_open(self->file, O_RDONLY);

	ASSERT_LE(0, append);
	ASSERT_LE(0, in);
	ASSERT_EQ(0, fcntl(self->local_fd, F_SETFL, O_APPEND));
	EXPECT_EQ(-1, sendfile(self->local_fd, in, NULL, 100));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, sendfile(append, in, NULL, 100));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(SIZE, test_size(self->backing_fd));
	EXPECT_EQ(0, close(in));
	EXPECT_EQ(0, close(append));
}

/*
 * copy_file_range: the server answers ENOSYS, once. Before it is asked, the VFS
 * asks it for security.capability, as for any file that is going to change.
 */

TEST_F(splice, copy_file_range_between_two_files_falls_back)
{
	off_t from = 1, to = 50;
	int fd;

	self->may_getxattr = true;
	fd = test_open_new(&self->env, "other", "", 0, O_RDWR, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(9000, copy_file_range(self->fd, &from, fd, &to, 9000, 0));
	EXPECT_EQ(1, test_count(&self->env, FUSE_COPY_FILE_RANGE));
	EXPECT_EQ(9001, from);
	EXPECT_EQ(9050, to);
	EXPECT_EQ(0, position_of(self->fd));
	EXPECT_EQ(0, position_of(fd));
	EXPECT_EQ(9050, test_size(fd));
	EXPECT_TRUE(test_has(fd, 50, self->data + 1, 9000));

	ASSERT_EQ(100, copy_file_range(self->fd, NULL, fd, NULL, 100, 0));
	EXPECT_EQ(100, position_of(self->fd));
	EXPECT_EQ(100, position_of(fd));
	EXPECT_TRUE(test_has(fd, 0, self->data, 100));
	EXPECT_EQ(0, close(fd));
}

TEST_F(splice, copy_file_range_copies_all_of_a_large_file)
{
	off_t from = 0, to = 0;
	ssize_t n;
	int fd;

	self->may_getxattr = true;
	fd = test_open_new(&self->env, "other", "", 0, O_RDWR, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(LARGE, pwrite(self->fd, self->data, LARGE, 0));
	/* The kernel may copy less at a time */
	do {
		n = copy_file_range(self->fd, &from, fd, &to, LARGE, 0);
		ASSERT_LE(0, n);
	} while (n);
	EXPECT_EQ(LARGE, from);
	EXPECT_EQ(LARGE, to);
	EXPECT_EQ(LARGE, test_size(fd));
	EXPECT_TRUE(test_has(fd, 0, self->data, LARGE));
	EXPECT_EQ(0, close(fd));
}

TEST_F(splice, copy_file_range_within_one_file_falls_back)
{
	off_t from = 10, to = SIZE + 7;

	self->may_getxattr = true;
	ASSERT_EQ(5000, copy_file_range(self->fd, &from, self->fd, &to, 5000,
					0));
	EXPECT_EQ(SIZE + 5007, test_size(self->fd));
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data, SIZE));
	EXPECT_TRUE(test_has(self->backing_fd, SIZE + 7, self->data + 10,
			     5000));
}

TEST_F(splice, copy_file_range_within_one_file_must_not_overlap)
{
	off_t from = 0, to = 100;

	EXPECT_EQ(-1, copy_file_range(self->fd, &from, self->fd, &to, 200, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data, SIZE));
}

TEST_F(splice, copy_file_range_ends_at_the_eof_of_the_backing_file)
{
	off_t from = SIZE, to = 0;
	int fd;

	self->may_getxattr = true;
	fd = test_open_new(&self->env, "other", "", 0, O_RDWR, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, copy_file_range(self->fd, &from, fd, &to, 100, 0));
	/* Through FUSE: the VFS goes by the size that FUSE knows */
	ASSERT_EQ(10, pwrite(self->fd, self->data, 10, SIZE));
	EXPECT_EQ(10, copy_file_range(self->fd, &from, fd, &to, 100, 0));
	EXPECT_EQ(10, test_size(fd));
	EXPECT_EQ(0, close(fd));
}

TEST_F(splice, copy_file_range_costs_no_request_once_the_server_said_enosys)
{
	int fd, before, i, sent;

	self->may_getxattr = true;
	fd = test_open_new(&self->env, "other", "", 0, O_RDWR, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(100, copy_file_range(self->fd, NULL, fd, NULL, 100, 0));
	before = fuse_server_count_all(self->env.srv);
	for (i = 0; i < 10; i++)
		ASSERT_EQ(100, copy_file_range(self->fd, NULL, fd, NULL, 100,
					       0));
	sent = (int)fuse_server_count_all(self->env.srv) - before;
	EXPECT_EQ(0, close(fd));
	ASSERT_OR_XFAIL(return, &self->env, !sent,
			"sends %d requests for 10 copies", sent);
}

/* Errors and limits of the backing file */

TEST_F(splice, a_full_file_system_gives_enospc)
{
	struct test_env *env = &self->env;
	char dir[PATH_MAX], path[PATH_MAX];
	struct test_file *file;
	ssize_t n, sum = 0;
	int fd;

	ASSERT_EQ(0, test_mount(env, "small", "tmpfs", "size=64k", dir));
	test_pathf(path, "%s/file", dir);
	ASSERT_EQ(0, test_write_file(path, "", 0));
	file = test_add_path(env, "small", path, O_RDWR);
	ASSERT_TRUE(!!file);
	ASSERT_LT(0, test_back(file));
	fd = test_open(file, O_RDWR);
	ASSERT_LE(0, fd);

	while (sum <= 64 * 1024) {
		n = splice_write(self->pipe, fd, NULL, self->data, PAGE, 0);
		if (n < 0)
			break;
		sum += n;
	}
	EXPECT_EQ(-1, n);
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_LT(0, sum);
	EXPECT_EQ(sum, test_size(fd));
	EXPECT_EQ(sum, test_size(file->fd));
	EXPECT_EQ(0, close(fd));
}

TEST_F(splice, the_file_size_limit_gives_a_short_splice_and_efbig)
{
	struct rlimit limit = { SIZE + 50, RLIM_INFINITY };
	off_t off = SIZE;

	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(50, splice_write(self->pipe, self->fd, &off, self->data, 100,
				   0));
	EXPECT_EQ(SIZE + 50, off);
	/* The other 50 bytes are still there */
	EXPECT_EQ(-1, splice(self->pipe[0], NULL, self->fd, &off, 50, 0));
	EXPECT_EQ(EFBIG, errno);
	limit.rlim_cur = RLIM_INFINITY;
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(SIZE + 50, test_size(self->backing_fd));
	EXPECT_EQ(SIZE + 50, test_size(self->fd));
	EXPECT_EQ(50, splice(self->pipe[0], NULL, self->fd, &off, 50, 0));
	EXPECT_TRUE(test_has(self->backing_fd, SIZE, self->data, 100));
}

TEST_F(splice, the_file_size_limit_sends_sigxfsz)
{
	struct rlimit limit = { SIZE, RLIM_INFINITY };
	off_t off = SIZE;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(-1, splice_write(self->pipe, self->fd, &off, self->data, 100,
				   0));
	EXPECT_EQ(EFBIG, errno);
	ASSERT_EQ(0, sigpending(&set));
	EXPECT_EQ(1, sigismember(&set, SIGXFSZ));
	signal(SIGXFSZ, SIG_IGN);
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
}

TEST_F(splice, the_file_size_limit_holds_for_sendfile)
{
	struct rlimit limit = { SIZE + 50, RLIM_INFINITY };
	off_t off = 0;

	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(SIZE, lseek(self->fd, 0, SEEK_END));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(50, sendfile(self->fd, self->local_fd, &off, 100));
	EXPECT_EQ(-1, sendfile(self->fd, self->local_fd, &off, 100));
	EXPECT_EQ(EFBIG, errno);
	limit.rlim_cur = RLIM_INFINITY;
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(SIZE + 50, test_size(self->backing_fd));
	EXPECT_EQ(SIZE + 50, test_size(self->fd));
}

/* Credentials: the server's for the backing file, the user's as a writer */

struct user_io {
	struct test_file *file;
	int from;		/* to sendfile from; -1: splice */
	const void *data;
};

static int user_splices_from(void *arg)
{
	struct user_io *io = arg;
	char buf[100];
	int fd = test_open(io->file, O_RDONLY);
	int pipe[2];

	if (fd < 0 || pipe2(pipe, O_CLOEXEC))
		return errno;
	if (splice(fd, NULL, pipe[1], NULL, 100, 0) != 100)
		return errno ? errno : 254;
	if (!read_all(pipe[0], buf, 100))
		return 253;
	return memcmp(buf, io->data, 100) ? 252 : 0;
}

static int user_splices_to(void *arg)
{
	struct user_io *io = arg;
	int fd = test_open(io->file, O_WRONLY);
	int pipe[2];
	off_t off = 0;
	ssize_t n;

	if (fd < 0 || pipe2(pipe, O_CLOEXEC))
		return errno;
	if (io->from >= 0)
		n = sendfile(fd, io->from, &off, 100);
	else
		n = splice_write(pipe, fd, &off, io->data, 100, 0);
	if (n != 100)
		return errno ? errno : 254;
	return 0;
}

TEST_F(splice, the_backing_file_is_used_with_the_servers_credentials)
{
	struct user_io io = { self->file, -1, self->data };

	ASSERT_EQ(0, fchmod(self->backing_fd, 0600));
	EXPECT_EQ(0, test_as_user(user_splices_from, &io));
	io.data += 77;
	EXPECT_EQ(0, test_as_user(user_splices_to, &io));
	EXPECT_TRUE(test_has(self->backing_fd, 0, self->data + 77, 100));
}

TEST_F(splice, a_users_splice_strips_setuid)
{
	struct user_io io = { self->file, -1, self->data };

	ASSERT_EQ(0, fchmod(self->fd, 04777));
	ASSERT_EQ(04777, test_mode(self->backing_fd));
	EXPECT_EQ(0, test_as_user(user_splices_to, &io));
	EXPECT_EQ(0777, test_mode(self->backing_fd));
	EXPECT_EQ(0777, test_mode(self->fd));
}

TEST_F(splice, a_users_splice_strips_setgid)
{
	struct user_io io = { self->file, -1, self->data };

	ASSERT_EQ(0, fchmod(self->fd, 02777));
	EXPECT_EQ(0, test_as_user(user_splices_to, &io));
	EXPECT_EQ(0777, test_mode(self->backing_fd));
	EXPECT_EQ(0777, test_mode(self->fd));
}

TEST_F(splice, a_users_sendfile_strips_setuid)
{
	struct user_io io = { self->file, self->local_fd, self->data };

	ASSERT_EQ(0, fchmod(self->fd, 06777));
	EXPECT_EQ(0, test_as_user(user_splices_to, &io));
	EXPECT_EQ(0777, test_mode(self->backing_fd));
	EXPECT_EQ(0777, test_mode(self->fd));
}

TEST_F(splice, a_users_splice_strips_setuid_that_only_the_backing_file_has)
{
	struct user_io io = { self->file, -1, self->data };
	mode_t mode;

	ASSERT_EQ(0, fchmod(self->backing_fd, 04777));
	ASSERT_EQ(0, test_as_user(user_splices_to, &io));
	mode = test_mode(self->backing_fd);
	ASSERT_OR_XFAIL(return, &self->env, mode == 0777,
			"leaves mode %#o after a user's splice", mode);
}

TEST_F(splice, roots_splice_keeps_setuid)
{
	ASSERT_EQ(0, fchmod(self->fd, 06777));
	EXPECT_EQ(100, splice_write(self->pipe, self->fd, NULL, self->data, 100,
				    0));
	EXPECT_EQ(06777, test_mode(self->backing_fd));
	EXPECT_EQ(06777, test_mode(self->fd));
}

TEST_F(splice, from_the_file_keeps_setuid)
{
	struct user_io io = { self->file, -1, self->data };

	ASSERT_EQ(0, fchmod(self->fd, 06777));
	EXPECT_EQ(0, test_as_user(user_splices_from, &io));
	EXPECT_EQ(06777, test_mode(self->backing_fd));
}

/* cap_net_raw+ep, as setcap(8) writes it */
static const unsigned char capability[20] = { 1, 0, 0, 2, 0, 0x20, 0, 0 };

TEST_F(splice, a_splice_strips_security_capability)
{
	char buf[100];

	if (fsetxattr(self->backing_fd, "security.capability", capability,
		      sizeof(capability), 0) && errno == EOPNOTSUPP)
		SKIP(return, "no security.capability on the backing file system");
	ASSERT_EQ((ssize_t)sizeof(capability),
		  fgetxattr(self->backing_fd, "security.capability", buf,
			    sizeof(buf)));
	ASSERT_EQ(100, splice_write(self->pipe, self->fd, NULL, self->data, 100,
				    0));
	EXPECT_EQ(-1, fgetxattr(self->backing_fd, "security.capability", buf,
				sizeof(buf)));
	EXPECT_EQ(ENODATA, errno);
}

/* Copies from one file to the other and back do not lock each other out. */

#define PING_PONG_SECONDS	1.5
#define PING_PONG_SIZE	(256 * 1024)

/* Copies the first PING_PONG_SIZE bytes. 0 or an errno */
static int copy_with_sendfile(int from, int to)
{
	off_t off = 0;
	ssize_t n;

	if (lseek(to, 0, SEEK_SET))
		return errno;
	while (off < PING_PONG_SIZE) {
		n = sendfile(to, from, &off, PING_PONG_SIZE - off);
		if (n <= 0)
			return n ? errno : EPIPE;
	}
	return 0;
}

static int copy_with_a_pipe(int from, int to)
{
	off_t in = 0, out = 0;
	int err = 0, pipe[2];
	ssize_t n;

	if (pipe2(pipe, O_CLOEXEC))
		return errno;
	while (!err && out < PING_PONG_SIZE) {
		n = splice(from, &in, pipe[1], NULL, PING_PONG_SIZE - in, 0);
		if (n > 0)
			n = splice(pipe[0], NULL, to, &out, n, 0);
		if (n <= 0)
			err = n ? errno : EPIPE;
		/* A local file takes all that is in the pipe */
		else if (in != out)
			err = EIO;
	}
	close(pipe[0]);
	close(pipe[1]);
	return err;
}

static pid_t start_copying(int (*copy)(int from, int to), int from, int to)
{
	double end = test_now() + PING_PONG_SECONDS;
	pid_t pid = fork();
	int err = 0;

	if (pid)
		return pid;
	while (!err && test_now() < end)
		err = copy(from, to);
	_exit(err);
}

static int end_copying(pid_t pid)
{
	int status = test_wait(pid, PING_PONG_SECONDS + 10);

	if (status < 0)
		kill(pid, SIGKILL);
	return status;
}

/* Every byte of the file is that of @a or of @b */
static bool either(int fd, const char *a, const char *b, char *buf)
{
	int i;

	if (pread(fd, buf, PING_PONG_SIZE, 0) != PING_PONG_SIZE)
		return false;
	for (i = 0; i < PING_PONG_SIZE; i++)
		if (buf[i] != a[i] && buf[i] != b[i])
			return false;
	return true;
}

FIXTURE(two_processes)
{
	struct test_env env;
	struct test_file *file[2];
	int fd[2][2];		/* each process has opens of its own */
	char *data[2];
	char *buf;
	pid_t pid[2];
};

FIXTURE_SETUP(two_processes)
{
	struct test_env *env = &self->env;
	int i;

	self->buf = calloc(1, PING_PONG_SIZE);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(0, test_setup(env));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	for (i = 0; i < 2; i++) {
		self->data[i] = malloc(PING_PONG_SIZE);
		ASSERT_TRUE(!!self->data[i]);
		test_pattern(self->data[i], PING_PONG_SIZE, 10 + i);
		self->fd[0][i] = test_open_new(env, i ? "b" : "a",
					       self->data[i], PING_PONG_SIZE,
					       O_RDWR, &self->file[i]);
		ASSERT_LE(0, self->fd[0][i]);
		self->fd[1][i] = test_open(self->file[i], O_RDWR);
		ASSERT_LE(0, self->fd[1][i]);
	}
}

FIXTURE_TEARDOWN(two_processes)
{
	int i;

	for (i = 0; i < 2; i++) {
		EXPECT_EQ(PING_PONG_SIZE, test_size(self->fd[0][i]));
		EXPECT_TRUE(either(self->file[i]->fd, self->data[0],
				   self->data[1], self->buf));
		close(self->fd[0][i]);
		close(self->fd[1][i]);
	}
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
	if (!test_on_mainline(&self->env))
		EXPECT_EQ(0, test_count(&self->env, FUSE_GETXATTR));
	test_teardown(&self->env);
	free(self->data[0]);
	free(self->data[1]);
	free(self->buf);
}

TEST_F(two_processes, that_splice_both_ways_through_pipes_do_not_hang)
{
	self->pid[0] = start_copying(copy_with_a_pipe, self->fd[0][0],
				     self->fd[0][1]);
	self->pid[1] = start_copying(copy_with_a_pipe, self->fd[1][1],
				     self->fd[1][0]);
	EXPECT_EQ(0, end_copying(self->pid[0]));
	EXPECT_EQ(0, end_copying(self->pid[1]));
}

TEST_F(two_processes, that_sendfile_both_ways_do_not_hang)
{
	self->pid[0] = start_copying(copy_with_sendfile, self->fd[0][0],
				     self->fd[0][1]);
	self->pid[1] = start_copying(copy_with_sendfile, self->fd[1][1],
				     self->fd[1][0]);
	EXPECT_EQ(0, end_copying(self->pid[0]));
	EXPECT_EQ(0, end_copying(self->pid[1]));
}

/* One of them bypasses FUSE and takes the backing file system's locks only. */
TEST_F(two_processes, of_which_one_uses_the_backing_files_do_not_hang)
{
	self->pid[0] = start_copying(copy_with_a_pipe, self->fd[0][0],
				     self->fd[0][1]);
	self->pid[1] = start_copying(copy_with_a_pipe, self->file[1]->fd,
				     self->file[0]->fd);
	EXPECT_EQ(0, end_copying(self->pid[0]));
	EXPECT_EQ(0, end_copying(self->pid[1]));
}

TEST_HARNESS_MAIN
