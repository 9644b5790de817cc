#include "unpack.h"

#include "answer.h"
#include "failure.h"
#include "inflate.h"
#include "path.h"
#include "supply.h"
#include "tree.h"
#include "untar.h"

#define WRITABLE_BY_OTHERS 022
#define NAMES_MAX 4096u
#define LEFT_S 86400 /* no unpacking lasts for a day */

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

const char *unfinished(void) {
    static char name[UNFINISHED_BYTES] = UNFINISHED;
    const char *machine = this_machine();
    memcpy(name + sizeof UNFINISHED - 1, machine, strlen(machine) + 1);
    return name;
}

static bool is_unfinished(const char *name) {
    return strlen(name) >= sizeof UNFINISHED - 1 && memcmp(name, UNFINISHED, sizeof UNFINISHED - 1) == 0;
}

/* When it was changed, by the time of the file's server, which may not be ours. */
static int64_t changed_s(int directory, const char *name) {
    struct statx found;
    long result = SYS5(statx, directory, name, AT_SYMLINK_NOFOLLOW, STATX_MTIME, &found);
    return result == 0 ? found.stx_mtime.tv_sec : -1;
}

void unfinished_remove(int directory) {
    struct entries entries;
    const char *name;
    tree_remove(directory, unfinished());
    entries = (struct entries){.directory = (int)SYS4(openat, directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)};
    int64_t now_s = 0;
    for (uint32_t count = 0; count < NAMES_MAX && (name = next_name(&entries)) != NULL; count++) {
        if (!is_unfinished(name) && !is_part_of_another(name)) {
            continue;
        }
        if (now_s == 0) {
            SYS3(mkdirat, directory, unfinished(), 0700);
            now_s = changed_s(directory, unfinished());
            SYS3(unlinkat, directory, unfinished(), AT_REMOVEDIR);
        }
        int64_t its_s = changed_s(directory, name);
        if (its_s < 0 || now_s - its_s <= LEFT_S) {
            continue;
        }
        if (is_unfinished(name)) {
            tree_remove(directory, name);
        } else {
            SYS3(unlinkat, directory, name, 0);
        }
    }
    close_quietly(entries.directory);
}

static bool unpack_into(int into) {
    untar_begin(into);
    bool good = inflate_gzip(supply_next, untar_take, UNTAR_BYTES_MAX) && untar_is_whole();
    untar_close();
    return good && supply_is_right();
}

static bool make_runtime(int directory, const char *name) {
    unfinished_remove(directory);
    long result = SYS3(mkdirat, directory, unfinished(), 0700);
    int into = (int)SYS4(openat, directory, unfinished(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
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
        result = SYS5(renameat2, directory, unfinished(), directory, name, 0);
        bool lost = result != 0 && runtime_is_there(directory, name); /* to another machine, which has unpacked the same */
        good = result == 0 || lost || fail(result, NULL, name);
    }
    if (!good || result != 0) {
        tree_remove(directory, unfinished());
    }
    return good;
}

bool runtime_unpack(int directory, const char *name, const struct archive *wanted, uint16_t *port) {
    supply_begin(directory, name, wanted, false);
    bool good = make_runtime(directory, name);
    bool again = !good && supply_is_doubtful() && !for_want_of_room();
    *port = supply_end(good);
    if (again) {
        /* What lay here, or came from another node, was broken.  The front end sends all of it. */
        failure.code = 0;
        supply_begin(directory, name, wanted, true);
        good = make_runtime(directory, name);
        *port = supply_end(good);
    }
    return good;
}
