/* A fuzzer for what the static helper reads: libFuzzer gives it bytes, and what the helper takes for a plan has to be one.
 *
 * Built and run by tests/native/fuzz.py.
 */
#include "plan.h"

#include "failure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct plan plan;
static char bytes[PLAN_BYTES_MAX];

static void require(bool true_of_a_plan) {
    if (!true_of_a_plan) {
        __builtin_trap();
    }
}

static bool inside(const char *text) {
    return text >= bytes && text < bytes + sizeof bytes;
}

static void check_path(const char *path) {
    require(inside(path) && path[0] == '/' && strlen(path) <= PATH_BYTES_MAX);
    for (const char *at = path; *at != 0; at++) {
        require(!(at[0] == '/' && at[1] == '.' && at[2] == '.' && (at[3] == 0 || at[3] == '/')));
    }
}

static void check_list(const struct list *list) {
    for (uint32_t index = 0; index < list->count; index++) {
        require(inside(list->words[index]));
        require(inside(list->words[index] + strlen(list->words[index])));
    }
    require(list->count == 0 || list->words[list->count] == NULL);
}

static void check_operation(const struct operation *operation) {
    check_path(operation->at);
    check_list(&operation->lowers);
    check_list(&operation->kept);
    if (operation->kind == DIRECTORY || operation->kind == COPY || operation->kind == SHOW) {
        check_path(operation->source);
    }
    for (uint32_t index = 0; index < operation->lowers.count; index++) {
        check_path(operation->lowers.words[index]);
    }
    for (uint32_t index = 0; index < operation->kept.count; index++) {
        require(operation->kept.words[index][0] != '/' && operation->kept.words[index][0] != 0);
    }
}

static void check_plan(void) {
    require(plan.uid != NO_ID && plan.gid != NO_ID && plan.group_count <= GROUPS_MAX);
    require(plan.operation_count <= OPERATIONS_MAX && plan.limit_count <= LIMITS_MAX);
    require(plan.umask <= 0777);
    for (uint32_t index = 0; index < plan.operation_count; index++) {
        check_operation(&plan.operations[index]);
    }
    check_list(&plan.candidates);
    check_list(&plan.arguments);
    check_list(&plan.environment);
    if (plan.candidates.count > 0) {
        check_path(plan.cwd);
        require(plan.arguments.count > 0);
    }
    if (plan.root_parent != NULL) {
        check_path(plan.root_parent);
        require(!plan.namespaces);
        for (const char *at = plan.root_name; *at != 0; at++) {
            require(*at != '/');
        }
    }
}

/* The header is made here, so that no input is lost to it but those that are to be. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char magic[] = PLAN_FORMAT;
    if (size < 1 || size > sizeof bytes - PLAN_HEADER_BYTES) {
        return 0;
    }
    uint32_t whole = (uint32_t)size - 1 + PLAN_HEADER_BYTES;
    memcpy(bytes, magic, sizeof magic - 1);
    memcpy(bytes + sizeof magic - 1, &whole, sizeof whole);
    memcpy(bytes + PLAN_HEADER_BYTES, data + 1, size - 1);
    if (data[0] == 0xff && size > PLAN_HEADER_BYTES) {
        memcpy(bytes, data + 1, PLAN_HEADER_BYTES);
        whole = (uint32_t)size;
    }
    require(plan_size(bytes) >= PLAN_HEADER_BYTES && plan_size(bytes) <= PLAN_BYTES_MAX);
    memset(&plan, 0, sizeof plan);
    if (plan_read(&plan, bytes, whole)) {
        check_plan();
    } else {
        require(failure.code > 0 && strlen(failure.subject) < SUBJECT_BYTES_MAX);
    }
    return 0;
}
