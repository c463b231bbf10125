// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: what ends first. The server, the connection, the mount, an
 * id, an open file or the process that opens it.
 */
#include "test_common.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define MANY_IDS	10000
#define RACE_ROUNDS	500
#define RACE_SECONDS	3

/*
 * A file on a file system of its own, which can be unmounted if and only if
 * nothing uses it any more.
 */
FIXTURE(end)
{
	struct test_env env;
	struct test_file *file;
	char pinned[PATH_MAX];
	int fd;			/* through the mount */
	char buf[16];
};

FIXTURE_VARIANT(end)
{
	int (*end)(struct test_env *env);
};

static int kill_server(struct test_env *env)
{
	fuse_server_kill(env->srv);
	return 0;
}

static int abort_connection(struct test_env *env)
{
	return fuse_server_abort(env->srv);
}

static int force_umount(struct test_env *env)
{
	/* Aborts the connection, then finds the mount busy */
	umount2(env->mnt, MNT_FORCE);
	return 0;
}

static int lazy_umount(struct test_env *env)
{
	return umount2(env->mnt, MNT_DETACH);
}

static int close_id(struct test_env *env)
{
	return fuse_backing_close(fuse_server_dev(env->srv),
				  env->file[0].backing_id);
}

FIXTURE_VARIANT_ADD(end, of_the_server)
{
	.end = kill_server,
};

FIXTURE_VARIANT_ADD(end, of_the_connection)
{
	.end = abort_connection,
};

FIXTURE_VARIANT_ADD(end, of_the_mount_by_force)
{
	.end = force_umount,
};

FIXTURE_VARIANT_ADD(end, of_the_mount)
{
	.end = lazy_umount,
};

FIXTURE_VARIANT_ADD(end, of_the_id)
{
	.end = close_id,
};

static int start_pinned(struct test_env *env, char pinned[PATH_MAX],
			struct test_file **file)
{
	char path[PATH_MAX];

	if (test_mount(env, "pinned", "tmpfs", "size=8m", pinned) ||
	    test_write_file(test_pathf(path, "%s/file", pinned), "data", 4))
		return -1;
	*file = test_add_path(env, "file", path, O_RDWR);
	return *file ? test_back(*file) : -1;
}

FIXTURE_SETUP(end)
{
	ASSERT_EQ(0, test_setup(&self->env));
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
	ASSERT_LT(0, start_pinned(&self->env, self->pinned, &self->file));
	self->fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(end)
{
	if (self->fd >= 0)
		close(self->fd);
	test_teardown(&self->env);
	umount2(self->pinned, MNT_DETACH);
}

TEST_F(end, leaves_open_files_working)
{
	ASSERT_EQ(4, pread(self->fd, self->buf, 16, 0));
	ASSERT_EQ(0, variant->end(&self->env));

	EXPECT_EQ(4, pwrite(self->fd, "DATA", 4, 4));
	EXPECT_EQ(8, pread(self->fd, self->buf, 16, 0));
	EXPECT_EQ(0, memcmp(self->buf, "dataDATA", 8));
	EXPECT_EQ(8, lseek(self->fd, 8, SEEK_SET));
	EXPECT_EQ(2, write(self->fd, "xy", 2));
	EXPECT_EQ(0, pread(self->fd, self->buf, 16, 10));
	EXPECT_EQ(10, pread(self->file->fd, self->buf, 16, 0));
	EXPECT_EQ(0, memcmp(self->buf, "dataDATAxy", 10));
}

TEST_F(end, keeps_the_backing_file_of_an_open_file)
{
	ASSERT_EQ(0, variant->end(&self->env));
	test_close_backing(&self->env);
	EXPECT_EQ(-1, umount2(self->pinned, 0));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(4, pread(self->fd, self->buf, 16, 0));
}

TEST_F(end, and_close_release_the_backing_file)
{
	int ret;

	ASSERT_EQ(0, variant->end(&self->env));
	test_close_backing(&self->env);
	/* The server's error for FLUSH, if it is gone, is not of interest */
	close(self->fd);
	self->fd = -1;
	ret = test_umount(self->pinned);
	ASSERT_OR_XFAIL(return, &self->env, !ret,
			"keeps the backing file system busy after the last close: umount says %s",
			strerror(errno));
}

TEST_F(end, leaves_no_trace_after_the_server_has_stopped)
{
	ASSERT_EQ(0, variant->end(&self->env));
	close(self->fd);
	self->fd = -1;
	fuse_server_stop(self->env.srv);
	self->env.srv = NULL;
	test_close_backing(&self->env);
	EXPECT_EQ(0, test_umount(self->pinned));
}

FIXTURE(lifetime)
{
	struct test_env env;
	struct test_file *file;
	char pinned[PATH_MAX];
	int dev;
	char buf[16];
};

FIXTURE_SETUP(lifetime)
{
	ASSERT_EQ(0, test_setup(&self->env));
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
	ASSERT_LT(0, start_pinned(&self->env, self->pinned, &self->file));
	self->dev = fuse_server_dev(self->env.srv);
}

FIXTURE_TEARDOWN(lifetime)
{
	test_teardown(&self->env);
	umount2(self->pinned, MNT_DETACH);
}

/* Nothing of the server's own is left that uses the backing file system. */
static int stop_and_umount(struct test_env *env, const char *pinned)
{
	if (env->srv)
		fuse_server_stop(env->srv);
	env->srv = NULL;
	test_close_backing(env);
	return test_umount(pinned);
}

TEST_F(lifetime, a_mount_with_an_open_file_is_busy)
{
	int fd = test_open(self->file, O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, umount2(self->env.mnt, 0));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(4, read(fd, self->buf, 16));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, test_umount(self->env.mnt));
}

TEST_F(lifetime, an_unmounted_file_system_releases_open_backing_files)
{
	int fd = test_open(self->file, O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, umount2(self->env.mnt, MNT_DETACH));
	EXPECT_EQ(4, read(fd, self->buf, 16));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, stop_and_umount(&self->env, self->pinned));
}

TEST_F(lifetime, a_deleted_backing_file_goes_on_working)
{
	int fd = test_open(self->file, O_RDWR);
	char path[PATH_MAX];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, unlink(test_pathf(path, "%s/file", self->pinned)));
	EXPECT_EQ(4, pwrite(fd, "DATA", 4, 4));
	EXPECT_EQ(8, pread(fd, self->buf, 16, 0));
	EXPECT_EQ(0, close(fd));

	/* An id stands for the inode, not for its name */
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(8, pread(fd, self->buf, 16, 0));
	EXPECT_EQ(0, close(fd));
}

TEST_F(lifetime, a_replaced_backing_file_is_still_the_old_one)
{
	char path[PATH_MAX];
	int fd;

	test_pathf(path, "%s/file", self->pinned);
	ASSERT_EQ(0, unlink(path));
	ASSERT_EQ(0, test_write_file(path, "new!", 4));
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, read(fd, self->buf, 16));
	EXPECT_EQ(0, memcmp(self->buf, "data", 4));
	EXPECT_EQ(0, close(fd));
}

TEST_F(lifetime, a_duplicated_file_is_released_at_its_last_close)
{
	int fd = test_open(self->file, O_RDWR);
	int copy = dup(fd);

	ASSERT_LE(0, copy);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, test_releases(self->file));
	EXPECT_EQ(4, read(copy, self->buf, 16));
	EXPECT_EQ(0, close(copy));
	EXPECT_EQ(1, test_releases(self->file));
}

TEST_F(lifetime, many_ids_go_with_the_connection)
{
	int i, last = 0;

	for (i = 0; i < MANY_IDS; i++) {
		int id = fuse_backing_open(self->dev, self->file->fd);

		ASSERT_LT(last, id);
		last = id;
	}
	EXPECT_EQ(0, test_backing_close(self->dev, last - MANY_IDS / 2));
	EXPECT_EQ(0, stop_and_umount(&self->env, self->pinned));
}

static int open_many(void *arg)
{
	int i;

	for (i = 0; i < 200; i++)
		if (test_open(arg, O_RDWR) < 0)
			return 1;
	return 0;
}

TEST_F(lifetime, many_open_files_go_with_their_process)
{
	ASSERT_EQ(0, test_in_child(open_many, self->file));
	EXPECT_EQ(200, test_opens(self->file));
	EXPECT_TRUE(test_all_released(self->file));
	EXPECT_EQ(0, stop_and_umount(&self->env, self->pinned));
}

/* Opens race with the end of the ids that their replies name. */

struct race {
	struct test_file *file;
	int dev;
	bool stop;
	int ids;
	bool failed;
};

static void *change_ids(void *arg)
{
	struct race *race = arg;

	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
		int old = race->file->backing_id;

		if (test_back(race->file) < 0 ||
		    fuse_backing_close(race->dev, old)) {
			race->failed = true;
			break;
		}
		race->ids++;
	}
	return NULL;
}

TEST_F(lifetime, opens_race_with_the_closing_of_ids)
{
	struct race race = { .file = self->file, .dev = self->dev };
	double end = test_now() + RACE_SECONDS;
	int fd, i, good = 0, bad = 0;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, change_ids, &race));
	for (i = 0; i < RACE_ROUNDS && test_now() < end; i++) {
		fd = test_open(self->file, O_RDWR);
		if (fd < 0) {
			EXPECT_EQ(EIO, errno);
			bad++;
			continue;
		}
		EXPECT_EQ(4, pread(fd, self->buf, 16, 0));
		EXPECT_EQ(0, close(fd));
		good++;
	}
	race.stop = true;
	pthread_join(thread, NULL);
	TH_LOG("%d opens good, %d refused, %d ids", good, bad, race.ids);

	EXPECT_LT(0, race.ids);
	EXPECT_FALSE(race.failed);
	/* Nothing races with this one */
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, pread(fd, self->buf, 16, 0));
	EXPECT_EQ(0, close(fd));
	good++;
	EXPECT_EQ(good + bad, test_opens(self->file));
	EXPECT_EQ(good + bad, test_releases(self->file));
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, stop_and_umount(&self->env, self->pinned));
}

static void *open_and_close(void *arg)
{
	struct race *race = arg;
	char buf[16];
	int fd;

	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
		fd = test_open(race->file, O_RDWR);
		if (fd < 0)
			continue;
		if (pread(fd, buf, 4, 0) == 4)
			__atomic_add_fetch(&race->ids, 1, __ATOMIC_RELAXED);
		close(fd);
	}
	return NULL;
}

TEST_F(lifetime, opens_race_with_the_abort)
{
	struct race race = { .file = self->file, .dev = self->dev };
	double end = test_now() + RACE_SECONDS;
	pthread_t thread[2];
	int ret, i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, open_and_close,
					    &race));
	while (__atomic_load_n(&race.ids, __ATOMIC_RELAXED) < 100 &&
	       test_now() < end)
		usleep(1000);
	EXPECT_EQ(0, fuse_server_abort(self->env.srv));
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	EXPECT_LT(0, race.ids);

	test_close_backing(&self->env);
	ret = test_umount(self->pinned);
	ASSERT_OR_XFAIL(return, &self->env, !ret,
			"keeps the backing file system busy after an abort: umount says %s",
			strerror(errno));
}

/* A process that is killed while its open waits for the server */

static pid_t open_in_child(struct test_file *file)
{
	pid_t pid = fork();

	if (!pid) {
		test_open(file, O_RDWR);
		pause();
	}
	return pid;
}

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) && errno == EINTR)
		;
}

TEST_F(lifetime, an_open_that_is_killed_while_it_is_answered_is_released)
{
	struct test_file *file = self->file;
	pid_t pid;
	int fd;

	file->hold_open = true;
	pid = open_in_child(file);
	ASSERT_LT(0, pid);
	wait_for(&file->arrived);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	file->hold_open = false;
	sem_post(&file->go);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));

	EXPECT_EQ(1, test_opens(file));
	EXPECT_EQ(1, test_releases(file));

	fd = test_open(file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, read(fd, self->buf, 16));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(2, test_releases(file));
	EXPECT_EQ(0, stop_and_umount(&self->env, self->pinned));
}

TEST_F(lifetime, an_open_that_is_killed_before_the_server_sees_it_is_none)
{
	struct test_file *file = self->file;
	pid_t busy, queued;

	/* Keeps the server's only thread busy */
	file->hold_open = true;
	busy = open_in_child(file);
	ASSERT_LT(0, busy);
	wait_for(&file->arrived);
	queued = open_in_child(file);
	ASSERT_LT(0, queued);
	usleep(100 * 1000);
	ASSERT_EQ(0, kill(queued, SIGKILL));
	ASSERT_EQ(queued, waitpid(queued, NULL, 0));

	file->hold_open = false;
	sem_post(&file->go);
	EXPECT_EQ(1, test_opens(file));
	EXPECT_EQ(0, test_releases(file));
	ASSERT_EQ(0, kill(busy, SIGKILL));
	ASSERT_EQ(busy, waitpid(busy, NULL, 0));
	EXPECT_EQ(1, test_releases(file));
	EXPECT_EQ(0, stop_and_umount(&self->env, self->pinned));
}

TEST_F(lifetime, an_open_that_waits_fails_at_the_abort)
{
	struct test_file *file = self->file;
	int status, ret;
	pid_t pid;

	file->hold_open = true;
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(test_open(file, O_RDWR) < 0 ? errno : 0);
	wait_for(&file->arrived);
	ASSERT_EQ(0, fuse_server_abort(self->env.srv));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(ECONNABORTED, WEXITSTATUS(status));
	file->hold_open = false;
	sem_post(&file->go);

	test_close_backing(&self->env);
	ret = test_umount(self->pinned);
	ASSERT_OR_XFAIL(return, &self->env, !ret,
			"keeps the backing file system busy after an abort: umount says %s",
			strerror(errno));
}

TEST_HARNESS_MAIN
