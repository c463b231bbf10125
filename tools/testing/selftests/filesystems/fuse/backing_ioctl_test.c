// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE_DEV_IOC_BACKING_OPEN and FUSE_DEV_IOC_BACKING_CLOSE: the errors, the
 * order in which they are checked for, and how long an id lives.
 *
 * Also to be built with -m32: the arguments are the same for 32-bit callers.
 */
#include "test_common.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define CUSE_MAJOR	10
#define CUSE_MINOR	203

static int skipped(struct test_env *env, const char *what)
{
	snprintf(env->reason, sizeof(env->reason), "%.150s: %s", what,
		 strerror(errno));
	return TEST_SKIPPED;
}

static int dev(struct test_env *env)
{
	return fuse_server_dev(env->srv);
}

/* BACKING_OPEN of an fd that is then closed */
static int open_of(struct test_env *env, int fd, const char *what)
{
	int err;

	if (fd < 0)
		return skipped(env, what);
	err = test_backing_open(dev(env), fd);
	close(fd);
	return err;
}

static int open_of_path(struct test_env *env, const char *path, int flags)
{
	return open_of(env, open(path, flags | O_CLOEXEC), path);
}

/* A good file, for calls that are bad in another way */
static int good_fd(struct test_env *env)
{
	return env->file[0].fd;
}

/* EPERM: not attached to a connection; CUSE */

static int open_on(struct test_env *env, int device, const char *what)
{
	int err;

	if (device < 0)
		return skipped(env, what);
	err = test_backing_open(device, good_fd(env));
	close(device);
	return err;
}

static int close_on(struct test_env *env, int device, const char *what)
{
	int err;

	if (device < 0)
		return skipped(env, what);
	err = test_backing_close(device, 1);
	close(device);
	return err;
}

static int unattached_device(void)
{
	return open("/dev/fuse", O_RDWR | O_CLOEXEC);
}

static int cuse_device(struct test_env *env)
{
	char path[PATH_MAX];
	int fd;

	fd = open("/dev/cuse", O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (mknod(test_pathf(path, "%s/cuse", env->dir), S_IFCHR | 0600,
		  makedev(CUSE_MAJOR, CUSE_MINOR)))
		return -1;
	return open(path, O_RDWR | O_CLOEXEC);
}

static int open_on_unattached_device(struct test_env *env)
{
	return open_on(env, unattached_device(), "/dev/fuse");
}

static int close_on_unattached_device(struct test_env *env)
{
	return close_on(env, unattached_device(), "/dev/fuse");
}

static int open_on_cuse_device(struct test_env *env)
{
	return open_on(env, cuse_device(env), "no CUSE in this kernel");
}

static int close_on_cuse_device(struct test_env *env)
{
	return close_on(env, cuse_device(env), "no CUSE in this kernel");
}

static int bad_pointer_on_unattached_device(struct test_env *env)
{
	int device = unattached_device();
	int err;

	if (device < 0)
		return skipped(env, "/dev/fuse");
	err = test_backing_ioctl(device, NULL, NULL);
	close(device);
	return err;
}

/* EFAULT: bad user pointers */

static int open_null_pointer(struct test_env *env)
{
	return test_backing_ioctl(dev(env), NULL, NULL);
}

static int close_null_pointer(struct test_env *env)
{
	return ioctl(dev(env), FUSE_DEV_IOC_BACKING_CLOSE, NULL) ? errno : 0;
}

/* The last bytes before a page that is not mapped */
static void *end_of_page(size_t bytes)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || munmap(p + page, page))
		return NULL;
	return p + page - bytes;
}

static int open_half_mapped_pointer(struct test_env *env)
{
	struct fuse_backing_map *map = end_of_page(sizeof(*map) / 2);

	if (!map)
		return skipped(env, "mmap");
	map->fd = good_fd(env);
	map->flags = 0;
	return test_backing_ioctl(dev(env), map, NULL);
}

static int close_half_mapped_pointer(struct test_env *env)
{
	void *id = end_of_page(sizeof(uint32_t) / 2);

	if (!id)
		return skipped(env, "mmap");
	return ioctl(dev(env), FUSE_DEV_IOC_BACKING_CLOSE, id) ? errno : 0;
}

/* EPERM: passthrough not enabled, or not allowed */

static int open_good_file(struct test_env *env)
{
	return test_backing_open(dev(env), good_fd(env));
}

static int close_id_one(struct test_env *env)
{
	return test_backing_close(dev(env), 1);
}

static int open_unprivileged(void *env)
{
	if (test_drop_sys_admin())
		return 255;
	return open_good_file(env);
}

static int open_without_cap_sys_admin(struct test_env *env)
{
	return test_in_child(open_unprivileged, env);
}

static int close_unprivileged(void *arg)
{
	struct test_env *env = arg;

	if (test_drop_sys_admin())
		return 255;
	return test_backing_close(dev(env), env->file[0].backing_id);
}

static int close_without_cap_sys_admin(struct test_env *env)
{
	int err = 255;

	if (test_back(&env->file[0]) > 0)
		err = test_in_child(close_unprivileged, env);
	test_backing_close(dev(env), env->file[0].backing_id);
	return err;
}

/* Values that are no errno of the ioctls; see in_user_namespace() */
#define NO_USER_NAMESPACE	254
#define NO_SERVER_THERE		253

static int enter_user_namespace(void)
{
	char map[64];

	snprintf(map, sizeof(map), "0 %u 1", geteuid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) ||
	    test_write_file("/proc/self/setgroups", "deny", 4) ||
	    test_write_file("/proc/self/uid_map", map, strlen(map)) ||
	    test_write_file("/proc/self/gid_map", map, strlen(map)))
		return -1;
	return 0;
}

static int server_in_user_namespace(void *arg)
{
	int (*call)(struct test_env *env) = *(void **)arg;
	struct test_env env;

	if (enter_user_namespace())
		return NO_USER_NAMESPACE;
	if (test_setup(&env) || !test_add_file(&env, "file", "data", 4) ||
	    test_start(&env))
		return NO_SERVER_THERE;
	if (!test_passthrough_offered(&env))
		return NO_SERVER_THERE;
	return call(&env);
}

static int in_user_namespace(struct test_env *env,
			     int (*call)(struct test_env *env))
{
	int err = test_in_child(server_in_user_namespace, &call);

	if (err == NO_USER_NAMESPACE) {
		snprintf(env->reason, sizeof(env->reason),
			 "cannot make a user namespace");
		return TEST_SKIPPED;
	}
	return err;
}

static int open_in_user_namespace(struct test_env *env)
{
	return in_user_namespace(env, open_good_file);
}

static int close_in_user_namespace(struct test_env *env)
{
	return in_user_namespace(env, close_id_one);
}

/* EINVAL: flags or padding */

static int open_with(struct test_env *env, int fd, uint32_t flags,
		     uint64_t padding)
{
	struct fuse_backing_map map = {
		.fd = fd, .flags = flags, .padding = padding,
	};

	return test_backing_ioctl(dev(env), &map, NULL);
}

static int open_flags_set(struct test_env *env)
{
	return open_with(env, good_fd(env), 1, 0);
}

static int open_highest_flag_set(struct test_env *env)
{
	return open_with(env, good_fd(env), 1U << 31, 0);
}

static int open_padding_set(struct test_env *env)
{
	return open_with(env, good_fd(env), 0, 1);
}

static int open_high_padding_set(struct test_env *env)
{
	return open_with(env, good_fd(env), 0, 1ULL << 63);
}

static int open_flags_set_and_bad_fd(struct test_env *env)
{
	return open_with(env, -1, 1, 0);
}

/* EBADF: no such fd */

static int open_fd_minus_one(struct test_env *env)
{
	return open_with(env, -1, 0, 0);
}

static int open_closed_fd(struct test_env *env)
{
	int fd = dup(good_fd(env));

	close(fd);
	return open_with(env, fd, 0, 0);
}

static int open_fd_int_max(struct test_env *env)
{
	return open_with(env, INT_MAX, 0, 0);
}

/* EISDIR: directories */

static int open_directory(struct test_env *env)
{
	return open_of_path(env, env->backing, O_RDONLY | O_DIRECTORY);
}

static int open_o_path_directory(struct test_env *env)
{
	return open_of_path(env, env->backing, O_PATH);
}

static int open_directory_without_read_iter(struct test_env *env)
{
	return open_of_path(env, "/proc/self", O_RDONLY);
}

/* EINVAL: other files that are not regular */

static int open_pipe(struct test_env *env)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		return skipped(env, "pipe");
	close(fd[1]);
	return open_of(env, fd[0], "pipe");
}

static int open_fifo(struct test_env *env)
{
	char path[PATH_MAX];

	mkfifo(test_pathf(path, "%s/fifo", env->backing), 0600);
	return open_of_path(env, path, O_RDWR);
}

static int open_socket(struct test_env *env)
{
	return open_of(env, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
		       "no AF_UNIX sockets");
}

static int open_char_device(struct test_env *env)
{
	return open_of_path(env, "/dev/null", O_RDWR);
}

static int open_symlink(struct test_env *env)
{
	char path[PATH_MAX];

	if (symlink(env->file[0].name,
		    test_pathf(path, "%s/symlink", env->backing)))
		return skipped(env, "symlink");
	return open_of_path(env, path, O_PATH | O_NOFOLLOW);
}

static int open_eventfd(struct test_env *env)
{
	return open_of(env, eventfd(0, EFD_CLOEXEC), "no eventfd");
}

static int open_epoll(struct test_env *env)
{
	return open_of(env, epoll_create1(EPOLL_CLOEXEC), "no epoll");
}

static int open_own_device(struct test_env *env)
{
	return test_backing_open(dev(env), dev(env));
}

/* EOPNOTSUPP: regular files that cannot be read or written by iov_iter */

static int open_without_both(struct test_env *env)
{
	return open_of_path(env, "/proc/self/mem", O_RDWR);
}

static int open_without_both_o_path(struct test_env *env)
{
	return open_of_path(env, "/proc/self/mem", O_PATH);
}

/* There is only one such file, with CONFIG_USER_EVENTS. */
static int open_without_read_iter(struct test_env *env)
{
	char dir[PATH_MAX], path[PATH_MAX];

	if (test_mount(env, "tracing", "tracefs", NULL, dir))
		return skipped(env, "no tracefs");
	test_pathf(path, "%s/user_events_data", dir);
	return open_of_path(env, path, O_WRONLY);
}

static int open_without_write_iter(struct test_env *env)
{
	return open_of_path(env, "/proc/self/mountinfo", O_RDONLY);
}

/* ELOOP: stacked too deeply */

static int open_file_of_this_mount(struct test_env *env)
{
	char path[PATH_MAX];

	return open_of_path(env, test_path(&env->file[0], path), O_RDWR);
}

static int open_o_path_file_of_this_mount(struct test_env *env)
{
	char path[PATH_MAX];

	return open_of_path(env, test_path(&env->file[0], path), O_PATH);
}

static int open_file_on_overlayfs(struct test_env *env)
{
	char overlay[PATH_MAX], path[PATH_MAX];

	if (env->config.max_stack_depth > 1)
		return skipped(env, "the backing files need a depth of 2");
	if (test_mount_overlay(env, overlay))
		return skipped(env, "no overlayfs");
	return open_of_path(env, test_pathf(path, "%s/file", overlay),
			    O_RDONLY);
}

/* How deep it is going to be stacked nobody knows. Its root is a file. */
static int open_mount_before_init(struct test_env *env)
{
	char path[PATH_MAX], options[128];
	int device = unattached_device();
	int err;

	if (device < 0)
		return skipped(env, "/dev/fuse");
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=100644,user_id=0,group_id=0", device);
	if (test_write_file(test_pathf(path, "%s/silent", env->dir), "", 0) ||
	    mount("silent", path, "fuse", 0, options)) {
		close(device);
		return skipped(env, "mount on a file");
	}
	err = open_of_path(env, path, O_PATH);
	umount2(path, MNT_DETACH);
	close(device);
	return err;
}

/* EINVAL and ENOENT: bad ids */

static int close_id_zero(struct test_env *env)
{
	return test_backing_close(dev(env), 0);
}

static int close_id_minus_one(struct test_env *env)
{
	return test_backing_close(dev(env), -1);
}

static int close_id_int_min(struct test_env *env)
{
	return test_backing_close(dev(env), INT_MIN);
}

static int close_unknown_id(struct test_env *env)
{
	return test_backing_close(dev(env), 4711);
}

static int close_id_int_max(struct test_env *env)
{
	return test_backing_close(dev(env), INT_MAX);
}

static int close_id_twice(struct test_env *env)
{
	int id = fuse_backing_open(dev(env), good_fd(env));
	int err;

	if (id < 0)
		return errno;
	err = test_backing_close(dev(env), id);
	return err ? err : test_backing_close(dev(env), id);
}

FIXTURE(bad_call)
{
	struct test_env env;
};

FIXTURE_VARIANT(bad_call)
{
	int (*call)(struct test_env *env);
	int err;
	enum { ENABLED, NOT_NEGOTIATED, NO_INIT } state;
	int ids;		/* that the call makes itself */
};

FIXTURE_SETUP(bad_call)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_setup(env));
	ASSERT_TRUE(!!test_add_file(env, "file", "data", 4));
	if (variant->state == NOT_NEGOTIATED)
		env->config.init_flags &= ~FUSE_PASSTHROUGH;
	env->config.hold_init = variant->state == NO_INIT;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
}

FIXTURE_TEARDOWN(bad_call)
{
	if (self->env.config.hold_init)
		fuse_server_answer_init(self->env.srv);
	test_teardown(&self->env);
}

/* EPERM: not attached, CUSE */
FIXTURE_VARIANT_ADD(bad_call, open_on_unattached_device)
{
	.call = open_on_unattached_device, .err = EPERM,
};

FIXTURE_VARIANT_ADD(bad_call, close_on_unattached_device)
{
	.call = close_on_unattached_device, .err = EPERM,
};

FIXTURE_VARIANT_ADD(bad_call, open_on_cuse_device)
{
	.call = open_on_cuse_device, .err = EPERM,
};

FIXTURE_VARIANT_ADD(bad_call, close_on_cuse_device)
{
	.call = close_on_cuse_device, .err = EPERM,
};

/* EFAULT */
FIXTURE_VARIANT_ADD(bad_call, open_null_pointer)
{
	.call = open_null_pointer, .err = EFAULT,
};

FIXTURE_VARIANT_ADD(bad_call, close_null_pointer)
{
	.call = close_null_pointer, .err = EFAULT,
};

FIXTURE_VARIANT_ADD(bad_call, open_half_mapped_pointer)
{
	.call = open_half_mapped_pointer, .err = EFAULT,
};

FIXTURE_VARIANT_ADD(bad_call, close_half_mapped_pointer)
{
	.call = close_half_mapped_pointer, .err = EFAULT,
};

/* EPERM: not enabled, not allowed */
FIXTURE_VARIANT_ADD(bad_call, open_before_init)
{
	.call = open_good_file, .err = EPERM,
	.state = NO_INIT,
};

FIXTURE_VARIANT_ADD(bad_call, close_before_init)
{
	.call = close_id_one, .err = EPERM,
	.state = NO_INIT,
};

FIXTURE_VARIANT_ADD(bad_call, open_not_negotiated)
{
	.call = open_good_file, .err = EPERM,
	.state = NOT_NEGOTIATED,
};

FIXTURE_VARIANT_ADD(bad_call, close_not_negotiated)
{
	.call = close_id_one, .err = EPERM,
	.state = NOT_NEGOTIATED,
};

FIXTURE_VARIANT_ADD(bad_call, open_without_cap_sys_admin)
{
	.call = open_without_cap_sys_admin, .err = EPERM,
};

FIXTURE_VARIANT_ADD(bad_call, close_without_cap_sys_admin)
{
	.call = close_without_cap_sys_admin, .err = EPERM,
	.ids = 1,
};

FIXTURE_VARIANT_ADD(bad_call, open_in_user_namespace)
{
	.call = open_in_user_namespace, .err = EPERM,
};

FIXTURE_VARIANT_ADD(bad_call, close_in_user_namespace)
{
	.call = close_in_user_namespace, .err = EPERM,
};

/* EINVAL: flags or padding */
FIXTURE_VARIANT_ADD(bad_call, open_flags_set)
{
	.call = open_flags_set, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, open_highest_flag_set)
{
	.call = open_highest_flag_set, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, open_padding_set)
{
	.call = open_padding_set, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, open_high_padding_set)
{
	.call = open_high_padding_set, .err = EINVAL,
};

/* EBADF */
FIXTURE_VARIANT_ADD(bad_call, open_fd_minus_one)
{
	.call = open_fd_minus_one, .err = EBADF,
};

FIXTURE_VARIANT_ADD(bad_call, open_closed_fd)
{
	.call = open_closed_fd, .err = EBADF,
};

FIXTURE_VARIANT_ADD(bad_call, open_fd_int_max)
{
	.call = open_fd_int_max, .err = EBADF,
};

/* EISDIR */
FIXTURE_VARIANT_ADD(bad_call, open_directory)
{
	.call = open_directory, .err = EISDIR,
};

FIXTURE_VARIANT_ADD(bad_call, open_o_path_directory)
{
	.call = open_o_path_directory, .err = EISDIR,
};

/* EINVAL: not regular */
FIXTURE_VARIANT_ADD(bad_call, open_pipe)
{
	.call = open_pipe, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, open_fifo)
{
	.call = open_fifo, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, open_socket)
{
	.call = open_socket, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, open_char_device)
{
	.call = open_char_device, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, open_symlink)
{
	.call = open_symlink, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, open_eventfd)
{
	.call = open_eventfd, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, open_epoll)
{
	.call = open_epoll, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, open_own_device)
{
	.call = open_own_device, .err = EINVAL,
};

/* EOPNOTSUPP */
FIXTURE_VARIANT_ADD(bad_call, open_without_both)
{
	.call = open_without_both, .err = EOPNOTSUPP,
};

FIXTURE_VARIANT_ADD(bad_call, open_without_both_o_path)
{
	.call = open_without_both_o_path, .err = EOPNOTSUPP,
};

FIXTURE_VARIANT_ADD(bad_call, open_without_read_iter)
{
	.call = open_without_read_iter, .err = EOPNOTSUPP,
};

FIXTURE_VARIANT_ADD(bad_call, open_without_write_iter)
{
	.call = open_without_write_iter, .err = EOPNOTSUPP,
};

/* ELOOP */
FIXTURE_VARIANT_ADD(bad_call, open_file_of_this_mount)
{
	.call = open_file_of_this_mount, .err = ELOOP,
};

FIXTURE_VARIANT_ADD(bad_call, open_o_path_file_of_this_mount)
{
	.call = open_o_path_file_of_this_mount, .err = ELOOP,
};

FIXTURE_VARIANT_ADD(bad_call, open_file_on_overlayfs)
{
	.call = open_file_on_overlayfs, .err = ELOOP,
};

FIXTURE_VARIANT_ADD(bad_call, open_mount_before_init)
{
	.call = open_mount_before_init, .err = ELOOP,
};

/* EINVAL: ids */
FIXTURE_VARIANT_ADD(bad_call, close_id_zero)
{
	.call = close_id_zero, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, close_id_minus_one)
{
	.call = close_id_minus_one, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, close_id_int_min)
{
	.call = close_id_int_min, .err = EINVAL,
};

/* ENOENT */
FIXTURE_VARIANT_ADD(bad_call, close_unknown_id)
{
	.call = close_unknown_id, .err = ENOENT,
};

FIXTURE_VARIANT_ADD(bad_call, close_id_int_max)
{
	.call = close_id_int_max, .err = ENOENT,
};

FIXTURE_VARIANT_ADD(bad_call, close_id_twice)
{
	.call = close_id_twice, .err = ENOENT,
	.ids = 1,
};

/*
 * Two errors at once: the first of the table is reported. That EOPNOTSUPP comes
 * before ELOOP is seen in procfs, which is deep.
 */
FIXTURE_VARIANT_ADD(bad_call, not_attached_before_efault)
{
	.call = bad_pointer_on_unattached_device, .err = EPERM,
};

FIXTURE_VARIANT_ADD(bad_call, efault_before_eperm_open)
{
	.call = open_null_pointer, .err = EFAULT,
	.state = NOT_NEGOTIATED,
};

FIXTURE_VARIANT_ADD(bad_call, efault_before_eperm_close)
{
	.call = close_null_pointer, .err = EFAULT,
	.state = NOT_NEGOTIATED,
};

FIXTURE_VARIANT_ADD(bad_call, eperm_before_bad_flags)
{
	.call = open_flags_set, .err = EPERM,
	.state = NOT_NEGOTIATED,
};

FIXTURE_VARIANT_ADD(bad_call, eperm_before_ebadf)
{
	.call = open_fd_minus_one, .err = EPERM,
	.state = NOT_NEGOTIATED,
};

FIXTURE_VARIANT_ADD(bad_call, eperm_before_eisdir)
{
	.call = open_directory, .err = EPERM,
	.state = NOT_NEGOTIATED,
};

FIXTURE_VARIANT_ADD(bad_call, eperm_before_not_regular)
{
	.call = open_pipe, .err = EPERM,
	.state = NOT_NEGOTIATED,
};

FIXTURE_VARIANT_ADD(bad_call, eperm_before_bad_id)
{
	.call = close_id_zero, .err = EPERM,
	.state = NOT_NEGOTIATED,
};

FIXTURE_VARIANT_ADD(bad_call, bad_flags_before_ebadf)
{
	.call = open_flags_set_and_bad_fd, .err = EINVAL,
};

FIXTURE_VARIANT_ADD(bad_call, eisdir_before_eopnotsupp)
{
	.call = open_directory_without_read_iter, .err = EISDIR,
};

TEST_F(bad_call, has_its_errno)
{
	struct test_env *env = &self->env;
	int err = variant->call(env);

	if (err == TEST_SKIPPED)
		SKIP(return, "%s", env->reason);
	ASSERT_OR_XFAIL(return, env, err == variant->err, "says %s (%d) and not %s (%d)",
			err == 255 ? "(child died)" : strerror(err), err,
			strerror(variant->err), variant->err);
}

TEST_F(bad_call, changes_nothing)
{
	struct test_env *env = &self->env;
	int before, err, after;

	if (variant->state != ENABLED) {
		/* There are no ids. The file system works as ever. */
		variant->call(env);
		if (variant->state == NO_INIT) {
			fuse_server_answer_init(env->srv);
			env->config.hold_init = false;
		}
		EXPECT_EQ(0, test_sync(env));
		return;
	}

	before = fuse_backing_open(dev(env), good_fd(env));
	ASSERT_LT(0, before);
	err = variant->call(env);
	if (err == TEST_SKIPPED)
		SKIP(return, "%s", env->reason);
	after = fuse_backing_open(dev(env), good_fd(env));
	ASSERT_OR_XFAIL(return, env, before + 1 + variant->ids == after,
			"went from id %d to %d after error %d", before, after,
			err);
	EXPECT_EQ(0, test_backing_close(dev(env), before));
	EXPECT_EQ(0, test_backing_close(dev(env), after));
}

FIXTURE(backing)
{
	struct test_env env;
	struct test_file *file;
	int dev;
};

FIXTURE_SETUP(backing)
{
	ASSERT_EQ(0, test_setup(&self->env));
	self->file = test_add_file(&self->env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
	self->dev = dev(&self->env);
}

FIXTURE_TEARDOWN(backing)
{
	test_teardown(&self->env);
}

TEST_F(backing, ids_start_at_one)
{
	EXPECT_EQ(1, fuse_backing_open(self->dev, self->file->fd));
}

TEST_F(backing, every_open_makes_a_new_id)
{
	int first = fuse_backing_open(self->dev, self->file->fd);
	int second = fuse_backing_open(self->dev, self->file->fd);

	ASSERT_LT(0, first);
	ASSERT_LT(0, second);
	EXPECT_NE(first, second);
	EXPECT_EQ(0, test_backing_close(self->dev, first));
	EXPECT_EQ(0, test_backing_close(self->dev, second));
}

TEST_F(backing, ids_are_not_reused_at_once)
{
	int first = fuse_backing_open(self->dev, self->file->fd);
	int i;

	ASSERT_LT(0, first);
	ASSERT_EQ(0, test_backing_close(self->dev, first));
	for (i = 0; i < 100; i++) {
		int id = fuse_backing_open(self->dev, self->file->fd);

		ASSERT_LT(0, id);
		ASSERT_NE(first, id);
		ASSERT_EQ(0, test_backing_close(self->dev, id));
	}
}

TEST_F(backing, an_o_path_fd_is_good)
{
	char path[PATH_MAX];
	int fd = open(test_backing_path(self->file, path), O_PATH | O_CLOEXEC);
	int err;

	ASSERT_LE(0, fd);
	err = test_backing_open(self->dev, fd);
	ASSERT_OR_XFAIL(return, &self->env, !err, "refuses an O_PATH fd with %s",
			strerror(err));
}

TEST_F(backing, a_read_only_fd_is_good)
{
	char path[PATH_MAX];
	int fd = open(test_backing_path(self->file, path),
		      O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, test_backing_open(self->dev, fd));
}

TEST_F(backing, an_fd_may_be_closed_before_its_id_is_used)
{
	char buf[4];
	int fd;

	ASSERT_LT(0, test_back(self->file));
	/* The server goes on answering from another fd */
	fd = dup(self->file->fd);
	ASSERT_EQ(0, close(self->file->fd));
	self->file->fd = fd;

	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, read(fd, buf, 4));
	EXPECT_EQ(0, memcmp(buf, "data", 4));
	close(fd);
}

TEST_F(backing, ids_belong_to_one_connection)
{
	struct test_env other;
	int id, err;

	ASSERT_EQ(0, test_setup(&other));
	ASSERT_EQ(0, test_start(&other));
	id = fuse_backing_open(self->dev, self->file->fd);
	ASSERT_LT(0, id);
	err = test_backing_close(dev(&other), id);
	test_teardown(&other);
	EXPECT_EQ(ENOENT, err);
	EXPECT_EQ(0, test_backing_close(self->dev, id));
}

TEST_F(backing, a_cloned_device_takes_back_the_ids_of_the_first)
{
	int id = fuse_backing_open(self->dev, self->file->fd);
	int clone = fuse_dev_clone(self->dev);

	ASSERT_LT(0, id);
	ASSERT_LE(0, clone);
	EXPECT_EQ(0, test_backing_close(clone, id));
	EXPECT_EQ(ENOENT, test_backing_close(self->dev, id));
	close(clone);
}

TEST_F(backing, a_cloned_device_shares_the_table)
{
	int clone = fuse_dev_clone(self->dev);
	int first, second;

	ASSERT_LE(0, clone);
	first = fuse_backing_open(self->dev, self->file->fd);
	second = fuse_backing_open(clone, self->file->fd);
	ASSERT_LT(0, first);
	ASSERT_LT(0, second);
	EXPECT_NE(first, second);
	EXPECT_EQ(0, test_backing_close(self->dev, second));
	close(clone);
}

TEST_F(backing, ids_outlive_the_cloned_device_that_made_them)
{
	int clone = fuse_dev_clone(self->dev);
	int id;

	ASSERT_LE(0, clone);
	id = fuse_backing_open(clone, self->file->fd);
	ASSERT_LT(0, id);
	ASSERT_EQ(0, close(clone));
	EXPECT_EQ(0, test_backing_close(self->dev, id));
}

TEST_F(backing, refused_files_are_not_pinned)
{
	char dir[PATH_MAX], path[PATH_MAX];
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_mount(env, "refused", "tmpfs", "size=1m", dir));
	ASSERT_EQ(EISDIR, open_of_path(env, dir, O_RDONLY));
	test_pathf(path, "%s/fifo", dir);
	ASSERT_EQ(0, mkfifo(path, 0600));
	ASSERT_EQ(EINVAL, open_of_path(env, path, O_RDWR));
	EXPECT_EQ(0, test_umount(dir));
}

TEST_F(backing, closed_ids_do_not_pin_their_file_system)
{
	char dir[PATH_MAX], path[PATH_MAX];
	int fd, id;

	ASSERT_EQ(0, test_mount(&self->env, "closed", "tmpfs", "size=1m", dir));
	test_pathf(path, "%s/file", dir);
	ASSERT_EQ(0, test_write_file(path, "data", 4));
	fd = open(path, O_RDWR | O_CLOEXEC);
	id = fuse_backing_open(self->dev, fd);
	ASSERT_LT(0, id);
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(-1, umount2(dir, 0));
	ASSERT_EQ(0, test_backing_close(self->dev, id));
	EXPECT_EQ(0, test_umount(dir));
}

TEST_F(backing, unknown_ioctls_get_enotty)
{
	struct fuse_backing_map map = { .fd = self->file->fd };

	EXPECT_EQ(-1, ioctl(self->dev, _IOW(FUSE_DEV_IOC_MAGIC, 77, uint32_t),
			    &map));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->dev, _IOR(FUSE_DEV_IOC_MAGIC, 1,
					    struct fuse_backing_map), &map));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->dev, _IOW(FUSE_DEV_IOC_MAGIC, 1, uint32_t),
			    &map));
	EXPECT_EQ(ENOTTY, errno);
}

TEST_F(backing, unknown_ioctls_of_cuse_get_enotty)
{
	int fd = cuse_device(&self->env);

	if (fd < 0)
		SKIP(return, "no CUSE in this kernel: %s", strerror(errno));
	EXPECT_EQ(-1, ioctl(fd, _IOW(FUSE_DEV_IOC_MAGIC, 77, uint32_t), NULL));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(fd, FUSE_DEV_IOC_CLONE, &self->dev));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(0, close(fd));
}

TEST_F(backing, ids_are_gone_after_an_abort)
{
	int id = fuse_backing_open(self->dev, self->file->fd);
	int err;

	ASSERT_LT(0, id);
	ASSERT_EQ(0, fuse_server_abort(self->env.srv));
	err = test_backing_close(self->dev, id);
	ASSERT_OR_XFAIL(return, &self->env, err == ENOENT,
			"answers BACKING_CLOSE with %d", err);
}

TEST_F(backing, there_are_no_new_ids_after_an_abort)
{
	int err;

	ASSERT_EQ(0, fuse_server_abort(self->env.srv));
	err = test_backing_open(self->dev, self->file->fd);
	ASSERT_OR_XFAIL(return, &self->env, err == ENOTCONN,
			"answers BACKING_OPEN with %d", err);
}

/* ENOMEM, by failing each of the call's allocations in turn */
static int write_fail_nth(int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", nth);
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	int ret = -1;

	if (fd >= 0) {
		ret = write(fd, text, len) == len ? 0 : -1;
		close(fd);
	}
	return ret;
}

/* What is left of the count: 0 if the failure was injected */
static int read_fail_nth(void)
{
	char text[16] = "";
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	int left = -1;

	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) > 0)
			left = atoi(text);
		close(fd);
	}
	return left;
}

/*
 * Allocations that may sleep are spared unless failslab is told not to; without a
 * backtrace in the log for each failure
 */
static struct test_knob knobs[] = {
	{ .path = "/sys/kernel/debug/failslab/ignore-gfp-wait", .value = "N",
	  .needed = true },
	{ .path = "/sys/kernel/debug/failslab/verbose", .value = "0" },
};

TEST_F(backing, every_failed_allocation_is_enomem)
{
	struct fuse_backing_map map = { .fd = self->file->fd };
	int nth, id, err, left, failures = 0;

	/* Of the test's own mounts */
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	if (write_fail_nth(0) || test_set_knobs(knobs, ARRAY_SIZE(knobs)))
		SKIP(return, "no CONFIG_FAILSLAB, CONFIG_FAULT_INJECTION_DEBUG_FS");

	for (nth = 1; nth < 50; nth++) {
		ASSERT_EQ(0, write_fail_nth(nth));
		err = test_backing_ioctl(self->dev, &map, &id);
		left = read_fail_nth();
		write_fail_nth(0);
		if (!err) {
			EXPECT_EQ(0, test_backing_close(self->dev, id));
			/* Preloading may fail without harm, so go on then */
			if (left > 0)
				break;
			continue;
		}
		EXPECT_EQ(ENOMEM, err);
		failures++;
	}
	test_restore_knobs(knobs, ARRAY_SIZE(knobs));
	EXPECT_LT(0, failures);
	EXPECT_GT(50, nth);
}

FIXTURE(end_of_connection)
{
	struct test_env env;
	char pinned[PATH_MAX];
	int id;
};

FIXTURE_VARIANT(end_of_connection)
{
	/* 0 on success */
	int (*end)(struct fuse_server *srv);
};

static int end_by_abort(struct fuse_server *srv)
{
	return fuse_server_abort(srv);
}

static int end_by_death(struct fuse_server *srv)
{
	fuse_server_kill(srv);
	return 0;
}

FIXTURE_VARIANT_ADD(end_of_connection, abort)
{
	.end = end_by_abort,
};

FIXTURE_VARIANT_ADD(end_of_connection, death)
{
	.end = end_by_death,
};

FIXTURE_SETUP(end_of_connection)
{
	char path[PATH_MAX];
	int fd;

	ASSERT_EQ(0, test_setup(&self->env));
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
	ASSERT_EQ(0, test_mount(&self->env, "pinned", "tmpfs", "size=1m",
				self->pinned));
	test_pathf(path, "%s/file", self->pinned);
	ASSERT_EQ(0, test_write_file(path, "data", 4));
	fd = open(path, O_RDWR | O_CLOEXEC);
	self->id = fuse_backing_open(dev(&self->env), fd);
	ASSERT_LT(0, self->id);
	ASSERT_EQ(0, close(fd));
}

FIXTURE_TEARDOWN(end_of_connection)
{
	test_teardown(&self->env);
	umount2(self->pinned, MNT_DETACH);
}

TEST_F(end_of_connection, an_id_pins_its_file_system_before)
{
	EXPECT_EQ(-1, umount2(self->pinned, 0));
	EXPECT_EQ(EBUSY, errno);
}

TEST_F(end_of_connection, ids_no_longer_pin_their_file_system)
{
	ASSERT_EQ(0, variant->end(self->env.srv));
	ASSERT_OR_XFAIL(return, &self->env, !test_umount(self->pinned),
			"keeps the backing file system busy: umount says %s",
			strerror(errno));
}

TEST_HARNESS_MAIN
