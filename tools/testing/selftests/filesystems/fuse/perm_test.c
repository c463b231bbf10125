// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: who may do what. Users get at a backing file by what FUSE
 * allows them, and no further; the server's credentials of the time of the
 * registration decide on the backing path; what is executed is subject to the
 * mount and the mode that the user sees; and security modules are asked, about
 * the FUSE path with the user's credentials, about the backing path with the
 * server's.
 */
#include "test_common.h"

#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define EUID_VARIABLE	"FUSE_TEST_EUID"
/* Exit codes that are no errno */
#define IS_ROOT		200
#define IS_NOT_ROOT	201
#define NO_NAMESPACE	202
#define WRONG_DATA	203
#define FAILED		255

static const char data[] = "what is in the backing file";

/* Run by way of a mount: says who it is. Before anything else of a program */
static void __attribute__((constructor(101))) say_euid(void)
{
	if (getenv(EUID_VARIABLE))
		_exit(geteuid() ? IS_NOT_ROOT : IS_ROOT);
}

/* What users do, in processes of their own. 0 or an errno, or one of the above */

static int read_data(int fd)
{
	char buf[sizeof(data)];

	if (pread(fd, buf, sizeof(buf), 0) != sizeof(buf))
		return errno ? errno : FAILED;
	return memcmp(buf, data, sizeof(buf)) ? WRONG_DATA : 0;
}

static int reads(void *arg)
{
	int fd = test_open(arg, O_RDONLY);

	return fd < 0 ? errno : read_data(fd);
}

static int writes(void *arg)
{
	int fd = test_open(arg, O_WRONLY);

	if (fd < 0)
		return errno;
	return pwrite(fd, data, sizeof(data), 0) == sizeof(data) ? 0 : errno;
}

static int reads_backing_path(void *arg)
{
	char path[PATH_MAX];
	int fd = open(test_backing_path(arg, path), O_RDONLY | O_CLOEXEC);

	return fd < 0 ? errno : read_data(fd);
}

static int writes_backing_path(void *arg)
{
	char path[PATH_MAX];
	int fd = open(test_backing_path(arg, path), O_WRONLY | O_CLOEXEC);

	return fd < 0 ? errno : 0;
}

/* What FUSE shows may be another mode than the backing file's */
struct shown {
	uint32_t mode;		/* 0: the backing file's */
	uint32_t uid;
};

static void show(struct fuse_attr *attr, const struct shown *shown)
{
	if (!shown->mode)
		return;
	attr->mode = S_IFREG | shown->mode;
	attr->uid = shown->uid;
	attr->gid = shown->uid;
}

static bool show_other_mode(struct test_env *env, struct fuse_req *req)
{
	struct fuse_entry_out entry = { .entry_valid = 3600,
					.attr_valid = 3600 };
	struct fuse_attr_out attr = { .attr_valid = 3600 };
	struct test_file *file = &env->file[0];

	if (req->in->opcode == FUSE_LOOKUP && !strcmp(req->arg, file->name)) {
		entry.nodeid = test_file_id(file);
		if (test_attr(file, &entry.attr))
			return false;
		show(&entry.attr, env->hook_priv);
		return !fuse_reply(req, &entry, sizeof(entry));
	}
	if (req->in->opcode == FUSE_GETATTR &&
	    req->in->nodeid == test_file_id(file)) {
		if (test_attr(file, &attr.attr))
			return false;
		show(&attr.attr, env->hook_priv);
		return !fuse_reply(req, &attr, sizeof(attr));
	}
	return false;
}

/* A user of a file that is root's, on mounts with and without permissions */

FIXTURE(access)
{
	struct test_env env;
	struct test_file *file;
	struct shown shown;
};

FIXTURE_VARIANT(access)
{
	const char *options;	/* NULL: neither of the two */
	mode_t backing;		/* modes */
	mode_t shown;
	uid_t shown_uid;
	int read;		/* 0 or an errno */
	int write;
	int backing_read;	/* of the backing path */
};

/* Without default_permissions it is the server who decides, at OPEN */
FIXTURE_VARIANT_ADD(access, server_allows_what_the_mode_does_not)
{
	.options = "allow_other", .backing = 0600, .shown = 0600,
	.backing_read = EACCES,
};

FIXTURE_VARIANT_ADD(access, default_permissions_forbid_all)
{
	.options = "allow_other,default_permissions", .backing = 0600,
	.shown = 0600, .read = EACCES, .write = EACCES, .backing_read = EACCES,
};

FIXTURE_VARIANT_ADD(access, default_permissions_forbid_writing)
{
	.options = "allow_other,default_permissions", .backing = 0600,
	.shown = 0644, .write = EACCES, .backing_read = EACCES,
};

FIXTURE_VARIANT_ADD(access, default_permissions_forbid_reading)
{
	.options = "allow_other,default_permissions", .backing = 0600,
	.shown = 0622, .read = EACCES, .backing_read = EACCES,
};

/* The backing file's own mode is the server's business alone */
FIXTURE_VARIANT_ADD(access, default_permissions_allow_more_than_the_backing_file)
{
	.options = "allow_other,default_permissions", .backing = 0600,
	.shown = 0666, .backing_read = EACCES,
};

FIXTURE_VARIANT_ADD(access, default_permissions_allow_less_than_the_backing_file)
{
	.options = "allow_other,default_permissions", .backing = 0666,
	.shown = 0600, .read = EACCES, .write = EACCES,
};

FIXTURE_VARIANT_ADD(access, default_permissions_for_the_owner_that_fuse_shows)
{
	.options = "allow_other,default_permissions", .backing = 0600,
	.shown = 0600, .shown_uid = TEST_UID, .backing_read = EACCES,
};

FIXTURE_VARIANT_ADD(access, others_are_not_allowed)
{
	.backing = 0666, .shown = 0666, .read = EACCES, .write = EACCES,
};

FIXTURE_VARIANT_ADD(access, others_are_not_allowed_with_default_permissions)
{
	.options = "default_permissions", .backing = 0666, .shown = 0666,
	.read = EACCES, .write = EACCES,
};

FIXTURE_SETUP(access)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_setup(env));
	env->config.options = variant->options;
	self->file = test_add_file(env, "file", data, sizeof(data));
	ASSERT_TRUE(!!self->file);
	ASSERT_EQ(0, fchmod(self->file->fd, variant->backing));
	self->shown = (struct shown) { variant->shown, variant->shown_uid };
	env->hook_priv = &self->shown;
	env->hook = show_other_mode;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	ASSERT_LT(0, test_back(self->file));
}

FIXTURE_TEARDOWN(access)
{
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
	test_teardown(&self->env);
}

TEST_F(access, of_a_user_who_reads_is_by_what_fuse_says)
{
	EXPECT_EQ(variant->backing_read,
		  test_as_user(reads_backing_path, self->file));
	EXPECT_EQ(variant->read, test_as_user(reads, self->file));
	/* Somebody who is refused does not get as far as the server */
	EXPECT_EQ(!variant->read, test_opens(self->file));
}

TEST_F(access, of_a_user_who_writes_is_by_what_fuse_says)
{
	EXPECT_EQ(variant->write, test_as_user(writes, self->file));
	EXPECT_EQ(!variant->write, test_opens(self->file));
}

/* Somebody else's open file is of no use */
TEST_F(access, of_a_user_is_the_same_while_root_has_the_file_open)
{
	int fd = test_open(self->file, O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_EQ(variant->read, test_as_user(reads, self->file));
	EXPECT_EQ(variant->write, test_as_user(writes, self->file));
	EXPECT_EQ(0, close(fd));
}

static int enter_user_namespace(void)
{
	char map[64];

	snprintf(map, sizeof(map), "0 %u 1", geteuid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) ||
	    test_write_file("/proc/self/setgroups", "deny", 4) ||
	    test_write_file("/proc/self/uid_map", map, strlen(map)))
		return -1;
	return 0;
}

static int reads_in_namespace(void *arg)
{
	/* /proc/self is root's after setuid(2) */
	prctl(PR_SET_DUMPABLE, 1);
	return enter_user_namespace() ? NO_NAMESPACE : reads(arg);
}

static int writes_in_namespace(void *arg)
{
	prctl(PR_SET_DUMPABLE, 1);
	return enter_user_namespace() ? NO_NAMESPACE : writes(arg);
}

/* All the capabilities there are for nothing here */
TEST_F(access, of_a_user_who_is_root_in_a_namespace_is_the_same)
{
	int err = test_as_user(reads_in_namespace, self->file);

	if (err == NO_NAMESPACE)
		SKIP(return, "users cannot make user namespaces");
	EXPECT_EQ(variant->read, err);
	EXPECT_EQ(variant->write,
		  test_as_user(writes_in_namespace, self->file));
}

/* A file of a mount of our own that a user has open */

FIXTURE(user)
{
	struct test_env env;
	struct test_file *file;
	struct shown shown;
	char path[PATH_MAX];
};

FIXTURE_SETUP(user)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_setup(env));
	env->config.options = "allow_other,default_permissions";
	self->file = test_add_file(env, "file", data, sizeof(data));
	ASSERT_TRUE(!!self->file);
	/* The server may write to it, the user may not */
	ASSERT_EQ(0, fchmod(self->file->fd, 0600));
	self->shown.mode = 0644;
	env->hook_priv = &self->shown;
	env->hook = show_other_mode;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	ASSERT_LT(0, test_back(self->file));
}

FIXTURE_TEARDOWN(user)
{
	test_teardown(&self->env);
}

static int writes_to_reader(void *arg)
{
	int fd = test_open(arg, O_RDONLY);

	if (fd < 0)
		return FAILED;
	return pwrite(fd, "x", 1, 0) < 0 ? errno : 0;
}

TEST_F(user, who_reads_cannot_write_to_the_file)
{
	EXPECT_EQ(EBADF, test_as_user(writes_to_reader, self->file));
}

static int maps_reader(void *arg)
{
	int fd = test_open(arg, O_RDONLY);
	void *map;

	if (fd < 0)
		return FAILED;
	map = mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0);
	return map == MAP_FAILED ? errno : 0;
}

TEST_F(user, who_reads_cannot_map_the_file_to_write_to_it)
{
	EXPECT_EQ(EACCES, test_as_user(maps_reader, self->file));
}

static int protects_reader(void *arg)
{
	int fd = test_open(arg, O_RDONLY);
	void *map;

	if (fd < 0)
		return FAILED;
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return FAILED;
	return mprotect(map, 4096, PROT_READ | PROT_WRITE) ? errno : 0;
}

TEST_F(user, who_maps_for_reading_cannot_make_the_mapping_writable)
{
	EXPECT_EQ(EACCES, test_as_user(protects_reader, self->file));
}

static int reopens_reader(void *arg)
{
	int fd = test_open(arg, O_RDONLY);
	char path[PATH_MAX];

	if (fd < 0)
		return FAILED;
	test_pathf(path, "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_CLOEXEC) < 0 ? errno : 0;
}

/* The link leads to the FUSE file, whose permissions are asked once more */
TEST_F(user, who_reads_cannot_open_the_file_again_to_write_to_it)
{
	EXPECT_EQ(EACCES, test_as_user(reopens_reader, self->file));
	EXPECT_EQ(1, test_opens(self->file));
}

static int changes_mode_of_reader(void *arg)
{
	int fd = test_open(arg, O_RDONLY);

	if (fd < 0)
		return FAILED;
	return fchmod(fd, 0666) ? errno : 0;
}

TEST_F(user, who_reads_cannot_change_the_backing_file_s_mode)
{
	struct stat st;

	EXPECT_EQ(EPERM, test_as_user(changes_mode_of_reader, self->file));
	ASSERT_EQ(0, fstat(self->file->fd, &st));
	EXPECT_EQ(0600u, st.st_mode & 07777);
}

/* The registered fd cannot write, but the path that it stands for can be */
TEST_F(user, who_may_write_can_though_the_server_registered_a_reader)
{
	struct test_env *env = &self->env;
	int fd = open(test_backing_path(self->file, self->path),
		      O_RDONLY | O_CLOEXEC);
	int id;

	ASSERT_LE(0, fd);
	id = fuse_backing_open(fuse_server_dev(env->srv), fd);
	ASSERT_LT(0, id);
	ASSERT_EQ(0, close(fd));
	self->file->backing_id = id;

	self->shown.mode = 0666;
	EXPECT_EQ(EACCES, test_as_user(writes_backing_path, self->file));
	EXPECT_EQ(0, test_as_user(writes, self->file));
	EXPECT_EQ(0, test_count(env, FUSE_WRITE));
}

/* ... while a user who may only read gains nothing by what the server can do */
TEST_F(user, who_may_read_cannot_write_though_the_server_registered_a_writer)
{
	EXPECT_EQ(0, test_as_user(reads, self->file));
	EXPECT_EQ(EACCES, test_as_user(writes, self->file));
	EXPECT_EQ(1, test_opens(self->file));
}

/* The server may say no as well as the mode */
TEST_F(user, whom_the_server_refuses_is_refused)
{
	self->file->open_error = EACCES;
	EXPECT_EQ(EACCES, test_as_user(reads, self->file));
	EXPECT_EQ(EACCES, test_in_child(reads, self->file));
}

/* Who may register: nobody who has got hold of the device in another way */

static int registers(void *arg)
{
	struct test_file *file = arg;

	return test_backing_open(fuse_server_dev(file->env->srv), file->fd);
}

static int takes_back(void *arg)
{
	struct test_file *file = arg;

	return test_backing_close(fuse_server_dev(file->env->srv),
				  file->backing_id);
}

struct clone {
	struct test_file *file;
	int dev;
};

static int registers_on_clone(void *arg)
{
	struct clone *clone = arg;

	return test_backing_open(clone->dev, clone->file->fd);
}

TEST_F(user, who_inherits_the_device_cannot_register_or_take_back)
{
	EXPECT_EQ(EPERM, test_as_user(registers, self->file));
	EXPECT_EQ(EPERM, test_as_user(takes_back, self->file));
	/* The id is still there */
	EXPECT_EQ(0, test_in_child(reads, self->file));
	EXPECT_EQ(0, takes_back(self->file));
}

TEST_F(user, who_has_a_clone_of_the_device_cannot_register)
{
	struct clone clone = { .file = self->file };

	clone.dev = fuse_dev_clone(fuse_server_dev(self->env.srv));
	ASSERT_LE(0, clone.dev);
	EXPECT_EQ(EPERM, test_as_user(registers_on_clone, &clone));
	EXPECT_EQ(0, test_in_child(registers_on_clone, &clone));
	EXPECT_EQ(0, close(clone.dev));
}

/* What has been registered stays so if the server becomes less than it was */

static bool drop_in_server(struct test_env *env, struct fuse_req *req)
{
	struct test_file *file = &env->file[0];

	if (req->in->opcode == FUSE_OPEN && !env->dir_backing_id) {
		/* Of this thread, which is the server */
		env->dir_backing_id = test_drop_sys_admin() ? FAILED :
				      registers(file);
	}
	return show_other_mode(env, req);
}

TEST_F(user, is_served_by_a_server_that_gave_up_its_privilege)
{
	struct test_env *env = &self->env;

	env->hook = drop_in_server;
	EXPECT_EQ(0, test_as_user(reads, self->file));
	EXPECT_EQ(EPERM, env->dir_backing_id);
	env->dir_backing_id = 0;
	self->shown.mode = 0666;
	EXPECT_EQ(0, test_as_user(writes, self->file));
	EXPECT_EQ(EPERM, env->dir_backing_id);
	EXPECT_EQ(0, test_count(env, FUSE_READ));
	EXPECT_EQ(0, test_count(env, FUSE_WRITE));
}

/* An id is one of its connection */
TEST_F(user, is_refused_if_the_id_is_another_connection_s)
{
	struct test_env other;
	struct test_file *file;

	ASSERT_EQ(0, test_setup(&other));
	file = test_add_file(&other, "file", data, sizeof(data));
	ASSERT_TRUE(!!file);
	ASSERT_EQ(0, test_start(&other));
	file->open_flags = FOPEN_PASSTHROUGH;
	file->backing_id = self->file->backing_id;
	EXPECT_EQ(EIO, test_in_child(reads, file));
	EXPECT_EQ(0, test_in_child(reads, self->file));
	EXPECT_EQ(1, test_releases(file));
	test_teardown(&other);
}

/* A server in a user namespace: its own privileges there are not enough */

static int serves_in_namespace(void *arg)
{
	struct test_env env;
	struct test_file *file;
	int err = FAILED;

	if (enter_user_namespace() ||
	    test_write_file("/proc/self/gid_map", "0 0 1", 5))
		return NO_NAMESPACE;
	if (test_setup(&env))
		return FAILED;
	file = test_add_file(&env, "file", data, sizeof(data));
	env.config.options = NULL;
	if (file && !test_start(&env) && test_passthrough_offered(&env)) {
		file->open_flags = FOPEN_PASSTHROUGH;
		file->backing_id = *(int *)arg;
		err = registers(file);
		if (err == EPERM)
			err = test_in_child(reads, file);
		/* As ever, if it does not ask for what it cannot have */
		file->open_flags = 0;
		if (err == EIO && test_in_child(reads, file))
			err = FAILED;
	}
	test_teardown(&env);
	return err;
}

TEST_F(user, who_serves_in_a_namespace_cannot_have_passthrough)
{
	int ids[] = { 1, 0, self->file->backing_id }, err;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		err = test_in_child(serves_in_namespace, &ids[i]);
		if (err == NO_NAMESPACE)
			SKIP(return, "cannot make a user namespace");
		EXPECT_EQ(EIO, err);
	}
}

/* Programs: what the user executes is the FUSE file */

FIXTURE(program)
{
	struct test_env env;
	struct test_file *file;
	struct shown shown;
	char path[PATH_MAX];
	char dir[PATH_MAX];
};

FIXTURE_VARIANT(program)
{
	unsigned long mount_flags;	/* of the FUSE mount */
	unsigned long backing_flags;	/* of the mount that the server uses */
	mode_t backing;			/* modes */
	mode_t shown;
	int result;
};

FIXTURE_VARIANT_ADD(program, without_setuid)
{
	.backing = 0755, .shown = 0755, .result = IS_NOT_ROOT,
};

FIXTURE_VARIANT_ADD(program, with_setuid)
{
	.backing = 04755, .shown = 04755, .result = IS_ROOT,
};

FIXTURE_VARIANT_ADD(program, with_setuid_on_a_nosuid_mount)
{
	.mount_flags = MS_NOSUID, .backing = 04755, .shown = 04755,
	.result = IS_NOT_ROOT,
};

FIXTURE_VARIANT_ADD(program, with_setuid_that_fuse_does_not_show)
{
	.backing = 04755, .shown = 0755, .result = IS_NOT_ROOT,
};

/* It is the server who says so, and who is trusted to, as on any FUSE mount */
FIXTURE_VARIANT_ADD(program, with_setuid_that_only_fuse_shows)
{
	.backing = 0755, .shown = 04755, .result = IS_ROOT,
};

FIXTURE_VARIANT_ADD(program, on_a_noexec_mount)
{
	.mount_flags = MS_NOEXEC, .backing = 0755, .shown = 0755,
	.result = EACCES,
};

FIXTURE_VARIANT_ADD(program, that_fuse_shows_as_none)
{
	.backing = 0755, .shown = 0644, .result = EACCES,
};

FIXTURE_VARIANT_ADD(program, that_the_backing_file_is_not)
{
	.backing = 0600, .shown = 0755, .result = IS_NOT_ROOT,
};

/*
 * As with overlayfs' layers, how the server has mounted the backing files does
 * not matter to those who use another mount.
 */
FIXTURE_VARIANT_ADD(program, with_setuid_of_a_nosuid_mount_below)
{
	.backing_flags = MS_NOSUID, .backing = 04755, .shown = 04755,
	.result = IS_ROOT,
};

FIXTURE_VARIANT_ADD(program, of_a_noexec_mount_below)
{
	.backing_flags = MS_NOEXEC, .backing = 0755, .shown = 0755,
	.result = IS_NOT_ROOT,
};

FIXTURE_SETUP(program)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_setup(env));
	env->config.mount_flags = variant->mount_flags;
	env->config.options = "allow_other,default_permissions";
	test_pathf(self->path, "%s/program", env->backing);
	ASSERT_EQ(0, test_copy_self(self->path));
	ASSERT_EQ(0, chmod(self->path, variant->backing));
	test_pathf(self->dir, "%s/bind", env->dir);
	ASSERT_EQ(0, mkdir(self->dir, 0755));
	ASSERT_EQ(0, mount(env->backing, self->dir, NULL, MS_BIND, NULL));
	ASSERT_EQ(0, mount(NULL, self->dir, NULL, MS_REMOUNT | MS_BIND |
			   variant->backing_flags, NULL));
	test_pathf(self->path, "%s/program", self->dir);
	self->file = test_add_path(env, "program", self->path, O_RDONLY);
	ASSERT_TRUE(!!self->file);
	self->shown.mode = variant->shown;
	env->hook_priv = &self->shown;
	env->hook = show_other_mode;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	ASSERT_LT(0, test_back(self->file));
}

FIXTURE_TEARDOWN(program)
{
	test_teardown(&self->env);
	umount2(self->dir, MNT_DETACH);
}

static int executes(void *arg)
{
	char path[PATH_MAX];

	setenv(EUID_VARIABLE, "1", 1);
	execl(test_path(arg, path), "program", NULL);
	return errno;
}

TEST_F(program, runs_as_the_mount_and_the_mode_that_the_user_sees_say)
{
	EXPECT_EQ(variant->result, test_as_user(executes, self->file));
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
}

/*
 * Landlock stands for the security modules: file_open is asked for each of the
 * two files, about the path and with the credentials that belong to it.
 */

static int create_ruleset(const struct landlock_ruleset_attr *attr, size_t size,
			  uint32_t flags)
{
	return syscall(SYS_landlock_create_ruleset, attr, size, flags);
}

/* Files may be read and written to below @paths only, from now on */
static int restrict_to(const char * const paths[], uint64_t access)
{
	struct landlock_ruleset_attr attr = {
		.handled_access_fs = LANDLOCK_ACCESS_FS_READ_FILE |
				     LANDLOCK_ACCESS_FS_WRITE_FILE,
	};
	struct landlock_path_beneath_attr beneath = {
		.allowed_access = access,
	};
	int ruleset = create_ruleset(&attr, sizeof(attr), 0);

	if (ruleset < 0)
		return -1;
	for (; *paths; paths++) {
		beneath.parent_fd = open(*paths, O_PATH | O_CLOEXEC);
		if (beneath.parent_fd < 0 ||
		    syscall(SYS_landlock_add_rule, ruleset,
			    LANDLOCK_RULE_PATH_BENEATH, &beneath, 0))
			return -1;
		close(beneath.parent_fd);
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0))
		return -1;
	close(ruleset);
	return 0;
}

#define READ_FILES	LANDLOCK_ACCESS_FS_READ_FILE
#define WRITE_FILES	LANDLOCK_ACCESS_FS_WRITE_FILE

FIXTURE(landlock)
{
	struct test_env env;
	struct test_file *file;
};

FIXTURE_SETUP(landlock)
{
	struct test_env *env = &self->env;

	if (create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0)
		SKIP(_exit(255), "no Landlock: CONFIG_SECURITY_LANDLOCK, and in lsm=");
	ASSERT_EQ(0, test_setup(env));
	self->file = test_add_file(env, "file", data, sizeof(data));
	ASSERT_TRUE(!!self->file);
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	ASSERT_LT(0, test_back(self->file));
}

FIXTURE_TEARDOWN(landlock)
{
	test_teardown(&self->env);
}

static int reads_restricted_to_backing(void *arg)
{
	struct test_file *file = arg;
	const char * const paths[] = { file->env->backing, NULL };

	if (restrict_to(paths, READ_FILES | WRITE_FILES))
		return FAILED;
	if (reads_backing_path(arg))
		return FAILED;
	return reads(arg);
}

/* ... though the user may have the backing file, and the server all of it */
TEST_F(landlock, user_who_may_not_open_the_fuse_path_is_refused)
{
	EXPECT_EQ(EACCES,
		  test_in_child(reads_restricted_to_backing, self->file));
	EXPECT_EQ(EACCES,
		  test_as_user(reads_restricted_to_backing, self->file));
	EXPECT_EQ(0, test_opens(self->file));
}

static int restricted_to_mount(struct test_file *file, uint64_t access)
{
	const char * const paths[] = { file->env->mnt, NULL };

	return restrict_to(paths, access);
}

static int reads_restricted_to_mount(void *arg)
{
	if (restricted_to_mount(arg, READ_FILES))
		return FAILED;
	if (reads_backing_path(arg) != EACCES)
		return FAILED;
	return reads(arg);
}

/* The backing path is opened by the server, not by the user */
TEST_F(landlock, user_who_may_not_open_the_backing_path_is_served)
{
	EXPECT_EQ(0, test_in_child(reads_restricted_to_mount, self->file));
	EXPECT_EQ(0, test_as_user(reads_restricted_to_mount, self->file));
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
}

static int writes_restricted_to_reading(void *arg)
{
	if (restricted_to_mount(arg, READ_FILES))
		return FAILED;
	return writes(arg);
}

TEST_F(landlock, user_who_may_only_read_cannot_write)
{
	EXPECT_EQ(EACCES,
		  test_in_child(writes_restricted_to_reading, self->file));
	EXPECT_EQ(0, test_opens(self->file));
}

static int reads_open_file_after_restriction(void *arg)
{
	int fd = test_open(arg, O_RDONLY);
	const char * const paths[] = { NULL };

	if (fd < 0 || restrict_to(paths, 0))
		return FAILED;
	return read_data(fd);
}

TEST_F(landlock, user_keeps_what_was_open)
{
	EXPECT_EQ(0, test_in_child(reads_open_file_after_restriction,
				   self->file));
}

/* Registers under a domain of its own. The id, or FAILED */
static int register_restricted(struct test_file *file, const char *path,
			       uint64_t access)
{
	const char * const paths[] = { path, NULL };
	int id;

	if (restrict_to(paths, access))
		return FAILED;
	id = fuse_backing_open(fuse_server_dev(file->env->srv), file->fd);
	return id > 0 && id < FAILED ? id : FAILED;
}

static int register_allowed_nothing(void *arg)
{
	struct test_file *file = arg;

	return register_restricted(file, file->env->mnt,
				   READ_FILES | WRITE_FILES);
}

static int register_allowed_to_read(void *arg)
{
	struct test_file *file = arg;

	return register_restricted(file, file->env->backing, READ_FILES);
}

static int register_allowed_both(void *arg)
{
	struct test_file *file = arg;

	return register_restricted(file, file->env->backing,
				   READ_FILES | WRITE_FILES);
}

/*
 * The registered fd is no way around the domain: the kernel opens the path once
 * more for each user, as the server, and what the server may not open it cannot
 * lend. The fd itself was opened before, so registering it is no harm.
 */
TEST_F(landlock, server_that_may_not_open_the_backing_path_lends_nothing)
{
	struct test_file *file = self->file;

	file->backing_id = test_in_child(register_allowed_nothing, file);
	ASSERT_NE(FAILED, file->backing_id);
	EXPECT_EQ(EIO, test_in_child(reads, file));
	EXPECT_EQ(EIO, test_in_child(writes, file));
	EXPECT_EQ(2, test_releases(file));
}

TEST_F(landlock, server_that_may_only_read_the_backing_path_lends_that)
{
	struct test_file *file = self->file;

	file->backing_id = test_in_child(register_allowed_to_read, file);
	ASSERT_NE(FAILED, file->backing_id);
	EXPECT_EQ(0, test_in_child(reads, file));
	EXPECT_EQ(EIO, test_in_child(writes, file));
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
}

TEST_F(landlock, server_that_may_open_the_backing_path_lends_it)
{
	struct test_file *file = self->file;

	file->backing_id = test_in_child(register_allowed_both, file);
	ASSERT_NE(FAILED, file->backing_id);
	EXPECT_EQ(0, test_in_child(reads, file));
	EXPECT_EQ(0, test_as_user(writes, file));
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
}

TEST_HARNESS_MAIN
