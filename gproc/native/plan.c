#include "plan.h"

#include "failure.h"

#define OOM_SCORE_LIMIT 1000
#define RESOURCES 16u

static char *words[WORDS_MAX];
static uint32_t words_used;

struct cursor {
    const char *at, *end;
};

static bool bad(const char *words_for_it) {
    fail(-EINVAL, words_for_it, "plan");
    return false;
}

static bool take(struct cursor *from, void *to, size_t size) {
    if ((size_t)(from->end - from->at) < size) {
        return bad("it ends too early");
    }
    memcpy(to, from->at, size);
    from->at += size;
    return true;
}

static bool take_number(struct cursor *from, uint32_t *to) {
    return take(from, to, sizeof *to);
}

/* `max`: without the NUL. */
static bool take_text(struct cursor *from, char **to, uint32_t max) {
    uint32_t length;
    if (!take_number(from, &length)) {
        return false;
    }
    if (length > max || (size_t)(from->end - from->at) <= length) {
        return bad("a text is too long");
    }
    const char *at = from->at;
    for (uint32_t index = 0; index < length; index++) {
        if (at[index] == 0) {
            return bad("a text has a NUL in it");
        }
    }
    if (at[length] != 0) {
        return bad("a text has no end");
    }
    *to = (char *)(uintptr_t)at; /* execve(2) wants its words so, and changes none */
    from->at += length + 1;
    return true;
}

static bool has_dots(const char *path) {
    while (*path != 0) {
        const char *end = path;
        while (*end != 0 && *end != '/') {
            end++;
        }
        if (end - path == 2 && path[0] == '.' && path[1] == '.') {
            return true;
        }
        path = *end == 0 ? end : end + 1;
    }
    return false;
}

/* A path from the root of the file system, in which no step leads back. */
static bool take_path(struct cursor *from, const char **to) {
    char *text;
    if (!take_text(from, &text, PATH_BYTES_MAX)) {
        return false;
    }
    if (text[0] != '/') {
        fail(-EINVAL, "a path must be absolute", text);
        return false;
    }
    if (has_dots(text)) {
        fail(-ENOTDIR, "'..' is no part of a directory's name", text);
        return false;
    }
    *to = text;
    return true;
}

static bool take_path_or_none(struct cursor *from, const char **to) {
    struct cursor ahead = *from;
    char *text;
    if (!take_text(&ahead, &text, PATH_BYTES_MAX)) {
        return false;
    }
    if (text[0] == 0) {
        *from = ahead;
        *to = text;
        return true;
    }
    return take_path(from, to);
}

enum list_of { PATHS, NAMES, WORDS };

static bool take_word(struct cursor *from, enum list_of what, char **to) {
    if (what == PATHS) {
        const char *path;
        if (!take_path(from, &path)) {
            return false;
        }
        *to = (char *)(uintptr_t)path;
        return true;
    }
    if (!take_text(from, to, what == NAMES ? PATH_BYTES_MAX : PLAN_BYTES_MAX)) {
        return false;
    }
    if (what == NAMES && ((*to)[0] == 0 || (*to)[0] == '/' || has_dots(*to))) {
        return fail(-EINVAL, "a name must be relative and have no .. in it", *to);
    }
    return true;
}

static bool take_list(struct cursor *from, struct list *to, enum list_of what, uint32_t max) {
    uint32_t count;
    if (!take_number(from, &count)) {
        return false;
    }
    if (count > max || count >= WORDS_MAX - words_used) {
        return bad("a list is too long");
    }
    to->words = words + words_used;
    to->count = count;
    for (uint32_t index = 0; index < count; index++) {
        if (!take_word(from, what, &words[words_used])) {
            return false;
        }
        words_used++;
    }
    words[words_used++] = NULL;
    return true;
}

static bool read_root(struct plan *plan, struct cursor *from) {
    char *name;
    begin_stage(STAGE_VIEW);
    if (!take_path(from, &plan->root_parent) || !take_text(from, &name, PATH_BYTES_MAX)) {
        return false;
    }
    bool one_part = name[0] != 0 && !has_dots(name) && !(name[0] == '.' && name[1] == 0);
    for (const char *at = name; *at != 0; at++) {
        one_part = one_part && *at != '/';
    }
    if (!one_part) {
        return fail(-EINVAL, "a root must be one name", name);
    }
    plan->root_name = name;
    return take_path_or_none(from, &plan->root_source) && take_path_or_none(from, &plan->root_cwd);
}

static bool read_user(struct plan *plan, struct cursor *from) {
    begin_stage(STAGE_IDENTITY);
    if (!take_number(from, &plan->uid) || !take_number(from, &plan->gid) || !take_number(from, &plan->group_count)) {
        return false;
    }
    if (plan->group_count > GROUPS_MAX) {
        return bad("too many groups");
    }
    if (!take(from, plan->groups, plan->group_count * sizeof plan->groups[0])) {
        return false;
    }
    bool real = plan->uid != NO_ID && plan->gid != NO_ID;
    for (uint32_t index = 0; index < plan->group_count; index++) {
        real = real && plan->groups[index] != NO_ID;
    }
    return real || bad("an id is none");
}

static bool read_limit(struct plan *plan, struct cursor *from) {
    begin_stage(STAGE_LIMITS);
    if (plan->limit_count == LIMITS_MAX) {
        return bad("too many limits");
    }
    struct limit *limit = &plan->limits[plan->limit_count++];
    uint32_t both;
    if (!take_number(from, &limit->resource) || !take_number(from, &both) || !take(from, &limit->value, 8)) {
        return false;
    }
    limit->both = both == 1;
    return (limit->resource < RESOURCES && both <= 1) || bad("there is no such limit");
}

static bool read_view(struct plan *plan, struct cursor *from, uint32_t kind) {
    if (plan->operation_count == OPERATIONS_MAX) {
        return bad("a view has too many operations");
    }
    struct operation *operation = &plan->operations[plan->operation_count++];
    operation->kind = (enum kind)kind;
    switch (kind) {
    case DIRECTORY:
        return take_path(from, &operation->at) && take_path(from, &operation->source);
    case COPY:
    case SHOW:
        return take_path(from, &operation->source) && take_path(from, &operation->at);
    case OVERLAY:
        if (!take_path(from, &operation->at) || !take_path_or_none(from, &operation->upper) ||
            !take_path_or_none(from, &operation->work) || !take_list(from, &operation->lowers, PATHS, LAYERS_MAX) ||
            !take_list(from, &operation->kept, NAMES, KEPT_MAX)) {
            return false;
        }
        if ((operation->upper[0] == 0) != (operation->work[0] == 0)) {
            return bad("an upper directory needs a work directory");
        }
        return operation->lowers.count > 0 || bad("a union of nothing");
    case PLACE: {
        uint32_t how;
        if (!take_path(from, &operation->at) || !take_path(from, &operation->source) || !take_number(from, &how) ||
            !take_list(from, &operation->kept, NAMES, KEPT_MAX)) {
            return false;
        }
        operation->whole = how == 1;
        operation->stays = how == 2;
        operation->yields = how == 3;
        return (how <= 3 && operation->at[1] != 0) || bad("no such place");
    }
    case TOP:
        return take_path(from, &operation->at) && take_list(from, &operation->made, NAMES, TOPS_MAX) &&
               take_list(from, &operation->kept, NAMES, TOPS_MAX) &&
               take_list(from, &operation->lowers, WORDS, TOPS_MAX) &&
               (operation->kept.count == operation->lowers.count || bad("a link has no target"));
    default:
        return take_path(from, &operation->at);
    }
}

static bool read_exec(struct plan *plan, struct cursor *from) {
    begin_stage(STAGE_EXEC);
    if (!take_list(from, &plan->candidates, WORDS, CANDIDATES_MAX) ||
        !take_list(from, &plan->arguments, WORDS, WORDS_MAX) ||
        !take_list(from, &plan->environment, WORDS, WORDS_MAX)) {
        return false;
    }
    return (plan->candidates.count > 0 && plan->arguments.count > 0) || bad("nothing to execute");
}

static bool read_single(struct plan *plan, struct cursor *from, uint32_t kind) {
    uint32_t number = 0;
    switch (kind) {
    case NAMESPACES:
        plan->namespaces = true;
        if (!take_number(from, &number)) {
            return false;
        }
        plan->own_users = number == OWN_USERS;
        return number <= OWN_USERS || bad("no such namespace");
    case OOM_SCORE:
        plan->has_oom_score = true;
        if (!take(from, &plan->oom_score, 4)) {
            return false;
        }
        return (plan->oom_score >= -OOM_SCORE_LIMIT && plan->oom_score <= OOM_SCORE_LIMIT) || bad("no such score");
    case CGROUP:
        begin_stage(STAGE_LIMITS);
        return take_list(from, &plan->cgroups, PATHS, CGROUPS_MAX);
    case ROOT:
        return read_root(plan, from);
    case USER:
        return read_user(plan, from);
    case NICE:
        plan->has_nice = true;
        return take(from, &plan->nice, 4);
    case CPUS:
        return take_number(from, &plan->cpus);
    case UMASK:
        return take_number(from, &plan->umask) && (plan->umask <= 0777 || bad("no such umask"));
    case CWD:
        begin_stage(STAGE_CWD);
        return take_path(from, &plan->cwd);
    case TERMINAL:
        plan->terminal = true;
        return true;
    case HOLD:
        plan->hold = true;
        return true;
    case TELL:
        plan->tell = true;
        return true;
    case DEADLINE:
        return take(from, &plan->deadline_ns, 8);
    case LEASE:
        return take(from, &plan->lease_ns, 8);
    case EXEC:
        return read_exec(plan, from);
    default:
        return bad("an operation of an unknown kind");
    }
}

static bool read_operation(struct plan *plan, struct cursor *from, uint32_t *seen) {
    uint32_t kind, length;
    begin_stage(STAGE_LAUNCHER);
    if (!take_number(from, &kind) || !take_number(from, &length)) {
        return false;
    }
    if ((size_t)(from->end - from->at) < length) {
        return bad("an operation ends too late");
    }
    struct cursor fields = {from->at, from->at + length};
    from->at += length;
    bool good;
    if ((kind >= TMPFS && kind <= SHOW) || kind == PLACE || kind == TOP) {
        begin_stage(STAGE_VIEW);
        good = read_view(plan, &fields, kind);
    } else if (kind == LIMIT) {
        good = read_limit(plan, &fields);
    } else {
        if (kind < TMPFS && (*seen & (1u << kind)) != 0) {
            return bad("an operation comes twice");
        }
        *seen |= kind < TMPFS ? 1u << kind : 0;
        good = read_single(plan, &fields, kind);
    }
    return good && (fields.at == fields.end || bad("an operation is longer than its fields"));
}

size_t plan_size(const char *bytes) {
    uint32_t size;
    memcpy(&size, bytes + PLAN_HEADER_BYTES - sizeof size, sizeof size);
    return size < PLAN_HEADER_BYTES || size > PLAN_BYTES_MAX ? PLAN_HEADER_BYTES : size;
}

bool plan_read(struct plan *plan, char *bytes, size_t size) {
    struct cursor from = {bytes, bytes + size};
    char magic[4];
    uint32_t length, seen = 0;
    words_used = 0;
    begin_stage(STAGE_LAUNCHER);
    if (!take(&from, magic, sizeof magic) || !take_number(&from, &length)) {
        return false;
    }
    if (memcmp(magic, PLAN_FORMAT, sizeof magic) != 0 || length != size) {
        return bad("it is of another version of gproc, or cut short");
    }
    while (from.at < from.end) {
        if (!read_operation(plan, &from, &seen)) {
            return false;
        }
    }
    begin_stage(STAGE_LAUNCHER);
    if ((seen & (1u << USER)) == 0 || (plan->candidates.count > 0 && plan->cwd == NULL)) {
        return bad("it has no user, or no directory to start in");
    }
    if (plan->namespaces ? plan->root_parent != NULL : plan->operation_count > 0) {
        return bad("a root is for plain jobs, and mounts are for others");
    }
    return true;
}
