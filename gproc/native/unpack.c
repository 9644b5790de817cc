#include "unpack.h"

#include "answer.h"
#include "failure.h"
#include "inflate.h"
#include "path.h"
#include "supply.h"
#include "tree.h"
#include "untar.h"

#define WRITABLE_BY_OTHERS 022

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

static bool unpack_into(int into) {
    untar_begin(into);
    bool good = inflate_gzip(supply_next, untar_take, UNTAR_BYTES_MAX) && untar_is_whole();
    untar_close();
    return good && supply_is_right();
}

static bool make_runtime(int directory, const char *name) {
    tree_remove(directory, UNFINISHED);
    long result = SYS3(mkdirat, directory, UNFINISHED, 0700);
    int into = (int)SYS4(openat, directory, UNFINISHED, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (result != 0 || into < 0) {
        close_quietly(into);
        return fail(result != 0 ? result : into, NULL, "a new directory");
    }
    bool good = unpack_into(into);
    if (good) {
        doing("waits for its disk to have the runtime: syncfs(2)");
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

bool runtime_unpack(int directory, const char *name, const uint8_t digest[SHA256_BYTES], uint64_t size, int *archive) {
    supply_begin(directory, name, digest, size, false);
    bool good = make_runtime(directory, name);
    bool again = !good && supply_is_doubtful() && failure.code != ENOSPC;
    *archive = supply_end(good);
    if (again) {
        /* What lay here, or came from another node, was broken.  The front end sends all of it. */
        failure.code = 0;
        supply_begin(directory, name, digest, size, true);
        good = make_runtime(directory, name);
        *archive = supply_end(good);
    }
    return good;
}
