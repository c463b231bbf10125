// SPDX-License-Identifier: GPL-2.0
/* What the FUSE selftests share, see test_common.h */

#include "test_common.h"

#include <ftw.h>
#include <grp.h>
#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KSFT_SKIP_CODE	4
#define PAUSE_VARIABLE	"FUSE_TEST_PAUSE"

/*
 * The harness kills a test after 30 seconds. A thread that waits for a server
 * in its own process cannot be killed then, so the connection goes earlier.
 */
#define WATCHDOG_SECONDS	25

static char program_dir[PATH_MAX / 8];
static pid_t program_pid;

/* The program: a directory that outlives the tests, however they end */

static int remove_entry(const char *path, const struct stat *st, int type,
			struct FTW *ftw)
{
	remove(path);
	return 0;
}

static void program_end(void)
{
	if (getpid() == program_pid)
		nftw(program_dir, remove_entry, 16,
		     FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void test_skip_program(const char *reason)
{
	printf("TAP version 13\n1..0 # SKIP %s\n", reason);
	exit(KSFT_SKIP_CODE);
}

/* Without links, as /proc/PID/maps and mountinfo have it */
static const char *base_dir(char path[PATH_MAX])
{
	const char *base = getenv("FUSE_TEST_DIR");

	if (!base || !*base)
		base = getenv("TMPDIR");
	if (!base || !*base)
		base = "/tmp";
	return realpath(base, path) ?: base;
}

static void __attribute__((constructor)) program_begin(void)
{
	char path[PATH_MAX];

	if (getenv(PAUSE_VARIABLE)) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}

	if (geteuid())
		test_skip_program("must be run as root");
	if (access("/dev/fuse", R_OK | W_OK))
		test_skip_program("no /dev/fuse: load fuse, or enable CONFIG_FUSE_FS");

	snprintf(program_dir, sizeof(program_dir), "%s/fuse_test.XXXXXX",
		 base_dir(path));
	if (!mkdtemp(program_dir) || chmod(program_dir, 0755)) {
		printf("Bail out! no directory like %s: %s. Set FUSE_TEST_DIR.\n",
		       program_dir, strerror(errno));
		exit(1);
	}
	umask(022);
	program_pid = getpid();
	atexit(program_end);
}

/* Small things */

const char *test_pathf(char path[PATH_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, PATH_MAX, fmt, ap);
	va_end(ap);

	return path;
}

void test_pattern(void *buf, size_t len, unsigned int seed)
{
	unsigned char *p = buf;
	uint32_t x = seed * 2654435761u + 1;
	size_t i;

	for (i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		p[i] = x >> 24;
	}
}

uint32_t test_random_below(uint64_t *random, uint32_t n)
{
	*random ^= *random >> 12;
	*random ^= *random << 25;
	*random ^= *random >> 27;
	return (*random * 0x2545f4914f6cdd1dULL >> 32) * n >> 32;
}

uint64_t test_random_start(uint64_t seed)
{
	uint64_t random = (seed + 1) * 0x9e3779b97f4a7c15ULL;
	int i;

	if (!random)
		random = 1;
	for (i = 0; i < 8; i++)
		test_random_below(&random, 2);
	return random;
}

long test_number_in(const char *variable, long otherwise)
{
	const char *value = getenv(variable);

	return value && *value ? (long)strtoul(value, NULL, 0) : otherwise;
}

uint64_t test_seed_in(const char *variable)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return test_number_in(variable, (ts.tv_nsec / 1000 ^
					 ts.tv_sec * 4099) % 1000000);
}

void *test_shared_memory(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return mem == MAP_FAILED ? NULL : mem;
}

static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	for (; len; p += n, len -= n) {
		n = write(fd, p, len);
		if (n < 0)
			return -1;
	}
	return 0;
}

int test_write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
	int ret;

	if (fd < 0)
		return -1;
	ret = write_all(fd, data, len);
	close(fd);
	return ret;
}

bool test_has(int fd, off_t off, const void *data, size_t len)
{
	char *buf = malloc(len);
	bool same;

	same = pread(fd, buf, len, off) == (ssize_t)len &&
	       !memcmp(buf, data, len);
	free(buf);
	return same;
}

off_t test_size(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_size;
}

off_t test_known_size(int fd)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &stx))
		return -1;
	return stx.stx_size;
}

int test_mode(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : (int)(st.st_mode & 07777);
}

bool test_same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

void test_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Settings of the kernel's */

static bool read_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n > 0;
}

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = !write_all(fd, text, strlen(text));
	close(fd);
	return done;
}

void test_restore_knobs(struct test_knob *knobs, size_t n)
{
	while (n--)
		if (knobs[n].saved[0])
			write_text(knobs[n].path, knobs[n].saved);
}

int test_set_knobs(struct test_knob *knobs, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (read_text(knobs[i].path, knobs[i].saved,
			      sizeof(knobs[i].saved)) &&
		    write_text(knobs[i].path, knobs[i].value))
			continue;
		knobs[i].saved[0] = 0;
		if (!knobs[i].needed)
			continue;
		test_restore_knobs(knobs, i);
		return -1;
	}
	return 0;
}

/* What the kernel has in memory */

int test_drop_cache(int fd)
{
	if (fsync(fd))
		return -1;
	errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return errno ? -1 : 0;
}

int test_cached_pages(int fd, size_t size)
{
	size_t i, pages = (size + 4095) / 4096;
	unsigned char *vec = calloc(1, pages);
	int count = -1;
	void *map;

	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED && !mincore(map, size, vec))
		for (i = 0, count = 0; i < pages; i++)
			count += vec[i] & 1;
	if (map != MAP_FAILED)
		munmap(map, size);
	free(vec);
	return count;
}

/* "START-END PERMISSIONS OFFSET MAJOR:MINOR INODE PATH", numbers in base 16 */
static bool parse_mapping(char *line, struct test_mapping *mapping)
{
	unsigned int maj, min;
	const char *path;
	char *p;

	mapping->start = strtoul(line, &p, 16);
	/* What else is in smaps has no dash there */
	if (*p != '-')
		return false;
	mapping->end = strtoul(p + 1, &p, 16);
	strtoul(p + strlen(" rwxp "), &p, 16);
	maj = strtoul(p, &p, 16);
	min = strtoul(p + 1, &p, 16);
	mapping->dev = makedev(maj, min);
	mapping->ino = strtoul(p, &p, 10);
	path = strchr(p, '/');
	snprintf(mapping->path, PATH_MAX, "%s", path ? path : "");
	mapping->path[strcspn(mapping->path, "\n")] = 0;
	return true;
}

bool test_find_mapping(const char *maps, const void *addr,
		       struct test_mapping *mapping)
{
	FILE *f = fopen(maps, "r");
	char line[PATH_MAX];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = parse_mapping(line, mapping) &&
			mapping->start <= (uintptr_t)addr &&
			(uintptr_t)addr < mapping->end;
	if (f)
		fclose(f);
	return found;
}

static void sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/* The server */

static struct test_file *file_by_id(struct test_env *env, uint64_t nodeid)
{
	struct test_file *file;

	if (nodeid < TEST_FILE_ID(0) || nodeid >= TEST_FILE_ID(TEST_FILES))
		return NULL;
	file = &env->file[nodeid - TEST_FILE_ID(0)];
	return file->name[0] ? file : NULL;
}

static struct test_file *file_by_name(struct test_env *env, const char *name)
{
	int i;

	for (i = 0; i < TEST_FILES; i++)
		if (env->file[i].name[0] && !strcmp(env->file[i].name, name))
			return &env->file[i];
	return NULL;
}

uint64_t test_file_id(struct test_file *file)
{
	return TEST_FILE_ID(file - file->env->file);
}

static void root_attr(struct fuse_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	attr->ino = FUSE_ROOT_ID;
	attr->mode = S_IFDIR | 0777;
	attr->nlink = 2;
	attr->blksize = 4096;
}

int test_attr(struct test_file *file, struct fuse_attr *attr)
{
	struct stat st;

	if (fstat(file->fd, &st))
		return errno;

	memset(attr, 0, sizeof(*attr));
	attr->ino = test_file_id(file);
	attr->size = st.st_size;
	attr->blocks = st.st_blocks;
	attr->atime = st.st_atim.tv_sec;
	attr->atimensec = st.st_atim.tv_nsec;
	attr->mtime = st.st_mtim.tv_sec;
	attr->mtimensec = st.st_mtim.tv_nsec;
	attr->ctime = st.st_ctim.tv_sec;
	attr->ctimensec = st.st_ctim.tv_nsec;
	attr->mode = st.st_mode;
	attr->nlink = st.st_nlink;
	attr->uid = st.st_uid;
	attr->gid = st.st_gid;
	attr->blksize = st.st_blksize;
	return 0;
}

static int file_entry(struct test_file *file, struct fuse_entry_out *entry)
{
	memset(entry, 0, sizeof(*entry));
	entry->nodeid = test_file_id(file);
	entry->entry_valid = 3600;
	entry->attr_valid = 3600;
	return test_attr(file, &entry->attr);
}

static void handle_lookup(struct test_env *env, struct fuse_req *req)
{
	struct test_file *file = file_by_name(env, req->arg);
	struct fuse_entry_out entry;
	int err = ENOENT;

	if (file && !file->absent)
		err = file_entry(file, &entry);
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply(req, &entry, sizeof(entry));
}

static void reply_attr(struct fuse_req *req, struct test_file *file)
{
	struct fuse_attr_out out = { .attr_valid = 3600 };
	int err = 0;

	if (file)
		err = test_attr(file, &out.attr);
	else
		root_attr(&out.attr);
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply(req, &out, sizeof(out));
}

static int set_times(struct test_file *file, const struct fuse_setattr_in *in)
{
	struct timespec ts[2] = {
		{ in->atime, in->atimensec }, { in->mtime, in->mtimensec },
	};

	if (!(in->valid & (FATTR_ATIME | FATTR_MTIME)))
		return 0;
	if (in->valid & FATTR_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	else if (!(in->valid & FATTR_ATIME))
		ts[0].tv_nsec = UTIME_OMIT;
	if (in->valid & FATTR_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	else if (!(in->valid & FATTR_MTIME))
		ts[1].tv_nsec = UTIME_OMIT;

	return futimens(file->fd, ts);
}

static int set_attr(struct test_file *file, const struct fuse_setattr_in *in)
{
	if (in->valid & (FATTR_UID | FATTR_GID) &&
	    fchown(file->fd, in->valid & FATTR_UID ? in->uid : (uid_t)-1,
		   in->valid & FATTR_GID ? in->gid : (gid_t)-1))
		return errno;
	if (in->valid & FATTR_MODE && fchmod(file->fd, in->mode & 07777))
		return errno;
	if (in->valid & FATTR_SIZE && ftruncate(file->fd, in->size))
		return errno;
	return set_times(file, in) ? errno : 0;
}

static void handle_setattr(struct fuse_req *req, struct test_file *file)
{
	int err = file ? set_attr(file, req->arg) : EPERM;

	if (err)
		fuse_reply_err(req, err);
	else
		reply_attr(req, file);
}

/* Settles the reply to an open. 0 or an errno */
static int answer_open(struct test_file *file, uint32_t user_flags,
		       struct fuse_open_out *out)
{
	if (file->hold_open) {
		sem_post(&file->arrived);
		while (sem_wait(&file->go) && errno == EINTR)
			;
	}
	if (file->open_error)
		return file->open_error;

	memset(out, 0, sizeof(*out));
	out->fh = ++file->env->next_fh;
	out->open_flags = __atomic_load_n(&file->open_flags, __ATOMIC_RELAXED);
	out->backing_id = __atomic_load_n(&file->backing_id, __ATOMIC_RELAXED);

	file->user_flags = user_flags;
	file->fh = out->fh;
	__atomic_add_fetch(&file->opens, 1, __ATOMIC_RELEASE);
	return 0;
}

static void handle_open(struct fuse_req *req, struct test_file *file)
{
	const struct fuse_open_in *in = req->arg;
	struct fuse_open_out out;
	int err = answer_open(file, in->flags, &out);

	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply(req, &out, sizeof(out));
}

static void handle_create(struct fuse_req *req, struct test_file *file)
{
	const struct fuse_create_in *in = req->arg;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	int err = ENOSPC;

	if (file) {
		fchmod(file->fd, in->mode & 07777);
		err = file_entry(file, &entry);
	}
	if (!err)
		err = answer_open(file, in->flags, &out);
	if (err) {
		fuse_reply_err(req, err);
		return;
	}
	file->absent = false;
	fuse_reply2(req, &entry, sizeof(entry), &out, sizeof(out));
}

/* The backing file stays: it may be made again. */
static void handle_unlink(struct fuse_req *req, struct test_file *file)
{
	if (file)
		file->absent = true;
	fuse_reply_err(req, file ? 0 : ENOENT);
}

static void handle_release(struct fuse_req *req, struct test_file *file)
{
	const struct fuse_release_in *in = req->arg;

	file->released_fh = in->fh;
	__atomic_add_fetch(&file->releases, 1, __ATOMIC_RELEASE);
	fuse_reply_err(req, 0);
}

static void handle_read(struct fuse_req *req, struct test_file *file)
{
	const struct fuse_read_in *in = req->arg;
	void *buf = malloc(in->size);
	ssize_t n = pread(file->fd, buf, in->size, in->offset);

	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply(req, buf, n);
	free(buf);
}

static void handle_write(struct fuse_req *req, struct test_file *file)
{
	const struct fuse_write_in *in = req->arg;
	ssize_t n = pwrite(file->fd, in + 1, in->size, in->offset);
	struct fuse_write_out out = { .size = n };

	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply(req, &out, sizeof(out));
}

static void handle_fallocate(struct fuse_req *req, struct test_file *file)
{
	const struct fuse_fallocate_in *in = req->arg;
	int ret = fallocate(file->fd, in->mode, in->offset, in->length);

	fuse_reply_err(req, ret ? errno : 0);
}

static void handle_opendir(struct test_env *env, struct fuse_req *req)
{
	struct fuse_open_out out = {
		.fh = ++env->next_fh,
		.open_flags = env->dir_open_flags,
		.backing_id = env->dir_backing_id,
	};

	fuse_reply(req, &out, sizeof(out));
}

static void handle_statfs(struct fuse_req *req)
{
	struct fuse_statfs_out out = {
		.st = { .bsize = 4096, .frsize = 4096, .namelen = 31 },
	};

	fuse_reply(req, &out, sizeof(out));
}

static void handle_notify_reply(struct test_env *env, struct fuse_req *req)
{
	const struct fuse_notify_retrieve_in *arg = req->arg;

	__atomic_store_n(&env->retrieved, arg->size, __ATOMIC_RELEASE);
}

static void handle_file(struct fuse_req *req, struct test_file *file)
{
	switch (req->in->opcode) {
	case FUSE_OPEN:
		handle_open(req, file);
		break;
	case FUSE_RELEASE:
		handle_release(req, file);
		break;
	case FUSE_READ:
		handle_read(req, file);
		break;
	case FUSE_WRITE:
		handle_write(req, file);
		break;
	case FUSE_FSYNC:
		fuse_reply_err(req, fsync(file->fd) ? errno : 0);
		break;
	case FUSE_FALLOCATE:
		handle_fallocate(req, file);
		break;
	}
}

static void handle_node(struct test_env *env, struct fuse_req *req)
{
	struct test_file *file = file_by_id(env, req->in->nodeid);
	const char *name;

	switch (req->in->opcode) {
	case FUSE_LOOKUP:
		handle_lookup(env, req);
		break;
	case FUSE_GETATTR:
		reply_attr(req, file);
		break;
	case FUSE_SETATTR:
		handle_setattr(req, file);
		break;
	case FUSE_CREATE:
		name = req->arg + sizeof(struct fuse_create_in);
		handle_create(req, file_by_name(env, name));
		break;
	case FUSE_TMPFILE:
		handle_create(req, env->tmpfile);
		break;
	case FUSE_UNLINK:
		handle_unlink(req, file_by_name(env, req->arg));
		break;
	case FUSE_OPENDIR:
		handle_opendir(env, req);
		break;
	case FUSE_READDIR:
		fuse_reply(req, NULL, 0);
		break;
	case FUSE_STATFS:
		handle_statfs(req);
		break;
	/* Not ENOSYS, which would keep the kernel from asking again */
	case FUSE_GETXATTR:
		fuse_reply_err(req, ENODATA);
		break;
	case FUSE_RELEASEDIR:
		fuse_reply_err(req, 0);
		break;
	case FUSE_NOTIFY_REPLY:
		handle_notify_reply(env, req);
		break;
	default:
		if (file)
			handle_file(req, file);
	}
}

static void handle(struct fuse_req *req)
{
	struct test_env *env = fuse_server_priv(req->srv);

	if (!env->hook || !env->hook(env, req))
		handle_node(env, req);
}

static void *watchdog(void *arg)
{
	struct test_env *env = arg;

	sleep_ms(env->time_limit * 1000L);
	fprintf(stderr, "# %s: no end after %u seconds: aborting the connection\n",
		env->mnt, env->time_limit);
	umount2(env->mnt, MNT_FORCE | MNT_DETACH);
	return NULL;
}

/* The environment of a test */

static int private_mounts(void)
{
	static pid_t done;

	if (done == getpid())
		return 0;
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	done = getpid();
	return 0;
}

/* 2 if the backing file system is stacked on another one itself */
static uint32_t stack_depth(struct test_env *env)
{
	struct statfs st;

	if (statfs(env->backing, &st))
		return 1;
	return st.f_type == OVERLAYFS_SUPER_MAGIC ? 2 : 1;
}

int test_setup(struct test_env *env)
{
	int i;

	memset(env, 0, sizeof(*env));
	for (i = 0; i < TEST_FILES; i++)
		env->file[i].fd = -1;
	env->time_limit = WATCHDOG_SECONDS;

	if (private_mounts())
		return -1;

	snprintf(env->dir, sizeof(env->dir), "%s/XXXXXX", program_dir);
	if (!mkdtemp(env->dir) || chmod(env->dir, 0755))
		return -1;
	snprintf(env->mnt, sizeof(env->mnt), "%s/mnt", env->dir);
	snprintf(env->backing, sizeof(env->backing), "%s/backing", env->dir);
	if (mkdir(env->mnt, 0755) || mkdir(env->backing, 0755))
		return -1;

	env->config = (struct fuse_server_config) {
		.init_flags = FUSE_INIT_EXT | FUSE_PASSTHROUGH |
			      FUSE_BIG_WRITES | FUSE_ASYNC_READ,
		.max_stack_depth = stack_depth(env),
		.handle = handle,
		.options = "allow_other",
		.priv = env,
	};
	return 0;
}

int test_restart(struct test_env *env)
{
	fuse_server_stop(env->srv);
	env->srv = fuse_server_start(&env->config, env->mnt);
	return env->srv ? 0 : -1;
}

int test_start(struct test_env *env)
{
	pthread_t thread;

	if (test_restart(env))
		return -1;
	if (!pthread_create(&thread, NULL, watchdog, env))
		pthread_detach(thread);
	return 0;
}

void test_close_backing(struct test_env *env)
{
	int i;

	for (i = 0; i < TEST_FILES; i++) {
		if (env->file[i].fd >= 0)
			close(env->file[i].fd);
		env->file[i].fd = -1;
	}
}

void test_teardown(struct test_env *env)
{
	int i;

	for (i = 0; i < TEST_FILES; i++)
		if (env->file[i].hold_open) {
			env->file[i].hold_open = false;
			sem_post(&env->file[i].go);
		}
	if (env->srv)
		fuse_server_stop(env->srv);
	env->srv = NULL;
	test_close_backing(env);
	if (env->dir[0])
		nftw(env->dir, remove_entry, 16,
		     FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

bool test_passthrough_offered(struct test_env *env)
{
	const struct fuse_init_in *in;

	if (!env->srv)
		return false;
	in = fuse_server_init_in(env->srv);
	return in && in->flags & FUSE_INIT_EXT &&
	       in->flags2 & (uint32_t)(FUSE_PASSTHROUGH >> 32);
}

bool test_on_mainline(struct test_env *env)
{
	return test_passthrough_offered(env) &&
	       fuse_server_init_in(env->srv)->minor > 38;
}

const char *test_xfail(struct test_env *env, const char *rule, const char *fmt,
		       ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(env->reason, sizeof(env->reason), fmt, ap);
	va_end(ap);
	if (test_on_mainline(env))
		return env->reason;

	fprintf(stderr, "# must be: %s; but the kernel %s\n", rule, env->reason);
	return NULL;
}

static struct test_file *add_file(struct test_env *env, const char *name,
				  int fd)
{
	struct test_file *file;

	if (fd < 0)
		return NULL;

	for (file = env->file; file < env->file + TEST_FILES; file++)
		if (!file->name[0])
			break;
	if (file == env->file + TEST_FILES) {
		close(fd);
		errno = ENFILE;
		return NULL;
	}

	file->env = env;
	file->fd = fd;
	sem_init(&file->arrived, 0, 0);
	sem_init(&file->go, 0, 0);
	snprintf(file->name, sizeof(file->name), "%s", name);
	return file;
}

struct test_file *test_add_path(struct test_env *env, const char *name,
				const char *path, int flags)
{
	return add_file(env, name, open(path, flags | O_CLOEXEC));
}

struct test_file *test_add_file(struct test_env *env, const char *name,
				const void *data, size_t len)
{
	char path[PATH_MAX];

	test_pathf(path, "%s/%s", env->backing, name);
	if (test_write_file(path, data, len))
		return NULL;
	return test_add_path(env, name, path, O_RDWR);
}

struct test_file *test_add_absent(struct test_env *env, const char *name,
				  const void *data, size_t len)
{
	struct test_file *file = test_add_file(env, name, data, len);

	if (file)
		file->absent = true;
	return file;
}

int test_back(struct test_file *file)
{
	int id = fuse_backing_open(fuse_server_dev(file->env->srv), file->fd);

	if (id > 0) {
		__atomic_store_n(&file->backing_id, id, __ATOMIC_RELAXED);
		__atomic_store_n(&file->open_flags, FOPEN_PASSTHROUGH,
				 __ATOMIC_RELAXED);
	}
	return id;
}

int test_open(struct test_file *file, int flags)
{
	char path[PATH_MAX];

	if ((flags & O_TMPFILE) == O_TMPFILE)
		return open(file->env->mnt, flags | O_CLOEXEC, 0644);
	return open(test_path(file, path), flags | O_CLOEXEC, 0644);
}

int test_open_new(struct test_env *env, const char *name, const void *data,
		  size_t len, int flags, struct test_file **file)
{
	struct test_file *new = test_add_file(env, name, data, len);

	if (file)
		*file = new;
	if (!new || test_back(new) < 0)
		return -1;
	return test_open(new, flags);
}

const char *test_path(struct test_file *file, char path[PATH_MAX])
{
	return test_pathf(path, "%s/%s", file->env->mnt, file->name);
}

const char *test_backing_path(struct test_file *file, char path[PATH_MAX])
{
	return test_pathf(path, "%s/%s", file->env->backing, file->name);
}

int test_sync(struct test_env *env)
{
	struct statfs st;

	return statfs(env->mnt, &st);
}

int test_count(struct test_env *env, uint32_t opcode)
{
	return fuse_server_count(env->srv, opcode);
}

int test_data_requests(struct test_env *env)
{
	return test_count(env, FUSE_READ) + test_count(env, FUSE_WRITE) +
	       test_count(env, FUSE_GETXATTR);
}

int test_opens(struct test_file *file)
{
	test_sync(file->env);
	return __atomic_load_n(&file->opens, __ATOMIC_ACQUIRE);
}

int test_releases(struct test_file *file)
{
	test_sync(file->env);
	return __atomic_load_n(&file->releases, __ATOMIC_ACQUIRE);
}

/* The ioctls */

int test_backing_ioctl(int dev, const struct fuse_backing_map *map, int *id)
{
	int ret = ioctl(dev, FUSE_DEV_IOC_BACKING_OPEN, map);

	if (ret < 0)
		return errno;
	if (id)
		*id = ret;
	return 0;
}

int test_backing_open(int dev, int fd)
{
	struct fuse_backing_map map = { .fd = fd };

	return test_backing_ioctl(dev, &map, NULL);
}

int test_backing_close(int dev, int32_t id)
{
	uint32_t arg = id;

	return ioctl(dev, FUSE_DEV_IOC_BACKING_CLOSE, &arg) ? errno : 0;
}

/* io_uring */

static int ring_map(struct ring *ring, const struct io_uring_params *p)
{
	size_t sq_len = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	size_t cq_len = p->cq_off.cqes +
			p->cq_entries * sizeof(struct io_uring_cqe);
	void *map;

	ring->rings_len = sq_len > cq_len ? sq_len : cq_len;
	ring->sqes_len = p->sq_entries * sizeof(struct io_uring_sqe);
	map = mmap(NULL, ring->rings_len, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	if (map == MAP_FAILED)
		return -1;
	ring->rings = map;
	ring->sq_tail = map + p->sq_off.tail;
	ring->sq_mask = map + p->sq_off.ring_mask;
	ring->sq_array = map + p->sq_off.array;
	ring->cq_head = map + p->cq_off.head;
	ring->cq_tail = map + p->cq_off.tail;
	ring->cq_mask = map + p->cq_off.ring_mask;
	ring->cqes = map + p->cq_off.cqes;

	map = mmap(NULL, ring->sqes_len, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	if (map == MAP_FAILED)
		return -1;
	ring->sqes = map;
	return 0;
}

void ring_exit(struct ring *ring)
{
	if (ring->sqes)
		munmap(ring->sqes, ring->sqes_len);
	if (ring->rings)
		munmap(ring->rings, ring->rings_len);
	if (ring->fd >= 0)
		close(ring->fd);
	memset(ring, 0, sizeof(*ring));
	ring->fd = -1;
}

int ring_init(struct ring *ring, unsigned int entries)
{
	struct io_uring_params p = {};

	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(SYS_io_uring_setup, entries, &p);
	if (ring->fd < 0)
		return -1;
	if (!(p.features & IORING_FEAT_SINGLE_MMAP) || ring_map(ring, &p)) {
		ring_exit(ring);
		return -1;
	}
	return 0;
}

int ring_enter(struct ring *ring, unsigned int submit, unsigned int wait)
{
	return syscall(SYS_io_uring_enter, ring->fd, submit, wait,
		       wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
}

struct io_uring_sqe *ring_next(struct ring *ring)
{
	uint32_t tail = *ring->sq_tail;
	uint32_t index = tail & *ring->sq_mask;
	struct io_uring_sqe *sqe = &ring->sqes[index];

	memset(sqe, 0, sizeof(*sqe));
	ring->sq_array[index] = index;
	/* The kernel looks only when it is entered, by this thread */
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
	return sqe;
}

/* Watching a file by inotify */

int test_watch(const char *path, uint32_t events)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (fd >= 0 && inotify_add_watch(fd, path, events) < 0)
		test_close(&fd);
	return fd;
}

uint32_t test_events(int fd)
{
	struct inotify_event event;
	uint32_t mask = 0;

	/* Of a file there is no name to follow */
	while (read(fd, &event, sizeof(event)) == sizeof(event))
		mask |= event.mask;
	return mask;
}

/* Ways of reading and writing */

static ssize_t result(ssize_t n)
{
	return n < 0 ? -errno : n;
}

/*
 * One for all operations of a thread, which must not get events of another's:
 * to destroy it takes long. A child process has none of it.
 */
static aio_context_t aio_context(void)
{
	static __thread aio_context_t ctx;
	static __thread pid_t owner;

	if (owner == getpid())
		return ctx;
	ctx = 0;
	if (syscall(SYS_io_setup, 1, &ctx))
		return 0;
	owner = getpid();
	return ctx;
}

static ssize_t aio(int opcode, int fd, const void *buf, size_t len, off_t off)
{
	static __thread uint64_t number;
	struct iocb iocb = {
		.aio_data = ++number,
		.aio_lio_opcode = opcode, .aio_fildes = fd,
		.aio_buf = (uintptr_t)buf, .aio_nbytes = len, .aio_offset = off,
	};
	aio_context_t ctx = aio_context();
	struct iocb *iocbs = &iocb;
	struct io_event event;
	ssize_t n;

	if (!ctx)
		return -errno;
	n = syscall(SYS_io_submit, ctx, 1, &iocbs);
	/* A call before this that was interrupted has left its event */
	while (n == 1) {
		n = syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL);
		if (n == 1 && event.data == number)
			return event.res;
	}
	return result(n);
}

bool test_has_aio(void)
{
	return aio_context() || errno != ENOSYS;
}

bool test_has_rwf_append(struct test_env *env)
{
	struct iovec iov = { "new", 3 };
	char path[PATH_MAX];
	struct stat st = { };
	int fd;

	test_pathf(path, "%s/rwf_append", env->backing);
	if (test_write_file(path, "old", 3))
		return false;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (pwritev2(fd, &iov, 1, 0, RWF_APPEND) == 3)
		fstat(fd, &st);
	close(fd);
	return st.st_size == 6;
}

static ssize_t splice_read(int fd, void *buf, size_t len, off_t off)
{
	int pipe[2];
	ssize_t n;

	if (pipe2(pipe, O_CLOEXEC))
		return -errno;
	n = result(splice(fd, &off, pipe[1], NULL, len, 0));
	if (n > 0)
		n = result(read(pipe[0], buf, n));
	close(pipe[0]);
	close(pipe[1]);
	return n;
}

static ssize_t splice_write(int fd, const void *buf, size_t len, off_t off)
{
	int pipe[2];
	ssize_t n;

	if (pipe2(pipe, O_CLOEXEC))
		return -errno;
	n = result(write(pipe[1], buf, len));
	if (n > 0)
		n = result(splice(pipe[0], NULL, fd, &off, n, 0));
	close(pipe[0]);
	close(pipe[1]);
	return n;
}

static ssize_t uring(int opcode, int fd, const void *buf, size_t len, off_t off)
{
	struct io_uring_sqe *sqe;
	struct ring ring;
	ssize_t n;

	if (ring_init(&ring, 1))
		return -errno;
	sqe = ring_next(&ring);
	sqe->opcode = opcode;
	sqe->fd = fd;
	sqe->off = off;
	sqe->addr = (uintptr_t)buf;
	sqe->len = len;
	n = result(ring_enter(&ring, 1, 1));
	while (n == 1 && !__atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE))
		ring_enter(&ring, 0, 1);
	if (n == 1)
		n = ring.cqes[0].res;
	ring_exit(&ring);
	return n;
}

static ssize_t sendfile_read(int fd, void *buf, size_t len, off_t off)
{
	int pipe[2];
	ssize_t n;

	if (pipe2(pipe, O_CLOEXEC))
		return -errno;
	n = result(sendfile(pipe[1], fd, &off, len));
	if (n > 0)
		n = result(read(pipe[0], buf, n));
	close(pipe[0]);
	close(pipe[1]);
	return n;
}

static ssize_t sendfile_write(int fd, const void *buf, size_t len, off_t off)
{
	int mem = memfd_create("sendfile", MFD_CLOEXEC);
	off_t start = 0;
	ssize_t n;

	if (mem < 0)
		return -errno;
	n = result(write(mem, buf, len));
	if (n > 0 && lseek(fd, off, SEEK_SET) != off)
		n = -errno;
	if (n > 0)
		n = result(sendfile(fd, mem, &start, n));
	close(mem);
	return n;
}

ssize_t do_read(enum way way, int fd, void *buf, size_t len, off_t off)
{
	struct iovec iov = { buf, len };

	switch (way) {
	case PLAIN:
		lseek(fd, off, SEEK_SET);
		return result(read(fd, buf, len));
	case VECTORED:
		return result(preadv2(fd, &iov, 1, off, 0));
	case AIO:
		return aio(IOCB_CMD_PREAD, fd, buf, len, off);
	case SPLICE:
		return splice_read(fd, buf, len, off);
	case URING:
		return uring(IORING_OP_READ, fd, buf, len, off);
	case SENDFILE:
		return sendfile_read(fd, buf, len, off);
	}
	return -ENOSYS;
}

ssize_t do_write(enum way way, int fd, const void *buf, size_t len, off_t off)
{
	struct iovec iov = { (void *)buf, len };

	switch (way) {
	case PLAIN:
		lseek(fd, off, SEEK_SET);
		return result(write(fd, buf, len));
	case VECTORED:
		return result(pwritev2(fd, &iov, 1, off, 0));
	case AIO:
		return aio(IOCB_CMD_PWRITE, fd, buf, len, off);
	case SPLICE:
		return splice_write(fd, buf, len, off);
	case URING:
		return uring(IORING_OP_WRITE, fd, buf, len, off);
	case SENDFILE:
		return sendfile_write(fd, buf, len, off);
	}
	return -ENOSYS;
}

/* Notifications */

int test_notify(struct test_env *env, int code, const void *arg, size_t len,
		const void *data, size_t data_len)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + len + data_len,
		.error = code,
	};
	struct iovec iov[] = {
		{ &out, sizeof(out) },
		{ (void *)arg, len },
		{ (void *)data, data_len },
	};

	return writev(fuse_server_dev(env->srv), iov, 3) < 0 ? errno : 0;
}

int test_cached_bytes(struct test_file *file, off_t off, uint32_t len)
{
	struct fuse_notify_retrieve_out arg = {
		.notify_unique = 1,
		.nodeid = test_file_id(file),
		.offset = off,
		.size = len,
	};
	struct test_env *env = file->env;
	int i, n = -1;

	__atomic_store_n(&env->retrieved, -1, __ATOMIC_RELEASE);
	if (test_notify(env, FUSE_NOTIFY_RETRIEVE, &arg, sizeof(arg), NULL, 0))
		return -1;
	for (i = 0; i < 500 && n < 0; i++) {
		sleep_ms(10);
		n = __atomic_load_n(&env->retrieved, __ATOMIC_ACQUIRE);
	}
	return n;
}

/* Rounds */

static double number_in(const char *variable, double usual)
{
	const char *value = getenv(variable);
	double number = value && *value ? strtod(value, NULL) : 0;

	return number > 0 ? number : usual;
}

double test_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void test_sleep_ms(long ms)
{
	sleep_ms(ms);
}

int test_wait(pid_t pid, double seconds)
{
	double end = test_now() + seconds;
	int status;

	do {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
		sleep_ms(5);
	} while (test_now() < end);
	return -1;
}

void test_rounds_begin(struct test_rounds *rounds, struct test_env *env,
		       double usual_seconds)
{
	double seconds = number_in("FUSE_RACE_SECONDS", usual_seconds);

	rounds->max = number_in("FUSE_RACE_ROUNDS", TEST_USUAL_ROUNDS);
	rounds->done = 0;
	rounds->stop = false;
	rounds->begin = test_now();
	rounds->end = rounds->begin + seconds;
	env->time_limit = seconds + 2 * WATCHDOG_SECONDS;
}

void test_rounds_stop(struct test_rounds *rounds)
{
	__atomic_store_n(&rounds->stop, true, __ATOMIC_RELAXED);
}

static bool rounds_are_stopped(const struct test_rounds *rounds)
{
	return __atomic_load_n(&rounds->stop, __ATOMIC_RELAXED);
}

bool test_rounds_go_on(const struct test_rounds *rounds)
{
	return !rounds_are_stopped(rounds) && test_now() < rounds->end;
}

bool test_rounds_next(struct test_rounds *rounds)
{
	bool first = !__atomic_load_n(&rounds->done, __ATOMIC_RELAXED);

	/* On a slow machine, what came before may have taken all of the time */
	if (first ? rounds_are_stopped(rounds) : !test_rounds_go_on(rounds))
		return false;
	if (__atomic_fetch_add(&rounds->done, 1, __ATOMIC_RELAXED) <
	    rounds->max)
		return true;
	__atomic_fetch_sub(&rounds->done, 1, __ATOMIC_RELAXED);
	return false;
}

double test_rounds_seconds(const struct test_rounds *rounds)
{
	return test_now() - rounds->begin;
}

bool test_uniform(const char *buf, size_t len)
{
	return !len || !memcmp(buf, buf + 1, len - 1);
}

bool test_all_released(struct test_file *file)
{
	int i, opens;

	for (i = 0; i < 1000; i++) {
		opens = test_opens(file);
		if (opens == test_releases(file))
			return true;
		sleep_ms(10);
	}
	printf("# %s: %d opens, %d releases\n", file->name, opens,
	       test_releases(file));
	return false;
}

int test_bind_backing(struct test_env *env, char path[PATH_MAX])
{
	test_pathf(path, "%s/pinned", env->dir);
	if (mkdir(path, 0755))
		return -1;
	return mount(env->backing, path, NULL, MS_BIND, NULL);
}

/* Other processes */

int test_in_child(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return 255;
	if (!pid)
		_exit(fn(arg));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 255;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

struct as_user {
	int (*fn)(void *arg);
	void *arg;
};

static int become_user(void *arg)
{
	struct as_user *user = arg;

	if (setgroups(0, NULL) || setgid(TEST_GID) || setuid(TEST_UID))
		return 255;
	return user->fn(user->arg);
}

int test_as_user(int (*fn)(void *arg), void *arg)
{
	struct as_user user = { fn, arg };

	return test_in_child(become_user, &user);
}

int test_drop_cap(int cap)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		return -1;
	data[CAP_TO_INDEX(cap)].effective &= ~CAP_TO_MASK(cap);
	return syscall(SYS_capset, &header, data);
}

int test_drop_sys_admin(void)
{
	return test_drop_cap(CAP_SYS_ADMIN);
}

static int copy_file(int in, int out)
{
	char buf[65536];
	ssize_t n;

	while ((n = read(in, buf, sizeof(buf))) > 0)
		if (write_all(out, buf, n))
			return -1;
	return n;
}

int test_copy_self(const char *path)
{
	int in, out, ret;

	in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ret = in < 0 || out < 0 ? -1 : copy_file(in, out);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return ret;
}

/* Returns when the exec has closed the other end, or failed. */
static void wait_for_exec(const int pipefd[2])
{
	char c;

	close(pipefd[1]);
	while (read(pipefd[0], &c, 1) < 0 && errno == EINTR)
		;
	close(pipefd[0]);
}

pid_t test_run_text(const char *path)
{
	int pipefd[2];
	pid_t pid;

	if (test_copy_self(path) || pipe2(pipefd, O_CLOEXEC))
		return -1;

	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setenv(PAUSE_VARIABLE, "1", 1);
		execl(path, path, NULL);
		_exit(127);
	}
	wait_for_exec(pipefd);
	return pid;
}

/* Mounts */

int test_mount(struct test_env *env, const char *name, const char *type,
	       const char *options, char path[PATH_MAX])
{
	test_pathf(path, "%s/%s", env->dir, name);
	if (mkdir(path, 0755))
		return -1;
	return mount(type, path, type, 0, options);
}

int test_attach_loop(const char *image, char dev[PATH_MAX])
{
	struct loop_config config = {
		.info = { .lo_flags = LO_FLAGS_AUTOCLEAR },
	};
	int ctl, nr, tries, fd = -1;

	ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (ctl < 0)
		return -1;
	config.fd = open(image, O_RDWR | O_CLOEXEC);
	/* Others may take the free one first */
	for (tries = 0; tries < 10 && fd < 0; tries++) {
		nr = ioctl(ctl, LOOP_CTL_GET_FREE);
		if (nr < 0)
			break;
		fd = open(test_pathf(dev, "/dev/loop%d", nr),
			  O_RDWR | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config)) {
			close(fd);
			fd = -1;
		}
	}
	close(config.fd);
	close(ctl);
	return fd;
}

int test_mount_overlay(struct test_env *env, char path[PATH_MAX])
{
	char lower[PATH_MAX], options[PATH_MAX], file[PATH_MAX];

	if (test_mount(env, "lower", "tmpfs", "size=1m", lower) ||
	    mkdir(test_pathf(file, "%s/a", lower), 0755) ||
	    mkdir(test_pathf(file, "%s/b", lower), 0755) ||
	    test_write_file(test_pathf(file, "%s/a/file", lower), "overlay", 7))
		return -1;

	test_pathf(options, "lowerdir=%s/a:%s/b", lower, lower);
	return test_mount(env, "overlay", "overlay", options, path);
}

int test_umount(const char *path)
{
	int i;

	for (i = 0; i < 300; i++) {
		if (!umount2(path, 0))
			return 0;
		if (errno != EBUSY)
			return -1;
		sleep_ms(10);
	}
	errno = EBUSY;
	return -1;
}
