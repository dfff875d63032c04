/*
 * Key pairs and the deployment's own key file.
 *
 * A session's Ed25519 pair is made with libcrypto and written in OpenSSH's own format, since that is what
 * ssh, sshd and libssh2 read; no ssh-keygen is started. `gpufs.key` holds the deployment id and the key
 * that signs labels. It is the one file worth a backup: without it no machine can be recognised as ours
 * (architecture.md, invariant 5), so it is never overwritten and never guessed.
 *
 * Owner: keys_make and keys_load may run on any thread; keys_make_async answers on the loop.
 * Must never: print a key, leave one in freed memory, or accept a key file that others can read.
 * Tests: tests/unit/test_keys.c
 */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/check.h"
#include "io.h"
#include "io_parts.h"

#define ED25519_LEN    32
#define COMMENT_MAX    200
#define BLOB_MAX       512 /* the longest of the binary forms, with the longest comment */
#define BASE64_LINE    70  /* as ssh-keygen writes it */
#define KEY_FILE_MAX   4096
#define DEPLOYMENT_MIN 4
#define DEPLOYMENT_MAX 8
#define LABEL_KEY_LEN  32
#define KEY_TYPE       "ssh-ed25519"

/* ---- the binary form: SSH strings are a length of four bytes and the bytes ---- */

struct blob {
	unsigned char data[BLOB_MAX];
	size_t len;
};

static void blob_wipe(struct blob *b)
{
	OPENSSL_cleanse(b, sizeof(*b));
}

static void blob_add(struct blob *b, const void *data, size_t n)
{
	CHECK(n <= sizeof(b->data) - b->len);
	memcpy(b->data + b->len, data, n);
	b->len += n;
}

static void blob_u32(struct blob *b, uint32_t v)
{
	unsigned char be[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
			       (unsigned char)(v >> 8), (unsigned char)v};

	blob_add(b, be, sizeof(be));
}

static void blob_string(struct blob *b, const void *data, size_t n)
{
	blob_u32(b, (uint32_t)n);
	blob_add(b, data, n);
}

static void blob_public(struct blob *b, const unsigned char pub[ED25519_LEN])
{
	blob_string(b, KEY_TYPE, strlen(KEY_TYPE));
	blob_string(b, pub, ED25519_LEN);
}

/* The whole of "openssh-key-v1" without encryption (PROTOCOL.key of OpenSSH). */
static int blob_private(struct blob *b, const unsigned char priv[ED25519_LEN],
			const unsigned char pub[ED25519_LEN], const char *comment)
{
	__attribute__((cleanup(blob_wipe))) struct blob in = {.len = 0};
	struct blob head = {.len = 0};
	unsigned char both[2 * ED25519_LEN];
	uint32_t check;

	if (RAND_bytes((unsigned char *)&check, sizeof(check)) != 1)
		return -EIO;
	memcpy(both, priv, ED25519_LEN);
	memcpy(both + ED25519_LEN, pub, ED25519_LEN);
	blob_u32(&in, check); /* twice: a reader sees by it that decryption worked */
	blob_u32(&in, check);
	blob_public(&in, pub);
	blob_string(&in, both, sizeof(both));
	OPENSSL_cleanse(both, sizeof(both));
	blob_string(&in, comment, strlen(comment));
	for (unsigned char pad = 1; in.len % 8; pad++)
		blob_add(&in, &pad, 1);

	blob_public(&head, pub);
	blob_add(b, "openssh-key-v1", sizeof("openssh-key-v1")); /* with its NUL */
	blob_string(b, "none", 4);
	blob_string(b, "none", 4);
	blob_string(b, "", 0);
	blob_u32(b, 1);
	blob_string(b, head.data, head.len);
	blob_string(b, in.data, in.len);
	return 0;
}

/* ---- the text forms ---- */

static int private_text(const struct blob *b, struct secret *out)
{
	unsigned char b64[BLOB_MAX * 4 / 3 + 8];
	char text[sizeof(b64) + sizeof(b64) / BASE64_LINE + 100];
	size_t n, at = 0;

	n = (size_t)EVP_EncodeBlock(b64, b->data, (int)b->len);
	at += (size_t)snprintf(text, sizeof(text), "-----BEGIN OPENSSH PRIVATE KEY-----\n");
	for (size_t i = 0; i < n; i += BASE64_LINE) {
		size_t part = n - i < BASE64_LINE ? n - i : BASE64_LINE;

		memcpy(text + at, b64 + i, part);
		at += part;
		text[at++] = '\n';
	}
	at += (size_t)snprintf(text + at, sizeof(text) - at, "-----END OPENSSH PRIVATE KEY-----\n");
	secret_set(out, text, at);
	OPENSSL_cleanse(text, sizeof(text));
	OPENSSL_cleanse(b64, sizeof(b64));
	return out->bytes ? 0 : -ENOMEM;
}

static void public_text(const unsigned char pub[ED25519_LEN], const char *comment, struct buf *out)
{
	unsigned char b64[128];
	struct blob b = {.len = 0};

	blob_public(&b, pub);
	EVP_EncodeBlock(b64, b.data, (int)b.len);
	buf_printf(out, KEY_TYPE " %s", (const char *)b64);
	if (comment[0])
		buf_printf(out, " %s", comment);
}

/* ---- making a pair ---- */

static int raw_pair(unsigned char priv[ED25519_LEN], unsigned char pub[ED25519_LEN])
{
	size_t n_priv = ED25519_LEN, n_pub = ED25519_LEN;
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	int ok;

	if (!key)
		return -EIO;
	ok = EVP_PKEY_get_raw_private_key(key, priv, &n_priv) == 1 &&
	     EVP_PKEY_get_raw_public_key(key, pub, &n_pub) == 1 && n_priv == ED25519_LEN &&
	     n_pub == ED25519_LEN;
	EVP_PKEY_free(key);
	return ok ? 0 : -EIO;
}

static bool comment_ok(const char *s)
{
	size_t n = strlen(s);

	if (n > COMMENT_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
			return false;
	return true;
}

int keys_make(const char *comment, struct secret *private_openssh, struct buf *public_line,
	      struct error *why)
{
	__attribute__((cleanup(blob_wipe))) struct blob b = {.len = 0};
	unsigned char priv[ED25519_LEN], pub[ED25519_LEN];
	int err;

	if (!comment_ok(comment))
		return fail(why, ERR_INVALID,
			    "the comment of an SSH key must be one line of at most %d characters",
			    COMMENT_MAX);
	err = raw_pair(priv, pub);
	if (!err)
		err = blob_private(&b, priv, pub, comment);
	OPENSSL_cleanse(priv, sizeof(priv));
	if (err)
		return fail(
			why, ERR_NO_MEMORY,
			"libcrypto could not make an Ed25519 key: is its random source or memory "
			"used up?");
	if (private_text(&b, private_openssh))
		return fail(why, ERR_NO_MEMORY, "out of memory while making an SSH key");
	public_text(pub, comment, public_line);
	if (public_line->failed) {
		secret_wipe(private_openssh);
		return fail(why, ERR_NO_MEMORY, "out of memory while making an SSH key");
	}
	return 0;
}

/* ---- the same on a worker ---- */

struct keygen {
	uv_work_t req;
	char *comment;
	struct secret priv;
	struct buf pub;
	struct error why;
	int err;
	keygen_cb cb;
	void *arg;
};

static void keygen_work(uv_work_t *req)
{
	struct keygen *k = container_of(req, struct keygen, req);

	k->err = keys_make(k->comment, &k->priv, &k->pub, &k->why);
}

static void keygen_done(uv_work_t *req, int status)
{
	struct keygen *k = container_of(req, struct keygen, req);

	if (status && !k->err)
		k->err = fail(&k->why, ERR_CANCELED, "making an SSH key was cancelled");
	if (k->err)
		k->cb(k->arg, NULL, NULL, &k->why);
	else
		k->cb(k->arg, k->priv.bytes, k->pub.data, NULL);
	secret_wipe(&k->priv);
	buf_free(&k->pub);
	free(k->comment);
	free(k);
}

void keys_make_async(uv_loop_t *loop, const char *comment, keygen_cb cb, void *arg)
{
	struct keygen *k = xcalloc(1, sizeof(*k));

	k->comment = copy_of(comment);
	k->cb = cb;
	k->arg = arg;
	CHECK(uv_queue_work(loop, &k->req, keygen_work, keygen_done) == 0);
}

/* ---- gpufs.key ---- */

struct key_file {
	char deployment[16];
	unsigned char key[LABEL_KEY_LEN];
};

static bool deployment_ok(const char *s)
{
	size_t n = strlen(s);

	if (n < DEPLOYMENT_MIN || n > DEPLOYMENT_MAX)
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789") == n;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static bool parse_hex_key(const char *s, unsigned char out[LABEL_KEY_LEN])
{
	if (strlen(s) != 2 * LABEL_KEY_LEN)
		return false;
	for (size_t i = 0; i < LABEL_KEY_LEN; i++) {
		int hi = hex_value(s[2 * i]), lo = hex_value(s[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (unsigned char)(hi * 16 + lo);
	}
	return true;
}

/* One line; seen: bit 0 deployment, bit 1 key. */
static bool parse_key_line(const char *line, struct key_file *f, unsigned *seen)
{
	if (line[0] == '#' || line[0] == '\0')
		return true;
	if (strncmp(line, "deployment ", 11) == 0 && !(*seen & 1U) && deployment_ok(line + 11)) {
		*seen |= 1U;
		COPY(f->deployment, line + 11);
		return true;
	}
	if (strncmp(line, "key ", 4) == 0 && !(*seen & 2U) && parse_hex_key(line + 4, f->key)) {
		*seen |= 2U;
		return true;
	}
	return false;
}

static int key_file_parse(const char *path, char *text, size_t n, struct key_file *f,
			  struct error *why)
{
	unsigned seen = 0;
	int line = 0;
	char *rest = text;

	if (memchr(text, '\0', n))
		return fail(why, ERR_INVALID,
			    "%s is damaged: it has NUL bytes. Restore it from a backup", path);
	while (rest && *rest) {
		char *now = strsep(&rest, "\n");

		line++;
		if (!parse_key_line(now, f, &seen))
			return fail_at(
				why, ERR_INVALID, line, 0,
				"%s is damaged in line %d (wanted: 'deployment ID' and 'key' with "
				"64 hex digits). Restore it from a backup; without it gpufs cannot "
				"recognise its own machines",
				path, line);
	}
	if (seen != 3U)
		return fail(why, ERR_INVALID,
			    "%s is not whole: the line '%s' is missing. Restore it from a backup; "
			    "without it gpufs cannot recognise its own machines",
			    path, seen & 1U ? "key" : "deployment");
	return 0;
}

/* -ENOENT without a sentence: there is none yet. */
static int key_file_open(const char *path, int *out, struct error *why)
{
	struct stat st;
	FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0 && errno == ELOOP)
		return fail(why, ERR_FORBIDDEN, "%s is a symbolic link; name the file itself",
			    path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(why, ERR_FORBIDDEN, "cannot read the key file %s: %s", path,
			    strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(why, ERR_FORBIDDEN, "the key file %s is not a regular file", path);
	if (st.st_mode & 077)
		return fail(
			why, ERR_FORBIDDEN,
			"the key file %s is open to others (mode %04o), so its key may be known. "
			"If nobody can have read it: chmod 600 %s",
			path, (unsigned)(st.st_mode & 07777), path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return fail(why, ERR_FORBIDDEN, "the key file %s belongs to uid %u, not to uid %u",
			    path, (unsigned)st.st_uid, (unsigned)geteuid());
	*out = fd;
	fd = -1;
	return 0;
}

static int key_file_read(const char *path, struct key_file *f, struct error *why)
{
	char text[KEY_FILE_MAX + 1];
	FD fd = -1;
	size_t n = 0;
	int err = key_file_open(path, &fd, why);

	if (err)
		return err;
	while (n < KEY_FILE_MAX) {
		ssize_t got = read(fd, text + n, KEY_FILE_MAX - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(why, ERR_FORBIDDEN, "cannot read the key file %s: %s", path,
				    strerror(errno));
		if (got == 0)
			break;
		n += (size_t)got;
	}
	text[n] = '\0';
	if (n == KEY_FILE_MAX)
		err = fail(why, ERR_INVALID, "%s is damaged: it is longer than a key file can be",
			   path);
	else
		err = key_file_parse(path, text, n, f, why);
	OPENSSL_cleanse(text, sizeof(text));
	return err;
}

static int random_deployment(char out[16])
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	size_t n = 0;

	for (int tries = 0; n < DEPLOYMENT_MAX && tries < 1000; tries++) {
		unsigned char c;

		if (RAND_bytes(&c, 1) != 1)
			return -EIO;
		if (c < 252) /* 7 * 36: no letter is likelier than another */
			out[n++] = letters[c % 36];
	}
	out[n] = '\0';
	return n == DEPLOYMENT_MAX ? 0 : -EIO;
}

static int key_file_put(int fd, const struct key_file *f)
{
	char text[400];
	size_t n;
	int err;

	n = (size_t)snprintf(text, sizeof(text),
			     "# The identity of this gpufs. Keep a backup; show it to nobody.\n"
			     "# Without it gpufs cannot recognise the machines it has made.\n"
			     "deployment %s\nkey ",
			     f->deployment);
	for (size_t i = 0; i < LABEL_KEY_LEN; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%02x", f->key[i]);
	text[n++] = '\n';
	err = fd_write_all(fd, text, n);
	OPENSSL_cleanse(text, sizeof(text));
	if (!err && fsync(fd) < 0)
		err = -errno;
	return err;
}

/* The directory above `path`, in a malloc'd text; "." if there is none. */
static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Others may pass through (0711) but not list: sshd of a session's owner reads below it. */
static int make_dirs(const char *dir)
{
	FREE char *path = strdup(dir);

	if (!path)
		return -ENOMEM;
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0711) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (mkdir(path, 0711) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/* Written aside and linked into place: nobody ever sees half a key, and none is overwritten. */
static int key_file_create(const char *path, const struct key_file *f)
{
	FREE char *dir = parent_of(path), *aside = NULL;
	FD dir_fd = -1;
	FD fd = -1;
	int err;

	if (!dir || asprintf(&aside, "%s.new", path) < 0)
		return -ENOMEM;
	err = make_dirs(dir);
	if (err)
		return err;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	if (unlink(aside) < 0 && errno != ENOENT) /* left by a start that was killed */
		return -errno;
	fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	err = key_file_put(fd, f);
	if (!err && link(aside, path) < 0)
		err = -errno;
	unlink(aside);
	if (!err && fsync(dir_fd) < 0)
		err = -errno;
	return err;
}

static int key_file_make(const char *path, const char *wanted, struct key_file *f,
			 struct error *why)
{
	int err;

	if (wanted[0])
		COPY(f->deployment, wanted);
	else if (random_deployment(f->deployment))
		return fail(why, ERR_NO_MEMORY, "libcrypto gave no random numbers");
	if (RAND_priv_bytes(f->key, LABEL_KEY_LEN) != 1)
		return fail(why, ERR_NO_MEMORY, "libcrypto gave no random numbers");
	err = key_file_create(path, f);
	if (err == -EEXIST)
		return err; /* another one was first: read his */
	if (err)
		return fail(why, ERR_NOT_DURABLE,
			    "cannot make the key file %s: %s. Make its directory writable, or name "
			    "another place",
			    path, strerror(-err));
	return 0;
}

/* What a start needs: ids that agree, and `f` wiped. */
static int key_file_take(const char *path, const char *wanted, struct key_file *f,
			 char deployment[16], unsigned char label_key[32], struct error *why)
{
	int err = 0;

	if (wanted[0] && strcmp(wanted, f->deployment) != 0)
		err = fail(why, ERR_INVALID,
			   "the settings name the deployment '%s', but %s keeps '%s'. With another "
			   "id gpufs would no longer recognise (and never end) the machines it "
			   "made as "
			   "'%s'. Take the setting out, or name another key file",
			   wanted, path, f->deployment, f->deployment);
	if (!err) {
		memcpy(deployment, f->deployment, sizeof(f->deployment));
		memcpy(label_key, f->key, LABEL_KEY_LEN);
	}
	OPENSSL_cleanse(f, sizeof(*f));
	return err;
}

int keys_load(const char *path, const char *wanted_deployment, char deployment[16],
	      unsigned char label_key[32], struct error *why)
{
	const char *wanted = wanted_deployment ? wanted_deployment : "";
	struct key_file f;
	int err;

	memset(&f, 0, sizeof(f));
	if (wanted[0] && !deployment_ok(wanted))
		return fail(why, ERR_INVALID,
			    "the deployment id '%.20s' is not %d to %d of a-z and 0-9", wanted,
			    DEPLOYMENT_MIN, DEPLOYMENT_MAX);
	err = key_file_read(path, &f, why);
	if (err == -ENOENT) {
		err = key_file_make(path, wanted, &f, why);
		if (err == -EEXIST)
			err = key_file_read(path, &f, why);
	}
	if (!err)
		return key_file_take(path, wanted, &f, deployment, label_key, why);
	OPENSSL_cleanse(&f, sizeof(f));
	return err;
}

int keys_read(const char *path, const char *wanted_deployment, char deployment[16],
	      unsigned char label_key[32], struct error *why)
{
	struct key_file f;
	int err;

	memset(&f, 0, sizeof(f));
	err = key_file_read(path, &f, why);
	if (!err)
		return key_file_take(path, wanted_deployment, &f, deployment, label_key, why);
	OPENSSL_cleanse(&f, sizeof(f));
	if (err == -ENOENT)
		return fail(why, ERR_NOT_FOUND,
			    "there is no key file %s, and without it no machine's mark can be "
			    "verified. Restore it from a backup, or name it (KEY_PATH)",
			    path);
	return err;
}
