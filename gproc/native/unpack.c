#include "unpack.h"

#include "failure.h"
#include "inflate.h"
#include "path.h"
#include "tree.h"
#include "untar.h"

#define INPUT_BYTES 65536u
#define UNFINISHED ".new"
#define WRITABLE_BY_OTHERS 022

static struct {
    uint64_t left;
    struct sha256 sha;
    uint8_t bytes[INPUT_BYTES];
} input;

static const char hexadecimal[] = "0123456789abcdef";

void runtime_name(char name[RUNTIME_NAME_BYTES + 1], const uint8_t digest[SHA256_BYTES]) {
    memcpy(name, "runtime-", sizeof "runtime-" - 1);
    char *at = name + sizeof "runtime-" - 1;
    for (uint32_t index = 0; index < SHA256_BYTES; index++) {
        *at++ = hexadecimal[digest[index] >> 4];
        *at++ = hexadecimal[digest[index] & 15];
    }
    *at = 0;
}

int open_own(const char *path) {
    int opened = (int)SYS4(openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    struct statx found;
    if (opened < 0) {
        fail(opened, NULL, path);
        return -1;
    }
    long result = SYS5(statx, opened, "", AT_EMPTY_PATH, STATX_UID | STATX_MODE, &found);
    bool own = result == 0 && found.stx_uid == (uint32_t)SYS0(geteuid);
    if (!own || (found.stx_mode & WRITABLE_BY_OTHERS) != 0) {
        fail(result == 0 ? -EPERM : result, result == 0 ? "others can write there" : NULL, path);
        close_quietly(opened);
        return -1;
    }
    return opened;
}

bool runtime_is_there(int directory, const char *name) {
    int found = (int)SYS4(openat, directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    close_quietly(found);
    return found >= 0;
}

static long read_some(void *to, size_t size) {
    for (;;) {
        long got = SYS3(read, 0, to, size);
        if (got != -EINTR) {
            return got;
        }
    }
}

bool read_exactly(void *to, size_t size) {
    uint8_t *at = to;
    while (size > 0) {
        long got = read_some(at, size);
        if (got <= 0) {
            return fail(got == 0 ? -EPIPE : got, "the front end is gone", "standard input");
        }
        at += got;
        size -= (size_t)got;
    }
    return true;
}

static size_t next_input(const uint8_t **bytes) {
    size_t size = input.left < INPUT_BYTES ? (size_t)input.left : INPUT_BYTES;
    long got = size == 0 ? 0 : read_some(input.bytes, size);
    if (got <= 0) {
        fail(got == 0 ? -EPIPE : got, size == 0 ? "its archive ends too early" : "the front end is gone", "runtime");
        return 0;
    }
    input.left -= (uint64_t)got;
    sha256_take(&input.sha, input.bytes, (size_t)got);
    *bytes = input.bytes;
    return (size_t)got;
}

/* What lies behind the compressed bytes counts for the digest too. */
static bool take_rest(void) {
    const uint8_t *bytes;
    while (input.left > 0) {
        if (next_input(&bytes) == 0) {
            return false;
        }
    }
    return true;
}

static bool has_digest(const uint8_t digest[SHA256_BYTES]) {
    uint8_t found[SHA256_BYTES];
    sha256_end(&input.sha, found);
    return memcmp(found, digest, SHA256_BYTES) == 0 || fail(-EINVAL, "it is not the one that was announced", "runtime");
}

static bool unpack_into(int into, const uint8_t digest[SHA256_BYTES]) {
    untar_begin(into);
    bool good = inflate_gzip(next_input, untar_take, UNTAR_BYTES_MAX) && untar_is_whole();
    untar_close();
    return good && take_rest() && has_digest(digest);
}

bool runtime_unpack(int directory, const char *name, const uint8_t digest[SHA256_BYTES], uint64_t size) {
    input.left = size;
    sha256_begin(&input.sha);
    tree_remove(directory, UNFINISHED);
    long result = SYS3(mkdirat, directory, UNFINISHED, 0700);
    int into = (int)SYS4(openat, directory, UNFINISHED, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (result != 0 || into < 0) {
        close_quietly(into);
        return fail(result != 0 ? result : into, NULL, "a new directory");
    }
    bool good = unpack_into(into, digest);
    if (good) {
        /* After a crash the name must not be there without the files. */
        result = SYS1(syncfs, into);
        good = result == 0 || fail(result, NULL, "syncfs");
    }
    close_quietly(into);
    if (good) {
        result = SYS5(renameat2, directory, UNFINISHED, directory, name, 0);
        good = result == 0 || fail(result, NULL, name);
    }
    if (!good) {
        tree_remove(directory, UNFINISHED);
    }
    return good;
}
