// SPDX-License-Identifier: GPL-2.0
/*
 * The mirror server: what is done on its mount is done to the tree that it
 * serves, with passthrough and without.
 */
#include "test_common.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define NR_ENTRIES	1000
#define SIZE		300000

FIXTURE(mirror)
{
	struct test_env env;
	char stats[PATH_MAX];
	char a[PATH_MAX];	/* "a" through the mount */
	char b[PATH_MAX];	/* "b" */
	char a_below[PATH_MAX];	/* "a" in the tree that is served */
	char b_below[PATH_MAX];
	char data[SIZE];
	char buf[SIZE];
	bool mounted;
};

FIXTURE_VARIANT(mirror)
{
	const char *option;
	bool passthrough;
};

FIXTURE_VARIANT_ADD(mirror, passthrough)
{
	.option = "--threads=2",
	.passthrough = true,
};

FIXTURE_VARIANT_ADD(mirror, no_passthrough)
{
	.option = "--no-passthrough",
};

/* It lies beside this program. Returns when it has gone into the background. */
static int run_mirror(struct test_env *env, const char *option,
		      const char *stats)
{
	char path[PATH_MAX], *slash;
	const char *depth = env->config.max_stack_depth > 1 ? "-d2" : "-d1";
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	int status;
	pid_t pid;

	if (len < 0)
		return -1;
	path[len] = 0;
	slash = strrchr(path, '/') + 1;
	snprintf(slash, path + sizeof(path) - slash, "mirror_server");

	pid = fork();
	if (!pid) {
		execl(path, path, "-s", stats, depth, option, env->backing,
		      env->mnt, NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

FIXTURE_SETUP(mirror)
{
	struct test_env *env = &self->env;

	test_pattern(self->data, SIZE, 7);
	ASSERT_EQ(0, test_setup(env));
	test_pathf(self->stats, "%s/stats", env->dir);
	test_pathf(self->a, "%s/a", env->mnt);
	test_pathf(self->b, "%s/b", env->mnt);
	test_pathf(self->a_below, "%s/a", env->backing);
	test_pathf(self->b_below, "%s/b", env->backing);
	ASSERT_EQ(0, run_mirror(env, variant->option, self->stats));
	self->mounted = true;
}

FIXTURE_TEARDOWN(mirror)
{
	/* What a test that failed has open must not keep the server there */
	if (self->mounted && test_umount(self->env.mnt)) {
		EXPECT_EQ(0, errno);
		umount2(self->env.mnt, MNT_DETACH);
	}
	test_teardown(&self->env);
}

static int make_file(const char *path, mode_t mode)
{
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode);

	if (fd < 0 || write(fd, "data", 4) != 4)
		return -1;
	return close(fd);
}

static bool same_contents(const char *path, const void *data, size_t len)
{
	char *buf = malloc(len + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool same;

	same = fd >= 0 && buf && read(fd, buf, len + 1) == (ssize_t)len &&
	       !memcmp(buf, data, len);
	if (fd >= 0)
		close(fd);
	free(buf);
	return same;
}

/* The number in the server's statistics, which it writes when it ends */
static long requests(const char *stats, const char *opcode)
{
	char line[128], name[64];
	long n, found = 0;
	FILE *f = NULL;
	int i;

	for (i = 0; i < 500 && !f; i++) {
		f = fopen(stats, "r");
		if (!f)
			usleep(10000);
	}
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", name, &n) == 2 &&
		    !strcmp(name, opcode))
			found = n;
	fclose(f);
	return found;
}

TEST_F(mirror, lookup_and_getattr)
{
	struct stat st, below;

	ASSERT_EQ(0, make_file(self->a_below, 0640));
	ASSERT_EQ(0, chown(self->a_below, 1, 2));
	ASSERT_EQ(0, stat(self->a, &st));
	ASSERT_EQ(0, stat(self->a_below, &below));
	EXPECT_EQ(below.st_ino, st.st_ino);
	EXPECT_EQ(below.st_mode, st.st_mode);
	EXPECT_EQ(below.st_nlink, st.st_nlink);
	EXPECT_EQ(1U, st.st_uid);
	EXPECT_EQ(2U, st.st_gid);
	EXPECT_EQ(4, st.st_size);
	EXPECT_EQ(below.st_mtim.tv_sec, st.st_mtim.tv_sec);
	EXPECT_EQ(below.st_mtim.tv_nsec, st.st_mtim.tv_nsec);

	EXPECT_EQ(-1, stat(self->b, &st));
	EXPECT_EQ(ENOENT, errno);
}

TEST_F(mirror, read_and_write)
{
	int fd = open(self->a, O_CREAT | O_RDWR | O_CLOEXEC, 0644);

	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, write(fd, self->data, SIZE));
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->data, self->buf, SIZE));
	EXPECT_EQ(3, pwrite(fd, "new", 3, 1000));
	ASSERT_EQ(0, close(fd));

	memcpy(self->data + 1000, "new", 3);
	EXPECT_TRUE(same_contents(self->a_below, self->data, SIZE));
	EXPECT_TRUE(same_contents(self->a, self->data, SIZE));
}

TEST_F(mirror, data_bypasses_the_server_or_not)
{
	ASSERT_EQ(0, test_start(&self->env));
	if (variant->passthrough && !test_passthrough_offered(&self->env))
		SKIP(return, "kernel does not offer FUSE_PASSTHROUGH");
	fuse_server_stop(self->env.srv);
	self->env.srv = NULL;

	ASSERT_EQ(0, make_file(self->a, 0644));
	ASSERT_TRUE(same_contents(self->a, "data", 4));
	ASSERT_EQ(0, test_umount(self->env.mnt));
	self->mounted = false;
	EXPECT_EQ(1, requests(self->stats, "CREATE"));
	EXPECT_EQ(1, requests(self->stats, "OPEN"));
	EXPECT_EQ(!variant->passthrough, !!requests(self->stats, "READ"));
	EXPECT_EQ(!variant->passthrough, !!requests(self->stats, "WRITE"));
}

TEST_F(mirror, create)
{
	struct stat st;

	umask(027);
	ASSERT_EQ(0, make_file(self->a, 0666));
	EXPECT_EQ(-1, make_file(self->a, 0666));
	EXPECT_EQ(EEXIST, errno);
	ASSERT_EQ(0, stat(self->a_below, &st));
	EXPECT_EQ(S_IFREG | 0640U, st.st_mode);
}

TEST_F(mirror, open_without_following_links)
{
	int fd;

	ASSERT_EQ(0, make_file(self->a_below, 0644));
	fd = open(self->a, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, pread(fd, self->buf, SIZE, 0));
	close(fd);

	ASSERT_EQ(0, symlink("a", self->b_below));
	EXPECT_EQ(-1, open(self->b, O_RDWR | O_NOFOLLOW | O_CLOEXEC));
	EXPECT_EQ(ELOOP, errno);
	fd = open(self->b, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	EXPECT_LE(0, fd);
	close(fd);
}

TEST_F(mirror, append_and_truncate_by_open)
{
	int one, two;

	ASSERT_EQ(0, make_file(self->a, 0644));
	one = open(self->a, O_WRONLY | O_APPEND | O_CLOEXEC);
	two = open(self->a, O_WRONLY | O_APPEND | O_CLOEXEC);
	ASSERT_LE(0, one);
	ASSERT_LE(0, two);
	EXPECT_EQ(1, write(one, "1", 1));
	EXPECT_EQ(1, write(two, "2", 1));
	EXPECT_EQ(1, write(one, "3", 1));
	close(one);
	close(two);
	EXPECT_TRUE(same_contents(self->a_below, "data123", 7));

	one = open(self->a, O_WRONLY | O_TRUNC | O_CLOEXEC);
	ASSERT_LE(0, one);
	close(one);
	EXPECT_TRUE(same_contents(self->a_below, "", 0));
}

TEST_F(mirror, directories)
{
	struct stat st;

	umask(0);
	ASSERT_EQ(0, mkdir(self->a, 01775));
	ASSERT_EQ(0, stat(self->a_below, &st));
	EXPECT_EQ(S_IFDIR | 01775U, st.st_mode);

	test_pathf(self->b, "%s/file", self->a);
	ASSERT_EQ(0, make_file(self->b, 0600));
	EXPECT_EQ(-1, rmdir(self->a));
	EXPECT_EQ(ENOTEMPTY, errno);
	ASSERT_EQ(0, unlink(self->b));
	EXPECT_EQ(0, rmdir(self->a));
	EXPECT_EQ(-1, access(self->a_below, F_OK));
}

static int count_entries(DIR *dir, char *seen)
{
	struct dirent *entry;
	int i, n = 0;

	while ((entry = readdir(dir)))
		if (sscanf(entry->d_name, "entry-%d", &i) == 1 &&
		    i >= 0 && i < NR_ENTRIES) {
			seen[i]++;
			n++;
		}
	return n;
}

/* The many files take their time on a slow machine. */
TEST_F_TIMEOUT(mirror, readdir, 120)
{
	char path[PATH_MAX], seen[NR_ENTRIES] = "";
	long middle;
	DIR *dir;
	int i;

	for (i = 0; i < NR_ENTRIES; i++) {
		test_pathf(path, "%s/entry-%d-with-a-name-that-is-rather-long",
			   self->env.backing, i);
		ASSERT_EQ(0, make_file(path, 0644));
	}

	dir = opendir(self->env.mnt);
	ASSERT_TRUE(!!dir);
	EXPECT_EQ(NR_ENTRIES, count_entries(dir, seen));
	for (i = 0; i < NR_ENTRIES; i++)
		ASSERT_EQ(1, seen[i]);

	/* From the middle, the same rest each time */
	rewinddir(dir);
	for (i = 0; i < NR_ENTRIES / 2; i++)
		ASSERT_TRUE(!!readdir(dir));
	middle = telldir(dir);
	i = count_entries(dir, seen);
	EXPECT_LT(0, i);
	seekdir(dir, middle);
	EXPECT_EQ(i, count_entries(dir, seen));
	closedir(dir);
}

TEST_F(mirror, special_files)
{
	struct stat st;

	umask(0);
	ASSERT_EQ(0, mknod(self->a, S_IFCHR | 0620, makedev(300, 70000)));
	ASSERT_EQ(0, stat(self->a_below, &st));
	EXPECT_EQ(S_IFCHR | 0620U, st.st_mode);
	EXPECT_EQ(300U, major(st.st_rdev));
	EXPECT_EQ(70000U, minor(st.st_rdev));
	ASSERT_EQ(0, stat(self->a, &st));
	EXPECT_EQ(300U, major(st.st_rdev));
	EXPECT_EQ(70000U, minor(st.st_rdev));

	ASSERT_EQ(0, mkfifo(self->b, 0644));
	ASSERT_EQ(0, stat(self->b_below, &st));
	EXPECT_EQ(S_IFIFO | 0644U, st.st_mode);
}

TEST_F(mirror, symlinks)
{
	struct stat st;

	ASSERT_EQ(0, symlink("b", self->a));
	EXPECT_EQ(1, readlink(self->a, self->buf, SIZE));
	EXPECT_EQ('b', self->buf[0]);
	ASSERT_EQ(0, lstat(self->a_below, &st));
	EXPECT_TRUE(S_ISLNK(st.st_mode));
	EXPECT_EQ(0, lchown(self->a, 1, 2));
	ASSERT_EQ(0, lstat(self->a_below, &st));
	EXPECT_EQ(1U, st.st_uid);

	ASSERT_EQ(0, make_file(self->b, 0644));
	EXPECT_TRUE(same_contents(self->a, "data", 4));
}

TEST_F(mirror, hard_links)
{
	struct stat a, b;

	ASSERT_EQ(0, make_file(self->a, 0644));
	ASSERT_EQ(0, link(self->a, self->b));
	ASSERT_EQ(0, stat(self->a, &a));
	ASSERT_EQ(0, stat(self->b, &b));
	EXPECT_EQ(a.st_ino, b.st_ino);
	EXPECT_EQ(2U, a.st_nlink);
	ASSERT_EQ(0, unlink(self->a));
	EXPECT_TRUE(same_contents(self->b_below, "data", 4));
}

TEST_F(mirror, unlinked_files_live_on)
{
	int fd;

	ASSERT_EQ(0, make_file(self->a, 0644));
	fd = open(self->a, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, unlink(self->a));
	EXPECT_EQ(-1, access(self->a_below, F_OK));
	EXPECT_EQ(4, pwrite(fd, "DATA", 4, 4));
	EXPECT_EQ(8, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, "dataDATA", 8));
	EXPECT_EQ(0, ftruncate(fd, 2));
	EXPECT_EQ(2, pread(fd, self->buf, SIZE, 0));
	close(fd);
}

TEST_F(mirror, rename)
{
	ASSERT_EQ(0, make_file(self->a, 0644));
	ASSERT_EQ(0, rename(self->a, self->b));
	EXPECT_EQ(-1, access(self->a_below, F_OK));
	EXPECT_TRUE(same_contents(self->b_below, "data", 4));

	ASSERT_EQ(0, mkdir(self->a, 0755));
	EXPECT_EQ(-1, renameat2(AT_FDCWD, self->a, AT_FDCWD, self->b,
				RENAME_NOREPLACE));
	EXPECT_EQ(EEXIST, errno);
	ASSERT_EQ(0, renameat2(AT_FDCWD, self->a, AT_FDCWD, self->b,
			       RENAME_EXCHANGE));
	EXPECT_TRUE(same_contents(self->a_below, "data", 4));
	EXPECT_EQ(0, rmdir(self->b_below));
}

TEST_F(mirror, setattr)
{
	struct timespec times[] = { { 1000, 11 }, { 2000, 22 } };
	struct stat st;
	int fd;

	ASSERT_EQ(0, make_file(self->a, 0644));
	ASSERT_EQ(0, chown(self->a, 3, 4));
	ASSERT_EQ(0, chmod(self->a, 06751));
	ASSERT_EQ(0, truncate(self->a, 10));
	ASSERT_EQ(0, utimensat(AT_FDCWD, self->a, times, 0));
	ASSERT_EQ(0, stat(self->a_below, &st));
	EXPECT_EQ(3U, st.st_uid);
	EXPECT_EQ(4U, st.st_gid);
	EXPECT_EQ(06751U, st.st_mode & 07777);
	EXPECT_EQ(10, st.st_size);
	EXPECT_EQ(1000, st.st_atim.tv_sec);
	EXPECT_EQ(11, st.st_atim.tv_nsec);
	EXPECT_EQ(2000, st.st_mtim.tv_sec);
	EXPECT_EQ(22, st.st_mtim.tv_nsec);

	/* Changing the owner strips setuid */
	ASSERT_EQ(0, chown(self->a, 5, -1));
	ASSERT_EQ(0, stat(self->a_below, &st));
	EXPECT_EQ(0751U, st.st_mode & 07777);

	fd = open(self->a, O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, ftruncate(fd, 5));
	times[0].tv_nsec = UTIME_OMIT;
	times[1].tv_nsec = UTIME_NOW;
	EXPECT_EQ(0, futimens(fd, times));
	close(fd);
	ASSERT_EQ(0, stat(self->a_below, &st));
	EXPECT_EQ(5, st.st_size);
	EXPECT_EQ(1000, st.st_atim.tv_sec);
	EXPECT_LT(1000000, st.st_mtim.tv_sec);
}

TEST_F(mirror, statfs)
{
	struct statfs st, below;

	ASSERT_EQ(0, statfs(self->env.mnt, &st));
	ASSERT_EQ(0, statfs(self->env.backing, &below));
	EXPECT_EQ(below.f_blocks, st.f_blocks);
	EXPECT_EQ(below.f_bsize, st.f_bsize);
	EXPECT_EQ(below.f_files, st.f_files);
	EXPECT_EQ(below.f_namelen, st.f_namelen);
}

TEST_F(mirror, extended_attributes)
{
	const char *name = "trusted.test";
	ssize_t len;

	ASSERT_EQ(0, make_file(self->a, 0644));
	ASSERT_EQ(0, setxattr(self->a, name, "value", 5, XATTR_CREATE));
	EXPECT_EQ(-1, setxattr(self->a, name, "value", 5, XATTR_CREATE));
	EXPECT_EQ(EEXIST, errno);
	EXPECT_EQ(5, getxattr(self->a, name, NULL, 0));
	EXPECT_EQ(-1, getxattr(self->a, name, self->buf, 4));
	EXPECT_EQ(ERANGE, errno);
	EXPECT_EQ(5, getxattr(self->a_below, name, self->buf, SIZE));
	EXPECT_EQ(0, memcmp(self->buf, "value", 5));

	len = listxattr(self->a, self->buf, SIZE);
	ASSERT_LE((ssize_t)strlen(name) + 1, len);
	EXPECT_TRUE(!!memmem(self->buf, len, name, strlen(name) + 1));
	ASSERT_EQ(0, removexattr(self->a, name));
	EXPECT_EQ(-1, getxattr(self->a, name, self->buf, SIZE));
	EXPECT_EQ(ENODATA, errno);
}

TEST_F(mirror, queries_for_capabilities_are_counted_apart)
{
	ASSERT_EQ(0, make_file(self->a_below, 0644));
	/* tmpfs knows this one in 6.1, but none that begins with user. */
	EXPECT_EQ(-1, getxattr(self->a, "trusted.test", NULL, 0));
	EXPECT_EQ(ENODATA, errno);
	EXPECT_EQ(-1, getxattr(self->a, "security.capability", NULL, 0));
	EXPECT_EQ(ENODATA, errno);

	ASSERT_EQ(0, test_umount(self->env.mnt));
	self->mounted = false;
	EXPECT_EQ(1, requests(self->stats, "GETXATTR:capability"));
	EXPECT_EQ(2, requests(self->stats, "GETXATTR"));
}

TEST_F(mirror, requests_that_strip_capabilities_are_counted)
{
	int fd;

	ASSERT_EQ(0, make_file(self->a_below, 0644));
	EXPECT_EQ(0, chmod(self->a, 0600));
	EXPECT_EQ(0, truncate(self->a, 1));
	EXPECT_EQ(0, chown(self->a, 1, -1));
	fd = open(self->a, O_WRONLY | O_TRUNC | O_CLOEXEC);
	ASSERT_LE(0, fd);
	if (fallocate(fd, 0, 0, 4096))
		EXPECT_EQ(EOPNOTSUPP, errno);
	close(fd);

	ASSERT_EQ(0, test_umount(self->env.mnt));
	self->mounted = false;
	EXPECT_EQ(4, requests(self->stats, "ANY:strips-capability"));
	/* Nothing else asks for them here. */
	EXPECT_GE(4, requests(self->stats, "GETXATTR:capability"));
}

TEST_F(mirror, fsync)
{
	int fd, dir;

	ASSERT_EQ(0, make_file(self->a, 0644));
	fd = open(self->a, O_WRONLY | O_CLOEXEC);
	dir = open(self->env.mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_LE(0, dir);
	EXPECT_EQ(0, fsync(fd));
	EXPECT_EQ(0, fdatasync(fd));
	EXPECT_EQ(0, fsync(dir));
	close(fd);
	close(dir);
}

TEST_F(mirror, fallocate_and_holes)
{
	const off_t hole = 65536, block = 65536;
	struct stat st;
	off_t found;
	int fd, below;

	fd = open(self->a, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, write(fd, self->data, SIZE));
	EXPECT_EQ(0, fallocate(fd, 0, 0, 2 * SIZE));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(2 * SIZE, st.st_size);
	EXPECT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       hole, block));
	EXPECT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	memset(self->data + hole, 0, block);
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));

	below = open(self->a_below, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, below);
	found = lseek(below, 0, SEEK_HOLE);
	EXPECT_EQ(found, lseek(fd, 0, SEEK_HOLE));
	EXPECT_EQ(lseek(below, found, SEEK_DATA), lseek(fd, found, SEEK_DATA));
	close(below);
	close(fd);
}

TEST_F(mirror, copy_file_range)
{
	off_t from = 10, to = 20;
	int in, out;

	ASSERT_EQ(0, test_write_file(self->a, self->data, SIZE));
	ASSERT_EQ(0, make_file(self->b, 0644));
	in = open(self->a, O_RDONLY | O_CLOEXEC);
	out = open(self->b, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, in);
	ASSERT_LE(0, out);
	ASSERT_EQ(1000, copy_file_range(in, &from, out, &to, 1000, 0));
	EXPECT_EQ(1010, from);
	EXPECT_EQ(1020, to);
	EXPECT_EQ(1000, pread(out, self->buf, SIZE, 20));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 10, 1000));
	close(in);
	close(out);
}

TEST_F(mirror, tmpfile)
{
	const int flags = O_TMPFILE | O_RDWR | O_CLOEXEC;
	char path[64];
	int fd;

	fd = open(self->env.backing, flags, 0600);
	if (fd < 0 && errno == EOPNOTSUPP)
		SKIP(return, "no O_TMPFILE on the backing file system");
	ASSERT_EQ(0, close(fd));
	fd = open(self->env.mnt, flags, 0600);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, write(fd, "data", 4));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ASSERT_EQ(0, linkat(AT_FDCWD, path, AT_FDCWD, self->a,
			    AT_SYMLINK_FOLLOW));
	close(fd);
	EXPECT_TRUE(same_contents(self->a_below, "data", 4));
}

static int try_locks(void *arg)
{
	struct flock lock = { .l_type = F_WRLCK };
	const char *path = arg;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return 1;
	if (!fcntl(fd, F_SETLK, &lock) || errno != EAGAIN)
		return 2;
	if (!flock(fd, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK)
		return 3;
	return 0;
}

TEST_F(mirror, locks_are_the_kernels)
{
	struct flock lock = { .l_type = F_WRLCK };
	int fd;

	ASSERT_EQ(0, make_file(self->a, 0644));
	fd = open(self->a, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fcntl(fd, F_SETLK, &lock));
	ASSERT_EQ(0, flock(fd, LOCK_EX));
	EXPECT_EQ(0, test_in_child(try_locks, self->a));
	close(fd);
}

TEST_F(mirror, shared_mapping)
{
	char *map;
	int fd;

	ASSERT_EQ(0, test_write_file(self->a, self->data, SIZE));
	fd = open(self->a, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(map, self->data, SIZE));
	memcpy(map + 5000, "new", 3);
	memcpy(self->data + 5000, "new", 3);
	EXPECT_EQ(0, msync(map, SIZE, MS_SYNC));
	EXPECT_EQ(0, munmap(map, SIZE));
	close(fd);
	EXPECT_TRUE(same_contents(self->a_below, self->data, SIZE));
}

TEST_F(mirror, programs_run)
{
	pid_t pid = test_run_text(self->a);

	ASSERT_LT(0, pid);
	EXPECT_EQ(-1, open(self->a, O_WRONLY | O_CLOEXEC));
	EXPECT_EQ(ETXTBSY, errno);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int user_makes_things(void *arg)
{
	char path[PATH_MAX];

	umask(077);
	if (make_file(test_pathf(path, "%s/file", (char *)arg), 0666))
		return 1;
	if (mkdir(test_pathf(path, "%s/dir", (char *)arg), 0777))
		return 2;
	if (symlink("x", test_pathf(path, "%s/link", (char *)arg)))
		return 3;
	return 0;
}

static int user_is_refused(void *arg)
{
	char path[PATH_MAX];

	if (!make_file(test_pathf(path, "%s/file", (char *)arg), 0666))
		return 1;
	return errno == EACCES ? 0 : 2;
}

TEST_F(mirror, files_belong_to_who_made_them)
{
	static const char * const names[] = { "file", "dir", "link" };
	char path[PATH_MAX];
	struct stat st;
	size_t i;

	ASSERT_EQ(0, mkdir(self->a, 0777));
	ASSERT_EQ(0, chmod(self->a, 0777));
	EXPECT_EQ(0, test_as_user(user_makes_things, self->a));
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		ASSERT_EQ(0, lstat(test_pathf(path, "%s/%s", self->a_below,
					      names[i]), &st));
		EXPECT_EQ((uid_t)TEST_UID, st.st_uid);
		EXPECT_EQ((gid_t)TEST_GID, st.st_gid);
		if (!S_ISLNK(st.st_mode))
			EXPECT_EQ(0U, st.st_mode & 077);
	}

	ASSERT_EQ(0, mkdir(self->b, 0755));
	EXPECT_EQ(0, test_as_user(user_is_refused, self->b));
}

static int user_writes(void *arg)
{
	int fd = open(arg, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, "x", 1) == 1 ? 0 : 1;
}

TEST_F(mirror, a_users_write_strips_setuid)
{
	struct stat st;

	ASSERT_EQ(0, make_file(self->a, 0644));
	ASSERT_EQ(0, chmod(self->a, 06777));
	EXPECT_EQ(0, test_as_user(user_writes, self->a));
	ASSERT_EQ(0, stat(self->a_below, &st));
	/* What kernel this is, a server has to ask */
	ASSERT_EQ(0, test_start(&self->env));
	ASSERT_OR_XFAIL(return, &self->env, (st.st_mode & 07777) == 0777,
			"leaves mode %o", st.st_mode & 07777);
}

TEST_HARNESS_MAIN
