// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: attributes of a file whose data the server does not see
 *
 * Attributes come from the server, which is asked again when what is cached is
 * known to be wrong. A write through FUSE says so itself. For what does not pass
 * through here (stores to a mapping, the access time that a read may have moved
 * or not) the backing inode is compared with what it was when that was last
 * done: before each use of cached attributes, and when the inode leaves
 * passthrough mode. Times may be the same after a change, if the clock has not
 * ticked, so that the size is compared with the one that is cached. A backing
 * inode on another FUSE mount learns of its own changes in the same way, and
 * counts as changed for as long as it has attributes that are known to be wrong.
 *
 * Locking: fi->lock protects fi->backing_attr. That of a FUSE inode below nests
 * inside of it; no more than two are stacked.
 */

#include "passthrough.h"

#include <linux/file.h>

/*
 * The inode that has the data. overlayfs has inodes of its own, which do not
 * know about stores to mappings.
 */
static struct inode *fuse_backing_inode(struct fuse_inode *fi)
{
	lockdep_assert_held(&fi->lock);

	return d_real_inode(fi->backing->file->f_path.dentry);
}

/* The same, if it is one of FUSE's, else NULL */
static struct fuse_inode *fuse_backing_fuse_inode(struct fuse_inode *fi)
{
	struct inode *backing_inode = fuse_backing_inode(fi);

	if (backing_inode->i_sb->s_op != fi->inode.i_sb->s_op)
		return NULL;

	return get_fuse_inode(backing_inode);
}

static struct timespec64 fuse_backing_time(const struct timespec64 *time)
{
	/*
	 * No lock protects an inode's times. If one is read while it changes, it
	 * is found to be another one the next time.
	 */
	return data_race(*time);
}

static void fuse_backing_attr_read(struct fuse_inode *fi, u32 inval_mask)
{
	struct inode *backing_inode = fuse_backing_inode(fi);

	fi->backing_attr = (struct fuse_backing_attr) {
		.atime	= fuse_backing_time(&backing_inode->i_atime),
		.mtime	= fuse_backing_time(&backing_inode->i_mtime),
		.ctime	= fuse_backing_time(&backing_inode->i_ctime),
		.stale	= inval_mask,
	};
}

/**
 * fuse_passthrough_attr_begin() - remember what the backing inode is like
 * @fi: FUSE inode that enters passthrough mode
 *
 * Context: fi->lock held; takes that of a FUSE inode below
 */
void fuse_passthrough_attr_begin(struct fuse_inode *fi)
{
	struct fuse_inode *below = fuse_backing_fuse_inode(fi);

	if (!below) {
		fuse_backing_attr_read(fi, 0);
		return;
	}

	/* A reply first says that nothing is wrong, and then what is right */
	spin_lock_nested(&below->lock, SINGLE_DEPTH_NESTING);
	fuse_backing_attr_read(fi, READ_ONCE(below->inval_mask));
	spin_unlock(&below->lock);
}

/**
 * fuse_passthrough_attr_update() - see what has changed in the backing inode
 * @fi: FUSE inode in passthrough mode
 *
 * What is cached of these attributes is made invalid, and what a reply brings
 * that is under way already will be, too.
 *
 * Context: fi->lock held
 */
void fuse_passthrough_attr_update(struct fuse_inode *fi)
{
	struct fuse_conn *fc = get_fuse_conn(&fi->inode);
	struct fuse_backing_attr old = fi->backing_attr;
	struct fuse_backing_attr *new = &fi->backing_attr;
	u32 changed = 0;
	loff_t size;

	fuse_passthrough_attr_begin(fi);
	size = i_size_read(fuse_backing_inode(fi));

	if (!timespec64_equal(&new->atime, &old.atime))
		changed |= STATX_ATIME;
	if (size != i_size_read(&fi->inode) ||
	    !timespec64_equal(&new->mtime, &old.mtime) ||
	    !timespec64_equal(&new->ctime, &old.ctime))
		changed |= FUSE_STATX_MODSIZE;
	if (new->stale)
		changed |= STATX_ATIME | FUSE_STATX_MODSIZE;
	if (!changed)
		return;

	/* Replies may be outdated, one after the other, by writes to come */
	if (size != i_size_read(&fi->inode))
		i_size_write(&fi->inode, size);
	fi->attr_version = atomic64_inc_return(&fc->attr_version);
	fuse_invalidate_attr_mask(&fi->inode, changed);
}

/* What is below may have to look first, outside of any lock */
static void fuse_passthrough_attr_look(struct fuse_inode *fi)
{
	struct fuse_inode *below = NULL;
	struct fuse_backing *fb = NULL;

	spin_lock(&fi->lock);
	if (fi->backing)
		below = fuse_backing_fuse_inode(fi);
	/* Keeps the file system that @below is of, too */
	if (below)
		fb = fuse_backing_get(fi->backing);
	else if (fi->backing)
		fuse_passthrough_attr_update(fi);
	spin_unlock(&fi->lock);

	if (!below)
		return;

	fuse_passthrough_inval_mask(&below->inode);
	fuse_backing_put(fb);

	spin_lock(&fi->lock);
	if (fi->backing)
		fuse_passthrough_attr_update(fi);
	spin_unlock(&fi->lock);
}

/**
 * fuse_passthrough_inval_mask() - which cached attributes must not be used
 * @inode: FUSE inode
 *
 * Context: may sleep; fi->lock not held
 * Return: STATX_* bits
 */
u32 fuse_passthrough_inval_mask(struct inode *inode)
{
	struct fuse_inode *fi = get_fuse_inode(inode);

	if (fuse_inode_passthrough(inode))
		fuse_passthrough_attr_look(fi);

	return READ_ONCE(fi->inval_mask);
}

/**
 * fuse_passthrough_attr_replied() - attributes were taken from a reply as they are
 * @fi: FUSE inode, in any mode
 * @outdated: something may have changed them since the request was sent
 *
 * Writes to a passthrough file are not kept out by the FUSE inode's lock, so that
 * the reply to a SETATTR, say, may have attributes that were.
 *
 * Context: fi->lock held
 */
void fuse_passthrough_attr_replied(struct fuse_inode *fi, bool outdated)
{
	if (!S_ISREG(fi->inode.i_mode) || !fi->backing)
		return;

	i_size_write(&fi->inode, i_size_read(fuse_backing_inode(fi)));
	if (outdated)
		fuse_invalidate_attr_mask(&fi->inode,
					  FUSE_STATX_MODSIZE | STATX_ATIME);
}

static noinline void fuse_passthrough_attr_grown(struct fuse_inode *fi,
						 loff_t end)
{
	struct inode *inode = &fi->inode;

	/* A file that has been truncated since is not made longer again */
	end = min(end, i_size_read(fuse_backing_inode(fi)));
	if (end > inode->i_size)
		i_size_write(inode, end);
}

/**
 * fuse_passthrough_attr_written() - a write to the backing file has ended
 * @inode: FUSE inode in passthrough mode
 * @end: end of what was written, in bytes; 0 if it failed, half way perhaps
 *
 * Context: process context
 */
void fuse_passthrough_attr_written(struct inode *inode, loff_t end)
{
	struct fuse_inode *fi = get_fuse_inode(inode);

	spin_lock(&fi->lock);
	fi->attr_version =
		atomic64_inc_return(&get_fuse_conn(inode)->attr_version);
	if (end > inode->i_size)
		fuse_passthrough_attr_grown(fi, end);
	spin_unlock(&fi->lock);

	/* What was invalid stays so until the reply to a request yet to come */
	if (~READ_ONCE(fi->inval_mask) & FUSE_STATX_MODSIZE)
		fuse_invalidate_attr_mask(inode, FUSE_STATX_MODSIZE);
}
