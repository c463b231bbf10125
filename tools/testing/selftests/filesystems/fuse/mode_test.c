// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: how the opens of one file fit together. All of them see the
 * same data, whatever their replies say.
 */
#include "test_common.h"

#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define SIZE	8192
#define SECONDS	10	/* that nothing takes which does not wait */

FIXTURE(modes)
{
	struct test_env env;
	struct test_file *file;
	int dev;
	int id;
	char data[SIZE];
	char buf[SIZE];
};

FIXTURE_SETUP(modes)
{
	struct test_env *env = &self->env;

	test_pattern(self->data, SIZE, 3);
	ASSERT_EQ(0, test_setup(env));
	self->file = test_add_file(env, "file", self->data, SIZE);
	ASSERT_TRUE(!!self->file);
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->dev = fuse_server_dev(env->srv);
	self->id = test_back(self->file);
	ASSERT_LT(0, self->id);
}

FIXTURE_TEARDOWN(modes)
{
	test_teardown(&self->env);
}

/* Each of the two sees what the other writes. 0, or the step that went wrong */
static int try_coherence(int a, int b)
{
	char buf[8];

	if (pwrite(a, "from a  ", 8, 4090) != 8)
		return 1;
	if (pread(b, buf, 8, 4090) != 8 || memcmp(buf, "from a  ", 8))
		return 2;
	if (pwrite(b, "from b  ", 8, 4090) != 8)
		return 3;
	if (pread(a, buf, 8, 4090) != 8 || memcmp(buf, "from b  ", 8))
		return 4;
	return 0;
}

TEST_F(modes, another_id_of_the_same_file_is_accepted)
{
	int first = test_open(self->file, O_RDWR);
	int second;

	ASSERT_LE(0, first);
	self->file->backing_id = fuse_backing_open(self->dev, self->file->fd);
	ASSERT_LT(0, self->file->backing_id);
	ASSERT_NE(self->id, self->file->backing_id);
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses another id of the same file with %s",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
	EXPECT_EQ(0, test_data_requests(&self->env));

	/* The inode keeps its backing file when the first id's opens are gone. */
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(0, test_backing_close(self->dev, self->id));
	EXPECT_EQ(SIZE, pread(second, self->buf, SIZE, 0));
	EXPECT_EQ(0, close(second));
}

TEST_F(modes, an_id_of_another_link_is_accepted)
{
	char path[PATH_MAX], link_path[PATH_MAX];
	int first, second, fd;

	test_backing_path(self->file, path);
	test_pathf(link_path, "%s/link", self->env.backing);
	ASSERT_EQ(0, link(path, link_path));
	first = test_open(self->file, O_RDWR);
	ASSERT_LE(0, first);

	fd = open(link_path, O_RDWR | O_CLOEXEC);
	self->file->backing_id = fuse_backing_open(self->dev, fd);
	ASSERT_LT(0, self->file->backing_id);
	close(fd);
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses another link of the same file with %s",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
}

TEST_F(modes, id_zero_stands_for_the_backing_file_in_use)
{
	int first = test_open(self->file, O_RDWR);
	int second;

	ASSERT_LE(0, first);
	self->file->backing_id = 0;
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses id 0 with %s", strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(SIZE, pread(second, self->buf, SIZE, 0));
	EXPECT_EQ(0, test_data_requests(&self->env));
}

TEST_F(modes, an_open_without_the_flag_joins)
{
	int first = test_open(self->file, O_RDWR);
	int second;

	ASSERT_LE(0, first);
	self->file->open_flags = 0;
	self->file->backing_id = 0;
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses an open without FOPEN_PASSTHROUGH with %s",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
	EXPECT_EQ(0, test_data_requests(&self->env));

	/* It keeps the mode, too */
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(SIZE, pread(second, self->buf, SIZE, 0));
	EXPECT_EQ(0, test_data_requests(&self->env));
	EXPECT_EQ(0, close(second));
	EXPECT_EQ(2, test_releases(self->file));
}

TEST_F(modes, direct_io_with_the_flag_asks_the_server)
{
	char *map;
	int fd;

	self->file->open_flags |= FOPEN_DIRECT_IO;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	ASSERT_EQ(4, pwrite(fd, "data", 4, 0));
	EXPECT_LT(0, test_count(&self->env, FUSE_WRITE));

	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(map, "data", 4));
	memcpy(map, "DATA", 4);
	EXPECT_EQ(4, pread(self->file->fd, self->buf, 4, 0));
	EXPECT_EQ(0, memcmp(self->buf, "DATA", 4));
	EXPECT_EQ(0, munmap(map, SIZE));
}

TEST_F(modes, direct_io_without_the_flag_joins)
{
	int first = test_open(self->file, O_RDWR);
	int second;
	char *map;

	ASSERT_LE(0, first);
	self->file->open_flags = FOPEN_DIRECT_IO;
	self->file->backing_id = 0;
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses an open with FOPEN_DIRECT_IO alone with %s",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	EXPECT_LT(0, test_count(&self->env, FUSE_WRITE));

	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, second, 0);
	ASSERT_OR_XFAIL(return, &self->env, map != MAP_FAILED,
			"cannot map it: %s", strerror(errno));
	memcpy(map, "DATA", 4);
	EXPECT_EQ(4, pread(first, self->buf, 4, 0));
	EXPECT_EQ(0, memcmp(self->buf, "DATA", 4));
	EXPECT_EQ(0, munmap(map, SIZE));
}

static int id_of_path(struct test_env *env, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);
	int id = fuse_backing_open(fuse_server_dev(env->srv), fd);

	close(fd);
	return id;
}

TEST_F(modes, an_id_of_an_o_path_file_is_accepted)
{
	int first = test_open(self->file, O_RDWR);
	char path[PATH_MAX];
	int second;

	ASSERT_LE(0, first);
	test_backing_path(self->file, path);
	self->file->backing_id = id_of_path(&self->env, path, O_PATH);
	ASSERT_LT(0, self->file->backing_id);
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses another id of the same file with %s",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
}

/* Another mount of it, with other flags, is the same file */
TEST_F(modes, an_id_of_another_mount_is_accepted)
{
	int first = test_open(self->file, O_RDWR);
	char dir[PATH_MAX], path[PATH_MAX];
	int second;

	ASSERT_LE(0, first);
	test_pathf(dir, "%s/bind", self->env.dir);
	test_pathf(path, "%s/%s", dir, self->file->name);
	ASSERT_EQ(0, mkdir(dir, 0755));
	ASSERT_EQ(0, mount(self->env.backing, dir, NULL, MS_BIND, NULL));
	self->file->backing_id = id_of_path(&self->env, path, O_RDWR);
	EXPECT_LT(0, self->file->backing_id);
	second = test_open(self->file, O_RDWR);
	EXPECT_EQ(0, umount2(dir, MNT_DETACH));
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses another mount of the same file with %s",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
}

TEST_F(modes, id_zero_needs_no_id_that_is_still_open)
{
	int first = test_open(self->file, O_RDWR);
	int second;

	ASSERT_LE(0, first);
	ASSERT_EQ(0, test_backing_close(self->dev, self->id));
	self->file->backing_id = 0;
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses id 0 with %s", strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
}

TEST_F(modes, id_zero_means_nothing_when_the_mode_has_ended)
{
	int fd = test_open(self->file, O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, close(fd));
	self->file->backing_id = 0;
	EXPECT_EQ(-1, test_open(self->file, O_RDWR));
	EXPECT_EQ(EIO, errno);
}

TEST_F(modes, id_zero_goes_with_direct_io)
{
	int first = test_open(self->file, O_RDWR);
	int second;

	ASSERT_LE(0, first);
	self->file->backing_id = 0;
	self->file->open_flags |= FOPEN_DIRECT_IO;
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses id 0 with %s", strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	EXPECT_LT(0, test_count(&self->env, FUSE_WRITE));
}

TEST_F(modes, id_zero_joins_what_only_a_mapping_keeps)
{
	int fd = test_open(self->file, O_RDWR);
	char *map;

	ASSERT_LE(0, fd);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, close(fd));
	self->file->backing_id = 0;
	fd = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, fd >= 0,
			"refuses id 0 beside a mapping with %s",
			strerror(errno));
	memcpy(map, "mapped", 6);
	ASSERT_EQ(6, read(fd, self->buf, 6));
	EXPECT_EQ(0, memcmp(self->buf, "mapped", 6));
	EXPECT_EQ(0, test_data_requests(&self->env));
	EXPECT_EQ(0, munmap(map, SIZE));
}

TEST_F(modes, keep_cache_without_the_flag_joins)
{
	int first = test_open(self->file, O_RDWR);
	int second;

	ASSERT_LE(0, first);
	self->file->open_flags = FOPEN_KEEP_CACHE;
	self->file->backing_id = 0;
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses an open without FOPEN_PASSTHROUGH with %s",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
	EXPECT_EQ(0, test_data_requests(&self->env));
}

/* Each open has a file of its own on the backing path, with its own access */
TEST_F(modes, a_reader_joins_a_writer)
{
	int first = test_open(self->file, O_WRONLY);
	int second;

	ASSERT_LE(0, first);
	self->file->open_flags = 0;
	second = test_open(self->file, O_RDONLY);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses an open without FOPEN_PASSTHROUGH with %s",
			strerror(errno));
	ASSERT_EQ(3, pwrite(first, "new", 3, 0));
	ASSERT_EQ(3, pread(second, self->buf, 3, 0));
	EXPECT_EQ(0, memcmp(self->buf, "new", 3));
	EXPECT_EQ(-1, pwrite(second, "x", 1, 0));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
}

TEST_F(modes, direct_io_with_the_flag_splices_by_the_server)
{
	int fd;

	self->file->open_flags |= FOPEN_DIRECT_IO;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(100, do_read(SPLICE, fd, self->buf, 100, 50));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 50, 100));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	ASSERT_EQ(100, do_write(SPLICE, fd, self->data, 100, 50));
	EXPECT_LT(0, test_count(&self->env, FUSE_WRITE));
	ASSERT_EQ(100, pread(self->file->fd, self->buf, 100, 50));
	EXPECT_EQ(0, memcmp(self->buf, self->data, 100));
	EXPECT_EQ(0, test_cached_bytes(self->file, 0, SIZE));
}

TEST_F(modes, direct_io_alone_is_no_mode)
{
	int direct, fd;

	self->file->open_flags = FOPEN_DIRECT_IO;
	direct = test_open(self->file, O_RDWR);
	ASSERT_LE(0, direct);
	self->file->open_flags = FOPEN_PASSTHROUGH;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, try_coherence(direct, fd));
}

/* It would fill the page cache, which nobody keeps in step with the file */
TEST_F(modes, direct_io_alone_is_not_mapped_beside_passthrough)
{
	int direct, fd;
	void *map;

	self->file->open_flags = FOPEN_DIRECT_IO;
	direct = test_open(self->file, O_RDWR);
	ASSERT_LE(0, direct);
	self->file->open_flags = FOPEN_PASSTHROUGH;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);

	map = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, direct, 0);
	EXPECT_EQ(MAP_FAILED, map);
	EXPECT_EQ(ENODEV, errno);

	/* Without passthrough it is, and that is cached I/O. */
	EXPECT_EQ(0, close(fd));
	test_sync(&self->env);
	map = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, direct, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(map, self->data, SIZE));
	fd = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, fd == -1 && errno == EIO,
			"opens it in passthrough mode while its pages are mapped");
	EXPECT_EQ(0, munmap(map, SIZE));
	EXPECT_EQ(0, close(direct));
	fd = test_open(self->file, O_RDWR);
	EXPECT_LE(0, fd);
}

TEST_F(modes, the_last_close_ends_the_mode)
{
	int first = test_open(self->file, O_RDWR);
	int second = test_open(self->file, O_RDWR);
	int cached;

	ASSERT_LE(0, first);
	ASSERT_LE(0, second);
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(0, close(second));
	test_sync(&self->env);

	self->file->open_flags = 0;
	cached = test_open(self->file, O_RDWR);
	ASSERT_LE(0, cached);
	ASSERT_EQ(SIZE, pread(cached, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, close(cached));
}

TEST_F(modes, pages_from_before_are_not_seen)
{
	int fd;

	self->file->open_flags = 0;
	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, close(fd));
	ASSERT_EQ(3, pwrite(self->file->fd, "new", 3, 0));
	memcpy(self->data, "new", 3);

	self->file->open_flags = FOPEN_PASSTHROUGH;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	ASSERT_EQ(5, pwrite(fd, "newer", 5, 100));
	memcpy(self->data + 100, "newer", 5);
	EXPECT_EQ(0, close(fd));
	test_sync(&self->env);

	self->file->open_flags = FOPEN_KEEP_CACHE;
	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_EQ(0, close(fd));
}

/*
 * What is left of a mode when its file has been closed. That close() has
 * returned, or that a process has gone, does not mean that the kernel is through
 * with the file. The next open must not fail for that, though there is only one
 * mode at a time: cached, or one of two backing files.
 */

enum { CACHED, BACKED, BACKED_BY_OTHER, MODES };

FIXTURE(closed)
{
	struct test_env env;
	struct test_file *file;
	struct test_file *other;
	int id[MODES];
};

/* Whoever uses the file in its present mode */
struct user {
	struct test_file *file;
	int (*use)(struct user *user);
	int direct;		/* O_DIRECT, if the file system has it */
	int pipe[2];

	/* If that is done by a thread of its own */
	pthread_t thread;
	sem_t go;
	sem_t done;
	int ret;
	bool end;
};

/*
 * Ways of using, and closing, the file. Each returns 0, or an errno, or minus
 * the process that has closed it, but is still there.
 */

static int map_and_touch(int fd, char **map)
{
	*map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (*map == MAP_FAILED)
		return errno;
	/* It is a page of zeros */
	return (*map)[SIZE - 1] ? EIO : 0;
}

static int use_and_close(struct user *user)
{
	int fd = test_open(user->file, O_RDWR);
	char c;

	if (fd < 0 || pread(fd, &c, 1, 0) != 1)
		return errno;
	return close(fd) ? errno : 0;
}

static int use_and_unmap(struct user *user)
{
	int fd = test_open(user->file, O_RDWR);
	char *map;
	int err;

	if (fd < 0)
		return errno;
	err = map_and_touch(fd, &map);
	close(fd);
	if (!err && munmap(map, SIZE))
		err = errno;
	return err;
}

/* The last reference is dropped after the caller has learnt of the end */
static int use_by_aio(struct user *user)
{
	int fd = test_open(user->file, O_RDWR | user->direct);
	void *page = NULL;
	ssize_t n;

	if (fd < 0 || posix_memalign(&page, 4096, 4096))
		return errno;
	n = do_read(AIO, fd, page, 4096, 0);
	close(fd);
	free(page);
	return n == 4096 ? 0 : EIO;
}

static int use_and_send(struct user *user)
{
	char control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { "x", 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int sock[2], err = 0;
	int fd = test_open(user->file, O_RDWR);

	if (fd < 0 || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sock))
		return errno;
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	if (sendmsg(sock[0], &msg, 0) != 1)
		err = errno;
	close(fd);
	close(sock[0]);
	close(sock[1]);
	return err;
}

static int leave_to_exit(void *arg)
{
	struct user *user = arg;
	int fd = test_open(user->file, O_RDWR);
	char *map;

	if (fd < 0 || dup(fd) < 0)
		return errno;
	return map_and_touch(fd, &map);
}

static int use_and_exit(struct user *user)
{
	return test_in_child(leave_to_exit, user);
}

static void *thread_of_exiting(void *arg)
{
	leave_to_exit(arg);
	return NULL;
}

/* Two threads have it open and mapped */
static int leave_to_exit_of_two(void *arg)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, thread_of_exiting, arg);

	return err ? err : leave_to_exit(arg);
}

static int use_and_exit_with_threads(struct user *user)
{
	return test_in_child(leave_to_exit_of_two, user);
}

/* Says when it has begun to use the file; what ends it is up to the caller. */
static pid_t start_using(struct user *user, bool exec)
{
	pid_t pid;
	char *map;
	int fd;

	if (pipe2(user->pipe, O_CLOEXEC))
		return -1;
	pid = fork();
	if (pid) {
		close(user->pipe[1]);
		return pid;
	}
	fd = test_open(user->file, O_RDWR);
	/* The pipe is closed after it when this process executes a program */
	user->pipe[1] = fcntl(user->pipe[1], F_DUPFD_CLOEXEC, fd + 1);
	if (fd < 0 || map_and_touch(fd, &map))
		_exit(1);
	if (write(user->pipe[1], "x", 1) != 1)
		_exit(2);
	while (!exec)
		pause();
	setenv("FUSE_TEST_PAUSE", "1", 1);
	execl("/proc/self/exe", "mode_test", NULL);
	_exit(3);
}

static int end_using(struct user *user, pid_t pid)
{
	int status;

	close(user->pipe[0]);
	kill(pid, SIGKILL);
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) ? 0 : EIO;
}

static int use_and_be_killed(struct user *user)
{
	pid_t pid = start_using(user, false);
	int err = 0;
	char c;

	if (pid < 0)
		return errno;
	if (read(user->pipe[0], &c, 1) != 1)
		err = EIO;
	return end_using(user, pid) ? EIO : err;
}

/* Until the exec has closed the pipe, which it does after the file */
static int use_and_exec(struct user *user)
{
	pid_t pid = start_using(user, true);
	int err = 0;
	char c;

	if (pid < 0)
		return errno;
	if (read(user->pipe[0], &c, 1) != 1 || read(user->pipe[0], &c, 1) != 0)
		err = EIO;
	if (err)
		end_using(user, pid);
	/* The next open comes while the program is still there */
	return err ? err : -pid;
}

FIXTURE_VARIANT(closed)
{
	int (*use)(struct user *user);
	int times;
	bool thread;		/* in another thread */
};

FIXTURE_VARIANT_ADD(closed, by_this_thread)
{
	.use = use_and_close,
	.times = 60,
};

FIXTURE_VARIANT_ADD(closed, by_another_thread)
{
	.use = use_and_close,
	.times = 60,
	.thread = true,
};

FIXTURE_VARIANT_ADD(closed, by_its_munmap)
{
	.use = use_and_unmap,
	.times = 60,
};

FIXTURE_VARIANT_ADD(closed, by_a_munmap_of_another_thread)
{
	.use = use_and_unmap,
	.times = 60,
	.thread = true,
};

FIXTURE_VARIANT_ADD(closed, after_io_submit)
{
	.use = use_by_aio,
	.times = 60,
};

FIXTURE_VARIANT_ADD(closed, in_a_socket)
{
	.use = use_and_send,
	.times = 60,
};

FIXTURE_VARIANT_ADD(closed, by_an_exit)
{
	.use = use_and_exit,
	.times = 20,
};

FIXTURE_VARIANT_ADD(closed, by_an_exit_of_two_threads)
{
	.use = use_and_exit_with_threads,
	.times = 20,
};

FIXTURE_VARIANT_ADD(closed, by_a_signal)
{
	.use = use_and_be_killed,
	.times = 20,
};

FIXTURE_VARIANT_ADD(closed, by_an_exec)
{
	.use = use_and_exec,
	.times = 20,
};

FIXTURE_SETUP(closed)
{
	struct test_env *env = &self->env;
	static char data[SIZE];

	if (variant->use == use_by_aio && !test_has_aio())
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	ASSERT_EQ(0, test_setup(env));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->file = test_add_file(env, "file", data, SIZE);
	self->other = test_add_file(env, "other", data, SIZE);
	ASSERT_TRUE(self->file && self->other);
	self->id[BACKED] = test_back(self->file);
	self->id[BACKED_BY_OTHER] = test_back(self->other);
	ASSERT_TRUE(self->id[BACKED] > 0 && self->id[BACKED_BY_OTHER] > 0);
}

FIXTURE_TEARDOWN(closed)
{
	test_teardown(&self->env);
}

static void set_mode(struct test_file *file, int id)
{
	__atomic_store_n(&file->backing_id, id, __ATOMIC_RELAXED);
	__atomic_store_n(&file->open_flags, id ? FOPEN_PASSTHROUGH : 0,
			 __ATOMIC_RELAXED);
}

static void *use_in_turn(void *arg)
{
	struct user *user = arg;

	for (;;) {
		sem_wait(&user->go);
		if (user->end)
			return NULL;
		user->ret = user->use(user);
		sem_post(&user->done);
	}
}

static int start_thread(struct user *user)
{
	sem_init(&user->go, 0, 0);
	sem_init(&user->done, 0, 0);
	return pthread_create(&user->thread, NULL, use_in_turn, user);
}

static int use_in_thread(struct user *user)
{
	sem_post(&user->go);
	sem_wait(&user->done);
	return user->ret;
}

static int end_thread(struct user *user)
{
	user->end = true;
	sem_post(&user->go);
	return pthread_join(user->thread, NULL);
}

TEST_F(closed, does_not_make_an_open_fail)
{
	struct user user = { .file = self->file, .use = variant->use };
	char path[PATH_MAX];
	int i, fd, used;

	fd = open(test_backing_path(self->file, path), O_RDWR | O_DIRECT);
	user.direct = fd < 0 ? 0 : O_DIRECT;
	close(fd);

	ASSERT_EQ(0, start_thread(&user));
	for (i = 0; i < variant->times; i++) {
		set_mode(self->file, self->id[i % MODES]);
		used = variant->thread ? use_in_thread(&user) : user.use(&user);
		ASSERT_OR_XFAIL(return, &self->env, used != EIO,
				"refuses an open after another was closed");
		ASSERT_LE(used, 0);

		set_mode(self->file, self->id[(i + 1) % MODES]);
		fd = test_open(self->file, O_RDWR);
		if (used < 0)
			EXPECT_EQ(0, end_using(&user, -used));
		ASSERT_OR_XFAIL(return, &self->env, fd >= 0,
				"refuses an open after another was closed");
		ASSERT_EQ(0, close(fd));
	}
	ASSERT_EQ(0, end_thread(&user));
}

/* An open of another thread */
struct opener {
	pthread_t thread;
	struct test_file *file;
	int fd;
	int err;
};

static void *open_it(void *arg)
{
	struct opener *opener = arg;

	opener->fd = test_open(opener->file, O_RDWR);
	opener->err = errno;
	return NULL;
}

/*
 * A file that has been closed while a read of another thread was under way, to
 * which the server takes its time: the mode goes on until that has ended, and
 * the open waits for it.
 */

FIXTURE(reading)
{
	struct test_env env;
	struct test_file *file;
	enum way way;		/* of reading */
	int fd;			/* cached */
	pthread_t reader;	/* 0: there is none */
};

static bool hold_reads(struct test_env *env, struct fuse_req *req)
{
	struct test_file *file = &env->file[0];

	if (req->in->opcode != FUSE_READ)
		return false;
	sem_post(&file->arrived);
	while (sem_wait(&file->go) && errno == EINTR)
		;
	sem_post(&file->go);
	return false;
}

FIXTURE_VARIANT(reading)
{
	enum way way;
	int flags;
	uint32_t open_flags;	/* of the open that comes then */
};

FIXTURE_VARIANT_ADD(reading, read)
{
	.way = PLAIN,
	.open_flags = FOPEN_PASSTHROUGH,
};

FIXTURE_VARIANT_ADD(reading, read_and_keep_cache)
{
	.way = PLAIN,
	.open_flags = FOPEN_PASSTHROUGH | FOPEN_KEEP_CACHE,
};

FIXTURE_VARIANT_ADD(reading, splice)
{
	.way = SPLICE,
	.open_flags = FOPEN_PASSTHROUGH,
};

/* The file is kept by what has been submitted alone */
FIXTURE_VARIANT_ADD(reading, direct_aio)
{
	.way = AIO,
	.flags = O_DIRECT,
	.open_flags = FOPEN_PASSTHROUGH,
};

static void *read_a_page(void *arg)
{
	struct _test_data_reading *self = arg;
	void *page = aligned_alloc(4096, 4096);
	ssize_t done;

	done = page ? do_read(self->way, self->fd, page, 4096, 0) : -ENOMEM;
	free(page);
	return (void *)(done == 4096 ? 0L : 1L);
}

FIXTURE_SETUP(reading)
{
	struct test_env *env = &self->env;
	static char data[SIZE];

	ASSERT_EQ(0, test_setup(env));
	env->config.threads = 2;
	env->config.init_flags |= FUSE_ASYNC_DIO;
	env->hook = hold_reads;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->file = test_add_file(env, "file", data, SIZE);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	self->file->open_flags = 0;
	self->way = variant->way;
	if (variant->way == AIO && !test_has_aio())
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	self->fd = test_open(self->file, O_RDWR | variant->flags);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, pthread_create(&self->reader, NULL, read_a_page, self));
	ASSERT_EQ(0, sem_wait(&self->file->arrived));
	self->file->open_flags = variant->open_flags;
}

/* Was it read? */
static bool end_read(struct test_file *file, pthread_t *reader)
{
	void *ret = (void *)1;

	sem_post(&file->go);
	if (*reader)
		pthread_join(*reader, &ret);
	*reader = 0;
	return !ret;
}

FIXTURE_TEARDOWN(reading)
{
	if (self->file)
		end_read(self->file, &self->reader);
	test_teardown(&self->env);
}

TEST_F(reading, a_closed_file_makes_an_open_wait)
{
	struct opener opener = { .file = self->file, .fd = -1 };
	char c;

	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, pthread_create(&opener.thread, NULL, open_it, &opener));
	/* So that it has begun to wait; if it has not, this shows less */
	usleep(200000);
	EXPECT_TRUE(end_read(self->file, &self->reader));
	ASSERT_EQ(0, pthread_join(opener.thread, NULL));
	ASSERT_OR_XFAIL(return, &self->env, opener.fd >= 0,
			"refuses an open after another was closed with %s",
			strerror(opener.err));
	EXPECT_EQ(1, pread(opener.fd, &c, 1, 0));
	EXPECT_EQ(1, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, close(opener.fd));
}

TEST_F(reading, an_open_that_waits_can_be_killed)
{
	int closed[2];
	int fd, status;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe2(closed, O_CLOEXEC));
	pid = fork();
	if (!pid) {
		close(self->fd);
		close(closed[1]);
		if (read(closed[0], &c, 1) != 1)
			_exit(errno);
		fd = test_open(self->file, O_RDWR);
		_exit(fd < 0 ? errno : 0);
	}
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(1, write(closed[1], "", 1));
	EXPECT_EQ(0, close(closed[0]));
	EXPECT_EQ(0, close(closed[1]));
	/* So that it has begun to wait; if it has not, this shows less */
	usleep(300000);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	status = test_wait(pid, SECONDS);
	ASSERT_NE(-1, status);
	EXPECT_TRUE(end_read(self->file, &self->reader));
	ASSERT_OR_XFAIL(return, &self->env, status == 255,
			"refuses an open after another was closed with %s",
			strerror(status));
}

/* Nobody has closed it */
TEST_F(reading, an_open_file_refuses_the_other_mode)
{
	struct opener opener = { .file = self->file, .fd = -1 };

	ASSERT_EQ(0, pthread_create(&opener.thread, NULL, open_it, &opener));
	usleep(100000);
	EXPECT_TRUE(end_read(self->file, &self->reader));
	ASSERT_EQ(0, pthread_join(opener.thread, NULL));
	EXPECT_EQ(-1, opener.fd);
	EXPECT_EQ(EIO, opener.err);
	EXPECT_EQ(0, close(self->fd));
}

/*
 * A process of one thread is in a read, which holds no reference of its own to
 * the file then. It is no closed one for that.
 */

FIXTURE(busy)
{
	struct test_env env;
	struct test_file *file;
	pid_t reader;
};

FIXTURE_SETUP(busy)
{
	struct test_env *env = &self->env;
	char page[64];
	int fd;

	ASSERT_EQ(0, test_setup(env));
	env->config.threads = 2;
	env->hook = hold_reads;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	memset(page, 1, sizeof(page));
	self->file = test_add_file(env, "file", page, sizeof(page));
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	self->file->open_flags = 0;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	self->reader = fork();
	ASSERT_LE(0, self->reader);
	if (!self->reader)
		_exit(pread(fd, page, sizeof(page), 0) != sizeof(page));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, sem_wait(&self->file->arrived));
	self->file->open_flags = FOPEN_PASSTHROUGH;
}

FIXTURE_TEARDOWN(busy)
{
	if (self->file)
		sem_post(&self->file->go);
	if (self->reader > 0)
		EXPECT_EQ(0, test_wait(self->reader, SECONDS));
	test_teardown(&self->env);
}

/* At once, though the read goes on */
TEST_F(busy, reader_refuses_the_other_mode)
{
	pid_t opener = fork();

	ASSERT_LE(0, opener);
	if (!opener)
		_exit(test_open(self->file, O_RDWR) < 0 ? errno : 0);
	EXPECT_EQ(EIO, test_wait(opener, SECONDS));
}

/* Does the thread end, whatever it may be waiting for? */
static bool ends_in_time(pthread_t thread)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += SECONDS;
	return !pthread_timedjoin_np(thread, NULL, &end);
}

/*
 * A file that is closed by the end of the last process that has it open, and
 * which is mapped by another, so that its mode goes on. That process takes its
 * time between the two steps of closing it, because it also has a mount namespace
 * to leave. There are many who open the file meanwhile.
 */

#define ROUNDS	20
#define OPENERS	16

FIXTURE(mapped)
{
	struct test_env env;
	struct test_file *file;
	int id, other_id;
	bool end;
};

/* NULL if all opens were refused as they should be */
static void *open_again(void *arg)
{
	struct _test_data_mapped *self = arg;
	int fd;

	while (!self->end) {
		fd = test_open(self->file, O_RDWR);
		if (fd >= 0 || errno != EIO)
			return self;
	}
	return NULL;
}

FIXTURE_SETUP(mapped)
{
	struct test_env *env = &self->env;
	static char data[SIZE];
	struct test_file *other;

	ASSERT_EQ(0, test_setup(env));
	env->config.threads = 2;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->file = test_add_file(env, "file", data, SIZE);
	other = test_add_file(env, "other", data, SIZE);
	ASSERT_TRUE(self->file && other);
	self->id = test_back(self->file);
	self->other_id = test_back(other);
	ASSERT_TRUE(self->id > 0 && self->other_id > 0);
}

FIXTURE_TEARDOWN(mapped)
{
	test_teardown(&self->env);
}

/* Opens the file, maps it, and leaves it to a process that waits. -1 or pid */
static pid_t leave_mapped_file(struct _test_data_mapped *self, char **map)
{
	pid_t pid;
	int fd;

	self->file->backing_id = self->id;
	fd = test_open(self->file, O_RDWR);
	if (fd < 0)
		return -1;
	*map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (*map == MAP_FAILED)
		return -1;
	pid = fork();
	if (!pid) {
		if (munmap(*map, SIZE) || unshare(CLONE_NEWNS))
			_exit(1);
		for (;;)
			pause();
	}
	close(fd);
	self->file->backing_id = self->other_id;
	return pid;
}

TEST_F(mapped, file_refuses_another_backing_file_in_time)
{
	pthread_t opener[OPENERS];
	int i, n, status, fd;
	char *map;
	pid_t pid;

	for (n = 0; n < ROUNDS; n++) {
		pid = leave_mapped_file(self, &map);
		ASSERT_LT(0, pid);
		self->end = false;
		for (i = 0; i < OPENERS; i++) {
			ASSERT_EQ(0, pthread_create(&opener[i], NULL,
						    open_again, self));
			usleep(3000);
		}
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(SIGKILL, WTERMSIG(status));
		self->end = true;
		for (i = 0; i < OPENERS; i++)
			ASSERT_TRUE(ends_in_time(opener[i]));

		fd = test_open(self->file, O_RDWR);
		ASSERT_OR_XFAIL(return, &self->env, fd < 0,
				"lets the mode end while there is a mapping");
		EXPECT_EQ(EIO, errno);
		ASSERT_EQ(0, munmap(map, SIZE));
		test_sync(&self->env);
	}
}

/*
 * A file that nobody has closed, though its fd was: io_uring has registered it,
 * and reads from it all the time, with one reference.
 */

#define DEPTH	8

FIXTURE(registered)
{
	struct test_env env;
	struct test_file *file;
	struct ring ring;
	pthread_t reader;
	bool end;
	void *page;
};

static void *keep_reading(void *arg)
{
	struct _test_data_registered *self = arg;
	struct ring *ring = &self->ring;
	unsigned int ready = DEPTH, under_way = 0;
	struct io_uring_sqe *sqe;
	uint32_t head;
	long bad = 0;

	while (ready || under_way) {
		unsigned int n = self->end ? 0 : ready;
		unsigned int i;

		for (i = 0; i < n; i++) {
			sqe = ring_next(ring);
			sqe->opcode = IORING_OP_READ;
			sqe->flags = IOSQE_FIXED_FILE;
			sqe->addr = (uintptr_t)self->page;
			sqe->len = 4096;
		}
		under_way += n;
		if (!under_way)
			break;
		if (ring_enter(ring, n, 1) < 0)
			return (void *)1;
		ready = 0;
		head = *ring->cq_head;
		while (head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)) {
			bad += ring->cqes[head++ & *ring->cq_mask].res != 4096;
			ready++;
		}
		__atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
		under_way -= ready;
	}
	return (void *)bad;
}

/* So that there are always some under way */
static bool read_slowly(struct test_env *env, struct fuse_req *req)
{
	if (req->in->opcode == FUSE_READ)
		usleep(5000);
	return false;
}

FIXTURE_SETUP(registered)
{
	struct test_env *env = &self->env;
	static char data[SIZE];
	int fd;

	self->ring.fd = -1;
	self->page = aligned_alloc(4096, 4096);
	ASSERT_NE(NULL, self->page);
	ASSERT_EQ(0, test_setup(env));
	env->config.threads = 2;
	env->config.init_flags |= FUSE_ASYNC_DIO;
	env->hook = read_slowly;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	if (ring_init(&self->ring, DEPTH))
		SKIP(_exit(255), "no io_uring: enable CONFIG_IO_URING");
	self->file = test_add_file(env, "file", data, SIZE);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	self->file->open_flags = 0;
	fd = test_open(self->file, O_RDWR | O_DIRECT);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, syscall(SYS_io_uring_register, self->ring.fd,
			     IORING_REGISTER_FILES, &fd, 1));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, pthread_create(&self->reader, NULL, keep_reading, self));
	self->file->open_flags = FOPEN_PASSTHROUGH;
}

FIXTURE_TEARDOWN(registered)
{
	ring_exit(&self->ring);
	test_teardown(&self->env);
	free(self->page);
}

TEST_F(registered, file_that_is_busy_refuses_the_other_mode_in_time)
{
	struct opener opener = { .file = self->file };
	void *bad = NULL;
	bool in_time;

	usleep(100000);
	ASSERT_EQ(0, pthread_create(&opener.thread, NULL, open_it, &opener));
	in_time = ends_in_time(opener.thread);
	self->end = true;
	ASSERT_EQ(0, pthread_join(self->reader, &bad));
	EXPECT_EQ(NULL, bad);
	ASSERT_TRUE(in_time);
	EXPECT_EQ(-1, opener.fd);
	EXPECT_EQ(EIO, opener.err);
}

/*
 * What was stored to a mapping of a cached open is still on its way to a slow
 * server when passthrough begins. It gets there first.
 */

FIXTURE(stored)
{
	struct test_env env;
	struct test_file *file;
	struct opener opener;
};

/* As long as there is nothing to take from @go */
static bool hold_writes(struct test_env *env, struct fuse_req *req)
{
	struct test_file *file = &env->file[0];

	if (req->in->opcode != FUSE_WRITE)
		return false;
	sem_post(&file->arrived);
	while (sem_wait(&file->go) && errno == EINTR)
		;
	sem_post(&file->go);
	return false;
}

/*
 * Stores to a mapping of a cached open that is gone afterwards. The kernel may
 * write what has been stored at once, and have whoever stores wait until the
 * server has it, so that WRITE is let through until then. Returns whether there
 * was one later, which the server holds.
 */
static bool store_and_close(struct test_file *file)
{
	int fd = test_open(file, O_RDWR);
	struct timespec end;
	char *map;

	if (fd < 0)
		return false;
	map = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return false;

	sem_post(&file->go);
	memcpy(map, "old!", 4);
	sem_wait(&file->go);
	while (!sem_trywait(&file->arrived))
		;
	munmap(map, 4);

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 2;
	return !sem_timedwait(&file->arrived, &end);
}

FIXTURE_SETUP(stored)
{
	struct test_env *env = &self->env;
	int tries = 5;

	ASSERT_EQ(0, test_setup(env));
	env->config.threads = 2;
	env->hook = hold_writes;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->file = test_add_file(env, "file", "....", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	self->file->open_flags = 0;
	while (!store_and_close(self->file))
		ASSERT_LT(0, --tries);
	self->file->open_flags = FOPEN_PASSTHROUGH;
	self->opener = (struct opener) { .file = self->file, .fd = -1 };
}

FIXTURE_TEARDOWN(stored)
{
	if (self->file)
		sem_post(&self->file->go);
	test_teardown(&self->env);
}

TEST_F(stored, data_get_to_the_server_first)
{
	struct opener *opener = &self->opener;
	char data[4] = "";

	ASSERT_EQ(0, pthread_create(&opener->thread, NULL, open_it, opener));
	/* An open that does not wait has ended by then, or this shows less */
	usleep(300000);
	if (opener->fd < 0)
		sem_post(&self->file->go);
	ASSERT_EQ(0, pthread_join(opener->thread, NULL));
	ASSERT_OR_XFAIL(return, &self->env, opener->fd >= 0,
			"refuses an open after another was closed with %s",
			strerror(opener->err));
	ASSERT_EQ(4, pwrite(opener->fd, "new!", 4, 0));
	sem_post(&self->file->go);
	ASSERT_EQ(0, close(opener->fd));
	ASSERT_EQ(0, fuse_server_abort(self->env.srv));
	/* The server's thread has been in its answer, and not further */
	usleep(100000);
	ASSERT_EQ(4, pread(self->file->fd, data, 4, 0));
	ASSERT_OR_XFAIL(return, &self->env, !memcmp(data, "new!", 4),
			"has an old store overwrite what was written later");
}

/*
 * An open that has not ended yet is not a closed one. It is held up by a backing
 * file on a second FUSE mount, whose server does not answer OPEN.
 */

FIXTURE(opening)
{
	struct test_env below;
	struct test_env env;
	struct test_file *deep;
	struct test_file *file;
	struct test_file *other;
	struct opener opener;
};

FIXTURE_SETUP(opening)
{
	struct test_env *env = &self->env;
	char path[PATH_MAX];

	ASSERT_EQ(0, test_setup(&self->below));
	ASSERT_EQ(0, test_setup(env));
	self->below.config.init_flags = FUSE_ASYNC_READ;
	ASSERT_EQ(0, test_start(&self->below));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->deep = test_add_file(&self->below, "deep", "deep", 4);
	ASSERT_TRUE(!!self->deep);
	/* It has no FLUSH. Let the kernel find out, so that no exit waits */
	ASSERT_EQ(0, close(test_open(self->deep, O_RDWR)));
	self->file = test_add_path(env, "file", test_path(self->deep, path),
				   O_RDWR);
	self->other = test_add_file(env, "other", "other", 5);
	ASSERT_TRUE(self->file && self->other);
	ASSERT_LT(0, test_back(self->file));
	ASSERT_LT(0, test_back(self->other));

	self->deep->hold_open = true;
	self->opener = (struct opener) { .file = self->file, .fd = -1 };
	ASSERT_EQ(0, pthread_create(&self->opener.thread, NULL, open_it,
				    &self->opener));
	ASSERT_EQ(0, sem_wait(&self->deep->arrived));
}

static void end_open(struct test_file *deep, struct opener *opener)
{
	if (!deep || !deep->hold_open)
		return;
	deep->hold_open = false;
	sem_post(&deep->go);
	pthread_join(opener->thread, NULL);
}

FIXTURE_TEARDOWN(opening)
{
	end_open(self->deep, &self->opener);
	test_teardown(&self->env);
	test_teardown(&self->below);
}

TEST_F(opening, keeps_the_mode)
{
	char buf[8];
	int fd;

	self->file->backing_id = self->other->backing_id;
	fd = test_open(self->file, O_RDWR);
	end_open(self->deep, &self->opener);
	/* Whichever of the two it is, there must not be two backing files */
	ASSERT_TRUE((fd < 0) != (self->opener.fd < 0));
	ASSERT_OR_XFAIL(return, &self->env, fd < 0,
			"lets the later of two opens succeed");
	EXPECT_EQ(4, read(self->opener.fd, buf, sizeof(buf)));
	EXPECT_EQ(0, close(self->opener.fd));

	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(5, read(fd, buf, sizeof(buf)));
	EXPECT_EQ(0, close(fd));
}

/*
 * The FUSE page cache stays empty, also if a file is there that could use
 * it while there is no passthrough: one that was opened with FOPEN_DIRECT_IO
 * only, before the others.
 */

FIXTURE(cache)
{
	struct test_env env;
	struct test_file *file;
	int direct;
	int fd;
	char data[SIZE];
	char buf[SIZE];
};

FIXTURE_SETUP(cache)
{
	struct test_env *env = &self->env;

	test_pattern(self->data, SIZE, 3);
	ASSERT_EQ(0, test_setup(env));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->file = test_add_file(env, "file", self->data, SIZE);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	self->file->open_flags = FOPEN_DIRECT_IO;
	self->direct = test_open(self->file, O_RDWR);
	ASSERT_LE(0, self->direct);
	self->file->open_flags = FOPEN_PASSTHROUGH;
	self->fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(cache)
{
	test_teardown(&self->env);
}

#define ASSERT_CACHE_IS_EMPTY(statement, after) do { \
	int reads_ = test_count(&self->env, FUSE_READ); \
	int cached_ = test_cached_bytes(self->file, 0, SIZE); \
	ASSERT_OR_XFAIL(statement, &self->env, !reads_ && !cached_, \
			"reads %d times, and caches %d bytes, after %s", \
			reads_, cached_, after); \
} while (0)

TEST_F(cache, is_empty_after_readahead)
{
	ASSERT_EQ(0, readahead(self->direct, 0, SIZE));
	ASSERT_CACHE_IS_EMPTY(return, "readahead(2)");
}

TEST_F(cache, is_empty_after_fadvise)
{
	static const int advice[] = {
		POSIX_FADV_SEQUENTIAL, POSIX_FADV_WILLNEED, POSIX_FADV_RANDOM,
		POSIX_FADV_DONTNEED, POSIX_FADV_NORMAL, POSIX_FADV_WILLNEED,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advice); i++)
		ASSERT_EQ(0, posix_fadvise(self->direct, 0, SIZE, advice[i]));
	EXPECT_EQ(EINVAL, posix_fadvise(self->direct, 0, -1,
					POSIX_FADV_WILLNEED));
	ASSERT_CACHE_IS_EMPTY(return, "posix_fadvise(3)");
}

TEST_F(cache, is_empty_after_mappings)
{
	static const int flags[] = { MAP_PRIVATE, MAP_SHARED };
	size_t i;
	char *map;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		map = mmap(NULL, SIZE, PROT_READ, flags[i], self->direct, 0);
		/* There is nothing that it could show */
		EXPECT_EQ(MAP_FAILED, map);
		EXPECT_EQ(ENODEV, errno);
		map = mmap(NULL, SIZE, PROT_READ, flags[i], self->fd, 0);
		ASSERT_NE(MAP_FAILED, map);
		EXPECT_EQ(0, memcmp(map, self->data, SIZE));
		EXPECT_EQ(0, munmap(map, SIZE));
	}
	ASSERT_CACHE_IS_EMPTY(return, "mmap(2)");
}

TEST_F(cache, is_empty_after_reads_of_the_direct_file)
{
	int n;

	ASSERT_EQ(SIZE, pread(self->direct, self->buf, SIZE, 0));
	ASSERT_EQ(100, do_read(SPLICE, self->direct, self->buf, 100, 0));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	n = test_cached_bytes(self->file, 0, SIZE);
	ASSERT_OR_XFAIL(return, &self->env, !n,
			"caches %d bytes after reads of the direct file",
			n);
}

TEST_F(cache, is_empty_after_readahead_of_a_direct_file_that_joined)
{
	int joined;

	self->file->open_flags = FOPEN_DIRECT_IO;
	joined = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, joined >= 0,
			"refuses an open with FOPEN_DIRECT_IO alone with %s",
			strerror(errno));
	ASSERT_EQ(0, readahead(joined, 0, SIZE));
	ASSERT_EQ(0, posix_fadvise(joined, 0, SIZE, POSIX_FADV_WILLNEED));
	ASSERT_CACHE_IS_EMPTY(return, "readahead(2)");
}

/* Its pages would be locked until the server has answered. */
TEST_F(cache, is_empty_after_readahead_of_a_direct_file_alone)
{
	ASSERT_EQ(0, close(self->fd));
	test_sync(&self->env);
	ASSERT_EQ(0, readahead(self->direct, 0, SIZE));
	ASSERT_EQ(0, posix_fadvise(self->direct, 0, SIZE,
				   POSIX_FADV_WILLNEED));
	test_sync(&self->env);
	ASSERT_CACHE_IS_EMPTY(return, "readahead(2) of a direct file");
}

/* What it had before */
TEST_F(cache, is_empty_when_the_mode_begins)
{
	ASSERT_EQ(0, close(self->fd));
	test_sync(&self->env);
	self->file->open_flags = 0;
	self->fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(SIZE, pread(self->fd, self->buf, SIZE, 0));
	ASSERT_EQ(0, close(self->fd));
	test_sync(&self->env);
	ASSERT_LT(0, test_cached_bytes(self->file, 0, SIZE));
	self->file->open_flags = FOPEN_PASSTHROUGH | FOPEN_KEEP_CACHE;
	self->fd = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, self->fd >= 0,
			"refuses FOPEN_KEEP_CACHE with %s", strerror(errno));
	EXPECT_EQ(0, test_cached_bytes(self->file, 0, SIZE));
	ASSERT_EQ(3, pwrite(self->fd, "new", 3, 0));
	ASSERT_EQ(3, pread(self->direct, self->buf, 3, 0));
	EXPECT_EQ(0, memcmp(self->buf, "new", 3));
}

TEST_F(cache, is_empty_after_notify_retrieve)
{
	ASSERT_EQ(SIZE, pread(self->fd, self->buf, SIZE, 0));
	ASSERT_EQ(SIZE, pwrite(self->fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, test_cached_bytes(self->file, 0, SIZE));
	EXPECT_EQ(0, test_cached_bytes(self->file, 0, SIZE));
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
}

TEST_F(cache, is_empty_after_notify_store_beyond_the_end)
{
	struct fuse_notify_store_out arg = {
		.nodeid = TEST_FILE_ID(self->file - self->env.file),
		.offset = SIZE,
		.size = SIZE,
	};
	off_t size;

	ASSERT_EQ(0, test_notify(&self->env, FUSE_NOTIFY_STORE, &arg,
				 sizeof(arg), self->data, SIZE));
	EXPECT_EQ(0, pread(self->fd, self->buf, SIZE, SIZE));
	/* The file is as long as it was */
	size = test_known_size(self->fd);
	ASSERT_OR_XFAIL(return, &self->env, size == SIZE,
			"has a size of %lld after NOTIFY_STORE, not %d",
			(long long)size, SIZE);
	EXPECT_EQ(0, test_cached_bytes(self->file, SIZE, SIZE));
}

TEST_F(cache, does_not_mind_notify_inval_inode)
{
	struct fuse_notify_inval_inode_out arg = {
		.ino = TEST_FILE_ID(self->file - self->env.file),
	};
	struct stat st;
	char *map;

	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	memcpy(map, "mapped", 6);
	ASSERT_EQ(7, pwrite(self->fd, "written", 7, 4096));
	for (arg.off = -1; arg.off <= 4096; arg.off += 4097) {
		ASSERT_EQ(0, test_notify(&self->env, FUSE_NOTIFY_INVAL_INODE,
					 &arg, sizeof(arg), NULL, 0));
		EXPECT_EQ(0, memcmp(map, "mapped", 6));
		EXPECT_EQ(0, memcmp(map + 4096, "written", 7));
		ASSERT_EQ(6, pread(self->fd, self->buf, 6, 0));
		EXPECT_EQ(0, memcmp(self->buf, "mapped", 6));
		ASSERT_EQ(0, fstat(self->fd, &st));
		EXPECT_EQ(SIZE, st.st_size);
	}
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
	EXPECT_EQ(0, munmap(map, SIZE));
}

/*
 * O_TRUNC that the server takes care of while it answers OPEN. The kernel does
 * not truncate once more: somebody may have written meanwhile.
 */

FIXTURE(o_trunc)
{
	struct test_env env;
	struct test_file *file;
	int fd;
	char data[SIZE];
	char buf[SIZE];
};

static bool truncate_at_open(struct test_env *env, struct fuse_req *req)
{
	const struct fuse_open_in *in = req->arg;
	struct test_file *file = &env->file[0];

	if (req->in->opcode == FUSE_OPEN && in->flags & O_TRUNC &&
	    ftruncate(file->fd, 0))
		return !fuse_reply_err(req, errno);
	/* It is opened as ever, and that may be held up */
	return false;
}

FIXTURE_SETUP(o_trunc)
{
	struct test_env *env = &self->env;

	test_pattern(self->data, SIZE, 3);
	ASSERT_EQ(0, test_setup(env));
	env->config.init_flags |= FUSE_ATOMIC_O_TRUNC;
	env->config.threads = 2;
	env->hook = truncate_at_open;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->fd = test_open_new(env, "file", self->data, SIZE, O_RDWR,
				 &self->file);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(o_trunc)
{
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
	EXPECT_EQ(0, test_count(&self->env, FUSE_SETATTR));
	test_teardown(&self->env);
}

TEST_F(o_trunc, empties_the_file_for_every_open)
{
	int fd = test_open(self->file, O_RDWR | O_TRUNC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, test_known_size(self->fd));
	EXPECT_EQ(0, test_size(self->fd));
	EXPECT_EQ(0, test_size(self->file->fd));
	EXPECT_EQ(0, pread(self->fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, pread(fd, self->buf, SIZE, 0));
	ASSERT_EQ(5, pwrite(fd, "again", 5, 10));
	EXPECT_EQ(15, test_size(self->fd));
	ASSERT_EQ(15, pread(self->fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf + 10, "again", 5));
}

TEST_F(o_trunc, empties_a_mapping)
{
	char *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, self->fd, 0);
	int fd;

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(map, self->data, SIZE));
	fd = test_open(self->file, O_RDWR | O_TRUNC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pwrite(fd, "x", 1, SIZE - 1));
	EXPECT_EQ(0, map[0]);
	EXPECT_EQ('x', map[SIZE - 1]);
	EXPECT_EQ(0, munmap(map, SIZE));
}

static void *open_with_o_trunc(void *arg)
{
	struct opener *opener = arg;

	opener->fd = test_open(opener->file, O_RDWR | O_TRUNC);
	opener->err = errno;
	return NULL;
}

/* The server has truncated, and answers when @len bytes have been written. */
static int write_during_open(struct test_file *file, int fd, const void *data,
			     size_t len)
{
	struct opener opener = { .file = file, .fd = -1 };
	ssize_t n;

	file->hold_open = true;
	if (pthread_create(&opener.thread, NULL, open_with_o_trunc, &opener))
		return -1;
	while (sem_wait(&file->arrived) && errno == EINTR)
		;
	n = pwrite(fd, data, len, 0);
	file->hold_open = false;
	sem_post(&file->go);
	pthread_join(opener.thread, NULL);
	return n == (ssize_t)len ? opener.fd : -1;
}

TEST_F(o_trunc, leaves_what_was_written_meanwhile)
{
	int fd = write_during_open(self->file, self->fd, self->data, 100);

	ASSERT_LE(0, fd);
	ASSERT_OR_XFAIL(return, &self->env, test_size(self->file->fd) == 100,
			"truncates to %lld bytes what was written since",
			(long long)test_size(self->file->fd));
	ASSERT_EQ(100, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, 100));
}

TEST_F(o_trunc, leaves_the_size_of_what_was_written_meanwhile_known)
{
	int fd = write_during_open(self->file, self->fd, self->data, 100);
	off_t size;

	ASSERT_LE(0, fd);
	size = test_known_size(fd);
	ASSERT_OR_XFAIL(return, &self->env, size == 100,
			"has a size of %lld after an open, not 100",
			(long long)size);
	EXPECT_EQ(100, test_size(fd));
}

/* The kernel stops copying at the size that it knows */
TEST_F(o_trunc, leaves_what_was_written_meanwhile_to_be_copied)
{
	int fd = write_during_open(self->file, self->fd, self->data, 100);
	off_t from = 0, to = 0;
	ssize_t n;
	int copy;

	ASSERT_LE(0, fd);
	copy = test_open_new(&self->env, "copy", "", 0, O_RDWR, NULL);
	ASSERT_LE(0, copy);
	n = copy_file_range(fd, &from, copy, &to, 100, 0);
	ASSERT_OR_XFAIL(return, &self->env, n == 100,
			"copies %zd bytes of 100", n);
}

TEST_F(o_trunc, of_a_refused_open_is_known)
{
	off_t size;

	self->file->backing_id = 4711;
	EXPECT_EQ(-1, test_open(self->file, O_RDWR | O_TRUNC));
	EXPECT_EQ(EIO, errno);
	/* It was done all the same */
	EXPECT_EQ(0, test_size(self->file->fd));
	EXPECT_EQ(0, pread(self->fd, self->buf, SIZE, 0));
	size = test_known_size(self->fd);
	ASSERT_OR_XFAIL(return, &self->env, !size,
			"has a size of %lld after it, not 0",
			(long long)size);
}

TEST_F(o_trunc, of_an_open_that_joins_empties_the_file)
{
	int fd;

	self->file->open_flags = 0;
	fd = test_open(self->file, O_RDWR | O_TRUNC);
	ASSERT_OR_XFAIL(return, &self->env, fd >= 0,
			"refuses an open without FOPEN_PASSTHROUGH with %s",
			strerror(errno));
	EXPECT_EQ(0, test_size(self->fd));
	EXPECT_EQ(0, pread(self->fd, self->buf, SIZE, 0));
	ASSERT_EQ(5, pwrite(fd, "again", 5, 0));
	ASSERT_EQ(5, pread(self->fd, self->buf, SIZE, 0));
}

TEST_HARNESS_MAIN
