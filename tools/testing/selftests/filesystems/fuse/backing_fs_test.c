// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: what happens to the backing file system while its files are
 * in use. It is frozen, remounted read-only, or its pages are taken away.
 *
 * It is one of the tests' own, on a loop device. Each test goes round and round,
 * see test_rounds_begin().
 */
#include "test_common.h"

#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE		4096
#define PAGES		8		/* for each user of a file */
#define SIZE		(PAGES * PAGE)
#define MAX_USERS	5
#define USUAL_SECONDS	2.5
#define DISK_SIZE	(64 << 20)

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

struct disk {
	struct test_env env;
	struct test_rounds rounds;
	char path[PATH_MAX];	/* where it is mounted */
	int dir;		/* fd of its root, for the ioctls */
	bool frozen;
	struct test_file *file;
	int fd;			/* of the file, through FUSE */
	char *map;
	char *buf;		/* a page, aligned */
	char cgroups[PATH_MAX];	/* where they are mounted */
	bool memory_on;		/* for groups, by this test */
	char group[PATH_MAX];	/* for this test alone; empty: there is none */
};

/* A disk: an image in a file, a file system that mke2fs makes, a loop device */

static int make_image(const char *image)
{
	int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int status, ret;
	pid_t pid;

	if (fd < 0)
		return -1;
	ret = ftruncate(fd, DISK_SIZE);
	close(fd);
	if (ret)
		return -1;

	pid = fork();
	if (!pid) {
		fd = open("/dev/null", O_WRONLY);
		dup2(fd, 1);
		dup2(fd, 2);
		execlp("mke2fs", "mke2fs", "-F", "-b", "4096", image, NULL);
		_exit(127);
	}
	return waitpid(pid, &status, 0) == pid && !status ? 0 : -1;
}

/* Why there is no disk, or NULL */
static const char *mount_disk(struct disk *disk)
{
	char image[PATH_MAX], dev[PATH_MAX];
	int loop, ret;

	test_pathf(image, "%s/image", disk->env.dir);
	test_pathf(disk->path, "%s/disk", disk->env.dir);
	if (mkdir(disk->path, 0755) || make_image(image))
		return "no mke2fs that makes a file system";
	loop = test_attach_loop(image, dev);
	if (loop < 0)
		return "no loop device: enable CONFIG_BLK_DEV_LOOP";
	ret = mount(dev, disk->path, "ext4", 0, NULL);
	close(loop);
	if (ret)
		return "cannot mount: enable CONFIG_EXT4_FS";
	disk->dir = open(disk->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return disk->dir < 0 ? "cannot open the root directory" : NULL;
}

FIXTURE(disk)
{
	struct disk disk;
};

FIXTURE_SETUP(disk)
{
	struct disk *disk = &self->disk;
	const char *reason;
	void *buf;

	disk->fd = -1;
	disk->dir = -1;
	ASSERT_EQ(0, test_setup(&disk->env));
	ASSERT_EQ(0, posix_memalign(&buf, PAGE, PAGE));
	disk->buf = buf;
	test_rounds_begin(&disk->rounds, &disk->env, USUAL_SECONDS);
	disk->env.config.threads = 3;
	ASSERT_EQ(0, test_start(&disk->env));
	TEST_NEEDS_PASSTHROUGH(&disk->env);
	reason = mount_disk(disk);
	if (reason)
		SKIP(_exit(255), "%s", reason);
}

static void thaw(struct disk *disk)
{
	if (disk->frozen && !ioctl(disk->dir, FITHAW, 0))
		disk->frozen = false;
}

static bool write_string(const char *dir, const char *name, const char *value)
{
	char path[PATH_MAX];
	int fd = open(test_pathf(path, "%s/%s", dir, name), O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 &&
		    write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (fd >= 0)
		close(fd);
	return good;
}

static void remove_group(struct disk *disk)
{
	if (disk->group[0])
		rmdir(disk->group);
	if (disk->memory_on)
		write_string(disk->cgroups, "cgroup.subtree_control",
			     "-memory");
}

FIXTURE_TEARDOWN(disk)
{
	struct disk *disk = &self->disk;

	thaw(disk);
	if (disk->map)
		munmap(disk->map, MAX_USERS * SIZE);
	if (disk->fd >= 0)
		close(disk->fd);
	if (disk->dir >= 0)
		close(disk->dir);
	remove_group(disk);
	test_teardown(&disk->env);
	umount2(disk->path, MNT_DETACH);
	free(disk->buf);
}

/* The file has no fd of the server's that can be written to. */
static bool add_file(struct disk *disk, int flags)
{
	char path[PATH_MAX];
	void *zeros = calloc(MAX_USERS, SIZE);
	int ret;

	test_pathf(path, "%s/file", disk->path);
	ret = test_write_file(path, zeros, MAX_USERS * SIZE);
	free(zeros);
	if (ret)
		return false;
	disk->file = test_add_path(&disk->env, "file", path, flags);
	return disk->file && test_back(disk->file) > 0;
}

static bool open_and_map(struct disk *disk)
{
	disk->fd = test_open(disk->file, O_RDWR);
	if (disk->fd < 0)
		return false;
	disk->map = mmap(NULL, MAX_USERS * SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED, disk->fd, 0);
	if (disk->map == MAP_FAILED)
		disk->map = NULL;
	return disk->map;
}

/* Nothing is left that uses the file system. */
static bool disk_is_free(struct disk *disk)
{
	if (disk->map)
		munmap(disk->map, MAX_USERS * SIZE);
	disk->map = NULL;
	if (disk->fd >= 0)
		close(disk->fd);
	disk->fd = -1;
	close(disk->dir);
	disk->dir = -1;
	fuse_server_stop(disk->env.srv);
	disk->env.srv = NULL;
	test_close_backing(&disk->env);
	return !test_umount(disk->path);
}

/* Users of the file: threads that do the same again and again */

struct user {
	struct disk *disk;
	pthread_t thread;
	const char *(*use)(struct user *user);	/* what went wrong, or NULL */
	int nr;
	unsigned int seed;
	char *buf;
	bool *stop;

	const char *wrong;
	int err;
	long done;
	long refused;		/* as it may be */
};

static void *run_user(void *arg)
{
	struct user *user = arg;

	while (!user->wrong && !__atomic_load_n(user->stop, __ATOMIC_RELAXED)) {
		user->wrong = user->use(user);
		user->err = errno;
		__atomic_add_fetch(&user->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* The list ends with NULL. How many there are, or -1 */
static int start_users(struct disk *disk, struct user *users, bool *stop,
		       const char *(*const uses[])(struct user *user))
{
	void *buf;
	int n;

	for (n = 0; n < MAX_USERS && uses[n]; n++) {
		if (posix_memalign(&buf, PAGE, PAGE))
			return -1;
		memset(buf, 0, PAGE);
		users[n] = (struct user) {
			.disk = disk, .use = uses[n], .nr = n, .seed = n + 1,
			.buf = buf, .stop = stop,
		};
		if (pthread_create(&users[n].thread, NULL, run_user, &users[n]))
			return -1;
	}
	return n;
}

static bool end_users(struct disk *disk, struct user *users, int n, bool *stop)
{
	bool good = true;
	int i;

	__atomic_store_n(stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < n; i++) {
		pthread_join(users[i].thread, NULL);
		free(users[i].buf);
	}
	printf("# %ld rounds in %.1f s, done by the users:", disk->rounds.done,
	       test_rounds_seconds(&disk->rounds));
	for (i = 0; i < n; i++)
		printf(" %ld", users[i].done);
	printf("\n");
	for (i = 0; i < n; i++) {
		if (!users[i].wrong)
			continue;
		printf("# user %d: %s: %s\n", i, users[i].wrong,
		       strerror(users[i].err));
		good = false;
	}
	fflush(stdout);
	return good;
}

static off_t random_page(struct user *user)
{
	return user->nr * SIZE + PAGE * (rand_r(&user->seed) % PAGES);
}

static const char *write_page(struct user *user, enum way way)
{
	ssize_t n = do_write(way, user->disk->fd, user->buf, PAGE,
			     random_page(user));

	if (n == PAGE)
		return NULL;
	errno = n < 0 ? -n : 0;
	return "a write does not write all";
}

static const char *call_pwrite(struct user *user)
{
	return write_page(user, VECTORED);
}

static const char *call_io_submit(struct user *user)
{
	return write_page(user, AIO);
}

static const char *call_splice(struct user *user)
{
	return write_page(user, SPLICE);
}

static const char *store(struct user *user)
{
	__atomic_store_n(user->disk->map + random_page(user), 1,
			 __ATOMIC_RELAXED);
	/* It is too fast for the others to get on */
	if (user->done % 256 == 0)
		sched_yield();
	return NULL;
}

/*
 * Freezing: whoever writes waits, and neither fails nor gets through. Who must
 * not wait gets EAGAIN. Reads go on.
 */

static long writes_done(struct user *user)
{
	return __atomic_load_n(&user->done, __ATOMIC_RELAXED);
}

/* One write of each may have ended before, and not have been counted yet. */
static bool nobody_writes(struct user *users, int n)
{
	long before[MAX_USERS];
	bool none = true;
	int i;

	for (i = 0; i < n; i++)
		before[i] = writes_done(&users[i]);
	test_sleep_ms(5);
	for (i = 0; i < n; i++)
		if (writes_done(&users[i]) > before[i] + 1)
			none = false;
	return none;
}

static bool all_write_again(struct user *users, int n, const long *before)
{
	double end = test_now() + 20;
	int i;

	for (i = 0; i < n; i++) {
		while (writes_done(&users[i]) <= before[i] + 1) {
			if (test_now() > end)
				return false;
			usleep(100);
		}
	}
	return true;
}

static const char *use_frozen(struct disk *disk, struct user *users, int n)
{
	struct iovec iov = { disk->buf, PAGE };

	if (!nobody_writes(users, n))
		return "somebody writes to a frozen file system";
	/* Mainline refuses it whether or not it would have to wait */
	if (!test_on_mainline(&disk->env) &&
	    (pwritev2(disk->fd, &iov, 1, 0, RWF_NOWAIT) >= 0 ||
	     errno != EAGAIN))
		return "RWF_NOWAIT does not give EAGAIN";
	if (pread(disk->fd, disk->buf, PAGE, 0) != PAGE)
		return "pread from a frozen file system";
	return NULL;
}

static const char *freeze_and_thaw(struct disk *disk, struct user *users, int n)
{
	long before[MAX_USERS];
	const char *wrong;
	int i, err;

	if (ioctl(disk->dir, FIFREEZE, 0))
		return "FIFREEZE";
	disk->frozen = true;
	wrong = use_frozen(disk, users, n);
	err = errno;
	for (i = 0; i < n; i++)
		before[i] = writes_done(&users[i]);
	thaw(disk);
	errno = err;
	if (wrong)
		return wrong;
	if (disk->frozen)
		return "FITHAW";
	return all_write_again(users, n, before) ? NULL :
	       "somebody does not go on after the thaw";
}

TEST_F_TIMEOUT(disk, that_is_frozen_makes_writers_wait, TEST_RACE_TIMEOUT)
{
	static const char *(*const uses[])(struct user *user) = {
		call_pwrite, call_splice, store, call_io_submit, NULL,
	};
	struct disk *disk = &self->disk;
	struct user users[MAX_USERS];
	const char *wrong = NULL;
	bool stop = false;
	int n, err = 0;

	ASSERT_TRUE(add_file(disk, O_RDWR) && open_and_map(disk));
	n = start_users(disk, users, &stop, uses);
	ASSERT_LT(0, n);
	while (!wrong && test_rounds_next(&disk->rounds)) {
		wrong = freeze_and_thaw(disk, users, n);
		err = errno;
	}
	EXPECT_TRUE(end_users(disk, users, n, &stop));
	EXPECT_EQ(NULL, wrong) {
		TH_LOG("%s: %s", wrong, strerror(err));
	}
	EXPECT_EQ(0, test_count(&disk->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&disk->env, FUSE_WRITE));
	EXPECT_TRUE(disk_is_free(disk));
}

/*
 * Remounting read-only: refused while a file is open for writing, and what is
 * open for writing can be written to. After it, the kernel cannot open the file
 * for writing, which is EIO.
 */

static const char *open_and_write(struct user *user)
{
	int fd = test_open(user->disk->file, O_RDWR);
	const char *wrong = NULL;

	/* Or else there is never a moment without a writer */
	usleep(1000 * (rand_r(&user->seed) % 4));
	if (fd < 0) {
		user->refused++;
		return errno == EIO ? NULL : "an open fails, but not by EIO";
	}
	if (pwrite(fd, user->buf, PAGE, random_page(user)) != PAGE)
		wrong = "pwrite to a file that is open for writing";
	close(fd);
	return wrong;
}

static const char *open_and_read(struct user *user)
{
	int fd = test_open(user->disk->file, O_RDONLY);
	const char *wrong = NULL;

	if (fd < 0)
		return "an open for reading";
	if (pread(fd, user->buf, PAGE, random_page(user)) != PAGE)
		wrong = "pread";
	close(fd);
	return wrong;
}

static const char *use_read_only(struct disk *disk)
{
	int fd = test_open(disk->file, O_RDWR);

	if (fd >= 0 || errno != EIO)
		return "an open for writing is not EIO";
	fd = test_open(disk->file, O_RDONLY);
	if (fd < 0 || pread(fd, disk->buf, PAGE, 0) != PAGE)
		return "reading from a read-only file system";
	close(fd);
	return NULL;
}

static const char *remount_twice(struct disk *disk, long *done)
{
	const char *wrong;

	if (mount(NULL, disk->path, NULL, MS_REMOUNT | MS_RDONLY, NULL))
		return errno == EBUSY ? NULL : "remount read-only";
	(*done)++;
	wrong = use_read_only(disk);
	if (mount(NULL, disk->path, NULL, MS_REMOUNT, NULL))
		return "remount read-write";
	return wrong;
}

TEST_F_TIMEOUT(disk, that_is_remounted_read_only_refuses_writers,
	       TEST_RACE_TIMEOUT)
{
	static const char *(*const uses[])(struct user *user) = {
		open_and_write, open_and_write, open_and_read, NULL,
	};
	struct disk *disk = &self->disk;
	struct user users[MAX_USERS];
	const char *wrong = NULL;
	long remounts = 0;
	bool stop = false;
	int n, err = 0;

	ASSERT_TRUE(add_file(disk, O_RDONLY));
	n = start_users(disk, users, &stop, uses);
	ASSERT_LT(0, n);
	while (!wrong && test_rounds_next(&disk->rounds)) {
		wrong = remount_twice(disk, &remounts);
		err = errno;
	}
	EXPECT_TRUE(end_users(disk, users, n, &stop));
	TH_LOG("%ld times read-only", remounts);
	EXPECT_EQ(NULL, wrong) {
		TH_LOG("%s: %s", wrong, strerror(err));
	}

	/* At the latest now */
	EXPECT_TRUE(test_all_released(disk->file));
	EXPECT_EQ(NULL, remount_twice(disk, &remounts));
	EXPECT_LT(0, remounts);
	disk->fd = test_open(disk->file, O_RDWR);
	EXPECT_LE(0, disk->fd);
	EXPECT_EQ(-1, mount(NULL, disk->path, NULL, MS_REMOUNT | MS_RDONLY,
			    NULL));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, test_count(&disk->env, FUSE_WRITE));
	EXPECT_TRUE(disk_is_free(disk));
}

/* Pages that are mapped, read and written are taken away all the time. */

static const char *store_and_look(struct user *user)
{
	unsigned int *word = (void *)(user->disk->map + random_page(user));
	unsigned int value = rand_r(&user->seed);

	__atomic_store_n(word, value, __ATOMIC_RELAXED);
	if (rand_r(&user->seed) % 8 == 0)
		sched_yield();
	return __atomic_load_n(word, __ATOMIC_RELAXED) == value ?
	       NULL : "a mapping has lost a store";
}

static const char *write_and_look(struct user *user)
{
	off_t off = random_page(user);
	char page[PAGE];

	memset(user->buf, rand_r(&user->seed), PAGE);
	if (pwrite(user->disk->fd, user->buf, PAGE, off) != PAGE)
		return "pwrite";
	if (pread(user->disk->fd, page, PAGE, off) != PAGE)
		return "pread";
	if (memcmp(page, user->buf, PAGE) ||
	    memcmp(user->disk->map + off, page, PAGE))
		return "what was written has been lost";
	return NULL;
}

static bool drop_page_cache(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, "1", 1) == 1;

	if (fd >= 0)
		close(fd);
	return good;
}

static const char *take_pages(struct disk *disk)
{
	switch (disk->rounds.done % 4) {
	case 0:
		/* Not an error if it is not known */
		madvise(disk->map, MAX_USERS * SIZE, MADV_PAGEOUT);
		return NULL;
	case 1:
		return test_drop_cache(disk->file->fd) ? "POSIX_FADV_DONTNEED" :
							 NULL;
	case 2:
		if (msync(disk->map, MAX_USERS * SIZE, MS_SYNC))
			return "msync";
		madvise(disk->map, MAX_USERS * SIZE, MADV_DONTNEED);
		return NULL;
	default:
		return drop_page_cache() ? NULL : "drop_caches";
	}
}

TEST_F_TIMEOUT(disk, whose_pages_are_taken_away_loses_nothing,
	       TEST_RACE_TIMEOUT)
{
	static const char *(*const uses[])(struct user *user) = {
		store_and_look, store_and_look, write_and_look, NULL,
	};
	struct disk *disk = &self->disk;
	struct user users[MAX_USERS];
	const char *wrong = NULL;
	bool stop = false;
	int n, err = 0;

	ASSERT_TRUE(add_file(disk, O_RDWR) && open_and_map(disk));
	n = start_users(disk, users, &stop, uses);
	ASSERT_LT(0, n);
	while (!wrong && test_rounds_next(&disk->rounds)) {
		wrong = take_pages(disk);
		err = errno;
	}
	EXPECT_TRUE(end_users(disk, users, n, &stop));
	EXPECT_EQ(NULL, wrong) {
		TH_LOG("%s: %s", wrong, strerror(err));
	}
	EXPECT_EQ(0, test_count(&disk->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&disk->env, FUSE_WRITE));
	EXPECT_TRUE(disk_is_free(disk));
}

/* A process whose mapping is larger than the memory that it may have */

#define GROUP_MEMORY	"8388608"
#define MAPPED		(24 << 20)

static bool has_word(const char *dir, const char *name, const char *word)
{
	char path[PATH_MAX], line[256] = "";
	FILE *f = fopen(test_pathf(path, "%s/%s", dir, name), "r");

	if (f && !fgets(line, sizeof(line), f))
		line[0] = 0;
	if (f)
		fclose(f);
	return strstr(line, word);
}

/* Why there is none, or NULL */
static const char *make_group(struct disk *disk)
{
	char path[PATH_MAX];

	if (test_mount(&disk->env, "cgroup", "cgroup2", NULL, disk->cgroups))
		return "no cgroup2: enable CONFIG_CGROUPS";
	if (!has_word(disk->cgroups, "cgroup.subtree_control", "memory"))
		disk->memory_on = write_string(disk->cgroups,
					       "cgroup.subtree_control",
					       "+memory");
	test_pathf(path, "%s/fuse_test.%d", disk->cgroups, getpid());
	if (mkdir(path, 0755))
		return "no group can be made";
	memcpy(disk->group, path, sizeof(path));
	if (!write_string(disk->group, "memory.max", GROUP_MEMORY))
		return "no memory.max: enable CONFIG_MEMCG";
	return NULL;
}

static bool is_stored(const char *map, unsigned int value)
{
	size_t off;

	for (off = 0; off < MAPPED; off += PAGE)
		if (*(const unsigned int *)(map + off) != value + off)
			return false;
	return true;
}

struct member {
	int fd;
	const char *group;
	unsigned int value;
};

static int store_in_group(void *arg)
{
	struct member *m = arg;
	size_t off;
	char *map;

	if (!write_string(m->group, "cgroup.procs", "0"))
		return 1;
	map = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (map == MAP_FAILED)
		return 2;
	for (off = 0; off < MAPPED; off += PAGE)
		*(unsigned int *)(map + off) = m->value + off;
	return is_stored(map, m->value) ? 0 : 3;
}

/* How often the group ran into its limit */
static long times_at_limit(const char *group)
{
	char path[PATH_MAX], line[64];
	long n = 0;
	FILE *f = fopen(test_pathf(path, "%s/memory.events", group), "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "max ", 4))
			n = strtol(line + 4, NULL, 10);
	if (f)
		fclose(f);
	return n;
}

TEST_F_TIMEOUT(disk, that_is_mapped_by_a_process_with_little_memory_works,
	       TEST_RACE_TIMEOUT)
{
	struct disk *disk = &self->disk;
	struct member m = { .group = disk->group };
	const char *reason = make_group(disk);
	int status = 0;

	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_TRUE(add_file(disk, O_RDWR));
	disk->fd = test_open(disk->file, O_RDWR);
	ASSERT_LE(0, disk->fd);
	ASSERT_EQ(0, ftruncate(disk->fd, MAPPED));
	m.fd = disk->fd;
	while (!status && test_rounds_next(&disk->rounds)) {
		m.value++;
		status = test_in_child(store_in_group, &m);
	}
	EXPECT_EQ(0, status);
	TH_LOG("%ld rounds in %.1f s, %ld times at the limit",
	       disk->rounds.done, test_rounds_seconds(&disk->rounds),
	       times_at_limit(disk->group));
	EXPECT_LT(0, times_at_limit(disk->group));
	disk->map = mmap(NULL, MAPPED, PROT_READ, MAP_SHARED, disk->fd, 0);
	ASSERT_NE(MAP_FAILED, disk->map);
	EXPECT_TRUE(is_stored(disk->map, m.value));
	munmap(disk->map, MAPPED);
	disk->map = NULL;
	EXPECT_EQ(0, test_count(&disk->env, FUSE_WRITE));
	EXPECT_TRUE(disk_is_free(disk));
}

TEST_HARNESS_MAIN
