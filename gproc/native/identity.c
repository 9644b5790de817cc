#include "identity.h"

#include "failure.h"
#include "number.h"
#include "path.h"

#define WORDS_OF_CAPABILITIES 2u

static bool done(long result, const char *call) {
    return result == 0 || fail(result, NULL, call);
}

static bool write_file(const char *path, const char *text, size_t size) {
    int file = (int)SYS4(openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    long result = file < 0 ? file : SYS3(write, file, text, size);
    close_quietly(file);
    return result >= 0 || fail(result, NULL, path);
}

static bool map_itself(const char *path, uint32_t id) {
    char line[32];
    size_t used = number_write(line, id);
    line[used++] = ' ';
    used += number_write(line + used, id);
    memcpy(line + used, " 1", 2);
    return write_file(path, line, used + 2);
}

bool identity_may_become(const struct plan *plan) {
    bool may = SYS0(geteuid) == 0 || plan->uid == (uint32_t)SYS0(getuid);
    return may || fail(-EPERM, "a slave that is not root runs its own user's jobs only", "");
}

bool identity_map(uint32_t uid, uint32_t gid) {
    /* user_namespaces(7): groups may be mapped only after this "deny". */
    return write_file("/proc/self/setgroups", "deny", 4) && map_itself("/proc/self/uid_map", uid) &&
           map_itself("/proc/self/gid_map", gid);
}

bool identity_keep(uint64_t capabilities) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[WORDS_OF_CAPABILITIES];
    if (!done(SYS2(capget, &header, data), "capget")) {
        return false;
    }
    for (uint32_t word = 0; word < WORDS_OF_CAPABILITIES; word++) {
        data[word].permitted &= (uint32_t)(capabilities >> (32 * word));
        data[word].effective = data[word].permitted;
        data[word].inheritable = 0;
    }
    return done(SYS2(capset, &header, data), "capset");
}

bool identity_join_keyring(void) {
    long result = SYS2(keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    /* Kernels without keys say ENOSYS; what forbids the call to us (seccomp, in containers) forbids it to the job too.
     * As root we may have a million keyrings; a user has 200, and his slave's keys are his own. */
    bool harmless = result == -ENOSYS || result == -EPERM || (result == -EDQUOT && SYS0(geteuid) != 0);
    return result >= 0 || harmless || fail(result, NULL, "keyctl(JOIN_SESSION_KEYRING)");
}

bool identity_gain_nothing(const struct plan *plan) {
    if (plan->uid == 0) {
        return true;
    }
    /* A view may lay a caller's libraries over /usr/lib, and ld.so(8) does not question what lies in a system directory:
     * a set-user-ID program of the node would run the caller's code as root. */
    return done(SYS5(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(NO_NEW_PRIVS)");
}

static bool has_groups(const struct plan *plan) {
    static uint32_t ours[GROUPS_MAX];
    long count = SYS2(getgroups, GROUPS_MAX, ours);
    return count == (long)plan->group_count && memcmp(ours, plan->groups, (size_t)count * sizeof ours[0]) == 0;
}

bool identity_become(const struct plan *plan) {
    uint32_t uid = plan->uid, gid = plan->gid;
    if (SYS0(geteuid) != 0) {
        return identity_may_become(plan);
    }
    if (uid == 0 && gid == 0 && has_groups(plan)) {
        return true; /* in a user namespace whose groups are not mapped, setgroups(2) is refused */
    }
    return done(SYS2(setgroups, plan->group_count, plan->groups), "setgroups") &&
           done(SYS3(setresgid, gid, gid, gid), "setresgid") && done(SYS3(setresuid, uid, uid, uid), "setresuid");
}
