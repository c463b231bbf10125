// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: the table of backing files
 *
 * A server registers a backing file with FUSE_DEV_IOC_BACKING_OPEN and gets an
 * id for it, which it may name in its replies to OPEN, CREATE and TMPFILE until
 * it takes the id back with FUSE_DEV_IOC_BACKING_CLOSE.
 *
 * Ownership: struct fuse_backing is refcounted. The table owns one reference
 * per id; an inode in passthrough mode and an open in the making own one each.
 *
 * Locking: fc->lock protects changes of the table, lookups need RCU only. The
 * table takes no new entries once fc->connected is zero, so emptying it after
 * that leaves it empty for good.
 */

#include "passthrough.h"

#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fsnotify.h>
#include <linux/idr.h>
#include <linux/magic.h>
#include <linux/namei.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

/*
 * A write to a file of a mount with max_stack_depth 2 may go on to one with
 * max_stack_depth 1, and from there to one without passthrough, all of the same
 * type, and be protected against the freezing of each. The order is always that
 * one, so that each depth has classes of its own.
 */
static void fuse_backing_set_lock_classes(struct super_block *sb)
{
	static const char * const names[SB_FREEZE_LEVELS] = {
		"fuse_sb_writers", "fuse_sb_pagefaults", "fuse_sb_internal",
	};
	static struct lock_class_key
		keys[FILESYSTEM_MAX_STACK_DEPTH][SB_FREEZE_LEVELS];
	int i;

	for (i = 0; i < SB_FREEZE_LEVELS; i++)
		lockdep_set_class_and_name(&sb->s_writers.rw_sem[i],
					   &keys[sb->s_stack_depth - 1][i],
					   names[i]);
}

/**
 * fuse_backing_negotiate() - act on the passthrough part of an INIT reply
 * @fm: mount
 * @arg: the server's reply
 * @flags: its flags, 64 bits
 *
 * The stacking depth of the superblock makes it impossible to stack more file
 * systems than max_stack_depth allows, and to use a file of this very mount as
 * a backing file. Passthrough stays off, and INIT succeeds, if the reply does
 * not ask for it, if the depth is out of range, and with writeback caching,
 * which keeps sizes and times of its own.
 *
 * Context: before fuse_set_initialized()
 */
void fuse_backing_negotiate(struct fuse_mount *fm,
			    const struct fuse_init_out *arg, u64 flags)
{
	struct fuse_conn *fc = fm->fc;

	if (!(flags & FUSE_PASSTHROUGH) || (flags & FUSE_WRITEBACK_CACHE))
		return;

	if (!arg->max_stack_depth ||
	    arg->max_stack_depth > FILESYSTEM_MAX_STACK_DEPTH)
		return;

	fc->max_stack_depth = arg->max_stack_depth;
	fm->sb->s_stack_depth = arg->max_stack_depth;
	fuse_backing_set_lock_classes(fm->sb);
	/* Pairs with fuse_backing_allowed() */
	smp_store_release(&fc->passthrough, true);
}

static struct fuse_backing *fuse_backing_alloc(struct file *file)
{
	struct fuse_backing *fb;

	fb = kmalloc(sizeof(*fb), GFP_KERNEL_ACCOUNT);
	if (!fb)
		return NULL;

	fb->file = get_file(file);
	fb->cred = get_current_cred();
	refcount_set(&fb->count, 1);

	return fb;
}

/**
 * fuse_backing_get() - take another reference to a backing file
 * @fb: backing file that the caller holds a reference to, or that is kept
 *	referenced by a lock that the caller holds
 *
 * Return: @fb
 */
struct fuse_backing *fuse_backing_get(struct fuse_backing *fb)
{
	refcount_inc(&fb->count);
	return fb;
}

/**
 * fuse_backing_put() - drop a reference to a backing file
 * @fb: backing file, or NULL
 *
 * May be called in any context: fput() leaves the closing of the file to
 * process context, and lookups that still see @fb are waited for by RCU.
 */
void fuse_backing_put(struct fuse_backing *fb)
{
	if (!fb || !refcount_dec_and_test(&fb->count))
		return;

	fput(fb->file);
	put_cred(fb->cred);
	kfree_rcu(fb, rcu);
}

/**
 * fuse_backing_lookup() - find the backing file that an id stands for
 * @fc: connection that the id belongs to
 * @id: id as the server sent it, of any value
 *
 * Context: any; no locks needed
 * Return: the backing file with a reference for the caller, or NULL if there is
 * no such id (any more)
 */
struct fuse_backing *fuse_backing_lookup(struct fuse_conn *fc, int id)
{
	struct fuse_backing *fb;

	rcu_read_lock();
	fb = idr_find(&fc->backing_files, id);
	if (fb && !refcount_inc_not_zero(&fb->count))
		fb = NULL;
	rcu_read_unlock();

	return fb;
}

/* What may_open() checks on a path, for a backing file's path */
static int fuse_backing_may_open(const struct path *path, unsigned int flags)
{
	struct inode *inode = d_inode(path->dentry);
	int acc_mode = ACC_MODE(flags);

	if (flags & O_APPEND)
		acc_mode |= MAY_APPEND;

	if (IS_APPEND(inode) && (acc_mode & MAY_WRITE) && !(flags & O_APPEND))
		return -EPERM;

	return inode_permission(mnt_user_ns(path->mnt), inode,
				MAY_OPEN | acc_mode);
}

/**
 * fuse_backing_open_file() - open a file of the kernel's own on a backing path
 * @fb: backing file
 * @user_file: FUSE file, whose path is shown to users wherever the new file is
 *	mapped
 * @flags: the user's open flags (O_*)
 * @released: called when the last reference to the new file is gone
 * @data: argument for @released
 *
 * The server has created and truncated already whatever the user's flags asked
 * for, so the flags for that are left out. All permission checks
 * are made with the credentials of whoever registered @fb.
 *
 * Context: may sleep
 * Return: the opened file, or an ERR_PTR: -EACCES or -EPERM if the credentials
 * do not allow it, -EROFS, -ETXTBSY, -EINVAL if O_DIRECT is not supported,
 * -ENOMEM, -EAGAIN, -EINTR or -ERESTARTSYS if a lease on the file has to be waited
 * for, or what the backing file system returned
 */
struct file *fuse_backing_open_file(struct fuse_backing *fb,
				    const struct file *user_file,
				    unsigned int flags,
				    backing_file_released_t released,
				    void *data)
{
	const struct path *path = &fb->file->f_path;
	const struct cred *old_cred;
	struct file *file;
	int err;

	flags &= ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_TMPFILE);

	old_cred = override_creds(fb->cred);
	err = fuse_backing_may_open(path, flags);
	if (err)
		file = ERR_PTR(err);
	else
		file = backing_file_open(user_file, flags, path, fb->cred,
					 released, data);
	/* As open(2) does; that it is closed makes an event, too */
	if (!IS_ERR(file))
		fsnotify_open(file);
	revert_creds(old_cred);

	return file;
}

static bool fuse_backing_allowed(struct fuse_conn *fc)
{
	/*
	 * The server may ask while its reply to INIT is under way. If it gets
	 * ahead of that, max_stack_depth must be there, too.
	 */
	return smp_load_acquire(&fc->passthrough) && capable(CAP_SYS_ADMIN);
}

/* That of a FUSE mount is settled when its server has answered INIT. */
static bool fuse_backing_depth_known(struct super_block *sb)
{
	if (sb->s_magic != FUSE_SUPER_MAGIC)
		return true;

	/* Pairs with fuse_set_initialized() */
	return smp_load_acquire(&get_fuse_conn_super(sb)->initialized);
}

static int fuse_backing_check_file(struct fuse_conn *fc, struct file *file)
{
	struct inode *inode = file_inode(file);

	if (S_ISDIR(inode->i_mode))
		return -EISDIR;

	if (!S_ISREG(inode->i_mode))
		return -EINVAL;

	/* The inode's operations, because an O_PATH file has none */
	if (!inode->i_fop->read_iter || !inode->i_fop->write_iter)
		return -EOPNOTSUPP;

	if (!fuse_backing_depth_known(inode->i_sb) ||
	    inode->i_sb->s_stack_depth >= fc->max_stack_depth)
		return -ELOOP;

	return 0;
}

static int fuse_backing_insert(struct fuse_conn *fc, struct fuse_backing *fb)
{
	int id = -ENOTCONN;

	idr_preload(GFP_KERNEL);
	spin_lock(&fc->lock);
	if (fc->connected)
		id = idr_alloc_cyclic(&fc->backing_files, fb, 1, 0, GFP_ATOMIC);
	spin_unlock(&fc->lock);
	idr_preload_end();

	/* There are two thousand million of them */
	return id == -ENOSPC ? -ENOMEM : id;
}

static int fuse_backing_open(struct fuse_conn *fc,
			     struct fuse_backing_map __user *argp)
{
	struct fuse_backing_map map;
	struct fuse_backing *fb;
	struct file *file;
	int res;

	if (copy_from_user(&map, argp, sizeof(map)))
		return -EFAULT;

	if (!fuse_backing_allowed(fc))
		return -EPERM;

	if (map.flags || map.padding)
		return -EINVAL;

	file = fget_raw(map.fd);
	if (!file)
		return -EBADF;

	res = fuse_backing_check_file(fc, file);
	if (res)
		goto out_fput;

	res = -ENOMEM;
	fb = fuse_backing_alloc(file);
	if (!fb)
		goto out_fput;

	res = fuse_backing_insert(fc, fb);
	if (res < 0)
		fuse_backing_put(fb);

out_fput:
	fput(file);
	return res;
}

static int fuse_backing_close(struct fuse_conn *fc, u32 __user *argp)
{
	struct fuse_backing *fb;
	s32 id;

	if (get_user(id, (s32 __user *)argp))
		return -EFAULT;

	if (!fuse_backing_allowed(fc))
		return -EPERM;

	if (id <= 0)
		return -EINVAL;

	spin_lock(&fc->lock);
	fb = idr_remove(&fc->backing_files, id);
	spin_unlock(&fc->lock);

	if (!fb)
		return -ENOENT;

	fuse_backing_put(fb);
	return 0;
}

/**
 * fuse_backing_ioctl() - register or take back a backing file
 * @fc: connection of the device file
 * @cmd: FUSE_DEV_IOC_BACKING_OPEN or FUSE_DEV_IOC_BACKING_CLOSE
 * @argp: the user's argument, a struct fuse_backing_map or a u32 id
 *
 * The checks are made in the order in which their errors are listed.
 *
 * Context: process context of the server
 * Return: for OPEN an id > 0, for CLOSE 0, or
 * -EFAULT: @argp is not readable
 * -EPERM: passthrough is not enabled for @fc, or no CAP_SYS_ADMIN in the
 *	initial user namespace
 * -EINVAL: OPEN: flags or padding are not zero; CLOSE: the id is not positive
 * -ENOENT: CLOSE: no such id
 * -EBADF: OPEN: no such file descriptor
 * -EISDIR: OPEN: a directory
 * -EINVAL: OPEN: anything else that is not a regular file
 * -EOPNOTSUPP: OPEN: the file cannot be read and written by iov_iter
 * -ELOOP: OPEN: the file system is stacked too deeply, or may come to be
 * -ENOMEM: OPEN: out of memory, or of ids
 * -ENOTCONN: OPEN: the connection was aborted
 */
long fuse_backing_ioctl(struct fuse_conn *fc, unsigned int cmd,
			void __user *argp)
{
	if (cmd == FUSE_DEV_IOC_BACKING_OPEN)
		return fuse_backing_open(fc, argp);

	return fuse_backing_close(fc, argp);
}

/**
 * fuse_backing_files_init() - set up the table of a new connection
 * @fc: connection
 */
void fuse_backing_files_init(struct fuse_conn *fc)
{
	idr_init(&fc->backing_files);
}

static struct fuse_backing *fuse_backing_remove_next(struct fuse_conn *fc,
						     int *id)
{
	struct fuse_backing *fb;

	spin_lock(&fc->lock);
	fb = idr_get_next(&fc->backing_files, id);
	if (fb)
		idr_remove(&fc->backing_files, *id);
	spin_unlock(&fc->lock);

	return fb;
}

/**
 * fuse_backing_files_drop() - empty the table for good
 * @fc: connection whose fc->connected has been set to zero under fc->lock
 *
 * From here on, ids no longer pin their file systems. Files that are open in
 * passthrough mode have references of their own and go on working.
 *
 * Context: process context; fc->lock not held
 */
void fuse_backing_files_drop(struct fuse_conn *fc)
{
	struct fuse_backing *fb;
	int id = 0;

	while ((fb = fuse_backing_remove_next(fc, &id)))
		fuse_backing_put(fb);
}

/**
 * fuse_backing_files_free() - free the table of a connection that goes away
 * @fc: connection without any references
 */
void fuse_backing_files_free(struct fuse_conn *fc)
{
	WARN_ON(!idr_is_empty(&fc->backing_files));
	idr_destroy(&fc->backing_files);
}
