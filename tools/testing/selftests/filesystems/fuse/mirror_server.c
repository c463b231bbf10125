// SPDX-License-Identifier: GPL-2.0
/*
 * Serves a directory tree as a FUSE file system, with passthrough unless told
 * otherwise: a server complete enough for real programs, and an example.
 *
 * Every inode that the kernel knows is held by an O_PATH descriptor, so that
 * renames and unlinks, here or in the source, do not matter to it. A node's id
 * is its address.
 *
 * Permissions are checked by the kernel (default_permissions). The server acts
 * with all capabilities, and gives what it makes to the user who asked for it,
 * by the file system ids of its threads. The user's supplementary groups are
 * not known to it, since requests do not carry them.
 *
 * POSIX and BSD locks are left to the kernel.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fuse_server.h"

/* 256 pages, the most that fuse takes in one request */
#define MAX_WRITE	(1024 * 1024)
#define NODE_BUCKETS	65536
#define PROC_PATH_SIZE	32

struct node {
	struct node *next;	/* in its bucket */
	dev_t dev;
	ino_t ino;
	int fd;			/* O_PATH */
	uint64_t lookups;	/* how often the kernel was told of it */

	/* An id is shared by all opens, since they have the same file */
	int32_t backing_id;	/* 0: none */
	unsigned int opens;	/* handles that use it */
};

struct handle {
	struct node *node;
	int fd;
	bool backed;		/* counted in node->opens */
};

struct dir_handle {
	DIR *dir;
	uint64_t offset;	/* where pending, or the next entry, begins */
	struct dirent *pending;	/* read, but not sent yet */
};

static struct {
	struct node root;
	struct node *bucket[NODE_BUCKETS];
	pthread_mutex_t lock;	/* protects the buckets and all nodes */

	bool passthrough;
	double timeout;
	const char *stats;
	/*
	 * The kernel asks for a file's capabilities before it strips them, and
	 * when it executes the file: what asks for them besides strips them in
	 * a write. Atomic.
	 */
	uint64_t capability_queries;
	uint64_t strips;	/* requests that strip them */
} mirror = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.passthrough = true,
	.timeout = 1.0,
};

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
}

/* Nodes */

static struct node *node_of(uint64_t nodeid)
{
	if (nodeid == FUSE_ROOT_ID)
		return &mirror.root;

	return (struct node *)(uintptr_t)nodeid;
}

static uint64_t id_of(struct node *node)
{
	return node == &mirror.root ? FUSE_ROOT_ID : (uintptr_t)node;
}

static struct node **bucket_of(dev_t dev, ino_t ino)
{
	uint64_t hash = (ino ^ dev << 8) * 0x9e3779b97f4a7c15ULL;

	return &mirror.bucket[hash >> 48 & (NODE_BUCKETS - 1)];
}

/* A path that leads to what a descriptor, of O_PATH or not, is open on */
static const char *fd_path(int fd, char path[PROC_PATH_SIZE])
{
	snprintf(path, PROC_PATH_SIZE, "/proc/self/fd/%d", fd);
	return path;
}

static const char *node_path(struct node *node, char path[PROC_PATH_SIZE])
{
	return fd_path(node->fd, path);
}

static int stat_fd(int fd, struct stat *st)
{
	return fstatat(fd, "", st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
}

static struct node *find_node(const struct stat *st)
{
	struct node *node;

	if (st->st_dev == mirror.root.dev && st->st_ino == mirror.root.ino)
		return &mirror.root;

	for (node = *bucket_of(st->st_dev, st->st_ino); node; node = node->next)
		if (node->dev == st->st_dev && node->ino == st->st_ino)
			return node;

	return NULL;
}

static struct node *new_node(const struct stat *st, int fd)
{
	struct node **bucket = bucket_of(st->st_dev, st->st_ino);
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		return NULL;

	node->dev = st->st_dev;
	node->ino = st->st_ino;
	node->fd = fd;
	node->next = *bucket;
	*bucket = node;
	return node;
}

/* Consumes @fd, of O_PATH. The node's lookup is counted. */
static struct node *get_node(int fd, struct stat *st)
{
	struct node *node;
	int err;

	if (stat_fd(fd, st)) {
		err = errno;
		close(fd);
		errno = err;
		return NULL;
	}

	pthread_mutex_lock(&mirror.lock);
	node = find_node(st);
	if (node) {
		close(fd);
	} else {
		node = new_node(st, fd);
		if (!node)
			close(fd);
	}
	if (node)
		node->lookups++;
	pthread_mutex_unlock(&mirror.lock);

	if (!node)
		errno = ENOMEM;
	return node;
}

static void put_node(struct node *node, uint64_t lookups)
{
	struct node **link;

	if (node == &mirror.root)
		return;

	pthread_mutex_lock(&mirror.lock);
	node->lookups -= lookups;
	if (!node->lookups) {
		link = bucket_of(node->dev, node->ino);
		while (*link != node)
			link = &(*link)->next;
		*link = node->next;
		close(node->fd);
		free(node);
	}
	pthread_mutex_unlock(&mirror.lock);
}

/* Who acts: the user's ids on what is made, the server's capabilities */

static int set_capabilities(bool fsetid)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return -1;

	data[0].effective = data[0].permitted;
	data[1].effective = data[1].permitted;
	if (!fsetid)
		data[0].effective &= ~(1U << CAP_FSETID);

	return syscall(SYS_capset, &header, data);
}

/* Without CAP_FSETID, writing and truncating strip setuid and setgid. */
static void drop_fsetid(bool drop)
{
	if (drop)
		set_capabilities(false);
}

static void restore_fsetid(bool dropped)
{
	if (dropped)
		set_capabilities(true);
}

static void become_user(const struct fuse_in_header *in, mode_t mask)
{
	static __thread bool own_fs;

	/* The umask is the process's, unless the thread asks for its own. */
	if (!own_fs && !unshare(CLONE_FS))
		own_fs = true;
	umask(mask);

	if (geteuid())
		return;
	setfsgid(in->gid);
	setfsuid(in->uid);
	set_capabilities(false);
}

static void become_server(void)
{
	umask(0);

	if (geteuid())
		return;
	setfsuid(0);
	setfsgid(0);
	set_capabilities(true);
}

/* Replies */

/* The result of a call that returns -1 with errno set, or else success */
static void reply_result(struct fuse_req *req, int ret)
{
	fuse_reply_err(req, ret < 0 ? errno : 0);
}

static void set_timeout(uint64_t *sec, uint32_t *nsec)
{
	*sec = mirror.timeout;
	*nsec = (mirror.timeout - *sec) * 1e9;
}

/* As the kernel's new_encode_dev() */
static uint32_t encode_dev(dev_t dev)
{
	return (minor(dev) & 0xff) | major(dev) << 8 |
	       (minor(dev) & ~0xffU) << 12;
}

static dev_t decode_dev(uint32_t dev)
{
	return makedev((dev & 0xfff00) >> 8,
		       (dev & 0xff) | (dev >> 12 & 0xfff00));
}

static void fill_attr(struct fuse_attr *attr, const struct stat *st)
{
	*attr = (struct fuse_attr) {
		.ino = st->st_ino,
		.size = st->st_size,
		.blocks = st->st_blocks,
		.atime = st->st_atim.tv_sec,
		.atimensec = st->st_atim.tv_nsec,
		.mtime = st->st_mtim.tv_sec,
		.mtimensec = st->st_mtim.tv_nsec,
		.ctime = st->st_ctim.tv_sec,
		.ctimensec = st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = encode_dev(st->st_rdev),
		.blksize = st->st_blksize,
	};

	/* A file system mounted in the tree numbers its files as it likes. */
	if (st->st_dev != mirror.root.dev)
		attr->ino ^= (uint64_t)st->st_dev << 40;
}

static void fill_entry(struct fuse_entry_out *entry, struct node *node,
		       const struct stat *st)
{
	*entry = (struct fuse_entry_out) { .nodeid = id_of(node) };
	set_timeout(&entry->entry_valid, &entry->entry_valid_nsec);
	set_timeout(&entry->attr_valid, &entry->attr_valid_nsec);
	fill_attr(&entry->attr, st);
}

static void reply_attr(struct fuse_req *req, int fd)
{
	struct fuse_attr_out out = { 0 };
	struct stat st;

	if (stat_fd(fd, &st)) {
		fuse_reply_err(req, errno);
		return;
	}

	set_timeout(&out.attr_valid, &out.attr_valid_nsec);
	fill_attr(&out.attr, &st);
	fuse_reply(req, &out, sizeof(out));
}

/* Consumes @fd, of O_PATH. NULL with errno set on failure. */
static struct node *enter_fd(int fd, struct fuse_entry_out *entry)
{
	struct node *node;
	struct stat st;

	if (fd < 0)
		return NULL;

	node = get_node(fd, &st);
	if (node)
		fill_entry(entry, node, &st);
	return node;
}

static struct node *enter_name(struct node *parent, const char *name,
			       struct fuse_entry_out *entry)
{
	return enter_fd(openat(parent->fd, name,
			       O_PATH | O_NOFOLLOW | O_CLOEXEC), entry);
}

/* Replies with what @name is now, if @ret is not -1 */
static void reply_entry(struct fuse_req *req, int ret, const char *name)
{
	struct fuse_entry_out entry;

	if (ret < 0 || !enter_name(node_of(req->in->nodeid), name, &entry))
		fuse_reply_err(req, errno);
	else
		fuse_reply(req, &entry, sizeof(entry));
}

/* Names and attributes */

static void do_lookup(struct fuse_req *req)
{
	reply_entry(req, 0, req->arg);
}

static void do_forget(struct fuse_req *req)
{
	const struct fuse_forget_in *arg = req->arg;

	put_node(node_of(req->in->nodeid), arg->nlookup);
}

static void do_batch_forget(struct fuse_req *req)
{
	const struct fuse_batch_forget_in *arg = req->arg;
	const struct fuse_forget_one *one = (const void *)(arg + 1);
	uint32_t i;

	for (i = 0; i < arg->count; i++)
		put_node(node_of(one[i].nodeid), one[i].nlookup);
}

static void do_getattr(struct fuse_req *req)
{
	reply_attr(req, node_of(req->in->nodeid)->fd);
}

static struct timespec time_of(uint32_t valid, uint32_t set, uint32_t now,
			       uint64_t sec, uint32_t nsec)
{
	if (!(valid & set))
		return (struct timespec) { .tv_nsec = UTIME_OMIT };
	if (valid & now)
		return (struct timespec) { .tv_nsec = UTIME_NOW };

	return (struct timespec) { .tv_sec = sec, .tv_nsec = nsec };
}

static int set_size(const char *path, const struct fuse_setattr_in *arg)
{
	bool drop = arg->valid & FATTR_KILL_SUIDGID;
	int ret;

	drop_fsetid(drop);
	if (arg->valid & FATTR_FH)
		ret = ftruncate(((struct handle *)(uintptr_t)arg->fh)->fd,
				arg->size);
	else
		ret = truncate(path, arg->size);
	restore_fsetid(drop);

	return ret;
}

static int set_times(const char *path, const struct fuse_setattr_in *arg)
{
	struct timespec times[] = {
		time_of(arg->valid, FATTR_ATIME, FATTR_ATIME_NOW, arg->atime,
			arg->atimensec),
		time_of(arg->valid, FATTR_MTIME, FATTR_MTIME_NOW, arg->mtime,
			arg->mtimensec),
	};

	return utimensat(AT_FDCWD, path, times, 0);
}

/* The owner first, because that may strip bits of the mode */
static int set_attr(struct node *node, const struct fuse_setattr_in *arg)
{
	uid_t uid = arg->valid & FATTR_UID ? arg->uid : (uid_t)-1;
	gid_t gid = arg->valid & FATTR_GID ? arg->gid : (gid_t)-1;
	char path[PROC_PATH_SIZE];

	node_path(node, path);
	if (arg->valid & (FATTR_UID | FATTR_GID) &&
	    fchownat(node->fd, "", uid, gid, AT_EMPTY_PATH))
		return -1;
	if (arg->valid & FATTR_MODE && chmod(path, arg->mode & 07777))
		return -1;
	if (arg->valid & FATTR_SIZE && set_size(path, arg))
		return -1;
	if (arg->valid & (FATTR_ATIME | FATTR_MTIME) && set_times(path, arg))
		return -1;

	return 0;
}

static void do_setattr(struct fuse_req *req)
{
	const struct fuse_setattr_in *arg = req->arg;
	struct node *node = node_of(req->in->nodeid);

	if (arg->valid & (FATTR_SIZE | FATTR_UID | FATTR_GID))
		count(&mirror.strips);
	if (set_attr(node, arg))
		fuse_reply_err(req, errno);
	else
		reply_attr(req, node->fd);
}

static void do_readlink(struct fuse_req *req)
{
	char target[4096];
	ssize_t len;

	len = readlinkat(node_of(req->in->nodeid)->fd, "", target,
			 sizeof(target));
	if (len < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply(req, target, len);
}

static void do_mknod(struct fuse_req *req)
{
	const struct fuse_mknod_in *arg = req->arg;
	const char *name = (const char *)(arg + 1);
	int ret;

	become_user(req->in, arg->umask);
	ret = mknodat(node_of(req->in->nodeid)->fd, name, arg->mode,
		      decode_dev(arg->rdev));
	become_server();
	reply_entry(req, ret, name);
}

static void do_mkdir(struct fuse_req *req)
{
	const struct fuse_mkdir_in *arg = req->arg;
	const char *name = (const char *)(arg + 1);
	int ret;

	become_user(req->in, arg->umask);
	ret = mkdirat(node_of(req->in->nodeid)->fd, name, arg->mode);
	become_server();
	reply_entry(req, ret, name);
}

static void do_symlink(struct fuse_req *req)
{
	const char *name = req->arg;
	const char *target = name + strlen(name) + 1;
	int ret;

	become_user(req->in, 0);
	ret = symlinkat(target, node_of(req->in->nodeid)->fd, name);
	become_server();
	reply_entry(req, ret, name);
}

static void do_link(struct fuse_req *req)
{
	const struct fuse_link_in *arg = req->arg;
	const char *name = (const char *)(arg + 1);

	reply_entry(req, linkat(node_of(arg->oldnodeid)->fd, "",
				node_of(req->in->nodeid)->fd, name,
				AT_EMPTY_PATH), name);
}

static void do_unlink(struct fuse_req *req)
{
	reply_result(req, unlinkat(node_of(req->in->nodeid)->fd, req->arg, 0));
}

static void do_rmdir(struct fuse_req *req)
{
	reply_result(req, unlinkat(node_of(req->in->nodeid)->fd, req->arg,
				   AT_REMOVEDIR));
}

static void rename_names(struct fuse_req *req, uint64_t newdir,
			 const char *name, unsigned int flags)
{
	const char *newname = name + strlen(name) + 1;

	reply_result(req, renameat2(node_of(req->in->nodeid)->fd, name,
				    node_of(newdir)->fd, newname, flags));
}

static void do_rename(struct fuse_req *req)
{
	const struct fuse_rename_in *arg = req->arg;

	rename_names(req, arg->newdir, (const char *)(arg + 1), 0);
}

static void do_rename2(struct fuse_req *req)
{
	const struct fuse_rename2_in *arg = req->arg;

	rename_names(req, arg->newdir, (const char *)(arg + 1), arg->flags);
}

static void do_statfs(struct fuse_req *req)
{
	struct fuse_statfs_out out = { 0 };
	struct statfs st;

	if (fstatfs(node_of(req->in->nodeid)->fd, &st)) {
		fuse_reply_err(req, errno);
		return;
	}

	out.st = (struct fuse_kstatfs) {
		.blocks = st.f_blocks,
		.bfree = st.f_bfree,
		.bavail = st.f_bavail,
		.files = st.f_files,
		.ffree = st.f_ffree,
		.bsize = st.f_bsize,
		.namelen = st.f_namelen,
		.frsize = st.f_frsize,
	};
	fuse_reply(req, &out, sizeof(out));
}

/* Extended attributes */

static void do_setxattr(struct fuse_req *req)
{
	const struct fuse_setxattr_in *arg = req->arg;
	const char *name = (const char *)(arg + 1);
	bool drop = arg->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
	char path[PROC_PATH_SIZE];
	int ret;

	drop_fsetid(drop);
	ret = setxattr(node_path(node_of(req->in->nodeid), path), name,
		       name + strlen(name) + 1, arg->size, arg->flags);
	if (ret)
		ret = -errno;
	restore_fsetid(drop);
	fuse_reply_err(req, -ret);
}

/* With a size of 0 the user asks how much there is. */
static void reply_xattr(struct fuse_req *req, size_t size, const char *value,
			ssize_t len)
{
	struct fuse_getxattr_out out = { .size = len };

	if (len < 0)
		fuse_reply_err(req, errno);
	else if (size)
		fuse_reply(req, value, len);
	else
		fuse_reply(req, &out, sizeof(out));
}

static void do_getxattr(struct fuse_req *req)
{
	const struct fuse_getxattr_in *arg = req->arg;
	const char *name = (const char *)(arg + 1);
	char path[PROC_PATH_SIZE], value[XATTR_SIZE_MAX];
	size_t size = arg->size < sizeof(value) ? arg->size : sizeof(value);

	if (!strcmp(name, "security.capability"))
		count(&mirror.capability_queries);
	reply_xattr(req, size, value,
		    getxattr(node_path(node_of(req->in->nodeid), path), name,
			     value, size));
}

static void do_listxattr(struct fuse_req *req)
{
	const struct fuse_getxattr_in *arg = req->arg;
	char path[PROC_PATH_SIZE], list[XATTR_LIST_MAX];
	size_t size = arg->size < sizeof(list) ? arg->size : sizeof(list);

	reply_xattr(req, size, list,
		    listxattr(node_path(node_of(req->in->nodeid), path), list,
			      size));
}

static void do_removexattr(struct fuse_req *req)
{
	char path[PROC_PATH_SIZE];

	reply_result(req, removexattr(node_path(node_of(req->in->nodeid), path),
				      req->arg));
}

/* Files */

/*
 * The server's own flags. An append is an append at the time of the write, as
 * its request says, and direct I/O ends at the kernel's buffer. The kernel has
 * seen to O_NOFOLLOW; here it would refuse the link in /proc.
 */
static int open_flags(uint32_t flags)
{
	return (flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_APPEND | O_DIRECT |
			  O_NOFOLLOW)) | O_CLOEXEC;
}

/* Names the backing file in the reply, if the kernel takes it for one. */
static void back_handle(struct fuse_req *req, struct handle *handle,
			struct fuse_open_out *out)
{
	struct node *node = handle->node;
	int id;

	if (!mirror.passthrough)
		return;

	pthread_mutex_lock(&mirror.lock);
	if (!node->opens) {
		id = fuse_backing_open(req->dev, handle->fd);
		node->backing_id = id > 0 ? id : 0;
	}
	if (node->backing_id) {
		node->opens++;
		handle->backed = true;
		out->open_flags |= FOPEN_PASSTHROUGH;
		out->backing_id = node->backing_id;
	}
	pthread_mutex_unlock(&mirror.lock);
}

static void unback_handle(int dev, struct handle *handle)
{
	struct node *node = handle->node;

	if (!handle->backed)
		return;

	pthread_mutex_lock(&mirror.lock);
	if (!--node->opens) {
		fuse_backing_close(dev, node->backing_id);
		node->backing_id = 0;
	}
	pthread_mutex_unlock(&mirror.lock);
}

/* Consumes @fd. NULL with errno set on failure. */
static struct handle *new_handle(struct node *node, int fd)
{
	struct handle *handle = calloc(1, sizeof(*handle));

	if (!handle) {
		close(fd);
		errno = ENOMEM;
		return NULL;
	}

	handle->node = node;
	handle->fd = fd;
	return handle;
}

static void free_handle(int dev, struct handle *handle)
{
	unback_handle(dev, handle);
	close(handle->fd);
	free(handle);
}

static void do_open(struct fuse_req *req)
{
	const struct fuse_open_in *arg = req->arg;
	struct node *node = node_of(req->in->nodeid);
	bool drop = arg->open_flags & FUSE_OPEN_KILL_SUIDGID;
	struct fuse_open_out out = { 0 };
	char path[PROC_PATH_SIZE];
	struct handle *handle;
	int fd, err;

	if (arg->flags & O_TRUNC)
		count(&mirror.strips);
	drop_fsetid(drop);
	fd = open(node_path(node, path), open_flags(arg->flags));
	err = errno;
	restore_fsetid(drop);
	if (fd < 0) {
		fuse_reply_err(req, err);
		return;
	}

	handle = new_handle(node, fd);
	if (!handle) {
		fuse_reply_err(req, errno);
		return;
	}

	out.fh = (uintptr_t)handle;
	back_handle(req, handle, &out);
	/* Interrupted: there will be no RELEASE. */
	if (fuse_reply(req, &out, sizeof(out)))
		free_handle(req->dev, handle);
}

/* Replies to CREATE and TMPFILE. Consumes @fd, or takes -1 with errno set. */
static void reply_created(struct fuse_req *req, int fd)
{
	struct fuse_entry_out entry;
	struct fuse_open_out out = { 0 };
	char path[PROC_PATH_SIZE];
	struct handle *handle;
	struct node *node;

	if (fd < 0)
		goto out_err;

	/* By the descriptor, since the name may be another file's already */
	node = enter_fd(open(fd_path(fd, path), O_PATH | O_CLOEXEC), &entry);
	if (!node)
		goto out_close;

	handle = new_handle(node, fd);
	if (!handle)
		goto out_put;

	out.fh = (uintptr_t)handle;
	back_handle(req, handle, &out);
	if (fuse_reply2(req, &entry, sizeof(entry), &out, sizeof(out))) {
		free_handle(req->dev, handle);
		put_node(node, 1);
	}
	return;

out_put:
	put_node(node, 1);
	goto out_err;
out_close:
	close(fd);
out_err:
	fuse_reply_err(req, errno ? errno : EIO);
}

static void create(struct fuse_req *req, const char *name, int flags)
{
	const struct fuse_create_in *arg = req->arg;
	int fd;

	become_user(req->in, arg->umask);
	fd = openat(node_of(req->in->nodeid)->fd, name,
		    open_flags(arg->flags) | (arg->flags & O_EXCL) | flags,
		    arg->mode);
	become_server();
	reply_created(req, fd);
}

static void do_create(struct fuse_req *req)
{
	const struct fuse_create_in *arg = req->arg;

	create(req, (const char *)(arg + 1), O_CREAT | O_NOFOLLOW);
}

static void do_tmpfile(struct fuse_req *req)
{
	create(req, ".", O_TMPFILE);
}

static struct handle *handle_of(uint64_t fh)
{
	return (struct handle *)(uintptr_t)fh;
}

static void do_release(struct fuse_req *req)
{
	const struct fuse_release_in *arg = req->arg;

	free_handle(req->dev, handle_of(arg->fh));
	fuse_reply_err(req, 0);
}

static void do_read(struct fuse_req *req)
{
	static __thread char buf[MAX_WRITE];
	const struct fuse_read_in *arg = req->arg;
	size_t size = arg->size < sizeof(buf) ? arg->size : sizeof(buf);
	ssize_t n = pread(handle_of(arg->fh)->fd, buf, size, arg->offset);

	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply(req, buf, n);
}

static int write_flags(uint32_t flags)
{
	int rwf = flags & O_APPEND ? RWF_APPEND : 0;

	if ((flags & O_SYNC) == O_SYNC)
		rwf |= RWF_SYNC;
	else if (flags & O_DSYNC)
		rwf |= RWF_DSYNC;

	return rwf;
}

static void do_write(struct fuse_req *req)
{
	const struct fuse_write_in *arg = req->arg;
	bool drop = arg->write_flags & FUSE_WRITE_KILL_SUIDGID;
	struct iovec iov = {
		.iov_base = (void *)(arg + 1),
		.iov_len = arg->size,
	};
	struct fuse_write_out out = { 0 };
	ssize_t n;
	int err;

	drop_fsetid(drop);
	n = pwritev2(handle_of(arg->fh)->fd, &iov, 1, arg->offset,
		     write_flags(arg->flags));
	err = errno;
	restore_fsetid(drop);

	out.size = n;
	if (n < 0)
		fuse_reply_err(req, err);
	else
		fuse_reply(req, &out, sizeof(out));
}

/* Closing a copy tells of what went wrong with earlier writes, as on NFS. */
static void do_flush(struct fuse_req *req)
{
	const struct fuse_flush_in *arg = req->arg;
	int fd = dup(handle_of(arg->fh)->fd);

	reply_result(req, fd < 0 ? fd : close(fd));
}

static int sync_fd(int fd, const struct fuse_fsync_in *arg)
{
	return arg->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(fd) :
							 fsync(fd);
}

static void do_fsync(struct fuse_req *req)
{
	const struct fuse_fsync_in *arg = req->arg;

	reply_result(req, sync_fd(handle_of(arg->fh)->fd, arg));
}

static void do_fallocate(struct fuse_req *req)
{
	const struct fuse_fallocate_in *arg = req->arg;

	count(&mirror.strips);
	reply_result(req, fallocate(handle_of(arg->fh)->fd, arg->mode,
				    arg->offset, arg->length));
}

static void do_lseek(struct fuse_req *req)
{
	const struct fuse_lseek_in *arg = req->arg;
	struct fuse_lseek_out out;
	off_t offset = lseek(handle_of(arg->fh)->fd, arg->offset, arg->whence);

	out.offset = offset;
	if (offset < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply(req, &out, sizeof(out));
}

static void do_copy_file_range(struct fuse_req *req)
{
	const struct fuse_copy_file_range_in *arg = req->arg;
	off_t in = arg->off_in, out = arg->off_out;
	struct fuse_write_out reply = { 0 };
	ssize_t n;

	n = copy_file_range(handle_of(arg->fh_in)->fd, &in,
			    handle_of(arg->fh_out)->fd, &out, arg->len, 0);
	reply.size = n;
	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply(req, &reply, sizeof(reply));
}

/* Directories */

static struct dir_handle *dir_of(uint64_t fh)
{
	return (struct dir_handle *)(uintptr_t)fh;
}

static DIR *open_dir(struct node *node)
{
	int fd = openat(node->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir;
	int err;

	if (fd < 0)
		return NULL;

	dir = fdopendir(fd);
	if (!dir) {
		err = errno;
		close(fd);
		errno = err;
	}
	return dir;
}

static void do_opendir(struct fuse_req *req)
{
	struct dir_handle *handle = calloc(1, sizeof(*handle));
	struct fuse_open_out out = { .fh = (uintptr_t)handle };

	if (handle)
		handle->dir = open_dir(node_of(req->in->nodeid));
	if (!handle || !handle->dir) {
		fuse_reply_err(req, errno);
		free(handle);
		return;
	}

	if (fuse_reply(req, &out, sizeof(out))) {
		closedir(handle->dir);
		free(handle);
	}
}

static void do_releasedir(struct fuse_req *req)
{
	const struct fuse_release_in *arg = req->arg;
	struct dir_handle *handle = dir_of(arg->fh);

	closedir(handle->dir);
	free(handle);
	fuse_reply_err(req, 0);
}

/* The entry at @offset, NULL at the end or, with errno set, on failure */
static struct dirent *peek_dir(struct dir_handle *handle, uint64_t offset)
{
	if (offset != handle->offset) {
		seekdir(handle->dir, offset);
		handle->offset = offset;
		handle->pending = NULL;
	}

	errno = 0;
	if (!handle->pending)
		handle->pending = readdir(handle->dir);
	return handle->pending;
}

static void next_dir(struct dir_handle *handle)
{
	handle->offset = handle->pending->d_off;
	handle->pending = NULL;
}

static void fill_dirent(struct fuse_dirent *out, const struct dirent *entry)
{
	out->ino = entry->d_ino;
	out->off = entry->d_off;
	out->namelen = strlen(entry->d_name);
	out->type = entry->d_type;
	memcpy(out->name, entry->d_name, out->namelen);
}

static bool is_dot_or_dotdot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* An entry that cannot be looked up, or not any more, has no node. */
static void fill_direntplus(struct fuse_direntplus *out, struct node *dir,
			    const struct dirent *entry)
{
	if (!is_dot_or_dotdot(entry->d_name))
		enter_name(dir, entry->d_name, &out->entry_out);
	fill_dirent(&out->dirent, entry);
}

static void read_dir(struct fuse_req *req, bool plus)
{
	static __thread uint64_t aligned_buf[8192];
	const struct fuse_read_in *arg = req->arg;
	struct dir_handle *handle = dir_of(arg->fh);
	char *buf = (char *)aligned_buf;
	size_t size = arg->size < sizeof(aligned_buf) ? arg->size :
							sizeof(aligned_buf);
	uint64_t offset = arg->offset;
	size_t used = 0, need;
	struct dirent *entry;

	while ((entry = peek_dir(handle, offset))) {
		need = FUSE_DIRENT_ALIGN((plus ? FUSE_NAME_OFFSET_DIRENTPLUS :
						 FUSE_NAME_OFFSET) +
					 strlen(entry->d_name));
		if (used + need > size)
			break;

		memset(buf + used, 0, need);
		if (plus)
			fill_direntplus((void *)(buf + used),
					node_of(req->in->nodeid), entry);
		else
			fill_dirent((void *)(buf + used), entry);
		used += need;
		next_dir(handle);
		offset = handle->offset;
	}

	if (!used && !entry && errno)
		fuse_reply_err(req, errno);
	else
		fuse_reply(req, buf, used);
}

static void do_readdir(struct fuse_req *req)
{
	read_dir(req, false);
}

static void do_readdirplus(struct fuse_req *req)
{
	read_dir(req, true);
}

static void do_fsyncdir(struct fuse_req *req)
{
	const struct fuse_fsync_in *arg = req->arg;

	reply_result(req, sync_fd(dirfd(dir_of(arg->fh)->dir), arg));
}

static void (* const handlers[FUSE_SERVER_MAX_OPCODE])(struct fuse_req *req) = {
	[FUSE_LOOKUP] = do_lookup,
	[FUSE_FORGET] = do_forget,
	[FUSE_BATCH_FORGET] = do_batch_forget,
	[FUSE_GETATTR] = do_getattr,
	[FUSE_SETATTR] = do_setattr,
	[FUSE_READLINK] = do_readlink,
	[FUSE_MKNOD] = do_mknod,
	[FUSE_MKDIR] = do_mkdir,
	[FUSE_SYMLINK] = do_symlink,
	[FUSE_LINK] = do_link,
	[FUSE_UNLINK] = do_unlink,
	[FUSE_RMDIR] = do_rmdir,
	[FUSE_RENAME] = do_rename,
	[FUSE_RENAME2] = do_rename2,
	[FUSE_STATFS] = do_statfs,
	[FUSE_SETXATTR] = do_setxattr,
	[FUSE_GETXATTR] = do_getxattr,
	[FUSE_LISTXATTR] = do_listxattr,
	[FUSE_REMOVEXATTR] = do_removexattr,
	[FUSE_OPEN] = do_open,
	[FUSE_CREATE] = do_create,
	[FUSE_TMPFILE] = do_tmpfile,
	[FUSE_RELEASE] = do_release,
	[FUSE_READ] = do_read,
	[FUSE_WRITE] = do_write,
	[FUSE_FLUSH] = do_flush,
	[FUSE_FSYNC] = do_fsync,
	[FUSE_FALLOCATE] = do_fallocate,
	[FUSE_LSEEK] = do_lseek,
	[FUSE_COPY_FILE_RANGE] = do_copy_file_range,
	[FUSE_OPENDIR] = do_opendir,
	[FUSE_READDIR] = do_readdir,
	[FUSE_READDIRPLUS] = do_readdirplus,
	[FUSE_RELEASEDIR] = do_releasedir,
	[FUSE_FSYNCDIR] = do_fsyncdir,
};

static void handle_request(struct fuse_req *req)
{
	uint32_t opcode = req->in->opcode;

	if (opcode < FUSE_SERVER_MAX_OPCODE && handlers[opcode])
		handlers[opcode](req);
}

/* Running */

static void write_part(FILE *f, const char *name, uint64_t *counter)
{
	uint64_t n = __atomic_load_n(counter, __ATOMIC_SEQ_CST);

	fprintf(f, "%s %llu\n", name, (unsigned long long)n);
}

/* Complete when it appears: a reader may wait for it. */
static void write_stats(struct fuse_server *srv)
{
	char tmp[4096];
	unsigned int i;
	FILE *f;

	if (!mirror.stats)
		return;

	snprintf(tmp, sizeof(tmp), "%s.tmp", mirror.stats);
	f = fopen(tmp, "w");
	if (!f) {
		warn("%s", tmp);
		return;
	}
	for (i = 0; i < FUSE_SERVER_MAX_OPCODE; i++)
		if (fuse_server_count(srv, i))
			fprintf(f, "%s %llu\n", fuse_opcode_name(i),
				(unsigned long long)fuse_server_count(srv, i));
	fprintf(f, "TOTAL %llu\n",
		(unsigned long long)fuse_server_count_all(srv));
	write_part(f, "GETXATTR:capability", &mirror.capability_queries);
	write_part(f, "ANY:strips-capability", &mirror.strips);
	if (fclose(f) || rename(tmp, mirror.stats))
		warn("%s", mirror.stats);
}

static sigset_t signals;
static const char *mount_point;

static void *signal_thread(void *arg)
{
	struct fuse_server *srv = arg;
	int sig;

	while (!sigwait(&signals, &sig)) {
		if (sig == SIGUSR1)
			write_stats(srv);
		else if (umount(mount_point))
			umount2(mount_point, MNT_DETACH);
	}
	return NULL;
}

static const char usage[] =
"usage: mirror_server [OPTION]... SOURCE MOUNTPOINT\n"
"\n"
"Serves the tree below SOURCE at MOUNTPOINT, until it is unmounted.\n"
"\n"
"  -p, --no-passthrough     serve all reads and writes itself\n"
"  -d, --max-stack-depth=N  1, or 2 for a SOURCE on overlayfs or FUSE (default 1)\n"
"  -k, --no-killpriv        do not ask for FUSE_HANDLE_KILLPRIV_V2: the kernel strips\n"
"                           privileges at writes, and may ask for them at each\n"
"  -T, --timeout=SECONDS    how long names and attributes are valid (default 1)\n"
"  -o, --options=OPTIONS    further mount options\n"
"  -t, --threads=N          (default 4)\n"
"  -s, --stats=FILE         write the number of requests of each kind to FILE,\n"
"                           at SIGUSR1 and at the end\n"
"  -f, --foreground         do not go into the background once it is mounted\n"
"  -h, --help\n";

static const struct option long_options[] = {
	{ "no-passthrough", no_argument, NULL, 'p' },
	{ "max-stack-depth", required_argument, NULL, 'd' },
	{ "no-killpriv", no_argument, NULL, 'k' },
	{ "timeout", required_argument, NULL, 'T' },
	{ "options", required_argument, NULL, 'o' },
	{ "threads", required_argument, NULL, 't' },
	{ "stats", required_argument, NULL, 's' },
	{ "foreground", no_argument, NULL, 'f' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

static double parse_number(const char *text, const char *what, double min,
			   double max)
{
	char *end;
	double n = strtod(text, &end);

	if (!*text || *end || !(n >= min && n <= max))
		errx(1, "%s is '%s', but has to be a number from %g to %g",
		     what, text, min, max);
	return n;
}

static void raise_file_limit(void)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };	/* fs.nr_open */

	if (!setrlimit(RLIMIT_NOFILE, &limit) ||
	    getrlimit(RLIMIT_NOFILE, &limit))
		return;

	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void open_root(const char *source)
{
	struct stat st;

	mirror.root.fd = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (mirror.root.fd < 0 || stat_fd(mirror.root.fd, &st))
		err(1, "cannot open the source %s", source);

	mirror.root.dev = st.st_dev;
	mirror.root.ino = st.st_ino;
}

/* Returns in the child. The parent waits for a byte, then ends. */
static int go_into_background(void)
{
	int fds[2], status;
	char ok;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		err(1, "pipe");

	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		close(fds[0]);
		setsid();
		return fds[1];
	}

	close(fds[1]);
	if (read(fds[0], &ok, 1) == 1)
		_exit(0);
	waitpid(pid, &status, 0);
	_exit(1);
}

static void say_ready(int pipe)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (pipe < 0)
		return;

	if (chdir("/"))
		warn("/");
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		close(null);
	}
	if (write(pipe, "", 1) != 1)
		exit(1);
	close(pipe);
}

static void say_what_is_served(struct fuse_server *srv)
{
	uint64_t flags = fuse_server_init_out(srv)->flags2;

	if (mirror.passthrough && !(flags << 32 & FUSE_PASSTHROUGH)) {
		warnx("the kernel offers no passthrough; serving without");
		mirror.passthrough = false;
	}
}

int main(int argc, char **argv)
{
	struct fuse_server_config config = {
		.init_flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES |
			      FUSE_ATOMIC_O_TRUNC | FUSE_AUTO_INVAL_DATA |
			      FUSE_DONT_MASK | FUSE_DO_READDIRPLUS |
			      FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |
			      FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL |
			      FUSE_MAX_PAGES | FUSE_HANDLE_KILLPRIV_V2 |
			      FUSE_SETXATTR_EXT,
		.max_stack_depth = 1,
		.max_write = MAX_WRITE,
		.handle = handle_request,
		.threads = 4,
	};
	const char *more = NULL;
	bool foreground = false;
	struct fuse_server *srv;
	char options[1024];
	pthread_t thread;
	int opt, ready = -1;

	while ((opt = getopt_long(argc, argv, "pd:kT:o:t:s:fh", long_options,
				  NULL)) != -1) {
		switch (opt) {
		case 'p':
			mirror.passthrough = false;
			break;
		case 'd':
			config.max_stack_depth =
				parse_number(optarg, "--max-stack-depth", 1, 2);
			break;
		case 'k':
			config.init_flags &= ~FUSE_HANDLE_KILLPRIV_V2;
			break;
		case 'T':
			mirror.timeout = parse_number(optarg, "--timeout", 0,
						      1e9);
			break;
		case 'o':
			more = optarg;
			break;
		case 't':
			config.threads = parse_number(optarg, "--threads", 1,
						      1024);
			break;
		case 's':
			mirror.stats = optarg;
			break;
		case 'f':
			foreground = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (argc - optind != 2) {
		fputs(usage, stderr);
		return 2;
	}

	if (mirror.passthrough)
		config.init_flags |= FUSE_PASSTHROUGH;
	config.fsname = argv[optind];
	snprintf(options, sizeof(options), "default_permissions,allow_other%s%s",
		 more ? "," : "", more ? more : "");
	config.options = options;

	raise_file_limit();
	umask(0);
	open_root(argv[optind]);
	mount_point = realpath(argv[optind + 1], NULL);
	if (!mount_point)
		err(1, "mount point %s", argv[optind + 1]);
	if (mirror.stats && mirror.stats[0] != '/')
		errx(1, "--stats is '%s', but has to be an absolute path",
		     mirror.stats);

	if (!foreground)
		ready = go_into_background();

	/* The threads inherit that; one takes the signals. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);

	srv = fuse_server_start(&config, mount_point);
	if (!srv)
		err(1, "cannot mount on %s (it takes root and /dev/fuse)",
		    mount_point);
	say_what_is_served(srv);
	if (pthread_create(&thread, NULL, signal_thread, srv))
		errx(1, "cannot start a thread");
	say_ready(ready);

	fuse_server_wait(srv);
	write_stats(srv);
	return 0;
}
