/*
 * The floor: a libfuse file system that has nothing to do, on libfuse's own loop.
 *
 *	nullfs MOUNTPOINT	(in front; ends at SIGTERM or umount)
 *
 * `dir/dir` are directories, as deep as gpufs's offers, with one small file `value` that the kernel may
 * cache; any directory can be made and removed; no other name is there, and misses are not cached. What a
 * round trip costs here is what the kernel and libfuse charge for it, so gpufs is judged by its ratio to
 * this. Used by tests/bench/run.
 */
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define VALUE_INO 2
#define DIR_INO	  3 /* and the one in it is 4 */
#define FIRST_DIR 16
#define KEEP_SECS 3600.0

static const char value[] = "0.1234\n";
static fuse_ino_t last_ino = FIRST_DIR;

static struct stat attributes(fuse_ino_t ino)
{
	struct stat st = {.st_ino = ino, .st_mode = S_IFDIR | 0777, .st_nlink = 2};

	if (ino == VALUE_INO) {
		st.st_mode = S_IFREG | 0444;
		st.st_nlink = 1;
		st.st_size = sizeof(value) - 1;
	}
	return st;
}

static void reply_node(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_entry_param e = {.ino = ino,
				     .attr = attributes(ino),
				     .attr_timeout = KEEP_SECS,
				     .entry_timeout = KEEP_SECS};

	fuse_reply_entry(req, &e);
}

static void null_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (parent == FUSE_ROOT_ID && strcmp(name, "dir") == 0)
		reply_node(req, DIR_INO);
	else if (parent == DIR_INO && strcmp(name, "dir") == 0)
		reply_node(req, DIR_INO + 1);
	else if (parent == DIR_INO + 1 && strcmp(name, "value") == 0)
		reply_node(req, VALUE_INO);
	else
		fuse_reply_err(req, ENOENT);
}

static void null_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st = attributes(ino);

	(void)fi;
	fuse_reply_attr(req, &st, KEEP_SECS);
}

static void null_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->keep_cache = 1; /* as gpufs's values: a warm open, read, close is one OPEN */
	fi->noflush = 1;
	fuse_reply_open(req, fi);
}

static void null_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	size_t from = off < (off_t)sizeof(value) - 1 ? (size_t)off : sizeof(value) - 1;
	size_t left = sizeof(value) - 1 - from;

	(void)ino;
	(void)fi;
	fuse_reply_buf(req, value + from, left < size ? left : size);
}

static void null_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)parent;
	(void)name;
	(void)mode;
	reply_node(req, ++last_ino);
}

static void null_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	(void)name;
	fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops operations = {
	.lookup = null_lookup,
	.getattr = null_getattr,
	.open = null_open,
	.read = null_read,
	.mkdir = null_mkdir,
	.rmdir = null_rmdir,
};

int main(int argc, char **argv)
{
	char *words[] = {argv[0], "-o", "fsname=nullfs,default_permissions"};
	struct fuse_args args = FUSE_ARGS_INIT(3, words);
	struct fuse_session *se;
	int err;

	if (argc != 2)
		return 2;
	se = fuse_session_new(&args, &operations, sizeof(operations), NULL);
	if (!se || fuse_set_signal_handlers(se) != 0 || fuse_session_mount(se, argv[1]) != 0)
		return 1;
	err = fuse_session_loop(se);
	fuse_session_unmount(se);
	fuse_session_destroy(se);
	return err != 0;
}
